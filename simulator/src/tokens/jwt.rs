//! The tokens' wire form: RS256 JWTs with the console's claims.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::random;

/// The size of a signature by a 2048-bit key, in bytes.
const SIGNATURE: usize = 256;

/// One key for all simulators of a process: making it takes longer than most tests.
static KEY: OnceLock<Option<KeyPair>> = OnceLock::new();

/// What a token says.
pub(super) struct Claims<'a> {
    pub(super) subject: Uuid,
    pub(super) name: &'a str,
    pub(super) login: u64,
    pub(super) number: u64,
    pub(super) session: Uuid,
    /// 2 for a refresh token, 3 for an access token.
    pub(super) kind: u8,
    pub(super) issued: i64,
    pub(super) expires: i64,
}

/// Writes tokens.
#[derive(Debug)]
pub(super) struct Writer {
    header: String,
    key: Option<&'static KeyPair>,
    numeric: bool,
}

impl Writer {
    /// Makes a writer; `None` when the system cannot make a key.
    pub(super) fn new(sign: bool, numeric: bool) -> Option<Self> {
        let key = if sign { Some(key()?) } else { None };
        let header = json!({ "typ": "JWT", "alg": "RS256" });
        Some(Self {
            header: BASE64.encode(header.to_string()),
            key,
            numeric,
        })
    }

    pub(super) fn write(&self, claims: &Claims<'_>) -> String {
        let time = |seconds: i64| match self.numeric {
            true => Value::from(seconds),
            false => Value::from(seconds.to_string()),
        };
        let claims = json!({
            "iat": time(claims.issued),
            "exp": time(claims.expires),
            "sub": claims.subject,
            "jti": random::uuid(),
            "name": claims.name,
            "lid": claims.login.to_string(),
            "uid": claims.number.to_string(),
            "ts": claims.session,
            "scope": "2",
            "kind": claims.kind.to_string(),
        });
        let mut text = format!("{}.{}", self.header, BASE64.encode(claims.to_string()));
        let signature = self.signature(text.as_bytes());
        text.push('.');
        BASE64.encode_string(signature, &mut text);
        text
    }

    fn signature(&self, text: &[u8]) -> [u8; SIGNATURE] {
        let mut signature = [0; SIGNATURE];
        let signed = self.key.is_some_and(|key| {
            key.sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text,
                &mut signature,
            )
            .is_ok()
        });
        if signed { signature } else { random::bytes() }
    }
}

fn key() -> Option<&'static KeyPair> {
    KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).ok())
        .as_ref()
}

/// Returns the public half of the signing key as an X.509 `SubjectPublicKeyInfo`.
pub(crate) fn public_key() -> Option<Vec<u8>> {
    let der: PublicKeyX509Der<'_> = aws_lc_rs::signature::KeyPair::public_key(key()?)
        .as_der()
        .ok()?;
    Some(der.as_ref().to_vec())
}
