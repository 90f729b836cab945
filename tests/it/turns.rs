//! Requests that wait, for their turn or for a token.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use vspc_gateway::clock::Timestamp;
use vspc_gateway::freeze::{Hold, Scope};
use vspc_simulator::{Action, Fault};

use crate::harness::{ACME, ADMIN, Answer, BILLING, World, ok, unsigned, until_true};

const ECHO: &str = "/api/v3/_test/echo";
const STATUS: &str = "/api/v3/_test/status";
/// One request at a time.
const NARROW: &str = "concurrency = 1\ntenant_concurrency = 1";

/// A world with one place at the console, where these tenants have their tokens.
async fn narrow(tenants: &[&str]) -> Arc<World> {
    let world = World::start_with(NARROW, unsigned()).await;
    for tenant in tenants {
        assert!(ok(&world.get(ADMIN, tenant, ECHO).await));
    }
    Arc::new(world)
}

fn get(calls: &mut JoinSet<Answer>, world: &Arc<World>, tenant: &'static str, path: &'static str) {
    let world = Arc::clone(world);
    calls.spawn(async move { world.get(ADMIN, tenant, path).await });
}

fn write(calls: &mut JoinSet<Answer>, world: &Arc<World>, path: &'static str) {
    let world = Arc::clone(world);
    calls.spawn(async move {
        let headers = [("x-api-key", BILLING)];
        world.call("POST", path, &headers, "write").await
    });
}

fn freeze(world: &World, scope: Scope) {
    let hold = Hold::new(scope, Timestamp(0), "a test".to_owned(), None);
    assert!(world.gateway().freezer.hold(hold).is_none());
}

fn written(world: &World) -> usize {
    let seen = world.reached();
    seen.iter().filter(|seen| seen.method == "POST").count()
}

/// A request that waits for its turn was not sent yet when the tenant is frozen.
#[tokio::test]
async fn what_waits_for_its_turn_is_not_sent_once_the_tenant_is_frozen() {
    for scope in [
        Scope::Tenant("acme".to_owned()),
        Scope::Client("billing".to_owned()),
        Scope::Everything,
    ] {
        let world = narrow(&["acme", "globex"]).await;
        let slow = Fault::new(Action::Delay).under(ECHO).times(1);
        world
            .simulator
            .fault(slow.delay(Duration::from_millis(1500)));
        let (mut first, mut calls) = (JoinSet::new(), JoinSet::new());
        get(&mut first, &world, "globex", ECHO);
        until_true(|| world.reached().len() == 3).await;
        write(&mut calls, &world, STATUS);
        until_true(|| world.waiting() == 1).await;
        freeze(&world, scope);
        let answer = calls.join_next().await.unwrap().unwrap();
        assert_eq!((answer.status, answer.code()), (403, "frozen"));
        assert_eq!(written(&world), 0, "a write was sent after the freeze");
        // Neither was it about to be.
        let kinds = |kind: &str| {
            let is_it = |record: &&serde_json::Value| record["kind"] == kind;
            world.records().iter().filter(is_it).count()
        };
        assert_eq!(world.outcome(&answer).await["attempts"], 0);
        assert_eq!(kinds("intent"), 0);
        // What the console had got already goes on to its end.
        assert!(first.join_all().await.iter().all(ok));
    }
}

#[tokio::test]
async fn what_waits_for_a_token_is_not_sent_once_the_tenant_is_frozen() {
    let world = narrow(&[]).await;
    let slow = Fault::new(Action::Delay).grant("as").times(1);
    world
        .simulator
        .fault(slow.delay(Duration::from_millis(1500)));
    let mut calls = JoinSet::new();
    write(&mut calls, &world, STATUS);
    until_true(|| world.gateway().broker.stats().waiting == 1).await;
    freeze(&world, Scope::Tenant("acme".to_owned()));
    let answer = calls.join_next().await.unwrap().unwrap();
    assert_eq!((answer.status, answer.code()), (403, "frozen"));
    assert_eq!(written(&world), 0);
}

