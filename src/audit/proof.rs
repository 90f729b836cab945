//! Proofs for others: that a record is in the log, and that the log only grew.
//!
//! The proof of a record is a C2SP tlog-proof, whose extra data is the record's line. The proof that
//! one state of the log grew out of another has the hashes and both signed checkpoints.

use std::fmt;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tlog_tiles::{Hash, check_record, check_tree, prove_record, prove_tree};

use super::checkpoint::{self, COSIGNED, Checkpoint, Notes, Signed};
use super::fault::Fault;
use super::note::{Note, NoteError, VerifierKey};
use super::query::{Filter, Query, Scan, Step};
use super::tree::{HashFile, leaf};

/// The first line of a proof of a record.
const RECORD: &str = "c2sp.org/tlog-proof@v1";
/// The first line of a proof that a log grew.
const GROWTH: &str = "vspc-gateway/consistency-proof@v1";
/// More hashes than any proof has.
const MOST_HASHES: usize = 128;

/// Why there is no proof, or it proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] Fault),
    /// It is not in the form of a proof.
    #[error("it is no proof: {0}")]
    Form(&'static str),
    /// The log has not signed anything yet.
    #[error("the log has no signed checkpoint yet: it signs one within a second of a record")]
    NoCheckpoint,
    /// A size that no checkpoint has.
    #[error("no signed checkpoint is of {0} records: take the size of one, or a file that has one")]
    NoSuchSize(u64),
    /// No checkpoint covers the record yet.
    #[error("record {seq} is not covered yet: the newest checkpoint is of {size} records")]
    NotCovered {
        /// The record.
        seq: u64,
        /// How many the newest covers.
        size: u64,
    },
    /// The record's line is not there.
    #[error("record {0} is no longer in the directory: its file was removed")]
    Gone(u64),
    /// What is there does not fit what was signed.
    #[error("the log's files do not fit its checkpoint: run `audit verify`, which tells where")]
    Damaged,
    /// The hashes do not lead from the record, or the older state, to the root that was signed.
    #[error("the proof is wrong: its hashes do not give the root that was signed")]
    Wrong,
    /// The signatures are not those that are asked for.
    #[error("{0}")]
    Signature(String),
}

impl From<NoteError> for ProofError {
    fn from(error: NoteError) -> Self {
        Self::Signature(error.to_string())
    }
}

/// A proof, of whichever kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    /// That a record is in the log.
    Record(RecordProof),
    /// That the log only grew.
    Growth(GrowthProof),
}

/// That a line is a record of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordProof {
    /// Its number.
    pub seq: u64,
    /// The line, without its newline.
    pub line: Vec<u8>,
    hashes: Vec<Hash>,
    note: Note,
}

/// That what a log had at one time was still in it, unchanged, at a later one.
#[derive(Clone, Debug, PartialEq)]
pub struct GrowthProof {
    hashes: Vec<Hash>,
    from: Note,
    to: Note,
}

/// Proves that a record is in a log.
///
/// # Errors
/// Fails when the record is not there, or no checkpoint covers it, or the files are damaged.
pub fn prove_seq(directory: &Path, seq: u64) -> Result<RecordProof, ProofError> {
    let signed = newest(directory, seq)?;
    let Checkpoint { size, root, .. } = signed.checkpoint;
    if seq >= size {
        return Err(ProofError::NotCovered { seq, size });
    }
    let line = line_of(directory, seq)?;
    let hashes = HashFile::open(directory)?;
    let hashes = prove_record(size, seq, &hashes).map_err(|_| ProofError::Damaged)?;
    check_record(&hashes, size, root, seq, leaf(&line)).map_err(|_| ProofError::Damaged)?;
    let note = signed.note;
    Ok(RecordProof {
        seq,
        line,
        hashes,
        note,
    })
}

/// Proves that one state of a log grew out of another.
///
/// # Errors
/// Fails when the log's files do not fit them, or the second is the smaller one.
pub fn prove_growth(directory: &Path, from: Signed, to: Signed) -> Result<GrowthProof, ProofError> {
    let hashes = growth(directory, from.checkpoint.size, to.checkpoint.size)?;
    let proof = GrowthProof {
        hashes,
        from: from.note,
        to: to.note,
    };
    proof.fits().map_err(|_| ProofError::Damaged)?;
    Ok(proof)
}

