//! `vspc-gateway audit export`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use vspc_gateway::audit::export::{self, origin_of};
use vspc_gateway::audit::query::{Order, Query, Reach, Scan, Step};

use super::place::Place;
use super::query::{Which, warn};
use super::{Stop, unreadable};
use crate::commands::bar::Bar;
use crate::{FAILED, Failure};

/// The options of an export.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
#[command(next_help_heading = "How")]
struct Output {
    /// In which form.
    #[arg(long, value_enum)]
    format: Format,
    /// Into this file, which is there when all is in it; else to stdout.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// End after so many records.
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<u64>,
    /// Exit with 1 if lines cannot be read or records are missing.
    #[arg(long)]
    strict: bool,
    /// Read also the files that began more than a day after --until, or ended as long before --since.
    #[arg(long)]
    all_files: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// CloudEvents 1.0.
    Cloudevents,
    /// Elastic Common Schema 8.
    Ecs,
    /// Open Cybersecurity Schema Framework 1.3.
    Ocsf,
}

impl From<Format> for export::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Cloudevents => Self::CloudEvents,
            Format::Ecs => Self::Ecs,
            Format::Ocsf => Self::Ocsf,
        }
    }
}

/// Runs the export.
pub(super) fn run(arguments: Arguments) -> Result<(), Stop> {
    let log = arguments.place.find()?;
    let settings = &log.settings;
    let Output {
        format,
        out,
        limit,
        strict,
        all_files,
    } = arguments.output;
    let mut filter = arguments.which.compile(settings.clock.now())?;
    // What is exported is what was there before it was asked for.
    if let Some(before) = log
        .reading("audit.exported")
        .and_then(|own| own.checked_sub(1))
    {
        filter.to_seq = Some(filter.to_seq.unwrap_or(u64::MAX).min(before));
    }
    let origin = origin_of(&settings.directory).map_err(|error| unreadable(settings, &error))?;
    let reach = if all_files {
        Reach::AllFiles
    } else {
        Reach::Usual
    };
    let query = Query {
        filter,
        order: Order::OldestFirst,
        limit,
        reach,
        counts: false,
    };
    let mut scan = Scan::new(&settings.directory, query).map_err(Failure::from)?;
    let mut to = Target::open(out)?;
    let passed_over = copy(&mut scan, (format.into(), &origin), &mut to)?;
    to.finish()?;
    if passed_over > 0 {
        let warning = format!("{passed_over} records have no time and were passed over");
        // Nothing is left to be told if stderr is gone.
        drop(writeln!(io::stderr(), "vspc-gateway: warning: {warning}"));
    }
    warn(&scan, strict)?;
    if strict && passed_over > 0 {
        let message = "not all records could be exported, see the warning above";
        return Err(Failure(message.to_owned(), FAILED).into());
    }
    Ok(())
}

/// Gives all records that are found; tells how many are none.
fn copy(
    scan: &mut Scan,
    (format, origin): (export::Format, &str),
    to: &mut Target,
) -> Result<u64, Stop> {
    let mut bar = Bar::new();
    let (mut line, mut passed_over) = (Vec::new(), 0);
    loop {
        match scan.step().map_err(Failure::from)? {
            Step::End => break,
            Step::Found(found) => {
                line.clear();
                if export::write(format, origin, found.json, &mut line).is_err() {
                    passed_over += 1;
                    continue;
                }
                line.push(b'\n');
                to.write(&line)?;
            }
            Step::Working => bar.tell(scan.progress()),
        }
    }
    bar.clear();
    Ok(passed_over)
}

/// Where records go.
enum Target {
    /// What is no file: it takes what comes, and stays what it is.
    Device {
        out: BufWriter<File>,
        path: PathBuf,
    },
    File {
        out: BufWriter<File>,
        path: PathBuf,
        /// What it is called until all is in it.
        unfinished: PathBuf,
    },
    Stdout(BufWriter<io::Stdout>),
}

impl Target {
    fn open(path: Option<PathBuf>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        };
        // A device or a pipe is written to, and never replaced.
        if fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
            let file = OpenOptions::new().write(true).open(&path);
            let file = file.map_err(|error| unwritable(&path, &error))?;
            return Ok(Self::Device {
                out: BufWriter::new(file),
                path,
            });
        }
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(".part");
        let unfinished = PathBuf::from(unfinished);
        // For the owner only, as the log.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .map_err(|error| unwritable(&unfinished, &error))?;
        Ok(Self::File {
            out: BufWriter::new(file),
            path,
            unfinished,
        })
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Stop> {
        match self {
            Self::File {
                out, unfinished, ..
            } => {
                let written = out.write_all(line);
                written.map_err(|error| unwritable(unfinished, &error).into())
            }
            Self::Device { out, path } => {
                let written = out.write_all(line);
                written.map_err(|error| unwritable(path, &error).into())
            }
            Self::Stdout(out) => Ok(out.write_all(line)?),
        }
    }

    fn finish(self) -> Result<(), Stop> {
        match self {
            Self::File {
                mut out,
                path,
                unfinished,
            } => {
                let written = out.flush().and_then(|()| out.get_ref().sync_all());
                let done = written.and_then(|()| fs::rename(&unfinished, &path));
                done.map_err(|error| unwritable(&path, &error).into())
            }
            Self::Device { mut out, path } => {
                let written = out.flush();
                written.map_err(|error| unwritable(&path, &error).into())
            }
            Self::Stdout(mut out) => Ok(out.flush()?),
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let message = format!(
        "cannot write the export to {}: {error}; give another place with --out",
        path.display()
    );
    Failure(message, FAILED)
}
