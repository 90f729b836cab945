use serde_json::json;

use super::*;
use crate::{Action, AsyncMode, Fault};

const ID: &str = "0b04b3a1-5a6c-4b57-9b7a-000000000001";

fn api_key() -> String {
    format!(
        "/api/v3/users/{}/logins/apikey?description=key&scopes=rest&scopes=ui",
        seed::ACME_OWNER.uid
    )
}

fn named(ask: Ask, token: &str) -> Ask {
    ask.bearer(token).header("x-request-id", ID)
}

/// Makes an API key for Acme's owner, who has `token`, under the request id.
async fn make_key(simulator: &Simulator, token: &str) -> Answer {
    named(ask("POST", &api_key()), token).send(simulator).await
}

async fn keys(simulator: &Simulator, token: &str) -> usize {
    let target = format!("/api/v3/organizations/{}/keys", seed::ACME.uid);
    let answer = get(&target).bearer(token).send(simulator).await;
    answer.data().as_array().unwrap().len()
}

async fn asynchronous(mode: AsyncMode, duration_ms: u64) -> (Simulator, String) {
    let simulator = switched(|switches| {
        switches.async_mode = mode;
        switches.async_duration_ms = duration_ms;
    })
    .await;
    let access = login(&simulator, &seed::ACME_OWNER).await.access;
    (simulator, access)
}

