use super::*;
use crate::{Action, Fault};

#[tokio::test]
async fn a_user_is_limited_apart_from_others() {
    let simulator = switched(|switches| switches.throttle_user_rate = 1).await;
    let one = login(&simulator, &seed::ACME_OWNER).await.access;
    let other = login(&simulator, &seed::GLOBEX_OWNER).await.access;
    me(&simulator, &one).await.data();
    let refused = me(&simulator, &one).await;
    let expected = serde_json::json!({ "type": "transport", "code": 429, "retryAfter": 1 });
    assert_eq!(refused.error(429), expected);
    assert!(!refused.headers.contains_key("retry-after"));
    me(&simulator, &other).await.data();
}

#[tokio::test]
async fn users_with_a_device_or_without_rest_access_are_limited_as_others_are() {
    let simulator = switched(|switches| {
        switches.throttle_user_rate = 1;
        switches.as_rest_disabled = true;
    })
    .await;
    let refresh = service(&simulator).await.refresh;
    for user in [seed::INITECH_MFA, seed::UMBRELLA_OWNER] {
        let lent = pair(&token(&simulator, &as_form(&refresh, user.uid)).await).access;
        me(&simulator, &lent).await.data();
        me(&simulator, &lent).await.error(429);
    }
}

#[tokio::test]
async fn the_seconds_to_wait_are_in_a_header_as_well_when_switched_on() {
    let simulator = switched(|switches| {
        switches.throttle_user_rate = 1;
        switches.retry_after_header = true;
    })
    .await;
    let access = service(&simulator).await.access;
    me(&simulator, &access).await.data();
    assert_eq!(me(&simulator, &access).await.headers["retry-after"], "1");
}

#[tokio::test]
async fn token_requests_count_for_their_address() {
    let simulator = switched(|switches| switches.throttle_address_rate = 2).await;
    let access = service(&simulator).await.access;
    me(&simulator, &access).await.data();
    let form = format!(
        "grant_type=password&username={}&password={}",
        seed::SERVICE.name,
        seed::SERVICE.password
    );
    token(&simulator, &form).await.error(429);
    assert_eq!(simulator.state().grant("password").ok, 1);
}

#[tokio::test]
async fn more_requests_at_once_than_allowed_are_refused_without_seconds() {
    let simulator = switched(|switches| switches.throttle_user_parallel = 1).await;
    let access = service(&simulator).await.access;
    let delay = std::time::Duration::from_secs(600);
    simulator.fault(Fault::new(Action::Delay).delay(delay));
    let refused = tokio::select! {
        _ = me(&simulator, &access) => panic!("answered in spite of the delay"),
        answer = async {
            until(|| simulator.state().faults_waiting == 0).await;
            me(&simulator, &access).await
        } => answer,
    };
    let expected = serde_json::json!({ "type": "transport", "code": 429 });
    assert_eq!(refused.error(429), expected);
    until(|| simulator.state().in_flight == 0).await;
    me(&simulator, &access).await.data();
}

#[tokio::test]
async fn requests_at_once_are_limited_by_address_too() {
    let simulator = switched(|switches| switches.throttle_address_parallel = 1).await;
    let delay = std::time::Duration::from_secs(600);
    simulator.fault(Fault::new(Action::Delay).delay(delay));
    tokio::select! {
        _ = get("/x").send(&simulator) => panic!("answered in spite of the delay"),
        answer = async {
            until(|| simulator.state().faults_waiting == 0).await;
            get("/x").send(&simulator).await
        } => { answer.error(429); }
    }
}

#[tokio::test]
async fn a_forwarded_address_counts_only_when_it_is_trusted() {
    for trusted in [false, true] {
        let simulator = switched(|switches| {
            switches.throttle_address_rate = 1;
            switches.trust_forwarded_for = trusted;
        })
        .await;
        let send = async |from: &str| {
            let ask = get("/x").header("x-forwarded-for", from);
            ask.send(&simulator).await.status.as_u16()
        };
        assert_eq!(send("192.0.2.1").await, 200);
        assert_eq!(send("192.0.2.2").await, if trusted { 200 } else { 429 });
        assert_eq!(send("198.51.100.7, 192.0.2.1").await, 429);
    }
}

#[tokio::test]
async fn without_limits_nobody_is_refused() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    for _ in 0..20 {
        me(&simulator, &access).await.data();
    }
}
