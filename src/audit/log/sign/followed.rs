//! A key that another one came after: who has that one signs for all.

use tokio::time::{Duration, Instant};

use super::Log;
use crate::audit::fault::OpenError;

/// A process that lives signs every second.
const LATE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 10 });

impl Log {
    /// Signs no more, while the one who has the key after ours does. One that has ended, such as the
    /// new process of an upgrade that never took over, would leave the log unsigned for good.
    pub(super) fn leave_to_successor(&mut self) {
        let signing = &mut self.signing;
        signing.failed = Some(Instant::now());
        let is_late = signing.since.is_some_and(|since| since.elapsed() >= LATE);
        if !is_late {
            return;
        }
        match self.take_up_again() {
            Ok(()) => self.signing.is_left_told = false,
            Err(error) => {
                if !std::mem::replace(&mut self.signing.is_left_told, true) {
                    tracing::error!(
                        %error,
                        "another process has taken a newer key for audit checkpoints into use, and \
                         signs none; this one's key cannot be taken up again"
                    );
                }
            }
        }
    }

    /// Takes our key up again. The lock is held, so that nobody else lists a key meanwhile.
    fn take_up_again(&mut self) -> Result<(), OpenError> {
        let keys = &mut self.signing.keys;
        keys.reload()?;
        if keys.list()? {
            let detail = format!(
                "{}, taken up again, signs from now on: who has the key after it signs nothing",
                keys.signer.verifier()
            );
            tracing::warn!(detail, "audit checkpoints are signed by another key");
            self.notice("audit.key_changed", detail);
        }
        (self.signing.failed, self.signing.urgent) = (None, true);
        Ok(())
    }
}
