//! `vspc-gateway audit verify`.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;
use vspc_gateway::audit;
use vspc_gateway::audit::checkpoint::{self, VERIFIERS, read_keys};
use vspc_gateway::audit::note::VerifierKey;
use vspc_gateway::audit::read::visible;
use vspc_gateway::audit::verify::{Kept, KeysFrom, Options, Report, by_kind, verify};
use vspc_gateway::clock::Timestamp;

use super::{Format, Stop};
use crate::commands::bar::Bar;
use crate::commands::recorded;
use crate::{BAD_USAGE, ConfigFile, FAILED, Failure};

/// What holds for keys.
pub(super) const KEYS: &str = "\
Keys have the form <name>+<8 hex digits>+<base64>, or are in a file with one on each line. Without --key, the keys \
beside the log are trusted, which proves less: whoever can rewrite the log can replace them, too. \
`vspc-gateway audit key` prints the key; keep it elsewhere, with a checkpoint now and then for --since. \
Of several keys of the log, give the older ones first, as verifier.keys has them: each ends with the first checkpoint \
of one that came after it. Give a key that was taken up again once more in that place, such as A, B, A.";

/// The options of the verification.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// The log's directory, in place of the configured one. With it, no configuration is read.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    directory: Option<PathBuf>,
    /// Read the lines from the file on that has this record; before, hashes alone are used.
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Read the lines up to the file that has this record.
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// A file with checkpoints that were kept elsewhere: the log must have grown out of them.
    #[arg(long, value_name = "FILE")]
    since: Vec<PathBuf>,
    /// The second place of checkpoints, in place of the configured one.
    #[arg(long, value_name = "FILE")]
    second: Option<PathBuf>,
    /// A key that checkpoints are signed with, or that of a witness.
    #[arg(long, value_name = "VKEY|FILE")]
    key: Vec<String>,
    /// As what; by default a table.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// Runs the verification.
pub(super) fn run(arguments: &Arguments) -> Result<(), Stop> {
    let settings = match &arguments.directory {
        Some(_) => None,
        None => Some(super::load(&arguments.file)?),
    };
    let options = options(arguments, settings.as_ref())?;
    let began = Instant::now();
    let mut bar = Bar::new();
    let report = verify(&options, |done| bar.tell(done));
    bar.clear();
    let report = report.map_err(Failure::from)?;
    let took = began.elapsed();
    let mut out = io::stdout().lock();
    if arguments.format == Some(Format::Json) {
        print_json(&mut out, &report, took)?;
    } else {
        print(&mut out, &options, &report, took)?;
    }
    out.flush()?;
    if is_empty(&report) {
        // A path with a slip in it, or a volume that is not there, is no reason to be content.
        let message = format!(
            "{} holds no audit log: nothing was verified; give the directory that [audit] directory names",
            options.directory.display()
        );
        return Err(Failure(message, FAILED).into());
    }
    if report.is_sound() {
        // Only now: a log that is not what it was is evidence, and nothing is written into it.
        if let Some(settings) = &settings {
            recorded::reading(settings, "audit.verified");
        }
        return Ok(());
    }
    let message = "the audit log is not what was signed, see above. Copy its directory before anything \
                   else reads it: other audit commands and a start write into it";
    // On a terminal it stands right above.
    let message = if io::stdout().is_terminal() {
        ""
    } else {
        message
    };
    Err(Failure(message.to_owned(), FAILED).into())
}

fn options(arguments: &Arguments, settings: Option<&audit::Settings>) -> Result<Options, Failure> {
    let directory = match (&arguments.directory, settings) {
        (Some(directory), _) => directory.clone(),
        (None, Some(settings)) => settings.directory.clone(),
        (None, None) => PathBuf::new(),
    };
    let (given, mut witnesses) = by_kind(keys(&arguments.key)?);
    let (own, keys_from) = match given.is_empty() {
        true => (own_keys(&directory)?, KeysFrom::Directory),
        false => (given, KeysFrom::Given),
    };
    if let Some(settings) = settings {
        witnesses.extend_from_slice(&settings.witnesses);
    }
    let since = arguments.since.iter().map(|path| Kept::read(path));
    let since = since
        .collect::<Result<_, _>>()
        .map_err(|error| Failure(error.to_string(), BAD_USAGE))?;
    let configured = settings.and_then(|settings| settings.tree.checkpoints.clone());
    Ok(Options {
        witnesses,
        second: arguments.second.clone().or(configured),
        since,
        from: arguments.from,
        to: arguments.to,
        ..Options::new(&directory, own, keys_from)
    })
}

