//! `client::jwt::Unverified`: the token of an identity provider; and `KeySet`, the issuer's keys.
//!
//! - What is read has three parts that are written in the one way there is, two of them JSON objects to
//!   `serde_json` as well, none of whose members comes twice; its algorithm is one of the accepted, no member
//!   of the header changes how it is read, and `iss` is what the claims say.
//! - Nothing is verified but the very messages that were signed.
//! - A set of keys is read or refused.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use vspc_gateway::client::jwt::{JwtFault, KeySet, Rules, Unverified, algorithm};
use vspc_gateway::clock::Timestamp;

/// Takes the input for a token, and for a set of keys.
pub fn check(data: &[u8]) {
    let is_set = KeySet::read(data).is_ok();
    let read = Unverified::read(data);
    assert!(!is_set || read.is_err(), "no text is both");
    let Ok(token) = read else {
        return check_signed(data, false);
    };
    let text = str::from_utf8(data).unwrap_or_else(|_| panic!("a token is ASCII"));
    assert!(text.len() <= 16 * 1024);
    let parts: Vec<&str> = text.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("{} parts", parts.len());
    };
    let decoded = [header, claims, signature].map(|part| match decode(part) {
        Some(bytes) => bytes,
        None => panic!("a part is not written in the one way: {part}"),
    });
    assert!(!decoded[2].is_empty(), "it is not signed");
    let [header, claims] = [0, 1].map(|part| object(&decoded[part]));
    let alg = header
        .get("alg")
        .and_then(Value::as_str)
        .unwrap_or_default();
    assert!(algorithm(alg).is_some(), "{alg:?}");
    assert!(!alg.starts_with("HS") && !alg.eq_ignore_ascii_case("none"));
    for name in ["b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip"] {
        assert!(header.get(name).is_none(), "{name}");
    }
    assert_eq!(
        claims.get("iss").and_then(Value::as_str),
        Some(token.issuer())
    );
    let message = text.rsplit_once('.').map(|(message, _)| message);
    match token.verify(&rules(), &keys(), NOW) {
        Ok(_) => assert!(
            SIGNED
                .iter()
                .any(|good| good.rsplit_once('.').map(|of| of.0) == message)
        ),
        Err(fault) => {
            // What an issuer says is not to be told to whom it did not say it.
            let is_early = matches!(
                fault,
                JwtFault::Algorithm
                    | JwtFault::Kind
                    | JwtFault::KeyUse
                    | JwtFault::SeveralKeys
                    | JwtFault::Signature
                    | JwtFault::UnknownKey
            );
            assert!(is_early, "{fault}");
        }
    }
    check_signed(data, true);
}

/// The tokens that were signed are taken.
fn check_signed(data: &[u8], is_read: bool) {
    if SIGNED.iter().any(|good| good.as_bytes() == data) {
        assert!(is_read);
        let token = Unverified::read(data);
        let verified = token.and_then(|token| token.verify(&rules(), &keys(), NOW));
        assert!(verified.is_ok(), "{:?}", verified.err());
    }
}

fn keys() -> KeySet {
    match KeySet::read(include_bytes!("jwt-keys.json")) {
        Ok(keys) => keys,
        Err(fault) => panic!("{fault}"),
    }
}

fn rules() -> Rules {
    Rules {
        issuer: "https://login.example.com/t".to_owned(),
        audience: vec!["vspc-gateway".to_owned()],
        algorithms: ["RS256", "ES256"]
            .into_iter()
            .filter_map(algorithm)
            .collect(),
        leeway: std::time::Duration::from_secs(30),
        max_lifetime: std::time::Duration::from_secs(3600),
        kind: None,
    }
}

/// Base64url, bit by bit: what is left over must be zero, and less than a letter.
fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0 && count < 6).then_some(bytes)
}

/// An object, to a reader that takes the last of what comes twice, and to one that lists the names.
fn object(text: &[u8]) -> Value {
    let read = |what: &str, error: serde_json::Error| -> Value { panic!("{what}: {error}") };
    match serde_json::from_slice::<Names>(text) {
        Ok(Names(names)) => {
            let different: HashSet<&String> = names.iter().collect();
            assert_eq!(different.len(), names.len(), "{names:?}");
        }
        Err(error) => return read("no object", error),
    }
    serde_json::from_slice(text).unwrap_or_else(|error| read("no JSON", error))
}

/// The names of an object's members.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, Value>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Of)
    }
}

/// The only two messages that the keys have signed; nobody has the keys any more.
const SIGNED: [&str; 2] = [
    include_str!("../seeds/jwt/good-ec"),
    include_str!("../seeds/jwt/good-rsa"),
];

const NOW: Timestamp = Timestamp(1_790_000_000_000_000);