#[track_caller]
fn accepted(answer: &Answer) -> String {
    assert_eq!((answer.status.as_u16(), answer.body.len()), (202, 0));
    answer.headers["location"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_id_is_carried_out_once_and_answered_the_same() {
    let simulator = start().await;
    let access = login(&simulator, &seed::ACME_OWNER).await.access;
    let first = make_key(&simulator, &access).await;
    let second = make_key(&simulator, &access).await;
    assert_eq!(first.data(), second.data());
    assert_eq!(keys(&simulator, &access).await, 1);
    let unnamed = ask("POST", &api_key()).bearer(&access);
    assert_ne!(unnamed.send(&simulator).await.data(), first.data());
    assert_eq!(keys(&simulator, &access).await, 2);
}

#[tokio::test]
async fn a_refusal_is_repeated_under_its_request_id() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let target = "/api/v3/users/not-a-uid";
    named(get(target), &access)
        .send(&simulator)
        .await
        .error(400);
    let other = named(get("/api/v3/users/me"), &access);
    other.send(&simulator).await.error(400);
}

#[tokio::test]
async fn a_request_id_belongs_to_its_user() {
    let simulator = start().await;
    let owner = login(&simulator, &seed::ACME_OWNER).await.access;
    let other = service(&simulator).await.access;
    make_key(&simulator, &owner).await.data();
    make_key(&simulator, &other).await.data();
    assert_eq!(keys(&simulator, &owner).await, 2);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_had_again_by_its_request_id() {
    let simulator = start().await;
    let access = login(&simulator, &seed::ACME_OWNER).await.access;
    simulator.fault(
        Fault::new(Action::CutBeforeHead)
            .on("POST /users/{userUid}/logins/apikey")
            .after_effect(),
    );
    let lost = named(ask("POST", &api_key()), &access);
    lost.attempt(&simulator).await.unwrap_err();
    let secret = make_key(&simulator, &access).await.data()["parameters"].clone();
    assert_eq!(secret.as_str().unwrap().len(), 128);
    assert_eq!(keys(&simulator, &access).await, 1);
}

#[tokio::test]
async fn by_default_nothing_is_accepted_for_later() {
    let simulator = start().await;
    let access = login(&simulator, &seed::ACME_OWNER).await.access;
    make_key(&simulator, &access).await.data();
    let list = get("/api/v3/asyncActions").bearer(&access);
    assert_eq!(list.send(&simulator).await.data(), json!([]));
}

#[tokio::test]
async fn a_write_becomes_an_action_under_its_request_id() {
    let (simulator, access) = asynchronous(AsyncMode::Writes, 0).await;
    let location = accepted(&make_key(&simulator, &access).await);
    let expected = format!("{}/api/v3/asyncActions/{ID}", simulator.url());
    assert_eq!(location, expected);
    assert_eq!(accepted(&make_key(&simulator, &access).await), expected);
    let target = location.strip_prefix(&simulator.url()).unwrap();
    let info = get(target).bearer(&access).send(&simulator).await.data();
    let expected = json!({
        "id": ID,
        "initiatorUid": seed::ACME_OWNER.uid,
        "actionName": "POST /users/{userUid}/logins/apikey",
        "status": "succeed",
        "requestBody": null,
        "queryParameters": { "description": ["key"], "scopes": ["rest", "ui"] },
    });
    assert_eq!(info, expected);
    let result = format!("{target}/result");
    // A poll may carry the same request id: it is no operation that could be repeated.
    let answer = named(get(&result), &access).send(&simulator).await;
    assert_eq!(answer.data()["identityProviderName"], "AK");
    assert_eq!(keys(&simulator, &access).await, 1);
}

#[tokio::test]
async fn what_an_action_does_is_noted_once_and_under_its_users_name() {
    let (simulator, access) = asynchronous(AsyncMode::Writes, 0).await;
    for _ in 0..2 {
        accepted(&make_key(&simulator, &access).await);
    }
    let log = get("/api/v3/eventLogs/activityLogs").bearer(&access);
    let log = log.send(&simulator).await.data();
    let noted = |n: usize| (&log[n]["activityLogType"], &log[n]["userUid"]);
    let owner = json!(seed::ACME_OWNER.uid);
    assert_eq!(noted(0), (&json!("UserLoginTypeCreated"), &owner));
    assert_eq!(noted(1), (&json!("LoginSuccessful"), &owner));
}

#[tokio::test]
async fn actions_are_begun_for_users_with_a_device_or_without_rest_access_too() {
    let simulator = switched(|switches| {
        switches.async_mode = AsyncMode::Always;
        switches.as_rest_disabled = true;
    })
    .await;
    let refresh = service(&simulator).await.refresh;
    for user in [seed::INITECH_MFA, seed::UMBRELLA_OWNER] {
        let lent = pair(&token(&simulator, &as_form(&refresh, user.uid)).await).access;
        accepted(&named(get("/api/v3/users/me"), &lent).send(&simulator).await);
        let result = format!("/api/v3/asyncActions/{ID}/result");
        let result = get(&result).bearer(&lent).send(&simulator).await.data();
        assert_eq!(result["instanceUid"], json!(user.uid));
    }
}

#[tokio::test]
async fn rest_access_that_goes_takes_answers_under_a_request_id_along() {
    let simulator = start().await;
    let access = login(&simulator, &seed::ACME_OWNER).await.access;
    let first = make_key(&simulator, &access).await.data();
    assert!(simulator.set_rest_access(seed::ACME.uid, false));
    make_key(&simulator, &access).await.error(401);
    assert!(simulator.set_rest_access(seed::ACME.uid, true));
    assert_eq!(make_key(&simulator, &access).await.data(), first);
}

#[tokio::test]
async fn which_calls_become_actions_is_a_switch() {
    let me = || get("/api/v3/users/me");
    let (simulator, access) = asynchronous(AsyncMode::Writes, 0).await;
    named(me(), &access).send(&simulator).await.data();
    let unnamed = ask("POST", &api_key()).bearer(&access);
    unnamed.send(&simulator).await.data();
    let (simulator, access) = asynchronous(AsyncMode::Always, 0).await;
    accepted(&named(me(), &access).send(&simulator).await);
    me().bearer(&access).send(&simulator).await.data();
    let (simulator, access) = asynchronous(AsyncMode::Unasked, 0).await;
    let location = accepted(&me().bearer(&access).send(&simulator).await);
    let target = format!(
        "{}/result",
        location.strip_prefix(&simulator.url()).unwrap()
    );
    let user = get(&target).bearer(&access).send(&simulator).await.data();
    assert_eq!(user["userName"], seed::ACME_OWNER.name);
}

#[tokio::test]
async fn what_no_console_has_is_never_accepted_for_later() {
    let (simulator, access) = asynchronous(AsyncMode::Unasked, 0).await;
    for (target, status) in [
        ("/api/v3/_test/echo", 200),
        ("/api/v3/asyncActions/config", 200),
        ("/api/v3/plugins/user/islogged", 400),
        ("/api/v3/nowhere", 404),
    ] {
        let answer = named(get(target), &access).send(&simulator).await;
        assert_eq!(answer.status, status, "{target}");
    }
}

#[tokio::test]
async fn a_failed_action_keeps_status_and_body_of_its_error() {
    let (simulator, access) = asynchronous(AsyncMode::Writes, 0).await;
    let target = format!("/api/v3/users/{}", seed::GLOBEX_OWNER.uid);
    let patch = json!([{ "op": "replace", "path": "/status", "value": "Disabled" }]);
    let ask = named(ask("PATCH", &target), &access).json(&patch);
    accepted(&ask.send(&simulator).await);
    let action = format!("/api/v3/asyncActions/{ID}");
    let info = get(&action).bearer(&access).send(&simulator).await.data();
    assert_eq!(info["status"], "failed");
    assert_eq!(info["requestBody"], patch.to_string());
    let result = format!("{action}/result");
    get(&result)
        .bearer(&access)
        .send(&simulator)
        .await
        .error(404);
}

#[tokio::test]
async fn an_action_of_another_user_is_not_there() {
    let (simulator, access) = asynchronous(AsyncMode::Writes, 0).await;
    accepted(&make_key(&simulator, &access).await);
    let other = login(&simulator, &seed::ACME_ADMINISTRATOR).await.access;
    let action = format!("/api/v3/asyncActions/{ID}");
    let result = format!("{action}/result");
    for target in [&action, &result] {
        for method in ["GET", "DELETE"] {
            let ask = ask(method, target).bearer(&other);
            ask.send(&simulator).await.error(404);
        }
    }
    let count = async |token: &str| {
        let list = get("/api/v3/asyncActions").bearer(token);
        list.send(&simulator).await.json()["meta"]["pagingInfo"]["total"].clone()
    };
    assert_eq!(
        (count(&other).await, count(&access).await),
        (json!(0), json!(1))
    );
}

#[tokio::test]
async fn a_running_action_has_no_effect_yet_and_can_be_canceled() {
    let (simulator, access) = asynchronous(AsyncMode::Writes, 600_000).await;
    accepted(&make_key(&simulator, &access).await);
    let action = format!("/api/v3/asyncActions/{ID}");
    let status = async || {
        let info = get(&action).bearer(&access).send(&simulator).await.data();
        info["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status().await, "running");
    let result = get(&format!("{action}/result")).bearer(&access);
    result.send(&simulator).await.error(404);
    let canceled = ask("DELETE", &action)
        .bearer(&access)
        .send(&simulator)
        .await;
    assert_eq!(canceled.json(), json!({ "data": {}, "errors": [] }));
    assert_eq!(status().await, "canceled");
    assert_eq!(keys(&simulator, &access).await, 0);
}

#[tokio::test]
async fn an_action_that_takes_its_time_ends_by_itself() {
    let (simulator, access) = asynchronous(AsyncMode::Writes, 20).await;
    accepted(&make_key(&simulator, &access).await);
    let action = format!("/api/v3/asyncActions/{ID}");
    loop {
        let info = get(&action).bearer(&access).send(&simulator).await.data();
        match info["status"].as_str().unwrap() {
            "running" => tokio::task::yield_now().await,
            status => break assert_eq!(status, "succeed"),
        }
    }
    assert_eq!(keys(&simulator, &access).await, 1);
}

#[tokio::test]
async fn the_result_of_an_action_can_be_deleted() {
    let (simulator, access) = asynchronous(AsyncMode::Writes, 0).await;
    accepted(&make_key(&simulator, &access).await);
    let action = format!("/api/v3/asyncActions/{ID}");
    let result = format!("{action}/result");
    let send = async |method: &str, target: &str| {
        let ask = ask(method, target).bearer(&access);
        ask.send(&simulator).await
    };
    send("GET", &result).await.data();
    assert_eq!(send("DELETE", &result).await.status, 200);
    send("GET", &result).await.error(404);
    send("DELETE", &result).await.error(404);
    assert_eq!(send("GET", &action).await.data()["status"], "succeed");
}

#[tokio::test]
async fn the_retention_of_results_is_told() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let config = get("/api/v3/asyncActions/config").bearer(&access);
    let config = config.send(&simulator).await.json();
    assert_eq!(config, json!({ "data": { "resultRetentionTime": 300 } }));
}

#[tokio::test]
async fn the_console_names_itself_as_it_likes() {
    let simulator = switched(|switches| {
        switches.async_mode = AsyncMode::Always;
        switches
            .set("location_host", "vspc.internal.example:1280")
            .unwrap();
    })
    .await;
    let access = service(&simulator).await.access;
    let answer = named(get("/api/v3/users/me"), &access)
        .send(&simulator)
        .await;
    assert_eq!(
        accepted(&answer),
        format!("https://vspc.internal.example:1280/api/v3/asyncActions/{ID}")
    );
}
