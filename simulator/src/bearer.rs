//! Who is asking: the one bearer of a request, or the reason it is refused.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};

use crate::Shared;
use crate::tokens::Token;
use crate::world::Viewer;

/// Why a request was answered 401.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Ord, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The user of the token is disabled or deleted, or its company is or has no REST access.
    Disabled,
    /// There was more than one `Authorization` header.
    Duplicated,
    /// The token has outlived its life.
    Expired,
    /// A fault asked for the refusal.
    Fault,
    /// The header is not `Bearer` and one token.
    Malformed,
    /// There was no `Authorization` header.
    Missing,
    /// A refresh token was presented as an access token.
    RefreshToken,
    /// The token was revoked.
    Revoked,
    /// No such token was ever issued, or it is long forgotten.
    Unknown,
}

/// The user on whose behalf a request is carried out.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) viewer: Viewer,
    pub(crate) token: Arc<Token>,
}

/// Returns the caller that the headers' bearer stands for.
pub(crate) fn caller(shared: &Shared, headers: &HeaderMap) -> Result<Caller, Cause> {
    let token = shared.tokens.admit(presented(headers)?)?;
    let world = shared.world.read();
    let viewer = world
        .viewer(token.subject, shared.switches.as_disabled)
        .ok_or(Cause::Disabled)?;
    let excused = shared.switches.as_rest_disabled && token.is_lent();
    if !excused && !world.has_rest(viewer.organization) {
        return Err(Cause::Disabled);
    }
    Ok(Caller { viewer, token })
}

/// Returns the one bearer of the headers; the scheme is read without regard to case.
pub(crate) fn presented(headers: &HeaderMap) -> Result<&str, Cause> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Cause::Missing)?;
    if values.next().is_some() {
        return Err(Cause::Duplicated);
    }
    let value = value.to_str().map_err(|_| Cause::Malformed)?;
    let (scheme, rest) = value.split_once(' ').ok_or(Cause::Malformed)?;
    let token = rest.trim_matches(' ');
    let plain = !token.is_empty()
        && token
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b',');
    if scheme.eq_ignore_ascii_case("bearer") && plain {
        Ok(token)
    } else {
        Err(Cause::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(values: &[&str], expected: Result<&str, Cause>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(presented(&headers), expected);
    }

    #[test]
    fn the_scheme_is_read_without_regard_to_case() {
        check(&["Bearer abc"], Ok("abc"));
        check(&["bEARER abc"], Ok("abc"));
    }

    #[test]
    fn anything_but_one_bearer_is_refused() {
        check(&[], Err(Cause::Missing));
        check(&["Bearer abc", "Bearer abc"], Err(Cause::Duplicated));
        check(&["Bearer"], Err(Cause::Malformed));
        check(&["Bearer "], Err(Cause::Malformed));
        check(&["Basic abc"], Err(Cause::Malformed));
        check(&["abc"], Err(Cause::Malformed));
        check(&["Bearer a b"], Err(Cause::Malformed));
        check(&["Bearer a,Bearer b"], Err(Cause::Malformed));
    }
}
