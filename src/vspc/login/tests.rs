use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use http::uri::Scheme;
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::state::State;
use crate::upstream::{ConsoleId, HttpVersions, Settings, Tls};
use crate::vspc::Expected;

const MANNER: Manner<'static> = Manner {
    client_version: None,
    expected: Expected {
        life: Duration::from_secs(300),
        within: Duration::from_secs(10),
    },
};

fn file(folder: &Path, name: &str, text: &str) -> SecretSource {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    SecretSource::File(path)
}

fn login(credentials: Credentials) -> Login {
    Login {
        credentials,
        access: Access::Full,
    }
}

fn by_password(username: &str, password: &SecretSource, totp: Option<&SecretSource>) -> Login {
    login(Credentials::Password {
        username: username.to_owned(),
        password: password.clone(),
        totp_secret: totp.cloned(),
    })
}

/// A console that nobody answers for.
async fn silent() -> (TcpListener, Console) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings {
        id: ConsoleId::new("main"),
        scheme: Scheme::HTTP,
        authority: address.to_string().parse().unwrap(),
        addresses: Vec::new(),
        checks: None,
        tls: Tls::default(),
        http: HttpVersions::Auto,
        connect_timeout: Duration::from_secs(5),
        first_byte_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        sharing: crate::upstream::Sharing::default(),
    };
    (listener, Console::new(settings).unwrap())
}

#[test]
fn a_print_changes_with_the_name_and_with_each_secret() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let one = file(folder, "one", "ab");
    let two = file(folder, "two", "c");
    let prints = [
        by_password("u", &one, None),
        by_password("v", &one, None),
        by_password("u", &two, None),
        by_password("u", &one, Some(&two)),
        by_password("u", &two, Some(&one)),
        by_password("ua", &file(folder, "three", "b"), None),
        login(Credentials::ApiKey(one.clone())),
    ]
    .map(|login| login.secret_print().unwrap());
    let mut different = prints.to_vec();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), prints.len(), "{prints:?}");

    let login = by_password("u", &one, Some(&two));
    assert_eq!(login.secret_print(), Some(prints[3]));
    file(folder, "two", "d");
    assert_ne!(login.secret_print(), Some(prints[3]));
    std::fs::remove_file(folder.join("two")).unwrap();
    assert_eq!(login.secret_print(), None);
}

#[test]
fn only_an_api_key_cannot_impersonate_and_only_a_password_has_a_name() {
    let source = SecretSource::Env("X".to_owned());
    let key_pair = Credentials::KeyPair {
        private_key: source.clone(),
        padding: Padding::Auto,
        form: KeyForm::Xml,
    };
    for (login, name, can) in [
        (by_password("u", &source, None), Some("u"), true),
        (login(key_pair), None, true),
        (login(Credentials::ApiKey(source.clone())), None, false),
    ] {
        assert_eq!((login.username(), login.can_impersonate()), (name, can));
    }
}

#[tokio::test]
async fn an_api_key_is_its_own_token_and_nobody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, console) = silent().await;
    let codes = Codes::new(Arc::new(State::in_memory().unwrap()), Clock::System);
    let by = |text| login(Credentials::ApiKey(file(folder.path(), "key", text)));
    let issued = log_in(&console, &by("k-1\n"), MANNER, &codes)
        .await
        .unwrap();
    assert_eq!(issued.access.expose(), "k-1");
    assert!(issued.refresh.is_none());
    assert_eq!(issued.lifetime, Duration::from_secs(24 * 60 * 60));
    let unfit = log_in(&console, &by("k\r\nX: y"), MANNER, &codes).await;
    assert!(matches!(unfit, Err(IssueError::Malformed(_))), "{unfit:?}");
    std::fs::remove_file(folder.path().join("key")).unwrap();
    let gone = login(Credentials::ApiKey(SecretSource::File(
        folder.path().join("key"),
    )));
    let gone = log_in(&console, &gone, MANNER, &codes).await.unwrap_err();
    assert_eq!(gone, IssueError::Unavailable(Outage::Internal));
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept());
    assert!(accepted.await.is_err());
}

#[tokio::test]
async fn the_second_half_of_a_login_is_given_up_when_its_challenge_is_over() {
    let (_listener, console) = silent().await;
    let code = Secret::new("code".to_owned());
    let grant = Grant::AuthorizationCode {
        code: &code,
        access: Access::Full,
    };
    let deadline = Instant::now() + Duration::from_millis(50);
    let late = exchange_until(&console, &grant, MANNER, deadline).await;
    assert_eq!(late.unwrap_err(), IssueError::Unavailable(Outage::TimedOut));
}
