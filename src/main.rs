//! The `vspc-gateway` command.

mod commands;

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use commands::audit::{self, AuditCommand};
use commands::explain::{self, ExplainArguments};
use commands::freeze::{self, FreezeArguments, ThawArguments};
use commands::keys::{self, KeysCommand};
use commands::online;
use commands::reload::{self, ReloadArguments};
use commands::state::{self, StateCommand};
use commands::tokens::{self, TokensCommand};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload as filter;
use tracing_subscriber::util::SubscriberInitExt as _;
use vspc_gateway::app::{self, Process, SetLevel, Start};
use vspc_gateway::clock::Clock;
use vspc_gateway::config::{Log, LogFormat, SCHEMA, Settings};
use vspc_gateway::freeze::Freezer;

/// hyper keeps two buffers of 8 KiB for a connection, of which one that has done little has touched
/// a page each. This allocator gives them pages of their own; the C library's hands out chunks whose
/// pages were all touched before. See docs/adr/0008.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Has the allocator cut these buffers from pieces of memory that hold nothing else. Otherwise each is
/// a piece of its own, and what other things have touched there stays with the connection.
#[expect(
    unsafe_code,
    reason = "the allocator reads a string that ends with a zero under this name, and writes nothing"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 25] = b"slab_sizes:8192-8192:128\0";

/// An authenticating, impersonating and auditing reverse proxy for Veeam Service Provider Console.
#[derive(Parser)]
#[command(name = "vspc-gateway", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve. SIGHUP loads the configuration anew; SIGTERM drains; SIGQUIT hands the sockets to a
    /// process started with --upgrade.
    Run {
        #[command(flatten)]
        file: ConfigFile,
        /// Take the listening sockets over from the running process.
        #[arg(long)]
        upgrade: bool,
    },
    /// Check a configuration file and tell every fault at once.
    Check {
        #[command(flatten)]
        file: ConfigFile,
        /// Connect to every address of every console, too: TCP, TLS with the fingerprint to pin, a GET
        /// without a token, and the clocks. Exits with 1 when something does not work.
        #[arg(long)]
        online: bool,
        /// Log in with the gateway's account as well. VSPC writes the log-in down, counts a wrong
        /// password, and takes a code of a second factor once: the running gateway may have to wait
        /// for the next one.
        #[arg(long, requires = "online")]
        login: bool,
        /// Check nothing, but print the JSON Schema of configuration files, for editors.
        #[arg(long)]
        schema: bool,
    },
    /// Say who would act as whom, by which rule, or why not and what would change it. Sends nothing.
    Explain(Box<ExplainArguments>),
    /// Have the running gateway load its configuration anew: all of it, or nothing where the file has
    /// faults.
    Reload(ReloadArguments),
    /// Make API keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Read the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Back up the state directory, bring a backup back, tell what is in it.
    #[command(subcommand)]
    State(StateCommand),
    /// See, renew and drop the tokens that the running gateway holds, and end log-ins.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Stop everything, a tenant or a client, at once: an emergency stop that survives a restart.
    Freeze(FreezeArguments),
    /// End a freeze.
    Thaw(ThawArguments),
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/vspc-gateway/gateway.toml"
    )]
    config: PathBuf,
}

/// What a command ended with: the message for stderr and the exit code.
struct Failure(String, u8);

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let usage = error.use_stderr();
            return match error.print() {
                Ok(()) if !usage => ExitCode::SUCCESS,
                _ => ExitCode::from(BAD_USAGE),
            };
        }
    };
    let done = match arguments.command {
        Command::Run { file, upgrade } => run(&file, upgrade),
        Command::Check { schema: true, .. } => print(SCHEMA),
        Command::Check {
            file,
            online,
            login,
            ..
        } => check(&file, online.then_some(login)),
        Command::Explain(arguments) => explain::run(*arguments),
        Command::Keys(command) => keys::run(&command),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::Audit(command) => audit::run(command),
        Command::State(command) => state::run(command),
        Command::Tokens(command) => tokens::run(command),
        Command::Freeze(arguments) => freeze::freeze(arguments),
        Command::Thaw(arguments) => freeze::thaw(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message, code)) => {
            // Nothing is left to be told if stderr is gone; some failures have been told already.
            if !message.is_empty() {
                drop(writeln!(io::stderr(), "vspc-gateway: {message}"));
            }
            ExitCode::from(code)
        }
    }
}

fn run(file: &ConfigFile, upgrade: bool) -> Result<(), Failure> {
    app::withstand_hangups()?;
    let settings = load(file)?;
    let set_level = start_logging(&settings.log);
    let start = if upgrade {
        Start::Upgrade
    } else {
        Start::Fresh
    };
    let process = Process {
        file: file.config.clone(),
        start,
        set_level,
    };
    Ok(app::run(settings, process)?)
}

/// Checks a file and, where it is wanted, the consoles: with or without a log-in.
fn check(file: &ConfigFile, online: Option<bool>) -> Result<(), Failure> {
    let settings = load(file)?;
    let prospect = state::prospect(&settings.state);
    // A start would fail by it.
    Freezer::open(&settings.state.directory)
        .map_err(|error| Failure(error.to_string(), BAD_USAGE))?;
    let warnings: String = settings
        .warnings(Clock::System.now())
        .into_iter()
        .chain(online::endings(&settings))
        .map(|warning| format!("\nwarning: {warning}"))
        .collect();
    print(&format!(
        "{} is in order\n{prospect}{warnings}",
        file.config.display()
    ))?;
    match online {
        Some(log_in) => online::run(&settings, log_in),
        None => Ok(()),
    }
}

fn load(file: &ConfigFile) -> Result<Settings, Failure> {
    Settings::load(&file.config).map_err(|error| Failure(error.to_string(), BAD_USAGE))
}

/// Starts to log, and gives what changes the level of detail.
fn start_logging(log: &Log) -> SetLevel {
    let (filter, handle) = filter::Layer::new(LevelFilter::from_level(log.level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false);
    let filtered = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Json => filtered.with(lines.json()).init(),
        LogFormat::Text => filtered.with(lines).init(),
    }
    // It fails only where nothing is logged any more.
    Box::new(move |level| drop(handle.reload(LevelFilter::from_level(level))))
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string(), FAILED)
    }
}

const FAILED: u8 = 1;
const BAD_USAGE: u8 = 64;
