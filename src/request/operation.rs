//! What a request asks for, as far as the gateway treats it differently.

use std::borrow::Cow;

use http::Method;
use uuid::Uuid;
use uuid::fmt::Simple;

use super::CanonicalPath;
use super::path::{API, segments_of};

/// What a request asks the console for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operation {
    /// `/api/v3/authentication/keys/**`: some of these answer with private keys, even to a GET.
    AuthenticationKeys,
    /// The `/users/logins` family: identities and their keys.
    Logins(LoginsCall),
    /// A path outside `/api/v3`.
    OutsideApi,
    /// Everything else under `/api/v3`.
    Plain,
    /// One of the operations that VSPC serves without a token.
    TokenFree,
    /// `/api/v3/token`: answered by the gateway, never forwarded.
    Token,
}

/// A call that reads, creates, changes or removes identities.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoginsCall {
    /// `PATCH /users/{userUid}/logins/{userLoginId}`
    Change {
        /// Whose identity.
        user: Option<Uuid>,
        /// Which identity.
        login: Option<i64>,
    },
    /// `POST /users/{userUid}/logins/apikey`
    CreateApiKey {
        /// For whom.
        user: Option<Uuid>,
    },
    /// `POST /users/{userUid}/logins/asymmetricalgorithm`
    CreateKeyPair {
        /// For whom.
        user: Option<Uuid>,
    },
    /// `POST /users/{userUid}/logins/totp`
    CreateTotp {
        /// For whom.
        user: Option<Uuid>,
    },
    /// `DELETE /users/{userUid}/logins/{userLoginId}`
    Delete {
        /// Whose identity.
        user: Option<Uuid>,
        /// Which identity.
        login: Option<i64>,
    },
    /// `GET /users/logins`
    ListAll,
    /// `GET /users/{userUid}/logins`
    ListOfUser {
        /// Whose identities.
        user: Option<Uuid>,
    },
    /// `GET /organizations/{organizationUid}/keys`
    OrganizationKeys,
    /// `GET /users/{userUid}/logins/{userLoginId}`
    Read {
        /// Whose identity.
        user: Option<Uuid>,
        /// Which identity.
        login: Option<i64>,
    },
    /// `DELETE /users/{userUid}/tokens`
    RevokeTokens {
        /// Whose tokens.
        user: Option<Uuid>,
    },
}

/// Whether a request must be on disk before it is sent: everything that may change something,
/// and reads that give out private keys.
pub fn needs_intent(method: &Method, operation: &Operation) -> bool {
    *operation == Operation::AuthenticationKeys
        || !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

impl Operation {
    pub(super) fn of(method: &Method, path: &CanonicalPath) -> Self {
        let Some(below) = path.within_api() else {
            return Self::OutsideApi;
        };
        // Most operations are told apart by that already.
        if !SPECIAL.iter().any(|first| below.starts_with(first)) {
            return Self::Plain;
        }
        let mut rest: [&[u8]; 6] = [b""; 6];
        let mut count = 0;
        for segment in segments_of(below) {
            if let Some(slot) = rest.get_mut(count) {
                *slot = segment;
            }
            count += 1;
        }
        if let [b"authentication", b"keys", ..] = rest {
            return Self::AuthenticationKeys;
        }
        let Some(rest) = rest.get(..count) else {
            return Self::Plain;
        };
        match (method.as_str(), rest) {
            (_, [b"token"]) => Self::Token,
            ("POST" | "PUT", [b"users", b"resetpassword"])
            | ("GET" | "HEAD", [b"plugins", b"user", b"islogged"])
            | (
                "GET" | "HEAD",
                [
                    b"organizations",
                    _,
                    b"identityproviders",
                    b"saml2",
                    _,
                    b"metadata",
                ],
            ) => Self::TokenFree,
            (method, rest) => LoginsCall::of(method, rest).map_or(Self::Plain, Self::Logins),
        }
    }

    /// The operation as audit records and explanations name it, e.g. `GET /users/logins`; ids in
    /// the path of other operations are written `{id}`.
    pub fn name(&self, method: &Method, path: &CanonicalPath) -> Cow<'static, str> {
        match self {
            Self::Logins(call) => Cow::Borrowed(call.name()),
            Self::Token => Cow::Owned(format!("{method} /token")),
            Self::OutsideApi => Cow::Owned(format!("{method} {}", path.as_str())),
            Self::AuthenticationKeys | Self::Plain | Self::TokenFree => {
                let below = path.as_str().get(API.len()..).unwrap_or_default();
                let mut name = String::with_capacity(method.as_str().len() + 1 + below.len());
                name.push_str(method.as_str());
                name.push(' ');
                if segments_of(below.as_bytes()).any(is_id) {
                    for segment in path.segments().skip(2) {
                        let is_id = is_id(segment.as_bytes());
                        name.push('/');
                        name.push_str(if is_id { "{id}" } else { segment });
                    }
                } else {
                    name.push_str(below);
                }
                Cow::Owned(name)
            }
        }
    }
}

