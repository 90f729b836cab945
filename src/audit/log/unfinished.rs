//! Closes requests whose process ended before they did.
//!
//! All of it happens under the lock: whoever lives and shares the log notes a request before its
//! intent and gives the slot back after its outcome, both written under the lock, so that a request
//! that seems to be unfinished is either in the file of one who lives, or is.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::Log;
use crate::audit::fault::Fault;
use crate::audit::flight::{Orphan, in_flight, put_end, put_start};
use crate::audit::json;
use crate::audit::queue::Batch;
use crate::audit::segment::{self, LinesBack};
use crate::clock::Timestamp;

/// How much of the log is read back: after a loss of power nobody knows which outcomes it has. At
/// 10,000 requests a second it is what was written in the last minute or so; the system keeps what
/// was written to a file in memory for half of that.
const LOOK_BACK: u64 = 256 * 1024 * 1024;
/// The event that ends the records of a process in order.
const STOPPED: &str = "process.stopped";
const FOUND: &str = "the process or the machine stopped before the request ended: whether the \
                     console has done it is not known";

/// What is to be closed.
pub(in crate::audit) struct Unfinished<'a> {
    /// The files of processes that ended.
    pub(in crate::audit) orphans: &'a [Orphan],
    /// The files of processes that live.
    pub(in crate::audit) living: &'a [PathBuf],
    /// Intents without an outcome are looked for in any case.
    pub(in crate::audit) deep: bool,
    /// Records of what was found.
    pub(in crate::audit) events: Vec<Vec<u8>>,
}

/// The last part of the log.
#[derive(Default)]
struct Back {
    /// The requests that have an outcome in it.
    ended: HashSet<String>,
    /// The intents that have none.
    intents: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
struct Line {
    kind: String,
    request_id: Option<String>,
    operation: Option<String>,
}

impl Log {
    /// The time by the log's clock.
    pub(in crate::audit) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether the last record says that a process ended in order, or there is none.
    pub(in crate::audit) fn is_ended(&self) -> io::Result<bool> {
        let mut ended = true;
        self.look_back(|_, line| {
            let last = serde_json::from_slice::<Line>(&line).ok();
            let operation = last.and_then(|last| last.operation);
            ended = operation.is_some_and(|operation| operation == STOPPED);
            false
        })?;
        Ok(ended)
    }

    /// Writes the outcome `unknown`, durably, for every request that has none and that nobody who
    /// lives has in flight. Returns how many there were. Done twice, it writes nothing twice.
    pub(in crate::audit) fn close_unfinished(
        &mut self,
        unfinished: &Unfinished<'_>,
    ) -> Result<u64, Fault> {
        let path = self.directory.clone();
        let changed = self.lock.acquire().map_err(Fault::of("lock", &path));
        let result = changed
            .and_then(|changed| {
                self.rescan |= changed;
                self.settle()
            })
            .and_then(|()| {
                let found = self.unfinished(unfinished);
                found.map_err(Fault::of("read", &path))
            })
            .and_then(|bodies| self.write_unfinished(unfinished, &bodies));
        self.lock.release();
        result
    }

    fn write_unfinished(
        &mut self,
        unfinished: &Unfinished<'_>,
        bodies: &[Vec<u8>],
    ) -> Result<u64, Fault> {
        let mut batch = Batch::default();
        for body in unfinished.events.iter().chain(bodies) {
            batch.push(body, false, None, None);
        }
        if !batch.is_empty() {
            // It takes the lock that we have, and releases it.
            self.commit(&batch, true)?;
        }
        Ok(super::long(bodies.len()))
    }

    fn unfinished(&self, unfinished: &Unfinished<'_>) -> io::Result<Vec<Vec<u8>>> {
        let now = self.now();
        let mut froms = unfinished.orphans.iter().map(Orphan::from);
        let from = froms.try_fold(u64::MAX, |least, from| Some(least.min(from?)));
        let from = from.filter(|_| !unfinished.deep);
        let mut back = self.read_back(from.unwrap_or(0), from.is_none())?;
        let mut bodies = Vec::new();
        for noted in unfinished.orphans.iter().flat_map(Orphan::notes) {
            let known = noted.request_id();
            if known.is_none_or(|id| back.ended.insert(id.to_owned())) {
                bodies.push(noted.outcome(now));
            }
        }
        if !back.intents.is_empty() {
            for living in unfinished.living {
                match in_flight(living)? {
                    Some(ids) => back.ended.extend(ids),
                    None => back.intents.clear(),
                }
            }
        }
        for line in back.intents.iter().rev() {
            let Ok(intent) = serde_json::from_slice::<Members>(line) else {
                continue;
            };
            let id = intent.text("request_id").unwrap_or_default();
            if back.ended.insert(id.to_owned()) {
                bodies.push(intent.outcome(now));
            }
        }
        Ok(bodies)
    }

    /// Reads the log from its end, to record `from` or as far as is read at most.
    fn read_back(&self, from: u64, intents: bool) -> io::Result<Back> {
        let mut back = Back::default();
        self.look_back(|seq, line| {
            if seq < from {
                return false;
            }
            let read = serde_json::from_slice::<Line>(&line).ok();
            let Some((kind, id)) = read.and_then(|read| Some((read.kind, read.request_id?))) else {
                return true;
            };
            if kind == "request" {
                back.ended.insert(id);
            } else if intents && kind == "intent" && !back.ended.contains(&id) {
                back.intents.push(line);
            }
            true
        })?;
        Ok(back)
    }

    /// Calls `each` with the records from the last to the first, until it says no. Damage is the
    /// end: what it is about must be closed all the same.
    fn look_back(&self, each: impl FnMut(u64, Vec<u8>) -> bool) -> io::Result<()> {
        match self.try_look_back(each) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::NotFound
                ) =>
            {
                tracing::warn!(%error, "the audit log cannot be read back further");
                Ok(())
            }
            result => result,
        }
    }

    fn try_look_back(&self, mut each: impl FnMut(u64, Vec<u8>) -> bool) -> io::Result<()> {
        let mut end = u64::MAX;
        let mut rest = LOOK_BACK;
        for first in segment::list(&self.directory)?.into_iter().rev() {
            let file = File::open(segment::path(&self.directory, first))?;
            let len = segment::complete_len(&file, file.metadata()?.len())?;
            let mut lines = LinesBack::new(&file, len);
            while let Some((_, line)) = lines.next()? {
                rest = rest.saturating_sub(super::long(line.len()));
                // What stands in two segments counts in the later one.
                let Some(seq) = segment::seq_of(&line).filter(|seq| *seq < end) else {
                    continue;
                };
                end = seq;
                if rest == 0 || !each(seq, line) {
                    return Ok(());
                }
            }
            end = end.min(first);
        }
        Ok(())
    }
}

/// The members of a record, in their order.
struct Members(Vec<(String, Value)>);

impl Members {
    fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(each, _)| each == name)?;
        value.as_str()
    }

    /// The record, without its start, that closes this intent.
    fn outcome(&self, now: Timestamp) -> Vec<u8> {
        const OWN: [&str; 7] = ["seq", "time", "kind", "code", "status", "began", "detail"];
        let mut body = Vec::new();
        put_start(&mut body, now);
        for (name, value) in &self.0 {
            if !OWN.contains(&name.as_str()) {
                body.push(b',');
                json::text(&mut body, name, usize::MAX);
                body.push(b':');
                json::value(&mut body, value, usize::MAX);
            }
        }
        let began = self.text("time").and_then(Timestamp::parse);
        put_end(&mut body, began, FOUND, false);
        body
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
