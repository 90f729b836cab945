//! Every refusal: its code, its status, its shape, its record, and that nothing was sent.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use vspc_simulator::Simulator;

use crate::harness::{ADMIN, Answer, BILLING, World, ZABBIX, unsigned_settings};

fn key<'a>(key: &'a str, tenant: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("x-api-key", key), ("x-tenant", tenant)]
}

#[tokio::test]
async fn requests_are_refused_with_their_code_and_never_sent() {
    let world = World::start().await;
    let long = format!("/api/v3/users?x={}", "a".repeat(17 * 1024));
    let expecting = [key(BILLING, "acme"), vec![("expect", "something")]].concat();
    let too_large = [key(BILLING, "acme"), vec![("content-length", "67108865")]].concat();
    let cases = [
        (
            "GET",
            "/api/v3/../v3/users",
            key(ZABBIX, "acme"),
            400,
            "ambiguous_path",
        ),
        (
            "GET",
            "/api/v3//users",
            key(ZABBIX, "acme"),
            400,
            "ambiguous_path",
        ),
        (
            "GET",
            "/api/v3/%2e%2e/users",
            key(ZABBIX, "acme"),
            400,
            "ambiguous_path",
        ),
        (
            "GET",
            "/api/v3/users%2flogins",
            key(ZABBIX, "acme"),
            400,
            "ambiguous_path",
        ),
        (
            "GET",
            "/api/v3/users%5clogins",
            key(ZABBIX, "acme"),
            400,
            "ambiguous_path",
        ),
        (
            "GET",
            "/api/v3/users;x/logins",
            key(ZABBIX, "acme"),
            400,
            "ambiguous_path",
        ),
        (
            "GET",
            "/api/v3/users\\logins",
            key(ZABBIX, "acme"),
            400,
            "ambiguous_path",
        ),
        (
            "GET",
            "/api/v3/users%00",
            key(ZABBIX, "acme"),
            400,
            "ambiguous_path",
        ),
        (
            "GET",
            "/api/v3/%252e%252e/users",
            key(ZABBIX, "acme"),
            400,
            "ambiguous_path",
        ),
        ("GET", "/api/v3/%zz", key(ZABBIX, "acme"), 400, "bad_target"),
        (
            "GET",
            "/api/v3/users/%76gk_0123456789012345678901234567890",
            key(ZABBIX, "acme"),
            400,
            "key_in_query",
        ),
        (
            "GET",
            "/api/v3/users?api_key=secret",
            key(ZABBIX, "acme"),
            400,
            "key_in_query",
        ),
        (
            "GET",
            long.as_str(),
            key(ZABBIX, "acme"),
            414,
            "target_too_long",
        ),
        (
            "TRACE",
            "/api/v3/users",
            key(ADMIN, "acme"),
            405,
            "method_refused",
        ),
        (
            "PROPFIND",
            "/api/v3/users",
            key(ADMIN, "acme"),
            405,
            "method_refused",
        ),
        (
            "POST",
            "/api/v3/users",
            expecting,
            417,
            "expectation_failed",
        ),
        (
            "POST",
            "/api/v3/_test/sink",
            too_large,
            413,
            "body_too_large",
        ),
        (
            "POST",
            "/api/v3/users",
            key(ZABBIX, "acme"),
            403,
            "operation_denied",
        ),
        (
            "GET",
            "/proxy/x/vbr/api",
            key(ZABBIX, "acme"),
            403,
            "operation_denied",
        ),
        (
            "GET",
            "/proxy/x/vbr/api",
            key(ADMIN, "acme"),
            403,
            "operation_denied",
        ),
        (
            "GET",
            "/uiapi/x",
            key(ADMIN, "acme"),
            403,
            "operation_denied",
        ),
        (
            "GET",
            "/api/v3/authentication/keys/rsa",
            key(ADMIN, "acme"),
            403,
            "operation_denied",
        ),
        (
            "GET",
            "/api/v3/Authentication/KEYS/rsa",
            key(ADMIN, "acme"),
            403,
            "operation_denied",
        ),
        (
            "DELETE",
            "/api/v3/users/x",
            key(ADMIN, "viewed"),
            403,
            "operation_denied",
        ),
        (
            "GET",
            "/api/v3/Token/",
            key(ADMIN, "acme"),
            405,
            "method_refused",
        ),
        (
            "POST",
            "/api/v3/%74oken",
            key(ADMIN, "acme"),
            400,
            "bad_request",
        ),
    ];
    for (method, path, headers, status, code) in cases {
        let answer = world.call(method, path, &headers, "").await;
        assert_eq!(
            (answer.status, answer.code()),
            (status, code),
            "{method} {path}: {answer:?}"
        );
        let record = world.outcome(&answer).await;
        assert_eq!(
            (&record["code"], &record["status"]),
            (&json!(code), &json!(status)),
            "{path}"
        );
        assert_eq!(record["attempts"], 0);
    }
    assert_eq!(world.reached(), []);
    assert_eq!(world.grants("as"), (0, 0));
    let records = std::fs::read_to_string(world.audit_folder().join(format!("{:020}.jsonl", 0)));
    let records = records.unwrap();
    assert!(!records.contains("=secret") && !records.contains("gk_0123"));
}

