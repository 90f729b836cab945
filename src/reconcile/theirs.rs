//! What a console has logged, as the gateway would have recorded it.

use uuid::Uuid;

use super::compare::{Logged, What};
use crate::audit::Named;
use crate::vspc::directory::Activity;

/// What an entry is.
pub(super) enum Read {
    /// Something that is compared.
    Entry(Logged),
    /// Nothing that matters here.
    Other,
    /// Something by our account of which the console does not say what: it calls what the asked
    /// version of its interface does not know `unknown`.
    Unnamed,
}

/// Reads an entry, where `service` is the gateway's own account.
pub(super) fn read(activity: &Activity, service: Uuid, named: Named) -> Read {
    let is_service = activity.user == Some(service);
    let Some(what) = what(&activity.kind) else {
        let is_unnamed = activity.kind.is_empty() || activity.kind.eq_ignore_ascii_case("unknown");
        return if is_unnamed && is_service {
            Read::Unnamed
        } else {
            Read::Other
        };
    };
    let by_target = what == What::Impersonation && named == Named::Target;
    Read::Entry(Logged {
        what,
        at: activity.at.0,
        by: activity.user,
        organization: activity.organization,
        is_ours: is_service || by_target,
    })
}

/// The types that are compared.
fn what(kind: &str) -> Option<What> {
    Some(match kind {
        "LoginFailed" | "SSOLoginFailed" => What::FailedLogin,
        "LoginSuccessful" | "SsoLoginSuccesful" => What::Login,
        "UserImpersonationSuccessful" => What::Impersonation,
        "UserLoginTypeCreated" => What::IdentityCreated,
        "UserLoginTypeRemoved" => What::IdentityRemoved,
        "UserTokenRevoked" => What::Revocation,
        "CompanyUserCreated"
        | "CompanyUserModified"
        | "CompanyUserRemoved"
        | "CompanyUserRoleModified"
        | "CompanyUserStatusUpdated"
        | "UserRecordCreated"
        | "UserRecordDisabled"
        | "UserRecordEnabled"
        | "UserRecordModified"
        | "UserRecordRecreated"
        | "UserRecordRemoved" => What::User,
        _ => return None,
    })
}
