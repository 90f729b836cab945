//! What was dropped, or belongs to a user who is gone, is gone from the disk as well; and a user's own
//! session is renewed by one process.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::*;
use super::script::*;
use super::world::*;
use crate::client::SessionKey;

#[tokio::test(start_paused = true)]
async fn what_is_dropped_after_a_restart_is_gone() {
    let keeping = Keeping::on_disk();
    let script = Script::new(all_well);
    let one = broker(&script, &keeping);
    let before = one.lease_for(&key(1), soon()).await.unwrap();
    save(&one).await;
    drop(one);
    let two = broker(&script, &keeping);
    let forgotten = two.to_drop(&Which::Target(key(1).target)).forget();
    assert_eq!(forgotten.settled().await.unwrap(), 1);
    two.retire(key(1).target);
    let after = two.lease_for(&key(1), soon()).await.unwrap();
    assert_ne!(
        bearer(&before),
        bearer(&after),
        "what was dropped is served"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_dropped_does_not_come_back_after_a_kill() {
    let keeping = Keeping::on_disk();
    let script = Script::new(all_well);
    let one = broker(&script, &keeping);
    let before = one.lease_for(&key(1), soon()).await.unwrap();
    save(&one).await;
    assert_eq!(one.to_drop(&Which::Target(key(1).target)).len(), 1);
    let forgotten = one.to_drop(&Which::Target(key(1).target)).forget();
    forgotten.settled().await.unwrap();
    // Killed in the same tenth of a second.
    let two = broker(&script, &keeping);
    let after = two.lease_for(&key(1), soon()).await.unwrap();
    assert_ne!(
        bearer(&before),
        bearer(&after),
        "what was dropped is served"
    );
}

#[tokio::test(start_paused = true)]
async fn a_log_in_that_was_restored_is_retired_with_its_user() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let keeping = Keeping::on_disk();
    let script = Script::new(all_well);
    let user = Subject(Uuid::from_u128(7));
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{user}"}}"#));
    let one = broker(&script, &keeping);
    let issued = Issued {
        access: Secret::new(format!("a.{payload}.c")),
        refresh: Some(Secret::new("refresh-own".to_owned())),
        lifetime: LIFE,
    };
    let adopted = one.adopt(&main_console(), None, issued, Access::Full).await;
    let (session, before): (SessionKey, Lease) = adopted.unwrap();
    drop(one);
    let two = broker(&script, &keeping);
    let (store, main) = (two.clone(), main_console());
    tokio::task::spawn_blocking(move || store.restore_sessions(&main))
        .await
        .unwrap();
    two.retire(user);
    let after = two.session_lease_for(&session, soon()).await.unwrap();
    assert_ne!(
        bearer(&before),
        bearer(&after),
        "what was revoked is served"
    );
}

/// Two processes renew the session of somebody who logged in, and the console takes its time.
#[tokio::test(start_paused = true)]
async fn a_log_in_does_not_end_because_two_processes_renew_it() {
    let keeping = Keeping::on_disk();
    let spent = Arc::new(Mutex::new(Vec::<String>::new()));
    let script = Script::new(move |s, kind, sent, _| {
        let mut spent = spent.lock();
        match sent {
            Some(sent) if spent.iter().any(|it| it == sent) => Script::fail(refused()),
            _ => {
                spent.extend(sent.map(str::to_owned));
                (
                    Duration::from_secs(3),
                    s.issue(kind == GrantKind::Refresh, 3600).1,
                )
            }
        }
    });
    let one = broker(&script, &keeping);
    let issued = Issued {
        access: Secret::new("visitor".to_owned()),
        refresh: Some(Secret::new("refresh-own".to_owned())),
        lifetime: LIFE,
    };
    let adopted = one.adopt(&main_console(), None, issued, Access::Full).await;
    let (session, _) = adopted.unwrap();
    let two = broker(&script, &keeping);
    two.session_lease_for(&session, soon()).await.unwrap();
    // Both hold a token that the console has just revoked.
    one.give_up(&session);
    two.give_up(&session);
    let (first, second) = tokio::join!(
        one.session_lease_for(&session, soon()),
        two.session_lease_for(&session, soon())
    );
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
}

/// The user is gone before anybody asked for its token after a start.
#[tokio::test(start_paused = true)]
async fn what_is_retired_after_a_restart_is_gone() {
    let keeping = Keeping::on_disk();
    let script = Script::new(all_well);
    let one = broker(&script, &keeping);
    let before = one.lease_for(&key(1), soon()).await.unwrap();
    let other = one.lease_for(&key(2), soon()).await.unwrap();
    save(&one).await;
    drop(one);
    let two = broker(&script, &keeping);
    two.retire(key(1).target);
    let after = two.lease_for(&key(1), soon()).await.unwrap();
    assert_ne!(bearer(&before), bearer(&after));
    let kept = two.lease_for(&key(2), soon()).await.unwrap();
    assert_eq!(bearer(&other), bearer(&kept), "nobody said so of this one");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_dropped_with_all_that_was_obtained_with_it() {
    let keeping = Keeping::on_disk();
    let script = Script::new(all_well);
    let one = broker(&script, &keeping);
    let elsewhere = TokenKey {
        console: ConsoleId::new("other"),
        ..key(1)
    };
    let before = one.lease_for(&key(1), soon()).await.unwrap();
    let other = one.lease_for(&elsewhere, soon()).await.unwrap();
    one.lease_for(&key(2), soon()).await.unwrap();
    save(&one).await;
    drop(one);
    let two = broker(&script, &keeping);
    let held = two.lease_for(&key(1), soon()).await.unwrap();
    assert_eq!(bearer(&before), bearer(&held));
    let forgotten = two.to_drop(&Which::Session(main_console())).forget();
    assert_eq!(two.stats().held, 0);
    // The session, one token in memory, and one that was on the disk alone.
    assert_eq!(forgotten.settled().await.unwrap(), 3);
    drop(two);
    let three = broker(&script, &keeping);
    let after = three.lease_for(&key(1), soon()).await.unwrap();
    assert_ne!(bearer(&before), bearer(&after));
    let kept = three.lease_for(&elsewhere, soon()).await.unwrap();
    assert_eq!(bearer(&other), bearer(&kept), "the other console's");
}

/// The disk fails while something is dropped, and is well again later.
#[tokio::test(start_paused = true)]
async fn a_drop_that_the_disk_refuses_is_told_and_holds_in_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let settings = crate::state::Settings {
        directory: folder.path().to_owned(),
        key: None,
    };
    let open = || {
        let state = Arc::new(crate::state::State::open(&settings).unwrap());
        let store = SessionStore::sealed(state, crate::clock::Clock::System);
        let notes = Arc::new(Notes::default());
        (store, notes)
    };
    let script = Script::new(all_well);
    let start = |(store, notes): (SessionStore, Arc<Notes>)| {
        let issuer = Arc::clone(&script) as _;
        Broker::new(issuer, RefreshPolicy::default(), notes as _, store)
    };
    let one = start(open());
    let before = one.lease_for(&key(1), soon()).await.unwrap();
    save(&one).await;
    drop(one);
    let two = start(open());
    let (database, away) = (folder.path().join("state.redb"), folder.path().join("away"));
    std::fs::rename(&database, &away).unwrap();
    let forgotten = two.to_drop(&Which::Target(key(1).target)).forget();
    assert!(forgotten.settled().await.is_err());
    std::fs::rename(&away, &database).unwrap();
    let after = two.lease_for(&key(1), soon()).await.unwrap();
    assert_ne!(bearer(&before), bearer(&after));
    // What could not be done is done with the next occasion.
    save(&two).await;
    drop(two);
    let three = start(open());
    let later = three.lease_for(&key(1), soon()).await.unwrap();
    assert_ne!(bearer(&before), bearer(&later));
}

/// The token that it logged in with is on the disk, and good for an hour.
#[tokio::test(start_paused = true)]
async fn a_log_in_that_is_retired_is_stripped_on_the_disk_too() {
    let keeping = Keeping::on_disk();
    let script = Script::new(all_well);
    let user = Subject(Uuid::from_u128(7));
    let one = broker(&script, &keeping);
    let (session, before) = adopt(&one, user).await;
    one.retire(user);
    save(&one).await;
    drop(one);
    let two = broker(&script, &keeping);
    let after = two.session_lease_for(&session, soon()).await.unwrap();
    assert_ne!(bearer(&before), bearer(&after));
    // Its tokens say nothing any more, and yet it is known whose it is.
    drop(two);
    let three = broker(&script, &keeping);
    three.restore_sessions(&main_console());
    let cells = three.0.sessions().all();
    assert_eq!(cells[0].kind.subject(), Some(user));
}

/// A process dies while it renews a session: the next one waits no longer than for the answer.
#[tokio::test(start_paused = true)]
async fn a_log_in_goes_on_after_a_process_that_died_while_it_renewed_it() {
    let keeping = Keeping::on_disk();
    let script = Script::new(|s, kind, _, _| match kind {
        GrantKind::Refresh => (Duration::from_secs(3600), s.issue(true, 3600).1),
        _ => s.issue(true, 3600),
    });
    let one = broker(&script, &keeping);
    let (session, _) = adopt(&one, Subject(Uuid::from_u128(7))).await;
    one.give_up(&session);
    let asked = one.session_lease_for(&session, Instant::now() + Duration::from_millis(500));
    assert!(asked.await.is_err());
    script.then(all_well);
    let two = broker(&script, &keeping);
    let (began, patient) = (Instant::now(), Instant::now() + Duration::from_secs(120));
    let first = two.session_lease_for(&session, patient).await.unwrap();
    two.give_up(&session);
    let second = two.session_lease_for(&session, patient).await.unwrap();
    assert_ne!(bearer(&first), bearer(&second));
    let waited = began.elapsed();
    assert!(
        waited > Duration::from_secs(55) && waited < Duration::from_secs(70),
        "{waited:?}"
    );
}

async fn adopt(broker: &Broker, user: Subject) -> (SessionKey, Lease) {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{user}"}}"#));
    let issued = Issued {
        access: Secret::new(format!("a.{payload}.c")),
        refresh: Some(Secret::new("refresh-own".to_owned())),
        lifetime: LIFE,
    };
    let main = main_console();
    let adopted = broker.adopt(&main, None, issued, Access::Full);
    adopted.await.unwrap()
}
