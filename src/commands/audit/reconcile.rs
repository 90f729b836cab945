//! `vspc-gateway audit reconcile`.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use vspc_gateway::audit::query::Moment;
use vspc_gateway::audit::read::visible;
use vspc_gateway::clock::Clock;

use super::Format;
use crate::commands::admin_client::{AdminClient, operations};
use crate::commands::tokens::print;
use crate::{BAD_USAGE, ConfigFile, FAILED, Failure};

/// The options of a comparison.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// From then on: a time, a date, or how long ago (30m, 2h, 7d). Default: the window of the
    /// configuration.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// With this console only.
    #[arg(long, value_name = "NAME")]
    console: Option<String>,
    /// As what; by default a table on a terminal, JSON elsewhere.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// Has it done, and fails where something does not match or could not be read.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut body = Map::new();
    if let Some(since) = arguments.since {
        let now = Clock::System.now();
        let since = now.0.saturating_sub(since.resolve(now).0) / 1_000_000;
        if since <= 0 {
            let message = "--since must be in the past";
            return Err(Failure(message.to_owned(), BAD_USAGE));
        }
        body.insert("since_seconds".to_owned(), json!(since));
    }
    if let Some(console) = &arguments.console {
        body.insert("console".to_owned(), json!(console));
    }
    let file = &arguments.file;
    let client = AdminClient::new(operations(file)?.admin, &file.config)?.patient(PATIENCE);
    let answer = client.post("/audit/reconcile", &Value::Object(body))?;
    let by_default = if io::stdout().is_terminal() {
        Format::Table
    } else {
        Format::Json
    };
    match arguments.format.unwrap_or(by_default) {
        Format::Json => print(&format!("{answer}\n"))?,
        Format::Table => print(&table(&answer))?,
    }
    if answer.get("reconciled") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    let message = "the audit log and the consoles' own logs do not match, or could not be compared as a whole";
    Err(Failure(message.to_owned(), FAILED))
}

/// All reports, for eyes.
fn table(answer: &Value) -> String {
    let mut text = String::new();
    for report in list(answer, "consoles") {
        let state = match report.get("reconciled") {
            Some(Value::Bool(true)) => "matches",
            _ if report.get("error").is_some_and(|error| !error.is_null()) => "NOT COMPARED",
            _ => "DOES NOT MATCH",
        };
        text += &format!("{}: {state}\n", cell(report, "console"));
        if !report.get("from").is_none_or(Value::is_null) {
            text += &format!(
                "  {} to {}, account {}: {} entries, {} records, {} matched\n",
                cell(report, "from"),
                cell(report, "to"),
                cell(report, "account"),
                cell(report, "logged"),
                cell(report, "done"),
                cell(report, "matched"),
            );
        }
        if report.get("error").is_some_and(|error| !error.is_null()) {
            text += &format!("  error: {}\n", cell(report, "error"));
        }
        for (of, name) in [("problems", "problem"), ("notes", "note")] {
            for told in list(report, of) {
                let told = told.as_str().unwrap_or_default();
                text += &format!("  {name}: {}\n", visible(told));
            }
        }
        for finding in list(report, "findings") {
            text += &row(finding);
        }
    }
    text
}

fn row(finding: &Value) -> String {
    let (side, number) = match finding.get("side").and_then(Value::as_str) {
        Some("past_gateway") => ("past the gateway", "-".to_owned()),
        _ => ("not logged", cell(finding, "seq")),
    };
    let (time, kind) = (cell(finding, "time"), cell(finding, "kind"));
    let (user, what) = (cell(finding, "user"), cell(finding, "what"));
    format!("  {time:27} {side:16} {kind:16} {number:>8} {user:36} {what}\n")
}

fn list<'a>(of: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    let list = of.get(member).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn cell(of: &Value, member: &str) -> String {
    match of.get(member) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => visible(text).into_owned(),
        Some(other) => other.to_string(),
    }
}

/// Longer than the gateway gives a console.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
