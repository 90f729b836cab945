//! From what a request says to whom the console sees: rules, and the header that names a user.

use serde_json::json;
use vspc_gateway::clock::Timestamp;
use vspc_gateway::freeze::{Hold, Scope};
use vspc_simulator::seed::{
    ACME_ADMINISTRATOR, ACME_DISABLED, ADMINISTRATOR_PASSWORD, GLOBEX_ADMINISTRATOR,
    INITECH_ADMINISTRATOR,
};
use vspc_simulator::{SeenRequest, Simulator};

use crate::harness::{
    ACME, ADMIN, Answer, BILLING, FORM, GLOBEX, World, ZABBIX, configuration, encoded, ok,
    unsigned_settings,
};

const ME: &str = "/api/v3/users/me";
const USER_HEADER: &str = "x-impersonate-user";

/// A gateway with rules of every kind that a request can fit, and a header for users.
async fn world() -> World {
    let rules = r#"tenant_header = "X-Tenant"
user_header = "X-Impersonate-User"
rules = [
  { name = "hosts", header = "Host", pattern = '(?<tenant>[a-z0-9-]+)\.gw\.example\.com' },
  { header = "User-Agent", value = "GlobexMonitor/2, (x)", tenant = "globex" },
  { all = [{ header = "X-Site", value = "7" }, { header = "X-Unit", pattern = "^(?<tenant>.+)$" }] },
  { header = "X-Zone", value = "1", tenant = "acme", clients = ["zabbix"] },
  { header = "X-Zone", value = "1", tenant = "globex", clients = ["admin"] },
]
[[tenants]]
name = "own"
login = { grant = "password", username = 'Initech\owner', password = { file = "own" } }"#;
    let simulator = Simulator::start(unsigned_settings()).await.unwrap();
    let url = simulator.url();
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(
        folder.path(),
        &url,
        "passthrough_logins = true",
        "127.0.0.1:0",
    );
    let text = text
        .replace("tenant_header = \"X-Tenant\"", rules)
        .replace(r"Initech\owner", INITECH_ADMINISTRATOR.name);
    crate::harness::write_secret(&folder.path().join("own"), ADMINISTRATOR_PASSWORD);
    World::start_in(simulator, folder, &text, |_| {}).await
}

async fn me(world: &World, key: &str, headers: &[(&str, &str)]) -> Answer {
    let mut lines = vec![("x-api-key", key)];
    lines.extend(headers);
    world.call("GET", ME, &lines, "").await
}

async fn me_as(world: &World, token: &str, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut lines = vec![("authorization", bearer.as_str())];
    lines.extend(headers);
    world.call("GET", ME, &lines, "").await
}

fn user(answer: &Answer) -> String {
    assert!(ok(answer), "{answer:?}");
    answer.text_at("/data/instanceUid")
}

fn refused(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.code())
}

#[tokio::test]
async fn rules_name_the_tenant_and_their_headers_stay_here() {
    let world = world().await;
    for (key, headers, owner, rule) in [
        (
            ZABBIX,
            &[("host", "globex.gw.example.com:8280")][..],
            GLOBEX,
            Some("hosts"),
        ),
        (
            ZABBIX,
            &[("host", "ACME.GW.example.com")],
            ACME,
            Some("hosts"),
        ),
        (
            ZABBIX,
            &[("host", "1001.gw.example.com")],
            ACME,
            Some("hosts"),
        ),
        (
            ZABBIX,
            &[("user-agent", "GlobexMonitor/2, (x)")],
            GLOBEX,
            Some("mapping.rules[1]"),
        ),
        (
            ZABBIX,
            &[
                ("x-site", "7"),
                ("x-unit", "globex"),
                ("X_Site", "8"),
                ("X.Unit", "acme"),
            ],
            GLOBEX,
            Some("mapping.rules[2]"),
        ),
        (ZABBIX, &[("x-zone", "1")], ACME, Some("mapping.rules[3]")),
        (ADMIN, &[("x-zone", "1")], GLOBEX, Some("mapping.rules[4]")),
        (
            ZABBIX,
            &[
                ("x-zone", "1"),
                ("x-tenant", "acme"),
                ("host", "1001.gw.example.com"),
            ],
            ACME,
            Some("hosts"),
        ),
        // Nobody's rule says anything: one tenant is enough, and the header is another's.
        (
            BILLING,
            &[("x-zone", "1"), ("host", "gw.example.com")],
            ACME,
            None,
        ),
    ] {
        let answer = me(&world, key, headers).await;
        assert_eq!(user(&answer), owner, "{headers:?}");
        let record = world.outcome(&answer).await;
        assert_eq!(record["mapping"], json!(rule), "{headers:?}");
        let tenant = if owner == ACME { "acme" } else { "globex" };
        assert_eq!(record["tenant"], tenant);
        assert_eq!(record["target"]["uid"], owner);
    }
    let shown = |seen: &SeenRequest| {
        let names = seen
            .headers
            .iter()
            .map(|(name, _)| name.replace(['_', '.'], "-"));
        names
            .filter(|name| matches!(&**name, "x-site" | "x-unit" | "x-zone" | "x-tenant"))
            .count()
    };
    let reached = world.reached();
    assert_eq!(reached.len(), 9);
    assert!(reached.iter().all(|seen| shown(seen) == 0), "{reached:?}");
    let agent = ("user-agent".to_owned(), "GlobexMonitor/2, (x)".to_owned());
    assert!(reached.iter().any(|seen| seen.headers.contains(&agent)));
}

