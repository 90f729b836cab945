//! The gateway of the present configuration.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Gateway;
use crate::clock::Timestamp;

/// Where everybody finds the gateway of the present configuration.
///
/// A [`Gateway`] is what one configuration means, and never changes. Whoever does something asks for
/// the present one first and keeps it to the end of that: a request under way ends under the
/// configuration that it began under, whatever is loaded meanwhile.
pub struct Live {
    present: ArcSwap<Gateway>,
    changed: watch::Sender<()>,
    last: Mutex<Option<LastReload>>,
}

/// The last reload of the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LastReload {
    /// Whether the file was loaded; else what was before it goes on.
    pub succeeded: bool,
    /// When.
    pub at: Timestamp,
}

impl Live {
    /// Begins with this one.
    pub fn new(gateway: Arc<Gateway>) -> Arc<Self> {
        Arc::new(Self {
            present: ArcSwap::new(gateway),
            changed: watch::Sender::new(()),
            last: Mutex::new(None),
        })
    }

    /// The present one. Takes no lock.
    pub fn now(&self) -> Arc<Gateway> {
        self.present.load_full()
    }

    /// Puts another one in its place: what is asked from now on is answered by that.
    pub fn replace(&self, next: Arc<Gateway>) {
        self.present.store(next);
        self.changed.send_replace(());
    }

    /// Notes what came of a reload.
    pub fn was_reloaded(&self, succeeded: bool) {
        let at = self.now().clock.now();
        *self.last.lock() = Some(LastReload { succeeded, at });
    }

    /// What came of the last reload, if there was one since the start.
    pub fn last_reload(&self) -> Option<LastReload> {
        *self.last.lock()
    }

    /// Tells of each replacement that comes after this.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.now()).finish()
    }
}
