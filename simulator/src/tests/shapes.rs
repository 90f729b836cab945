use serde_json::json;

use super::*;
use crate::UserIdName;

const VERSIONS: [&str; 5] = ["3.5.1", "3.6", "3.6.1", "3.6.2", "3.7"];

async fn fetch(simulator: &Simulator, token: &str, version: &str, target: &str) -> Value {
    let ask = get(target)
        .bearer(token)
        .header("X-Client-Version", version);
    ask.send(simulator).await.data()
}

fn nulls(value: &Value) -> usize {
    match value {
        Value::Null => 1,
        Value::Array(items) => items.iter().map(nulls).sum(),
        Value::Object(members) => members.values().map(nulls).sum(),
        _ => 0,
    }
}

#[tokio::test]
async fn a_company_has_the_members_of_the_version_asked_for() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let target = format!(
        "/api/v3/organizations/companies/{}?expand=Organization",
        seed::ACME.uid
    );
    for version in VERSIONS {
        let company = fetch(&simulator, &access, version, &target).await;
        let has = |name: &str| company.get(name).is_some();
        let first = version == "3.5.1";
        assert_eq!(has("permissions"), first, "{version}");
        assert_eq!(has("ownerCredentials"), !first, "{version}");
        assert_eq!(has("isRestAccessEnabled"), !first, "{version}");
        assert!(has("companyServices"));
        let organization = &company["_embedded"]["organization"];
        assert_eq!(organization["name"], "Acme");
        let newest = version == "3.7";
        assert_eq!(organization.get("legalName").is_some(), newest, "{version}");
        assert_eq!(organization.get("domain").is_some(), newest, "{version}");
    }
    let company = fetch(&simulator, &access, "3.5.1", &target).await;
    assert_eq!(company["permissions"], json!(["REST"]));
}

#[tokio::test]
async fn rest_access_that_is_off_is_told_in_every_version() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let target = format!("/api/v3/organizations/companies/{}", seed::UMBRELLA.uid);
    for version in VERSIONS {
        let company = fetch(&simulator, &access, version, &target).await;
        let (name, off) = match version {
            "3.5.1" => ("permissions", json!([])),
            _ => ("isRestAccessEnabled", json!(false)),
        };
        assert_eq!(company[name], off, "{version}");
    }
}

