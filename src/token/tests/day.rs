//! Hours of steady use: what renewals promise to those who ask, and to the console.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep};

use super::super::*;
use super::world::*;

const HOURS: u64 = 6;
const TENANTS: u128 = 2_000;

/// Twice in each life of a token, every tenant has a request that must find one.
async fn pass(world: &World, seconds: u64) {
    let mut next = 0;
    for second in 1..=seconds {
        sleep(Duration::from_secs(1)).await;
        let due = u128::from(second) * TENANTS * 2 / u128::from(LIFE.as_secs());
        while next < due {
            let lease = world.broker.0.hot(&key(next % TENANTS), Instant::now());
            let lease = lease.expect("a request would have to wait");
            let number = bearer(&lease).rsplit('-').next().unwrap().parse::<usize>();
            let issued = world.issuer.dates.lock()[number.unwrap()];
            assert!(
                issued.elapsed() < LIFE,
                "a token that is over is handed out"
            );
            next += 1;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn steady_use_is_renewed_evenly_once_and_before_anybody_waits() {
    let mut world = World::new(Keeping::nowhere());
    // So that the session's own renewal comes within these hours, while `as` are under way.
    let policy = RefreshPolicy::try_new(RefreshSettings {
        chain_lifetime: LIFE * 8,
        ..RefreshSettings::default()
    });
    world.broker = Broker::new(
        Arc::clone(&world.issuer) as _,
        policy.unwrap(),
        Arc::clone(&world.notes) as _,
        SessionStore::nowhere(),
    );
    world.broker.expect_tenants(TENANTS as usize);
    let world = world.renewing();
    for user in 0..TENANTS {
        let broker = world.broker.clone();
        tokio::spawn(async move { broker.lease_for(&key(user), soon()).await.map(drop) });
    }
    while world.broker.stats().held < TENANTS as usize {
        sleep(Duration::from_secs(1)).await;
    }
    world.issuer.calls.lock().clear();
    let began = Instant::now();
    pass(&world, HOURS * 3600).await;

    let calls = world.issuer.calls.lock().clone();
    let mut refreshes = calls.iter().filter(|(kind, _)| *kind == GrantKind::Refresh);
    let refreshed = refreshes.next().expect("the session was renewed").1;
    assert_eq!(
        (refreshes.next(), world.issuer.count(GrantKind::Login)),
        (None, 0)
    );
    let mut seconds = vec![0_u64; HOURS as usize * 3600 + 1];
    for (_, at) in calls {
        // Those that were under way with the old refresh token are tried once more.
        if at.max(refreshed) - at.min(refreshed) > Duration::from_secs(2) {
            seconds[(at - began).as_secs() as usize] += 1;
        }
    }
    let renewals: u64 = seconds.iter().sum();
    let busiest = seconds.iter().max().unwrap();
    // Seconds are whole and the mean is not: it is rounded up.
    assert!(
        *busiest <= (2 * renewals).div_ceil(HOURS * 3600),
        "{busiest} calls in one second, of {renewals}"
    );
    assert_eq!(world.issuer.collisions.load(Ordering::SeqCst), 0);
}
