//! Those who wait, tenant by tenant, and which tenant has most of them.

use std::collections::{BTreeMap, VecDeque};

use super::Party;

/// The number of somebody who waits, rising.
pub(super) type Ticket = u64;

/// How long a queue is, and who came to it last: no two queues have that in common.
pub(super) type Rank = (usize, Ticket);

/// Those of one tenant who wait, in the order of arrival.
#[derive(Debug)]
pub(super) struct Queue<W>(VecDeque<(Ticket, W)>);

impl<W> Queue<W> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its place among the queues; `None` when nobody waits in it.
    pub(super) fn rank(&self) -> Option<Rank> {
        let (newest, _) = self.0.back()?;
        Some((self.len(), *newest))
    }

    pub(super) fn push(&mut self, ticket: Ticket, waiter: W) {
        self.0.push_back((ticket, waiter));
    }

    pub(super) fn pop_first(&mut self) -> Option<W> {
        let first = self.0.pop_front();
        self.taken(first)
    }

    pub(super) fn pop_newest(&mut self) -> Option<W> {
        let newest = self.0.pop_back();
        self.taken(newest)
    }

    /// Takes somebody out who is still there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<W> {
        let at = self.0.binary_search_by_key(&ticket, |(ticket, _)| *ticket);
        let removed = self.0.remove(at.ok()?);
        self.taken(removed)
    }

    /// What a crowd needed is not kept for each tenant that ever had one.
    fn taken(&mut self, waiter: Option<(Ticket, W)>) -> Option<W> {
        if self.is_empty() {
            self.0.shrink_to(KEPT);
        }
        waiter.map(|(_, waiter)| waiter)
    }
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

/// The tenants that have somebody waiting, by how many they have.
#[derive(Debug, Default)]
pub(super) struct Lengths(BTreeMap<Rank, Party>);

impl Lengths {
    /// The tenant with the longest queue, and its length. Of several it is the one that somebody
    /// came to last.
    pub(super) fn longest(&self) -> Option<(usize, &Party)> {
        let ((length, _), party) = self.0.last_key_value()?;
        Some((*length, party))
    }

    /// A tenant's queue is another one than before.
    pub(super) fn changed(&mut self, party: &Party, before: Option<Rank>, now: Option<Rank>) {
        let known = before.and_then(|before| self.0.remove(&before));
        if let Some(now) = now {
            self.0.insert(now, known.unwrap_or_else(|| party.clone()));
        }
    }
}

/// For how many there is room in an empty queue, at most.
const KEPT: usize = 16;

#[cfg(test)]
impl Lengths {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it says of each queue what is so, and of no other.
    pub(super) fn is_of<'a>(
        &self,
        queues: impl Iterator<Item = (&'a Party, Option<Rank>)>,
    ) -> bool {
        let ranks = queues.filter_map(|(party, rank)| Some((rank?, party.clone())));
        ranks.collect::<BTreeMap<_, _>>() == self.0
    }
}
