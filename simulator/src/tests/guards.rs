use super::*;
use crate::faults::Action;
use crate::{Cause, Fault};

#[tokio::test]
async fn every_way_to_be_unauthorized_is_counted_apart() {
    let simulator = start().await;
    let own = service(&simulator).await;
    let owner = login(&simulator, &seed::ACME_OWNER).await;
    let globex = login(&simulator, &seed::GLOBEX_OWNER).await;
    simulator.revoke_access_tokens(Some(seed::GLOBEX_OWNER.uid));
    simulator.set_lifetimes(
        std::time::Duration::ZERO,
        std::time::Duration::from_secs(60),
    );
    let expired = service(&simulator).await;
    simulator.set_user_enabled(seed::ACME_OWNER.uid, false);
    let bearer = |token: &str| vec![format!("Bearer {token}")];
    let expected = [
        (vec![], Cause::Missing),
        (vec!["Basic eDp5".to_owned()], Cause::Malformed),
        (vec!["Bearer ".to_owned()], Cause::Malformed),
        (vec![format!("Bearer {}", own.access); 2], Cause::Duplicated),
        (bearer("abc"), Cause::Unknown),
        (bearer(&own.refresh), Cause::RefreshToken),
        (bearer(&expired.access), Cause::Expired),
        (bearer(&globex.access), Cause::Revoked),
        (bearer(&owner.access), Cause::Disabled),
    ];
    for (headers, cause) in expected {
        let before = simulator.state().unauthorized_for(cause);
        let mut ask = get("/api/v3/users/me");
        for value in &headers {
            ask = ask.header("authorization", value);
        }
        let answer = ask.send(&simulator).await;
        assert_eq!(answer.error(401)["type"], "security");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert_eq!(
            simulator.state().unauthorized_for(cause),
            before + 1,
            "{cause:?}"
        );
    }
    simulator.fault(Fault::new(Action::Unauthorized));
    get("/api/v3/users/me")
        .bearer(&own.access)
        .send(&simulator)
        .await
        .error(401);
    assert_eq!(simulator.state().unauthorized_for(Cause::Fault), 1);
    assert_eq!(simulator.state().authorization_headers_max, 2);
}

#[tokio::test]
async fn the_scheme_of_a_bearer_is_read_without_regard_to_case() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let value = format!("bearer {access}");
    get("/api/v3/users/me")
        .header("authorization", &value)
        .send(&simulator)
        .await
        .data();
    assert_eq!(simulator.state().access_tokens_seen, 1);
}

#[tokio::test]
async fn operations_without_token_refuse_one() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let metadata = format!(
        "/api/v3/organizations/{}/identityProviders/saml2/adfs/metadata",
        seed::ACME.uid
    );
    let reset = serde_json::json!({ "email": "a@b.c", "userName": "x" });
    let confirm = serde_json::json!({ "code": "1", "newPassword": "x" });
    let asks = || {
        [
            get("/api/v3/plugins/user/islogged"),
            get(&metadata),
            ask("POST", "/api/v3/users/resetpassword").json(&reset),
            ask("PUT", "/api/v3/users/resetpassword").json(&confirm),
        ]
    };
    for ask in asks() {
        assert_eq!(ask.send(&simulator).await.status, 200);
    }
    assert_eq!(simulator.state().authorization_on_public, 0);
    for ask in asks() {
        ask.bearer(&access).send(&simulator).await.error(400);
    }
    assert_eq!(simulator.state().authorization_on_public, 4);
}

#[tokio::test]
async fn what_is_outside_of_the_api_is_reached_and_counted() {
    let simulator = start().await;
    for target in ["/proxy/x", "/api/v3/../../uiapi/x", "/", "/api/v2/users"] {
        let answer = get(target).send(&simulator).await;
        assert_eq!(
            answer.json(),
            serde_json::json!({ "reached": true }),
            "{target}"
        );
    }
    assert_eq!(simulator.state().outside_api, 4);
}

#[tokio::test]
async fn unknown_paths_and_methods_need_a_bearer_too() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    get("/api/v3/about/version")
        .send(&simulator)
        .await
        .error(401);
    get("/api/v3/about/version")
        .bearer(&access)
        .send(&simulator)
        .await
        .error(404);
    ask("PUT", "/api/v3/users")
        .bearer(&access)
        .send(&simulator)
        .await
        .error(405);
    assert_eq!(simulator.state().operation("unknown"), 2);
}

#[tokio::test]
async fn paths_are_read_as_the_console_reads_them() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    for target in [
        "/API/V3/Users/Me",
        "/api/v3/users/%6De",
        "/api/v3/users/me/",
        "/api/v3/./users/me",
    ] {
        get(target).bearer(&access).send(&simulator).await.data();
    }
    assert_eq!(simulator.state().operation("GET /users/me"), 4);
}

#[tokio::test]
async fn a_refusal_can_come_before_the_body() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let simulator = switched(|switches| switches.early_refusal = true).await;
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let head = "POST /api/v3/users HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 401");
    assert!(!simulator.requests()[0].body_complete);
}
