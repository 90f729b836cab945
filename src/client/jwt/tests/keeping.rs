//! How long keys are used, and how often they are fetched.

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::sleep;

use super::maker::*;
use crate::client::jwt::issuers::{KeyEvent, KeyWatch};
use crate::client::jwt::*;

/// What was told, in short.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl KeyWatch for Told {
    fn saw(&self, event: KeyEvent<'_>) {
        let text = match event {
            KeyEvent::Failed { is_new: false, .. } | KeyEvent::Fetched { change: None, .. } => {
                return;
            }
            KeyEvent::Failed { are_usable, .. } => format!("failed, usable: {are_usable}"),
            KeyEvent::Fetched {
                change: Some(change),
                ..
            } => change,
        };
        self.0.lock().push(text);
    }
}

fn write(file: &Path, keys: &[&str]) {
    let keys: Vec<_> = keys.iter().map(|id| ec_jwk(id)).collect();
    std::fs::write(file, json!({"keys": keys}).to_string()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_and_a_bad_one_changes_nothing_until_the_keys_are_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    write(&file, &["a"]);
    let issuer = issuer_with(&file);
    let told = Arc::new(Told::default());
    let issuers = Arc::new(Issuers::new(Arc::clone(&told) as Arc<dyn KeyWatch>));
    issuers.keep(vec![Arc::clone(&issuer)]);
    assert!(issuer.keys().is_ok(), "they are there from the start");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let issuers = Arc::clone(&issuers);
        async move { issuers.run(async { drop(stopped.await) }).await }
    });
    sleep(Duration::from_secs(6)).await;
    write(&file, &["a", "b"]);
    sleep(Duration::from_secs(6)).await;
    write(&file, &["b"]);
    sleep(Duration::from_secs(6)).await;
    std::fs::write(&file, r#"{"keys":[]}"#).unwrap();
    sleep(Duration::from_secs(3500)).await;
    assert!(issuer.keys().is_ok(), "they are not too old yet");
    sleep(Duration::from_secs(200)).await;
    let retry_after = issuer.keys().err().unwrap();
    assert!(retry_after >= Duration::from_secs(1), "{retry_after:?}");
    write(&file, &["b", "c"]);
    sleep(Duration::from_secs(61)).await;
    assert!(issuer.keys().is_ok());
    let told = told.0.lock().clone();
    assert_eq!(
        told,
        [
            "new: \"b\"",
            "withdrawn: \"a\"",
            "failed, usable: true",
            "new: \"c\""
        ]
    );
    drop(stop);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn keys_are_asked_for_out_of_turn_once_in_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    write(&file, &["a"]);
    let issuer = issuer_with(&file);
    // Nobody fetches yet: they are due, whoever asks, and however often.
    assert_eq!(issuer.ask(), Some(Duration::from_secs(1)));
    assert_eq!(issuer.ask(), Some(Duration::from_secs(1)));
    let told = Told::default();
    let keeping = issuer.keep(&told);
    let mut keeping = std::pin::pin!(keeping);
    let asked = async {
        sleep(Duration::from_millis(100)).await;
        issuer.ask()
    };
    tokio::select! {
        () = &mut keeping => panic!("it goes on"),
        asked = asked => assert_eq!(asked, None, "they were fetched just now"),
    }
}

#[tokio::test]
async fn an_issuer_stays_while_its_settings_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    write(&file, &["a"]);
    let issuers = Issuers::new(Arc::new(Told::default()));
    let settings = issuer_with(&file).settings().clone();
    let kept = issuers.prepare(vec![settings.clone()]).unwrap();
    issuers.keep(kept.clone());
    let again = issuers.prepare(vec![settings.clone()]).unwrap();
    assert!(Arc::ptr_eq(&kept[0], &again[0]));
    let other = IssuerSettings {
        max_stale: Duration::from_secs(7200),
        ..settings
    };
    let again = issuers.prepare(vec![other]).unwrap();
    assert!(!Arc::ptr_eq(&kept[0], &again[0]));
}

#[test]
fn places_are_https_or_on_this_machine() {
    for good in [
        "https://login.example.com/tenant/v2.0",
        "https://[2001:db8::1]:8443/x",
        "http://127.0.0.1:8080/keys",
        "http://localhost/keys",
        "http://[::1]/keys",
    ] {
        assert!(place(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "login.example.com",
        "/keys",
        "http://login.example.com/",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1@example.com/",
        "https://user:pw@example.com/",
        "https://example.com/#x",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/ x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
    ] {
        assert!(place(bad).is_err(), "{bad}");
    }
}
