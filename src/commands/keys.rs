//! `vspc-gateway keys`: new keys for clients.

use clap::{Args, Subcommand};
use vspc_gateway::clock::{Clock, Timestamp};
use vspc_gateway::config::Settings;
use vspc_gateway::secret::{KeyDigest, new_api_key};

use super::tokens::print;
use crate::{BAD_USAGE, Failure};

/// API keys.
#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Print a new key once, and what stands for it in the configuration file.
    New(NewArguments),
}

#[derive(Args)]
pub(crate) struct NewArguments {
    /// The client the key is for.
    client: String,
    /// What to call the key in records, metrics and warnings, e.g. 2026-Q4.
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// When it ends: in so many days (90d), or at the beginning of a day (2026-12-31, UTC), or at a
    /// time (2026-12-31T18:00:00+01:00).
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
}

/// Runs a command.
pub(crate) fn run(command: &KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::New(arguments) => new(arguments),
    }
}

fn new(arguments: &NewArguments) -> Result<(), Failure> {
    let NewArguments {
        client,
        label,
        expires,
    } = arguments;
    let refuse = |message: String| Err(Failure(message, BAD_USAGE));
    if !Settings::is_name(client) {
        return refuse(format!(
            "{client:?} cannot be a client's name: letters, digits, - _ and ."
        ));
    }
    if let Some(label) = label
        && !Settings::is_label(label)
    {
        return refuse(format!(
            "{label:?} cannot be a label: 1 to 64 letters, digits, - _ and ."
        ));
    }
    let now = Clock::System.now();
    let end = expires.as_deref().map(|text| end(text, now));
    let end = match (end, expires) {
        (Some(None), Some(text)) => {
            return refuse(format!(
                "{text:?} is no end of a key: a number of days to come such as 90d, a day such as \
                 2026-12-31 or a time such as 2026-12-31T18:00:00Z"
            ));
        }
        (end, _) => end.flatten(),
    };
    if end.is_some_and(|end| end <= now) {
        return refuse("a key that has expired already is of no use".to_owned());
    }
    let key = new_api_key()?;
    let digest = KeyDigest::of(key.expose().as_bytes());
    let mut table = format!("digest = \"{digest}\"");
    if let Some(label) = label {
        table += &format!(", label = \"{label}\"");
    }
    if let Some(end) = end {
        table += &format!(", expires = \"{}\"", end.in_seconds());
    }
    let element = match (label, end) {
        (None, None) => format!("\"{digest}\""),
        _ => format!("{{ {table} }}"),
    };
    print(&format!(
        "key for client {client}, shown only now:\n  {}\nfor the configuration file:\n  \
         api_keys = [{element}]\n",
        key.expose()
    ))
}

/// When a key ends.
fn end(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(days) = text.strip_suffix('d') {
        let days: u32 = days
            .parse()
            .ok()
            .filter(|days| (1..=36_500).contains(days))?;
        // On a whole second, as it is written.
        let second = now.0.div_euclid(1_000_000);
        return Some(Timestamp((second + i64::from(days) * DAY) * 1_000_000));
    }
    Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
}

/// In seconds.
const DAY: i64 = 24 * 60 * 60;
