use proptest::prelude::*;

use super::*;

fn fits(pattern: &str, text: &str) -> bool {
    pattern.parse::<Pattern>().unwrap().fits(text)
}

#[test]
fn a_pattern_is_the_whole_text_in_any_case_and_a_star_any_part_of_it() {
    for (pattern, text) in [
        ("acme", "Acme"),
        ("*", ""),
        ("*", "anything"),
        ("**", "x"),
        ("*logins*", "POST /users/{userUid}/Logins/apikey"),
        ("GET *", "get /users"),
        ("*/logins", "GET /users/logins"),
        ("a*b*c", "aXbYbZc"),
        ("a*a", "aa"),
        ("*ab*ab*", "xabab"),
        ("/a/**/c", "/a/b/c"),
        ("*é", "Zoé"),
    ] {
        assert!(fits(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [
        ("acme", "acme2"),
        ("acme", ""),
        ("a*a", "a"),
        ("ab*bc", "abc"),
        ("*ab*ab*", "xab"),
        ("GET *", "GET"),
        ("*x", "xy"),
        ("a*b*c", "acb"),
    ] {
        assert!(!fits(pattern, text), "{pattern} {text}");
    }
    assert!("".parse::<Pattern>().is_err());
}

/// A pattern by its definition: a star takes nothing, or one character and goes on.
fn by_definition(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', more @ ..], text) => {
            by_definition(more, text)
                || matches!(text, [_, rest @ ..] if by_definition(pattern, rest))
        }
        ([p, more @ ..], [t, rest @ ..]) => p.eq_ignore_ascii_case(t) && by_definition(more, rest),
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_fit_as_defined(pattern in "[abA*é]{1,6}", text in "[abBé]{0,7}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(fits(&pattern, &text), by_definition(&chars(&pattern), &chars(&text)));
    }
}

#[test]
fn a_status_is_one_a_class_or_a_range() {
    for (text, within, without) in [
        ("403", &[403][..], &[402, 404][..]),
        ("4xx", &[400, 499], &[399, 500]),
        ("5XX", &[500, 520], &[499]),
        ("400-403", &[400, 403], &[399, 404]),
        ("520-520", &[520], &[521]),
    ] {
        let statuses: Statuses = text.parse().unwrap();
        assert!(within.iter().all(|status| statuses.has(*status)), "{text}");
        assert!(
            !without.iter().any(|status| statuses.has(*status)),
            "{text}"
        );
    }
    for text in [
        "", "4", "4x", "xx", "0xx", "44xx", "+40", "403-", "-403", "500-400", "1000", "éxx", "ok",
    ] {
        assert!(text.parse::<Statuses>().is_err(), "{text}");
    }
}

#[test]
fn a_source_is_an_address_or_a_network() {
    for (text, within, without) in [
        ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("10.1.2.3", "::ffff:10.1.2.3", "::a01:203"),
        ("::ffff:10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
        ("10.1.7.7/16", "10.1.0.0", "10.0.255.255"),
        ("0.0.0.0/0", "255.1.1.1", "::1"),
        ("::/0", "fd00::1", "127.0.0.1"),
        ("fd00::/8", "fdff::1", "fe00::"),
        ("127.0.0.1/32", "127.0.0.1", "127.0.0.2"),
        ("::1/128", "::1", "::"),
    ] {
        let network: Network = text.parse().unwrap();
        assert!(network.has(within.parse().unwrap()), "{text} {within}");
        assert!(!network.has(without.parse().unwrap()), "{text} {without}");
    }
    for text in [
        "",
        "10.1",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
        "host",
        "1.2.3.4:5",
    ] {
        assert!(text.parse::<Network>().is_err(), "{text}");
    }
}

#[test]
fn a_moment_is_a_time_a_date_or_how_long_ago() {
    let now = Timestamp(1_772_600_767_000_089);
    let text = |text: &str| {
        let at = text.parse::<Moment>().unwrap().resolve(now).text();
        String::from_utf8(at.to_vec()).unwrap()
    };
    for (given, meant) in [
        ("2026-03-04T05:06:07Z", "2026-03-04T05:06:07.000000Z"),
        ("2026-03-04T05:06:07.5Z", "2026-03-04T05:06:07.500000Z"),
        ("2026-03-04T05:06:07.000089Z", "2026-03-04T05:06:07.000089Z"),
        ("2026-03-04T05:06:07+02:00", "2026-03-04T03:06:07.000000Z"),
        ("2026-03-04", "2026-03-04T00:00:00.000000Z"),
        ("0s", "2026-03-04T05:06:07.000089Z"),
        ("90s", "2026-03-04T05:04:37.000089Z"),
        ("30m", "2026-03-04T04:36:07.000089Z"),
        ("2h", "2026-03-04T03:06:07.000089Z"),
        ("7d", "2026-02-25T05:06:07.000089Z"),
        ("1w", "2026-02-25T05:06:07.000089Z"),
        ("99999d", "1970-01-01T00:00:00.000000Z"),
        ("1066-10-14", "1970-01-01T00:00:00.000000Z"),
    ] {
        assert_eq!(text(given), meant, "{given}");
    }
    for given in [
        "",
        "h",
        "2",
        "-2h",
        "+2h",
        "2 h",
        "2y",
        "1h30m",
        "2026-13-01",
        "2026-02-30",
        "2026-3-4",
        "yesterday",
        "2026-03-04T05:06:07",
        "99999999999999999d",
        "２h",
    ] {
        assert!(given.parse::<Moment>().is_err(), "{given}");
    }
}
