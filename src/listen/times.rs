//! How long a connection may take over what.

use std::time::Duration;

/// The most time that connections get.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Times {
    /// For silence between requests.
    pub idle: Duration,
    /// For a head, from its first byte to its last.
    pub head: Duration,
    /// For a caller that takes nothing of an answer which is there.
    pub unread: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(75),
            head: Duration::from_secs(5),
            unread: Duration::from_secs(10),
        }
    }
}