/// The keys of the log itself. One that has none yet has no checkpoint, which is told as such.
fn own_keys(directory: &Path) -> Result<Vec<VerifierKey>, Failure> {
    let path = directory.join(VERIFIERS);
    if !path.exists() {
        let has_notes = checkpoint::latest(directory).is_ok_and(|latest| latest.is_some());
        let place = path.display();
        return match has_notes {
            true => Err(Failure(
                format!(
                    "{place} is missing, and no key is given: put it back, or give by --key each key \
                     that the log was signed with, the older ones first"
                ),
                FAILED,
            )),
            false => Ok(Vec::new()),
        };
    }
    Ok(read_keys(&path)?)
}

/// Keys as they are given on a command line: themselves, or the name of a file with some.
pub(super) fn keys(given: &[String]) -> Result<Vec<VerifierKey>, Failure> {
    let mut keys = Vec::new();
    for text in given {
        let bad = |error: String| Failure(format!("--key {text}: {error}"), BAD_USAGE);
        match text.parse::<VerifierKey>() {
            Ok(key) => keys.push(key),
            Err(error) if !Path::new(text).exists() => {
                return Err(bad(format!("{error}; and there is no such file")));
            }
            Err(_) => {
                let read = read_keys(Path::new(text)).map_err(|error| bad(error.to_string()))?;
                if read.is_empty() {
                    return Err(bad("there is no key in the file".to_owned()));
                }
                keys.extend(read);
            }
        }
    }
    Ok(keys)
}

fn print_json(out: &mut impl Write, report: &Report, took: Duration) -> Result<(), Stop> {
    let mut value = serde_json::to_value(report).map_err(Failure::from)?;
    if let Some(members) = value.as_object_mut() {
        members.insert("sound".to_owned(), json!(report.is_sound()));
        members.insert("seconds".to_owned(), json!(took.as_secs_f64()));
    }
    writeln!(out, "{value}")?;
    Ok(())
}

fn print(
    out: &mut impl Write,
    options: &Options,
    report: &Report,
    took: Duration,
) -> io::Result<()> {
    let seconds = took.as_secs_f64();
    let bytes = f64::from(u32::try_from(report.bytes / 1024).unwrap_or(u32::MAX)) * 1024.0;
    let rate = bytes / seconds.max(1e-9) / 1e9;
    writeln!(
        out,
        "{}: {} records in {} bytes read in {seconds:.2} s ({rate:.2} GB/s)",
        options.directory.display(),
        report.records,
        report.bytes,
    )?;
    writeln!(
        out,
        "{} checkpoints are right; the last one covers {} records",
        report.checkpoints, report.covered
    )?;
    if let Some(root) = &report.root {
        writeln!(out, "root: {root}")?;
    }
    print_counts(out, report)?;
    print_trust(out, options, report)?;
    print_damage(out, report)
}

/// What was read and is no damage.
fn print_counts(out: &mut impl Write, report: &Report) -> io::Result<()> {
    if report.uncovered > 0 {
        writeln!(
            out,
            "{} records at the end are not covered by a checkpoint yet",
            report.uncovered
        )?;
    }
    if report.removed > 0 {
        writeln!(
            out,
            "{} records were removed, as records of the log tell",
            report.removed
        )?;
    }
    if report.superseded > 0 {
        writeln!(
            out,
            "{} lines do not count, since a later file has them",
            report.superseded
        )?;
    }
    Ok(())
}

/// Whether nothing was found to verify, and nothing that says that there was something.
fn is_empty(report: &Report) -> bool {
    report.is_sound() && report.next == 0 && report.checkpoints == 0
}

/// What the verification rests on.
fn print_trust(out: &mut impl Write, options: &Options, report: &Report) -> io::Result<()> {
    match report.second_place {
        Some(right) => writeln!(out, "second place: {right} checkpoints are right")?,
        None if options.since.is_empty() => writeln!(
            out,
            "no second place and no --since: that an older copy of the directory was put back cannot be seen"
        )?,
        None => {}
    }
    for witness in &report.witnesses {
        let time = i64::try_from(witness.time).unwrap_or(i64::MAX);
        let stamp = Timestamp(time.saturating_mul(1_000_000)).text();
        let stamp = String::from_utf8_lossy(&stamp).into_owned();
        writeln!(
            out,
            "witness {}: has seen {} records at {stamp}",
            witness.name, witness.size
        )?;
    }
    if report.keys == KeysFrom::Directory {
        writeln!(
            out,
            "the key is the one beside the log: whoever can rewrite the log can replace it, too. Give --key to prove more"
        )?;
    }
    Ok(())
}

fn print_damage(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for notice in &report.notices {
        writeln!(out, "note: {}", visible(notice))?;
    }
    for damage in &report.damage {
        writeln!(
            out,
            "DAMAGE {}: {}",
            damage.harm.as_str(),
            visible(&damage.to_string())
        )?;
    }
    if report.more_damage > 0 {
        writeln!(out, "… and {} more", report.more_damage)?;
    }
    let verdict = if is_empty(report) {
        "there is no log"
    } else if report.is_sound() {
        "the log is what was signed"
    } else {
        "the log is DAMAGED"
    };
    writeln!(out, "{verdict}")
}
