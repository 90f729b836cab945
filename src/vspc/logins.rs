//! What calls of the `/users/logins` family say about identities, and nothing secret of it.

mod read;

pub use read::read_answer;

use std::borrow::Cow;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use uuid::Uuid;

/// What a query string says about an identity.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// The description of one to be made, at most 128 characters of it.
    pub description: Option<String>,
    /// The scopes of one to be made, as they were written.
    pub scopes: Vec<String>,
    /// Whether it may only read.
    pub read_only: Option<bool>,
    /// Whose tokens are to be revoked.
    pub login: Option<i64>,
}

impl Wanted {
    /// Reads the query of a call. The TOTP secret and code ride in the same query and are passed
    /// over.
    pub fn read(query: &str) -> Self {
        let mut wanted = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name), decoded(value));
            let name = name.to_ascii_lowercase();
            // `scopes[]` and `scopes[0]` are lists to many a client.
            match name.split('[').next().unwrap_or_default() {
                "description" => wanted.description = Some(value.chars().take(128).collect()),
                "isreadaccessonly" => {
                    wanted.read_only = value.trim().to_ascii_lowercase().parse().ok();
                }
                "scopes" => wanted.add_scopes(&value),
                "userloginid" => wanted.login = value.trim().parse().ok(),
                _ => {}
            }
        }
        wanted
    }

    /// VSPC takes the parameter several times, or once with a list as JSON.
    fn add_scopes(&mut self, value: &str) {
        let listed: Vec<Cow<'_, str>> = match serde_json::from_str::<Vec<String>>(value) {
            Ok(listed) => listed.into_iter().map(Cow::Owned).collect(),
            Err(_) => vec![Cow::Borrowed(value)],
        };
        for scope in listed {
            if self.scopes.len() < SCOPES {
                self.scopes.push(scope.chars().take(64).collect());
            }
        }
    }
}

fn decoded(text: &str) -> String {
    let plain = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&plain).decode_utf8_lossy();
    decoded.into_owned()
}

/// What a change asks for (a JSON Patch): the new status and description, where it sets them.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Changed {
    /// `enabled` or `disabled`.
    pub status: Option<String>,
    /// At most 128 characters of it.
    pub description: Option<String>,
}

impl Changed {
    /// Reads the body of a change; what is none says nothing.
    pub fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Step {
            path: String,
            value: Option<serde_json::Value>,
        }
        let steps: Vec<Step> = serde_json::from_slice(body).unwrap_or_default();
        let mut changed = Self::default();
        for step in steps {
            let text = step.value.as_ref().and_then(serde_json::Value::as_str);
            let text = text.map(|text| text.chars().take(128).collect());
            match &*step.path.trim_start_matches('/').to_ascii_lowercase() {
                "status" => changed.status = text,
                "description" => changed.description = text,
                _ => {}
            }
        }
        changed
    }
}

/// An identity as VSPC describes it. Of `parameters`, which holds a new API key, only a public key is
/// looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// The identity's number.
    pub id: Option<i64>,
    /// Whose identity it is. Older descriptions call this `userId`.
    pub user_uid: Option<Uuid>,
    /// The identity provider: `WIN`, `VSPC`, `AA` (key pair), `AK` (API key), `TOTP` and others.
    pub provider: Option<String>,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// Whether it may only read.
    pub read_only: Option<bool>,
    /// The description given to it, at most 128 characters of it.
    pub description: Option<String>,
    /// `enabled`, `disabled` or why it is disabled.
    pub status: Option<String>,
    /// The fingerprint of its public key, where it has one and the console shows it.
    pub key_fingerprint: Option<String>,
}

/// What an answer of the family says.
#[derive(Debug, Eq, PartialEq)]
pub enum Answered {
    /// A page of identities.
    Many {
        /// The identities, as far as the answer was read.
        identities: Vec<Identity>,
        /// Whether that is all of the answer.
        is_whole: bool,
    },
    /// One identity.
    One(Identity),
}

/// The most scopes that are read.
const SCOPES: usize = 64;

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

/// The fingerprint of what is surely a public key.
fn public_key_fingerprint(text: &str) -> Option<String> {
    let info = rsa_public_key_info(text)?;
    let hashed = digest::digest(&digest::SHA256, &info);
    Some(format!("sha256:{}", hex::encode(hashed)))
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
    fn parameters_are_known_in_all_their_spellings() {
        let listed =
            Wanted::read("scopes=%5B%22integration%22%2C%22rest%22%5D&%69sReadAccessOnly=false");
        assert_eq!(listed.scopes, ["integration", "rest"]);
        assert_eq!(listed.read_only, Some(false));
        assert_eq!(
            Wanted::read("scopes%5B%5D=rest&Scopes[1]=ui").scopes,
            ["rest", "ui"]
        );
        assert_eq!(Wanted::read("UserLoginId=17").login, Some(17));
        assert_eq!(Wanted::read("userLoginId=x&scopes[]").login, None);
        let many = vec!["scopes=a"; 1000].join("&");
        assert_eq!(Wanted::read(&many).scopes.len(), 64);
    }

    #[test]
    fn a_change_tells_status_and_description_and_nothing_else() {
        let patch = br#"[{"op":"replace","path":"/status","value":"disabled"},
            {"op":"replace","path":"/Description","value":"old job"},
            {"op":"replace","path":"/parameters","value":"canary"},{"op":"test","path":"/x"}]"#;
        let changed = Changed::read(patch);
        assert_eq!(changed.status.as_deref(), Some("disabled"));
        assert_eq!(changed.description.as_deref(), Some("old job"));
        assert!(!format!("{changed:?}").contains("canary"));
        for none in [&b""[..], b"{}", b"[1]", b"canary"] {
            assert_eq!(Changed::read(none), Changed::default());
        }
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