#[tokio::test]
async fn what_names_no_tenant_or_two_reaches_no_console() {
    let world = world().await;
    let ambiguous = (400, "tenant_ambiguous");
    let denied = (403, "tenant_denied");
    for (key, headers, expected) in [
        (
            ZABBIX,
            &[("host", "gw.example.com")][..],
            (403, "tenant_required"),
        ),
        (
            ZABBIX,
            &[("host", "globex.gw.example.com.")],
            (403, "tenant_required"),
        ),
        (
            ZABBIX,
            &[("host", "x.globex.gw.example.com")],
            (403, "tenant_required"),
        ),
        (ZABBIX, &[("X_Zone", "1")], (403, "tenant_required")),
        (
            ZABBIX,
            &[("host", "acme.gw.example.com"), ("x-tenant", "globex")],
            ambiguous,
        ),
        (
            ZABBIX,
            &[
                ("host", "acme.gw.example.com"),
                ("user-agent", "GlobexMonitor/2, (x)"),
            ],
            ambiguous,
        ),
        (ZABBIX, &[("x-zone", "1"), ("x-zone", "1")], ambiguous),
        (ZABBIX, &[("x-zone", "1,1")], ambiguous),
        (ZABBIX, &[("x-zone", "")], ambiguous),
        (
            ZABBIX,
            &[
                ("user-agent", "a"),
                ("user-agent", "a"),
                ("x-tenant", "acme"),
            ],
            ambiguous,
        ),
        (ZABBIX, &[("x-zone", "2"), ("x-tenant", "acme")], ambiguous),
        (ZABBIX, &[("x-zone", "2")], denied),
        (BILLING, &[("x-site", "7")], denied),
        (BILLING, &[("x-site", "7"), ("x-unit", "nobody")], denied),
        (BILLING, &[("host", "globex.gw.example.com")], denied),
        (BILLING, &[("host", "nobody.gw.example.com")], denied),
    ] {
        let answer = me(&world, key, headers).await;
        assert_eq!(refused(&answer), expected, "{headers:?}");
        let record = world.outcome(&answer).await;
        assert_eq!(record["code"], expected.1);
    }
    let foreign = me(&world, BILLING, &[("host", "globex.gw.example.com")]).await;
    let record = world.outcome(&foreign).await;
    assert_eq!(
        (&record["tenant"], &record["mapping"]),
        (&json!("globex"), &json!("hosts"))
    );
    assert_eq!(world.reached(), []);
    assert_eq!(world.grants("as"), (0, 0));
}

#[tokio::test]
async fn a_credential_s_tenant_is_not_changed_by_a_rule() {
    let world = world().await;
    let token = world
        .log_in(r"acme\zabbix", ZABBIX)
        .await
        .text("access_token");
    let same = me_as(&world, &token, &[("host", "1001.gw.example.com")]).await;
    assert_eq!(user(&same), ACME);
    let before = world.reached().len();
    for headers in [
        &[("host", "globex.gw.example.com")][..],
        &[("user-agent", "GlobexMonitor/2, (x)")],
        &[("x-site", "7"), ("x-unit", "globex")],
        &[("x-zone", "2")],
    ] {
        let answer = me_as(&world, &token, headers).await;
        assert_eq!(refused(&answer), (403, "tenant_mismatch"), "{headers:?}");
    }
    assert_eq!(world.reached().len(), before);
}

