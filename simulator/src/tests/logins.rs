use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::*;
use crate::Cause;

const KEY: &str = "<RSAKeyValue><Modulus>urIs</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>";
const OWNER: Uuid = seed::ACME_OWNER.uid;

fn path(end: &str) -> String {
    format!("/api/v3/users/{OWNER}/{end}")
}

#[tokio::test]
async fn identities_have_every_member_of_the_schema() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let answer = get("/api/v3/users/logins?limit=1")
        .bearer(&access)
        .send(&simulator)
        .await;
    let login = answer.data()[0].clone();
    let expected = json!({
        "id": 1,
        "userUid": seed::SERVICE.uid,
        "userName": seed::SERVICE.name,
        "companyId": seed::PROVIDER.uid,
        "companyName": seed::PROVIDER.name,
        "identityProviderName": "WIN",
        "description": null,
        "isReadAccessOnly": false,
        "scopes": ["integration", "rest", "ui"],
        "status": "enabled",
        "parameters": "",
        "identifierInProvider": seed::SERVICE.name,
        "creationDate": login["creationDate"],
    });
    assert_eq!(login, expected);
    assert_eq!(
        login["creationDate"].as_str().unwrap().len(),
        "2020-03-04T00:47:16.5789853+00:00".len()
    );
    assert_eq!(
        answer.json()["meta"]["pagingInfo"]["total"],
        seed::USERS.len() + 2
    );
}

#[tokio::test]
async fn an_api_key_shows_its_secret_once_and_opens_the_api_until_deleted() {
    let simulator = start().await;
    let access = login(&simulator, &seed::ACME_OWNER).await.access;
    let target = path("logins/apikey?description=tool&scopes=rest&scopes=ui");
    let made = ask("POST", &target)
        .bearer(&access)
        .send(&simulator)
        .await
        .data();
    let key = made["parameters"].as_str().unwrap().to_owned();
    assert_eq!(
        (key.len(), &made["identityProviderName"]),
        (128, &json!("AK"))
    );
    assert_eq!(made["identifierInProvider"], made["id"].to_string());
    assert_eq!(made["scopes"], json!(["rest", "ui"]));
    let one = path(&format!("logins/{}", made["id"]));
    let shown = get(&one).bearer(&access).send(&simulator).await.data();
    assert_eq!(
        (&shown["parameters"], &shown["description"]),
        (&json!(""), &json!("tool"))
    );
    let me = async || get("/api/v3/users/me").bearer(&key).send(&simulator).await;
    assert_eq!(me().await.data()["instanceUid"], json!(OWNER));
    let status = async |value: &str| {
        let patch = json!([{ "op": "replace", "path": "/status", "value": value }]);
        ask("PATCH", &one)
            .bearer(&access)
            .json(&patch)
            .send(&simulator)
            .await
            .data()
    };
    assert_eq!(status("disabled").await["status"], "disabled");
    me().await.error(401);
    assert_eq!(status("enabled").await["status"], "enabled");
    me().await.data();
    let gone = ask("DELETE", &one).bearer(&access).send(&simulator).await;
    assert_eq!(gone.json(), json!({ "data": true }));
    me().await.error(401);
    get(&one).bearer(&access).send(&simulator).await.error(404);
    assert_eq!(simulator.state().unauthorized_for(Cause::Revoked), 2);
}

#[tokio::test]
async fn api_keys_keep_to_their_scopes_and_rights() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let key = async |query: &str| {
        let target = path(&format!("logins/apikey?description=x&{query}"));
        let made = ask("POST", &target)
            .bearer(&access)
            .send(&simulator)
            .await
            .data();
        made["parameters"].as_str().unwrap().to_owned()
    };
    let reader = key("scopes=[%22rest%22]&isReadAccessOnly=true").await;
    get("/api/v3/users/me")
        .bearer(&reader)
        .send(&simulator)
        .await
        .data();
    ask("POST", "/api/v3/users")
        .bearer(&reader)
        .send(&simulator)
        .await
        .error(403);
    let screen = key("scopes=ui").await;
    get("/api/v3/users/me")
        .bearer(&screen)
        .send(&simulator)
        .await
        .error(403);
}

