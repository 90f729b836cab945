//! `vspc-gateway audit sinks`.

use std::io::{self, IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use serde_json::json;
use vspc_gateway::audit::read::visible;
use vspc_gateway::audit::sinks::{NotResent, Standing, resend, standings};

use super::{Format, Stop, load};
use crate::commands::recorded;
use crate::{BAD_USAGE, ConfigFile, FAILED, Failure};

/// The options of the command.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// As what; by default a table on a terminal, JSON lines elsewhere.
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Have a sink get again the records that it refused: the gateway sends them, as it runs or when
    /// it starts, when it has nothing else to send.
    Resend {
        #[command(flatten)]
        file: ConfigFile,
        /// The sink.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Stop> {
    match &arguments.command {
        None => list(arguments),
        Some(Command::Resend { file, name }) => {
            let what = format!("sink {name}");
            let done = recorded::outcome(file, "audit.sink_resent", what, again(file, name));
            let records = done?;
            writeln!(
                io::stdout(),
                "{records} records are sent to {} again",
                visible(name)
            )?;
            Ok(())
        }
    }
}

fn of(file: &ConfigFile) -> Result<(Vec<Standing>, std::path::PathBuf), Failure> {
    let settings = load(file)?;
    let configured: Vec<String> = settings.sinks.into_iter().map(|it| it.name).collect();
    let standings = standings(&settings.directory, &configured).map_err(Failure::from)?;
    Ok((standings, settings.directory))
}

fn again(file: &ConfigFile, name: &str) -> Result<u64, Failure> {
    let (standings, directory) = of(file)?;
    let failed = |what: &str| Failure(format!("the sink {}: {what}", visible(name)), FAILED);
    match standings.iter().find(|it| it.name == name) {
        None => {
            let message = format!("no sink is called {}", visible(name));
            Err(Failure(message, BAD_USAGE))
        }
        Some(it) if !it.configured => Err(failed("it is not configured, so nobody would send it")),
        Some(_) => resend(&directory, name).map_err(|error: NotResent| failed(&error.to_string())),
    }
}

fn list(arguments: &Arguments) -> Result<(), Stop> {
    let (standings, _) = of(&arguments.file)?;
    let mut out = io::stdout().lock();
    let is_table = match arguments.format {
        Some(format) => format == Format::Table,
        None => io::stdout().is_terminal(),
    };
    if is_table {
        writeln!(
            out,
            "{:<24} {:>12} {:>10} {:>8} {:>9}",
            "SINK", "NEXT", "LAG", "REFUSED", "RESENDING"
        )?;
    }
    for it in standings {
        if is_table {
            let next = it
                .next
                .map_or_else(|| "-".to_owned(), |next| next.to_string());
            let name = visible(&it.name);
            let note = if it.configured {
                ""
            } else {
                "  not configured"
            };
            writeln!(
                out,
                "{name:<24} {next:>12} {:>10} {:>8} {:>9}{note}",
                it.lag, it.refused, it.resending
            )?;
        } else {
            let line = json!({
                "name": it.name, "configured": it.configured, "next": it.next, "lag": it.lag,
                "refused": it.refused, "resending": it.resending,
            });
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
