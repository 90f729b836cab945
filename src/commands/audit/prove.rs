//! `vspc-gateway audit prove`, `consistency`, `check` and `key`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use vspc_gateway::audit::checkpoint::{self, Signed, VERIFIERS, read_keys};
use vspc_gateway::audit::proof::{
    Proof, ProofError, Proved, of_file, of_size, prove_growth, prove_seq,
};
use vspc_gateway::audit::read::visible;
use vspc_gateway::audit::verify::by_kind;
use vspc_gateway::clock::Timestamp;

use super::place::Place;
use super::{Stop, verify};
use crate::{BAD_USAGE, ConfigFile, FAILED, Failure};

/// The options of a proof of a record.
#[derive(Args)]
pub(crate) struct RecordArguments {
    #[command(flatten)]
    place: Place,
    /// The number of the record.
    #[arg(value_name = "SEQ")]
    seq: u64,
    /// Where to write the proof, in place of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The options of a proof that a log grew.
#[derive(Args)]
pub(crate) struct GrowthArguments {
    #[command(flatten)]
    place: Place,
    /// The earlier checkpoint: a file that has it, or its number of records.
    #[arg(long, value_name = "FILE|SIZE")]
    from: String,
    /// The later one; by default the newest.
    #[arg(long, value_name = "FILE|SIZE")]
    to: Option<String>,
    /// Where to write the proof, in place of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The options of a check.
#[derive(Args)]
pub(crate) struct CheckArguments {
    /// The proof.
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// The key of the log.
    #[arg(long, value_name = "VKEY|FILE", required = true)]
    key: Vec<String>,
    /// The key of a witness that must have seen the checkpoint.
    #[arg(long, value_name = "VKEY|FILE")]
    witness: Vec<String>,
}

/// Proves that a record is in the log.
pub(super) fn record(arguments: &RecordArguments) -> Result<(), Stop> {
    let log = arguments.place.find()?;
    log.reading("audit.proved");
    let proof = prove_seq(&log.settings.directory, arguments.seq).map_err(Failure::from)?;
    write(&proof.to_string(), arguments.out.as_deref())
}

/// Proves that the log only grew.
pub(super) fn growth(arguments: &GrowthArguments) -> Result<(), Stop> {
    let log = arguments.place.find()?;
    let directory = &log.settings.directory;
    let from = find(directory, &arguments.from)?;
    let to = match &arguments.to {
        Some(to) => find(directory, to)?,
        None => checkpoint::latest(directory)
            .map_err(Failure::from)?
            .ok_or(ProofError::NoCheckpoint)
            .map_err(Failure::from)?,
    };
    let proof = prove_growth(directory, from, to).map_err(Failure::from)?;
    write(&proof.to_string(), arguments.out.as_deref())
}

/// A checkpoint that is given by its size or by a file.
fn find(directory: &Path, given: &str) -> Result<Signed, Failure> {
    match given.parse() {
        Ok(size) => Ok(of_size(directory, size)?),
        Err(_) => Ok(of_file(Path::new(given))?),
    }
}

fn write(text: &str, out: Option<&Path>) -> Result<(), Stop> {
    match out {
        None => io::stdout().write_all(text.as_bytes())?,
        Some(path) => fs::write(path, text).map_err(|error| {
            Failure(format!("cannot write {}: {error}", path.display()), FAILED)
        })?,
    }
    Ok(())
}

/// Verifies a proof and tells what it proves.
pub(super) fn check(arguments: &CheckArguments) -> Result<(), Stop> {
    let (keys, _) = by_kind(verify::keys(&arguments.key)?);
    let (_, witnesses) = by_kind(verify::keys(&arguments.witness)?);
    if keys.is_empty() {
        let message =
            "--key: none of the keys is one of a log; those of witnesses are for --witness";
        return Err(Failure(message.to_owned(), BAD_USAGE).into());
    }
    if witnesses.is_empty() && !arguments.witness.is_empty() {
        let message = "--witness: none of the keys is one of a witness (cosignature/v1)";
        return Err(Failure(message.to_owned(), BAD_USAGE).into());
    }
    let place = arguments.proof.display();
    let text = fs::read_to_string(&arguments.proof)
        .map_err(|error| Failure(format!("cannot read {place}: {error}"), FAILED))?;
    let (proof, proved) = Proof::parse(&text)
        .and_then(|proof| proof.check(&keys, &witnesses).map(|proved| (proof, proved)))
        .map_err(|error| Failure(format!("{place}: {error}"), FAILED))?;
    Ok(print(&proof, &proved)?)
}

fn print(proof: &Proof, proved: &Proved) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (log, size) = (visible(&proved.checkpoint.origin), proved.checkpoint.size);
    match (proof, &proved.from) {
        (Proof::Record(record), _) => writeln!(
            out,
            "proved: this is record {} of the log {log}, which had {size} records when it signed that",
            record.seq
        )?,
        (Proof::Growth(_), from) => writeln!(
            out,
            "proved: the first {} of {size} records of the log {log} are those that it had signed before",
            from.as_ref().map_or(0, |from| from.size)
        )?,
    }
    for (name, time) in &proved.witnesses {
        let time = i64::try_from(*time).unwrap_or(i64::MAX);
        let stamp = Timestamp(time.saturating_mul(1_000_000)).text();
        let stamp = String::from_utf8_lossy(&stamp);
        writeln!(out, "seen by the witness {} at {stamp}", visible(name))?;
    }
    if let Proof::Record(record) = proof {
        writeln!(out, "{}", visible(&String::from_utf8_lossy(&record.line)))?;
    }
    Ok(())
}

/// Prints the log's keys, the present one last.
pub(super) fn key(file: &ConfigFile) -> Result<(), Stop> {
    let settings = super::load(file)?;
    let path = settings.directory.join(VERIFIERS);
    if !path.exists() {
        let message = format!(
            "there is no {}: the gateway makes the key at its first start",
            path.display()
        );
        return Err(Failure(message, FAILED).into());
    }
    let keys = read_keys(&path).map_err(Failure::from)?;
    let mut out = io::stdout().lock();
    if let Some((present, older)) = keys.split_last() {
        writeln!(out, "origin: {}\nkey: {present}", present.name())?;
        for key in older.iter().rev() {
            writeln!(out, "older key: {key}")?;
        }
    }
    Ok(())
}
