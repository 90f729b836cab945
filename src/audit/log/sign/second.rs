//! A second place that was meddled with is said in the log before it is written to again.

use super::Log;
use crate::audit::second::SecondPlace;

impl Log {
    /// Says, in the log, what became of the second place: only then it is written to again.
    pub(super) fn tell_second(&mut self) {
        let second = self.signing.second.as_ref();
        if !self.signing.is_loss_told
            && let Some(detail) = second.and_then(SecondPlace::lost)
        {
            // The thread that found it has told it in the process's own log.
            self.notice("audit.second_place_lost", detail);
            self.counts.alarms += 1;
            (self.signing.urgent, self.signing.is_loss_told) = (true, true);
        }
    }

    /// What was to be said is in the log, and on the disk.
    pub(in crate::audit::log) fn told_second(&mut self) {
        if std::mem::take(&mut self.signing.is_loss_told)
            && let Some(second) = &self.signing.second
        {
            second.said();
        }
    }
}
