//! What the console receives, and what the caller gets back.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use crate::harness::{ACME, ADMIN, BILLING, GLOBEX, World, ZABBIX, collect, ok, until_true};

#[tokio::test]
async fn each_tenant_reads_its_own_data_under_one_impersonated_bearer() {
    let world = World::start().await;
    for (tenant, company, owner) in [("acme", "Acme", ACME), ("globex", "Globex", GLOBEX)] {
        let answer = world
            .get(ZABBIX, tenant, "/api/v3/organizations/companies")
            .await;
        assert!(ok(&answer), "{answer:?}");
        let data = answer.json()["data"].clone();
        assert_eq!(data.as_array().unwrap().len(), 1);
        assert_eq!(data[0]["name"], company);
        let seen = world.reached().pop().unwrap();
        assert_eq!(seen.subject.unwrap().to_string(), owner);
        assert_eq!(seen.authorization_headers, 1);
    }
    assert_eq!(world.grants("password"), (1, 0));
    assert_eq!(world.grants("as"), (2, 0));
    assert_eq!(world.simulator.state().authorization_headers_max, 1);
}

#[tokio::test]
async fn the_raw_target_arrives_byte_for_byte() {
    let world = World::start().await;
    for target in [
        "/api/v3/_test/echo",
        "/API/V3/_test/Echo?x=1",
        "/api/v3/_test/echo?filter=[{%22property%22:%22a%22}]&limit=5",
        "/api/v3/_test/echo?filter=[{'property':'type','operation':'equals','value':'Provider'}]",
        "/api/v3/_test/echo?a=%2F%2e%2e%2f&b=../../x//y;z&c=%00&d={|}",
        "/api/v3/_test/echo?",
        "/api/v3/_test/echo?a&&b==&=",
        "/api/v3/%5ftest/echo?%c3%bc=%ff",
        "/api/v3/_test/echo/",
    ] {
        let answer = world.get(ADMIN, "acme", target).await;
        assert!(ok(&answer) || answer.status == 404, "{target}: {answer:?}");
        assert_eq!(world.reached().pop().unwrap().target, target);
    }
}

