//! Asynchronous actions: they stay with the tenant that started them.

use crate::harness::{ACME, ADMIN, Answer, World, ZABBIX, ok, unsigned};

const MINE: &str = "0b04b3a1-5a6c-4b57-9b7a-0000000000aa";

async fn world(mode: &str) -> World {
    let mut switches = unsigned();
    switches.set("async_mode", mode).unwrap();
    World::start_with("", switches).await
}

async fn begin(world: &World, key: &str, tenant: &str, id: &str) -> Answer {
    let headers = [
        ("x-api-key", key),
        ("x-tenant", tenant),
        ("x-request-id", id),
    ];
    world.call("GET", "/api/v3/users/me", &headers, "").await
}

fn path_of(accepted: &Answer) -> String {
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let location = accepted.header("location").unwrap();
    let (_, path) = location.split_once("/api/").unwrap();
    format!("/api/{path}")
}

#[tokio::test]
async fn who_follows_a_location_need_not_name_the_tenant_again() {
    let world = world("unasked").await;
    let path = path_of(&world.get(ZABBIX, "acme", "/api/v3/users/me").await);
    for path in [path.clone(), format!("{path}/result"), path.to_uppercase()] {
        let followed = world.call("GET", &path, &[("x-api-key", ZABBIX)], "").await;
        assert!(ok(&followed), "{path}: {followed:?}");
        let seen = world.reached().pop().unwrap();
        assert_eq!(seen.subject.unwrap().to_string(), ACME);
        assert_eq!(world.outcome(&followed).await["tenant"], "acme");
    }
    // Nothing else is done for a tenant that is not named.
    let listed = world
        .call("GET", "/api/v3/asyncActions", &[("x-api-key", ZABBIX)], "")
        .await;
    assert_eq!(listed.code(), "tenant_required");
}

#[tokio::test]
async fn an_action_of_another_tenant_is_refused() {
    let world = world("unasked").await;
    let path = path_of(&world.get(ZABBIX, "acme", "/api/v3/users/me").await);
    let before = world.reached().len();
    for key in [ZABBIX, ADMIN] {
        for method in ["GET", "DELETE"] {
            let headers = [("x-api-key", key), ("x-tenant", "globex")];
            let target = format!("{path}/result");
            let refused = world.call(method, &target, &headers, "").await;
            if (key, method) == (ZABBIX, "DELETE") {
                assert_eq!(refused.code(), "operation_denied");
                continue;
            }
            assert_eq!(refused.status, 403);
            assert_eq!(refused.code(), "action_denied");
            let record = world.outcome(&refused).await;
            assert_eq!(record["code"], "action_denied");
            assert_eq!(record["tenant"], "globex");
        }
    }
    assert_eq!(world.reached().len(), before);
    assert!(ok(&world.get(ADMIN, "acme", &path).await));
}

#[tokio::test]
async fn a_request_id_is_its_first_callers() {
    let world = world("always").await;
    let first = begin(&world, ZABBIX, "acme", MINE).await;
    let path = path_of(&first);
    assert!(path.ends_with(MINE), "{path}");
    let before = world.reached().len();
    let braced = format!("{{{}}}", MINE.to_uppercase());
    for id in [MINE, &braced, &format!("x, {MINE}")] {
        let refused = begin(&world, ADMIN, "globex", id).await;
        assert_eq!(refused.code(), "action_denied", "{id}");
    }
    assert_eq!(world.reached().len(), before);
    // The same again is the console's to answer as it did.
    assert_eq!(begin(&world, ZABBIX, "acme", MINE).await.status, 202);
    assert_eq!(world.reached().len(), before + 1);
}

#[tokio::test]
async fn an_action_that_nobody_knows_is_the_consoles_to_judge() {
    let world = world("never").await;
    let path = format!("/api/v3/asyncActions/{MINE}");
    let unknown = world.get(ZABBIX, "acme", &path).await;
    assert_eq!(unknown.status, 404);
    let seen = world.reached().pop().unwrap();
    assert_eq!(seen.subject.unwrap().to_string(), ACME);
    let nobodys = world.call("GET", &path, &[("x-api-key", ZABBIX)], "").await;
    assert_eq!(nobodys.code(), "tenant_required");
}

/// .NET takes these for [`MINE`] too.
#[tokio::test]
async fn an_action_is_anothers_however_its_id_is_written() {
    let world = world("always").await;
    assert_eq!(begin(&world, ZABBIX, "acme", MINE).await.status, 202);
    let before = world.reached().len();
    let hex = "{0x0b04b3a1,0x5a6c,0x4b57,{0x9b,0x7a,0x00,0x00,0x00,0x00,0x00,0xaa}}";
    let prefixed = MINE.replace("-0000000000aa", "-0x00000000aa");
    let signed = MINE.replacen('0', "+", 1);
    for id in [
        hex,
        &hex.replace(',', "%2C"),
        &prefixed,
        &signed,
        &format!("%7B{MINE}%7D"),
    ] {
        let path = format!("/api/v3/asyncActions/{id}");
        let refused = world.get(ADMIN, "globex", &path).await;
        assert_eq!(refused.code(), "action_denied", "{path}");
    }
    for id in [hex, &prefixed, &signed, &format!("{MINE}\u{a0}")] {
        let request = http::Request::get(world.url("/api/v3/users/me"))
            .header("x-api-key", ADMIN)
            .header("x-tenant", "globex")
            .header("x-request-id", id.as_bytes());
        let refused = world.send(request).await;
        assert_eq!(refused.code(), "action_denied", "{id}");
    }
    assert_eq!(world.reached().len(), before);
}

/// A session is not a user: who logs in anew is who began it.
#[tokio::test]
async fn a_user_of_the_console_keeps_its_actions_over_log_ins() {
    use vspc_simulator::seed::{ACME_ADMINISTRATOR, ADMINISTRATOR_PASSWORD};

    let mut switches = unsigned();
    switches.set("async_mode", "unasked").unwrap();
    let world = World::start_with("passthrough_logins = true", switches).await;
    let mut tokens = Vec::new();
    for name in [
        ACME_ADMINISTRATOR.name.to_owned(),
        ACME_ADMINISTRATOR.name.to_lowercase(),
    ] {
        let login = world.log_in(&name, ADMINISTRATOR_PASSWORD).await;
        assert!(ok(&login), "{login:?}");
        tokens.push(login.text("access_token"));
    }
    let path = path_of(&world.get_as(&tokens[0], "/api/v3/users/me").await);
    assert!(ok(&world.get_as(&tokens[0], &path).await));
    let again = world.get_as(&tokens[1], &path).await;
    assert!(ok(&again), "{again:?}");
}
