//! Reads a token of an issuer, strictly, and verifies it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;

use super::claims::Claims;
use super::json::{Object, Value};
use super::keys::{KeyMark, KeySet};
use super::{JwtFault, algorithm};
use crate::clock::Timestamp;

/// What tokens of an issuer must be like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rules {
    /// The `iss` of its tokens, to the letter.
    pub issuer: String,
    /// The audiences one of which a token must name.
    pub audience: Vec<String>,
    /// The algorithms that it may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks may differ.
    pub leeway: Duration,
    /// The most time from a token's issue to its end.
    pub max_lifetime: Duration,
    /// The `typ` that its header must have; absent, `JWT`, `at+jwt` or none.
    pub kind: Option<String>,
}

/// A token whose parts can be read; nothing in it is believed yet. It is not for printing.
pub struct Unverified<'t> {
    signed: &'t [u8],
    signature: &'t str,
    algorithm: Algorithm,
    key_id: Option<String>,
    kind: Option<String>,
    claims: Object,
    issuer: String,
}

/// A token that was verified.
#[derive(Debug)]
pub struct Verified {
    /// What it says.
    pub claims: Claims,
    /// Of whom.
    pub subject: String,
    /// From when on it is not taken any more, the leeway included.
    pub expires: Timestamp,
    /// What it was verified with.
    pub(super) key: KeyMark,
}

impl<'t> Unverified<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// Refuses everything that is not a token in its one strict form.
    pub fn read(token: &'t [u8]) -> Result<Self, JwtFault> {
        if token.len() > TOKEN_LIMIT {
            return Err(JwtFault::TooLarge);
        }
        let token = std::str::from_utf8(token).map_err(|_| JwtFault::Form)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtFault::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(JwtFault::Form)?;
        // A dot more is in none of the parts: it is no letter of Base64url.
        let [header, claims, signature_bytes] =
            [header, claims, signature].map(|part| URL_SAFE_NO_PAD.decode(part));
        if signature_bytes.map_err(|_| JwtFault::Form)?.is_empty() {
            return Err(JwtFault::Unsigned);
        }
        let header = Object::read(&header.map_err(|_| JwtFault::Form)?);
        let claims = Object::read(&claims.map_err(|_| JwtFault::Form)?);
        let (header, claims) = header.and_then(|header| Ok((header, claims?)))?;
        let issuer = claims.text("iss").map_err(|_| JwtFault::Claim("iss"))?;
        let issuer = issuer.ok_or(JwtFault::Missing("iss"))?.to_owned();
        for name in REFUSED {
            if header.get(name).is_some() {
                return Err(JwtFault::Member(name));
            }
        }
        let member = |name: &'static str| {
            let text = header.text(name).map_err(|_| JwtFault::Member(name))?;
            match text {
                Some(text) if text.len() > ID_LIMIT => Err(JwtFault::Member(name)),
                text => Ok(text.map(str::to_owned)),
            }
        };
        let alg = member("alg")?.ok_or(JwtFault::Algorithm)?;
        Ok(Self {
            signed: signed.as_bytes(),
            signature,
            algorithm: algorithm(&alg).ok_or(JwtFault::Algorithm)?,
            key_id: member("kid")?,
            kind: member("typ")?,
            claims,
            issuer,
        })
    }

    /// Who it says that it is from. It serves to choose whose keys are tried, and for nothing else.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Verifies everything: the signature first, so that only the issuer learns what else is wrong.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn verify(
        self,
        rules: &Rules,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Verified, JwtFault> {
        if !rules.algorithms.contains(&self.algorithm) {
            return Err(JwtFault::Algorithm);
        }
        if !is_kind(self.kind.as_deref(), rules.kind.as_deref()) {
            return Err(JwtFault::Kind);
        }
        let key = keys.find(self.key_id.as_deref(), self.algorithm)?;
        let (signature, signed) = (self.signature, self.signed);
        let verified =
            jsonwebtoken::crypto::verify(signature, signed, &key.decoding, self.algorithm);
        if !verified.unwrap_or(false) {
            return Err(JwtFault::Signature);
        }
        if self.issuer != rules.issuer {
            return Err(JwtFault::Claim("iss"));
        }
        let expires = check_times(&self.claims, rules, now)?;
        if self.claims.get("cnf").is_some() {
            return Err(JwtFault::Bound);
        }
        if !names_one(self.claims.get("aud"), &rules.audience)? {
            return Err(JwtFault::Audience);
        }
        let subject = self
            .claims
            .text("sub")
            .map_err(|_| JwtFault::Claim("sub"))?;
        let subject = subject.ok_or(JwtFault::Missing("sub"))?.to_owned();
        if subject.is_empty() || subject.len() > SUBJECT_LIMIT {
            return Err(JwtFault::Claim("sub"));
        }
        Ok(Verified {
            claims: Claims::of(self.claims),
            subject,
            expires,
            key: key.mark,
        })
    }
}

