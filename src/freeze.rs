//! The emergency stop: what operators have frozen, over restarts and in every process of the gateway.
//!
//! It is kept in a plain file of its own in the state directory, so that it depends on no key and no
//! database. What cannot be read is taken for a freeze of everything: a damaged file thaws nothing.

mod file;
mod hold;
mod in_force;
#[cfg(test)]
mod tests;

pub use file::FreezeError;
pub use hold::{Hold, Scope};

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use file::{Content, HoldFile, Stamp};
use in_force::InForce;

/// A request is stopped by a freeze.
#[derive(Clone, Debug)]
pub struct Stopped(pub Arc<Hold>);

/// What came about without this process: another one did it, or somebody changed the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// A freeze.
    Frozen(Hold),
    /// The end of one.
    Thawed(Hold),
}

/// Knows what is frozen.
#[derive(Debug)]
pub struct Freezer {
    in_force: ArcSwap<InForce>,
    /// Whether anything is in force. Most often nothing is, and a look at this is enough.
    is_any: AtomicBool,
    known: Mutex<Known>,
    /// Held by whoever works on the file: which file it was that was last read. Never needed to
    /// freeze, since a disk may hang.
    disk: Mutex<Option<Stamp>>,
    file: Option<HoldFile>,
}

#[derive(Debug, Default)]
struct Known {
    /// The ids of tenants that are frozen by names.
    ids: HashMap<String, String>,
    /// The file does not have all of them.
    has_new_ids: bool,
    /// As it stands in the file.
    kept: Vec<Hold>,
    /// What is in force and could not be written yet.
    unsaved: Vec<Hold>,
    /// The file cannot be read: what stands in its stead.
    unreadable: Option<Hold>,
    /// What others have done, and nobody was told of yet.
    seen: Vec<Seen>,
}

impl Freezer {
    /// Reads what is frozen. Blocks.
    ///
    /// # Errors
    /// Fails when the file is there and cannot be read: nothing may be served then.
    pub fn open(directory: &Path) -> Result<Self, FreezeError> {
        let file = HoldFile::within(directory);
        let (kept, stamp) = match file.read()? {
            Some(Content { holds, stamp }) => (holds, Some(stamp)),
            None => (Vec::new(), None),
        };
        let freezer = Self {
            disk: Mutex::new(stamp),
            file: Some(file),
            ..Self::nowhere()
        };
        let mut known = freezer.known.lock();
        known.seen = kept.iter().cloned().map(Seen::Frozen).collect();
        known.kept = kept;
        freezer.publish(&known);
        drop(known);
        Ok(freezer)
    }

    /// Keeps freezes in memory only.
    pub fn nowhere() -> Self {
        Self {
            in_force: ArcSwap::default(),
            is_any: AtomicBool::new(false),
            known: Mutex::default(),
            disk: Mutex::new(None),
            file: None,
        }
    }

    /// Whether a caller may call at all: a client of this name, or somebody who has none.
    ///
    /// # Errors
    /// Says what stops it.
    pub fn check_caller(&self, client: Option<&str>) -> Result<(), Stopped> {
        if !self.stops_any() {
            return Ok(());
        }
        let in_force = self.in_force.load();
        let of_client = || in_force.clients.get(client?);
        stopped(in_force.everything.as_ref().or_else(of_client))
    }

    /// Whether anybody may act for a tenant of this name.
    ///
    /// # Errors
    /// Says what stops it.
    pub fn check_tenant(&self, tenant: &str) -> Result<(), Stopped> {
        if !self.stops_any() {
            return Ok(());
        }
        let in_force = self.in_force.load();
        let of_tenant = || in_force.tenants.get(tenant);
        stopped(in_force.everything.as_ref().or_else(of_tenant))
    }

    /// Whether any tenant is frozen.
    pub fn stops_tenants(&self) -> bool {
        self.stops_any() && !self.in_force.load().tenants.is_empty()
    }

    fn stops_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    /// All that is in force.
    pub fn holds(&self) -> Vec<Hold> {
        self.known.lock().in_force().cloned().collect()
    }

    /// How many freezes are in force. Of everything, if that is frozen: why.
    pub fn state(&self) -> (usize, Option<Arc<Hold>>) {
        let in_force = self.in_force.load();
        (in_force.count, in_force.everything.clone())
    }

