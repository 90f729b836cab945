//! What is counted, always and for every request.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Shared;
use crate::bearer::Cause;
use crate::grant::Grant;

/// The counters; `GET /_simulator/state` answers with them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct State {
    /// Requests that arrived, those of the simulator's own control paths excepted.
    pub requests: u64,
    /// Requests that went without an answer: their client hung up, or a fault cut them.
    pub unanswered: u64,
    /// Requests being worked on now.
    pub in_flight: u64,
    /// The most requests that were worked on at once.
    pub in_flight_max: u64,
    /// Connections that were accepted.
    pub connections_accepted: u64,
    /// Connections that are open now.
    pub connections_open: u64,
    /// Token requests, by grant.
    pub grants: BTreeMap<String, GrantCount>,
    /// Tokens given out by grant `as`, by the user they act as.
    pub impersonated: BTreeMap<Uuid, u64>,
    /// Refresh tokens that were sent once more after their successor had gone out.
    pub refresh_reused: u64,
    /// Requests, by operation, as in `GET /users/logins`.
    pub operations: BTreeMap<String, u64>,
    /// Answers, by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests with a valid bearer, by its user.
    pub subjects: BTreeMap<Uuid, u64>,
    /// Requests that were answered 401, by cause.
    pub unauthorized: BTreeMap<Cause, u64>,
    /// Writing requests of a read-only token that were refused.
    pub read_only_refused: u64,
    /// How many different access tokens and API keys were presented while valid.
    pub access_tokens_seen: u64,
    /// The same, by the user the tokens act as.
    pub access_tokens_by_subject: BTreeMap<Uuid, u64>,
    /// Access tokens that are valid now.
    pub access_tokens_live: u64,
    /// API keys that are valid now.
    pub api_keys_live: u64,
    /// Sessions with a refresh token that is valid now.
    pub sessions_live: u64,
    /// The most `Authorization` headers that one request had.
    pub authorization_headers_max: u64,
    /// Requests with an `Authorization` header on an operation that takes no token, `/token` excepted.
    pub authorization_on_public: u64,
    /// Token requests with an `Authorization` header.
    pub authorization_on_token: u64,
    /// Requests with a `Cookie` header.
    pub cookies: u64,
    /// Requests for paths outside of `/api/v3`.
    pub outside_api: u64,
    /// Faults that met a request.
    pub faults_met: u64,
    /// Faults that still wait for a request.
    pub faults_waiting: u64,
}

impl State {
    /// Returns the count of an operation, by its name.
    pub fn operation(&self, name: &str) -> u64 {
        self.operations.get(name).copied().unwrap_or(0)
    }

    /// Returns the counts of a grant, by its name.
    pub fn grant(&self, name: &str) -> GrantCount {
        self.grants.get(name).copied().unwrap_or_default()
    }

    /// Returns how many requests were answered 401 for this cause.
    pub fn unauthorized_for(&self, cause: Cause) -> u64 {
        self.unauthorized.get(&cause).copied().unwrap_or(0)
    }
}

/// The counts of one grant.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct GrantCount {
    /// Requests that got a token, or a challenge.
    pub ok: u64,
    /// Requests that got neither.
    pub refused: u64,
    /// Requests being worked on now.
    pub in_flight: u64,
    /// The most requests that were worked on at once.
    pub in_flight_max: u64,
}

/// What is known of a request when it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    pub(crate) operation: &'static str,
    pub(crate) status: Option<u16>,
    pub(crate) subject: Option<Uuid>,
    pub(crate) cause: Option<Cause>,
    pub(crate) grant: Option<Grant>,
    pub(crate) granted: bool,
    pub(crate) impersonated: Option<Uuid>,
    pub(crate) refresh_reused: bool,
    pub(crate) read_only_refused: bool,
    pub(crate) new_token: bool,
    pub(crate) authorization_headers: u64,
    pub(crate) authorization_on: AuthorizationOn,
    pub(crate) cookie: bool,
    pub(crate) outside: bool,
    pub(crate) fault: bool,
}

/// What kind of operation an `Authorization` header came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthorizationOn {
    Other,
    Public,
    Token,
}

#[derive(Debug, Default)]
struct Counts {
    state: State,
    operations: HashMap<&'static str, u64>,
    statuses: HashMap<u16, u64>,
    subjects: HashMap<Uuid, u64>,
    grants: BTreeMap<Grant, GrantCount>,
}

/// The counters as they are kept: atomics on arrival, one short lock at the end of a request.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: AtomicU64,
    sequence: AtomicU64,
    in_flight: AtomicU64,
    in_flight_max: AtomicU64,
    connections: AtomicU64,
    connection_numbers: AtomicU64,
    open: AtomicU64,
    clears: AtomicU64,
    counts: Mutex<Counts>,
}

