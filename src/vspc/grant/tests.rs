use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;

/// Where an answer does not say.
const LIFE: Duration = Duration::from_secs(300);
const JSON: Option<&str> = Some("application/json; charset=utf-8");
const TARGET: Subject = Subject(Uuid::from_u128(0xb3ff_c78b_7982_44f3_ae66_1384_415f_2bea));

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn parse_back(form: &Secret) -> Vec<(String, String)> {
    let text = |part: &str| percent_decode_str(part).decode_utf8().unwrap().into_owned();
    form.expose()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn read(body: &str) -> Result<Issued, IssueError> {
    parse_answer(200, JSON, None, body.as_bytes(), LIFE)
}

fn malformed(body: &str) -> bool {
    matches!(read(body), Err(IssueError::Malformed(_)))
}

#[test]
fn impersonation_names_the_target_in_camel_case() {
    let refresh = secret("r/1+2=");
    let grant = |access| Grant::Impersonate {
        refresh: &refresh,
        target: TARGET,
        access,
    };
    assert_eq!(
        grant(Access::Full).form().expose(),
        "grant_type=as&refresh_token=r%2F1%2B2%3D&userUid=b3ffc78b-7982-44f3-ae66-1384415f2bea"
    );
    assert!(
        grant(Access::ReadOnly)
            .form()
            .expose()
            .ends_with("2bea&readOnly=true")
    );
}

#[test]
fn the_other_grants_ask_for_what_they_are() {
    let token = secret("abc");
    assert_eq!(
        Grant::Refresh {
            refresh: &token,
            access: Access::Full,
        }
        .form()
        .expose(),
        "grant_type=refresh_token&refresh_token=abc"
    );
    let login = Grant::Password {
        username: r"DOMAIN\svc",
        password: &token,
        access: Access::Full,
    };
    assert_eq!(
        login.form().expose(),
        "grant_type=password&username=DOMAIN%5Csvc&password=abc"
    );
}

#[test]
fn every_way_to_log_in_can_ask_for_a_token_that_only_reads() {
    let (token, code) = (secret("abc"), secret("123456"));
    let access = Access::ReadOnly;
    let username = "u";
    for (grant, expected) in [
        (
            Grant::Password {
                username,
                password: &token,
                access,
            },
            "grant_type=password&username=u&password=abc&readOnly=true",
        ),
        (
            Grant::Mfa {
                token: &token,
                code: &code,
                access,
            },
            "grant_type=mfa&mfa_token=abc&mfa_code=123456&readOnly=true",
        ),
        (
            Grant::PublicKey {
                key: "a+b=",
                access,
            },
            "grant_type=public_key&public_key=a%2Bb%3D&readOnly=true",
        ),
        (
            Grant::AuthorizationCode {
                code: &code,
                access,
            },
            "grant_type=authorization_code&code=123456&readOnly=true",
        ),
    ] {
        assert_eq!(grant.form().expose(), expected);
    }
}

#[test]
fn a_second_step_gives_what_it_needs_and_stands_beside_no_token() {
    let read = |body: &str| {
        let step = parse_second_step(body.as_bytes())?;
        let text = |secret: Option<Secret>| secret.map(|secret| secret.expose().to_owned());
        Some((text(step.mfa_token), text(step.encrypted_code)))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        read(r#"{"access_token":null,"mfa_token":"m","encrypted_code":""}"#),
        Some((text("m"), None))
    );
    assert_eq!(
        read(r#"{"access_token":null,"encrypted_code":"c"}"#),
        Some((None, text("c")))
    );
    assert_eq!(read(r#"{"access_token":"a","mfa_token":"m"}"#), None);
    assert_eq!(read(r#"{"refresh_token":"r","encrypted_code":"c"}"#), None);
    assert_eq!(read("{}"), None);
}

proptest! {
    #[test]
    fn any_name_and_password_reads_back(username in "\\PC{0,40}", password in ".{0,80}") {
        let hidden = secret(&password);
        let form = Grant::Password { username: &username, password: &hidden, access: Access::Full }.form();
        prop_assert!(form.expose().is_ascii());
        let fields = parse_back(&form);
        prop_assert_eq!(fields, vec![
            ("grant_type".to_owned(), "password".to_owned()),
            ("username".to_owned(), username),
            ("password".to_owned(), password),
        ]);
    }

    #[test]
    fn no_answer_makes_the_reader_panic_or_leak(status in 100_u16..600, body in ".{0,200}") {
        let canary = "canary-".repeat(8);
        let body = format!(r#"{{"access_token":1,"error":"{canary}","error_description":"{canary} {body}"}}"#);
        if let Err(error) = parse_answer(status, JSON, None, body.as_bytes(), LIFE) {
            let shown = format!("{error} {error:?}");
            prop_assert!(!shown.contains("canary"));
        }
    }
}

#[test]
fn a_plain_answer_is_a_token() {
    let issued = read(
        r#"{"access_token":"aaa.bbb.ccc","token_type":"bearer","refresh_token":"rrr",
            "mfa_token":null,"encrypted_code":null,"expires_in":3600}"#,
    )
    .unwrap();
    assert_eq!(issued.access.expose(), "aaa.bbb.ccc");
    assert_eq!(issued.refresh.as_ref().unwrap().expose(), "rrr");
    assert_eq!(issued.lifetime, Duration::from_secs(3600));
    assert!(!format!("{issued:?}").contains("aaa"));
}

#[test]
fn lifetimes_are_read_from_numbers_and_digits_only() {
    let with = |value: &str| read(&format!(r#"{{"access_token":"a","expires_in":{value}}}"#));
    for (value, seconds) in [
        ("900", 900),
        ("900.7", 900),
        (r#""900""#, 900),
        ("null", 300),
        ("86401", 86_400),
        ("18446744073709551616", 86_400),
        ("1e300", 86_400),
        (r#""99999999999999999999999""#, 86_400),
    ] {
        assert_eq!(
            with(value).unwrap().lifetime,
            Duration::from_secs(seconds),
            "{value}"
        );
    }
    assert_eq!(
        read(r#"{"access_token":"a"}"#).unwrap().lifetime,
        Duration::from_secs(300)
    );
    for value in [
        "0", "-1", "0.5", "true", "[]", "{}", r#""""#, r#""-1""#, r#""1h""#, "1e999",
    ] {
        assert!(
            matches!(with(value), Err(IssueError::Malformed(_))),
            "{value}"
        );
    }
}

#[test]
fn what_no_header_can_carry_is_no_token() {
    for token in [
        "",
        " ",
        "a b",
        "a\\r\\nX: y",
        "a\\u0000",
        "a\\u00e4",
        "a\\t",
    ] {
        assert!(
            malformed(&format!(r#"{{"access_token":"{token}"}}"#)),
            "{token}"
        );
    }
    assert!(malformed(&format!(
        r#"{{"access_token":"{}"}}"#,
        "a".repeat(20_000)
    )));
    assert!(malformed(r#"{"access_token":"a","refresh_token":"r\n"}"#));
}

#[test]
fn answers_that_are_not_strict_json_objects_are_malformed() {
    for body in [
        "",
        "null",
        "<html>ok</html>",
        r#"["a","b",1,"c","d","bearer"]"#,
        r#"{"access_token":"a",}"#,
        r#"{"access_token":"a"} x"#,
        r#"{"access_token":"a","access_token":"b"}"#,
        r#"{"access_token":["a"]}"#,
        r#"{"access_token":null}"#,
        r#"{}"#,
        r#"{"access_token":"a","token_type":"mac"}"#,
    ] {
        assert!(malformed(body), "{body}");
    }
    let deep = format!(
        r#"{{"access_token":"a","x":{}{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    assert!(malformed(&deep));
    let large = format!(r#"{{"access_token":"a","x":"{}"}}"#, "y".repeat(70_000));
    assert!(malformed(&large));
}

#[test]
fn another_content_type_or_status_is_malformed() {
    let body = br#"{"access_token":"a"}"#;
    let with = |status, kind| parse_answer(status, kind, None, body, LIFE);
    assert!(with(200, None).is_ok());
    assert!(with(200, Some("APPLICATION/JSON")).is_ok());
    for kind in ["text/html", "application/jsonp", ""] {
        assert!(
            matches!(with(200, Some(kind)), Err(IssueError::Malformed(_))),
            "{kind}"
        );
    }
    for status in [100, 201, 202, 204, 302, 404, 415] {
        assert!(
            matches!(with(status, JSON), Err(IssueError::Malformed(_))),
            "{status}"
        );
    }
}

#[test]
fn a_challenge_is_not_a_token() {
    let of = |body| read(body).unwrap_err();
    let mfa = IssueError::Challenge(Challenge::MfaRequired);
    assert_eq!(of(r#"{"access_token":null,"mfa_token":"m"}"#), mfa);
    assert_eq!(of(r#"{"access_token":"a","mfa_token":"m"}"#), mfa);
    let key = IssueError::Challenge(Challenge::KeyChallenge);
    assert_eq!(of(r#"{"access_token":null,"encrypted_code":"c"}"#), key);
    assert!(read(r#"{"access_token":"a","mfa_token":""}"#).is_ok());
}

#[test]
fn a_refusal_keeps_the_code_and_cleans_the_words() {
    let refusal = |status, body: &str| match parse_answer(status, JSON, None, body.as_bytes(), LIFE)
    {
        Err(IssueError::Refused { error, description }) => {
            (error.to_string(), description.to_string())
        }
        other => panic!("{other:?}"),
    };
    let pair = |error: &str, words: &str| (error.to_owned(), words.to_owned());
    assert_eq!(
        refusal(
            400,
            r#"{"error":"invalid_request","error_description":"bad\r\nname\u202e","error_uri":null}"#
        ),
        pair("invalid_request", "bad name")
    );
    assert_eq!(
        refusal(401, r#"{"errors":[{"message":"log in first","code":401}]}"#),
        pair("unnamed", "log in first")
    );
    assert_eq!(refusal(400, "<html>"), pair("unreadable", ""));
    assert_eq!(refusal(403, ""), pair("unreadable", ""));
    let quoting = format!(
        r#"{{"error":"e","error_description":"token '{}' is dead"}}"#,
        "x".repeat(60)
    );
    assert_eq!(refusal(400, &quoting), pair("e", "token [cut] is dead"));
    let long = format!(
        r#"{{"error":"{}","error_description":"{}"}}"#,
        "e, ".repeat(90),
        "w ".repeat(900)
    );
    let (code, words) = refusal(400, &long);
    assert!(code.len() <= 64 && words.chars().count() == 256);
}

#[test]
fn throttling_obeys_the_body_then_the_header_then_a_default() {
    let wait = |header, body: &str| match parse_answer(429, JSON, header, body.as_bytes(), LIFE) {
        Err(IssueError::Throttled { retry_after }) => retry_after.as_secs(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        wait(Some("9"), r#"{"errors":[{"code":429,"retryAfter":7}]}"#),
        7
    );
    assert_eq!(wait(None, r#"{"errors":[{"retryAfter":"8"}]}"#), 8);
    assert_eq!(wait(Some("9"), "{}"), 9);
    assert_eq!(wait(Some("Wed, 21 Oct 2026 07:28:00 GMT"), ""), 5);
    assert_eq!(wait(None, r#"{"errors":[{"retryAfter":99999}]}"#), 300);
    assert_eq!(wait(None, r#"{"errors":[{"retryAfter":0}]}"#), 1);
}

#[test]
fn server_errors_are_outages() {
    for status in [408, 500, 502, 503, 520, 599] {
        let error = parse_answer(status, None, None, b"", LIFE).unwrap_err();
        assert_eq!(error, IssueError::Unavailable(Outage::Status(status)));
    }
}
