//! What sets a fetch off that nobody waits for here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::lease::Generation;
use super::super::shared::Shared;
use super::super::slot::Event;
use super::{Cell, Kind};

impl<K: Kind> Cell<K> {
    /// Starts what a demand would start, and waits for nothing.
    pub(in crate::token) fn wake(self: &Arc<Self>, shared: &Arc<Shared>) {
        // The answer is for those who come later.
        drop(self.demand(shared, Event::Demand));
    }

    /// Starts to obtain a newer one than `generation`, and waits for nothing.
    pub(in crate::token) fn renew(self: &Arc<Self>, shared: &Arc<Shared>, generation: Generation) {
        drop(self.demand(shared, Event::Renew(generation)));
    }

    /// There is a reason to try again at once, whatever the last attempt taught.
    pub(in crate::token) fn pardon(self: &Arc<Self>, shared: &Arc<Shared>) {
        self.event(shared, Event::Pardon, None);
    }

    /// The console rejected this generation. Says whether it was what is held: of many requests that
    /// were sent with it, the first says so.
    pub(in crate::token) fn reject(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        generation: Generation,
    ) -> bool {
        let holds = || {
            let published = self.published.load();
            let published = published.as_ref();
            published.is_some_and(|published| published.generation == generation)
        };
        let held = holds();
        // The fetch that this sets off, now or later, is to know why.
        self.was_refused.fetch_or(held, Ordering::Relaxed);
        self.event(shared, Event::Rejected(generation), None);
        let is_news = held && !holds();
        if held && !is_news {
            self.was_refused.store(false, Ordering::Relaxed);
        }
        is_news
    }

    /// Renews what is held, or obtains it, unless that has to wait. Whoever asks goes on with what
    /// is held.
    pub(in crate::token) fn force(self: &Arc<Self>, shared: &Arc<Shared>) {
        match self.look(|slot| slot.servable().map(|(_, generation, _)| generation)) {
            Some(generation) => self.renew(shared, generation),
            None => self.wake(shared),
        }
    }

    /// Whether the console rejected what was held, and nothing was fetched since.
    pub(in crate::token) fn was_refused(&self) -> bool {
        self.was_refused.load(Ordering::Relaxed)
    }
}
