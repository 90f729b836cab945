//! Which client a token is.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::maker::*;
use crate::client::jwt::issuers::{KeyEvent, KeyWatch};
use crate::client::jwt::*;
use crate::client::{
    API_KEY, Caller, Certificate, CertificateTerms, Client, Directory, Lack, Peer, Require,
    Targets, TenantClaim, Tenants, Terms, Unidentified,
};
use crate::secret::KeyDigest;
use crate::upstream::Fingerprint256;

const PEER: Peer = Peer::plain(IpAddr::V4(Ipv4Addr::LOCALHOST));
const KEY: &str = "a key of thirty-two characters, or more";

#[derive(Debug)]
struct Nobody;

impl KeyWatch for Nobody {
    fn saw(&self, _: KeyEvent<'_>) {}
}

fn conditions(claims: &[(&str, &str)]) -> Conditions {
    let claim = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Conditions {
        issuer: "entra".into(),
        claims: claims.iter().map(claim).collect(),
        tenant_claim: None,
    }
}

struct World {
    directory: Directory,
    issuer: Arc<Issuer>,
    _folder: TempDir,
}

/// Clients by their conditions; all of them have the same API key, the last one.
fn world(clients: &[(&str, Conditions)]) -> World {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let text = json!({"keys": [ec_jwk("ec"), rsa_jwk("rsa")]}).to_string();
    std::fs::write(&file, text).unwrap();
    let issuer = issuer_with(&file);
    let mut directory = Directory::default();
    for (index, (name, conditions)) in clients.iter().enumerate() {
        let client = Arc::new(Client {
            name: Arc::from(*name),
            index,
            tenants: Tenants::Named(HashSet::new()),
            targets: Targets::None,
            terms: Terms::default(),
        });
        directory.add_jwt(&client, conditions.clone());
        directory.add(KeyDigest::of(KEY.as_bytes()), &client).ok();
    }
    directory.trust(&[Arc::clone(&issuer)]);
    World {
        directory,
        issuer,
        _folder: folder,
    }
}

fn headers(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    headers.insert(AUTHORIZATION, value);
    headers
}

impl World {
    fn identify(&self, claims: Value) -> Result<String, Unidentified> {
        let token = signed(header(), claims);
        match self.directory.identify(&headers(&token), &PEER, at(NOW))? {
            Caller::Client(who) => Ok(who.client().name.to_string()),
            Caller::Login(..) => panic!("nobody logged in"),
        }
    }

