//! The public keys of an issuer: a JWK set (RFC 7517), less what no token may be verified with.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};

use super::JwtFault;
use super::json::{Object, Value};

/// The keys of an issuer.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    /// The keys that cannot be used, by id, and why.
    passed_over: Vec<(String, &'static str)>,
}

/// A public key, and what it is for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    id: Option<String>,
    kind: Kind,
    algorithm: Option<Algorithm>,
    pub(super) decoding: DecodingKey,
    pub(super) mark: KeyMark,
}

/// What tells one key from another: the digest of its id and all else that is known of it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct KeyMark([u8; 32]);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Ed25519,
    P256,
    P384,
    Rsa,
}

/// Why a text is no set of keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeySetFault {
    /// It is not JSON, or not as a JWK set is.
    #[error("it is no JWK set: a JSON object with a list of keys, in which no member comes twice")]
    Form,
    /// There are more than anybody needs.
    #[error("it has more than {LIMIT} keys")]
    TooMany,
    /// None of its keys can verify a token.
    #[error(
        "none of its keys can be used: an RSA key of 2048 to 8192 bits, or one on P-256, P-384 or \
         Ed25519, for signatures"
    )]
    Unusable,
}

impl KeySet {
    /// Reads a JWK set. Keys for something else, of other kinds, or too weak, are passed over.
    ///
    /// # Errors
    /// Refuses what is no set, and a set without a key that can be used.
    pub fn read(text: &[u8]) -> Result<Self, KeySetFault> {
        let document = Object::read(text).map_err(|_| KeySetFault::Form)?;
        let Some(Value::List(list)) = document.get("keys") else {
            return Err(KeySetFault::Form);
        };
        if list.len() > LIMIT {
            return Err(KeySetFault::TooMany);
        }
        let (mut keys, mut passed_over) = (Vec::new(), Vec::new());
        for value in list {
            let Value::Object(jwk) = value else {
                return Err(KeySetFault::Form);
            };
            match Key::read(jwk) {
                Ok(key) => keys.push(key),
                Err(why) => {
                    let id = jwk.text("kid").ok().flatten().unwrap_or_default();
                    passed_over.push((id.to_owned(), why));
                }
            }
        }
        if keys.is_empty() {
            return Err(KeySetFault::Unusable);
        }
        Ok(Self { keys, passed_over })
    }

    /// The one key that a token can be signed with.
    pub(super) fn find(&self, id: Option<&str>, alg: Algorithm) -> Result<&Key, JwtFault> {
        let named = |key: &&Key| id.is_none() || key.id.as_deref() == id;
        let mut fitting = self.keys.iter().filter(named).filter(|key| key.fits(alg));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(JwtFault::SeveralKeys),
            (None, _) if self.keys.iter().any(|key| named(&key)) => Err(JwtFault::KeyUse),
            (None, _) => Err(JwtFault::UnknownKey),
        }
    }

    pub(super) fn has(&self, mark: KeyMark) -> bool {
        self.keys.iter().any(|key| key.mark == mark)
    }

    /// What is different from the set before, for people; `None` where nothing is.
    pub(super) fn change(&self, before: Option<&Self>) -> Option<String> {
        let missing = |of: &Self, from: &Self| -> Vec<String> {
            let gone = of.keys.iter().filter(|key| !from.has(key.mark));
            gone.map(Key::name).collect()
        };
        let nothing = Self {
            keys: Vec::new(),
            passed_over: Vec::new(),
        };
        let before = before.unwrap_or(&nothing);
        let parts = [
            ("new", missing(self, before)),
            ("withdrawn", missing(before, self)),
        ];
        let told: Vec<String> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// The keys that cannot be used, for people; `None` where there are none.
    pub(super) fn passed_over(&self) -> Option<String> {
        let told: Vec<String> = self
            .passed_over
            .iter()
            .map(|(id, why)| format!("{id:?} {why}"))
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

impl Key {
    fn read(jwk: &Object) -> Result<Self, &'static str> {
        let text = |name| jwk.text(name).map_err(|_| "has a member of a wrong type");
        let id = text("kid")?;
        if id.is_some_and(|id| id.len() > super::read::ID_LIMIT) {
            return Err("has too long an id");
        }
        if jwk.get("d").is_some() || jwk.get("k").is_some() {
            return Err("is a secret, which is known to everybody now");
        }
        if text("use")?.is_some_and(|usage| usage != "sig") || !may_verify(jwk) {
            return Err("is not for signatures");
        }
        let algorithm = match text("alg")? {
            None => None,
            Some(name) => {
                Some(super::algorithm(name).ok_or("is for an algorithm that is not accepted")?)
            }
        };
        let bytes = |name: &'static str| {
            let text = text(name)?.ok_or("lacks a member")?;
            URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_| "has a member that is no Base64url")
        };
        let curve = text("crv")?.unwrap_or_default();
        let (kind, parts) = match (text("kty")?.unwrap_or_default(), curve) {
            ("RSA", _) => (
                Kind::Rsa,
                vec![modulus(bytes("n")?)?, exponent(bytes("e")?)?],
            ),
            ("EC", "P-256") => (
                Kind::P256,
                vec![sized(bytes("x")?, 32)?, sized(bytes("y")?, 32)?],
            ),
            ("EC", "P-384") => (
                Kind::P384,
                vec![sized(bytes("x")?, 48)?, sized(bytes("y")?, 48)?],
            ),
            ("OKP", "Ed25519") => (Kind::Ed25519, vec![sized(bytes("x")?, 32)?]),
            _ => return Err("is of a kind that is not accepted"),
        };
        let decoding = decoding(kind, &parts).ok_or("cannot be used")?;
        let key = Self {
            id: id.map(str::to_owned),
            kind,
            algorithm,
            decoding,
            mark: mark(id, kind, algorithm, &parts),
        };
        match ALL.iter().any(|alg| key.fits(*alg)) {
            true => Ok(key),
            false => Err("is of another kind than its algorithm takes"),
        }
    }

    /// Whether a token of this algorithm can be signed with the key.
    fn fits(&self, alg: Algorithm) -> bool {
        let kind = match alg {
            Algorithm::ES256 => Kind::P256,
            Algorithm::ES384 => Kind::P384,
            Algorithm::EdDSA => Kind::Ed25519,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Kind::Rsa,
            _ => return false,
        };
        kind == self.kind && self.algorithm.is_none_or(|only| only == alg)
    }

    fn name(&self) -> String {
        format!("{:?}", self.id.as_deref().unwrap_or_default())
    }
}

