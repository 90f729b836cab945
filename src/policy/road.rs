//! Roads of VSPC that stay closed until a rule names them.

use http::Method;

use crate::request::{CanonicalPath, Operation, RequestHead};

/// A road that no wildcard opens: a rule allows it only where one of its patterns spells out the
/// segments that make the road what it is.
#[derive(Debug, Eq, PartialEq)]
pub struct Road {
    /// How records name it, in place of a rule.
    pub name: &'static str,
    /// The road itself.
    pub road: &'static str,
    /// What would be open.
    pub why: &'static str,
}

/// Into the products behind the console.
static PROXY: Road = Road {
    name: "roads.proxy",
    road: "/proxy/**",
    why: "it leads into the backup servers behind the console, with the highest rights there",
};

/// Whatever else is outside the API.
static OUTSIDE: Road = Road {
    name: "roads.outside",
    road: "a path outside /api/v3",
    why: "it is no part of the REST API: nobody has said what it can do",
};

/// The console's keys.
static KEYS: Road = Road {
    name: "roads.keys",
    road: "/api/v3/authentication/keys/**",
    why: "its answers hold private keys and secrets of second factors",
};

/// Everybody out.
static TOKENS: Road = Road {
    name: "roads.tokens",
    road: "DELETE /api/v3/users/*/tokens",
    why: "it ends all sessions of a user, whoever holds them, and is costly for the console",
};

/// Ways past the gateway.
static LOGINS: Road = Road {
    name: "roads.logins",
    road: "POST /api/v3/users/*/logins/**",
    why: "it makes credentials that lead round the gateway, and that outlive it",
};

impl Road {
    /// All there are.
    pub const ALL: [&'static Self; 5] = [&PROXY, &OUTSIDE, &KEYS, &TOKENS, &LOGINS];

    /// The closed road that a request is on, and the places, from the left, of the segments that a
    /// pattern must spell out to name it.
    pub(super) fn of(head: &RequestHead<'_>) -> Option<(&'static Self, u32)> {
        match head.operation {
            Operation::AuthenticationKeys => Some((&KEYS, THIRD | FOURTH)),
            Operation::OutsideApi => Some(outside(&head.path)),
            Operation::Logins(_) | Operation::Plain | Operation::Token | Operation::TokenFree => {
                of_users(head.method, &head.path).map(|road| (road, THIRD | FIFTH))
            }
        }
    }
}

/// The part of the path that leads there.
fn outside(path: &CanonicalPath) -> (&'static Road, u32) {
    match path.segment_bytes().next() {
        Some(b"proxy") => (&PROXY, FIRST),
        Some(b"api") => (&OUTSIDE, FIRST | SECOND),
        _ => (&OUTSIDE, FIRST),
    }
}

fn of_users(method: &Method, path: &CanonicalPath) -> Option<&'static Road> {
    let road = match *method {
        Method::DELETE => &TOKENS,
        Method::POST => &LOGINS,
        _ => return None,
    };
    let mut segments = path.segment_bytes().skip(2);
    let (users, _user, third) = (segments.next()?, segments.next()?, segments.next()?);
    let is_on = match (users, third) {
        (b"users", b"tokens") => *method == Method::DELETE && segments.next().is_none(),
        (b"users", b"logins") => *method == Method::POST,
        _ => false,
    };
    is_on.then_some(road)
}

const FIRST: u32 = 1;
const SECOND: u32 = 1 << 1;
const THIRD: u32 = 1 << 2;
const FOURTH: u32 = 1 << 3;
const FIFTH: u32 = 1 << 4;
