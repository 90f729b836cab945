//! How the log is cut into files, and how long they are kept.

use tokio::time::Duration;

/// How the log is cut into files, and how long they are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileSettings {
    /// A file that has as many bytes is followed by the next one.
    pub segment_size: u64,
    /// So is one whose first record is as old.
    pub segment_time: Duration,
    /// How old all records of a file must be for it to be removed. Absent: files are kept for ever.
    pub retention: Option<Duration>,
    /// The names of the sinks that must have got a record before it is removed.
    pub sinks: Vec<String>,
}

impl Default for FileSettings {
    fn default() -> Self {
        Self {
            segment_size: 256 * 1024 * 1024,
            segment_time: Duration::from_secs(24 * 3600),
            retention: None,
            sinks: Vec::new(),
        }
    }
}
