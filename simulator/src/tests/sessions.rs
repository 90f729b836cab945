use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    Action, Cause, DeadRefresh, Fault, ParallelSessions, PasswordRefusal, UnauthorizedBody,
};

const OWNER: SeedUser = seed::ACME_OWNER;
const HIDDEN: SeedUser = seed::UMBRELLA_OWNER;

async fn revoke(simulator: &Simulator, access: &str, uid: Uuid) {
    let path = format!("/api/v3/users/{uid}/tokens");
    let answer = ask("DELETE", &path).bearer(access).send(simulator).await;
    assert_eq!(answer.data(), true);
}

fn password_form(user: &SeedUser) -> String {
    let (name, password) = (user.name, user.password);
    format!("grant_type=password&username={name}&password={password}")
}

#[tokio::test]
async fn an_impersonated_token_outlives_its_revoked_parent_unless_switched() {
    for (outlives, status) in [(true, 200), (false, 401)] {
        let simulator = switched(|switches| switches.as_outlives_parent = outlives).await;
        let admin = service(&simulator).await;
        let lent = pair(&token(&simulator, &as_form(&admin.refresh, OWNER.uid)).await);
        revoke(&simulator, &admin.access, seed::SERVICE.uid).await;
        assert_eq!(me(&simulator, &lent.access).await.status, status);
        me(&simulator, &admin.access).await.error(401);
        let again = token(&simulator, &as_form(&admin.refresh, OWNER.uid)).await;
        assert_eq!(again.oauth(), "invalid_grant");
    }
}

#[tokio::test]
async fn ended_sessions_take_what_they_were_lent_with_them() {
    let simulator = start().await;
    let admin = service(&simulator).await;
    let lent = pair(&token(&simulator, &as_form(&admin.refresh, OWNER.uid)).await);
    assert_eq!(simulator.end_sessions(Some(seed::SERVICE.uid)), 3);
    me(&simulator, &lent.access).await.error(401);
}

#[tokio::test]
async fn sessions_of_one_account_go_on_side_by_side() {
    let simulator = start().await;
    let first = service(&simulator).await;
    let second = service(&simulator).await;
    for pair in [&first, &second] {
        me(&simulator, &pair.access).await.data();
    }
    assert_eq!(simulator.state().sessions_live, 2);
}

#[tokio::test]
async fn a_new_login_can_end_the_earlier_ones_of_its_account_alone() {
    for (outlives, status) in [(true, 200), (false, 401)] {
        let simulator = switched(|switches| {
            switches.parallel_sessions = ParallelSessions::NewestOnly;
            switches.as_outlives_parent = outlives;
        })
        .await;
        let first = service(&simulator).await;
        let lent = pair(&token(&simulator, &as_form(&first.refresh, OWNER.uid)).await);
        let other = login(&simulator, &OWNER).await;
        me(&simulator, &lent.access).await.data();
        let second = service(&simulator).await;
        me(&simulator, &first.access).await.error(401);
        let dead = token(&simulator, &refresh_form(&first.refresh)).await;
        assert_eq!(dead.oauth(), "invalid_grant");
        assert_eq!(me(&simulator, &lent.access).await.status, status);
        for pair in [&other, &second] {
            me(&simulator, &pair.access).await.data();
        }
        let renewed = pair(&token(&simulator, &refresh_form(&second.refresh)).await);
        me(&simulator, &renewed.access).await.data();
        me(&simulator, &second.access).await.data();
    }
}