    /// The client, and what is remembered of its token.
    fn issued(&self, token: &str, now: i64) -> Result<Arc<Issued>, Unidentified> {
        match self.directory.identify(&headers(token), &PEER, at(now))? {
            Caller::Client(who) => Ok(Arc::clone(who.issued().unwrap())),
            Caller::Login(..) => panic!("nobody logged in"),
        }
    }
}

#[test]
fn a_token_is_the_client_all_of_whose_conditions_hold() {
    let world = world(&[
        ("one", conditions(&[("azp", "app-1"), ("roles", "reader")])),
        ("two", conditions(&[("azp", "app-2"), ("roles", "reader")])),
        (
            "three",
            conditions(&[("azp", "app-1"), ("roles", "writer")]),
        ),
    ]);
    let identify = |change: Value| world.identify(with(claims(), change));
    let nobody = Err(Unidentified::Jwt(JwtFault::NoClient));
    for (change, expected) in [
        (json!({}), Ok("one")),
        (json!({"azp": "app-2"}), Ok("two")),
        (json!({"roles": "writer"}), Ok("three")),
        (json!({"roles": ["reader", "reader"]}), Ok("one")),
        (json!({"azp": ["app-2", "x"]}), Ok("two")),
        (json!({"azp": "app-3"}), nobody.clone()),
        (json!({"azp": null}), nobody.clone()),
        (json!({"azp": 1}), nobody.clone()),
        (json!({"roles": []}), nobody.clone()),
        (json!({"roles": "Reader"}), nobody.clone()),
        (json!({"roles": {"reader": true}}), nobody.clone()),
        (json!({"roles": [["reader"]]}), nobody.clone()),
        (
            json!({"roles": ["reader", "writer"]}),
            Err(Unidentified::Jwt(JwtFault::SeveralClients)),
        ),
    ] {
        let found = identify(change.clone());
        assert_eq!(found, expected.map(str::to_owned), "{change}");
    }
    assert_eq!(
        identify(json!({"iss": "https://login.example.com/other"})),
        Err(Unidentified::Jwt(JwtFault::UnknownIssuer))
    );
}

#[test]
fn a_caller_carries_what_its_token_says() {
    let named = Conditions {
        tenant_claim: Some("tid_vspc".to_owned()),
        ..conditions(&[("azp", "app-1")])
    };
    let world = world(&[("one", named)]);
    let token = signed(header(), with(claims(), json!({"tid_vspc": "acme"})));
    let identified = headers(&token);
    let Ok(Caller::Client(who)) = world.directory.identify(&identified, &PEER, at(NOW)) else {
        panic!("it is a client");
    };
    assert_eq!(who.tenant(), Some(TenantClaim::NameOrAlias("acme")));
    assert_eq!(who.principal().map(|of| &**of), Some("entra|5c0e"));
    assert!(who.credential().starts_with("jwt:"));
    assert_eq!(who.claim("azp"), Some("app-1"));
    assert_eq!(who.claim("roles"), None);
    assert_eq!(who.claim("exp"), None);
    for tenant in [json!(null), json!(""), json!(["acme"]), json!(7)] {
        assert_eq!(
            world.identify(with(claims(), json!({"tid_vspc": tenant}))),
            Err(Unidentified::Jwt(JwtFault::NoTenant))
        );
    }
}

#[test]
fn a_key_and_a_token_must_name_one_client() {
    let world = world(&[
        ("one", conditions(&[("azp", "app-1")])),
        ("two", conditions(&[("azp", "app-2")])),
    ]);
    let identify = |azp: &str, key: &str| {
        let token = signed(header(), with(claims(), json!({"azp": azp})));
        let mut headers = headers(&token);
        headers.insert(API_KEY, HeaderValue::from_str(key).unwrap());
        let found = world.directory.identify(&headers, &PEER, at(NOW));
        found.map(drop)
    };
    assert_eq!(identify("app-1", KEY), Ok(()));
    assert_eq!(identify("app-2", KEY), Err(Unidentified::Conflicting));
    assert_eq!(identify("app-3", KEY), Err(Unidentified::Conflicting));
    assert_eq!(identify("app-1", "x"), Err(Unidentified::Conflicting));
}

#[test]
fn a_token_is_verified_once_and_taken_until_it_ends() {
    let world = world(&[("one", conditions(&[("azp", "app-1")]))]);
    let token = signed(header(), claims());
    let first = world.issued(&token, NOW).unwrap();
    let again = world.issued(&token, NOW + 629).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "it was verified twice");
    assert_eq!(
        world.issued(&token, NOW + 630).err(),
        Some(Unidentified::Jwt(JwtFault::Expired))
    );
}

#[test]
fn a_withdrawn_key_ends_the_tokens_that_are_remembered() {
    let world = world(&[("one", conditions(&[("azp", "app-1")]))]);
    let by_ec = signed(header(), claims());
    let by_rsa = signed(json!({"alg": "RS256", "kid": "rsa"}), claims());
    let first = world.issued(&by_rsa, NOW).unwrap();
    world.issued(&by_ec, NOW).unwrap();
    world.issuer.take(set(&[rsa_jwk("rsa")]), &Nobody);
    assert_eq!(
        world.issued(&by_ec, NOW).err(),
        Some(Unidentified::Jwt(JwtFault::UnknownKey))
    );
    let again = world.issued(&by_rsa, NOW).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "its key is still there");
    // Another key of the same id is another key.
    world.issuer.take(set(&[other_ec_jwk("ec")]), &Nobody);
    assert_eq!(
        world.issued(&by_ec, NOW).err(),
        Some(Unidentified::Jwt(JwtFault::UnknownKey))
    );
}