/// Whether `key_ops`, where it is there, lists verification.
fn may_verify(jwk: &Object) -> bool {
    match jwk.get("key_ops") {
        None => true,
        Some(Value::List(uses)) => uses
            .iter()
            .any(|usage| matches!(usage, Value::Text(text) if text == "verify")),
        Some(_) => false,
    }
}

/// Of 2048 to 8192 bits.
fn modulus(bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let first = bytes.first().copied().unwrap_or_default();
    let bits = (bytes.len() * 8).saturating_sub(first.leading_zeros() as usize);
    match bits {
        _ if first == 0 => Err("has a modulus with a leading zero"),
        ..2048 => Err("is an RSA key of less than 2048 bits"),
        2048..=8192 => Ok(bytes),
        _ => Err("is an RSA key of more than 8192 bits"),
    }
}

/// Odd, and from 65537 on: less is no exponent that a careful issuer takes.
fn exponent(bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let value = bytes
        .iter()
        .try_fold(0_u64, |value, byte| {
            value.checked_mul(256)?.checked_add((*byte).into())
        })
        .unwrap_or_default();
    match value {
        65_537..=0xffff_ffff if value % 2 == 1 => Ok(bytes),
        _ => Err("has an exponent that is not accepted"),
    }
}

fn sized(bytes: Vec<u8>, length: usize) -> Result<Vec<u8>, &'static str> {
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err("has a coordinate of a wrong length"),
    }
}

fn decoding(kind: Kind, parts: &[Vec<u8>]) -> Option<DecodingKey> {
    let encode = |bytes: &Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
    match (kind, parts) {
        (Kind::Rsa, [n, e]) => Some(DecodingKey::from_rsa_raw_components(n, e)),
        (Kind::P256 | Kind::P384, [x, y]) => {
            DecodingKey::from_ec_components(&encode(x), &encode(y)).ok()
        }
        (Kind::Ed25519, [x]) => Some(DecodingKey::from_ed_der(x)),
        _ => None,
    }
}

fn mark(id: Option<&str>, kind: Kind, alg: Option<Algorithm>, parts: &[Vec<u8>]) -> KeyMark {
    let mut context = Context::new(&SHA256);
    // A debug text has no NUL: what comes next cannot be taken for its end.
    context.update(format!("{id:?} {kind:?} {alg:?}\0").as_bytes());
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    KeyMark(bytes)
}

/// The algorithms that tokens may have: all of them asymmetric.
pub(super) const ALL: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The most keys of a set.
const LIMIT: usize = 128;
