//! What a request asks for, as far as the gateway treats it differently.

use std::borrow::Cow;

use http::Method;
use uuid::Uuid;
use uuid::fmt::Simple;

use super::CanonicalPath;

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
        if !path.is_in_api() {
            return Self::OutsideApi;
        }
        let mut rest = [""; 6];
        let mut count = 0;
        for segment in path.segments().skip(2) {
            if let Some(slot) = rest.get_mut(count) {
                *slot = segment;
            }
            count += 1;
        }
        if let ["authentication", "keys", ..] = rest {
            return Self::AuthenticationKeys;
        }
        let Some(rest) = rest.get(..count) else {
            return Self::Plain;
        };
        match (method.as_str(), rest) {
            (_, ["token"]) => Self::Token,
            ("POST" | "PUT", ["users", "resetpassword"])
            | ("GET" | "HEAD", ["plugins", "user", "islogged"])
            | (
                "GET" | "HEAD",
                [
                    "organizations",
                    _,
                    "identityproviders",
                    "saml2",
                    _,
                    "metadata",
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
                let mut name = String::with_capacity(64);
                name.push_str(method.as_str());
                name.push(' ');
                for segment in path.segments().skip(2) {
                    name.push('/');
                    name.push_str(if is_id(segment) { "{id}" } else { segment });
                }
                Cow::Owned(name)
            }
        }
    }
}

impl LoginsCall {
    fn of(method: &str, rest: &[&str]) -> Option<Self> {
        let uid = |text: &str| Uuid::try_parse(text).ok();
        let call = match (method, rest) {
            ("GET" | "HEAD", ["users", "logins"]) => Self::ListAll,
            ("GET" | "HEAD", ["users", user, "logins"]) => Self::ListOfUser { user: uid(user) },
            ("POST", ["users", user, "logins", "apikey"]) => Self::CreateApiKey { user: uid(user) },
            ("POST", ["users", user, "logins", "asymmetricalgorithm"]) => {
                Self::CreateKeyPair { user: uid(user) }
            }
            ("POST", ["users", user, "logins", "totp"]) => Self::CreateTotp { user: uid(user) },
            ("GET" | "HEAD", ["users", user, "logins", login]) => Self::Read {
                user: uid(user),
                login: login.parse().ok(),
            },
            ("PATCH", ["users", user, "logins", login]) => Self::Change {
                user: uid(user),
                login: login.parse().ok(),
            },
            ("DELETE", ["users", user, "logins", login]) => Self::Delete {
                user: uid(user),
                login: login.parse().ok(),
            },
            ("GET" | "HEAD", ["organizations", _, "keys"]) => Self::OrganizationKeys,
            ("DELETE", ["users", user, "tokens"]) => Self::RevokeTokens { user: uid(user) },
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

fn is_id(segment: &str) -> bool {
    segment.bytes().all(|b| b.is_ascii_digit())
        || (segment.len() >= Simple::LENGTH && Uuid::try_parse(segment).is_ok())
}
