//! `vspc-gateway audit schema`.

use std::io::{self, Write as _};

use clap::Args;
use vspc_gateway::audit::sinks::Kind;
use vspc_gateway::audit::sinks::postgres::{self, VERSION, script};

use super::Stop;
use crate::{BAD_USAGE, ConfigFile, Failure};

/// The options.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// For which sink, where there are several of kind "postgres".
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Who gets the rights to write; by default the sink's `user`.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Which version the tables are of: only what has come since is printed.
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    from: usize,
}

/// Prints the SQL that makes the tables of a sink.
pub(super) fn run(arguments: &Arguments) -> Result<(), Stop> {
    let settings = super::load(&arguments.file)?;
    let sinks = settings.sinks.iter().filter_map(|sink| match &sink.kind {
        Kind::Postgres(postgres) => Some((sink.name.as_str(), postgres)),
        _ => None,
    });
    let sinks: Vec<(&str, &postgres::Settings)> = sinks.collect();
    let sink = choose(&sinks, arguments.sink.as_deref())?;
    if arguments.from > VERSION {
        let text = format!("--from: this program knows versions up to {VERSION}");
        return Err(Failure(text, BAD_USAGE).into());
    }
    let role = arguments.role.as_deref().unwrap_or(&sink.user);
    let sql = script(&sink.names, arguments.from, Some(role));
    Ok(io::stdout().lock().write_all(sql.as_bytes())?)
}

fn choose<'a>(
    sinks: &[(&str, &'a postgres::Settings)],
    name: Option<&str>,
) -> Result<&'a postgres::Settings, Failure> {
    let usage = |text: String| Failure(text, BAD_USAGE);
    let names: Vec<&str> = sinks.iter().map(|(name, _)| *name).collect();
    match (sinks, name) {
        ([], _) => Err(usage(
            "the configuration has no [[audit.sinks]] of kind \"postgres\"".to_owned(),
        )),
        ([(_, only)], None) => Ok(only),
        (_, None) => Err(usage(format!("--sink: one of {}", names.join(", ")))),
        (_, Some(name)) => sinks
            .iter()
            .find(|(is, _)| *is == name)
            .map(|(_, sink)| *sink)
            .ok_or_else(|| usage(format!("--sink {name}: there are {}", names.join(", ")))),
    }
}
