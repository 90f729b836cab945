//! The activity log.

use serde_json::Value;
use uuid::Uuid;

use super::Call;
use crate::answer::{ApiError, Reply};
use crate::page;

/// Lists what users did, the latest first: the provider's own see all, others what is their
/// organization's.
pub(super) fn all(call: &Call<'_>) -> Result<Reply, ApiError> {
    let (user, organization) = (uid(call, "userUid")?, uid(call, "organizationUid")?);
    let ascending = match call.query.one("dateSortingDirection") {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("descending") => false,
        Some(text) if text.eq_ignore_ascii_case("ascending") => true,
        Some(_) => {
            let wrong = "The value must be ascending or descending.";
            return Err(ApiError::parameter("dateSortingDirection", wrong));
        }
    };
    let viewer = call.viewer;
    let mut found = call.shared.activities.those(|activity| {
        let of = activity.organization_uid;
        (viewer.role.is_portal() || of == Some(viewer.organization))
            && (organization.is_none() || organization == of)
            && (user.is_none() || user == activity.user_uid)
    });
    if !ascending {
        found.reverse();
    }
    let json = |activity| serde_json::to_value(activity).unwrap_or(Value::Null);
    page::answer(found.into_iter(), json, &call.query)
}

fn uid(call: &Call<'_>, name: &str) -> Result<Option<Uuid>, ApiError> {
    let parse = |text: &str| {
        let wrong = |_| ApiError::parameter(name, "The value is not a UUID.");
        text.parse().map_err(wrong)
    };
    call.query.one(name).map(parse).transpose()
}
