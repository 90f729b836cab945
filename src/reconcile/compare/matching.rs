//! Who is whose partner.

use std::collections::{HashMap, HashSet, VecDeque};

use uuid::Uuid;

use super::{Bounds, Compared, Done, Logged, What};

/// Who is whose partner.
pub(super) struct Matching<'a> {
    logged: &'a [Logged],
    done: &'a [Done],
    bounds: Bounds,
    of_logged: Vec<Option<usize>>,
    of_done: Vec<Option<usize>>,
    pub(super) logged_by_time: Vec<usize>,
    pub(super) done_by_time: Vec<usize>,
    /// Records of a sort by their begin: of one organization (`Some(Some(…))`), of one that is not
    /// known (`Some(None)`), or all (`None`). And entries by their time.
    records: HashMap<(What, Option<Option<Uuid>>), Vec<usize>>,
    entries: HashMap<(What, Option<Option<Uuid>>), Vec<usize>>,
    /// How long the longest of a sort took.
    longest: HashMap<What, i64>,
    /// How many more looks may be taken: what is not found by then is told, rather than nothing.
    looks: usize,
}

impl<'a> Matching<'a> {
    pub(super) fn new(logged: &'a [Logged], done: &'a [Done], bounds: Bounds) -> Self {
        let mut logged_by_time: Vec<usize> = (0..logged.len()).collect();
        logged_by_time.sort_by_key(|at| logged.get(*at).map(|entry| entry.at));
        let mut done_by_time: Vec<usize> = (0..done.len()).collect();
        done_by_time.sort_by_key(|at| done.get(*at).map(|record| record.span));
        let mut records: HashMap<_, Vec<usize>> = HashMap::new();
        let mut longest: HashMap<What, i64> = HashMap::new();
        for (at, record) in done_by_time
            .iter()
            .filter_map(|at| Some((*at, done.get(*at)?)))
        {
            for of in [None, Some(record.organization)] {
                records.entry((record.what, of)).or_default().push(at);
            }
            let took = record.span.1.saturating_sub(record.span.0);
            let longest = longest.entry(record.what).or_default();
            *longest = took.max(*longest);
        }
        let mut entries: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, entry) in logged_by_time
            .iter()
            .filter_map(|at| Some((*at, logged.get(*at)?)))
        {
            for of in [None, Some(entry.organization)] {
                entries.entry((entry.what, of)).or_default().push(at);
            }
        }
        Self {
            logged,
            done,
            bounds,
            of_logged: vec![None; logged.len()],
            of_done: vec![None; done.len()],
            logged_by_time,
            done_by_time,
            records,
            entries,
            longest,
            looks: LOOKS,
        }
    }

    pub(super) fn of_logged(&self, at: usize) -> Option<usize> {
        self.of_logged.get(at).copied().flatten()
    }

    pub(super) fn of_done(&self, at: usize) -> Option<usize> {
        self.of_done.get(at).copied().flatten()
    }

    /// Whether an entry needs a partner.
    pub(super) fn is_asked(&self, at: usize) -> bool {
        let entry = self.logged.get(at);
        entry.is_some_and(|entry| entry.is_ours && self.bounds.have(entry.at))
    }

    /// Whether a record needs a partner.
    pub(super) fn is_owed(&self, at: usize) -> bool {
        let record = self.done.get(at);
        record.is_some_and(|record| record.is_certain && self.bounds.have(record.span.1))
    }

    /// The rank of the account by which an entry and a record may be the same; `None` if they are not.
    fn rank(&self, entry: &Logged, record: &Done) -> Option<usize> {
        let (begin, end) = record.span;
        let skew = self.bounds.skew;
        let is_near =
            begin.saturating_sub(skew) <= entry.at && entry.at <= end.saturating_add(skew);
        let is_one = match (entry.organization, record.organization) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        if entry.what != record.what || !is_near || !is_one {
            return None;
        }
        if record.by.is_empty() {
            return (!entry.is_ours).then_some(0);
        }
        let by = entry.by?;
        record.by.iter().position(|uid| *uid == by)
    }

    /// The records that may be an entry, with the rank of the account.
    fn records_of(&self, at: usize) -> Vec<(usize, usize)> {
        let Some(entry) = self.logged.get(at) else {
            return Vec::new();
        };
        let reach = self.longest.get(&entry.what).copied().unwrap_or(0);
        let reach = reach.saturating_add(self.bounds.skew);
        let earliest = entry.at.saturating_sub(reach);
        let latest = entry.at.saturating_add(self.bounds.skew);
        let begin = |at: &usize| self.done.get(*at).map_or(i64::MAX, |record| record.span.0);
        let mut found = Vec::new();
        for of in of_organization(entry.organization) {
            let Some(bucket) = self.records.get(&(entry.what, of)) else {
                continue;
            };
            let first = bucket.partition_point(|at| begin(at) < earliest);
            let near = bucket.iter().skip(first);
            let near = near.take_while(|at| begin(at) <= latest);
            found.extend(near.filter_map(|at| {
                let rank = self.rank(entry, self.done.get(*at)?)?;
                Some((*at, rank))
            }));
        }
        found
    }

    /// The entries that a record may be.
    fn entries_of(&self, at: usize) -> Vec<usize> {
        let Some(record) = self.done.get(at) else {
            return Vec::new();
        };
        let time = |at: &usize| self.logged.get(*at).map_or(i64::MAX, |entry| entry.at);
        let earliest = record.span.0.saturating_sub(self.bounds.skew);
        let latest = record.span.1.saturating_add(self.bounds.skew);
        let mut found = Vec::new();
        for of in of_organization(record.organization) {
            let Some(bucket) = self.entries.get(&(record.what, of)) else {
                continue;
            };
            let first = bucket.partition_point(|at| time(at) < earliest);
            let near = bucket.iter().copied().skip(first);
            let near = near.take_while(|at| time(at) <= latest);
            found.extend(near.filter(|at| {
                let entry = self.logged.get(*at);
                entry.is_some_and(|entry| self.rank(entry, record).is_some())
            }));
        }
        found
    }

    fn pair(&mut self, logged: usize, done: usize) {
        if let Some(slot) = self.of_logged.get_mut(logged) {
            *slot = Some(done);
        }
        if let Some(slot) = self.of_done.get_mut(done) {
            *slot = Some(logged);
        }
    }

    /// Goes through the entries in the order of time, and takes for each the free record that ends
    /// first: before all others those that name the likeliest account.
    pub(super) fn pair_neighbours(&mut self) {
        for likeliest in [true, false] {
            for at in self.logged_by_time.clone() {
                if self.of_logged(at).is_none() {
                    self.pair_neighbour(at, likeliest);
                }
            }
        }
    }

    fn pair_neighbour(&mut self, at: usize, likeliest: bool) {
        let entry = self.logged.get(at);
        let is_shared = entry.is_some_and(|entry| entry.what.is_shared());
        let near = self.records_of(at).into_iter();
        let free = near.filter(|(done, rank)| {
            (*rank == 0) == likeliest && (is_shared || self.of_done(*done).is_none())
        });
        let best = free.min_by_key(|(done, rank)| {
            let end = self.done.get(*done).map(|record| record.span.1);
            (*rank, end, *done)
        });
        if let Some((done, _)) = best {
            self.pair(at, done);
        }
    }

    /// Finds a record for an entry by giving others another one, none of which is left without.
    pub(super) fn find_for_logged(&mut self, start: usize) {
        // From which entry a record was come to.
        let mut come: HashMap<usize, usize> = HashMap::new();
        let mut waiting = VecDeque::from([start]);
        while self.looks > 0
            && let Some(at) = waiting.pop_front()
        {
            for (done, _) in self.records_of(at) {
                if come.contains_key(&done) || !self.may_look() {
                    continue;
                }
                come.insert(done, at);
                match self.of_done(done) {
                    Some(other) => waiting.push_back(other),
                    None => return self.give_on(done, &come),
                }
            }
        }
    }

    /// Gives each entry on the way back the record that it led to.
    fn give_on(&mut self, mut done: usize, come: &HashMap<usize, usize>) {
        while let Some(at) = come.get(&done).copied() {
            let before = self.of_logged(at);
            self.pair(at, done);
            match before {
                Some(before) => done = before,
                None => return,
            }
        }
    }

    /// Finds an entry for a record that must have one, at the cost of one that needs none.
    pub(super) fn find_for_done(&mut self, start: usize) {
        let mut come: HashMap<usize, usize> = HashMap::new();
        let mut seen = HashSet::from([start]);
        let mut waiting = VecDeque::from([start]);
        while self.looks > 0
            && let Some(record) = waiting.pop_front()
        {
            for entry in self.entries_of(record) {
                if come.contains_key(&entry) || !self.may_look() {
                    continue;
                }
                come.insert(entry, record);
                match self.of_logged(entry) {
                    Some(other) if self.is_owed(other) => {
                        if seen.insert(other) {
                            waiting.push_back(other);
                        }
                    }
                    _ => return self.take_over(entry, &come),
                }
            }
        }
    }

    fn take_over(&mut self, mut entry: usize, come: &HashMap<usize, usize>) {
        if let Some(loser) = self.of_logged(entry)
            && let Some(slot) = self.of_done.get_mut(loser)
        {
            *slot = None;
        }
        while let Some(record) = come.get(&entry).copied() {
            let before = self.of_done(record);
            self.pair(entry, record);
            match before {
                Some(before) => entry = before,
                None => return,
            }
        }
    }

    fn may_look(&mut self) -> bool {
        self.looks = self.looks.saturating_sub(1);
        self.looks > 0
    }

    pub(super) fn result(&self) -> Compared {
        let all = self.logged_by_time.iter().copied();
        let is_in = |at: &usize| {
            let entry = self.logged.get(*at);
            entry.is_some_and(|entry| self.bounds.have(entry.at))
        };
        let has_partner = |at: &usize| self.of_logged(*at).is_some();
        let strangers = all
            .clone()
            .filter(|at| self.is_asked(*at) && !has_partner(at));
        let records = self.done_by_time.iter().copied();
        let unlogged = records.filter(|at| self.is_owed(*at) && self.of_done(*at).is_none());
        Compared {
            strangers: strangers.collect(),
            unlogged: unlogged.collect(),
            matched: all.filter(|at| is_in(at) && has_partner(at)).count(),
        }
    }
}

/// Where to look for what is, or may be, of an organization.
fn of_organization(organization: Option<Uuid>) -> Vec<Option<Option<Uuid>>> {
    match organization {
        Some(one) => vec![Some(Some(one)), Some(None)],
        None => vec![None],
    }
}

/// How many looks are taken to find partners by giving others another one.
const LOOKS: usize = 2_000_000;
