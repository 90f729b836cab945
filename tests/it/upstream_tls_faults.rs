//! Whatever is wrong with TLS towards a console: nothing is sent, the caller gets 502, and the record
//! says what it was.

use tempfile::TempDir;

use crate::harness::{ADMIN, Answer, World, ZABBIX, ok};
use crate::tls_front::{Authority, Identity, Manner, TLS12, Wish, ca_file, world};

const ME: &str = "/api/v3/users/me";
/// It needs no token, so that the call itself goes to the console.
const PUBLIC: &str = "/api/v3/plugins/user/islogged";

/// A call that needs a token, and one that needs none, are refused alike.
#[expect(clippy::indexing_slicing, reason = "a test may stop")]
async fn assert_refused(world: &World, kind: &str) -> String {
    let mut details = Vec::new();
    for path in [ME, PUBLIC] {
        let answer = world.get(ADMIN, "acme", path).await;
        assert_eq!(
            (answer.status, answer.code()),
            (502, "upstream_tls"),
            "{kind}: {answer:?}"
        );
        let record = world.outcome(&answer).await;
        let detail = record["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("{kind}: ")), "{record}");
        details.push(detail);
    }
    assert_eq!(world.simulator.requests(), [], "{kind}");
    details.pop().unwrap()
}

struct Case {
    identity: Identity,
    manner: Manner,
    tls: String,
}

fn by_ca(folder: &TempDir, authority: &Authority, more: &str) -> String {
    let ca = ca_file(folder.path(), authority);
    format!("tls = {{ ca = \"{}\"{more} }}", ca.display())
}

async fn refused(case: Case, kind: &str) -> String {
    let (world, _front) = world(&case.identity, &case.manner, &case.tls).await;
    assert_refused(&world, kind).await
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let years = (2020, 2021);
    let identity = authority.sign(&Wish {
        years,
        ..Wish::default()
    });
    let tls = by_ca(&folder, &authority, "");
    let pin = identity.pin();
    let manner = Manner::default();
    let detail = refused(
        Case {
            identity,
            manner,
            tls,
        },
        "expired",
    )
    .await;
    assert!(detail.contains("2021-01-01T00:00:00Z"), "{detail}");
    assert!(detail.contains(&pin), "{detail}");
}

#[tokio::test]
async fn a_certificate_that_is_not_good_yet_is_refused() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let years = (2090, 2095);
    let identity = authority.sign(&Wish {
        years,
        ..Wish::default()
    });
    let tls = by_ca(&folder, &authority, "");
    let manner = Manner::default();
    refused(
        Case {
            identity,
            manner,
            tls,
        },
        "not valid yet",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let names: &[&str] = &["vspc.example.com", "10.0.0.5"];
    let identity = authority.sign(&Wish {
        names,
        ..Wish::default()
    });
    let tls = by_ca(&folder, &authority, "");
    let manner = Manner::default();
    let detail = refused(
        Case {
            identity,
            manner,
            tls,
        },
        "wrong name",
    )
    .await;
    let said = "vspc.example.com, 10.0.0.5, not localhost";
    assert!(detail.contains(said), "{detail}");
}

#[tokio::test]
async fn a_certificate_that_signs_for_itself_is_refused() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    for tls in [by_ca(&folder, &authority, ""), String::new()] {
        let identity = Wish::default().self_signed();
        let manner = Manner::default();
        refused(
            Case {
                identity,
                manner,
                tls,
            },
            "self-signed",
        )
        .await;
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let identity = Authority::new().sign(&Wish::default());
    let tls = by_ca(&folder, &authority, "");
    let manner = Manner::default();
    let detail = refused(
        Case {
            identity,
            manner,
            tls,
        },
        "unknown issuer",
    )
    .await;
    assert!(detail.contains("CN=the front's authority"), "{detail}");
}

#[tokio::test]
async fn a_certificate_that_is_not_pinned_is_refused_with_its_fingerprint() {
    let identity = Wish::default().self_signed();
    let presented = identity.pin();
    let other = "ab".repeat(32);
    let tls = format!("tls = {{ fingerprint_sha256 = [\"{other}\"] }}");
    let manner = Manner::default();
    let detail = refused(
        Case {
            identity,
            manner,
            tls,
        },
        "not pinned",
    )
    .await;
    assert!(detail.contains(&presented), "{detail}");
}

/// A pin is the identity: what else the certificate says is not judged.
#[tokio::test]
async fn a_pinned_certificate_may_have_ended_and_be_for_other_names() {
    let wish = Wish {
        names: &["elsewhere.example"],
        years: (2020, 2021),
    };
    let identity = wish.self_signed();
    let tls = format!("tls = {{ fingerprint_sha256 = [\"{}\"] }}", identity.pin());
    let (world, front) = world(&identity, &Manner::default(), &tls).await;
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    // Operators see that it has.
    let text = String::from_utf8(world.admin("/metrics").await.body.to_vec()).unwrap();
    let line = format!(
        "vspc_gateway_upstream_certificate_not_after_seconds{{console=\"main\",of=\"console\",\
         address=\"{}\"}} 1609459200",
        front.address
    );
    assert!(text.contains(&line), "{text}");
}

#[tokio::test]
async fn with_authorities_and_pins_both_must_hold() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let lines = |pin: &str| {
        by_ca(
            &folder,
            &authority,
            &format!(", fingerprint_sha256 = [\"{pin}\"]"),
        )
    };
    let identity = authority.sign(&Wish::default());
    let tls = lines(&identity.pin());
    let (good, _front) = world(&identity, &Manner::default(), &tls).await;
    assert!(ok(&good.get(ZABBIX, "acme", ME).await));
    let (tls, manner) = (lines(&"00".repeat(32)), Manner::default());
    refused(
        Case {
            identity,
            manner,
            tls,
        },
        "not pinned",
    )
    .await;
    let identity = Wish::default().self_signed();
    let (tls, manner) = (lines(&identity.pin()), Manner::default());
    refused(
        Case {
            identity,
            manner,
            tls,
        },
        "self-signed",
    )
    .await;
}

