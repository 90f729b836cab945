//! Why the gateway asks a console for a token.

use super::cell::{Cell, Kind};
use super::slot::Event;

/// Why the gateway asks a console for a token, or gives one up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The one that is held ends soon, and nobody is to wait then.
    Ahead,
    /// A newer one is wanted, whatever is held: an operator said so, or the console doubts it.
    Anew,
    /// Somebody waits for one, and there is none.
    Demand,
    /// The console refused the one before.
    Refused,
    /// A caller had the console revoke it.
    Revoked,
}

impl Cause {
    /// The text in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Anew => "anew",
            Self::Demand => "demand",
            Self::Refused => "refused",
            Self::Revoked => "revoked",
        }
    }
}

tokio::task_local! {
    /// Of the fetch that a task is. Between that and the call to the console lies all that decides
    /// whether and how to call, and nothing of it depends on this.
    pub(super) static CAUSE: Cause;
}

/// Of the fetch that is under way in this task.
pub(super) fn present() -> Cause {
    CAUSE.try_with(|cause| *cause).unwrap_or(Cause::Demand)
}

impl<K: Kind> Cell<K> {
    /// Why there is a fetch, should this event set one off.
    pub(super) fn cause<V>(&self, event: &Event<V>) -> Cause {
        match event {
            Event::RenewDue(_) => Cause::Ahead,
            _ if self.was_refused() => Cause::Refused,
            Event::Renew(_) => Cause::Anew,
            _ => Cause::Demand,
        }
    }
}
