//! What a timer sets off.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::super::renew::{Due, Rung};
use super::super::shared::Shared;
use super::super::slot::{Event, Slot};
use super::{Cell, Kind};

impl<K: Kind> Due for Cell<K> {
    fn due(
        self: Arc<Self>,
        shared: &Arc<Shared>,
        rung: Instant,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Rung {
        // The timer that rang is off the queue; one that was set since is not.
        self.state.lock().armed.take_if(|timer| timer.due() == rung);
        let upkeep = self.upkeep(shared);
        let rung = self.event(shared, Event::RenewDue(upkeep), permit);
        if self.look(|slot| matches!(slot, Slot::Empty)) {
            self.kind.emptied(shared);
        }
        rung
    }
}
