//! Which operation a method and a path name.

use http::Method;
use uuid::Uuid;

/// What the simulator can be asked; each has one name for counters and faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    About,
    ActivityLogs,
    AddApiKey,
    AddPublicKey,
    AddTotp,
    Bytes,
    Companies,
    Company,
    CreateUser,
    DeleteLogin,
    DeleteUser,
    Echo,
    Hop,
    IsLogged,
    Keys,
    Login,
    Logins,
    Me,
    MethodNotAllowed,
    Organizations,
    OrganizationUsers,
    Outside,
    PatchCompany,
    PatchLogin,
    PatchUser,
    ResetPassword,
    ResetPasswordConfirm,
    RevokeTokens,
    RsaKey,
    SamlMetadata,
    Sink,
    Status,
    Token,
    TotpSecret,
    Unknown,
    User,
    UserLogins,
    Users,
}

impl Operation {
    /// Returns the name that counters and faults use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::About => "GET /about",
            Self::ActivityLogs => "GET /eventLogs/activityLogs",
            Self::AddApiKey => "POST /users/{userUid}/logins/apikey",
            Self::AddPublicKey => "POST /users/{userUid}/logins/asymmetricalgorithm",
            Self::AddTotp => "POST /users/{userUid}/logins/totp",
            Self::Bytes => "GET /_test/bytes",
            Self::Companies => "GET /organizations/companies",
            Self::Company => "GET /organizations/companies/{companyUid}",
            Self::CreateUser => "POST /users",
            Self::DeleteLogin => "DELETE /users/{userUid}/logins/{userLoginId}",
            Self::DeleteUser => "DELETE /users/{userUid}",
            Self::Echo => "/_test/echo",
            Self::Hop => "GET /_test/hop",
            Self::IsLogged => "GET /plugins/user/islogged",
            Self::Keys => "GET /organizations/{organizationUid}/keys",
            Self::Login => "GET /users/{userUid}/logins/{userLoginId}",
            Self::Logins => "GET /users/logins",
            Self::Me => "GET /users/me",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Organizations => "GET /organizations",
            Self::OrganizationUsers => "GET /organizations/{organizationUid}/users",
            Self::Outside => "outside_api",
            Self::PatchCompany => "PATCH /organizations/companies/{companyUid}",
            Self::PatchLogin => "PATCH /users/{userUid}/logins/{userLoginId}",
            Self::PatchUser => "PATCH /users/{userUid}",
            Self::ResetPassword => "POST /users/resetpassword",
            Self::ResetPasswordConfirm => "PUT /users/resetpassword",
            Self::RevokeTokens => "DELETE /users/{userUid}/tokens",
            Self::RsaKey => "GET /authentication/keys/rsa",
            Self::SamlMetadata => {
                "GET /organizations/{organizationUid}/identityProviders/saml2/{name}/metadata"
            }
            Self::Sink => "POST /_test/sink",
            Self::Status => "GET /_test/status",
            Self::Token => "POST /token",
            Self::TotpSecret => "GET /authentication/keys/totp-secret",
            Self::Unknown => "unknown",
            Self::User => "GET /users/{userUid}",
            Self::UserLogins => "GET /users/{userUid}/logins",
            Self::Users => "GET /users",
        }
    }

    /// Tells whether the operation takes no token.
    pub(crate) fn is_public(self) -> bool {
        matches!(
            self,
            Self::IsLogged | Self::ResetPassword | Self::ResetPasswordConfirm | Self::SamlMetadata
        )
    }
}

/// An operation with what its path names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) operation: Operation,
    /// The user, company or organization of the path; `None` where it is no UUID.
    pub(crate) uid: Option<Uuid>,
    /// The identity of the path; `None` where it is no number.
    pub(crate) login: Option<u64>,
}

