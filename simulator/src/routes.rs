//! The operations of the API, carried out with the rights of the caller.

mod activities;
mod keys;
mod logins;
mod organizations;
mod patch;
pub(crate) mod public;
mod test;
mod users;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::json;
use uuid::Uuid;

use crate::Shared;
use crate::activity::Kind;
use crate::answer::{self, ApiError, ErrorKind, Reply};
use crate::inbound::Inbound;
use crate::query::Query;
use crate::route::{Operation, Route};
use crate::world::Viewer;

/// A request whose caller is known.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) head: &'a Parts,
    pub(crate) route: Route,
    pub(crate) viewer: Viewer,
    pub(crate) query: Query,
    pub(crate) body: &'a mut Inbound,
}

impl Call<'_> {
    /// Returns the UID that the path names.
    fn uid(&self) -> Result<Uuid, ApiError> {
        self.route
            .uid
            .ok_or_else(|| ApiError::parameter("uid", "The value is not a UUID."))
    }

    /// Returns the identity that the path names.
    fn login(&self) -> Result<u64, ApiError> {
        self.route
            .login
            .ok_or_else(|| ApiError::parameter("userLoginId", "The value is not a number."))
    }

    /// Notes in the activity log what the caller did to something of an organization.
    fn note(&self, kind: Kind, organization: Option<Uuid>, what: &str) {
        let by = Some(self.viewer.uid);
        let activities = &self.shared.activities;
        activities.note(kind, by, organization, format!("{what}."));
    }

    /// Tells whether the body is said to be of a media type.
    fn has_type(&self, media_type: &str) -> bool {
        self.head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case(media_type))
    }
}

/// Carries an operation out.
pub(crate) async fn answer(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    match call.route.operation {
        Operation::About => about(call),
        Operation::ActivityLogs => activities::all(call),
        Operation::AddApiKey => logins::add_api_key(call),
        Operation::AddPublicKey => logins::add_public_key(call).await,
        Operation::AddTotp => logins::add_totp(call),
        Operation::Bytes => test::bytes(call),
        Operation::Companies => organizations::companies(call),
        Operation::Company => organizations::company(call),
        Operation::CreateUser => users::create(call).await,
        Operation::DeleteLogin => logins::delete(call),
        Operation::DeleteUser => users::delete(call),
        Operation::Echo => test::echo(call).await,
        Operation::Hop => Ok(test::hop()),
        Operation::Keys => logins::keys(call),
        Operation::Login => logins::one(call),
        Operation::Logins => logins::all(call),
        Operation::Me => users::me(call),
        Operation::MethodNotAllowed => Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorKind::Logical,
            "The method is not allowed for the path.",
        )),
        Operation::Organizations => organizations::all(call),
        Operation::OrganizationUsers => users::of_organization(call),
        Operation::PatchCompany => organizations::patch(call).await,
        Operation::PatchLogin => logins::patch(call).await,
        Operation::PatchUser => users::patch(call).await,
        Operation::RevokeTokens => users::revoke_tokens(call),
        Operation::RsaKey => keys::rsa(call),
        Operation::Sink => test::sink(call).await,
        Operation::Status => test::status(call),
        Operation::TotpSecret => keys::totp_secret(call),
        Operation::User => users::one(call),
        Operation::UserLogins => logins::of_user(call),
        Operation::Users => users::all(call),
        Operation::IsLogged
        | Operation::Outside
        | Operation::ResetPassword
        | Operation::ResetPasswordConfirm
        | Operation::SamlMetadata
        | Operation::Token
        | Operation::Unknown => Err(ApiError::not_found("The path")),
    }
}

fn about(call: &Call<'_>) -> Result<Reply, ApiError> {
    if !call.viewer.role.may_ask_about() {
        return Err(ApiError::forbidden(
            "The role does not allow the operation.",
        ));
    }
    Ok(answer::data(&json!({
        "installationId": "8a6f0c3e-2b57-4d19-9e84-6f1c2d3b4a50",
        "installationDate": "2024-05-01T08:00:00.0000000+00:00",
        "serverVersion": "9.3.0.34000",
        "actualVawVersion": "13.0.1.100",
        "actualValVersion": "13.0.1.100",
        "actualVamVersion": "13.0.1.100",
        "windowsManagementAgentVersion": "9.3.0.34000",
        "linuxManagementAgentVersion": "9.3.0.34000",
        "macManagementAgentVersion": "9.3.0.34000",
    })))
}
