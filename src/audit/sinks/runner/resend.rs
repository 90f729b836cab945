//! Records that the sink refused, and that somebody wants to be sent to it again.

use std::mem;

use tokio::time::Instant;

use super::{LAST_WAIT, Running, Setback};

impl Running {
    /// Sends one of them, while there is nothing else to send. Says whether there may be more.
    pub(super) async fn resend(&mut self) -> Result<bool, Setback> {
        if self.rest_again.is_some_and(|until| Instant::now() < until) {
            return Ok(false);
        }
        self.rest_again = None;
        let covered = *self.runner.covered.borrow();
        let found = self.again.next(&self.runner.origin, covered);
        let found = found.map_err(|error| Setback {
            why: format!("the records that it refused cannot be read: {error}"),
            after: None,
        })?;
        let Some(item) = found else {
            return Ok(false);
        };
        // What becomes of it says nothing of the records that come now.
        let next = mem::replace(&mut self.next, item.seq);
        mem::swap(&mut self.refused_in_a_row, &mut self.refused_again);
        let sent = self.deliver(std::slice::from_ref(&item)).await;
        mem::swap(&mut self.refused_in_a_row, &mut self.refused_again);
        // It was taken, or put aside once more.
        let is_done = self.next > item.seq;
        self.next = next;
        if !is_done {
            return sent.map(|()| true);
        }
        self.again.done();
        if sent.is_err() {
            // Too many in a row were put aside. The rest of them waits, and new records do not.
            self.rest_again = Some(Instant::now() + LAST_WAIT);
        }
        Ok(sent.is_ok())
    }
}