#[tokio::test]
async fn public_keys_come_raw_or_in_base64() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let target = path("logins/asymmetricalgorithm?description=gateway&scopes=rest");
    let send = async |kind: &str, body: &str| {
        ask("POST", &target)
            .bearer(&access)
            .body(kind, body.to_owned())
            .send(&simulator)
            .await
    };
    let raw = send("application/octet-stream", KEY).await.data();
    assert_eq!(
        (&raw["parameters"], &raw["identityProviderName"]),
        (&json!(KEY), &json!("AA"))
    );
    let fingerprint = raw["identifierInProvider"]
        .as_str()
        .unwrap()
        .strip_prefix("RSA::")
        .unwrap();
    assert_eq!(fingerprint.len(), 32);
    let encoded = send("application/binary+base64", &BASE64.encode(KEY))
        .await
        .data();
    assert_eq!(encoded["identifierInProvider"], raw["identifierInProvider"]);
    send("application/octet-stream", "no key").await.error(400);
    send("application/json", KEY).await.error(415);
    let keys = format!("/api/v3/organizations/{}/keys", seed::ACME.uid);
    let keys = get(&keys).bearer(&access).send(&simulator).await.data();
    assert_eq!(keys.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn description_and_scopes_are_required_unless_lenient() {
    let strict = start().await;
    let access = service(&strict).await.access;
    for (query, parameter) in [
        ("?scopes=rest", "description"),
        ("?description=a%3Cb&scopes=rest", "description"),
        ("?description=x", "scopes"),
        ("?description=x&scopes=all", "scopes"),
        (
            "?description=x&scopes=rest&isReadAccessOnly=1",
            "isReadAccessOnly",
        ),
    ] {
        let target = path(&format!("logins/apikey{query}"));
        let error = ask("POST", &target)
            .bearer(&access)
            .send(&strict)
            .await
            .error(400);
        assert_eq!(error["parameterName"], parameter);
    }
    let lenient = switched(|switches| switches.lenient_logins = true).await;
    let access = service(&lenient).await.access;
    let made = ask("POST", &path("logins/apikey"))
        .bearer(&access)
        .send(&lenient)
        .await
        .data();
    assert_eq!(made["description"], Value::Null);
}

#[tokio::test]
async fn identities_are_seen_and_changed_only_by_who_may() {
    let simulator = start().await;
    let administrator = login(&simulator, &seed::ACME_ADMINISTRATOR).await.access;
    let stranger = login(&simulator, &seed::GLOBEX_OWNER).await.access;
    let logins = get("/api/v3/users/logins")
        .bearer(&administrator)
        .send(&simulator)
        .await
        .data();
    assert_eq!(logins.as_array().unwrap().len(), 3);
    let target = path("logins/apikey?description=x&scopes=rest");
    ask("POST", &target)
        .bearer(&administrator)
        .send(&simulator)
        .await
        .error(403);
    ask("POST", &target)
        .bearer(&stranger)
        .send(&simulator)
        .await
        .error(404);
    get(&path("logins/1"))
        .bearer(&administrator)
        .send(&simulator)
        .await
        .error(404);
    get(&path("logins/x"))
        .bearer(&administrator)
        .send(&simulator)
        .await
        .error(400);
}

#[tokio::test]
async fn identities_are_filtered() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let filter = "[{'property':'identityProviderName','operation':'in','value':['WIN']}]";
    let target = format!("/api/v3/users/logins?filter={filter}");
    let found = get(&target).bearer(&access).send(&simulator).await;
    assert_eq!(found.json()["meta"]["pagingInfo"]["total"], 3);
}

#[tokio::test]
async fn revoked_users_lose_their_sessions_and_what_acts_as_them() {
    let simulator = start().await;
    let admin = service(&simulator).await;
    let lent = pair(&token(&simulator, &as_form(&admin.refresh, OWNER)).await);
    let own = login(&simulator, &seed::ACME_OWNER).await;
    let revoke = async |uid: Uuid, query: &str| {
        let target = format!("/api/v3/users/{uid}/tokens{query}");
        ask("DELETE", &target)
            .bearer(&admin.access)
            .send(&simulator)
            .await
    };
    assert_eq!(revoke(OWNER, "?userLoginId=999").await.data(), true);
    get("/api/v3/users/me")
        .bearer(&own.access)
        .send(&simulator)
        .await
        .data();
    assert_eq!(revoke(OWNER, "").await.data(), true);
    for access in [&own.access, &lent.access] {
        get("/api/v3/users/me")
            .bearer(access)
            .send(&simulator)
            .await
            .error(401);
    }
    assert_eq!(
        token(&simulator, &refresh_form(&own.refresh)).await.oauth(),
        "invalid_grant"
    );
}
