use serde_json::json;

use super::*;
use crate::{CompanyChange, Role};

#[track_caller]
fn names(answer: &Answer) -> Vec<String> {
    let data = answer.data();
    let name = |item: &Value| {
        item["userName"]
            .as_str()
            .or(item["name"].as_str())
            .unwrap()
            .to_owned()
    };
    data.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn an_administrator_sees_everybody_and_a_company_itself() {
    let simulator = start().await;
    let all = service(&simulator).await.access;
    let own = login(&simulator, &seed::GLOBEX_OWNER).await.access;
    let count = async |token: &str, target: &str| {
        names(&get(target).bearer(token).send(&simulator).await).len()
    };
    assert_eq!(count(&all, "/api/v3/users").await, seed::USERS.len());
    assert_eq!(count(&own, "/api/v3/users").await, 2);
    assert_eq!(count(&all, "/api/v3/organizations").await, 5);
    assert_eq!(count(&own, "/api/v3/organizations").await, 1);
    assert_eq!(count(&all, "/api/v3/organizations/companies").await, 4);
    assert_eq!(count(&own, "/api/v3/organizations/companies").await, 1);
    let acme = seed::ACME.uid;
    for target in [
        format!("/api/v3/users/{}", seed::ACME_OWNER.uid),
        format!("/api/v3/users/{}/logins", seed::ACME_OWNER.uid),
        format!("/api/v3/organizations/{acme}/users"),
        format!("/api/v3/organizations/{acme}/keys"),
        format!("/api/v3/organizations/companies/{acme}"),
    ] {
        assert_eq!(
            get(&target).bearer(&all).send(&simulator).await.status,
            200,
            "{target}"
        );
        get(&target).bearer(&own).send(&simulator).await.error(404);
    }
}

#[tokio::test]
async fn only_the_portal_may_ask_about_the_console() {
    let simulator = start().await;
    let all = service(&simulator).await.access;
    let own = login(&simulator, &seed::ACME_OWNER).await.access;
    let about = get("/api/v3/about")
        .bearer(&all)
        .send(&simulator)
        .await
        .data();
    assert!(about["serverVersion"].is_string());
    get("/api/v3/about")
        .bearer(&own)
        .send(&simulator)
        .await
        .error(403);
}

#[tokio::test]
async fn auditors_may_not_list_users() {
    let simulator = start().await;
    simulator
        .user(
            seed::ACME.uid,
            r"Acme\auditor",
            "pw",
            Role::CompanyInvoiceAuditor,
        )
        .unwrap();
    let form = r"grant_type=password&username=Acme\auditor&password=pw";
    let access = pair(&token(&simulator, form).await).access;
    get("/api/v3/users")
        .bearer(&access)
        .send(&simulator)
        .await
        .error(403);
    get("/api/v3/users/me")
        .bearer(&access)
        .send(&simulator)
        .await
        .data();
}

#[tokio::test]
async fn collections_are_paged() {
    let settings = Settings {
        companies: 250,
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let access = service(&simulator).await.access;
    let page = async |query: &str| {
        let target = format!("/api/v3/organizations/companies?{query}");
        get(&target).bearer(&access).send(&simulator).await
    };
    let info = |answer: &Answer| answer.json()["meta"]["pagingInfo"].clone();
    assert_eq!(
        info(&page("").await),
        json!({ "total": 254, "count": 100, "offset": 0 })
    );
    let last = page("limit=500&offset=252").await;
    assert_eq!(
        info(&last),
        json!({ "total": 254, "count": 2, "offset": 252 })
    );
    assert_eq!(names(&last), ["Company 000248", "Company 000249"]);
    assert_eq!(info(&page("offset=900").await)["count"], 0);
    for query in ["limit=0", "limit=501", "limit=x", "limit=-1"] {
        assert_eq!(page(query).await.error(400)["parameterName"], "limit");
    }
    assert_eq!(
        page("offset=-1").await.error(400)["parameterName"],
        "offset"
    );
    let owner = format!("/api/v3/users/{}", crate::generated_owner(249));
    let owner = get(&owner).bearer(&access).send(&simulator).await.data();
    assert_eq!(owner["userName"], r"Company 000249\owner");
}

#[tokio::test]
async fn filters_are_read_raw_and_encoded_and_with_single_quotes() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let encoded = "%5B%7B%22property%22%3A%22name%22%2C%22operation%22%3A%22equals%22%2C%22value%22%3A%22Globex%22%7D%5D";
    for filter in [
        encoded,
        "[{'property':'name','operation':'equals','value':'Globex'}]",
        "[{'property':'Name','operation':'equals','collation':'ignorecase','value':'GLOBEX'}]",
    ] {
        let target = format!("/api/v3/organizations?filter={filter}");
        let answer = get(&target).bearer(&access).send(&simulator).await;
        assert_eq!(names(&answer), ["Globex"], "{filter}");
        assert_eq!(simulator.requests().last().unwrap().target, target);
    }
    let target = "/api/v3/organizations?filter=oops";
    assert_eq!(
        get(target)
            .bearer(&access)
            .send(&simulator)
            .await
            .error(400)["parameterName"],
        "filter"
    );
}

#[tokio::test]
async fn collections_are_sorted_before_they_are_cut() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let sort = "sort=[{'property':'name','direction':'descending'}]&limit=2";
    let target = format!("/api/v3/organizations/companies?{sort}");
    let answer = get(&target).bearer(&access).send(&simulator).await;
    assert_eq!(names(&answer), ["Umbrella", "Initech"]);
}

