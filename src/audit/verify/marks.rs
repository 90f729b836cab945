//! The checkpoints that the records have to fit, with their signatures verified.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use tlog_tiles::Hash;

use super::Options;
use super::report::{Damage, Findings, Harm, Witnessed};
use crate::audit::checkpoint::{self, BadNote, Notes, Signed};
use crate::audit::fault::Fault;
use crate::audit::handover::{self, Handovers};
use crate::audit::note::{KeyKind, Verified, VerifierKey};

/// How many checkpoints are verified at once.
const BATCH: usize = 4096;

/// Where a checkpoint comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// The log's own directory.
    Own,
    /// The notes that witnesses signed, in the directory, too.
    Cosigned,
    /// The second place.
    Second,
    /// A file that whoever verifies has kept.
    Kept,
}

/// A checkpoint whose signature is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) origin: Origin,
    file: usize,
    offset: u64,
    /// The place of its key among those that were given.
    key: usize,
}

/// All checkpoints, the smallest tree first.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) list: Vec<Mark>,
    files: Vec<PathBuf>,
    witnesses: BTreeMap<String, (u64, u64)>,
    /// Whether there was any, right or not.
    pub(super) any: bool,
    handovers: Handovers,
}

impl Marks {
    /// Reads and verifies them: those of elsewhere first, so that the log is never found to be behind
    /// only because it went on meanwhile.
    pub(super) fn read(options: &Options, findings: &mut Findings) -> Result<Self, Fault> {
        let mut marks = Self::default();
        for kept in &options.since {
            let notes = Notes::in_text(&kept.path, kept.text.clone().into_bytes());
            marks.take(notes, Origin::Kept, options, findings)?;
        }
        if let Some(second) = &options.second {
            marks.take(Notes::in_file(second), Origin::Second, options, findings)?;
        }
        let cosigned = options.directory.join(checkpoint::COSIGNED);
        marks.take(
            Notes::in_file(&cosigned),
            Origin::Cosigned,
            options,
            findings,
        )?;
        marks.take(
            Notes::of(&options.directory)?,
            Origin::Own,
            options,
            findings,
        )?;
        marks.list.sort_by_key(|mark| mark.size);
        marks.refuse_ended(&options.keys, findings);
        marks.find_behind(findings);
        let second = options.second.as_deref();
        if let Some(second) = second.filter(|_| !marks.list.is_empty())
            && !marks.list.iter().any(|mark| mark.origin == Origin::Second)
        {
            let what = "the second place has no checkpoint that is right";
            let mut damage = Damage::new(Harm::NoCheckpoints, what);
            damage.file = Some(second.to_owned());
            findings.add(damage);
        }
        Ok(marks)
    }

    /// Where a checkpoint stands.
    pub(super) fn place(&self, mark: &Mark) -> (&Path, u64) {
        let path = self.files.get(mark.file).map(PathBuf::as_path);
        (path.unwrap_or(Path::new("")), mark.offset)
    }

    /// How many records the largest of an origin covers.
    pub(super) fn largest(&self, of: impl Fn(Origin) -> bool) -> u64 {
        let sizes = self.list.iter().filter(|mark| of(mark.origin));
        sizes.map(|mark| mark.size).max().unwrap_or(0)
    }

    /// How many records the oldest checkpoint of the directory covers.
    pub(super) fn oldest(&self) -> Option<u64> {
        let own = self.list.iter().filter(|mark| mark.origin == Origin::Own);
        own.map(|mark| mark.size).min()
    }

    /// What witnesses have signed.
    pub(super) fn witnessed(&self) -> Vec<Witnessed> {
        let all = self.witnesses.iter();
        all.map(|(name, (size, time))| Witnessed {
            name: name.clone(),
            size: *size,
            time: *time,
        })
        .collect()
    }

    fn take(
        &mut self,
        mut notes: Notes,
        origin: Origin,
        options: &Options,
        findings: &mut Findings,
    ) -> Result<(), Fault> {
        loop {
            let mut batch = Vec::new();
            for note in notes.by_ref().take(BATCH) {
                match note {
                    Ok(signed) => batch.push(signed),
                    Err(BadNote::File(fault)) => return Err(fault),
                    Err(bad) => {
                        self.any = true;
                        findings.add(broken(&bad));
                    }
                }
            }
            if batch.is_empty() && notes.is_at_end() {
                return Ok(());
            }
            self.any |= !batch.is_empty();
            for (signed, verdict) in verify_all(batch, options) {
                let verdict = match origin {
                    Origin::Cosigned => verdict.and_then(|seen| known(&signed, options, seen)),
                    _ => verdict,
                };
                match verdict {
                    Ok(seen) => self.add(&signed, origin, seen, &options.keys),
                    Err(why) => findings
                        .add(Damage::new(Harm::BadCheckpoint, why).at(&signed.path, signed.offset)),
                }
            }
        }
    }