/// Returns the end of a refresh token, in seconds since the Unix epoch.
fn end(token: &str) -> i64 {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part);
    let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    claims["exp"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_renewal_extends_a_session_unless_switched() {
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
    for (extends, longer) in [(true, true), (false, false)] {
        let simulator = switched(|switches| switches.refresh_extends = extends).await;
        simulator.set_lifetimes(hour, hour);
        let first = service(&simulator).await;
        simulator.set_lifetimes(hour, day);
        let second = pair(&token(&simulator, &refresh_form(&first.refresh)).await);
        let third = pair(&token(&simulator, &refresh_form(&second.refresh)).await);
        assert_eq!(end(&third.refresh) - end(&first.refresh) > 3600, longer);
        assert!(end(&third.refresh) - end(&first.refresh) >= -1);
    }
}

#[tokio::test]
async fn a_company_without_rest_access_lets_nobody_in() {
    let simulator = start().await;
    let admin = service(&simulator).await;
    assert_eq!(
        token(&simulator, &password_form(&HIDDEN)).await.oauth(),
        "invalid_request"
    );
    let form = as_form(&admin.refresh, HIDDEN.uid);
    assert_eq!(token(&simulator, &form).await.oauth(), "invalid_request");
    let company = |uid: Uuid| format!("/api/v3/organizations/companies/{uid}");
    for (uid, enabled) in [(seed::ACME.uid, true), (seed::UMBRELLA.uid, false)] {
        let shown = get(&company(uid))
            .bearer(&admin.access)
            .send(&simulator)
            .await;
        assert_eq!(shown.data()["isRestAccessEnabled"], enabled);
    }
    let patch = json!([{ "op": "replace", "path": "/isRestAccessEnabled", "value": true }]);
    let opened = ask("PATCH", &company(seed::UMBRELLA.uid))
        .bearer(&admin.access)
        .json(&patch)
        .send(&simulator)
        .await;
    assert_eq!(opened.data()["isRestAccessEnabled"], true);
    login(&simulator, &HIDDEN).await;
    pair(&token(&simulator, &form).await);
}

#[tokio::test]
async fn impersonation_into_a_company_without_rest_access_is_a_switch() {
    let simulator = switched(|switches| switches.as_rest_disabled = true).await;
    let admin = service(&simulator).await;
    let lent = pair(&token(&simulator, &as_form(&admin.refresh, HIDDEN.uid)).await);
    me(&simulator, &lent.access).await.data();
    assert_eq!(
        token(&simulator, &password_form(&HIDDEN)).await.oauth(),
        "invalid_request"
    );
}

#[tokio::test]
async fn rest_access_that_goes_takes_keys_and_sessions_along() {
    let simulator = start().await;
    let admin = service(&simulator).await.access;
    let owner = login(&simulator, &OWNER).await;
    let path = format!(
        "/api/v3/users/{}/logins/apikey?description=x&scopes=rest",
        OWNER.uid
    );
    let made = ask("POST", &path)
        .bearer(&owner.access)
        .send(&simulator)
        .await;
    let made = made.data();
    let key = made["parameters"].as_str().unwrap();
    me(&simulator, key).await.data();
    assert!(simulator.set_rest_access(seed::ACME.uid, false));
    for bearer in [key, &owner.access] {
        me(&simulator, bearer).await.error(401);
    }
    assert_eq!(simulator.state().unauthorized_for(Cause::Disabled), 2);
    let dead = token(&simulator, &refresh_form(&owner.refresh)).await;
    assert_eq!(dead.oauth(), "invalid_grant");
    let shown = format!("/api/v3/users/{}/logins/{}", OWNER.uid, made["id"]);
    let shown = get(&shown).bearer(&admin).send(&simulator).await.data();
    assert_eq!(shown["status"], "disabledDueToCompany");
    assert!(simulator.set_rest_access(seed::ACME.uid, true));
    me(&simulator, key).await.data();
}

#[tokio::test]
async fn the_body_of_a_401_is_a_switch() {
    for (body, kind, length) in [
        (
            UnauthorizedBody::Errors,
            Some("application/json; charset=utf-8"),
            1,
        ),
        (UnauthorizedBody::Html, Some("text/html; charset=utf-8"), 1),
        (UnauthorizedBody::Empty, None, 0),
    ] {
        let simulator = switched(|switches| {
            switches.unauthorized_body = body;
            switches.dead_refresh = DeadRefresh::Unauthorized;
        })
        .await;
        let access = service(&simulator).await.access;
        simulator.fault(Fault::new(Action::Unauthorized));
        for answer in [
            me(&simulator, &access).await,
            me(&simulator, "unknown").await,
            token(&simulator, &refresh_form("unknown")).await,
        ] {
            assert_eq!(answer.status, 401);
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            let told = answer.headers.get("content-type");
            assert_eq!(told.map(|value| value.to_str().unwrap()), kind);
            assert_eq!(answer.body.len().min(1), length);
        }
        me(&simulator, &access).await.data();
    }
}

#[tokio::test]
async fn a_made_up_401_keeps_its_body() {
    let simulator = switched(|switches| switches.unauthorized_body = UnauthorizedBody::Empty).await;
    let access = service(&simulator).await.access;
    simulator.fault(Fault::new(Action::Answer {
        status: 401,
        body: Some("mine".to_owned()),
        content_type: None,
        headers: Vec::new(),
    }));
    assert_eq!(me(&simulator, &access).await.body, "mine");
}

#[tokio::test]
async fn the_refusal_of_a_password_is_a_switch() {
    let simulator = switched(|switches| {
        switches.password_refusal = PasswordRefusal::InvalidGrant;
    })
    .await;
    let wrong = r"grant_type=password&username=VSPC\svc-gateway&password=wrong";
    assert_eq!(token(&simulator, wrong).await.oauth(), "invalid_grant");
    let half = r"grant_type=password&username=VSPC\svc-gateway";
    assert_eq!(token(&simulator, half).await.oauth(), "invalid_request");
}