impl Route {
    /// Finds the operation of a path, given as decoded segments in lower case. `HEAD` is read as `GET`.
    pub(crate) fn of(method: &Method, segments: &[&str]) -> Self {
        let method = match method.as_str() {
            "HEAD" => "GET",
            other => other,
        };
        let ["api", "v3", path @ ..] = segments else {
            return Self::plain(Operation::Outside);
        };
        match path {
            ["users", rest @ ..] => users(method, rest),
            ["organizations", rest @ ..] => organizations(method, rest),
            ["_test", rest @ ..] => test(method, rest),
            ["authentication", "keys", "rsa"] => on(method, &[("GET", Operation::RsaKey)]),
            ["authentication", "keys", "totp-secret"] => {
                on(method, &[("GET", Operation::TotpSecret)])
            }
            ["eventlogs", "activitylogs"] => on(method, &[("GET", Operation::ActivityLogs)]),
            ["about"] => on(method, &[("GET", Operation::About)]),
            ["token"] => on(method, &[("POST", Operation::Token)]),
            ["plugins", "user", "islogged"] => on(method, &[("GET", Operation::IsLogged)]),
            _ => Self::plain(Operation::Unknown),
        }
    }

    fn plain(operation: Operation) -> Self {
        Self {
            operation,
            uid: None,
            login: None,
        }
    }

    fn at(self, uid: &str) -> Self {
        Self {
            uid: uid.parse().ok(),
            ..self
        }
    }
}

fn on(method: &str, operations: &[(&str, Operation)]) -> Route {
    let found = operations.iter().find(|(name, _)| *name == method);
    Route::plain(found.map_or(Operation::MethodNotAllowed, |(_, operation)| *operation))
}

fn users(method: &str, path: &[&str]) -> Route {
    match path {
        [] => on(
            method,
            &[("GET", Operation::Users), ("POST", Operation::CreateUser)],
        ),
        ["logins"] => on(method, &[("GET", Operation::Logins)]),
        ["me"] => on(method, &[("GET", Operation::Me)]),
        ["resetpassword"] => on(
            method,
            &[
                ("POST", Operation::ResetPassword),
                ("PUT", Operation::ResetPasswordConfirm),
            ],
        ),
        [uid] => on(
            method,
            &[
                ("GET", Operation::User),
                ("PATCH", Operation::PatchUser),
                ("DELETE", Operation::DeleteUser),
            ],
        )
        .at(uid),
        [uid, "tokens"] => on(method, &[("DELETE", Operation::RevokeTokens)]).at(uid),
        [uid, "logins"] => on(method, &[("GET", Operation::UserLogins)]).at(uid),
        [uid, "logins", "apikey"] => on(method, &[("POST", Operation::AddApiKey)]).at(uid),
        [uid, "logins", "asymmetricalgorithm"] => {
            on(method, &[("POST", Operation::AddPublicKey)]).at(uid)
        }
        [uid, "logins", "totp"] => on(method, &[("POST", Operation::AddTotp)]).at(uid),
        [uid, "logins", login] => {
            let route = on(
                method,
                &[
                    ("GET", Operation::Login),
                    ("PATCH", Operation::PatchLogin),
                    ("DELETE", Operation::DeleteLogin),
                ],
            );
            Route {
                login: login.parse().ok(),
                ..route.at(uid)
            }
        }
        _ => Route::plain(Operation::Unknown),
    }
}

fn organizations(method: &str, path: &[&str]) -> Route {
    match path {
        [] => on(method, &[("GET", Operation::Organizations)]),
        ["companies"] => on(method, &[("GET", Operation::Companies)]),
        ["companies", uid] => on(
            method,
            &[
                ("GET", Operation::Company),
                ("PATCH", Operation::PatchCompany),
            ],
        )
        .at(uid),
        [uid, "users"] => on(method, &[("GET", Operation::OrganizationUsers)]).at(uid),
        [uid, "keys"] => on(method, &[("GET", Operation::Keys)]).at(uid),
        [uid, "identityproviders", "saml2", _, "metadata"] => {
            on(method, &[("GET", Operation::SamlMetadata)]).at(uid)
        }
        _ => Route::plain(Operation::Unknown),
    }
}

fn test(method: &str, path: &[&str]) -> Route {
    match path {
        ["bytes"] => on(method, &[("GET", Operation::Bytes)]),
        ["echo"] => Route::plain(Operation::Echo),
        ["hop"] => on(method, &[("GET", Operation::Hop)]),
        ["sink"] => on(
            method,
            &[("POST", Operation::Sink), ("PUT", Operation::Sink)],
        ),
        ["status"] => Route::plain(Operation::Status),
        _ => Route::plain(Operation::Unknown),
    }
}