#[tokio::test]
async fn hosts_are_required_once_and_well_formed() {
    let world = World::start().await;
    for (lines, status) in [
        ("", 400),
        ("Host: gw\r\nHost: gw\r\n", 400),
        ("Host: a b\r\n", 400),
        ("Host: user@gw\r\n", 400),
    ] {
        let head = format!(
            "GET /api/v3/users/me HTTP/1.1\r\n{lines}X-Api-Key: {BILLING}\r\nConnection: close\r\n\r\n"
        );
        let answer = String::from_utf8(world.raw(head.as_bytes()).await).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{lines:?}: {answer}"
        );
        assert!(
            answer.contains("x-gateway-code: bad_request"),
            "{lines:?}: {answer}"
        );
    }
    assert_eq!(world.reached(), []);
}

#[tokio::test]
async fn the_shape_of_a_refusal_is_the_one_that_callers_of_the_path_understand() {
    let world = World::start().await;
    let refuse = async |path: &str| world.call("GET", path, &[], "").await;
    let vspc = refuse("/api/v3/users").await.json();
    assert_eq!(vspc["errors"][0]["code"], 401);
    assert_eq!(vspc["errors"][0]["type"], "security");
    assert!(
        vspc["errors"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("no_credentials: ")
    );
    let oauth = refuse("/api/v3/TOKEN").await;
    assert_eq!(oauth.header("allow"), Some("POST"));
    assert_eq!(oauth.json()["error"], "invalid_request");
    assert!(
        oauth.json()["error_description"]
            .as_str()
            .unwrap()
            .starts_with("method_refused: ")
    );
    let problem = refuse("/elsewhere").await;
    assert_eq!(
        problem.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(problem.json()["code"], "no_credentials");
    assert_eq!(problem.json()["status"], 401);
    assert_eq!(problem.header("cache-control"), Some("no-store"));
}

/// A body that comes in chunks and outgrows the limit on its way.
#[tokio::test]
async fn a_body_that_outgrows_the_limit_is_cut_off() {
    let world = World::start().await;
    let mut request = format!(
        "POST /api/v3/_test/sink HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..65 {
        request.extend_from_slice(b"100000\r\n");
        request.extend_from_slice(&piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = String::from_utf8_lossy(&world.raw(&request).await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let record = world.record(|record| record["kind"] == "request").await;
    assert_eq!(record["code"], "body_too_large");
    assert!(world.reached().iter().all(|seen| !seen.body_complete));
}

/// The README's table has every code that the gateway can give, and only those.
#[test]
fn the_readme_lists_every_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["rejection.rs", "rejection/codes.rs"]
        .map(|file| std::fs::read_to_string(root.join("src/gateway").join(file)).unwrap());
    let source = sources.concat();
    let source = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut given = BTreeSet::new();
    for (before, _) in source.match_indices("\", StatusCode::") {
        let start = source[..before].rfind('"').unwrap() + 1;
        if source[..start - 1].trim_end().ends_with('(') {
            given.insert(source[start..before].to_owned());
        }
    }
    assert!(given.len() > 20, "{given:?}");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, table) = readme.split_once("## Refusal codes").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let listed: BTreeSet<String> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.split('`').nth(1).map(str::to_owned))
        .collect();
    assert_eq!(listed, given);
}

#[tokio::test]
async fn a_host_that_is_not_served_is_misdirected() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let url = simulator.url();
    let world = World::start_adjusted(simulator, &url, "", |gateway| {
        gateway.limits.names = vec!["gw.example".to_owned()];
    })
    .await;
    for (host, status, code) in [
        ("gw.example", 200, ""),
        ("GW.example:8280", 200, ""),
        ("vspc.example", 421, "wrong_host"),
    ] {
        let headers = [("x-api-key", BILLING), ("host", host)];
        let answer = world.call("GET", "/api/v3/users/me", &headers, "").await;
        assert_eq!((answer.status, answer.code()), (status, code), "{host}");
    }
    assert_eq!(world.reached().len(), 2);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_the_connection_closed() {
    let world = World::start().await;
    let head = format!(
        "GET /api/v3/users/me HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\nX-Long: {}\r\n\r\n",
        "x".repeat(65_530)
    );
    let answer = String::from_utf8(world.raw(head.as_bytes()).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(world.reached(), []);
}

/// A fault of the gateway itself is told as one, and recorded like any other end.
#[tokio::test]
async fn a_fault_of_the_gateway_is_an_honest_500() {
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let url = simulator.url();
    let world =
        World::start_adjusted(simulator, &url, "", |gateway| gateway.consoles.clear()).await;
    let answer = world.get(ZABBIX, "acme", "/api/v3/users/me").await;
    assert_eq!((answer.status, answer.code()), (500, "internal_error"));
    assert_eq!(world.outcome(&answer).await["code"], "internal_error");
    assert_eq!(world.reached(), []);
}

/// Callers may not learn from a refusal what they do not know already.
#[tokio::test]
async fn refusals_name_no_tenant_user_or_console() {
    let world = World::start().await;
    for answer in [
        world.get(BILLING, "globex", "/api/v3/users").await,
        world.get(ZABBIX, "acme", "/proxy/x").await,
        world
            .call("POST", "/api/v3/users", &key(ZABBIX, "acme"), "")
            .await,
    ] {
        let Answer { body, .. } = answer;
        let text = String::from_utf8(body.to_vec()).unwrap();
        for hidden in ["globex", "svc-gateway", "b3ffc78b", "main", "127.0.0.1"] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
}

/// Whatever else is wrong, and found first.
#[tokio::test]
async fn a_key_in_a_path_is_in_no_record() {
    let world = World::start().await;
    for (method, path, host) in [
        ("GET", format!("/api/v3//{ZABBIX}"), None),
        ("GET", format!("/api/v3/x;/{ZABBIX}/"), None),
        ("GET", format!("/api/v3/x%2f{ZABBIX}"), None),
        ("TRACE", format!("/api/v3/{ZABBIX}"), None),
        ("GET", format!("/api/v3/{ZABBIX}"), Some("a b")),
    ] {
        let mut request = http::Request::builder()
            .method(method)
            .uri(world.url(&path));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let refused = world.send(request).await;
        assert!(refused.status >= 400, "{refused:?}");
        let record = world.outcome(&refused).await.to_string();
        assert!(!record.contains("vgk_"), "{record}");
    }
}
