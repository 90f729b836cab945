//! A key that another one came after: who has that one signs for all.

use tokio::time::{Duration, Instant};

use super::Log;

/// A process that lives signs every second.
const LATE: Duration = Duration::from_secs(10);

impl Log {
    /// Signs no more. Whether the one who does is there is looked at each second.
    pub(super) fn leave_to_successor(&mut self) {
        let signing = &mut self.signing;
        signing.failed = Some(Instant::now());
        let is_late = signing.since.is_some_and(|since| since.elapsed() >= LATE);
        if is_late && !std::mem::replace(&mut signing.is_left_told, true) {
            tracing::error!(
                "another process has taken a newer key for audit checkpoints into use, and signs \
                 none: if it is gone, start this gateway anew, which takes its own key up again"
            );
        }
    }
}
