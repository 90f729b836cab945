//! The gateway of the present configuration.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Gateway;

/// Where everybody finds the gateway of the present configuration.
///
/// A [`Gateway`] is what one configuration means, and never changes. Whoever does something asks for
/// the present one first and keeps it to the end of that: a request under way ends under the
/// configuration that it began under, whatever is loaded meanwhile.
pub struct Live {
    present: ArcSwap<Gateway>,
    changed: watch::Sender<()>,
}

impl Live {
    /// Begins with this one.
    pub fn new(gateway: Arc<Gateway>) -> Arc<Self> {
        Arc::new(Self {
            present: ArcSwap::new(gateway),
            changed: watch::Sender::new(()),
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