#[tokio::test]
async fn another_name_can_be_verified_and_the_host_stays() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let names: &[&str] = &["vspc.example.com"];
    let identity = authority.sign(&Wish {
        names,
        ..Wish::default()
    });
    let tls = by_ca(&folder, &authority, ", server_name = \"vspc.example.com\"") + "\nhttp = \"1\"";
    let (world, front) = world(&identity, &Manner::default(), &tls).await;
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    assert_eq!(
        front.last_guest().server_name.as_deref(),
        Some("vspc.example.com")
    );
    let seen = world.reached().pop().unwrap();
    let host = format!("localhost:{}", front.address.port());
    assert_eq!(seen.header("host"), Some(&*host), "{seen:?}");
}

#[tokio::test]
async fn an_older_version_of_tls_is_refused_where_the_file_says_so() {
    let identity = Wish::default().self_signed();
    let manner = || Manner {
        versions: TLS12,
        ..Manner::default()
    };
    let pin = identity.pin();
    let lines = |more: &str| format!("tls = {{ fingerprint_sha256 = [\"{pin}\"]{more} }}");
    let (good, front) = world(&identity, &manner(), &lines("")).await;
    assert!(ok(&good.get(ZABBIX, "acme", ME).await));
    assert_eq!(front.last_guest().version, "TLSv1_2");
    let tls = lines(", min_version = \"1.3\"");
    refused(
        Case {
            identity,
            manner: manner(),
            tls,
        },
        "no common TLS version",
    )
    .await;
}

/// CVE-2026-1642: what somebody puts in before the handshake must not count as an answer.
#[tokio::test]
async fn bytes_in_clear_before_the_handshake_are_an_error() {
    for blurts in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"[..],
        b"\r\n",
        b"\x00",
    ] {
        let identity = Wish::default().self_signed();
        let tls = format!("tls = {{ fingerprint_sha256 = [\"{}\"] }}", identity.pin());
        let manner = Manner {
            blurts,
            ..Manner::default()
        };
        let (world, _front) = world(&identity, &manner, &tls).await;
        let answer: Answer = world.get(ADMIN, "acme", PUBLIC).await;
        assert_eq!(
            (answer.status, answer.code()),
            (502, "upstream_tls"),
            "{answer:?}"
        );
        assert_eq!(world.simulator.requests(), []);
    }
}

#[tokio::test]
async fn the_version_of_http_is_offered_as_the_file_says() {
    // What the console agrees to, what the file says, and what comes of it.
    let both: &[&str] = &["h2", "http/1.1"];
    type Agreed = Result<Option<&'static str>, ()>;
    let cases: [(&[&str], &str, Agreed); 9] = [
        (both, "auto", Ok(Some("h2"))),
        (both, "1", Ok(Some("http/1.1"))),
        (both, "2", Ok(Some("h2"))),
        (&["http/1.1"], "auto", Ok(Some("http/1.1"))),
        (&["http/1.1"], "2", Err(())),
        (&["h2"], "1", Err(())),
        (&["h2"], "auto", Ok(Some("h2"))),
        (&[], "auto", Ok(None)),
        (&[], "2", Err(())),
    ];
    for (alpn, http, expected) in cases {
        let identity = Wish::default().self_signed();
        let alpn: &'static [&'static str] = alpn.to_vec().leak();
        let manner = Manner {
            alpn,
            ..Manner::default()
        };
        let pin = identity.pin();
        let lines = format!("tls = {{ fingerprint_sha256 = [\"{pin}\"] }}\nhttp = \"{http}\"");
        let (world, front) = world(&identity, &manner, &lines).await;
        let Ok(agreed) = expected else {
            assert_refused(&world, "no common HTTP version").await;
            continue;
        };
        let answer = world.get(ZABBIX, "acme", ME).await;
        assert!(ok(&answer), "{alpn:?} {http}: {answer:?}");
        assert_eq!(
            front.last_guest().alpn.as_deref(),
            agreed,
            "{alpn:?} {http}"
        );
        let version = world.reached().pop().unwrap().version;
        let spoken = if agreed == Some("h2") {
            "HTTP/2.0"
        } else {
            "HTTP/1.1"
        };
        assert_eq!(version, spoken, "{alpn:?} {http}");
    }
}

/// The certificate changes while a token is held: the call itself fails, and nothing is replayed.
#[tokio::test]
async fn a_certificate_that_changes_is_refused_on_the_next_connection() {
    let identity = Wish::default().self_signed();
    let tls = format!(
        "tls = {{ fingerprint_sha256 = [\"{}\"] }}\nhttp = \"1\"",
        identity.pin()
    );
    let (world, front) = world(&identity, &Manner::default(), &tls).await;
    assert!(ok(&world.get(ZABBIX, "acme", ME).await));
    front.becomes(&Wish::default().self_signed(), &Manner::default());
    world.simulator.drop_connections();
    world.simulator.clear();
    let refusal = crate::harness::until_refused(&world, ZABBIX, ME).await;
    assert_eq!((refusal.status, refusal.code()), (502, "upstream_tls"));
    let record = world.outcome(&refusal).await;
    assert!(
        record["detail"].as_str().unwrap().contains("not pinned"),
        "{record}"
    );
    assert_eq!(world.reached(), []);
}