#[tokio::test]
async fn headers_pass_but_for_those_that_end_here_or_belong_to_the_gateway() {
    let world = World::start().await;
    let headers = [
        ("x-api-key", BILLING),
        ("x-tenant", "acme"),
        ("x_tenant", "globex"),
        ("X.Tenant", "globex"),
        ("x_api_key", "k"),
        ("cookie", "x-authorization=stolen"),
        ("forwarded", "for=1.2.3.4"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x_forwarded_host", "evil"),
        ("x-real-ip", "1.2.3.4"),
        ("via", "1.1 x"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("x-gateway-request-id", "mine"),
        ("proxy-authorization", "Basic x"),
        ("connection", "x-hop, authorization"),
        ("connection", "X-Tenant, x-other"),
        ("x-hop", "1"),
        ("x-other", "1"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("accept", "application/json"),
        ("accept", "text/plain"),
        ("x-request-id", "0b04b3a1-5a6c-4b57-9b7a-000000000001"),
        ("x-client-version", "3.6.2"),
        ("user-agent", "tool/1 (old)"),
    ];
    let answer = world.call("GET", "/api/v3/_test/echo", &headers, "").await;
    assert!(ok(&answer), "{answer:?}");
    let seen = world.reached().pop().unwrap();
    let mut names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "accept",
        "authorization",
        "host",
        "user-agent",
        "x-client-version",
        "x-request-id",
    ];
    assert_eq!(names, expected);
    let accepted: Vec<&str> = seen.header_values("accept").collect();
    assert_eq!(accepted, ["application/json", "text/plain"]);
    assert_eq!(
        seen.header("host"),
        Some(world.simulator.addr().to_string().as_str())
    );
    assert_eq!(
        seen.header("x-request-id"),
        Some("0b04b3a1-5a6c-4b57-9b7a-000000000001")
    );
    assert_eq!(seen.subject.unwrap().to_string(), ACME);
    assert_eq!(world.simulator.state().cookies, 0);
    assert_eq!(answer.header("set-cookie"), None);
}

#[tokio::test]
async fn no_request_id_is_made_up() {
    let world = World::start().await;
    assert!(ok(&world.get(ZABBIX, "acme", "/api/v3/_test/echo").await));
    let seen = world.reached().pop().unwrap();
    assert_eq!(seen.header("x-request-id"), None);
    assert_eq!(seen.header("x-gateway-request-id"), None);
}

#[tokio::test]
async fn what_the_console_answers_reaches_the_caller_unchanged() {
    let world = World::start().await;
    for code in [200, 201, 204, 400, 403, 404, 409, 415, 429, 500, 503, 520] {
        let path = format!("/api/v3/_test/status?code={code}");
        let answer = world.get(ZABBIX, "acme", &path).await;
        assert_eq!(answer.status, code);
        assert_eq!(answer.code(), "", "{code}");
        let record = world.outcome(&answer).await;
        assert_eq!(
            (&record["code"], &record["status"]),
            (&json!("ok"), &json!(code))
        );
    }
    let hop = world.get(ZABBIX, "acme", "/api/v3/_test/hop").await;
    assert!(ok(&hop));
    assert_eq!(
        (hop.header("x-hop"), hop.header("keep-alive")),
        (None, None)
    );
}

#[tokio::test]
async fn locations_lead_back_to_the_gateway() {
    let world = World::start().await;
    let accepted = world
        .get(ZABBIX, "acme", "/api/v3/_test/status?code=202")
        .await;
    let origin = format!("http://{}/api/v3/asyncActions/", world.address);
    assert!(
        accepted.header("location").unwrap().starts_with(&origin),
        "{accepted:?}"
    );
    let console = world.simulator.addr();
    for (location, expected) in [
        (
            format!("http://{console}/a%3Fb"),
            format!("http://{}/a?b", world.address),
        ),
        ("/a".to_owned(), format!("http://{}/a", world.address)),
        (
            "https://login.example/a".to_owned(),
            "https://login.example/a".to_owned(),
        ),
    ] {
        let path = format!("/api/v3/_test/status?code=302&location={location}");
        let answer = world.get(ZABBIX, "acme", &path).await;
        assert_eq!(answer.status, 302);
        assert_eq!(answer.header("location"), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn a_head_request_gets_the_length_and_no_body() {
    let world = World::start().await;
    let path = "/api/v3/_test/bytes?size=5000";
    let headers = [("x-api-key", ZABBIX), ("x-tenant", "acme")];
    let answer = world.call("HEAD", path, &headers, "").await;
    assert!(ok(&answer));
    assert_eq!(answer.header("content-length"), Some("5000"));
    assert!(answer.body.is_empty());
    assert_eq!(world.reached().pop().unwrap().method, "HEAD");
    assert_eq!(world.outcome(&answer).await["code"], "ok");
}

#[tokio::test]
async fn large_bodies_stream_in_both_directions() {
    let world = World::start().await;
    let size = 20 * 1024 * 1024;
    for chunked in ["true", "false"] {
        let path = format!("/api/v3/_test/bytes?size={size}&chunk=65536&chunked={chunked}");
        let answer = world.get(ZABBIX, "acme", &path).await;
        assert!(ok(&answer));
        assert_eq!(answer.body.len(), size);
        assert_eq!(
            answer.body[70_000],
            u8::try_from((70_000 - 65_536) % 251).unwrap()
        );
        assert_eq!(world.outcome(&answer).await["bytes_out"], size);
    }
    let body: Bytes = (0..size)
        .map(|at| u8::try_from(at % 249).unwrap())
        .collect();
    let headers = [("x-api-key", BILLING), ("x-tenant", "acme")];
    let answer = world
        .call("POST", "/api/v3/_test/sink", &headers, body.clone())
        .await;
    assert!(ok(&answer));
    assert_eq!(
        answer.json()["data"]["received"]
            .as_u64()
            .or(answer.json()["received"].as_u64()),
        Some(size as u64)
    );
    assert_eq!(
        world.reached().pop().unwrap().header("content-length"),
        Some("20971520")
    );
    assert_eq!(world.outcome(&answer).await["bytes_in"], size);
}

/// The console's answer starts to arrive before the caller's body has ended, and an answer that
/// nobody reads does not pile up in the gateway.
#[tokio::test]
async fn bodies_are_not_gathered_before_they_are_passed_on() {
    let world = World::start().await;
    let (feed, body) =
        tokio::sync::mpsc::channel::<Result<http_body::Frame<Bytes>, std::io::Error>>(1);
    let stream = futures_util::stream::unfold(body, |mut body| async move {
        body.recv().await.map(|frame| (frame, body))
    });
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = http::Request::post(world.url("/api/v3/_test/sink"))
        .header("x-api-key", BILLING)
        .body(StreamBody::new(Box::pin(stream)))
        .unwrap();
    let answered = tokio::spawn(client.request(request));
    let piece = || Ok(http_body::Frame::data(Bytes::from(vec![7; 100_000])));
    feed.send(piece()).await.unwrap();
    // The console has the first piece while the caller still holds back the rest.
    until_true(|| {
        world
            .reached()
            .iter()
            .any(|seen| seen.body_length >= 100_000)
    })
    .await;
    feed.send(piece()).await.unwrap();
    drop(feed);
    let answer = collect(answered.await.unwrap().unwrap()).await;
    assert!(ok(&answer), "{answer:?}");
    let seen = world.reached().pop().unwrap();
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
    assert_eq!(seen.body_length, 200_000);

    let path = "/api/v3/_test/bytes?size=1000000000&chunk=1000000";
    let request = http::Request::get(world.url(path))
        .header("x-api-key", BILLING)
        .body(Full::new(Bytes::new()))
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut answer = client.request(request).await.unwrap();
    let before = resident_bytes();
    let first = answer.frame().await.unwrap().unwrap();
    assert!(first.is_data());
    // Time for a gigabyte to pile up, if it did.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(resident_bytes().saturating_sub(before) < 100_000_000);
    drop(answer);
    let record = world
        .record(|record| record["kind"] == "request" && record["path"] == "/api/v3/_test/bytes")
        .await;
    assert_eq!(record["code"], "aborted");
    assert_eq!(record["status"], 200);
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_served_on_the_same_port() {
    let world = World::start().await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let request = http::Request::get(world.url("/api/v3/users/me"))
        .header("x-api-key", ZABBIX)
        .header("x-tenant", "globex")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let answer = collect(client.request(request).await.unwrap()).await;
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(answer.json()["data"]["instanceUid"], GLOBEX);
    let seen = world.reached().pop().unwrap();
    assert_eq!(
        seen.header("host"),
        Some(world.simulator.addr().to_string().as_str())
    );
}

/// hyper would send neither a length nor chunks for it: the console would not see it.
#[tokio::test]
async fn a_get_with_a_body_tells_its_length_or_is_refused() {
    let world = World::start().await;
    let head = format!(
        "GET /api/v3/_test/echo HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {BILLING}\r\nConnection: close\r\n"
    );
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let answer = String::from_utf8(world.raw(chunked.as_bytes()).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("x-gateway-code: bad_request"), "{answer}");
    assert_eq!(world.reached(), []);
    let told = format!("{head}Content-Length: 5\r\n\r\nhello");
    let answer = String::from_utf8(world.raw(told.as_bytes()).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(world.reached().pop().unwrap().body, b"hello");
}

#[tokio::test]
async fn a_refused_head_has_no_body_on_either_protocol() {
    let world = World::start().await;
    for http2 in [false, true] {
        let client = Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .build_http();
        let request = http::Request::head(world.url("/api/v3/users/me"))
            .body(Full::new(Bytes::new()))
            .unwrap();
        let answer = collect(client.request(request).await.unwrap()).await;
        assert_eq!((answer.status, answer.code()), (401, "no_credentials"));
        assert!(answer.body.is_empty());
        assert_eq!(world.outcome(&answer).await["bytes_out"], 0);
    }
}

#[tokio::test]
async fn operations_that_take_no_token_get_none_but_need_a_client() {
    let world = World::start().await;
    let organization = "49dcc517-a32c-438e-b53d-ee0084dc7feb";
    for (method, path) in [
        ("POST", "/api/v3/users/resetpassword".to_owned()),
        ("PUT", "/api/v3/Users/ResetPassword".to_owned()),
        ("GET", "/api/v3/plugins/user/islogged".to_owned()),
        (
            "GET",
            format!("/api/v3/organizations/{organization}/identityProviders/saml2/x/metadata"),
        ),
    ] {
        let refused = world.call(method, &path, &[], "").await;
        assert_eq!((refused.status, refused.code()), (401, "no_credentials"));
        let headers = [("x-api-key", BILLING), ("content-type", "application/json")];
        world.call(method, &path, &headers, "{}").await;
        let seen = world.reached().pop().unwrap();
        assert_eq!(
            (seen.target.as_str(), seen.authorization_headers),
            (path.as_str(), 0)
        );
    }
    assert_eq!(world.simulator.state().authorization_on_public, 0);
    assert_eq!(world.grants("as"), (0, 0));
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}
