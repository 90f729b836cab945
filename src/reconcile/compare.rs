//! What a console has logged and what the gateway has recorded, laid side by side. No clock, no
//! files, no network.

use std::collections::{HashMap, HashSet, VecDeque};

use uuid::Uuid;

/// What sort of thing happened.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum What {
    /// A log-in was refused.
    FailedLogin,
    /// An identity of a user was made: an API key, a key pair, a device for codes.
    IdentityCreated,
    /// An identity was removed.
    IdentityRemoved,
    /// Somebody began to act as another user.
    Impersonation,
    /// Somebody logged in.
    Login,
    /// The tokens of a user were revoked.
    Revocation,
    /// A user was made, changed or removed.
    User,
}

impl What {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::FailedLogin,
        Self::IdentityCreated,
        Self::IdentityRemoved,
        Self::Impersonation,
        Self::Login,
        Self::Revocation,
        Self::User,
    ];

    /// The name in metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailedLogin => "failed_login",
            Self::IdentityCreated => "identity_created",
            Self::IdentityRemoved => "identity_removed",
            Self::Impersonation => "impersonation",
            Self::Login => "login",
            Self::Revocation => "revocation",
            Self::User => "user",
        }
    }

    /// Whether one request may be behind several entries: whoever makes a company makes its owner.
    fn is_shared(self) -> bool {
        self == Self::User
    }
}

/// An entry of a console's activity log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logged {
    /// What happened.
    pub what: What,
    /// When, in microseconds since the Unix epoch, by the console's clock.
    pub at: i64,
    /// Who did it.
    pub by: Option<Uuid>,
    /// Of which organization.
    pub organization: Option<Uuid>,
    /// Whether only the gateway does such a thing by this account.
    pub is_ours: bool,
}

/// Something that the gateway has recorded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Done {
    /// What happened.
    pub what: What,
    /// When it began and ended, in microseconds since the Unix epoch, by the gateway's clock.
    pub span: (i64, i64),
    /// Whom the console may name, the likeliest first. Empty: somebody who is not known, none of
    /// the accounts that only the gateway uses.
    pub by: Vec<Uuid>,
    /// Of which organization, if that is known.
    pub organization: Option<Uuid>,
    /// Whether the console must have logged it; else it may have.
    pub is_certain: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From this time on, in microseconds since the Unix epoch. What is earlier is there as a
    /// partner only.
    pub from: i64,
    /// Before this time. What is later is there as a partner only.
    pub to: i64,
    /// How much the clocks may differ, in microseconds.
    pub skew: i64,
}

impl Bounds {
    fn have(&self, at: i64) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// What has no partner.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Compared {
    /// Places of entries of our accounts that the gateway has no record of.
    pub strangers: Vec<usize>,
    /// Places of what the gateway has done that the console has not logged.
    pub unlogged: Vec<usize>,
    /// How many entries and records within the bounds are the same event.
    pub matched: usize,
}

/// Finds a partner for as many as possible; each record stands for one entry at most, but for
/// changes of users. What is left over is told, in the order of time.
pub fn compare(logged: &[Logged], done: &[Done], bounds: Bounds) -> Compared {
    let mut matching = Matching::new(logged, done, bounds);
    matching.pair_neighbours();
    for at in matching.logged_by_time.clone() {
        if matching.is_asked(at) && matching.of_logged(at).is_none() {
            matching.find_for_logged(at);
        }
    }
    for at in matching.done_by_time.clone() {
        if matching.is_owed(at) && matching.of_done(at).is_none() {
            matching.find_for_done(at);
        }
    }
    matching.result()
}

