//! An issuer that signs whatever a test wants.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::client::jwt::*;

/// The moment of all tests, in seconds.
pub(super) const NOW: i64 = 1_790_000_000;
pub(super) const ISSUER: &str = "https://login.example.com/tenant/v2.0";

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

/// One RSA key for all tests: making it takes longer than they do.
static RSA: LazyLock<rsa::KeyPair> =
    LazyLock::new(|| rsa::KeyPair::generate(KeySize::Rsa2048).unwrap());
static EC: LazyLock<EcdsaKeyPair> = LazyLock::new(ec_key);

fn ec_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

pub(super) fn ec_jwk_of(kid: &str, key: &EcdsaKeyPair) -> Value {
    let point = key.public_key().as_ref();
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])})
}

pub(super) fn ec_jwk(kid: &str) -> Value {
    ec_jwk_of(kid, &EC)
}

pub(super) fn other_ec_jwk(kid: &str) -> Value {
    ec_jwk_of(kid, &ec_key())
}

pub(super) fn rsa_jwk(kid: &str) -> Value {
    // SEQUENCE { INTEGER n (257 bytes, the first of them zero), INTEGER e }
    let der = RSA.public_key().as_ref();
    json!({"kty": "RSA", "kid": kid, "n": URL_SAFE_NO_PAD.encode(&der[9..265]), "e": "AQAB"})
}

/// All that is public of the RSA key, as an attacker might use it for a secret.
pub(super) fn rsa_public() -> Vec<Vec<u8>> {
    let der = RSA.public_key().as_ref();
    vec![
        der.to_vec(),
        der[9..265].to_vec(),
        rsa_jwk("rsa")["n"].as_str().unwrap().as_bytes().to_vec(),
        rsa_jwk("rsa").to_string().into_bytes(),
        Vec::new(),
    ]
}

pub(super) fn set(keys: &[Value]) -> KeySet {
    KeySet::read(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

/// The issuer's keys: `ec` and `rsa`.
pub(super) fn keys() -> KeySet {
    set(&[ec_jwk("ec"), rsa_jwk("rsa")])
}

pub(super) fn rules() -> Rules {
    Rules {
        issuer: ISSUER.to_owned(),
        audience: vec!["vspc-gateway".to_owned(), "api://gateway".to_owned()],
        algorithms: vec![Algorithm::RS256, Algorithm::ES256],
        leeway: Duration::from_secs(30),
        max_lifetime: Duration::from_secs(24 * 60 * 60),
        kind: None,
    }
}

pub(super) fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "5c0e", "aud": "vspc-gateway", "iat": NOW - 10,
        "nbf": NOW - 10, "exp": NOW + 600, "azp": "app-1", "roles": ["reader", "other"]})
}

pub(super) fn header() -> Value {
    json!({"alg": "ES256", "kid": "ec", "typ": "JWT"})
}

/// Base with some members in place of, or besides, its own; null takes one out.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is written where it is used"
)]
pub(super) fn with(base: Value, changes: Value) -> Value {
    let mut base = base;
    let members = base.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
    base
}

/// Signs texts as they are, by what the header says.
pub(super) fn signed_text(header: &str, claims: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(header), encode(claims));
    let random = SystemRandom::new();
    let signature = if header.contains("RS256") {
        let mut signature = vec![0; RSA.public_modulus_len()];
        RSA.sign(
            &RSA_PKCS1_SHA256,
            &random,
            message.as_bytes(),
            &mut signature,
        )
        .unwrap();
        signature
    } else {
        EC.sign(&random, message.as_bytes())
            .unwrap()
            .as_ref()
            .to_vec()
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is written where it is used"
)]
pub(super) fn signed(header: Value, claims: Value) -> String {
    signed_text(&header.to_string(), &claims.to_string())
}

/// Signed by a secret.
pub(super) fn mac(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        message.as_bytes(),
    );
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

pub(super) fn verify_by(rules: &Rules, keys: &KeySet, token: &str) -> Result<Verified, JwtFault> {
    Unverified::read(token.as_bytes())?.verify(rules, keys, at(NOW))
}

pub(super) fn verify(token: &str) -> Result<Verified, JwtFault> {
    verify_by(&rules(), &keys(), token)
}

/// An issuer called `entra`, whose keys are in a file.
pub(super) fn issuer_with(file: &std::path::Path) -> Arc<Issuer> {
    let settings = IssuerSettings {
        name: "entra".into(),
        rules: rules(),
        source: KeySource::File(file.to_owned()),
        trust: crate::upstream::Trust::System,
        refresh: Duration::from_secs(600),
        refetch: Duration::from_secs(30),
        max_stale: Duration::from_secs(3600),
    };
    Arc::new(Issuer::new(settings).unwrap())
}
