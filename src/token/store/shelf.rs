//! Impersonated tokens, kept so that a restart costs the console nothing.
//!
//! They are written a moment later and many at once: losing one costs a call to the console.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::super::lease::Lease;
use super::access::StoredAccess;
use super::{SessionStore, report};
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::state::{State, Table};
use crate::tenant::TokenKey;
use crate::vspc::grant::Access;

/// What waits to be written.
#[derive(Default)]
pub(super) struct Shelf {
    waiting: Mutex<HashMap<Name, Item>>,
    /// What is being written just now: not on the disk for sure.
    moving: Mutex<Arc<HashMap<Name, Item>>>,
    /// Told when something waits.
    filled: Notify,
}

/// Console, user and access of a token.
type Name = Box<[u8]>;

#[derive(Clone)]
enum Item {
    Gone,
    Kept {
        issued: Timestamp,
        lease: Lease,
        lifetime: Duration,
        print: Option<u64>,
    },
}

impl SessionStore {
    /// Keeps a token that was issued just now, on the strength of credentials with that `print`.
    pub(in super::super) fn shelve(
        &self,
        key: &TokenKey,
        lease: &Lease,
        lifetime: Duration,
        print: Option<u64>,
    ) {
        if self.state.is_some() {
            let item = Item::Kept {
                issued: self.clock.now(),
                lease: lease.clone(),
                lifetime,
                print,
            };
            self.shelf.put(key, item);
        }
    }

    /// Forgets a token.
    pub(in super::super) fn unshelve(&self, key: &TokenKey) {
        if self.state.is_some() {
            self.shelf.put(key, Item::Gone);
        }
    }

    /// The token of a key, if one is kept that was obtained with the credentials of now.
    pub(in super::super) async fn shelved(
        &self,
        key: &TokenKey,
        print: Option<u64>,
    ) -> Option<StoredAccess> {
        let state = self.state.clone()?;
        let name = name(key);
        let found = match self.shelf.find(&name) {
            Some(item) => item.into_stored(),
            None => {
                let load = move || report(state.get(Table::Leases, &name)).flatten();
                let value = tokio::task::spawn_blocking(load).await.ok()??;
                read(&value)
            }
        };
        let (stored, of) = found?;
        (of == print).then_some(stored)
    }

    /// Writes what waits, whenever something does. Ends only by being dropped.
    pub(in super::super) async fn keep_writing(&self) {
        let Some(state) = &self.state else {
            return std::future::pending().await;
        };
        loop {
            self.shelf.filled.notified().await;
            tokio::time::sleep(GATHERING).await;
            let (state, shelf) = (Arc::clone(state), Arc::clone(&self.shelf));
            drop(tokio::task::spawn_blocking(move || shelf.write(&state)).await);
        }
    }

    /// Writes what waits now. Blocks.
    pub(in super::super) fn write_now(&self) {
        if let Some(state) = &self.state {
            self.shelf.write(state);
        }
    }

    /// Takes what is over off the disk. Blocks.
    pub(in super::super) fn sweep(&self) {
        let Some(state) = &self.state else { return };
        let now = self.clock.now();
        let mut over = Vec::new();
        for (name, value) in report(state.all(Table::Leases)).unwrap_or_default() {
            let is_alive = read(&value).is_some_and(|(stored, _)| stored.span(now).is_some());
            if !is_alive {
                over.push(name);
            }
        }
        for some in over.chunks(AT_ONCE) {
            report(state.change(Table::Leases, |change| {
                some.iter().try_for_each(|name| {
                    let is_over = change
                        .get(name)?
                        .and_then(|value| read(&value))
                        .is_none_or(|(stored, _)| stored.span(now).is_none());
                    if is_over {
                        change.remove(name)?;
                    }
                    Ok(())
                })
            }));
        }
    }
}

impl Shelf {
    fn put(&self, key: &TokenKey, item: Item) {
        let mut waiting = self.waiting.lock();
        // Where the disk takes nothing for long, the newest are not kept.
        if waiting.len() < MOST_WAITING {
            waiting.insert(name(key), item);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// What could not be written is tried again with what comes next, unless that is newer.
    fn put_back(&self, some: &[(&Name, &Item)]) {
        let mut waiting = self.waiting.lock();
        for (name, item) in some {
            let known = waiting.entry((*name).clone());
            known.or_insert_with(|| (*item).clone());
        }
    }

    fn find(&self, name: &[u8]) -> Option<Item> {
        if let Some(item) = self.waiting.lock().get(name) {
            return Some(item.clone());
        }
        self.moving.lock().get(name).cloned()
    }

    fn write(&self, state: &State) {
        let moving = {
            // Found in one place or the other at any time.
            let mut waiting = self.waiting.lock();
            let moving = Arc::new(mem::take(&mut *waiting));
            *self.moving.lock() = Arc::clone(&moving);
            moving
        };
        let items: Vec<_> = moving.iter().collect();
        for some in items.chunks(AT_ONCE) {
            let written = state.change(Table::Leases, |change| {
                some.iter().try_for_each(|(name, item)| match item.value() {
                    Some(value) => change.put(name, &value),
                    None => change.remove(name),
                })
            });
            if report(written).is_none() {
                self.put_back(some);
            }
        }
        *self.moving.lock() = Arc::default();
    }
}

impl Item {
    fn value(&self) -> Option<Zeroizing<Vec<u8>>> {
        let Self::Kept {
            issued,
            lease,
            lifetime,
            print,
        } = self
        else {
            return None;
        };
        let token = lease.token();
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let mut value = Zeroizing::new(Vec::with_capacity(HEAD + token.len()));
        value.push(FORMAT);
        value.extend(issued.0.to_be_bytes());
        value.extend(seconds.to_be_bytes());
        value.push(u8::from(print.is_some()));
        value.extend(print.unwrap_or_default().to_be_bytes());
        value.extend(token);
        Some(value)
    }

    fn into_stored(self) -> Option<(StoredAccess, Option<u64>)> {
        read(&self.value()?)
    }
}

fn read(value: &[u8]) -> Option<(StoredAccess, Option<u64>)> {
    let (format, rest) = value.split_first()?;
    let (issued, rest) = rest.split_first_chunk()?;
    let (lifetime, rest) = rest.split_first_chunk()?;
    let (has_print, rest) = rest.split_first()?;
    let (print, token) = rest.split_first_chunk()?;
    if *format != FORMAT {
        return None;
    }
    let stored = StoredAccess {
        access: Secret::new(std::str::from_utf8(token).ok()?.to_owned()),
        issued: Timestamp(i64::from_be_bytes(*issued)),
        lifetime: Duration::from_secs(u64::from(u32::from_be_bytes(*lifetime))),
    };
    let print = (*has_print == 1).then(|| u64::from_be_bytes(*print));
    Some((stored, print))
}

fn name(key: &TokenKey) -> Name {
    let access = match key.access {
        Access::Full => b"f",
        Access::ReadOnly => b"r",
    };
    // The user and the access have fixed lengths, so that no two keys have one name.
    [
        key.target.0.as_bytes(),
        &access[..],
        key.console.as_str().as_bytes(),
    ]
    .concat()
    .into()
}

const AT_ONCE: usize = 512;
const FORMAT: u8 = 1;
const GATHERING: Duration = Duration::from_millis(500);
const HEAD: usize = 22;
const MOST_WAITING: usize = 250_000;
