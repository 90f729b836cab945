//! `Location` and `Content-Location` headers, so that callers stay on the gateway.

use http::StatusCode;
use http::header::{CONTENT_LOCATION, HeaderMap, HeaderName, HeaderValue, LOCATION};

/// Rewrites the `Location` of an answer to the gateway's `origin` (`https://gw.example:8280`).
///
/// A 202 always names the console, by a name of its own liking. Other answers are rewritten when
/// they point at the console, as `console` tells of an authority, or name no host; what points
/// elsewhere is left alone and never followed. A `Content-Location` is rewritten when it names the
/// console.
pub(super) fn rewrite(
    headers: &mut HeaderMap,
    status: StatusCode,
    console: impl Fn(&str) -> bool,
    origin: impl FnOnce() -> String,
) {
    let target = |name: &HeaderName, status| {
        let location = headers.get(name)?.to_str().ok()?;
        new_target(location, status, &console)
    };
    let own = target(&LOCATION, status);
    let of_content = target(&CONTENT_LOCATION, StatusCode::OK);
    if own.is_none() && of_content.is_none() {
        return;
    }
    let origin = origin();
    let value = |target| HeaderValue::from_str(&format!("{origin}{target}")).ok();
    let (own, of_content) = (own.and_then(value), of_content.and_then(value));
    for (name, value) in [(LOCATION, own), (CONTENT_LOCATION, of_content)] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// The path and query to be put behind the gateway's origin; `None` to leave the header alone.
fn new_target(location: &str, status: StatusCode, console: impl Fn(&str) -> bool) -> Option<&str> {
    let after_scheme = ["https://", "http://", "//"].iter().find_map(|prefix| {
        location
            .get(..prefix.len())
            .filter(|start| start.eq_ignore_ascii_case(prefix))
            .and_then(|_| location.get(prefix.len()..))
    });
    let Some(rest) = after_scheme else {
        return location.starts_with('/').then_some(location);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end)?;
    let ours = status == StatusCode::ACCEPTED || console(authority);
    (ours && (target.is_empty() || target.starts_with('/'))).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(location: &str, status: u16) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_str(location).unwrap());
        let console = |authority: &str| {
            ["vspc.example", "vspc.example:1280"].contains(&&*authority.to_ascii_lowercase())
        };
        let status = StatusCode::from_u16(status).unwrap();
        rewrite(&mut headers, status, console, || {
            "https://gw.example".to_owned()
        });
        headers[LOCATION].to_str().unwrap().to_owned()
    }

    #[test]
    fn an_accepted_action_is_polled_at_the_gateway() {
        for host in [
            "vspc.example:1280",
            "VSPC-INTERNAL.example",
            "10.0.0.5:1280",
        ] {
            assert_eq!(
                rewritten(&format!("https://{host}/api/v3/asyncActions/1?x=/y"), 202),
                "https://gw.example/api/v3/asyncActions/1?x=/y"
            );
        }
    }

    #[test]
    fn where_the_content_is_is_told_as_the_gateway_has_it() {
        for (location, expected) in [
            ("https://vspc.example:1280/a?b", "https://gw.example/a?b"),
            ("/a?b", "https://gw.example/a?b"),
            ("https://10.0.0.5:1280/a", "https://10.0.0.5:1280/a"),
            ("sibling", "sibling"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LOCATION, HeaderValue::from_static(location));
            let console = |authority: &str| authority == "vspc.example:1280";
            rewrite(&mut headers, StatusCode::ACCEPTED, console, || {
                "https://gw.example".to_owned()
            });
            assert_eq!(headers[CONTENT_LOCATION], expected);
            assert!(!headers.contains_key(LOCATION));
        }
    }

    #[test]
    fn other_answers_are_rewritten_only_towards_the_console() {
        for (location, expected) in [
            ("https://vspc.example:1280/a", "https://gw.example/a"),
            ("HTTPS://VSPC.EXAMPLE/a", "https://gw.example/a"),
            ("//vspc.example:1280/a", "https://gw.example/a"),
            ("/a/b?c", "https://gw.example/a/b?c"),
            ("https://login.example/a", "https://login.example/a"),
            (
                "https://vspc.example.evil.test/a",
                "https://vspc.example.evil.test/a",
            ),
            (
                "https://vspc.example@evil.test/a",
                "https://vspc.example@evil.test/a",
            ),
            ("sibling", "sibling"),
            ("mailto:x", "mailto:x"),
        ] {
            assert_eq!(rewritten(location, 302), expected, "{location}");
        }
    }
}
