//! `vspc-gateway audit`: reading the log.

mod export;
mod place;
mod prove;
mod query;
mod reconcile;
mod schema;
mod sinks;
mod verify;

use std::io::{self, BufWriter, IsTerminal as _, Write};

use clap::{Subcommand, ValueEnum};
use vspc_gateway::audit;
use vspc_gateway::audit::read::{Csv, POLL, Table, Tail, tail};
use vspc_gateway::config::Settings;

use self::place::Place;
use crate::{BAD_USAGE, ConfigFile, FAILED, Failure};

/// Read the audit log.
#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Print the records that all the given options fit.
    #[command(after_help = query::VALUES)]
    Query(Box<query::Arguments>),
    /// Print the SQL that makes the tables of a PostgreSQL sink, for an owner of the database.
    Schema(schema::Arguments),
    /// Give records in a form that other systems take, one JSON object a line.
    #[command(after_help = query::VALUES)]
    Export(Box<export::Arguments>),
    /// Have the running gateway compare the log with what the consoles have logged themselves.
    Reconcile(reconcile::Arguments),
    /// Tell how the sinks stand, or have one of them get again what it refused.
    Sinks(sinks::Arguments),
    /// Print the last records.
    Tail {
        #[command(flatten)]
        place: Place,
        /// How many.
        #[arg(long, short = 'n', default_value_t = 20)]
        lines: usize,
        /// Go on with new records as they are written.
        #[arg(long, short)]
        follow: bool,
        /// How; by default a table on a terminal, JSON lines elsewhere.
        #[arg(long, value_enum)]
        format: Option<RecordFormat>,
    },
    /// Find out whether the log is what was signed: every line, the tree over them, every checkpoint.
    #[command(after_help = verify::KEYS)]
    Verify(Box<verify::Arguments>),
    /// Write a proof that a record is in the log, which `audit check` verifies anywhere.
    Prove(prove::RecordArguments),
    /// Write a proof that the log only grew between two checkpoints.
    Consistency(prove::GrowthArguments),
    /// Verify a proof. Needs no configuration and no log.
    Check(prove::CheckArguments),
    /// Print the log's origin and the key that verifies its checkpoints.
    Key {
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// How a command prints what it was told.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Table,
}

/// How records are printed.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub(crate) enum RecordFormat {
    Csv,
    Json,
    Table,
}

/// Runs a command. Whoever reads its output may stop when he has enough.
pub(crate) fn run(command: AuditCommand) -> Result<(), Failure> {
    let done = match command {
        AuditCommand::Export(arguments) => export::run(*arguments),
        AuditCommand::Query(arguments) => query::run(*arguments),
        AuditCommand::Schema(arguments) => schema::run(&arguments),
        AuditCommand::Reconcile(arguments) => Ok(reconcile::run(&arguments)?),
        AuditCommand::Sinks(arguments) => sinks::run(&arguments),
        AuditCommand::Tail {
            place,
            lines,
            follow,
            format,
        } => print_tail(&place, lines, follow, format),
        AuditCommand::Verify(arguments) => verify::run(&arguments),
        AuditCommand::Prove(arguments) => prove::record(&arguments),
        AuditCommand::Consistency(arguments) => prove::growth(&arguments),
        AuditCommand::Check(arguments) => prove::check(&arguments),
        AuditCommand::Key { file } => prove::key(&file),
    };
    match done {
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Stop::Output(error)) => Err(error.into()),
        Err(Stop::Failure(failure)) => Err(failure),
        Ok(()) => Ok(()),
    }
}

fn print_tail(
    place: &Place,
    lines: usize,
    goes_on: bool,
    format: Option<RecordFormat>,
) -> Result<(), Stop> {
    let log = place.find()?;
    let settings = &log.settings;
    let unreadable = |error| unreadable(settings, &error);
    let Tail {
        lines: last,
        mut follow,
    } = tail(&settings.directory, lines).map_err(unreadable)?;
    log.reading(READ);
    let mut printer = Printer::new(format)?;
    let mut next = last;
    loop {
        for line in &next {
            printer.print(line.seq, &line.json)?;
        }
        printer.flush()?;
        if !goes_on {
            return Ok(());
        }
        next = follow.poll().map_err(unreadable)?;
        if next.is_empty() {
            std::thread::sleep(POLL);
        }
    }
}

fn load(file: &ConfigFile) -> Result<audit::Settings, Failure> {
    Settings::load_audit(&file.config).map_err(|error| Failure(error.to_string(), BAD_USAGE))
}

fn unreadable(settings: &audit::Settings, error: &io::Error) -> Failure {
    let place = settings.directory.display();
    Failure(
        format!("cannot read the audit log in {place}: {error}"),
        FAILED,
    )
}

/// Why a command ended before its work was done.
enum Stop {
    Failure(Failure),
    /// What was found could not be printed.
    Output(io::Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Prints records.
struct Printer {
    out: Box<dyn Write>,
    format: RecordFormat,
}

impl Printer {
    /// Prints the head of a table, if it is to be one.
    fn new(format: Option<RecordFormat>) -> io::Result<Self> {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let by_default = if is_terminal {
            RecordFormat::Table
        } else {
            RecordFormat::Json
        };
        // On a terminal, line by line.
        let mut out: Box<dyn Write> = if is_terminal {
            Box::new(stdout)
        } else {
            Box::new(BufWriter::new(stdout))
        };
        let format = format.unwrap_or(by_default);
        match format {
            RecordFormat::Csv => Csv.header(&mut out)?,
            RecordFormat::Json => {}
            RecordFormat::Table => Table.header(&mut out)?,
        }
        Ok(Self { out, format })
    }

    fn print(&mut self, seq: u64, json: &[u8]) -> io::Result<()> {
        match self.format {
            RecordFormat::Csv => Csv.row(seq, json, &mut self.out),
            RecordFormat::Json => self
                .out
                .write_all(json)
                .and_then(|()| self.out.write_all(b"\n")),
            RecordFormat::Table => Table.row(seq, json, &mut self.out),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// How records of the log name that somebody reads it.
const READ: &str = "audit.read";
