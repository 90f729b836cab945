//! What clients prove who they are with, and where they may call from.

use super::*;
use crate::client::{Certificate, Peer, SubjectName};
use crate::clock::Timestamp;
use crate::upstream::Fingerprint256;

const KEYS: &str =
    r#"api_keys = ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]"#;
const PRINT: &str = "0F:1e:2d:3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// The file with other proofs of its client.
fn with(proofs: &str) -> String {
    assert!(GOOD.contains(KEYS));
    GOOD.replacen(KEYS, proofs, 1)
}

fn settings(proofs: &str) -> Settings {
    let folder = folder();
    Settings::parse(&with(proofs), folder.path()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// The one fault of a file with other proofs.
fn fault(proofs: &str) -> String {
    let found = faults(&with(proofs));
    assert_eq!(found.len(), 1, "{proofs}: {found:?}");
    found.into_iter().next().unwrap()
}

fn digest(filler: char) -> String {
    format!("sha256:{}", String::from(filler).repeat(64))
}

#[test]
fn keys_are_digests_or_tables_with_a_label_and_an_end() {
    let (a, b, c) = (digest('a'), digest('b'), digest('c'));
    let settings = settings(&format!(
        "api_keys = [\"{a}\", {{ digest = \"{b}\", label = \"2026-Q4\", \
         expires = \"2026-12-31T01:00:00+01:00\" }}, \
         {{ digest = \"{c}\", expires = 2027-01-01 00:00:00Z }}]"
    ));
    let ends = settings.clients.key_ends();
    let ends: Vec<_> = ends
        .iter()
        .map(|end| (&*end.client, &*end.key, end.at.in_seconds()))
        .collect();
    assert_eq!(
        ends,
        [
            ("zabbix", "2026-Q4", "2026-12-31T00:00:00Z".to_owned()),
            ("zabbix", "cccccccc", "2027-01-01T00:00:00Z".to_owned()),
        ]
    );
}

#[test]
fn faults_of_keys_are_told_with_their_place() {
    let key = |rest: &str| format!("api_keys = [{{ digest = \"{}\"{rest} }}]", digest('a'));
    for (proofs, told) in [
        (
            key(", label = \"a b\""),
            "api_keys[0].label: must be 1 to 64 letters",
        ),
        (key(", label = \"\""), "must be 1 to 64 letters"),
        (
            key(", expires = \"2026-12-31\""),
            "api_keys[0].expires: must be a date and a time",
        ),
        (key(", expires = 2026-12-31T00:00:00"), "with its offset"),
        (key(", expires = 90"), "expected text, found integer"),
        (key(", ends = \"x\""), "api_keys[0].ends: is not known here"),
        (
            "api_keys = [{ label = \"a\" }]".to_owned(),
            "api_keys[0].digest: is missing",
        ),
        (
            "api_keys = []".to_owned(),
            "an empty list would let nobody call",
        ),
        (
            String::new(),
            "api_keys: is missing: a client needs api_keys, a certificate, jwt, or several of these",
        ),
        (
            format!(
                "api_keys = [{{ digest = \"{}\", label = \"a\" }}, {{ digest = \"{}\", label = \"a\" }}]",
                digest('a'),
                digest('b')
            ),
            "api_keys[1]: another key of this client has the label \"a\" already",
        ),
    ] {
        let found = fault(&proofs);
        assert!(found.contains(told), "{proofs}: {found}");
    }
}

#[test]
fn a_client_may_have_a_certificate_and_no_key() {
    let shown = |names: Vec<SubjectName>, subject: &str| Certificate {
        fingerprint: Fingerprint256::parse(PRINT).unwrap(),
        subject: subject.to_owned(),
        names,
        expires: Timestamp(i64::MAX),
    };
    let mail = SubjectName::Email("a@b.example".to_owned());
    for (proofs, certificate) in [
        (
            r#"certificate = { san = "A.example" }"#.to_owned(),
            shown(vec![SubjectName::Dns("a.example".to_owned())], ""),
        ),
        (
            r#"certificate = { subject = "CN=a, O=b", san = "email:a@B.example" }"#.to_owned(),
            shown(vec![mail], "CN=a,O=b"),
        ),
        (
            format!("certificate = [{{ san = \"x\" }}, {{ fingerprint_sha256 = \"{PRINT}\" }}]"),
            shown(Vec::new(), ""),
        ),
        (
            format!("certificate = {{ fingerprint_sha256 = [\"{PRINT}\"] }}\nrequire = \"any\""),
            shown(Vec::new(), ""),
        ),
    ] {
        let clients = settings(&proofs).clients;
        let peer = Peer {
            certificate: Some(Arc::new(certificate)),
            ..Peer::plain([192, 0, 2, 1].into())
        };
        let headers = http::HeaderMap::new();
        assert!(clients.identify(&headers, &peer, Timestamp(0)).is_ok());
        assert_eq!(clients.warnings(Timestamp(0), false).len(), 1);
    }
}

#[test]
fn faults_of_certificates_are_told_with_their_place() {
    for (proofs, told) in [
        (
            "certificate = {}",
            "certificate: needs at least one of san, subject and",
        ),
        (
            "certificate = []",
            "certificate: an empty list would let nobody call",
        ),
        (
            r#"certificate = "CN=a""#,
            "certificate: expected an array, found string",
        ),
        (
            r#"certificate = { san = "*.a" }"#,
            "certificate.san: must be the whole name",
        ),
        (
            r#"certificate = { san = "a b" }"#,
            "certificate.san: must be a name of visible",
        ),
        (
            r#"certificate = { san = "upn:a" }"#,
            "certificate.san: must begin with dns:",
        ),
        (
            r#"certificate = { subject = "a" }"#,
            "certificate.subject: must be a subject as RFC",
        ),
        (
            r#"certificate = [{ san = "a" }, { cn = "a" }]"#,
            "certificate[1].cn: is not known",
        ),
        (
            r#"certificate = { fingerprint_sha256 = [] }"#,
            "fingerprint_sha256: an empty list",
        ),
        (
            r#"certificate = { fingerprint_sha256 = "0f" }"#,
            "must be 64 hex digits",
        ),
        (
            "certificate = { san = \"a\" }\nrequire = \"all\"",
            "require: \"all\" is a certificate and a key",
        ),
    ] {
        let found = faults(&with(proofs)).join("\n");
        assert!(found.contains(told), "{proofs}: {found}");
    }
}

#[test]
fn one_certificate_is_not_two_clients() {
    let other = "\n[[clients]]\nname = \"other\"\ntenants = [\"*\"]\n\
        certificate = { san = \"tool.example\", subject = \"CN=tool\" }\n";
    for (first, shared) in [
        (r#"{ san = "Tool.example" }"#, true),
        (r#"{ subject = "CN = tool" }"#, true),
        (r#"{ san = "tool.example", subject = "CN=tool" }"#, true),
        (r#"{ san = "other.example" }"#, false),
        (r#"{ san = "tool.example", subject = "CN=else" }"#, false),
    ] {
        let text = format!("{}{other}", with(&format!("certificate = {first}")));
        let found = faults(&text);
        assert_eq!(found.len(), usize::from(shared), "{first}: {found:?}");
        if let Some(found) = found.first() {
            assert!(
                found.contains("a certificate of this kind is client"),
                "{found}"
            );
        }
    }
}

#[test]
fn networks_are_networks() {
    let networks = |list: &str| format!("{KEYS}\nnetworks = {list}");
    let clients = settings(&networks(r#"["10.0.0.0/8", "2001:db8::/32"]"#)).clients;
    let client = clients.named("zabbix").unwrap();
    assert!(client.terms.networks.have([10, 1, 2, 3].into()));
    assert!(!client.terms.networks.have([11, 1, 2, 3].into()));
    for (list, told) in [
        (
            r#"["10.0.0.1/8"]"#,
            "networks[0]: has bits beyond its length: write 10.0.0.0/8",
        ),
        (
            r#"["::ffff:10.0.0.0/104"]"#,
            "is a network of IPv4: write 10.0.0.0/8",
        ),
        (r#"["everywhere"]"#, "is no network such as"),
        ("[]", "would let the client call from nowhere"),
        (r#""10.0.0.0/8""#, "expected an array"),
    ] {
        let found = fault(&networks(list));
        assert!(found.contains(told), "{list}: {found}");
    }
}

#[test]
fn token_keys_are_replaced_as_the_file_says() {
    let rotation = |value: &str| {
        let listen = "listen = \"127.0.0.1:0\"";
        GOOD.replacen(
            listen,
            &format!("{listen}\ntoken_key_rotation = \"{value}\""),
            1,
        )
    };
    let folder = folder();
    let keys = |text: &str| {
        let settings = Settings::parse(text, folder.path()).unwrap();
        settings.server.lifetimes.keys.map(|time| time.as_secs())
    };
    assert_eq!(keys(GOOD), Some(30 * 86_400));
    assert_eq!(keys(&rotation("90d")), Some(90 * 86_400));
    assert_eq!(keys(&rotation("0s")), None);
    for wrong in ["59m", "3651d", "never"] {
        assert_eq!(faults(&rotation(wrong)).len(), 1, "{wrong}");
    }
}
