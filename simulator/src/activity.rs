//! The activity log: what users did, as the console tells it.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use crate::clock;

/// How many entries are kept; older ones are forgotten.
const MOST: usize = 10_000;

/// What an entry is about, in the console's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Kind {
    #[serde(rename = "CompanyRESTAPIAccessModified")]
    CompanyRestApiAccessModified,
    LoginFailed,
    LoginSuccessful,
    UserImpersonationSuccessful,
    UserLoginTypeCreated,
    UserLoginTypeRemoved,
    UserRecordCreated,
    UserRecordDisabled,
    UserRecordEnabled,
    UserRecordModified,
    UserRecordRemoved,
    UserTokenRevoked,
}

/// One thing that a user did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Activity {
    message: String,
    activity_log_type: Kind,
    activity_kind: &'static str,
    date: String,
    /// When it was noted, in milliseconds since the Unix epoch.
    #[serde(skip)]
    pub(crate) at: i64,
    /// Who did it, as far as that is known.
    pub(crate) user_uid: Option<Uuid>,
    /// Whose users may read of it, beside the provider's.
    pub(crate) organization_uid: Option<Uuid>,
}

/// The last entries of the activity log.
#[derive(Debug, Default)]
pub(crate) struct Activities {
    entries: Mutex<VecDeque<Activity>>,
}

impl Activities {
    /// Adds an entry.
    pub(crate) fn note(
        &self,
        kind: Kind,
        user: Option<Uuid>,
        organization: Option<Uuid>,
        message: String,
    ) {
        let activity = Activity {
            message,
            activity_log_type: kind,
            activity_kind: "Internal",
            date: clock::stamp(),
            at: clock::unix_millis(),
            user_uid: user,
            organization_uid: organization,
        };
        let mut entries = self.entries.lock();
        if entries.len() >= MOST {
            entries.pop_front();
        }
        entries.push_back(activity);
    }

    /// Forgets the last entry of a kind, by the console's own word for it; tells whether there was one.
    pub(crate) fn forget(&self, kind: &str) -> bool {
        let is_meant = |entry: &Activity| {
            serde_json::to_value(entry.activity_log_type).is_ok_and(|told| told == kind)
        };
        let mut entries = self.entries.lock();
        let last = entries.iter().rposition(is_meant);
        last.and_then(|at| entries.remove(at)).is_some()
    }

    /// Returns the entries that `wanted` picks, oldest first.
    pub(crate) fn those(&self, wanted: impl Fn(&Activity) -> bool) -> Vec<Activity> {
        let entries = self.entries.lock();
        entries
            .iter()
            .filter(|entry| wanted(entry))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_are_forgotten() {
        let activities = Activities::default();
        for n in 0..=MOST {
            activities.note(Kind::LoginFailed, None, None, n.to_string());
        }
        let all = activities.those(|_| true);
        assert_eq!(all.len(), MOST);
        assert_eq!(all.first().unwrap().message, "1");
    }
}