#[tokio::test]
async fn the_host_names_the_tenant_of_a_log_in() {
    let world = world().await;
    let form = [
        ("grant_type", "password"),
        ("username", "zabbix"),
        ("password", ZABBIX),
    ];
    let headers = [FORM, ("host", "globex.gw.example.com")];
    let login = world
        .call("POST", "/api/v3/token", &headers, encoded(&form))
        .await;
    let token = login.text("access_token");
    assert_eq!(user(&me_as(&world, &token, &[]).await), GLOBEX);
    let record = world.outcome(&login).await;
    assert_eq!(record["mapping"], "hosts");
}

#[tokio::test]
async fn a_header_names_the_user_within_the_clients_targets() {
    let world = world().await;
    let acme = ("x-tenant", "acme");
    let answer = me(&world, ADMIN, &[acme, (USER_HEADER, GLOBEX)]).await;
    assert_eq!(user(&answer), GLOBEX);
    let record = world.outcome(&answer).await;
    assert_eq!(
        (&record["tenant"], &record["target"]["uid"]),
        (&json!("acme"), &json!(GLOBEX))
    );
    assert_eq!(record["rule"], "clients.admin.allow[0]");
    // The tenant's own user needs no leave, whatever the case of its digits.
    let own = ACME.to_uppercase();
    let answer = me(&world, ZABBIX, &[acme, (USER_HEADER, &own)]).await;
    assert_eq!(user(&answer), ACME);
    // Another spelling of the name is no such header, and goes nowhere.
    let answer = me(&world, ADMIN, &[acme, ("X_Impersonate_User", GLOBEX)]).await;
    assert_eq!(user(&answer), ACME);
    let reached = world.reached();
    let names = reached.iter().flat_map(|seen| &seen.headers);
    let mut names = names.map(|(name, _)| name.replace(['-', '_'], ""));
    assert!(!names.any(|name| name == "ximpersonateuser"), "{reached:?}");

    let before = world.reached().len();
    let other = ACME_DISABLED.uid.to_string();
    for (key, headers, code) in [
        (ADMIN, &[acme, (USER_HEADER, &*other)][..], "target_denied"),
        (ZABBIX, &[acme, (USER_HEADER, GLOBEX)], "target_denied"),
        // An account of the tenant's own impersonates nobody.
        (
            ADMIN,
            &[("x-tenant", "own"), (USER_HEADER, GLOBEX)],
            "target_denied",
        ),
        // A user is not a tenant.
        (ADMIN, &[(USER_HEADER, GLOBEX)], "tenant_required"),
        (
            BILLING,
            &[("x-tenant", "globex"), (USER_HEADER, GLOBEX)],
            "tenant_denied",
        ),
    ] {
        let answer = me(&world, key, headers).await;
        assert_eq!(refused(&answer), (403, code), "{headers:?}");
        assert_eq!(world.outcome(&answer).await["code"], code);
    }
    let twice = [acme, (USER_HEADER, GLOBEX), (USER_HEADER, GLOBEX)];
    let list = format!("{GLOBEX},{GLOBEX}");
    let injected = format!("{GLOBEX}%26grant_type=password");
    let simple = GLOBEX.replace('-', "");
    let odd = ["", "me", &list, &injected, &simple];
    let odd = odd.map(|value| vec![acme, (USER_HEADER, value)]);
    for headers in odd.into_iter().chain([twice.to_vec()]) {
        let answer = me(&world, ADMIN, &headers).await;
        assert_eq!(refused(&answer), (400, "target_ambiguous"), "{headers:?}");
        assert_eq!(world.outcome(&answer).await["code"], "target_ambiguous");
    }
    assert_eq!(world.reached().len(), before);
}

async fn grant_as(world: &World, refresh_token: &str, user: &str, named: Option<&str>) -> Answer {
    let form = [
        ("grant_type", "as"),
        ("refresh_token", refresh_token),
        ("userUid", user),
    ];
    let mut headers = vec![FORM];
    headers.extend(named.map(|user| (USER_HEADER, user)));
    world
        .call("POST", "/api/v3/token", &headers, encoded(&form))
        .await
}

