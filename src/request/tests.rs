use http::{HeaderName, HeaderValue, Method, Request};
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;

fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .body(())
        .unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request
            .headers_mut()
            .append(name, HeaderValue::from_str(value).unwrap());
    }
    request.into_parts().0
}

fn fault(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<HeadFault> {
    let mut all = vec![("host", "gw.example:8280")];
    all.extend_from_slice(headers);
    RequestHead::parse(&parts(method, target, &all), &Limits::default()).err()
}

fn canonical(raw: &str) -> Result<String, PathFault> {
    CanonicalPath::parse(raw).map(|path| path.as_str().to_owned())
}

#[test]
fn plain_paths_are_folded_to_one_spelling() {
    for (raw, expected) in [
        ("/", "/"),
        ("/api/v3/users", "/api/v3/users"),
        ("/API/V3/Users/", "/api/v3/users"),
        ("/api/v3/%75sers", "/api/v3/users"),
        ("/api/v3/billing/settings/", "/api/v3/billing/settings"),
        ("/api/v3/a%20b", "/api/v3/a b"),
        ("/api/v3/b%C3%BCro", "/api/v3/büro"),
        ("/api/v3/B%C3%9CRO", "/api/v3/büro"),
        ("/api/v3/a.b/c", "/api/v3/a.b/c"),
        ("/api/v3/100%25", "/api/v3/100%"),
        ("/api/v3/[x]{y}|'", "/api/v3/[x]{y}|'"),
    ] {
        assert_eq!(canonical(raw).as_deref(), Ok(expected), "{raw}");
    }
}

#[test]
fn as_many_header_lines_pass_as_a_console_takes() {
    let many = |count| vec![("x-many", "1"); count];
    // One more is the host.
    assert_eq!(fault("GET", "/api/v3/users", &many(99)), None);
    let found = fault("GET", "/api/v3/users", &many(100));
    assert_eq!(found, Some(HeadFault::HeadTooLarge));
}

#[test]
fn paths_with_two_readings_are_refused() {
    for raw in [
        "//api",
        "/api//v3",
        "/api/v3//",
        "/api/./v3",
        "/api/../v3",
        "/api/v3/..",
        "/api/v3/.",
        "/api/%2e%2e/v3",
        "/api/%2E/v3",
        "/api%2fv3",
        "/api%2Fv3",
        "/api%5cv3",
        "/api\\v3",
        "/api/..;/v3",
        "/api;x=1/v3",
        "/api%3bx/v3",
        "/api/v3/%00",
        "/api/v3/%0d%0a",
        "/api/v3/%7f",
        "/api/%252e%252e/v3",
        "/api/v3/users%252f",
        "/api/v3/users%25%32%66logins",
        "/api/v3/%25%32%65%25%32%65/users",
        "/api/v3/users%25%35%63logins",
        "/api/v3/%25%32f",
        "/api/%c0%ae%c0%ae/v3",
        "/api/v3/users.",
        "/api/v3/users./x",
        "/api/v3/users%20",
        "/api/v3/users%20/x",
        "/api/v3/u%C5%BFers",
        "/api/v3/%E2%84%AAeys",
        "/api/v3/%C2%A0",
        "/api/v3/%ff",
        "/api/v3/stra\u{1e9e}e",
        "/api/v3/\u{3c2}",
        "/api/v3/\u{b5}",
        "/api/v3/\u{212b}",
    ] {
        assert_eq!(canonical(raw), Err(PathFault::Ambiguous), "{raw}");
    }
    for raw in ["", "api", "*", "/a%", "/a%2", "/a%zz", "/a%2g"] {
        assert_eq!(canonical(raw), Err(PathFault::Malformed), "{raw}");
    }
}

#[test]
fn letters_that_fold_to_one_are_one_to_every_reader() {
    let simple = |c: char, cases: &mut dyn Iterator<Item = char>| match (cases.next(), cases.next())
    {
        (Some(case), None) => case,
        _ => c,
    };
    let mut of_upper = std::collections::HashMap::new();
    let has_case = |c: &char| !c.to_lowercase().eq([*c]) || !c.to_uppercase().eq([*c]);
    for c in ('\u{80}'..=char::MAX).filter(has_case) {
        let Ok(path) = CanonicalPath::parse(&format!("/{c}")) else {
            continue;
        };
        let again = CanonicalPath::parse(path.as_str());
        assert_eq!(again.as_ref(), Ok(&path), "{c:?} folded twice");
        // As .NET compares: by the upper case of each letter.
        let upper = simple(c, &mut c.to_uppercase());
        let first = of_upper.entry(upper).or_insert_with(|| path.clone());
        assert_eq!(*first, path, "{c:?} is {upper:?} to the console");
        let lower = path.as_str().chars().last().unwrap();
        assert_eq!(simple(lower, &mut lower.to_uppercase()), upper, "{c:?}");
    }
    assert!(of_upper.len() > 1_000);
}

#[test]
fn heads_are_refused_for_what_is_wrong_with_them() {
    let ok = "/api/v3/users";
    for (method, target, headers, expected) in [
        ("GET", ok, &[][..], None),
        ("TRACE", ok, &[], Some(HeadFault::Method)),
        ("CONNECT", "gw.example:8280", &[], Some(HeadFault::Method)),
        ("BREW", ok, &[], Some(HeadFault::Method)),
        ("GET", "/api/../v3", &[], Some(HeadFault::AmbiguousPath)),
        ("GET", "/api/v3/%zz", &[], Some(HeadFault::Target)),
        ("OPTIONS", "*", &[], Some(HeadFault::Target)),
        (
            "GET",
            "/api/v3/users?api_key=abc",
            &[],
            Some(HeadFault::KeyInQuery),
        ),
        (
            "GET",
            "/api/v3/users?a=1&X-Api-Key=abc",
            &[],
            Some(HeadFault::KeyInQuery),
        ),
        (
            "GET",
            "/api/v3/users?x=vgk_abc",
            &[],
            Some(HeadFault::KeyInQuery),
        ),
        (
            "GET",
            "/api/v3/users?vgk_abc",
            &[],
            Some(HeadFault::KeyInQuery),
        ),
        (
            "GET",
            "/api/v3/users?sort=%76gk_abc",
            &[],
            Some(HeadFault::KeyInQuery),
        ),
        (
            "GET",
            "/api/v3/users?%61ccess_token=x",
            &[],
            Some(HeadFault::KeyInQuery),
        ),
        ("GET", "/api/v3/users?path=../../x//y;z", &[], None),
        ("POST", ok, &[("expect", "100-Continue")], None),
        (
            "POST",
            ok,
            &[("expect", "200-ok")],
            Some(HeadFault::Expectation),
        ),
        (
            "POST",
            ok,
            &[("expect", "100-continue"), ("expect", "100-continue")],
            Some(HeadFault::Expectation),
        ),
        (
            "POST",
            ok,
            &[("content-length", "+5")],
            Some(HeadFault::Length),
        ),
        (
            "POST",
            ok,
            &[("content-length", "99999999999999999999")],
            Some(HeadFault::Length),
        ),
        (
            "POST",
            ok,
            &[("content-length", "1073741825")],
            Some(HeadFault::BodyTooLarge),
        ),
        ("GET", "http://gw.example:8280/api/v3/users", &[], None),
        (
            "GET",
            "http://other.example/api/v3/users",
            &[],
            Some(HeadFault::Host),
        ),
        (
            "GET",
            "ftp://gw.example:8280/api/v3/users",
            &[],
            Some(HeadFault::Target),
        ),
        (
            "GET",
            ok,
            &[("host", "gw.example:8280")],
            Some(HeadFault::Host),
        ),
    ] {
        assert_eq!(
            fault(method, target, headers),
            expected,
            "{method} {target} {headers:?}"
        );
    }
    let long = format!("/api/v3/{}", "a".repeat(17 * 1024));
    assert_eq!(fault("GET", &long, &[]), Some(HeadFault::TargetTooLong));
}

#[test]
fn hosts_are_checked_against_grammar_and_names() {
    let limits = Limits {
        names: vec!["gw.example".to_owned()],
        ..Limits::default()
    };
    let read = |host: &str| {
        RequestHead::parse(&parts("GET", "/api/v3/x", &[("host", host)]), &limits).err()
    };
    assert_eq!(read("gw.example"), None);
    assert_eq!(read("GW.example:1234"), None);
    assert_eq!(read("other.example"), Some(HeadFault::WrongHost));
    for bad in [
        "",
        "a b",
        "user@gw.example",
        "gw.example/x",
        "gw.example:",
        "gw.example:99999",
        "gw.example,gw.example",
        "\"gw\"",
        "gw%2eexample",
        "[::1",
    ] {
        assert_eq!(read(bad), Some(HeadFault::Host), "{bad}");
    }
    let any = Limits::default();
    let six = parts("GET", "/api/v3/x", &[("host", "[::1]:8280")]);
    assert!(RequestHead::parse(&six, &any).is_ok());
    assert_eq!(
        RequestHead::parse(&parts("GET", "/api/v3/x", &[]), &any).err(),
        Some(HeadFault::Host)
    );
}

#[test]
fn operations_are_told_apart_in_any_spelling() {
    let user = "b3ffc78b-7982-44f3-ae66-1384415f2bea";
    let named = |method: &str, raw: &str| {
        let path = CanonicalPath::parse(raw).unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let operation = Operation::of(&method, &path);
        let name = operation.name(&method, &path).into_owned();
        (operation, name)
    };
    assert_eq!(named("POST", "/api/v3/Token").0, Operation::Token);
    assert_eq!(named("GET", "/API/v3/%74oken/").0, Operation::Token);
    assert_eq!(named("GET", "/api/v3").0, Operation::Plain);
    assert_eq!(named("GET", "/api/v33/users").0, Operation::OutsideApi);
    assert_eq!(named("GET", "/proxy/x").0, Operation::OutsideApi);
    assert_eq!(named("GET", "/api/v3/Users/Logins").1, "GET /users/logins");
    let (operation, name) = named("DELETE", &format!("/api/v3/users/{user}/logins/42"));
    assert_eq!(name, "DELETE /users/{userUid}/logins/{userLoginId}");
    assert_eq!(
        operation,
        Operation::Logins(LoginsCall::Delete {
            user: user.parse().ok(),
            login: Some(42)
        })
    );
    assert_eq!(
        named(
            "GET",
            &format!("/api/v3/organizations/companies/{user}/sites/7")
        )
        .1,
        "GET /organizations/companies/{id}/sites/{id}"
    );
    assert_eq!(
        named("PUT", "/api/v3/users/resetpassword").0,
        Operation::TokenFree
    );
    assert_eq!(
        named("GET", "/api/v3/authentication/keys/rsa").0,
        Operation::AuthenticationKeys
    );
    assert_eq!(named("GET", "/api/v3/a/b/c/d/e/f/g/h").0, Operation::Plain);
}

#[test]
fn what_may_change_something_needs_an_intent() {
    let need = |method: Method, raw: &str| {
        let path = CanonicalPath::parse(raw).unwrap();
        needs_intent(&method, &Operation::of(&method, &path))
    };
    assert!(!need(Method::GET, "/api/v3/users"));
    assert!(!need(Method::HEAD, "/api/v3/users"));
    assert!(!need(Method::OPTIONS, "/api/v3/users"));
    assert!(need(Method::POST, "/api/v3/users"));
    assert!(need(Method::PATCH, "/api/v3/users/1"));
    assert!(need(Method::GET, "/api/v3/authentication/keys/rsa"));
    assert!(need(
        Method::GET,
        "/api/v3/authentication/keys/a/b/c/d/e/f/g"
    ));
}

#[test]
fn request_ids_are_unique_and_ordered_by_time() {
    let ids: std::collections::HashSet<_> = (0..10_000)
        .map(|_| RequestId::new(Timestamp(1_700_000_000_000_000)).to_string())
        .collect();
    assert_eq!(ids.len(), 10_000);
    let (early, late) = (
        Timestamp(1_700_000_000_000_000),
        Timestamp(1_700_000_000_001_000),
    );
    assert!(RequestId::new(early).as_str() < RequestId::new(late).as_str());
}

proptest! {
    #[test]
    fn canonical_paths_are_idempotent(raw in "/[a-zA-Z0-9%./;\\\\ -ÿ]{0,40}") {
        if let Ok(once) = canonical(&raw) {
            // A second reader may refuse what the first one made of it, never read it differently.
            if let Ok(twice) = canonical(&once.replace(' ', "%20")) {
                prop_assert_eq!(twice, once);
            }
        }
    }

    #[test]
    fn no_canonical_path_has_a_second_reading(raw in "/[a-c%0-9.eEfF/;\\\\]{0,24}") {
        if let Ok(path) = canonical(&raw) {
            prop_assert!(!path.contains("//") && !path.contains('\\') && !path.contains(';'));
            prop_assert!(path.split('/').all(|segment| !segment.ends_with('.')));
        }
    }

    #[test]
    fn keys_in_queries_are_found_as_by_decoding_all_of_it(
        query in "([&=]|vgk_|eyj|Ey|%[46]5|%76|\\.|api|Key|access_|to%6Ben|x-?|authorization|[a-z%_]){0,10}",
    ) {
        prop_assert_eq!(carries_key(&query), carries_key_decoded(&query), "{}", query);
    }

    #[test]
    fn keys_in_paths_are_found_as_by_looking_at_all_of_it(
        raw in "(/|vgk_|eyj|E|\\.a|[a-z]){0,10}",
    ) {
        if let Ok(path) = CanonicalPath::parse(&format!("/{raw}")) {
            let mut segments = path.segments();
            let decoded = segments.any(|segment| is_credential(segment.bytes()));
            prop_assert_eq!(path.segment_bytes().any(is_plain_key), decoded);
        }
    }
}

/// The same without a look at how names and values begin.
fn carries_key_decoded(query: &str) -> bool {
    let decoded = |text| percent_encoding::percent_decode_str(text);
    let letters = |name| -> Vec<u8> {
        let letters = decoded(name).filter(u8::is_ascii_alphanumeric);
        letters.map(|byte| byte.to_ascii_lowercase()).collect()
    };
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        is_credential(decoded(name))
            || is_credential(decoded(value))
            || KEY_PARAMETERS
                .iter()
                .any(|key| letters(name) == key.as_bytes())
    })
}
