//! The activity log.

use serde_json::Value;
use uuid::Uuid;

use super::Call;
use crate::answer::{ApiError, Reply};
use crate::{clock, page};

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
    match call.query.one("activityLogKind") {
        None | Some("External" | "Internal") => {}
        Some(_) => {
            let wrong = "The value must be External or Internal.";
            return Err(ApiError::parameter("activityLogKind", wrong));
        }
    }
    // All that is noted here is internal.
    let is_external = call.query.one("activityLogKind") == Some("External");
    let (from, to) = match call.shared.switches.activity_times {
        true => (time(call, "from")?, time(call, "to")?),
        false => (None, None),
    };
    let delay = i64::try_from(call.shared.switches.activity_delay_ms).unwrap_or(i64::MAX);
    let settled = clock::unix_millis().saturating_sub(delay);
    let viewer = call.viewer;
    let mut found = call.shared.activities.those(|activity| {
        let of = activity.organization_uid;
        !is_external
            && activity.at <= settled
            && from.is_none_or(|from| activity.at >= from)
            && to.is_none_or(|to| activity.at <= to)
            && (viewer.role.is_portal() || of == Some(viewer.organization))
            && (organization.is_none() || organization == of)
            && (user.is_none() || user == activity.user_uid)
    });
    if !ascending {
        found.reverse();
    }
    let json = |activity| {
        let told = serde_json::to_value(activity).unwrap_or(Value::Null);
        call.shape.finish(told)
    };
    page::answer(found.into_iter(), json, &call.query)
}

fn uid(call: &Call<'_>, name: &str) -> Result<Option<Uuid>, ApiError> {
    let parse = |text: &str| {
        let wrong = |_| ApiError::parameter(name, "The value is not a UUID.");
        text.parse().map_err(wrong)
    };
    call.query.one(name).map(parse).transpose()
}

/// Reads a time, in milliseconds since the Unix epoch.
fn time(call: &Call<'_>, name: &str) -> Result<Option<i64>, ApiError> {
    let parse = |text: &str| {
        let wrong = || ApiError::parameter(name, "The value is not a date and time.");
        clock::parse_millis(text).ok_or_else(wrong)
    };
    call.query.one(name).map(parse).transpose()
}
