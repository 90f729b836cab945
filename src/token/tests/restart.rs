//! What a restart, a crash and a second process cost: as little as can be.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::super::*;
use super::world::*;

async fn settled(world: &World) {
    // What waits to be written is written.
    let broker = world.broker.clone();
    tokio::task::spawn_blocking(move || broker.save())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restart_costs_the_console_nothing() {
    let world = World::new(Keeping::on_disk());
    let before = world.lease(1).await.unwrap();
    settled(&world).await;
    let world = world.killed();
    let after = world.lease(1).await.unwrap();
    assert_eq!(bearer(&before), bearer(&after));
    assert_eq!(world.issuer.counts(), [1, 0, 1]);
    // A user that had no token yet: the session is there.
    world.lease(2).await.unwrap();
    assert_eq!(world.issuer.counts(), [1, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_is_not_used_beyond_its_end() {
    let world = World::new(Keeping::on_disk());
    world.lease(1).await.unwrap();
    settled(&world).await;
    sleep(Duration::from_secs(3000)).await;
    let world = world.killed().renewing();
    let old = world.lease(1).await.unwrap();
    assert_eq!(bearer(&old), "Bearer canary-access-1");
    // It is overdue, so it is renewed behind the request, and never served after its end.
    world.settle().await;
    assert_eq!(world.issuer.counts(), [1, 0, 2]);
    let world = world.killed();
    sleep(Duration::from_secs(4000)).await;
    assert_ne!(bearer(&world.lease(1).await.unwrap()), bearer(&old));
    // The session lives on by its refresh token, for two days.
    assert_eq!(world.issuer.counts(), [1, 0, 3]);
    let world = world.stopped();
    sleep(Duration::from_secs(49 * 3600)).await;
    let world = world.killed();
    world.lease(1).await.unwrap();
    assert_eq!(world.issuer.counts(), [2, 0, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumped_makes_nothing_live_longer() {
    for (jump, calls) in [(3600, [1, 0, 2]), (-3600, [2, 0, 2]), (-5, [2, 0, 2])] {
        let world = World::new(Keeping::on_disk());
        world.lease(1).await.unwrap();
        settled(&world).await;
        world.keeping.jump.fetch_add(jump, Ordering::SeqCst);
        // The running process does not care.
        world.lease_at_once(1).await;
        let world = world.killed();
        world.lease(1).await.unwrap();
        assert_eq!(world.issuer.counts(), calls, "{jump}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_receiving_and_storing_costs_one_log_in_and_no_old_token() {
    let world = World::new(Keeping::on_disk());
    let main = ConsoleId::new(MAIN);
    let lease = world.broker.session_lease(&main, soon()).await.unwrap();
    *world.issuer.delay.lock() = Duration::from_secs(3600);
    world.broker.session_rejected(&main, lease.generation());
    while world.issuer.counts() != [1, 1, 0] {
        sleep(Duration::from_millis(1)).await;
    }
    // The console has rotated it, and the process dies before the answer is stored.
    world.issuer.kill_session();
    *world.issuer.delay.lock() = Duration::from_millis(50);
    let next = world.killed();
    // In a test both have one process number, so that the other one might be alive.
    while next.lease(1).await.is_err() {}
    assert_eq!(next.issuer.counts(), [2, 1, 1], "one log-in");
    let used = next.issuer.used_refresh.lock().clone();
    assert_eq!(used, ["canary-refresh-1"], "the old token was sent again");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_of_it_again_and_again_does_not_lock_the_account() {
    let mut world = World::new(Keeping::on_disk());
    world.issuer.fail(GrantKind::Login, Fault::Error(refused()));
    let began = Instant::now();
    for _ in 0..200 {
        assert!(world.lease(1).await.is_err());
        sleep(Duration::from_secs(5)).await;
        world = world.killed();
    }
    let calls = world.issuer.calls.lock().clone();
    let tried: Vec<_> = calls
        .iter()
        .map(|(_, at)| (*at - began).as_secs())
        .collect();
    assert!(tried.len() == 4, "{tried:?}");
    assert!(tried[3] - tried[2] >= 15 * 60, "{tried:?}");
    // Another secret is tried at once.
    *world.issuer.print.lock() = Some(7);
    world.issuer.heal();
    world.killed().lease(1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn other_credentials_never_get_what_the_old_ones_gave() {
    let world = World::new(Keeping::on_disk());
    *world.issuer.print.lock() = Some(1);
    world.lease(1).await.unwrap();
    settled(&world).await;
    *world.issuer.print.lock() = Some(2);
    let world = world.killed();
    world.lease(1).await.unwrap();
    assert_eq!(world.issuer.counts(), [2, 0, 2]);
}

/// What one console gave is never shown to another that has its name.
#[tokio::test(start_paused = true)]
async fn a_console_that_has_moved_is_not_shown_the_sessions_of_users() {
    let world = World::new(Keeping::on_disk());
    *world.issuer.place.lock() = Some(1);
    let main = ConsoleId::new(MAIN);
    let issued = Issued {
        access: Secret::new("canary-access-of-ann".to_owned()),
        refresh: Some(Secret::new("canary-refresh-of-ann".to_owned())),
        lifetime: LIFE,
    };
    let adopted = world.broker.adopt(&main, None, issued, Access::Full).await;
    let (key, lease) = adopted.unwrap();
    let world = world.killed();
    let kept = world.broker.session_lease_for(&key, soon()).await.unwrap();
    assert_eq!(bearer(&kept), bearer(&lease));
    *world.issuer.place.lock() = Some(2);
    let world = world.killed();
    world.broker.restore_sessions(&main);
    assert!(world.broker.session_lease_for(&key, soon()).await.is_err());
    assert!(world.issuer.used_refresh.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_retired_does_not_come_back() {
    for saved in [false, true] {
        let world = World::new(Keeping::on_disk());
        world.lease(1).await.unwrap();
        settled(&world).await;
        world.broker.retire(key(1).target);
        if saved {
            settled(&world).await;
            world.killed().lease(1).await.unwrap();
        } else {
            world.lease(1).await.unwrap();
            assert_eq!(world.issuer.counts(), [1, 0, 2]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_renew_one_session_once() {
    let one = World::new(Keeping::on_disk());
    one.lease(1).await.unwrap();
    let two = World::with(Arc::clone(&one.issuer), Arc::clone(&one.keeping));
    two.lease(2).await.unwrap();
    assert_eq!(one.issuer.counts(), [1, 0, 2]);
    let main = ConsoleId::new(MAIN);
    for world in [&one, &two] {
        let lease = world.broker.session_lease(&main, soon()).await.unwrap();
        world.broker.session_rejected(&main, lease.generation());
    }
    one.settle().await;
    two.settle().await;
    // The second one took over what the first one got.
    assert_eq!(one.issuer.counts(), [1, 1, 2]);
    one.lease(3).await.unwrap();
    two.lease(4).await.unwrap();
    assert_eq!(one.issuer.counts(), [1, 1, 4]);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_live_tokens_cost_no_call_after_a_restart() {
    let world = World::new(Keeping::on_disk());
    *world.issuer.delay.lock() = Duration::from_millis(1);
    fetch_all(&world).await;
    assert_eq!(world.issuer.counts(), [1, 0, TOKENS]);
    settled(&world).await;
    let world = world.killed();
    fetch_all(&world).await;
    assert_eq!(world.issuer.counts(), [1, 0, TOKENS]);
    assert_eq!(world.broker.stats().held, TOKENS);
}

async fn fetch_all(world: &World) {
    let mut requests = JoinSet::new();
    for user in 0..TOKENS {
        let broker = world.broker.clone();
        requests.spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(3600);
            while broker
                .lease_for(&key(user as u128), deadline)
                .await
                .is_err()
            {}
        });
    }
    requests.join_all().await;
}

const TOKENS: usize = 10_000;

#[tokio::test(start_paused = true)]
async fn a_session_that_was_dropped_is_off_the_disk_when_that_is_said() {
    let world = World::new(Keeping::on_disk());
    world.lease(1).await.unwrap();
    world.issuer.fail(GrantKind::Login, Fault::Error(refused()));
    let main = Which::Session(ConsoleId::new(MAIN));
    let dropped = world.broker.to_drop(&main).forget();
    dropped.settled().await.unwrap();
    let world = world.killed();
    assert!(world.lease(1).await.is_err());
    assert_eq!(world.issuer.count(GrantKind::Impersonate), 1);
}
