//! Who calls, and for whom: every way to say it, and every way to get it wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::{ACME, ADMIN, BILLING, GLOBEX, World, ZABBIX, ok};

fn basic(user: &str, key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{key}")))
}

#[tokio::test]
async fn a_key_is_taken_from_each_of_its_places() {
    let world = World::start().await;
    let me = "/api/v3/users/me";
    for (authorization, way) in [
        (format!("Bearer {ZABBIX}"), "bearer"),
        (format!("bearer {ZABBIX}"), "bearer"),
        (basic("zabbix", ZABBIX), "basic"),
        (basic("acme\\zabbix", ZABBIX), "basic"),
    ] {
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-tenant", "acme"),
        ];
        let answer = world.call("GET", me, &headers, "").await;
        assert!(ok(&answer), "{answer:?}");
        assert_eq!(answer.json()["data"]["instanceUid"], ACME);
        let record = world.outcome(&answer).await;
        assert_eq!(record["client"], "zabbix");
        assert!(
            record["credential"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{way}:"))
        );
    }
    let seen = world.reached();
    assert!(seen.iter().all(|seen| {
        seen.headers
            .iter()
            .all(|(_, value)| !value.contains("vgk_") && !value.contains("Basic"))
    }));
}

#[tokio::test]
async fn the_tenant_comes_from_header_alias_user_name_or_being_the_only_one() {
    let world = World::start().await;
    let me = "/api/v3/users/me";
    let user = basic("globex\\zabbix", ZABBIX);
    for (headers, owner) in [
        (vec![("x-api-key", ZABBIX), ("x-tenant", "1001")], ACME),
        (vec![("x-api-key", ZABBIX), ("X-TENANT", "globex")], GLOBEX),
        (vec![("authorization", user.as_str())], GLOBEX),
        (vec![("x-api-key", BILLING)], ACME),
    ] {
        let answer = world.call("GET", me, &headers, "").await;
        assert!(ok(&answer), "{headers:?}: {answer:?}");
        assert_eq!(answer.json()["data"]["instanceUid"], owner);
    }
}

#[tokio::test]
async fn unknown_and_foreign_tenants_get_the_same_answer_and_different_records() {
    let world = World::start().await;
    let foreign = world.get(BILLING, "globex", "/api/v3/users/me").await;
    let unknown = world.get(BILLING, "nobody", "/api/v3/users/me").await;
    assert_eq!((foreign.status, foreign.code()), (403, "tenant_denied"));
    assert_eq!(foreign.body, unknown.body);
    let shown = |answer: &crate::harness::Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("x-gateway-request-id");
        headers.remove("date");
        headers
    };
    assert_eq!(shown(&foreign), shown(&unknown));
    let foreign = world.outcome(&foreign).await;
    let unknown = world.outcome(&unknown).await;
    assert_eq!(
        (&foreign["client"], &foreign["tenant"]),
        (&json!("billing"), &json!("globex"))
    );
    assert_eq!(unknown["tenant"], json!(null));
    assert_ne!(foreign["detail"], unknown["detail"]);
    assert_eq!(world.reached(), []);
    assert_eq!(world.grants("as"), (0, 0));
}

