//! What a verification found, in words.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// How many findings are kept; more are counted.
const MOST: usize = 200;

/// What kind of damage it is. As text, and in JSON, in small letters with underscores.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// A record is not the one that was signed.
    Altered,
    /// A checkpoint that is not in its form, or not signed by a key that is trusted.
    BadCheckpoint,
    /// A checkpoint that the records do not fit, and nothing says which of them.
    Mismatch,
    /// Two checkpoints that cannot be of one log.
    Forked,
    /// A line that is no record of this log.
    Foreign,
    /// Checkpoints that must have been signed are not there.
    NoCheckpoints,
    /// Records that were signed are not there.
    Missing,
    /// A record that stands once more, or not in its place.
    OutOfPlace,
    /// The last line is no whole one.
    Torn,
    /// The file of the tree is damaged, while the records are right.
    Tree,
}

impl Harm {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::BadCheckpoint => "bad_checkpoint",
            Self::Mismatch => "mismatch",
            Self::Forked => "forked",
            Self::Foreign => "foreign",
            Self::NoCheckpoints => "no_checkpoints",
            Self::Missing => "missing",
            Self::OutOfPlace => "out_of_place",
            Self::Torn => "torn",
            Self::Tree => "tree",
        }
    }

    /// What helps.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Altered | Self::Foreign | Self::OutOfPlace | Self::Mismatch => {
                "keep a copy of the directory for the inquiry, and compare it with a backup or with \
                 what a sink has got"
            }
            Self::Missing => {
                "look for the records in a backup or in what a sink has got; keep a copy of the \
                 directory for the inquiry"
            }
            Self::BadCheckpoint => {
                "if the key is an older one of this log, give it with --key; else keep a copy for \
                 the inquiry"
            }
            Self::Forked => {
                "somebody has put an older copy back and gone on with it, or has the signing key: \
                 keep both copies, and replace the key"
            }
            Self::NoCheckpoints => {
                "put back the .notes files and the second place as they were: checkpoints were taken \
                 away, or an older copy was put back. Only of a log that never had any: start the \
                 gateway, which signs what is there"
            }
            Self::Torn => {
                "if the gateway was killed and no checkpoint covers the line, its next start cuts it \
                 off and records that"
            }
            Self::Tree => {
                "no record is lost: stop the gateway and move the file `hashes` away; the next start \
                 makes it anew from the lines, as far as they are still there"
            }
        }
    }
}

/// One damage.
#[derive(Clone, Debug, Serialize)]
pub struct Damage {
    /// What kind.
    pub harm: Harm,
    /// The first record that is concerned, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// The one after the last that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Where in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What helps.
    pub remedy: &'static str,
}

impl Damage {
    pub(super) fn new(harm: Harm, what: impl Into<String>) -> Self {
        Self {
            harm,
            first: None,
            next: None,
            file: None,
            offset: None,
            what: what.into(),
            remedy: harm.remedy(),
        }
    }

    pub(super) fn of(mut self, first: u64, next: u64) -> Self {
        self.first = Some(first);
        self.next = Some(next);
        self
    }

    pub(super) fn at(mut self, file: &Path, offset: u64) -> Self {
        self.file = Some(file.to_owned());
        self.offset = Some(offset);
        self
    }

    /// Takes the next one in, if it is the same with the next record.
    fn absorb(&mut self, other: &Self) -> bool {
        let goes_on = self.harm == other.harm
            && self.what == other.what
            && self.file == other.file
            && self.next.is_some()
            && self.next == other.first;
        if goes_on {
            self.next = other.next;
        }
        goes_on
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.next) {
            (Some(first), Some(next)) if next == first + 1 => write!(f, "record {first}: ")?,
            (Some(first), Some(next)) => write!(f, "records {first} to {}: ", next - 1)?,
            (Some(first), None) => write!(f, "from record {first} on: ")?,
            _ => {}
        }
        f.write_str(&self.what)?;
        if let Some(file) = &self.file {
            write!(f, ", {}", file.display())?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ". What helps: {}", self.remedy)
    }
}

/// Damages, the first ones in words and the rest counted.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Damage>,
    more: u64,
}

impl Findings {
    pub(super) fn add(&mut self, damage: Damage) {
        if self
            .list
            .last_mut()
            .is_some_and(|last| last.absorb(&damage))
        {
            return;
        }
        if self.list.len() < MOST {
            self.list.push(damage);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_parts(mut self) -> (Vec<Damage>, u64) {
        // What concerns no record stands first: it says how far the rest can be believed.
        self.list.sort_by_key(|damage| damage.first);
        (self.list, self.more)
    }
}

/// Whose keys the checkpoints were verified with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeysFrom {
    /// Given by whoever verifies.
    Given,
    /// What stands beside the log itself, where whoever alters the log may alter it, too.
    Directory,
}

/// What a witness has signed last.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Witnessed {
    /// Its name.
    pub name: String,
    /// The size of the largest tree.
    pub size: u64,
    /// When, in seconds since 1970.
    pub time: u64,
}

/// What was verified, and what is wrong.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The records whose lines were read.
    pub records: u64,
    /// The bytes that were read of them.
    pub bytes: u64,
    /// The first record that was read, and the one after the last.
    pub first: u64,
    /// The one after the last that was read.
    pub next: u64,
    /// The checkpoints whose signature and root are right.
    pub checkpoints: u64,
    /// How many records the largest right checkpoint covers.
    pub covered: u64,
    /// Its root, in base64.
    pub root: Option<String>,
    /// Records at the end that no checkpoint covers yet.
    pub uncovered: u64,
    /// Records that are gone by retention, as records of the log tell.
    pub removed: u64,
    /// Lines that do not count, since a later file has the record.
    pub superseded: u64,
    /// Whose keys were trusted.
    pub keys: KeysFrom,
    /// Checkpoints of the second place that are right, if one was read.
    pub second_place: Option<u64>,
    /// What witnesses have signed.
    pub witnesses: Vec<Witnessed>,
    /// What is wrong.
    pub damage: Vec<Damage>,
    /// How many findings more there are.
    pub more_damage: u64,
    /// What is no damage and yet to be known.
    pub notices: Vec<String>,
}

impl Report {
    /// Whether all that is wrong may be so only because the log was being written.
    pub(super) fn may_pass(&self) -> bool {
        let stays = [
            Harm::Altered,
            Harm::Mismatch,
            Harm::Forked,
            Harm::OutOfPlace,
        ];
        let stays = |damage: &Damage| stays.contains(&damage.harm);
        !self.damage.iter().any(stays)
    }

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}
