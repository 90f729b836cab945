//! What operators see of tokens and do with them.

use std::sync::Arc;

use tokio::time::advance;

use super::super::*;
use super::world::*;
use crate::client::SessionKey;

fn main_console() -> ConsoleId {
    ConsoleId::new(MAIN)
}

fn all(world: &World) -> Vec<TokenView> {
    world.broker.survey(&SurveyFilter::default(), 100)
}

fn of_user(user: u128) -> Which {
    Which::Tenant(key(user))
}

async fn renew(world: &World, which: &Which) -> Vec<Renewed> {
    world.broker.to_renew(which).renew(soon()).await
}

async fn log_in(world: &World) -> SessionKey {
    let issued = Issued {
        access: Secret::new("canary-access-login".to_owned()),
        refresh: Some(Secret::new("canary-refresh-login".to_owned())),
        lifetime: LIFE,
    };
    let user = Some(Arc::from("ACME\\ann"));
    let (broker, console) = (&world.broker, main_console());
    let adopted = broker.adopt(&console, user, issued, Access::ReadOnly);
    adopted.await.unwrap().0
}

#[tokio::test(start_paused = true)]
async fn the_overview_tells_all_but_the_tokens() {
    let world = World::new(Keeping::nowhere());
    let lease = world.lease(1).await.unwrap();
    log_in(&world).await;
    advance(Duration::from_secs(60)).await;
    let views = all(&world);
    let kinds: Vec<_> = views.iter().map(|view| view.kind).collect();
    assert_eq!(
        kinds,
        [
            TokenKind::Session,
            TokenKind::Impersonation,
            TokenKind::Login
        ]
    );
    let [session, user, login] = &views[..] else {
        panic!("{views:?}")
    };
    assert_eq!(session.console, main_console());
    assert_eq!(session.state, TokenState::Held);
    assert_eq!(user.target, Some(key(1).target));
    let held = user.held.unwrap();
    assert_eq!(held.fingerprint, lease.fingerprint());
    assert_eq!(held.generation, lease.generation());
    assert_eq!((held.age, held.dead_in), (60, 3540));
    assert_eq!(held.served_for, 3510);
    assert!((2340 - 60..=2700 - 60).contains(&held.renew_in), "{held:?}");
    assert_eq!(user.idle, Some(60));
    assert_eq!(login.user.as_deref(), Some("ACME\\ann"));
    assert_eq!(login.access, Access::ReadOnly);
    assert!(!format!("{views:?}").contains("canary"));
}

#[tokio::test(start_paused = true)]
async fn the_overview_is_narrowed_by_what_is_asked() {
    let world = World::new(Keeping::nowhere());
    for user in [1, 2, 3] {
        world.lease(user).await.unwrap();
    }
    log_in(&world).await;
    let count = |filter: SurveyFilter, limit| world.broker.survey(&filter, limit).len();
    assert_eq!(count(SurveyFilter::default(), 100), 5);
    assert_eq!(count(SurveyFilter::default(), 2), 2);
    for (kind, expected) in [
        (TokenKind::Session, 1),
        (TokenKind::Impersonation, 3),
        (TokenKind::Login, 1),
    ] {
        let kind = Some(kind);
        let filter = SurveyFilter {
            kind,
            ..SurveyFilter::default()
        };
        assert_eq!(count(filter, 100), expected, "{kind:?}");
    }
    let target = Some(key(2).target);
    let of_target = SurveyFilter {
        target,
        ..SurveyFilter::default()
    };
    assert_eq!(count(of_target, 100), 1);
    let console = Some(ConsoleId::new("other"));
    let elsewhere = SurveyFilter {
        console,
        ..SurveyFilter::default()
    };
    assert_eq!(count(elsewhere, 100), 0);
}

