//! What a token must be like.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::maker::*;
use crate::client::jwt::*;

fn fault(header: Value, claims: Value) -> Option<JwtFault> {
    verify(&signed(header, claims)).err()
}

#[test]
fn a_good_token_says_who_it_is_and_until_when() {
    for header in [
        header(),
        json!({"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}),
        json!({"alg": "RS256", "typ": "application/AT+JWT", "x5t": "digest"}),
        json!({"alg": "ES256"}),
    ] {
        let verified = verify(&signed(header.clone(), claims())).unwrap();
        assert_eq!(verified.subject, "5c0e", "{header}");
        assert_eq!(verified.expires, at(NOW + 630));
        assert_eq!(verified.claims.text("azp"), Some("app-1"));
        assert_eq!(verified.claims.text("roles"), None);
        let roles: Vec<_> = verified.claims.texts("roles").collect();
        assert_eq!(roles, ["reader", "other"]);
    }
    for audience in [json!("api://gateway"), json!(["other", "vspc-gateway"])] {
        let token = signed(header(), with(claims(), json!({"aud": audience})));
        assert!(verify(&token).is_ok());
    }
}

#[test]
fn headers_that_change_the_meaning_or_bring_a_key_are_refused() {
    use JwtFault::{Kind, Member};
    for (change, expected) in [
        (json!({"crit": ["exp"]}), Member("crit")),
        (json!({"crit": []}), Member("crit")),
        (json!({"b64": false}), Member("b64")),
        (json!({"b64": true}), Member("b64")),
        (json!({"jwk": ec_jwk("ec")}), Member("jwk")),
        (json!({"jku": "https://evil.example/keys"}), Member("jku")),
        (json!({"x5u": "https://evil.example/chain"}), Member("x5u")),
        (json!({"x5c": ["MIIB"]}), Member("x5c")),
        (json!({"zip": "DEF"}), Member("zip")),
        (json!({"enc": "A256GCM"}), Member("enc")),
        (json!({"kid": 1}), Member("kid")),
        (json!({"kid": ["ec"]}), Member("kid")),
        (json!({"kid": "k".repeat(257)}), Member("kid")),
        (json!({"typ": 1}), Member("typ")),
        (json!({"alg": ["ES256"]}), Member("alg")),
        (json!({"alg": null}), JwtFault::Algorithm),
        (json!({"typ": "logout+jwt"}), Kind),
        (json!({"typ": "dpop+jwt"}), Kind),
        (json!({"typ": "application/"}), Kind),
        (json!({"typ": ""}), Kind),
    ] {
        let token = signed(with(header(), change.clone()), claims());
        assert_eq!(verify(&token).err(), Some(expected), "{change}");
    }
}

#[test]
fn a_pinned_type_is_the_only_one() {
    let pinned = Rules {
        kind: Some("at+jwt".to_owned()),
        ..rules()
    };
    for (kind, is_good) in [
        (json!("at+jwt"), true),
        (json!("AT+JWT"), true),
        (json!("application/at+jwt"), true),
        (json!("JWT"), false),
        (json!("at+jwt "), false),
        (Value::Null, false),
    ] {
        let token = signed(with(header(), json!({"typ": kind})), claims());
        let verified = verify_by(&pinned, &keys(), &token);
        assert_eq!(verified.is_ok(), is_good, "{kind}");
    }
}

/// CVE-2015-9235 and all that came of it.
#[test]
fn no_token_is_good_without_a_signature_of_the_issuer() {
    for alg in [
        "none", "None", "NONE", "nOnE", "none ", "", "ES256\0", "es256", "Es256",
    ] {
        let header = with(header(), json!({"alg": alg}));
        let token = signed(header.clone(), claims());
        assert_eq!(verify(&token).err(), Some(JwtFault::Algorithm), "{alg}");
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        for token in [format!("{unsigned}."), unsigned.to_owned()] {
            assert!(verify(&token).is_err(), "{token}");
        }
    }
    let token = signed(header(), claims());
    let (unsigned, _) = token.rsplit_once('.').unwrap();
    assert_eq!(
        verify(&format!("{unsigned}.")).err(),
        Some(JwtFault::Unsigned)
    );
    assert_eq!(
        verify(&format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode([0; 64]))).err(),
        Some(JwtFault::Signature)
    );
}

#[test]
fn a_public_key_is_no_secret_to_sign_with() {
    for alg in ["HS256", "HS384", "HS512", "hs256"] {
        for kid in ["rsa", "ec"] {
            for secret in rsa_public() {
                let header = json!({"alg": alg, "kid": kid});
                let token = mac(&header, &claims(), &secret);
                assert_eq!(verify(&token).err(), Some(JwtFault::Algorithm), "{alg}");
                // The algorithm that is claimed is another than that of the signature.
                let header = json!({"alg": "RS256", "kid": kid});
                assert!(verify(&mac(&header, &claims(), &secret)).is_err());
            }
        }
    }
    assert!(algorithm("HS256").is_none());
    assert!(algorithm("none").is_none());
}

#[test]
fn an_algorithm_must_be_the_issuers_and_the_keys() {
    let all = [ec_jwk("ec"), rsa_jwk("rsa")];
    let only_ec = Rules {
        algorithms: vec![Algorithm::ES256],
        ..rules()
    };
    let by_rsa = signed(json!({"alg": "RS256", "kid": "rsa"}), claims());
    assert_eq!(
        verify_by(&only_ec, &set(&all), &by_rsa).err(),
        Some(JwtFault::Algorithm)
    );
    let crossed = signed(json!({"alg": "RS256", "kid": "ec"}), claims());
    assert_eq!(verify(&crossed).err(), Some(JwtFault::KeyUse));
    // A key that is for another algorithm of its kind is not for this one.
    let pss = with(rsa_jwk("rsa"), json!({"alg": "PS256"}));
    assert_eq!(
        verify_by(&rules(), &set(&[pss]), &by_rsa).err(),
        Some(JwtFault::KeyUse)
    );
}

#[test]
fn a_key_is_found_by_its_id_or_because_it_is_the_only_one() {
    let nameless = signed(json!({"alg": "ES256"}), claims());
    let named = signed(header(), claims());
    let find = |keys: &[Value], token: &str| verify_by(&rules(), &set(keys), token).err();
    assert_eq!(find(&[ec_jwk("ec"), rsa_jwk("rsa")], &nameless), None);
    assert_eq!(
        find(&[ec_jwk("ec"), other_ec_jwk("new")], &nameless),
        Some(JwtFault::SeveralKeys)
    );
    assert_eq!(find(&[ec_jwk("ec"), other_ec_jwk("new")], &named), None);
    assert_eq!(
        find(&[ec_jwk("ec"), other_ec_jwk("ec")], &named),
        Some(JwtFault::SeveralKeys)
    );
    assert_eq!(find(&[ec_jwk("EC")], &named), Some(JwtFault::UnknownKey));
    let without_id = with(ec_jwk("ec"), json!({"kid": null}));
    assert_eq!(find(&[without_id], &named), Some(JwtFault::UnknownKey));
    // Another issuer's key that has the same id.
    assert_eq!(
        find(&[other_ec_jwk("ec")], &named),
        Some(JwtFault::Signature)
    );
}

#[test]
fn claims_must_be_there_and_of_their_type() {
    use JwtFault::{Audience, Bound, Claim, Missing};
    for (change, expected) in [
        (json!({"iss": null}), Missing("iss")),
        (json!({"iss": [ISSUER]}), Claim("iss")),
        (json!({"iss": format!("{ISSUER}/")}), Claim("iss")),
        (json!({"iss": ISSUER.to_uppercase()}), Claim("iss")),
        (json!({"aud": null}), Missing("aud")),
        (json!({"aud": "other"}), Audience),
        (json!({"aud": "vspc-gateway "}), Audience),
        (json!({"aud": "VSPC-gateway"}), Audience),
        (json!({"aud": []}), Audience),
        (json!({"aud": ["vspc-gateway", 1]}), Claim("aud")),
        (json!({"aud": {"vspc-gateway": 1}}), Claim("aud")),
        (json!({"sub": null}), Missing("sub")),
        (json!({"sub": ""}), Claim("sub")),
        (json!({"sub": 7}), Claim("sub")),
        (json!({"sub": "s".repeat(256)}), Claim("sub")),
        (json!({"exp": null}), Missing("exp")),
        (json!({"exp": "1790000600"}), Claim("exp")),
        (json!({"exp": -1}), Claim("exp")),
        (json!({"exp": 1e15}), Claim("exp")),
        (json!({"exp": 253_402_300_800_i64}), Claim("exp")),
        (json!({"nbf": "0"}), Claim("nbf")),
        (json!({"iat": true}), Claim("iat")),
        (json!({"cnf": {"jkt": "digest"}}), Bound),
    ] {
        let claims = with(claims(), change.clone());
        assert_eq!(fault(header(), claims), Some(expected), "{change}");
    }
}

#[test]
fn times_are_judged_to_the_second_of_the_leeway() {
    use JwtFault::{Expired, Future, Lifetime, NotYet};
    let day = 24 * 60 * 60;
    for (change, expected) in [
        (json!({"exp": NOW - 29}), None),
        (json!({"exp": NOW - 30}), Some(Expired)),
        (json!({"exp": 0}), Some(Expired)),
        // What is behind the point does not make it live longer.
        (json!({"exp": NOW as f64 - 29.5}), Some(Expired)),
        (json!({"nbf": NOW + 30}), None),
        (json!({"nbf": NOW + 31}), Some(NotYet)),
        (json!({"nbf": null}), None),
        (json!({"iat": NOW + 30}), None),
        (json!({"iat": NOW + 31}), Some(Future)),
        (json!({"iat": NOW, "exp": NOW + day}), None),
        (json!({"iat": NOW, "exp": NOW + day + 1}), Some(Lifetime)),
        (json!({"iat": NOW - day, "exp": NOW + 1}), Some(Lifetime)),
        (json!({"iat": null, "exp": NOW + day + 30}), None),
        (json!({"iat": null, "exp": NOW + day + 31}), Some(Lifetime)),
    ] {
        let claims = with(claims(), change.clone());
        assert_eq!(fault(header(), claims), expected, "{change}");
    }
}

/// The signature goes first: nothing of a forged token is told but that it is forged.
#[test]
fn nobody_learns_from_a_forged_token_what_else_is_wrong() {
    for change in [json!({"exp": 0}), json!({"aud": "x"}), json!({"sub": 1})] {
        let token = signed(header(), with(claims(), change));
        let (start, _) = token.split_at(token.len() - 4);
        let forged = format!("{start}AAAA");
        assert_eq!(verify(&forged).err(), Some(JwtFault::Signature));
    }
}

#[test]
fn what_has_two_readings_is_no_token() {
    let (head, body) = (header().to_string(), claims().to_string());
    let twice = |text: &str, more: &str| text.replacen('{', &format!("{{{more},"), 1);
    for token in [
        signed_text(&twice(&head, r#""alg":"ES256""#), &body),
        signed_text(&twice(&head, r#""kid":"other""#), &body),
        signed_text(&head, &twice(&body, r#""sub":"root""#)),
        signed_text(&head, &twice(&body, r#""s\u0075b":"root""#)),
        signed_text(&head, &twice(&body, r#""x":{"a":1,"a":2}"#)),
        signed_text(&format!("{head} x"), &body),
        signed_text(&head, &format!("[{body}]")),
        signed_text(&head, "null"),
        signed_text(&head, ""),
        signed_text(&head, &format!("{body}{body}")),
    ] {
        assert_eq!(verify(&token).err(), Some(JwtFault::Form));
    }
    let token = signed(header(), claims());
    let parts: Vec<&str> = token.split('.').collect();
    let padded = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
        URL_SAFE.encode([&bytes[..], b" "].concat())
    };
    let [head, body, signature] = parts[..] else {
        panic!("three parts");
    };
    for token in [
        format!("{head}.{body}"),
        format!("{head}.{body}.{signature}."),
        format!(".{head}.{body}.{signature}"),
        format!("{head}.{body}.{signature}.{signature}"),
        format!("{head}.{body}.{signature}=="),
        format!("{head}..{signature}"),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        token.replacen('.', "..", 1),
        format!(
            "{}.{body}.{signature}",
            padded(&format!("{head}A").replace('A', ""))
        ),
        token.replace('_', "/").replace('-', "+") + "+",
    ] {
        assert!(verify(&token).is_err(), "{token}");
    }
    let long = with(claims(), json!({"x": "x".repeat(16 * 1024)}));
    assert_eq!(fault(header(), long), Some(JwtFault::TooLarge));
    let large = with(claims(), json!({"x": "x".repeat(10 * 1024)}));
    assert_eq!(fault(header(), large), None);
}

#[test]
fn keys_that_are_weak_or_for_something_else_are_passed_over() {
    let wide = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xff_u8; bytes]);
    for jwk in [
        with(rsa_jwk("k"), json!({"n": wide(128)})),
        with(rsa_jwk("k"), json!({"n": wide(255)})),
        with(rsa_jwk("k"), json!({"n": wide(1025)})),
        with(
            rsa_jwk("k"),
            json!({"n": URL_SAFE_NO_PAD.encode([&[0; 200][..], &[0xff; 100]].concat())}),
        ),
        with(rsa_jwk("k"), json!({"e": "AQ"})),
        with(rsa_jwk("k"), json!({"e": "Aw"})),
        with(rsa_jwk("k"), json!({"e": "AQAA"})),
        with(rsa_jwk("k"), json!({"e": null})),
        with(rsa_jwk("k"), json!({"n": "=="})),
        with(rsa_jwk("k"), json!({"use": "enc"})),
        with(rsa_jwk("k"), json!({"key_ops": ["encrypt"]})),
        with(rsa_jwk("k"), json!({"alg": "HS256"})),
        with(rsa_jwk("k"), json!({"alg": "none"})),
        with(rsa_jwk("k"), json!({"alg": "ES256"})),
        with(rsa_jwk("k"), json!({"alg": "RSA-OAEP"})),
        with(rsa_jwk("k"), json!({"d": "AQAB"})),
        with(rsa_jwk("k"), json!({"kid": 7})),
        with(ec_jwk("k"), json!({"crv": "P-521"})),
        with(ec_jwk("k"), json!({"crv": "secp256k1"})),
        with(ec_jwk("k"), json!({"x": wide(31)})),
        with(ec_jwk("k"), json!({"y": null})),
        json!({"kty": "oct", "kid": "k", "k": wide(64)}),
        json!({"kty": "OKP", "crv": "X25519", "x": wide(32)}),
        json!({"kid": "k"}),
    ] {
        let text = json!({"keys": [jwk]}).to_string();
        let read = KeySet::read(text.as_bytes());
        assert_eq!(read.err(), Some(KeySetFault::Unusable), "{jwk}");
        let text = json!({"keys": [jwk, ec_jwk("ec")]}).to_string();
        let set = KeySet::read(text.as_bytes()).unwrap();
        assert!(set.passed_over().is_some());
        assert!(verify_by(&rules(), &set, &signed(header(), claims())).is_ok());
    }
    for text in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[7]}"#,
        r#"{"keys":[],"keys":[]}"#,
    ] {
        assert_eq!(
            KeySet::read(text.as_bytes()).err(),
            Some(KeySetFault::Form),
            "{text}"
        );
    }
    let many: Vec<_> = (0..129).map(|n| ec_jwk(&n.to_string())).collect();
    let text = json!({"keys": many}).to_string();
    assert_eq!(
        KeySet::read(text.as_bytes()).err(),
        Some(KeySetFault::TooMany)
    );
}

static GOOD: LazyLock<[String; 2]> = LazyLock::new(|| {
    let rsa = json!({"alg": "RS256", "kid": "rsa"});
    [signed(header(), claims()), signed(rsa, claims())]
});

proptest! {
    #[test]
    fn a_token_of_which_one_byte_is_another_is_refused(
        rsa: bool,
        place: proptest::sample::Index,
        byte: u8,
    ) {
        let good = &GOOD[usize::from(rsa)];
        let mut changed = good.clone().into_bytes();
        let place = place.index(changed.len());
        prop_assume!(changed[place] != byte);
        changed[place] = byte;
        let read = Unverified::read(&changed);
        prop_assert!(read.and_then(|read| read.verify(&rules(), &keys(), at(NOW))).is_err());
        prop_assert!(verify(good).is_ok());
    }

    #[test]
    fn a_token_that_is_cut_or_has_more_is_refused(rsa: bool, place: proptest::sample::Index, more in "[A-Za-z0-9._=-]{1,4}") {
        let good = &GOOD[usize::from(rsa)];
        let place = place.index(good.len());
        let (start, end) = good.split_at(place);
        prop_assert!(verify(start).is_err());
        let longer = [start, &more, end].concat();
        prop_assert!(verify(&longer).is_err());
    }

    #[test]
    fn whatever_comes_is_read_or_refused(bytes: Vec<u8>, header in "\\PC{0,40}", claims in "\\PC{0,40}") {
        prop_assert!(Unverified::read(&bytes).is_err());
        prop_assert!(verify(&signed_text(&header, &claims)).is_err());
    }
}