/// The hashes which prove that the tree of `from` records grew into the one of `to`.
///
/// # Errors
/// Fails when the tree has no such sizes.
pub fn growth(directory: &Path, from: u64, to: u64) -> Result<Vec<Hash>, ProofError> {
    if from == 0 || from > to {
        return Err(ProofError::Form(
            "the first size is above zero, and not above the second",
        ));
    }
    let hashes = HashFile::open(directory)?;
    prove_tree(to, from, &hashes).map_err(|_| ProofError::Damaged)
}

/// The newest checkpoint, or one that witnesses signed, if that covers the record, too.
fn newest(directory: &Path, seq: u64) -> Result<Signed, ProofError> {
    if let Some(signed) = checkpoint::latest_in(&directory.join(COSIGNED))?
        && signed.checkpoint.size > seq
    {
        return Ok(signed);
    }
    checkpoint::latest(directory)?.ok_or(ProofError::NoCheckpoint)
}

/// The checkpoint of a size that a log has signed; one with witnesses, if there is any.
///
/// # Errors
/// Fails when there is none.
pub fn of_size(directory: &Path, size: u64) -> Result<Signed, ProofError> {
    Notes::in_file(&directory.join(COSIGNED))
        .chain(Notes::of(directory)?)
        .filter_map(Result::ok)
        .find(|signed| signed.checkpoint.size == size)
        .ok_or(ProofError::NoSuchSize(size))
}

/// The last checkpoint of a file with signed notes.
///
/// # Errors
/// Fails when it cannot be read or has none.
pub fn of_file(path: &Path) -> Result<Signed, ProofError> {
    let mut text = fs::read(path).map_err(Fault::of("read", path))?;
    // A note of its own has no empty line after it.
    if !text.ends_with(b"\n\n") {
        text.push(b'\n');
    }
    let notes = Notes::in_text(path, text).filter_map(Result::ok);
    notes
        .last()
        .ok_or(ProofError::Form("the file has no signed checkpoint"))
}

fn line_of(directory: &Path, seq: u64) -> Result<Vec<u8>, ProofError> {
    let filter = Filter {
        from_seq: Some(seq),
        to_seq: Some(seq),
        ..Filter::default()
    };
    let query = Query {
        filter,
        limit: Some(1),
        ..Query::default()
    };
    let mut scan = Scan::new(directory, query)?;
    loop {
        match scan.step()? {
            Step::Found(found) => return Ok(found.json.to_vec()),
            Step::End => return Err(ProofError::Gone(seq)),
            Step::Working => {}
        }
    }
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq)]
pub struct Proved {
    /// The state of the log that is signed: for a growth, the later one.
    pub checkpoint: Checkpoint,
    /// For a growth, the earlier one.
    pub from: Option<Checkpoint>,
    /// The witnesses that have seen it, and when, in seconds since 1970.
    pub witnesses: Vec<(String, u64)>,
}

impl Proof {
    /// Reads a proof.
    ///
    /// # Errors
    /// Fails when it is in no form of a proof.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let bad = ProofError::Form("no empty line parts its hashes from the checkpoint");
        let (head, rest) = text.split_once("\n\n").ok_or(bad)?;
        let mut lines = head.split('\n');
        match lines.next() {
            Some(RECORD) => parse_record(lines, rest).map(Self::Record),
            Some(GROWTH) => parse_growth(lines, rest).map(Self::Growth),
            _ => Err(ProofError::Form(
                "its first line does not say that it is one",
            )),
        }
    }

    /// Whether it proves what it says: by a signature of one of the keys of the log, and one of each
    /// of the witnesses.
    ///
    /// # Errors
    /// Tells why it does not.
    pub fn check(
        &self,
        keys: &[VerifierKey],
        witnesses: &[VerifierKey],
    ) -> Result<Proved, ProofError> {
        match self {
            Self::Record(proof) => {
                let (checkpoint, witnesses) = verified(&proof.note, keys, witnesses)?;
                let Checkpoint { size, root, .. } = checkpoint;
                check_record(&proof.hashes, size, root, proof.seq, leaf(&proof.line))
                    .map_err(|_| ProofError::Wrong)?;
                Ok(Proved {
                    checkpoint,
                    from: None,
                    witnesses,
                })
            }
            Self::Growth(proof) => {
                let (from, _) = verified(&proof.from, keys, &[])?;
                let (checkpoint, witnesses) = verified(&proof.to, keys, witnesses)?;
                proof.fits()?;
                Ok(Proved {
                    checkpoint,
                    from: Some(from),
                    witnesses,
                })
            }
        }
    }
}