/// Rows of odd values for the mapping header: nothing reaches the console, no token is fetched.
#[tokio::test]
async fn odd_tenant_headers_are_refused_without_a_trace_at_the_console() {
    let world = World::start().await;
    let long = "a".repeat(300);
    let request = |lines: &[&[u8]]| {
        let mut head =
            format!("GET /api/v3/users/me HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {ADMIN}\r\n")
                .into_bytes();
        for line in lines {
            head.extend_from_slice(line);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"Connection: close\r\n\r\n");
        head
    };
    let long_line = format!("X-Tenant: {long}");
    for (lines, status, code) in [
        (
            vec![&b"X-Tenant: acme"[..], b"X-Tenant: acme"],
            400,
            "tenant_ambiguous",
        ),
        (
            vec![b"X-Tenant: acme", b"x-tenant: globex"],
            400,
            "tenant_ambiguous",
        ),
        (vec![b"X-Tenant: acme,globex"], 400, "tenant_ambiguous"),
        (vec![b"X-Tenant:"], 400, "tenant_ambiguous"),
        (vec![b"X-Tenant:   "], 400, "tenant_ambiguous"),
        (vec![], 403, "tenant_required"),
        (vec![b"X_Tenant: acme"], 403, "tenant_required"),
        (vec![b"X-Tenant: Acme"], 403, "tenant_denied"),
        (vec![b"X-Tenant: ac me"], 403, "tenant_denied"),
        (vec![b"X-Tenant: ac\tme"], 403, "tenant_denied"),
        (vec![b"X-Tenant: acm\xe9"], 403, "tenant_denied"),
        (
            vec!["X-Tenant: \u{430}cme".as_bytes()],
            403,
            "tenant_denied",
        ),
        (vec![long_line.as_bytes()], 403, "tenant_denied"),
        (
            vec![b"X-Tenant: b3ffc78b-7982-44f3-ae66-1384415f2bea"],
            403,
            "tenant_denied",
        ),
    ] {
        let answer = String::from_utf8(world.raw(&request(&lines)).await).unwrap();
        let shown = String::from_utf8_lossy(&lines.concat()).into_owned();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{shown}: {answer}"
        );
        assert!(
            answer.contains(&format!("x-gateway-code: {code}\r\n")),
            "{shown}: {answer}"
        );
    }
    assert_eq!(world.reached(), []);
    assert_eq!(world.grants("as"), (0, 0));
}

#[tokio::test]
async fn wrong_missing_and_conflicting_credentials_are_told_apart() {
    let world = World::start().await;
    let near = ZABBIX.replace("zabbix", "zabbiy");
    let bearer = |key: &str| format!("Bearer {key}");
    let cases = [
        (vec![], "no_credentials"),
        (vec![("x-api-key", near.clone())], "bad_credentials"),
        (vec![("x-api-key", "short".to_owned())], "bad_credentials"),
        (vec![("x-api-key", String::new())], "bad_credentials"),
        (vec![("authorization", bearer(&near))], "bad_credentials"),
        (
            vec![("authorization", "Negotiate abc".to_owned())],
            "bad_credentials",
        ),
        (
            vec![("authorization", basic("billing", ZABBIX))],
            "bad_credentials",
        ),
        (
            vec![
                ("x-api-key", ZABBIX.to_owned()),
                ("authorization", bearer(BILLING)),
            ],
            "conflicting_credentials",
        ),
        (
            vec![
                ("x-api-key", ZABBIX.to_owned()),
                ("authorization", bearer("old")),
            ],
            "conflicting_credentials",
        ),
        (
            vec![
                ("x-api-key", "old".to_owned()),
                ("authorization", bearer(ZABBIX)),
            ],
            "conflicting_credentials",
        ),
        (
            vec![
                ("x-api-key", ZABBIX.to_owned()),
                ("x-api-key", BILLING.to_owned()),
            ],
            "conflicting_credentials",
        ),
    ];
    for (headers, code) in cases {
        let mut lines: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        lines.push(("x-tenant", "acme"));
        let answer = world.call("GET", "/api/v3/users/me", &lines, "").await;
        assert_eq!((answer.status, answer.code()), (401, code), "{lines:?}");
        assert!(answer.header("www-authenticate").is_some());
        let record = world.outcome(&answer).await;
        assert_eq!(
            (&record["code"], &record["status"]),
            (&json!(code), &json!(401))
        );
        assert_eq!(record["client"], json!(null));
    }
    assert_eq!(world.reached(), []);
}

/// Wrong keys of every kind get the same status, the same body and the same size.
#[tokio::test]
async fn a_wrong_key_says_nothing_about_how_wrong_it_is() {
    let world = World::start().await;
    let mut answers = Vec::new();
    for key in [
        format!("{}1", &ZABBIX[..ZABBIX.len() - 1]),
        "x".repeat(ZABBIX.len()),
        "x".to_owned(),
    ] {
        answers.push(world.get(&key, "acme", "/api/v3/users/me").await);
    }
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 401 && answer.body == answers[0].body)
    );
}

#[tokio::test]
async fn a_user_name_and_a_header_must_name_the_same_tenant() {
    let world = World::start().await;
    let user = basic("globex\\zabbix", ZABBIX);
    let headers = [("authorization", user.as_str()), ("x-tenant", "acme")];
    let answer = world.call("GET", "/api/v3/users/me", &headers, "").await;
    assert_eq!((answer.status, answer.code()), (403, "tenant_mismatch"));
    assert_eq!(world.reached(), []);
}