#[tokio::test]
async fn a_user_with_a_device_is_told_as_one_in_every_version() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    for (user, policy, configuration) in [
        (seed::INITECH_MFA, "Enabled", "Configured"),
        (seed::INITECH_OWNER, "Disabled", "NotConfigured"),
    ] {
        let filter = format!(
            "?filter=[{{'property':'instanceUid','operation':'equals','value':'{}'}}]",
            user.uid
        );
        let organization = format!("organizations/{}/users{filter}", seed::INITECH.uid);
        for version in VERSIONS {
            let one = format!("/api/v3/users/{}", user.uid);
            let one = fetch(&simulator, &access, version, &one).await;
            assert_eq!(one["mfaPolicyStatus"], policy, "{version}");
            assert_eq!(one["mfaPolicyConfigurationStatus"], configuration);
            for list in [&format!("users{filter}"), &organization] {
                let list = format!("/api/v3/{list}");
                let list = fetch(&simulator, &access, version, &list).await;
                assert_eq!(list, json!([one]), "{version}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_null_that_had_no_null_in_its_version() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    // What nobody known has done is noted without a user.
    let unknown = "grant_type=password&username=nobody&password=x";
    token(&simulator, unknown).await.oauth();
    for version in VERSIONS {
        let old = version < "3.6.1";
        for target in [
            "/api/v3/users",
            "/api/v3/users/me",
            "/api/v3/organizations",
            "/api/v3/organizations/companies?expand=Organization",
            "/api/v3/alarms/active",
            "/api/v3/eventLogs/activityLogs",
            "/api/v3/infrastructure/backupServers/jobs",
            "/api/v3/infrastructure/managementAgents",
        ] {
            let data = fetch(&simulator, &access, version, target).await;
            assert_eq!(nulls(&data) == 0, old, "{version} {target}");
        }
        let logins = fetch(&simulator, &access, version, "/api/v3/users/logins").await;
        assert_eq!(
            logins[0].get("description"),
            Some(&Value::Null),
            "{version}"
        );
    }
}

#[tokio::test]
async fn a_role_newer_than_the_version_is_told_as_unknown() {
    let simulator = start().await;
    let tenant = simulator
        .user(
            seed::ACME.uid,
            r"Acme\tenant",
            "pw",
            crate::Role::CompanyTenant,
        )
        .unwrap();
    let access = service(&simulator).await.access;
    let target = format!("/api/v3/users/{tenant}");
    let old = fetch(&simulator, &access, "3.5.1", &target).await;
    let new = fetch(&simulator, &access, "3.6", &target).await;
    assert_eq!(
        (&old["role"], &new["role"]),
        (&json!("Unknown"), &json!("CompanyTenant"))
    );
}

#[tokio::test]
async fn versions_that_are_not_supported_are_refused() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    for version in ["3.3", "4.0", "newest"] {
        let ask = get("/api/v3/users/me").bearer(&access);
        let ask = ask.header("X-Client-Version", version);
        let error = ask.send(&simulator).await.error(400);
        assert_eq!(error["parameterName"], "X-Client-Version", "{version}");
        let form = format!(
            "grant_type=password&username={}&password={}",
            seed::SERVICE.name,
            seed::SERVICE.password
        );
        let login = ask_token(&form).header("X-Client-Version", version);
        assert_eq!(login.send(&simulator).await.oauth(), "invalid_request");
    }
    let newest = get("/api/v3/organizations").bearer(&access);
    let newest = newest.send(&simulator).await.data();
    assert!(newest[0].get("legalName").is_some());
}

fn ask_token(form: &str) -> Ask {
    ask("POST", "/api/v3/token").body(FORM, form.to_owned())
}

#[tokio::test]
async fn the_user_of_an_identity_can_be_called_by_either_name() {
    for (name, has, lacks) in [
        (UserIdName::UserUid, "userUid", "userId"),
        (UserIdName::UserId, "userId", "userUid"),
    ] {
        let simulator = switched(|switches| switches.user_id_name = name).await;
        let access = service(&simulator).await.access;
        let logins = format!("/api/v3/users/{}/logins", seed::SERVICE.uid);
        let filter = format!(
            "{logins}?filter=[{{'property':'{has}','operation':'equals','value':'{}'}}]",
            seed::SERVICE.uid
        );
        for target in [&logins, &filter] {
            let login = get(target).bearer(&access).send(&simulator).await.data()[0].clone();
            assert_eq!(login[has], json!(seed::SERVICE.uid), "{target}");
            assert!(login.get(lacks).is_none());
        }
    }
}

#[tokio::test]
async fn only_the_members_asked_for_are_told() {
    let simulator = start().await;
    let access = login(&simulator, &seed::ACME_OWNER).await.access;
    let send = async |target: &str| get(target).bearer(&access).send(&simulator).await;
    let me = send("/api/v3/users/me?select=userName,profile.title").await;
    let expected = json!({ "userName": seed::ACME_OWNER.name, "profile": { "title": "Unknown" } });
    assert_eq!(me.data(), expected);
    let companies = send("/api/v3/organizations/companies?select=[%22name%22,%22status%22]").await;
    assert_eq!(
        companies.data(),
        json!([{ "name": "Acme", "status": "Active" }])
    );
    assert_eq!(companies.json()["meta"]["pagingInfo"]["total"], 1);
    let filter = "filter=[{'property':'role','operation':'equals','value':'CompanyOwner'}]";
    let users = send(&format!("/api/v3/users?{filter}&select=['userName']")).await;
    assert_eq!(users.data(), json!([{ "userName": seed::ACME_OWNER.name }]));
}

#[tokio::test]
async fn a_selection_that_cannot_be_read_is_refused_before_anything_is_changed() {
    let simulator = start().await;
    let access = login(&simulator, &seed::ACME_OWNER).await.access;
    let target = format!(
        "/api/v3/users/{}/logins/apikey?description=x&scopes=rest&select=[",
        seed::ACME_OWNER.uid
    );
    let refused = ask("POST", &target).bearer(&access).send(&simulator).await;
    assert_eq!(refused.error(400)["parameterName"], "select");
    assert_eq!(simulator.state().api_keys_live, 0);
}
