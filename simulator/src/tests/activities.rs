use serde_json::json;

use super::*;
use crate::ActivityImpersonation;

const OWNER: SeedUser = seed::ACME_OWNER;

async fn log(simulator: &Simulator, access: &str, query: &str) -> Vec<Value> {
    let path = format!("/api/v3/eventLogs/activityLogs{query}");
    let data = get(&path).bearer(access).send(simulator).await.data();
    data.as_array().unwrap().clone()
}

fn kinds(log: &[Value]) -> Vec<&str> {
    log.iter()
        .map(|entry| entry["activityLogType"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_log_tells_what_users_did_the_latest_first() {
    let simulator = start().await;
    let admin = service(&simulator).await;
    token(
        &simulator,
        r"grant_type=password&username=Acme\owner&password=wrong",
    )
    .await
    .oauth();
    pair(&token(&simulator, &as_form(&admin.refresh, OWNER.uid)).await);
    let send = async |method: &str, path: String, body: Value| {
        let ask = ask(method, &format!("/api/v3/users{path}")).bearer(&admin.access);
        ask.json(&body).send(&simulator).await
    };
    let uid = OWNER.uid;
    let path = format!("/{uid}/logins/apikey?description=x&scopes=rest");
    let made = send("POST", path, json!({})).await.data();
    let path = format!("/{uid}/logins/{}", made["id"]);
    send("DELETE", path, json!({})).await.data();
    send("DELETE", format!("/{uid}/tokens"), json!({}))
        .await
        .data();
    let new = json!({
        "organizationUid": seed::ACME.uid,
        "role": "CompanyTenant",
        "credentials": { "userName": r"Acme\new", "password": "pw" },
    });
    let new = send("POST", String::new(), new).await.data();
    let new = new["instanceUid"].as_str().unwrap();
    for (path, value) in [
        ("/status", "Disabled"),
        ("/status", "Enabled"),
        ("/profile/email", "x"),
    ] {
        let patch = json!([{ "op": "replace", "path": path, "value": value }]);
        send("PATCH", format!("/{new}"), patch).await.data();
    }
    send("DELETE", format!("/{new}"), json!({})).await;

    let all = log(&simulator, &admin.access, "").await;
    let expected = [
        "UserRecordRemoved",
        "UserRecordModified",
        "UserRecordEnabled",
        "UserRecordDisabled",
        "UserRecordCreated",
        "UserTokenRevoked",
        "UserLoginTypeRemoved",
        "UserLoginTypeCreated",
        "UserImpersonationSuccessful",
        "LoginFailed",
        "LoginSuccessful",
    ];
    assert_eq!(kinds(&all), expected);
    let impersonation = json!({
        "message": r"VSPC\svc-gateway acts as Acme\owner.",
        "activityLogType": "UserImpersonationSuccessful",
        "activityKind": "Internal",
        "date": all[8]["date"],
        "userUid": seed::SERVICE.uid,
        "organizationUid": seed::ACME.uid,
    });
    assert_eq!(all[8], impersonation);
    assert_eq!(all[9]["userUid"], json!(OWNER.uid));
    let ascending = log(&simulator, &admin.access, "?dateSortingDirection=ascending").await;
    assert_eq!(kinds(&ascending)[0], "LoginSuccessful");
}

#[tokio::test]
async fn the_log_is_paged_and_filtered() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let owner = login(&simulator, &OWNER).await;
    token(&simulator, "grant_type=password&username=nobody&password=x")
        .await
        .oauth();
    let of = |query: String| {
        let (simulator, access) = (&simulator, &access);
        async move { kinds(&log(simulator, access, &query).await).join(" ") }
    };
    assert_eq!(of("?limit=1".to_owned()).await, "LoginFailed");
    assert_eq!(of("?limit=1&offset=2".to_owned()).await, "LoginSuccessful");
    assert_eq!(
        of(format!("?userUid={}", OWNER.uid)).await,
        "LoginSuccessful"
    );
    let organization = format!("?organizationUid={}", seed::PROVIDER.uid);
    assert_eq!(of(organization).await, "LoginSuccessful");
    let filter = "[{'property':'activityLogType','operation':'equals','value':'LoginFailed'}]";
    assert_eq!(of(format!("?filter={filter}")).await, "LoginFailed");
    for query in ["?userUid=x", "?dateSortingDirection=up"] {
        let path = format!("/api/v3/eventLogs/activityLogs{query}");
        get(&path)
            .bearer(&owner.access)
            .send(&simulator)
            .await
            .error(400);
    }
}

#[tokio::test]
async fn a_company_reads_only_of_itself() {
    let simulator = start().await;
    let admin = service(&simulator).await;
    pair(&token(&simulator, &as_form(&admin.refresh, OWNER.uid)).await);
    let stranger = login(&simulator, &seed::GLOBEX_OWNER).await.access;
    let own = login(&simulator, &OWNER).await.access;
    let seen = log(&simulator, &own, "").await;
    assert_eq!(
        kinds(&seen),
        ["LoginSuccessful", "UserImpersonationSuccessful"]
    );
    assert_eq!(
        kinds(&log(&simulator, &stranger, "").await),
        ["LoginSuccessful"]
    );
}

#[tokio::test]
async fn a_change_of_rest_access_is_noted() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let path = format!("/api/v3/organizations/companies/{}", seed::ACME.uid);
    let patch = json!([{ "op": "replace", "path": "isRestAccessEnabled", "value": false }]);
    ask("PATCH", &path)
        .bearer(&access)
        .json(&patch)
        .send(&simulator)
        .await
        .data();
    let seen = log(&simulator, &access, "?limit=1").await;
    assert_eq!(kinds(&seen), ["CompanyRESTAPIAccessModified"]);
}

#[tokio::test]
async fn a_login_with_a_code_is_noted_when_it_is_complete() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let user = seed::MFA_ADMINISTRATOR;
    let query = format!("?userUid={}", user.uid);
    let form = format!(
        "grant_type=password&username={}&password={}",
        user.name, user.password
    );
    let body = token(&simulator, &form).await.json();
    assert!(log(&simulator, &access, &query).await.is_empty());
    let asked = body["mfa_token"].as_str().unwrap();
    let now = u64::try_from(crate::clock::unix_now()).unwrap();
    let code = crate::totp_code(seed::MFA_ADMINISTRATOR_SECRET, now).unwrap();
    for code in ["wrong", &code] {
        let form = format!("grant_type=mfa&mfa_token={asked}&mfa_code={code}");
        token(&simulator, &form).await;
    }
    let seen = log(&simulator, &access, &query).await;
    assert_eq!(kinds(&seen), ["LoginSuccessful", "LoginFailed"]);
}

