//! What calls of the `/users/logins` family say about identities, and nothing secret of it.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use uuid::Uuid;

/// What a query string says about an identity to be created.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// The description, at most 128 characters of it.
    pub description: Option<String>,
    /// The scopes, as they were written.
    pub scopes: Vec<String>,
    /// Whether it may only read.
    pub read_only: Option<bool>,
}

impl Wanted {
    /// Reads the query of a creating call. The TOTP secret and code ride in the same query and are
    /// passed over.
    pub fn read(query: &str) -> Self {
        let mut wanted = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = value.replace('+', " ");
            let value = percent_encoding::percent_decode_str(&plain).decode_utf8_lossy();
            match name.to_ascii_lowercase().as_str() {
                "description" => wanted.description = Some(value.chars().take(128).collect()),
                "isreadaccessonly" => {
                    wanted.read_only = value.to_ascii_lowercase().parse().ok();
                }
                "scopes" if wanted.scopes.len() < 8 => {
                    wanted.scopes.push(value.chars().take(64).collect());
                }
                _ => {}
            }
        }
        wanted
    }
}

/// An identity as VSPC describes it, without `parameters`: that member holds a new API key.
#[derive(Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Identity {
    /// The identity's number.
    pub id: Option<i64>,
    /// Whose identity it is. Older descriptions call this `userId`.
    #[serde(alias = "userId")]
    pub user_uid: Option<Uuid>,
    /// The identity provider: `WIN`, `VSPC`, `AA` (key pair), `AK` (API key), `TOTP` and others.
    pub identity_provider_name: Option<String>,
    /// What it may be used for.
    pub scopes: Option<Vec<String>>,
    /// Whether it may only read.
    pub is_read_access_only: Option<bool>,
}

/// What an answer of the family says.
#[derive(Debug, Eq, PartialEq)]
pub enum Answered {
    /// A page of identities: how many.
    Many(usize),
    /// One identity.
    One(Identity),
}

/// Reads an answer; `None` when it is not one of the family's (an error, a removal, a cut).
pub fn read_answer(body: &[u8]) -> Option<Answered> {
    #[derive(Deserialize)]
    struct Envelope {
        data: Data,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Data {
        Many(Vec<serde::de::IgnoredAny>),
        One(Identity),
    }
    match serde_json::from_slice::<Envelope>(body).ok()?.data {
        Data::Many(all) => Some(Answered::Many(all.len())),
        Data::One(identity) => Some(Answered::One(identity)),
    }
}

/// The SHA-256 fingerprint of a submitted public key, as `sha256:` and hex.
///
/// An RSA key in the `<RSAKeyValue>` form that VSPC documents is fingerprinted over its
/// SubjectPublicKeyInfo, so that the value equals the one of
/// `openssl pkey -pubin -outform der | sha256sum`. Anything else is fingerprinted as submitted.
pub fn key_fingerprint(body: &[u8]) -> String {
    let decoded = std::str::from_utf8(body)
        .ok()
        .and_then(|text| STANDARD.decode(text.trim()).ok())
        .filter(|bytes| !bytes.is_empty());
    let submitted = decoded.as_deref().unwrap_or(body);
    let info = std::str::from_utf8(submitted)
        .ok()
        .and_then(rsa_public_key_info);
    let hashed = digest::digest(&digest::SHA256, info.as_deref().unwrap_or(submitted));
    format!("sha256:{}", hex::encode(hashed))
}

/// The DER SubjectPublicKeyInfo of an `<RSAKeyValue>`.
fn rsa_public_key_info(xml: &str) -> Option<Vec<u8>> {
    let modulus = element(xml, "Modulus")?;
    let exponent = element(xml, "Exponent")?;
    let key = der(
        SEQUENCE,
        &[unsigned(&modulus), unsigned(&exponent)].concat(),
    );
    let bits = der(BIT_STRING, &[&[0][..], &key].concat());
    Some(der(SEQUENCE, &[&RSA_ENCRYPTION[..], &bits].concat()))
}

fn element(xml: &str, name: &str) -> Option<Vec<u8>> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    STANDARD
        .decode(compact)
        .ok()
        .filter(|bytes| !bytes.is_empty())
}

/// A DER INTEGER that is not negative.
fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut value = bytes.iter().copied().skip(zeros).collect::<Vec<_>>();
    if value.first().is_none_or(|first| first & 0x80 != 0) {
        value.insert(0, 0);
    }
    der(INTEGER, &value)
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if let Ok(short) = u8::try_from(length)
        && short < 0x80
    {
        out.push(short);
    } else {
        let bytes: Vec<u8> = length
            .to_be_bytes()
            .into_iter()
            .skip_while(|byte| *byte == 0)
            .collect();
        out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0));
        out.extend_from_slice(&bytes);
    }
    out.extend_from_slice(content);
    out
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// AlgorithmIdentifier { rsaEncryption, NULL }
const RSA_ENCRYPTION: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_give_what_is_wanted_and_no_secret() {
        let wanted = Wanted::read(
            "description=my%20key+1&scopes=rest&scopes=ui&isReadAccessOnly=True&secretUrl=otpauth",
        );
        assert_eq!(wanted.description.as_deref(), Some("my key 1"));
        assert_eq!(wanted.scopes, ["rest", "ui"]);
        assert_eq!(wanted.read_only, Some(true));
        assert!(!format!("{wanted:?}").contains("otpauth"));
    }

    #[test]
    fn answers_give_the_identity_in_both_spellings_and_never_its_parameters() {
        let user = Uuid::from_u128(7);
        for name in ["userUid", "userId"] {
            let body = format!(
                r#"{{"data":{{"id":3,"{name}":"{user}","identityProviderName":"AK",
                "parameters":"canary-secret","scopes":["rest"],"isReadAccessOnly":false}}}}"#
            );
            let Some(Answered::One(identity)) = read_answer(body.as_bytes()) else {
                panic!("not one identity")
            };
            assert_eq!((identity.id, identity.user_uid), (Some(3), Some(user)));
            assert!(!format!("{identity:?}").contains("canary"));
        }
        let page = br#"{"meta":{},"data":[{"id":1},{"id":2}]}"#;
        assert_eq!(read_answer(page), Some(Answered::Many(2)));
        assert_eq!(read_answer(br#"{"data":true}"#), None);
        assert_eq!(read_answer(b"<html>"), None);
    }

    #[test]
    fn an_rsa_key_has_one_fingerprint_in_every_wrapping() {
        let modulus: Vec<u8> = (0_u8..=255).map(|i| i | 0x80).collect();
        let xml = format!(
            "<RSAKeyValue><Modulus>{}</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>",
            STANDARD.encode(&modulus)
        );
        let info = rsa_public_key_info(&xml).unwrap();
        // 2048 bits: a SubjectPublicKeyInfo of 294 bytes that starts 30 82 01 22.
        assert_eq!(
            (info.len(), &info[..4]),
            (294, &[0x30, 0x82, 0x01, 0x22][..])
        );
        let plain = key_fingerprint(xml.as_bytes());
        assert_eq!(plain, key_fingerprint(STANDARD.encode(&xml).as_bytes()));
        assert_ne!(plain, key_fingerprint(b"something else"));
        assert_eq!(plain.len(), 7 + 64);
    }
}
