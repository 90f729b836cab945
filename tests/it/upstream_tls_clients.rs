//! Consoles that want to see a certificate of the gateway's.

use tempfile::TempDir;

use crate::harness::{ADMIN, ZABBIX, ok};
use crate::tls_front::{Authority, Manner, TLS12, TLS13, Versions, Wish, world};

const ME: &str = "/api/v3/users/me";
const PUBLIC: &str = "/api/v3/plugins/user/islogged";

fn versions() -> [Versions; 2] {
    [TLS12, TLS13]
}

#[tokio::test]
async fn the_gateways_certificate_is_shown_to_a_console_that_asks() {
    for versions in versions() {
        for http in ["1", "2"] {
            let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
            let own = authority.sign(&Wish::default());
            let identity = Wish::default().self_signed();
            let manner = Manner {
                versions,
                ..Manner::demanding(&authority)
            };
            let files = own.write(folder.path());
            let lines = format!(
                "tls = {{ fingerprint_sha256 = [\"{}\"], {files} }}\nhttp = \"{http}\"",
                identity.pin()
            );
            let (world, front) = world(&identity, &manner, &lines).await;
            let answer = world.get(ZABBIX, "acme", ME).await;
            assert!(ok(&answer), "{http}: {answer:?}");
            let shown = front.last_guest().certificate.unwrap();
            assert_eq!(shown, own.certificate.to_vec());
        }
    }
}

/// In TLS 1.3 the console says so only after the handshake, when the request may be on its way.
#[tokio::test]
async fn a_demanded_certificate_that_is_not_there_is_told() {
    for versions in versions() {
        for http in ["1", "2"] {
            let authority = Authority::new();
            let identity = Wish::default().self_signed();
            let manner = Manner {
                versions,
                ..Manner::demanding(&authority)
            };
            let lines = format!(
                "tls = {{ fingerprint_sha256 = [\"{}\"] }}\nhttp = \"{http}\"",
                identity.pin()
            );
            let (world, _front) = world(&identity, &manner, &lines).await;
            for path in [PUBLIC, ME] {
                let answer = world.get(ADMIN, "acme", path).await;
                assert_eq!(
                    (answer.status, answer.code()),
                    (502, "upstream_tls"),
                    "{http}: {answer:?}"
                );
                let record = world.outcome(&answer).await;
                let detail = record["detail"].as_str().unwrap();
                assert!(detail.contains("client certificate demanded: "), "{record}");
                assert!(detail.contains("tls.certificate"), "{record}");
            }
            assert_eq!(world.simulator.requests(), []);
        }
    }
}

#[tokio::test]
async fn a_certificate_that_the_console_does_not_believe_is_told() {
    for versions in versions() {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
        let own = Authority::new().sign(&Wish::default());
        let identity = Wish::default().self_signed();
        let manner = Manner {
            versions,
            ..Manner::demanding(&authority)
        };
        let files = own.write(folder.path());
        let lines = format!(
            "tls = {{ fingerprint_sha256 = [\"{}\"], {files} }}",
            identity.pin()
        );
        let (world, _front) = world(&identity, &manner, &lines).await;
        let answer = world.get(ADMIN, "acme", PUBLIC).await;
        assert_eq!(
            (answer.status, answer.code()),
            (502, "upstream_tls"),
            "{answer:?}"
        );
        let record = world.outcome(&answer).await;
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains("client certificate refused: "), "{record}");
        assert_eq!(world.simulator.requests(), []);
    }
}
