//! `vspc-gateway tokens`: what the running gateway holds, and what to do about it.

use std::io::{self, IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use vspc_gateway::audit::read::visible;

use super::admin_client::{AdminClient, operations};
use super::audit::Format;
use crate::{ConfigFile, FAILED, Failure};

/// The tokens that the running gateway holds.
#[derive(Subcommand)]
pub(crate) enum TokensCommand {
    /// List them: fingerprints, never the tokens.
    List(ListArguments),
    /// Renew one now; requests go on with the old one meanwhile.
    Renew(RenewArguments),
    /// Forget one, so that the next request has a new one obtained; or end a log-in at the gateway.
    Drop(DropArguments),
    /// Have a new key sign the gateway's own tokens. Nobody is logged out: older keys verify until
    /// the last token ends that they have signed.
    RotateKey(RotateArguments),
}

#[derive(Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Those that act for a tenant: its name or an alias.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Those of a console.
    #[arg(long, value_name = "NAME")]
    console: Option<String>,
    /// Those that act as a user.
    #[arg(long, value_name = "UID")]
    target: Option<Uuid>,
    /// The gateway's own sessions, those that act as users, or those of the console's own users.
    #[arg(long, value_parser = ["session", "impersonation", "login"])]
    kind: Option<String>,
    /// At most so many.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 1000)]
    limit: usize,
    /// How; by default a table on a terminal, JSON lines elsewhere.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Args)]
pub(crate) struct RotateArguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args)]
pub(crate) struct RenewArguments {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    which: Token,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Token {
    /// The token that acts for a tenant: its name or an alias.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The gateway's own session at a console.
    #[arg(long, value_name = "NAME")]
    console: Option<String>,
    /// What acts as a user.
    #[arg(long, value_name = "UID")]
    target: Option<Uuid>,
}

#[derive(Args)]
pub(crate) struct DropArguments {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    which: TokenOrLogIn,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct TokenOrLogIn {
    /// The tokens that act for a tenant: its name or an alias.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The gateway's own session at a console, and all that was obtained with it: it logs in again
    /// at once.
    #[arg(long, value_name = "NAME")]
    console: Option<String>,
    /// What acts as a user.
    #[arg(long, value_name = "UID")]
    target: Option<Uuid>,
    /// A log-in at the gateway, by the `session` of audit records: none of its tokens is accepted any
    /// more.
    #[arg(long, value_name = "ID")]
    session: Option<Uuid>,
}

/// Runs a command.
pub(crate) fn run(command: TokensCommand) -> Result<(), Failure> {
    match command {
        TokensCommand::List(arguments) => list(&arguments),
        TokensCommand::Renew(arguments) => renew(&arguments),
        TokensCommand::Drop(arguments) => drop_token(&arguments),
        TokensCommand::RotateKey(arguments) => rotate_key(&arguments),
    }
}

fn client(file: &ConfigFile) -> Result<AdminClient, Failure> {
    AdminClient::new(operations(file)?.admin, &file.config)
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let target = arguments.target.map(|target| target.to_string());
    let mut query = format!("/tokens?limit={}", arguments.limit);
    for (name, value) in [
        ("tenant", &arguments.tenant),
        ("console", &arguments.console),
        ("target", &target),
        ("kind", &arguments.kind),
    ] {
        if let Some(value) = value {
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            query.push_str(&format!("&{name}={value}"));
        }
    }
    let answer = client(&arguments.file)?.get(&query)?;
    let none = Vec::new();
    let tokens = answer.get("tokens").and_then(Value::as_array);
    let tokens = tokens.unwrap_or(&none);
    let by_default = match io::stdout().is_terminal() {
        true => Format::Table,
        false => Format::Json,
    };
    let mut text = String::new();
    match arguments.format.unwrap_or(by_default) {
        Format::Json => tokens
            .iter()
            .for_each(|token| text += &format!("{token}\n")),
        Format::Table => {
            text += &row(&COLUMNS.map(str::to_owned));
            tokens.iter().for_each(|token| text += &row(&cells(token)));
        }
    }
    print(&text)?;
    if answer.get("more") == Some(&Value::Bool(true)) {
        warn("there are more: narrow them down, or set --limit");
    }
    Ok(())
}

fn renew(arguments: &RenewArguments) -> Result<(), Failure> {
    let RenewArguments {
        file,
        which,
        reason,
    } = arguments;
    let Token {
        tenant,
        console,
        target,
    } = which;
    let body = body(&[
        ("tenant", tenant),
        ("console", console),
        ("target", &target.map(|target| target.to_string())),
        ("reason", reason),
    ]);
    let answer = client(file)?.post("/tokens/renew", &body)?;
    let none = Vec::new();
    let tokens = answer.get("tokens").and_then(Value::as_array);
    let mut failed = false;
    for token in tokens.unwrap_or(&none) {
        let name = name(token);
        if token.get("renewed") == Some(&Value::Bool(true)) {
            let fingerprint = cell(token, "fingerprint");
            print(&format!("{name}: renewed, now {fingerprint}\n"))?;
            continue;
        }
        failed = true;
        let state = cell(token, "state");
        let error = match token.get("error") {
            Some(_) => format!(
                "{}; to be tried again in {} s",
                cell(token, "error"),
                cell(token, "retry_in_seconds")
            ),
            None => "nothing came in time; it may still come".to_owned(),
        };
        warn(&format!("{name}: not renewed ({state}): {error}"));
    }
    match failed {
        true => Err(Failure("not everything was renewed".to_owned(), FAILED)),
        false => Ok(()),
    }
}

fn drop_token(arguments: &DropArguments) -> Result<(), Failure> {
    let DropArguments {
        file,
        which,
        reason,
    } = arguments;
    let text = |id: &Option<Uuid>| id.map(|id| id.to_string());
    let body = body(&[
        ("tenant", &which.tenant),
        ("console", &which.console),
        ("target", &text(&which.target)),
        ("session", &text(&which.session)),
        ("reason", reason),
    ]);
    let answer = client(file)?.post("/tokens/drop", &body)?;
    let note = cell(&answer, "note");
    match answer.get("dropped") {
        Some(count) => print(&format!("dropped: {count}; {note}\n")),
        None => print(&format!("ended: {}; {note}\n", cell(&answer, "ended"))),
    }
}

fn rotate_key(arguments: &RotateArguments) -> Result<(), Failure> {
    let body = body(&[("reason", &arguments.reason)]);
    let answer = client(&arguments.file)?.post("/tokens/rotate-key", &body)?;
    let (key, note) = (cell(&answer, "key"), cell(&answer, "note"));
    let (keys, until) = (cell(&answer, "keys"), cell(&answer, "older_keys_until"));
    print(&format!(
        "new key: {key}; {note}\n{keys} keys verify, the older ones until {until} at the latest\n"
    ))
}

/// A JSON object of what is given.
pub(super) fn body(members: &[(&str, &Option<String>)]) -> Value {
    let given = members.iter().filter_map(|(name, value)| {
        let value = value.as_ref()?;
        Some(((*name).to_owned(), json!(value)))
    });
    Value::Object(given.collect::<Map<_, _>>())
}

/// How a token is called in messages.
fn name(token: &Value) -> String {
    let target = match token.get("target") {
        Some(_) => format!(" as {}", cell(token, "target")),
        None => String::new(),
    };
    format!(
        "{} at {}{target}",
        cell(token, "kind"),
        cell(token, "console")
    )
}

/// What a member says, for eyes; `-` where there is none.
fn cell(of: &Value, member: &str) -> String {
    match of.get(member) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => visible(text).into_owned(),
        Some(Value::Array(texts)) => {
            let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
            visible(&texts.join(",")).into_owned()
        }
        Some(other) => other.to_string(),
    }
}

fn cells(token: &Value) -> [String; COLUMNS.len()] {
    let seconds = |member| match token.get(member).and_then(Value::as_i64) {
        Some(seconds) => span(seconds),
        None => "-".to_owned(),
    };
    let who = ["tenants", "user", "target"];
    let who = who.into_iter().find(|member| token.get(*member).is_some());
    let trouble = match token.get("error") {
        Some(_) => format!(
            "{} (again in {})",
            cell(token, "error"),
            seconds("retry_in_seconds")
        ),
        None => String::new(),
    };
    [
        cell(token, "console"),
        cell(token, "kind"),
        who.map_or_else(|| "-".to_owned(), |member| cell(token, member)),
        cell(token, "access"),
        cell(token, "state"),
        cell(token, "fingerprint"),
        seconds("age_seconds"),
        seconds("renew_in_seconds"),
        seconds("served_for_seconds"),
        seconds("dead_in_seconds"),
        seconds("idle_seconds"),
        trouble,
    ]
}

const COLUMNS: [&str; 12] = [
    "console",
    "kind",
    "for",
    "access",
    "state",
    "fingerprint",
    "age",
    "renew",
    "served",
    "dead",
    "idle",
    "trouble",
];
const WIDTHS: [usize; COLUMNS.len()] = [12, 13, 24, 9, 11, 16, 7, 7, 7, 7, 7, 0];

fn row(cells: &[String; COLUMNS.len()]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        line += &format!("{cell:width$} ");
    }
    format!("{}\n", line.trim_end())
}

/// A time as people say it; one that is past begins with a minus.
fn span(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let seconds = seconds.unsigned_abs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{sign}{seconds}s"),
        (0, minutes, seconds) => format!("{sign}{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{sign}{hours}h{minutes:02}m"),
    }
}

/// Whoever reads the output may stop when he has enough.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Tells something that is no failure.
pub(super) fn warn(text: &str) {
    // Nothing is left to be told if stderr is gone.
    drop(writeln!(io::stderr(), "vspc-gateway: {text}"));
}