impl GrowthProof {
    fn fits(&self) -> Result<(), ProofError> {
        let (from, to) = (parsed(&self.from)?, parsed(&self.to)?);
        if from.origin != to.origin {
            return Err(ProofError::Form("its checkpoints are of two logs"));
        }
        check_tree(&self.hashes, to.size, to.root, from.size, from.root)
            .map_err(|_| ProofError::Wrong)
    }
}

fn parsed(note: &Note) -> Result<Checkpoint, ProofError> {
    let bad = |_| ProofError::Form("what is signed is no checkpoint");
    Checkpoint::parse(note.text()).map_err(bad)
}

/// A checkpoint by one of the keys, and which of the witnesses have seen it: all must have.
fn verified(
    note: &Note,
    keys: &[VerifierKey],
    witnesses: &[VerifierKey],
) -> Result<(Checkpoint, Vec<(String, u64)>), ProofError> {
    let checkpoint = parsed(note)?;
    let by = note.verify(keys)?;
    if !by.iter().any(|by| by.name == checkpoint.origin) {
        let message = format!("the key is of another log than {}", checkpoint.origin);
        return Err(ProofError::Signature(message));
    }
    let mut seen = Vec::new();
    for witness in witnesses {
        for by in note.verify(std::slice::from_ref(witness))? {
            seen.push((by.name, by.time.unwrap_or(0)));
        }
    }
    Ok((checkpoint, seen))
}

fn parse_record<'a>(
    mut lines: impl Iterator<Item = &'a str>,
    note: &str,
) -> Result<RecordProof, ProofError> {
    let no_line = ProofError::Form("it does not have the record's line as its `extra`");
    let line = lines.next().and_then(|line| line.strip_prefix("extra "));
    let line = line
        .and_then(|line| STANDARD.decode(line).ok())
        .ok_or(no_line)?;
    let no_number = ProofError::Form("its `index` is no number");
    let number = lines.next().and_then(|line| line.strip_prefix("index "));
    let seq = number
        .and_then(|number| number.parse::<u64>().ok())
        .filter(|seq| number == Some(seq.to_string().as_str()))
        .ok_or(no_number)?;
    Ok(RecordProof {
        seq,
        line,
        hashes: hashes(lines)?,
        note: Note::parse(note)?,
    })
}

fn parse_growth<'a>(
    lines: impl Iterator<Item = &'a str>,
    notes: &str,
) -> Result<GrowthProof, ProofError> {
    let bad = ProofError::Form("it does not end in two signed checkpoints");
    let text = notes.as_bytes().to_vec();
    let mut notes = Notes::in_text(Path::new("proof"), text);
    let (Some(Ok(from)), Some(Ok(to)), None) = (notes.next(), notes.next(), notes.next()) else {
        return Err(bad);
    };
    Ok(GrowthProof {
        hashes: hashes(lines)?,
        from: from.note,
        to: to.note,
    })
}

fn hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Hash>, ProofError> {
    let bad = |_| ProofError::Form("a line of it is no hash");
    let hashes: Vec<Hash> = lines
        .take(MOST_HASHES)
        .map(|line| Hash::parse_hash(line).map_err(bad))
        .collect::<Result<_, _>>()?;
    match hashes.len() {
        MOST_HASHES => Err(ProofError::Form("it has more hashes than any")),
        _ => Ok(hashes),
    }
}

impl fmt::Display for RecordProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{RECORD}\nextra {}", STANDARD.encode(&self.line))?;
        writeln!(f, "index {}", self.seq)?;
        self.hashes
            .iter()
            .try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.note)
    }
}

impl fmt::Display for GrowthProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{GROWTH}")?;
        self.hashes
            .iter()
            .try_for_each(|hash| writeln!(f, "{hash}"))?;
        writeln!(f, "\n{}\n{}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests;