#[tokio::test]
async fn a_token_s_user_may_be_repeated_and_not_changed() {
    let world = world().await;
    let login = world.log_in(r"acme\admin", ADMIN).await;
    let (token, refresh) = (login.text("access_token"), login.text("refresh_token"));
    let narrowed = grant_as(&world, &refresh, GLOBEX, None)
        .await
        .text("access_token");
    for (token, own, other) in [(&token, ACME, GLOBEX), (&narrowed, GLOBEX, ACME)] {
        assert_eq!(
            user(&me_as(&world, token, &[(USER_HEADER, own)]).await),
            own
        );
        let answer = me_as(&world, token, &[(USER_HEADER, other)]).await;
        assert_eq!(refused(&answer), (403, "tenant_mismatch"));
    }
    let answer = grant_as(&world, &refresh, GLOBEX, Some(ACME)).await;
    assert_eq!(refused(&answer), (403, "tenant_mismatch"));
    assert!(ok(&grant_as(&world, &refresh, GLOBEX, Some(GLOBEX)).await));
}

/// A log-in with the header is one as that user, from which there is no way to another.
#[tokio::test]
async fn a_log_in_with_a_user_is_that_users() {
    let world = world().await;
    let form = [
        ("grant_type", "password"),
        ("username", r"acme\admin"),
        ("password", ADMIN),
    ];
    let log_in = async |user: &str| {
        let headers = [FORM, (USER_HEADER, user)];
        world
            .call("POST", "/api/v3/token", &headers, encoded(&form))
            .await
    };
    let login = log_in(GLOBEX).await;
    let (token, refresh) = (login.text("access_token"), login.text("refresh_token"));
    assert_eq!(user(&me_as(&world, &token, &[]).await), GLOBEX);
    let answer = grant_as(&world, &refresh, ACME, None).await;
    assert_eq!(refused(&answer), (403, "target_denied"));
    assert!(ok(&grant_as(&world, &refresh, GLOBEX, None).await));
    let again = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &*refresh),
    ];
    let token = world.token(&again).await.text("access_token");
    assert_eq!(user(&me_as(&world, &token, &[]).await), GLOBEX);
    let other = GLOBEX_ADMINISTRATOR.uid.to_string();
    assert_eq!(refused(&log_in(&other).await), (403, "target_denied"));
    assert_eq!(refused(&log_in("me").await), (400, "target_ambiguous"));
}

#[tokio::test]
async fn whoever_acts_as_itself_names_nobody() {
    let world = world().await;
    let name = ACME_ADMINISTRATOR.name;
    let token = world
        .log_in(name, ADMINISTRATOR_PASSWORD)
        .await
        .text("access_token");
    let itself = ACME_ADMINISTRATOR.uid.to_string();
    // Rules over what every request has are about clients.
    let answer = me_as(&world, &token, &[("host", "globex.gw.example.com")]).await;
    assert_eq!(user(&answer), itself);
    for header in [
        (USER_HEADER, GLOBEX),
        (USER_HEADER, &*itself),
        ("x-site", "7"),
    ] {
        let answer = me_as(&world, &token, &[header]).await;
        assert_eq!(refused(&answer), (403, "tenant_mismatch"), "{header:?}");
        let form = [
            ("grant_type", "password"),
            ("username", name),
            ("password", ADMINISTRATOR_PASSWORD),
        ];
        let headers = [FORM, header];
        let login = world
            .call("POST", "/api/v3/token", &headers, encoded(&form))
            .await;
        assert_eq!(refused(&login), (403, "tenant_mismatch"), "{header:?}");
    }
}

/// Whatever tenant is named: it is the other's user who would act.
#[tokio::test]
async fn a_frozen_tenants_user_acts_for_nobody() {
    let world = world().await;
    let named = [("x-tenant", "acme"), (USER_HEADER, GLOBEX)];
    assert_eq!(user(&me(&world, ADMIN, &named).await), GLOBEX);
    let before = world.reached().len();
    let hold = Hold::new(
        Scope::Tenant("globex".to_owned()),
        Timestamp(0),
        "a test".to_owned(),
        None,
    );
    assert!(world.gateway().freezer.hold(hold).is_none());
    let stopped = me(&world, ADMIN, &named).await;
    assert_eq!(refused(&stopped), (403, "frozen"));
    assert_eq!(world.outcome(&stopped).await["code"], "frozen");
    assert_eq!(world.reached().len(), before);
    assert_eq!(
        user(&me(&world, ADMIN, &[("x-tenant", "acme")]).await),
        ACME
    );
}