#[tokio::test]
async fn the_organization_is_embedded_when_asked_for() {
    let simulator = start().await;
    let access = login(&simulator, &seed::ACME_OWNER).await.access;
    let plain = get("/api/v3/organizations/companies")
        .bearer(&access)
        .send(&simulator)
        .await
        .data();
    assert!(plain[0].get("_embedded").is_none());
    let expanded = get("/api/v3/organizations/companies?expand=Organization")
        .bearer(&access)
        .send(&simulator)
        .await
        .data();
    assert_eq!(expanded[0]["_embedded"]["organization"]["name"], "Acme");
    assert_eq!(
        expanded[0]["ownerCredentials"]["userName"],
        seed::ACME_OWNER.name
    );
}

#[tokio::test]
async fn companies_are_patched_and_a_disabled_one_locks_its_users_out() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let owner = login(&simulator, &seed::ACME_OWNER).await.access;
    let target = format!("/api/v3/organizations/companies/{}", seed::ACME.uid);
    let patch = json!([
        { "op": "replace", "path": "/name", "value": "Acme Ltd" },
        { "op": "replace", "path": "status", "value": "Disabled" },
    ]);
    ask("PATCH", &target)
        .bearer(&owner)
        .json(&patch)
        .send(&simulator)
        .await
        .error(403);
    ask("PATCH", &target)
        .bearer(&access)
        .body(FORM, patch.to_string())
        .send(&simulator)
        .await
        .error(415);
    let company = ask("PATCH", &target)
        .bearer(&access)
        .json(&patch)
        .send(&simulator)
        .await
        .data();
    assert_eq!(
        (&company["name"], &company["status"]),
        (&json!("Acme Ltd"), &json!("Disabled"))
    );
    get("/api/v3/users/me")
        .bearer(&owner)
        .send(&simulator)
        .await
        .error(401);
    let bad = json!([{ "op": "replace", "path": "/colour", "value": "red" }]);
    let error = ask("PATCH", &target)
        .bearer(&access)
        .json(&bad)
        .send(&simulator)
        .await
        .error(400);
    assert_eq!(error["failedJsonPatch"]["path"], "/colour");
}

#[tokio::test]
async fn users_are_made_changed_and_deleted() {
    let simulator = start().await;
    let access = login(&simulator, &seed::ACME_OWNER).await.access;
    let new = json!({
        "organizationUid": seed::ACME.uid,
        "role": "CompanyTenant",
        "profile": { "firstName": "Jane" },
        "credentials": { "userName": r"Acme\jane", "password": "secret" },
    });
    let send = async |body: &Value| {
        ask("POST", "/api/v3/users")
            .bearer(&access)
            .json(body)
            .send(&simulator)
            .await
    };
    let user = send(&new).await.data();
    assert_eq!(user["credentials"]["password"], Value::Null);
    assert_eq!(user["profile"]["firstName"], "Jane");
    send(&new).await.error(409);
    let mut foreign = new.clone();
    foreign["organizationUid"] = json!(seed::GLOBEX.uid);
    send(&foreign).await.error(404);
    let form = r"grant_type=password&username=Acme\jane&password=secret";
    let jane = pair(&token(&simulator, form).await).access;
    let target = format!("/api/v3/users/{}", user["instanceUid"].as_str().unwrap());
    let patch = json!([{ "op": "replace", "path": "/status", "value": "Disabled" }]);
    let user = ask("PATCH", &target)
        .bearer(&access)
        .json(&patch)
        .send(&simulator)
        .await
        .data();
    assert_eq!(user["status"], "Disabled");
    get("/api/v3/users/me")
        .bearer(&jane)
        .send(&simulator)
        .await
        .error(401);
    let gone = ask("DELETE", &target)
        .bearer(&access)
        .send(&simulator)
        .await;
    assert_eq!(gone.json(), json!({ "data": {}, "errors": [] }));
    get(&target)
        .bearer(&access)
        .send(&simulator)
        .await
        .error(404);
}

#[tokio::test]
async fn companies_come_change_and_go_as_a_test_says() {
    let simulator = start().await;
    let token = service(&simulator).await.access;
    let owner = login(&simulator, &seed::ACME_OWNER).await.access;
    let company = Uuid::from_u128(1);
    assert!(simulator.add_company(company, "New"));
    assert!(!simulator.add_company(company, "Twice"));
    let name = CompanyChange::Name("Newer".to_owned());
    assert!(simulator.change_company(company, name));
    for change in [
        CompanyChange::Alias(Some("new".to_owned())),
        CompanyChange::CompanyId(Some("K-1".to_owned())),
        CompanyChange::Enabled(false),
    ] {
        assert!(simulator.change_company(company, change));
    }
    let target = format!("/api/v3/organizations/companies/{company}?expand=Organization");
    let told = get(&target).bearer(&token).send(&simulator).await.data();
    assert_eq!(
        (&told["name"], &told["status"]),
        (&json!("Newer"), &json!("Disabled"))
    );
    let organization = &told["_embedded"]["organization"];
    assert_eq!(
        (&organization["alias"], &organization["companyId"]),
        (&json!("new"), &json!("K-1"))
    );

    assert!(simulator.remove_company(seed::ACME.uid));
    assert!(!simulator.remove_company(seed::ACME.uid));
    assert!(!simulator.remove_company(seed::PROVIDER.uid));
    get("/api/v3/users/me")
        .bearer(&owner)
        .send(&simulator)
        .await
        .error(401);
    let all = get("/api/v3/organizations/companies")
        .bearer(&token)
        .send(&simulator)
        .await;
    assert_eq!(names(&all), ["Globex", "Initech", "Umbrella", "Newer"]);
    assert!(simulator.set_role(seed::GLOBEX_ADMINISTRATOR.uid, Role::CompanyOwner));
}