#[test]
fn a_client_among_a_thousand_is_found_by_its_rarest_condition() {
    let names: Vec<_> = (0..1000).map(|n| format!("app-{n}")).collect();
    let clients: Vec<_> = names
        .iter()
        .map(|name| {
            let all = [("aud", "vspc-gateway"), ("azp", name), ("roles", "reader")];
            (name.as_str(), conditions(&all))
        })
        .collect();
    let world = world(&clients);
    for azp in ["app-0", "app-500", "app-999"] {
        let found = world.identify(with(claims(), json!({"azp": azp})));
        assert_eq!(found.as_deref(), Ok(azp));
    }
    let widest = world.directory.fits.widest();
    assert_eq!(widest, 1, "one look-up leads to one client");
    let all: Vec<_> = clients.into_iter().map(|(_, of)| of).collect();
    assert_eq!(overlaps(&all), []);
}

#[test]
fn conditions_that_one_token_may_fit_overlap() {
    let of_other = |claims| Conditions {
        issuer: "other".into(),
        ..conditions(claims)
    };
    for (one, other, do_overlap) in [
        (conditions(&[("a", "1")]), conditions(&[("a", "1")]), true),
        (conditions(&[("a", "1")]), conditions(&[("a", "2")]), false),
        (conditions(&[("a", "1")]), conditions(&[("b", "1")]), true),
        (
            conditions(&[("a", "1"), ("b", "1")]),
            conditions(&[("a", "1")]),
            true,
        ),
        (
            conditions(&[("a", "1"), ("b", "1")]),
            conditions(&[("b", "2"), ("c", "1")]),
            false,
        ),
        (conditions(&[("a", "1")]), of_other(&[("a", "1")]), false),
    ] {
        let far = conditions(&[("a", "0"), ("b", "0"), ("c", "0")]);
        let shown = format!("{one:?} {other:?}");
        let expected: &[(usize, usize)] = if do_overlap { &[(2, 0)] } else { &[] };
        assert_eq!(
            overlaps(&[one.clone(), far.clone(), other.clone()]),
            expected,
            "{shown}"
        );
        assert_eq!(overlaps(&[other, far, one]), expected, "{shown}");
    }
}

/// Whoever took a certificate and a token has no key.
#[test]
fn a_token_of_an_issuer_is_not_the_key_that_a_client_must_send_beside_its_certificate() {
    let mut world = world(&[]);
    let client = Arc::new(Client {
        name: Arc::from("one"),
        index: 0,
        tenants: Tenants::Named(HashSet::new()),
        targets: Targets::None,
        terms: Terms {
            require: Require::All,
            ..Terms::default()
        },
    });
    let print = "ab".repeat(32);
    let fingerprint = Fingerprint256::parse(&print).unwrap();
    let terms = CertificateTerms::new(vec![fingerprint], None, None);
    let directory = &mut world.directory;
    directory.add_jwt(&client, conditions(&[("azp", "app-1")]));
    directory.add_certificate(terms.unwrap().unwrap(), &client);
    let key = KeyDigest::of(KEY.as_bytes());
    directory.add(key, &client).unwrap();
    directory.trust(&[Arc::clone(&world.issuer)]);
    let certificate = Certificate {
        fingerprint,
        subject: "CN=one".to_owned(),
        names: Vec::new(),
        expires: at(NOW + 60),
    };
    let peer = Peer {
        certificate: Some(Arc::new(certificate)),
        ..PEER
    };
    let mut headers = headers(&signed(header(), claims()));
    let keyless = world.directory.identify(&headers, &peer, at(NOW));
    assert!(
        matches!(&keyless, Err(Unidentified::Unfit(unfit)) if unfit.lack == Lack::Key),
        "{keyless:?}"
    );
    headers.insert(API_KEY, HeaderValue::from_static(KEY));
    assert!(world.directory.identify(&headers, &peer, at(NOW)).is_ok());
    assert!(world.directory.identify(&headers, &PEER, at(NOW)).is_err());
}