/// The kinds are media types, which have no case, and of which `application/` may be left out.
fn is_kind(found: Option<&str>, wanted: Option<&str>) -> bool {
    fn bare(kind: &str) -> &str {
        match kind.split_at_checked(12) {
            Some((start, rest)) if start.eq_ignore_ascii_case("application/") => rest,
            _ => kind,
        }
    }
    match (found, wanted) {
        (Some(found), Some(wanted)) => bare(found).eq_ignore_ascii_case(bare(wanted)),
        // A log-out token, say, is signed by the same issuer and says something else.
        (Some(found), None) => ["JWT", "at+jwt"]
            .iter()
            .any(|kind| bare(found).eq_ignore_ascii_case(kind)),
        (None, wanted) => wanted.is_none(),
    }
}

/// From when on a token is not taken any more; refused if that is now, or it is not time yet.
fn check_times(claims: &Object, rules: &Rules, now: Timestamp) -> Result<Timestamp, JwtFault> {
    let leeway = micros(rules.leeway);
    let exp = date(claims, "exp")?.ok_or(JwtFault::Missing("exp"))?;
    let expires = exp.saturating_add(leeway);
    if expires <= now.0 {
        return Err(JwtFault::Expired);
    }
    let soon = now.0.saturating_add(leeway);
    if date(claims, "nbf")?.is_some_and(|start| start > soon) {
        return Err(JwtFault::NotYet);
    }
    let issued = date(claims, "iat")?;
    if issued.is_some_and(|issued| issued > soon) {
        return Err(JwtFault::Future);
    }
    let life = exp.saturating_sub(issued.unwrap_or(soon));
    if life > micros(rules.max_lifetime) {
        return Err(JwtFault::Lifetime);
    }
    Ok(Timestamp(expires))
}

/// A date in seconds since the epoch, whole or not, as microseconds.
fn date(claims: &Object, name: &'static str) -> Result<Option<i64>, JwtFault> {
    let seconds = match claims.get(name) {
        None => return Ok(None),
        Some(Value::Whole(seconds)) => *seconds,
        // What is behind the point is cut off, so that a token ends rather early than late.
        Some(Value::Fraction(seconds)) if (0.0..=LAST_SECOND as f64).contains(seconds) => {
            seconds.trunc() as i64
        }
        Some(_) => return Err(JwtFault::Claim(name)),
    };
    match (0..=LAST_SECOND).contains(&seconds) {
        true => Ok(Some(seconds * 1_000_000)),
        false => Err(JwtFault::Claim(name)),
    }
}

/// Whether `aud`, a text or a list of texts, names one of these.
fn names_one(aud: Option<&Value>, audience: &[String]) -> Result<bool, JwtFault> {
    let is_one = |text: &String| audience.contains(text);
    match aud {
        None => Err(JwtFault::Missing("aud")),
        Some(Value::Text(text)) => Ok(is_one(text)),
        Some(Value::List(list)) => {
            let mut found = false;
            for value in list {
                match value {
                    Value::Text(text) => found |= is_one(text),
                    _ => return Err(JwtFault::Claim("aud")),
                }
            }
            Ok(found)
        }
        Some(_) => Err(JwtFault::Claim("aud")),
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Members of a header that change how a token is to be read, or bring a key along.
const REFUSED: [&str; 8] = ["b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip"];

/// The most bytes of a token.
const TOKEN_LIMIT: usize = 16 * 1024;

/// The most bytes of a key's id, and of other members of a header.
pub(super) const ID_LIMIT: usize = 256;

/// The most bytes of a subject.
const SUBJECT_LIMIT: usize = 255;

/// The end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;
