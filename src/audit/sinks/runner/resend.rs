//! Records that the sink refused, and that somebody wants to be sent to it again.

use super::{Running, Setback};

impl Running {
    /// Sends one of them, while there is nothing else to send. Says whether there may be more.
    pub(super) async fn resend(&mut self) -> Result<bool, Setback> {
        let covered = *self.runner.covered.borrow();
        let found = self.again.next(&self.runner.origin, covered);
        let found = found.map_err(|error| Setback {
            why: format!("the records that it refused cannot be read: {error}"),
            after: None,
        })?;
        let Some(item) = found else {
            return Ok(false);
        };
        let next = std::mem::replace(&mut self.next, item.seq);
        let sent = self.deliver(std::slice::from_ref(&item)).await;
        // It was taken, or put aside once more.
        let is_done = self.next > item.seq;
        self.next = next;
        if is_done {
            self.again.done();
        }
        sent.map(|()| true)
    }
}