/// The console throttled it, or refused its token: the freeze comes before it is sent again.
#[tokio::test]
async fn nothing_is_sent_again_once_the_tenant_is_frozen() {
    let throttled = Action::Throttle {
        retry_after: Some(1),
    };
    for again in [throttled, Action::Unauthorized] {
        let world = narrow(&["acme"]).await;
        let is_401 = matches!(again, Action::Unauthorized);
        world
            .simulator
            .fault(Fault::new(again.clone()).under(STATUS));
        if is_401 {
            // A token younger than that is not renewed.
            tokio::time::sleep(Duration::from_millis(5100)).await;
            let slow = Fault::new(Action::Delay).grant("as").times(1);
            world.simulator.fault(slow.delay(Duration::from_secs(1)));
        }
        let mut calls = JoinSet::new();
        write(&mut calls, &world, STATUS);
        until_true(|| written(&world) == 1).await;
        freeze(&world, Scope::Tenant("acme".to_owned()));
        let answer = calls.join_next().await.unwrap().unwrap();
        assert_eq!((answer.status, answer.code()), (403, "frozen"), "{again:?}");
        assert_eq!(written(&world), 1, "{again:?}");
    }
}

/// A tenant that waits for its token needs no place at the console yet.
#[tokio::test]
async fn a_tenant_without_a_token_does_not_take_the_place_of_one_with_it() {
    let world = narrow(&["globex"]).await;
    let slow = Fault::new(Action::Delay).grant("as").times(1);
    world.simulator.fault(slow.delay(Duration::from_secs(2)));
    let mut calls = JoinSet::new();
    get(&mut calls, &world, "acme", STATUS);
    until_true(|| world.gateway().broker.stats().waiting == 1).await;
    let soon = Duration::from_secs(1);
    let quick = tokio::time::timeout(soon, world.get(ADMIN, "globex", STATUS)).await;
    assert!(ok(&quick.expect("waits for another tenant's token")));
    assert!(calls.join_all().await.iter().all(ok));
}

#[tokio::test]
async fn a_tenant_whose_token_is_renewed_does_not_take_the_place_of_one_with_it() {
    let world = narrow(&["globex", "acme"]).await;
    // A token younger than that is not renewed.
    tokio::time::sleep(Duration::from_millis(5100)).await;
    world
        .simulator
        .revoke_access_tokens(Some(ACME.parse().unwrap()));
    let slow = Fault::new(Action::Delay).grant("as").times(1);
    world.simulator.fault(slow.delay(Duration::from_secs(2)));
    let mut calls = JoinSet::new();
    get(&mut calls, &world, "acme", STATUS);
    until_true(|| world.gateway().broker.stats().waiting == 1).await;
    let soon = Duration::from_secs(1);
    let quick = tokio::time::timeout(soon, world.get(ADMIN, "globex", STATUS)).await;
    assert!(ok(&quick.expect("waits for another tenant's token")));
    let answer = calls.join_next().await.unwrap().unwrap();
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(world.outcome(&answer).await["attempts"], 2);
}

/// Its token is revoked while it waits for its turn: it is sent with the next one.
#[tokio::test]
async fn whoever_waited_for_a_turn_is_sent_with_a_token_of_now() {
    let world = narrow(&["globex", "acme"]).await;
    let slow = Fault::new(Action::Delay).under(ECHO).times(1);
    world
        .simulator
        .fault(slow.delay(Duration::from_millis(1500)));
    let mut calls = JoinSet::new();
    get(&mut calls, &world, "globex", ECHO);
    until_true(|| world.reached().len() == 3).await;
    let mut waiting = JoinSet::new();
    get(&mut waiting, &world, "acme", STATUS);
    until_true(|| world.waiting() == 1).await;
    let (given, _) = world.grants("as");
    let acme = vspc_gateway::vspc::grant::Subject(ACME.parse().unwrap());
    world.gateway().broker.retire(acme);
    let answer = waiting.join_next().await.unwrap().unwrap();
    assert!(ok(&answer), "{answer:?}");
    assert_eq!(world.grants("as").0, given + 1);
    assert_eq!(world.outcome(&answer).await["attempts"], json!(1));
    assert!(calls.join_all().await.iter().all(ok));
}