/// Who is whose partner.
struct Matching<'a> {
    logged: &'a [Logged],
    done: &'a [Done],
    bounds: Bounds,
    of_logged: Vec<Option<usize>>,
    of_done: Vec<Option<usize>>,
    logged_by_time: Vec<usize>,
    done_by_time: Vec<usize>,
    /// Records of a sort by their begin: of one organization (`Some(Some(…))`), of one that is not
    /// known (`Some(None)`), or all (`None`).
    records: HashMap<(What, Option<Option<Uuid>>), Vec<usize>>,
    entries: HashMap<What, Vec<usize>>,
    /// How long the longest of a sort took.
    longest: HashMap<What, i64>,
    /// How many more looks may be taken: what is not found by then is told, rather than nothing.
    looks: usize,
}

impl<'a> Matching<'a> {
    fn new(logged: &'a [Logged], done: &'a [Done], bounds: Bounds) -> Self {
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
            entries.entry(entry.what).or_default().push(at);
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

    fn of_logged(&self, at: usize) -> Option<usize> {
        self.of_logged.get(at).copied().flatten()
    }

    fn of_done(&self, at: usize) -> Option<usize> {
        self.of_done.get(at).copied().flatten()
    }

    /// Whether an entry needs a partner.
    fn is_asked(&self, at: usize) -> bool {
        let entry = self.logged.get(at);
        entry.is_some_and(|entry| entry.is_ours && self.bounds.have(entry.at))
    }

    /// Whether a record needs a partner.
    fn is_owed(&self, at: usize) -> bool {
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
        let buckets = match entry.organization {
            Some(one) => vec![Some(Some(one)), Some(None)],
            None => vec![None],
        };
        let reach = self.longest.get(&entry.what).copied().unwrap_or(0);
        let reach = reach.saturating_add(self.bounds.skew);
        let earliest = entry.at.saturating_sub(reach);
        let latest = entry.at.saturating_add(self.bounds.skew);
        let begin = |at: &usize| self.done.get(*at).map_or(i64::MAX, |record| record.span.0);
        let mut found = Vec::new();
        for bucket in buckets {
            let Some(bucket) = self.records.get(&(entry.what, bucket)) else {
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
        let Some(bucket) = self.entries.get(&record.what) else {
            return Vec::new();
        };
        let earliest = record.span.0.saturating_sub(self.bounds.skew);
        let latest = record.span.1.saturating_add(self.bounds.skew);
        let first = bucket.partition_point(|at| time(at) < earliest);
        let near = bucket.iter().copied().skip(first);
        let near = near.take_while(|at| time(at) <= latest);
        near.filter(|at| {
            let entry = self.logged.get(*at);
            entry.is_some_and(|entry| self.rank(entry, record).is_some())
        })
        .collect()
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
    /// first, of the likeliest account.
    fn pair_neighbours(&mut self) {
        for at in self.logged_by_time.clone() {
            let is_shared = self
                .logged
                .get(at)
                .is_some_and(|entry| entry.what.is_shared());
            let free = self.records_of(at).into_iter();
            let free = free.filter(|(done, _)| is_shared || self.of_done(*done).is_none());
            let best = free.min_by_key(|(done, rank)| {
                let end = self.done.get(*done).map(|record| record.span.1);
                (*rank, end, *done)
            });
            if let Some((done, _)) = best {
                self.pair(at, done);
            }
        }
    }

    /// Finds a record for an entry by giving others another one, none of which is left without.
    fn find_for_logged(&mut self, start: usize) {
        // From which entry a record was come to.
        let mut come: HashMap<usize, usize> = HashMap::new();
        let mut waiting = VecDeque::from([start]);
        while let Some(at) = waiting.pop_front() {
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
    fn find_for_done(&mut self, start: usize) {
        let mut come: HashMap<usize, usize> = HashMap::new();
        let mut seen = HashSet::from([start]);
        let mut waiting = VecDeque::from([start]);
        while let Some(record) = waiting.pop_front() {
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

    fn result(&self) -> Compared {
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

/// How many looks are taken to find partners by giving others another one.
const LOOKS: usize = 2_000_000;

#[cfg(test)]
mod tests;