#[tokio::test]
async fn the_log_is_cut_by_times_and_kind_and_may_be_late() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let of = |query: &'static str| {
        let (simulator, access) = (&simulator, &access);
        async move { log(simulator, access, query).await.len() }
    };
    assert_eq!(of("?from=2020-01-01T00:00:00Z").await, 1);
    assert_eq!(of("?to=2020-01-01T00:00:00Z").await, 0);
    assert_eq!(
        of("?from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z").await,
        1
    );
    assert_eq!(of("?activityLogKind=Internal").await, 1);
    assert_eq!(of("?activityLogKind=External").await, 0);
    for query in ["?from=now", "?activityLogKind=x"] {
        let path = format!("/api/v3/eventLogs/activityLogs{query}");
        get(&path).bearer(&access).send(&simulator).await.error(400);
    }
    let deaf = switched(|it| (it.activity_times, it.activity_refreshes) = (false, true)).await;
    let admin = service(&deaf).await;
    let form = format!("grant_type=refresh_token&refresh_token={}", admin.refresh);
    let access = pair(&token(&deaf, &form).await).access;
    let all = log(&deaf, &access, "?to=2020-01-01T00:00:00Z").await;
    assert_eq!(kinds(&all), ["LoginSuccessful", "LoginSuccessful"]);
    let late = switched(|it| it.activity_delay_ms = 3_600_000).await;
    let access = service(&late).await.access;
    assert!(log(&late, &access, "").await.is_empty());
}

#[tokio::test]
async fn an_impersonation_names_whom_the_switch_says_and_can_be_forgotten() {
    let target = ActivityImpersonation::Target;
    let simulator = switched(|it| it.activity_impersonation = target).await;
    let admin = service(&simulator).await;
    pair(&token(&simulator, &as_form(&admin.refresh, OWNER.uid)).await);
    let seen = log(&simulator, &admin.access, "?limit=1").await;
    assert_eq!(kinds(&seen), ["UserImpersonationSuccessful"]);
    assert_eq!(seen[0]["userUid"], json!(OWNER.uid));
    assert!(simulator.forget_activity("UserImpersonationSuccessful"));
    assert!(!simulator.forget_activity("UserImpersonationSuccessful"));
    let seen = log(&simulator, &admin.access, "").await;
    assert_eq!(kinds(&seen), ["LoginSuccessful"]);
}
