//! A fetch on its way.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::super::TokenError;
use super::super::cause::{CAUSE, Cause};
use super::super::policy::Jitter;
use super::super::shared::Shared;
use super::super::slot::{Effect, Event, Slot};
use super::{Cell, Fresh, Kind, Setback, internal, refusal};
use crate::vspc::grant::{IssueError, Outage};

/// How a flight ended; nothing while it is in the air.
pub(super) type Outcome<V> = Option<Result<V, TokenError>>;

/// Where the outcome of a flight is awaited.
pub(super) type Landing<V> = watch::Receiver<Outcome<V>>;

/// One fetch, from its start to the word to those who wait.
///
/// Dropping it at any point, by a panic or by the end of the runtime, counts as a failed fetch:
/// the slot moves on and nobody waits for ever.
pub(super) struct Flight<K: Kind> {
    cause: Cause,
    cell: Arc<Cell<K>>,
    /// The pacer's, given back at the end.
    _permit: Option<OwnedSemaphorePermit>,
    sender: Option<watch::Sender<Outcome<K::Value>>>,
    shared: Arc<Shared>,
}

/// Whether a flight is over.
#[derive(Eq, PartialEq)]
enum Next {
    Again,
    Over,
}

impl<K: Kind> Flight<K> {
    /// Prepares a fetch; it takes off once the lock of the slot is released.
    pub(super) fn new(
        cell: Arc<Cell<K>>,
        shared: Arc<Shared>,
        (cause, permit): (Cause, Option<OwnedSemaphorePermit>),
    ) -> (Self, Landing<K::Value>) {
        let (sender, landing) = watch::channel(None);
        (
            Self {
                cause,
                cell,
                _permit: permit,
                sender: Some(sender),
                shared,
            },
            landing,
        )
    }

    pub(super) fn take_off(self) {
        // Not joined: the drop of the flight reports in its stead, whatever becomes of the task.
        drop(tokio::spawn(CAUSE.scope(self.cause, self.run())));
    }

    async fn run(mut self) {
        loop {
            let result = self.cell.kind.fetch(&self.shared).await;
            if self.land(result) == Next::Over {
                return;
            }
        }
    }

    fn land(&mut self, result: Result<Fresh<K::Value>, Setback>) -> Next {
        let jitter = Jitter::draw();
        let event = match result {
            Ok(Fresh {
                generation,
                span,
                value,
            }) => Event::Issued {
                generation,
                jitter,
                span,
                value,
            },
            Err(Setback::Blocked { error, until }) => Event::Blocked { error, until },
            Err(Setback::Failed(error)) => Event::Failed { error, jitter },
        };
        let now = Instant::now();
        let mut state = self.cell.state.lock();
        let outcome = match self.cell.step(&self.shared, &mut state, event, now) {
            Effect::Fetch => return Next::Again,
            Effect::Refuse { error, until } => Err(refusal(error, until, now)),
            Effect::Serve(value) | Effect::ServeAndFetch(value) => {
                self.cell.kind.accept(&value);
                Ok(value)
            }
            // It was given up meanwhile, and nobody waits.
            Effect::Rest | Effect::Wait => Err(internal()),
        };
        state.flight = None;
        let is_empty = matches!(state.slot, Slot::Empty);
        drop(state);
        if let Some(sender) = self.sender.take() {
            sender.send_replace(Some(outcome));
        }
        if is_empty {
            self.cell.kind.emptied(&self.shared);
        }
        Next::Over
    }
}

impl<K: Kind> Drop for Flight<K> {
    fn drop(&mut self) {
        if self.sender.is_some() {
            let error = IssueError::Unavailable(Outage::Internal);
            // A failure never asks for another fetch.
            self.land(Err(Setback::Failed(error)));
        }
    }
}