    /// Freezes, in this process and at once; waits for nothing. [`Freezer::keep`] has to follow.
    /// Gives the freeze back that is in force for the same already.
    pub fn hold(&self, hold: Hold) -> Option<Hold> {
        let mut known = self.known.lock();
        let earlier = known.kept.iter().chain(&known.unsaved);
        if let Some(earlier) = earlier.clone().find(|other| other.is_of(&hold.scope)) {
            return Some(earlier.clone());
        }
        known.unsaved.push(hold);
        self.publish(&known);
        None
    }

    /// Writes what is in force: when this returns, it survives a restart, and the other processes
    /// learn of it within a second or so. Blocks.
    ///
    /// # Errors
    /// Fails when the file cannot be read or written. The freeze stays in force, and
    /// [`Freezer::look`] tries again.
    pub fn keep(&self) -> Result<(), FreezeError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let busy = || file.error("is not free for writing", file::busy());
        let mut stamp = self.disk.try_lock_for(PATIENCE).ok_or_else(busy)?;
        self.save(file, &mut stamp)
    }

    /// Learns the ids of tenants that are frozen by names, so that they stay frozen when their
    /// companies are renamed. `id_of` says which tenant has a name now. In force at once; the next
    /// [`Freezer::look`] writes it.
    pub fn learn_ids(&self, id_of: impl Fn(&str) -> Option<String>) {
        let mut known = self.known.lock();
        let open = known.in_force().filter_map(Hold::open_name);
        let found = open.filter_map(|name| {
            let id = id_of(name).filter(|id| id != name)?;
            Some((name.to_owned(), id))
        });
        let found: Vec<_> = found.collect();
        if found.is_empty() {
            return;
        }
        for (name, id) in &found {
            tracing::info!(
                name,
                id,
                "a tenant that is frozen by its name is known by its id"
            );
        }
        known.ids.extend(found);
        known.settle();
        self.publish(&known);
    }

    /// Ends a freeze; when this returns, it is off the disk and not in force. Gives it back, if
    /// there was one. Blocks.
    ///
    /// # Errors
    /// Fails when the file cannot be read or written. Nothing is thawed then.
    pub fn thaw(&self, scope: &Scope) -> Result<Option<Hold>, FreezeError> {
        let remove = |holds: &mut Vec<Hold>| {
            let place = holds.iter().position(|hold| hold.is_of(scope))?;
            Some(holds.remove(place))
        };
        let mut of_file = None;
        if let Some(file) = &self.file {
            let busy = || file.error("is not free for writing", file::busy());
            let mut stamp = self.disk.try_lock_for(PATIENCE).ok_or_else(busy)?;
            of_file = self.rewrite(file, &mut stamp, remove)?;
        }
        let mut known = self.known.lock();
        let unsaved = remove(&mut known.unsaved);
        known.settle();
        self.publish(&known);
        Ok(of_file.or(unsaved))
    }

    /// Looks for what other processes have done, and writes what could not be written before. To be
    /// called about once a second. Blocks.
    pub fn look(&self) -> Vec<Seen> {
        if let Some(file) = &self.file
            && let Some(mut stamp) = self.disk.try_lock()
        {
            self.look_into(file, &mut stamp);
        }
        std::mem::take(&mut self.known.lock().seen)
    }

    fn look_into(&self, file: &HoldFile, stamp: &mut Option<Stamp>) {
        match file.stamp() {
            Ok(None) if stamp.take().is_some() => {
                tracing::error!(
                    file = %file.display(),
                    "the file is gone: what was frozen stays so until it is thawed, or the process ends"
                );
            }
            Ok(now) if now == *stamp => {}
            _ => match file.read() {
                Ok(Some(content)) => {
                    *stamp = Some(content.stamp);
                    self.learn(content.holds);
                }
                Ok(None) => {}
                Err(error) => self.distrust(&error),
            },
        }
        if let Err(error) = self.save(file, stamp) {
            tracing::error!(%error, "a freeze is in force, but would not survive a restart");
        }
    }

    fn save(&self, file: &HoldFile, stamp: &mut Option<Stamp>) -> Result<(), FreezeError> {
        let known = self.known.lock();
        let (unsaved, has_new_ids) = (known.unsaved.clone(), known.has_new_ids);
        drop(known);
        if unsaved.is_empty() && !has_new_ids {
            return Ok(());
        }
        self.rewrite(file, stamp, |holds| {
            for hold in unsaved {
                if holds.iter().all(|other| other.scope != hold.scope) {
                    holds.push(hold);
                }
            }
        })
    }

    /// Changes the file, whichever process changed it last.
    fn rewrite<T>(
        &self,
        file: &HoldFile,
        stamp: &mut Option<Stamp>,
        change: impl FnOnce(&mut Vec<Hold>) -> T,
    ) -> Result<T, FreezeError> {
        let _lock = file.lock()?;
        if let Some(content) = file.read()? {
            self.learn(content.holds);
        }
        // A file that is gone is no thaw.
        let mut holds = self.known.lock().kept.clone();
        let result = change(&mut holds);
        *stamp = Some(file.write(&holds)?);
        let mut known = self.known.lock();
        let is_kept = |hold: &Hold| holds.iter().any(|other| other.scope == hold.scope);
        known.unsaved.retain(|hold| !is_kept(hold));
        known.kept = holds;
        known.has_new_ids = false;
        known.settle();
        self.publish(&known);
        Ok(result)
    }

    /// Takes over what was read.
    fn learn(&self, holds: Vec<Hold>) {
        let mut known = self.known.lock();
        let known = &mut *known;
        if let Some(fault) = known.unreadable.take() {
            known.seen.push(Seen::Thawed(fault));
        }
        let is_in = |list: &[Hold], hold: &Hold| list.iter().any(|other| other.scope == hold.scope);
        for hold in &holds {
            if !is_in(&known.kept, hold) && !is_in(&known.unsaved, hold) {
                known.seen.push(Seen::Frozen(hold.clone()));
            }
        }
        for hold in &known.kept {
            if !is_in(&holds, hold) && !is_in(&known.unsaved, hold) {
                known.seen.push(Seen::Thawed(hold.clone()));
            }
        }
        known.kept = holds;
        known.settle();
        self.publish(known);
    }

    /// The file says something that cannot be read: it may say that everything is frozen. A disk
    /// that fails says nothing, and is asked again.
    fn distrust(&self, error: &FreezeError) {
        let mut known = self.known.lock();
        if known.unreadable.is_some() {
            return;
        }
        if !error.is_fault_of_file() {
            tracing::error!(%error, "what other processes have frozen is not known");
            return;
        }
        let hold = Hold {
            scope: Scope::Everything,
            id: None,
            since: "now".to_owned(),
            by: "the gateway itself".to_owned(),
            reason: Some(error.to_string()),
        };
        known.seen.push(Seen::Frozen(hold.clone()));
        known.unreadable = Some(hold);
        self.publish(&known);
    }

    fn publish(&self, known: &Known) {
        let in_force = InForce::of(known.in_force());
        // In this order: whoever sees that there is something finds it. No other publishes meanwhile,
        // as what is known is locked.
        let is_any = in_force.count > 0;
        self.in_force.store(Arc::new(in_force));
        self.is_any.store(is_any, Ordering::Release);
    }
}

impl Known {
    /// Gives freezes by names the ids that are known, and forgets those of names that are not
    /// frozen any more.
    fn settle(&mut self) {
        let Self { ids, kept, .. } = self;
        let mut is_new = false;
        for hold in kept.iter_mut().chain(&mut self.unsaved) {
            if let Some(id) = hold.open_name().and_then(|name| ids.get(name)) {
                hold.id = Some(id.clone());
                is_new = true;
            }
        }
        self.has_new_ids |= is_new;
        let holds = || self.kept.iter().chain(&self.unsaved);
        let is_frozen =
            |name: &str| holds().any(|hold| hold.scope == Scope::Tenant(name.to_owned()));
        self.ids.retain(|name, _| is_frozen(name));
    }

    fn in_force(&self) -> impl Iterator<Item = &Hold> {
        let fault = self.unreadable.iter();
        fault.chain(&self.kept).chain(&self.unsaved)
    }
}

fn stopped(by: Option<&Arc<Hold>>) -> Result<(), Stopped> {
    by.map_or(Ok(()), |hold| Err(Stopped(Arc::clone(hold))))
}

/// How long to wait for whoever works on the file.
const PATIENCE: Duration = Duration::from_secs(2);