#[tokio::test(start_paused = true)]
async fn the_overview_tells_of_trouble_and_when_it_may_be_over() {
    let world = World::new(Keeping::nowhere());
    world
        .issuer
        .fail(GrantKind::Impersonate, Fault::Error(refused()));
    assert!(world.lease(1).await.is_err());
    let views = all(&world);
    let failed = views
        .iter()
        .find(|view| view.kind == TokenKind::Impersonation);
    let failed = failed.unwrap();
    assert_eq!(failed.state, TokenState::CoolingOff);
    assert!(failed.held.is_none());
    let (error, retry) = failed.trouble.as_ref().unwrap();
    assert_eq!(*error, refused());
    assert!((1..=30).contains(retry), "{retry}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_by_hand_costs_one_call_and_makes_nobody_wait() {
    let world = World::new(Keeping::nowhere());
    let before = world.lease(1).await.unwrap();
    let which = of_user(1);
    let renewing = renew(&world, &which);
    let mut renewing = std::pin::pin!(renewing);
    assert!(futures_util::poll!(&mut renewing).is_pending());
    let meanwhile = world.lease_at_once(1).await;
    assert_eq!(meanwhile.generation(), before.generation());
    let done = renewing.await;
    assert_eq!(done.len(), 1);
    assert!(done[0].is_new);
    assert_eq!(world.issuer.counts(), [1, 0, 2]);
    let after = world.lease_at_once(1).await;
    assert_ne!(after.generation(), before.generation());
    assert_eq!(done[0].view.held.unwrap().fingerprint, after.fingerprint());

    let done = renew(&world, &Which::Session(main_console())).await;
    assert!(done[0].is_new);
    assert_eq!(world.issuer.counts(), [1, 1, 2]);
    let done = renew(&world, &Which::Target(key(1).target)).await;
    assert!(done[0].is_new);
    // What is not there yet is obtained, for a tenant.
    assert!(
        renew(&world, &Which::Target(key(2).target))
            .await
            .is_empty()
    );
    assert!(renew(&world, &of_user(2)).await[0].is_new);
    assert_eq!(world.issuer.counts(), [1, 1, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_by_hand_that_fails_keeps_the_token_and_waits_its_time() {
    let world = World::new(Keeping::nowhere());
    world.lease(1).await.unwrap();
    world
        .issuer
        .fail(GrantKind::Impersonate, Fault::Error(down()));
    let done = renew(&world, &of_user(1)).await;
    assert!(!done[0].is_new);
    assert!(done[0].view.trouble.is_some());
    world.lease_at_once(1).await;
    let calls = world.issuer.counts();
    let again = renew(&world, &of_user(1)).await;
    assert!(!again[0].is_new);
    assert_eq!(world.issuer.counts(), calls, "it is cooling off");
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_obtained_anew_and_a_session_by_a_log_in() {
    let world = World::new(Keeping::nowhere());
    let lease = world.lease(1).await.unwrap();
    world.lease(2).await.unwrap();
    let picked = world.broker.to_drop(&of_user(1));
    assert_eq!(picked.len(), 1);
    picked.forget();
    assert_ne!(
        world.lease(1).await.unwrap().generation(),
        lease.generation()
    );
    world.lease_at_once(2).await;
    assert_eq!(world.issuer.counts(), [1, 0, 3]);
    assert!(world.broker.to_drop(&of_user(3)).is_empty());

    let session = Which::Session(main_console());
    world.broker.to_drop(&session).forget();
    world.settle().await;
    assert_eq!(world.issuer.counts(), [2, 0, 3]);
    let state = world.broker.session_state(&main_console());
    assert!(matches!(state, SessionState::Usable { .. }), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn renewals_by_hand_are_limited_for_each_token_and_in_all() {
    let world = World::new(Keeping::nowhere());
    let limit = RenewalLimit::default();
    let take = |user| limit.renewal(&world.broker.to_renew(&of_user(user)));
    assert_eq!(take(1), Ok(()));
    assert_eq!(take(1), Err(Duration::from_secs(10)));
    advance(Duration::from_secs(4)).await;
    assert_eq!(take(1), Err(Duration::from_secs(6)));
    // Dropping it in between is no way round.
    world.broker.to_drop(&of_user(1)).forget();
    assert_eq!(take(1), Err(Duration::from_secs(6)));
    for user in 2..=10 {
        assert_eq!(take(user), Ok(()), "{user}");
    }
    assert_eq!(take(11), Err(Duration::from_secs(56)));
    advance(Duration::from_secs(56)).await;
    assert_eq!(take(11), Ok(()));

    let session = || world.broker.to_drop(&Which::Session(main_console()));
    advance(Duration::from_secs(60)).await;
    assert_eq!(limit.login(&session()), Ok(()));
    advance(Duration::from_secs(20)).await;
    assert_eq!(limit.login(&session()), Err(Duration::from_secs(40)));
}
