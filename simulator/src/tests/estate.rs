use serde_json::json;

use super::*;

const COLLECTIONS: [&str; 3] = [
    "/api/v3/alarms/active",
    "/api/v3/infrastructure/backupServers/jobs",
    "/api/v3/infrastructure/managementAgents",
];

#[tokio::test]
async fn what_monitoring_tools_read_is_scoped_to_the_company() {
    let simulator = start().await;
    let all = service(&simulator).await.access;
    let own = login(&simulator, &seed::ACME_OWNER).await.access;
    let companies = seed::COMPANIES.len();
    for target in COLLECTIONS {
        let everything = get(target).bearer(&all).send(&simulator).await;
        assert_eq!(
            everything.json()["meta"]["pagingInfo"],
            json!({ "total": companies, "count": companies, "offset": 0 }),
            "{target}"
        );
        let seen = get(target).bearer(&own).send(&simulator).await.data();
        let organization = match target {
            "/api/v3/alarms/active" => &seen[0]["object"]["organizationUid"],
            _ => &seen[0]["organizationUid"],
        };
        assert_eq!(organization, &json!(seed::ACME.uid));
        assert_eq!(seen.as_array().unwrap().len(), 1);
        get(target).send(&simulator).await.error(401);
    }
}

#[tokio::test]
async fn only_the_provider_has_a_licence_report() {
    let simulator = start().await;
    let all = service(&simulator).await.access;
    let own = login(&simulator, &seed::ACME_OWNER).await.access;
    let target = "/api/v3/licensing/reports/latest";
    let send = async |token: &str, version: &str| {
        let ask = get(target)
            .bearer(token)
            .header("X-Client-Version", version);
        ask.send(&simulator).await.data()
    };
    assert_eq!(send(&own, "3.7").await, json!([]));
    let report = send(&all, "3.7").await;
    assert_eq!(
        report[0]["reportParameters"]["organizationUid"],
        json!(seed::PROVIDER.uid)
    );
    let report = send(&all, "3.5.1").await;
    assert!(report[0]["reportParemeters"].is_object());
}

#[tokio::test]
async fn what_monitoring_tools_read_is_paged_filtered_and_selected() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let send = async |query: &str| {
        let target = format!("/api/v3/infrastructure/backupServers/jobs?{query}");
        get(&target).bearer(&access).send(&simulator).await.data()
    };
    assert_eq!(
        send("limit=1&offset=1&select=name").await,
        json!([{ "name": "Globex daily" }])
    );
    assert_eq!(
        send("filter=[{'property':'status','operation':'equals','value':'Failed'}]").await,
        json!([])
    );
}

#[tokio::test]
async fn parts_of_different_organizations_have_different_uids() {
    let settings = Settings {
        companies: 20,
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let access = service(&simulator).await.access;
    let mut uids = Vec::new();
    for target in COLLECTIONS.iter().chain(&["/api/v3/organizations"]) {
        let data = get(target).bearer(&access).send(&simulator).await.data();
        let items = data.as_array().unwrap();
        uids.extend(
            items
                .iter()
                .map(|item| item["instanceUid"].as_str().unwrap().to_owned()),
        );
    }
    let count = uids.len();
    let companies = seed::COMPANIES.len() + 20;
    assert_eq!(count, companies * COLLECTIONS.len() + companies + 1);
    assert!(
        uids.iter()
            .all(|uid| uid.parse::<Uuid>().unwrap().get_version_num() == 4)
    );
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), count);
}

#[tokio::test]
async fn queries_are_taken_as_scripts_write_them() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let names = async |query: &str| {
        let target = format!("/api/v3/organizations?{query}");
        let answer = get(&target).bearer(&access).send(&simulator).await;
        assert_eq!(simulator.requests().last().unwrap().target, target);
        answer.data()[0]["name"].as_str().unwrap().to_owned()
    };
    for query in [
        "filter=[{'property':'type','operation':'equals','value':'Provider'}]&limit=500",
        // A double quote cannot be sent raw: clients escape it, and only it.
        "filter=[{%22property%22:%22type%22,%22operation%22:%22equals%22,%22value%22:%22Provider%22}]",
        "filter=[{'property':'type','operation':'equals','collation':'ignorecase','value':'provider'}]",
        "filter={'property':'type','operation':'equals','value':'Provider'}",
    ] {
        assert_eq!(names(query).await, seed::PROVIDER.name, "{query}");
    }
}