impl Tally {
    /// Notes an arrival and returns its number.
    pub(crate) fn arrive(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        if now > self.in_flight_max.load(Ordering::Relaxed) {
            self.in_flight_max.fetch_max(now, Ordering::Relaxed);
        }
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes a new connection and returns its number.
    pub(crate) fn connect(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.connection_numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns the number of the span between two clearings, counted from 1.
    pub(crate) fn epoch(&self) -> u64 {
        self.clears.load(Ordering::Relaxed) + 1
    }

    pub(crate) fn disconnect(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes that a token request is being worked on.
    pub(crate) fn begin_grant(&self, grant: Grant) {
        let mut counts = self.counts.lock();
        let count = counts.grants.entry(grant).or_default();
        count.in_flight += 1;
        count.in_flight_max = count.in_flight_max.max(count.in_flight);
    }

    /// Notes the end of a request.
    pub(crate) fn finish(&self, finding: &Finding) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.counts.lock();
        *counts.operations.entry(finding.operation).or_default() += 1;
        match finding.status {
            Some(status) => *counts.statuses.entry(status).or_default() += 1,
            None => counts.state.unanswered += 1,
        }
        if let Some(subject) = finding.subject {
            *counts.subjects.entry(subject).or_default() += 1;
        }
        if let Some(grant) = finding.grant {
            let count = counts.grants.entry(grant).or_default();
            count.in_flight = count.in_flight.saturating_sub(1);
            if finding.granted {
                count.ok += 1;
            } else {
                count.refused += 1;
            }
        }
        finding.note(&mut counts.state);
    }

    /// Sets every counter back but those of what is open now.
    pub(crate) fn clear(&self) {
        let mut counts = self.counts.lock();
        let running: Vec<(Grant, u64)> = counts
            .grants
            .iter()
            .map(|(grant, count)| (*grant, count.in_flight))
            .collect();
        *counts = Counts::default();
        for (grant, in_flight) in running.into_iter().filter(|(_, running)| *running > 0) {
            let count = counts.grants.entry(grant).or_default();
            count.in_flight = in_flight;
            count.in_flight_max = in_flight;
        }
        self.clears.fetch_add(1, Ordering::Relaxed);
        self.requests.store(0, Ordering::Relaxed);
        self.connections.store(0, Ordering::Relaxed);
        let now = self.in_flight.load(Ordering::Relaxed);
        self.in_flight_max.store(now, Ordering::Relaxed);
    }

    fn state(&self) -> State {
        let counts = self.counts.lock();
        State {
            requests: self.requests.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            in_flight_max: self.in_flight_max.load(Ordering::Relaxed),
            connections_accepted: self.connections.load(Ordering::Relaxed),
            connections_open: self.open.load(Ordering::Relaxed),
            grants: counts
                .grants
                .iter()
                .map(|(grant, count)| (grant.name().to_owned(), *count))
                .collect(),
            operations: counts
                .operations
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            statuses: counts.statuses.iter().map(|(k, v)| (*k, *v)).collect(),
            subjects: counts.subjects.iter().map(|(k, v)| (*k, *v)).collect(),
            ..counts.state.clone()
        }
    }
}

impl Finding {
    /// Adds what one map or field of the state can take as it is.
    fn note(&self, state: &mut State) {
        if let Some(cause) = self.cause {
            *state.unauthorized.entry(cause).or_default() += 1;
        }
        if let Some(target) = self.impersonated {
            *state.impersonated.entry(target).or_default() += 1;
        }
        let headers = self.authorization_headers;
        state.authorization_headers_max = state.authorization_headers_max.max(headers);
        state.refresh_reused += u64::from(self.refresh_reused);
        state.read_only_refused += u64::from(self.read_only_refused);
        if let (true, Some(subject)) = (self.new_token, self.subject) {
            state.access_tokens_seen += 1;
            *state.access_tokens_by_subject.entry(subject).or_default() += 1;
        }
        state.cookies += u64::from(self.cookie);
        state.outside_api += u64::from(self.outside);
        state.faults_met += u64::from(self.fault);
        match self.authorization_on {
            _ if headers == 0 => {}
            AuthorizationOn::Other => {}
            AuthorizationOn::Public => state.authorization_on_public += 1,
            AuthorizationOn::Token => state.authorization_on_token += 1,
        }
    }
}

/// Returns the counters as they stand.
pub(crate) fn state(shared: &Shared) -> State {
    let live = shared.tokens.live();
    State {
        access_tokens_live: live.access_tokens as u64,
        api_keys_live: live.api_keys as u64,
        sessions_live: live.sessions as u64,
        faults_waiting: shared.faults.waiting().len() as u64,
        ..shared.tally.state()
    }
}
