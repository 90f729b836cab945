//! The activity log: what users did, as the console tells it.

use serde::Deserialize;
use uuid::Uuid;

use super::page::{LIMIT, MOST_PAGES, read_list};
use super::{Asker, DirectoryError};
use crate::clock::Timestamp;
use http::StatusCode;

/// One thing that a user did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Activity {
    /// When, by the console's clock.
    pub at: Timestamp,
    /// What, in the console's own words, e.g. `LoginSuccessful`.
    pub kind: String,
    /// Who.
    pub user: Option<Uuid>,
    /// Of which organization.
    pub organization: Option<Uuid>,
    /// What the console says of it.
    pub message: String,
}

impl Asker<'_> {
    /// What users did from one time to another, both included. A console that does not heed the
    /// times is read as a whole.
    ///
    /// # Errors
    /// Says why it cannot be read, also when it cannot be read as a whole.
    pub async fn activities(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Activity>, DirectoryError> {
        let mut all: Vec<Activity> = Vec::new();
        let (mut received, mut pages, mut total) = (0, 0, None);
        let mut before = None;
        loop {
            let (status, body) = self.ask(&target(from, to, received)).await?;
            if status != StatusCode::OK {
                return Err(DirectoryError::Status(status));
            }
            let page = read_list::<Written>(&body)?;
            if pages > 0 && page.total != total {
                return Err(DirectoryError::Changed);
            }
            let length = page.entries.len();
            if length > 0 && before.as_ref() == Some(&page.entries) {
                return Err(DirectoryError::Repeated);
            }
            (pages, total) = (pages + 1, page.total);
            received += length;
            for written in &page.entries {
                let activity = written.read()?;
                if (from..=to).contains(&activity.at) {
                    all.push(activity);
                }
            }
            before = Some(page.entries);
            match total {
                Some(total) if received >= total => return Ok(all),
                Some(_) if length == 0 => return Err(DirectoryError::Changed),
                // Without a total only an empty page is known to be the last.
                None if length == 0 => return Ok(all),
                _ if pages >= MOST_PAGES => return Err(DirectoryError::TooMany),
                _ => {}
            }
        }
    }
}

fn target(from: Timestamp, to: Timestamp, offset: usize) -> String {
    let text = |at: Timestamp| {
        at.text()
            .iter()
            .copied()
            .map(char::from)
            .collect::<String>()
    };
    let (from, to) = (text(from), text(to));
    format!(
        "/api/v3/eventLogs/activityLogs?from={from}&to={to}&dateSortingDirection=ascending\
         &limit={LIMIT}&offset={offset}"
    )
}

#[derive(Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Written {
    message: Option<String>,
    activity_log_type: Option<String>,
    date: Option<String>,
    user_uid: Option<Uuid>,
    organization_uid: Option<Uuid>,
}

impl Written {
    fn read(&self) -> Result<Activity, DirectoryError> {
        let date = self.date.as_deref().and_then(moment);
        let at = date.ok_or(DirectoryError::Malformed("an activity without a date"))?;
        Ok(Activity {
            at,
            kind: self.activity_log_type.clone().unwrap_or_default(),
            user: self.user_uid.filter(|uid| !uid.is_nil()),
            organization: self.organization_uid.filter(|uid| !uid.is_nil()),
            message: self.message.clone().unwrap_or_default(),
        })
    }
}

/// Reads a date. One that does not say its offset is taken for UTC.
fn moment(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}Z")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_with_seven_digits_and_with_or_without_an_offset() {
        let read = |text| moment(text).map(|at| at.0);
        let expected = Some(1_772_600_767_123_456);
        assert_eq!(read("2026-03-04T05:06:07.1234567+00:00"), expected);
        assert_eq!(read("2026-03-04T06:06:07.1234567+01:00"), expected);
        assert_eq!(read("2026-03-04T05:06:07.1234567"), expected);
        assert_eq!(read("yesterday"), None);
    }

    #[test]
    fn times_are_asked_for_in_utc() {
        let target = target(Timestamp(0), Timestamp(1_000_000), 500);
        assert_eq!(
            target,
            "/api/v3/eventLogs/activityLogs?from=1970-01-01T00:00:00.000000Z\
             &to=1970-01-01T00:00:01.000000Z&dateSortingDirection=ascending&limit=500&offset=500"
        );
    }
}
