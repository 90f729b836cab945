use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{Action, Fault};

const ME: &str = "GET /users/me";

async fn me(simulator: &Simulator, access: &str) -> Answer {
    get("/api/v3/users/me").bearer(access).send(simulator).await
}

/// Sends a request by hand and returns everything that comes back.
async fn raw(simulator: &Simulator, access: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let head = format!(
        "GET /api/v3/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {access}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    all
}

#[tokio::test]
async fn faults_answer_in_the_consoles_own_shapes() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    simulator.fault(
        Fault::new(Action::Throttle {
            retry_after: Some(25),
        })
        .on(ME),
    );
    simulator.fault(Fault::new(Action::ServerError).on(ME));
    simulator.fault(Fault::new(Action::Html).on(ME));
    let throttled = me(&simulator, &access).await;
    let expected = serde_json::json!({ "type": "transport", "code": 429, "retryAfter": 25 });
    assert_eq!(throttled.error(429), expected);
    assert!(!throttled.headers.contains_key("retry-after"));
    me(&simulator, &access).await.error(520);
    assert_eq!(
        me(&simulator, &access).await.headers["content-type"],
        "text/html"
    );
    me(&simulator, &access).await.data();
    assert_eq!(simulator.state().faults_met, 3);
}

#[tokio::test]
async fn an_error_can_have_a_number_of_its_own() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    for (fault, status, code, kind) in [
        (r#"{"action":"error","code":1210}"#, 520, 1210, "logical"),
        (
            r#"{"action":"error","status":409,"code":10500,"type":"retryableLogical"}"#,
            409,
            10500,
            "retryableLogical",
        ),
        (r#"{"action":"server_error"}"#, 520, 520, "transport"),
    ] {
        simulator.fault(serde_json::from_str(fault).unwrap());
        let answer = me(&simulator, &access).await;
        let error = &answer.json()["errors"][0];
        assert_eq!(answer.status, status, "{fault}");
        assert_eq!(error["code"], code, "{fault}");
        assert_eq!(error["type"], kind, "{fault}");
    }
}

#[tokio::test]
async fn a_retry_after_header_is_a_switch() {
    let simulator = switched(|switches| switches.retry_after_header = true).await;
    let access = service(&simulator).await.access;
    simulator.fault(Fault::new(Action::Throttle {
        retry_after: Some(25),
    }));
    assert_eq!(me(&simulator, &access).await.headers["retry-after"], "25");
}

#[tokio::test]
async fn a_fault_meets_only_the_grant_and_subject_it_names() {
    let simulator = start().await;
    let own = service(&simulator).await;
    simulator.fault(
        Fault::new(Action::ServerError)
            .grant("as")
            .subject(seed::GLOBEX_OWNER.uid),
    );
    simulator.fault(
        Fault::new(Action::ServerError)
            .subject(seed::ACME_OWNER.uid)
            .on(ME),
    );
    let acme = pair(&token(&simulator, &as_form(&own.refresh, seed::ACME_OWNER.uid)).await);
    token(&simulator, &as_form(&own.refresh, seed::GLOBEX_OWNER.uid))
        .await
        .error(520);
    me(&simulator, &own.access).await.data();
    me(&simulator, &acme.access).await.error(520);
    assert_eq!(simulator.state().grant("as").refused, 1);
}

#[tokio::test]
async fn a_literal_body_can_stand_for_a_token_answer() {
    let simulator = start().await;
    let body = r#"{"access_token":null,"mfa_token":"m"}"#.to_owned();
    simulator.fault(Fault::new(Action::TokenBody { body: body.clone() }).on("POST /token"));
    let answer = token(&simulator, "grant_type=password").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (200, body.as_bytes())
    );
}

#[tokio::test]
async fn an_answer_can_be_lost_after_its_effect() {
    let simulator = start().await;
    let own = service(&simulator).await;
    simulator.fault(
        Fault::new(Action::CutBeforeHead)
            .grant("refresh_token")
            .after_effect(),
    );
    let ask = ask("POST", "/api/v3/token").body(FORM, refresh_form(&own.refresh));
    ask.attempt(&simulator).await.unwrap_err();
    assert_eq!(
        token(&simulator, &refresh_form(&own.refresh)).await.oauth(),
        "invalid_grant"
    );
    let state = simulator.state();
    assert_eq!((state.grant("refresh_token").ok, state.unanswered), (1, 1));
}

#[tokio::test]
async fn connections_are_cut_before_and_within_the_answer() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    simulator.fault(Fault::new(Action::CutBeforeHead));
    assert_eq!(raw(&simulator, &access).await, b"");
    assert_eq!(simulator.requests().last().unwrap().status, None);
    simulator.fault(Fault::new(Action::CutInBody {
        sent: 10,
        length: 1000,
    }));
    let cut = String::from_utf8(raw(&simulator, &access).await).unwrap();
    assert!(cut.contains("content-length: 1000\r\n"), "{cut}");
    assert_eq!(cut.split_once("\r\n\r\n").unwrap().1.len(), 10);
    simulator.fault(Fault::new(Action::Garbage));
    let garbage = raw(&simulator, &access).await;
    assert!(
        !garbage.is_empty() && !garbage.starts_with(b"HTTP"),
        "{garbage:?}"
    );
}

#[tokio::test]
async fn a_stalled_answer_lasts_until_its_connection_is_dropped() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    simulator.fault(Fault::new(Action::StallInBody {
        sent: 10,
        length: 1000,
    }));
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let head = format!(
        "GET /api/v3/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {access}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 15];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    simulator.drop_connections();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&[b' '; 10]));
    me(&simulator, &access).await.data();
}

#[tokio::test]
async fn delayed_requests_are_in_flight_together() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let delay = Fault::new(Action::Delay).on(ME);
    simulator.fault(delay.clone().times(2).delay(Duration::from_secs(600)));
    tokio::select! {
        _ = me(&simulator, &access) => panic!("answered in spite of the delay"),
        _ = me(&simulator, &access) => panic!("answered in spite of the delay"),
        () = until(|| simulator.state().in_flight == 2) => {}
    }
    simulator.drop_connections();
    until(|| simulator.state().in_flight == 0).await;
    assert_eq!(simulator.state().in_flight_max, 2);
    simulator.fault(delay.delay(Duration::from_millis(1)));
    me(&simulator, &access).await.data();
    assert_eq!(simulator.state().faults_met, 3);
}

#[tokio::test]
async fn a_made_up_answer_has_the_headers_it_was_given() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    simulator.fault(Fault::new(Action::Answer {
        status: 403,
        body: Some("denied".to_owned()),
        content_type: Some("text/plain".to_owned()),
        headers: vec![("X-Made".to_owned(), "up".to_owned())],
    }));
    let answer = me(&simulator, &access).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (403, &b"denied"[..])
    );
    assert_eq!(answer.headers["content-type"], "text/plain");
    assert_eq!(answer.headers["x-made"], "up");
}