    fn add(&mut self, signed: &Signed, origin: Origin, seen: Vec<Verified>, keys: &[VerifierKey]) {
        let size = signed.checkpoint.size;
        self.handovers.saw(keys, &signed.note, size);
        for Verified { name, time } in seen {
            let largest = self.witnesses.entry(name).or_default();
            *largest = (*largest).max((size, time.unwrap_or(0)));
        }
        if self.files.last() != Some(&signed.path) {
            self.files.push(signed.path.clone());
        }
        self.list.push(Mark {
            size,
            root: signed.checkpoint.root,
            origin,
            file: self.files.len() - 1,
            offset: signed.offset,
            key: handover::signer(keys, &signed.note).unwrap_or(0),
        });
    }

    /// Takes out what was signed by keys that had ended.
    fn refuse_ended(&mut self, keys: &[VerifierKey], findings: &mut Findings) {
        let ends: Vec<_> = (0..keys.len())
            .map(|place| self.handovers.end_of(keys, place))
            .collect();
        let end = |mark: &Mark| {
            let end = ends.get(mark.key).copied().flatten();
            end.filter(|end| mark.size > *end)
        };
        for mark in &self.list {
            let Some(end) = end(mark) else {
                continue;
            };
            let (path, offset) = self.place(mark);
            let what = format!(
                "it is of {} records, and its key ended when the key after it signed for {end}: somebody has \
                 a key that is out of use, or the keys were not given in the order of their use",
                mark.size
            );
            findings.add(Damage::new(Harm::BadCheckpoint, what).at(path, offset));
        }
        self.list.retain(|mark| end(mark).is_none());
        if let Some(key) = self.handovers.idle(keys) {
            let what = format!(
                "the last of the keys has signed nothing: its checkpoints were taken away, or it is \
                 not the key that signs now ({key})"
            );
            findings.add(Damage::new(Harm::NoCheckpoints, what));
        }
    }

    /// The log has what it gave out: its own directory has a checkpoint as large as any elsewhere.
    fn find_behind(&self, findings: &mut Findings) {
        let own = self.largest(|origin| origin == Origin::Own);
        let elsewhere = self.list.iter().filter(|mark| mark.origin != Origin::Own);
        let Some(mark) = elsewhere.max_by_key(|mark| mark.size) else {
            return;
        };
        if mark.size > own {
            let (path, offset) = self.place(mark);
            let what = format!(
                "the newest checkpoint in the directory is of {own} records, but one of {} was \
                 signed: the directory was cut, or an older copy was put back",
                mark.size
            );
            findings.add(Damage::new(Harm::NoCheckpoints, what).at(path, offset));
        }
    }
}

fn broken(bad: &BadNote) -> Damage {
    match bad {
        BadNote::Torn { path, offset } => {
            Damage::new(Harm::Torn, "the last checkpoint is not whole").at(path, *offset)
        }
        BadNote::Form { path, offset, why } => {
            let what = format!("what stands here is no checkpoint ({why})");
            Damage::new(Harm::BadCheckpoint, what).at(path, *offset)
        }
        BadNote::File(fault) => Damage::new(Harm::BadCheckpoint, fault.to_string()),
    }
}

type Verdict = Result<Vec<Verified>, String>;

/// Verifies the signatures of many, on all threads.
fn verify_all(batch: Vec<Signed>, options: &Options) -> Vec<(Signed, Verdict)> {
    let share = batch.len().div_ceil(options.threads.max(1)).max(1);
    let verdicts: Vec<Verdict> = thread::scope(|scope| {
        let parts: Vec<_> = batch
            .chunks(share)
            .map(|part| {
                let judge = |signed| verify(signed, &options.keys, &options.witnesses);
                scope.spawn(move || part.iter().map(judge).collect::<Vec<_>>())
            })
            .collect();
        let lost = |_| Vec::new();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(lost))
            .collect()
    });
    batch.into_iter().zip(verdicts).collect()
}

/// Takes what witnesses signed: the gateway keeps no signature that it could not verify. Nothing is
/// known where no witness is.
fn known(signed: &Signed, options: &Options, seen: Vec<Verified>) -> Verdict {
    let mut keys = options.keys.clone();
    keys.extend_from_slice(&options.witnesses);
    match signed.note.strangers(&keys).as_slice() {
        [name, ..] if !options.witnesses.is_empty() => Err(format!(
            "it is signed by {name}, of whom no key is known: give the key of a witness of before by --key"
        )),
        _ => Ok(seen),
    }
}

/// The witnesses that signed a checkpoint of the log.
pub(super) fn verify(signed: &Signed, keys: &[VerifierKey], witnesses: &[VerifierKey]) -> Verdict {
    let by = signed
        .note
        .verify(keys)
        .map_err(|error| error.to_string())?;
    let origin = &signed.checkpoint.origin;
    if !by.iter().any(|by| by.name == *origin) {
        return Err(format!(
            "the checkpoint is of the log {origin}, and the key that signed it of another"
        ));
    }
    let is_by = |name: &str| witnesses.iter().any(|key| key.name() == name);
    if !signed.note.signatures().iter().any(|it| is_by(it.name())) {
        return Ok(Vec::new());
    }
    match signed.note.verify(witnesses) {
        Ok(seen) => Ok(seen.into_iter().filter(|it| it.time.is_some()).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// Parts keys that were given: those of logs, and those of witnesses.
pub fn by_kind(keys: Vec<VerifierKey>) -> (Vec<VerifierKey>, Vec<VerifierKey>) {
    keys.into_iter()
        .partition(|key| key.kind() == KeyKind::Note)
}