impl LoginsCall {
    fn of(method: &str, rest: &[&[u8]]) -> Option<Self> {
        let uid = |text: &[u8]| Uuid::try_parse_ascii(text).ok();
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
        let call = match (method, rest) {
            ("GET" | "HEAD", [b"users", b"logins"]) => Self::ListAll,
            ("GET" | "HEAD", [b"users", user, b"logins"]) => Self::ListOfUser { user: uid(user) },
            ("POST", [b"users", user, b"logins", b"apikey"]) => {
                Self::CreateApiKey { user: uid(user) }
            }
            ("POST", [b"users", user, b"logins", b"asymmetricalgorithm"]) => {
                Self::CreateKeyPair { user: uid(user) }
            }
            ("POST", [b"users", user, b"logins", b"totp"]) => Self::CreateTotp { user: uid(user) },
            ("GET" | "HEAD", [b"users", user, b"logins", login]) => Self::Read {
                user: uid(user),
                login: number(login),
            },
            ("PATCH", [b"users", user, b"logins", login]) => Self::Change {
                user: uid(user),
                login: number(login),
            },
            ("DELETE", [b"users", user, b"logins", login]) => Self::Delete {
                user: uid(user),
                login: number(login),
            },
            ("GET" | "HEAD", [b"organizations", _, b"keys"]) => Self::OrganizationKeys,
            ("DELETE", [b"users", user, b"tokens"]) => Self::RevokeTokens { user: uid(user) },
            _ => return None,
        };
        Some(call)
    }

    /// The operation as VSPC's reference writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Change { .. } => "PATCH /users/{userUid}/logins/{userLoginId}",
            Self::CreateApiKey { .. } => "POST /users/{userUid}/logins/apikey",
            Self::CreateKeyPair { .. } => "POST /users/{userUid}/logins/asymmetricalgorithm",
            Self::CreateTotp { .. } => "POST /users/{userUid}/logins/totp",
            Self::Delete { .. } => "DELETE /users/{userUid}/logins/{userLoginId}",
            Self::ListAll => "GET /users/logins",
            Self::ListOfUser { .. } => "GET /users/{userUid}/logins",
            Self::OrganizationKeys => "GET /organizations/{organizationUid}/keys",
            Self::Read { .. } => "GET /users/{userUid}/logins/{userLoginId}",
            Self::RevokeTokens { .. } => "DELETE /users/{userUid}/tokens",
        }
    }

    /// Whose identity the path names, and which.
    pub fn named(&self) -> (Option<Uuid>, Option<i64>) {
        match *self {
            Self::Change { user, login }
            | Self::Delete { user, login }
            | Self::Read { user, login } => (user, login),
            Self::CreateApiKey { user }
            | Self::CreateKeyPair { user }
            | Self::CreateTotp { user }
            | Self::ListOfUser { user }
            | Self::RevokeTokens { user } => (user, None),
            Self::ListAll | Self::OrganizationKeys => (None, None),
        }
    }
}

fn is_id(segment: &[u8]) -> bool {
    segment.iter().all(u8::is_ascii_digit)
        || (segment.len() >= Simple::LENGTH && Uuid::try_parse_ascii(segment).is_ok())
}

/// How the paths of all operations begin, below `/api/v3`, that the gateway treats differently.
const SPECIAL: [&[u8]; 5] = [
    b"/authentication/",
    b"/organizations/",
    b"/plugins/",
    b"/token",
    b"/users/",
];
