//! What a command does to the log or to the state, as a record of the audit log: who, from which
//! process, and what. No gateway need be running, and one that is goes on.

use std::borrow::Cow;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use vspc_gateway::admin::Peer;
use vspc_gateway::audit::{self, Code, Kind, Record, note_once};
use vspc_gateway::config::Settings;
use vspc_gateway::request::holds_key;

use super::admin_client::operator;
use super::tokens::warn;
use crate::{ConfigFile, Failure};

/// Records that the log is read, or what comes of it, before anything of that is shown: once for
/// each start of a command. Gives the record's number. A log that cannot be written is read all the
/// same, and that is said.
pub(super) fn reading(settings: &audit::Settings, operation: &'static str) -> Option<u64> {
    // Where there is nothing to be read, whoever reads says so.
    std::fs::read_dir(&settings.directory).ok()?;
    let line = std::env::args_os().skip(1);
    let line = line.map(|word| word.to_string_lossy().into_owned());
    let noted = note(settings, operation, Code::Ok, told(line));
    noted
        .inspect_err(|error| warn(&format!("this is not in the audit log: {error}")))
        .ok()
}

/// Records how something ended that a command has done, and gives that on: it is not undone where it
/// cannot be recorded.
pub(super) fn outcome<T>(
    file: &ConfigFile,
    operation: &'static str,
    what: String,
    done: Result<T, Failure>,
) -> Result<T, Failure> {
    let (code, what) = match &done {
        Ok(_) => (Code::Ok, what),
        Err(Failure(why, _)) => (Code::Refused("failed"), format!("{what}: {why}")),
    };
    let unfit =
        |error: &dyn std::fmt::Display| warn(&format!("this is not in the audit log: {error}"));
    match Settings::load_audit(&file.config) {
        // No gateway has ever run here.
        Ok(settings) if !settings.directory.exists() => {}
        Ok(settings) => {
            if let Err(error) = note(&settings, operation, code, what) {
                unfit(&error);
            }
        }
        Err(error) => unfit(&error),
    }
    done
}

/// Records what a command has done.
fn note(
    settings: &audit::Settings,
    operation: &'static str,
    code: Code,
    detail: String,
) -> Result<u64, audit::NoteError> {
    let record = Record {
        operation: Some(Cow::Borrowed(operation)),
        code: Some(code),
        operator: Some(Arc::from(operator())),
        peer: Some(this_process().to_string()),
        detail: Some(Cow::Owned(detail)),
        ..Record::default()
    };
    note_once(settings.clone(), Kind::Admin, &record)
}

fn this_process() -> Peer {
    Peer::Unix {
        uid: std::fs::metadata("/proc/self").map_or(u32::MAX, |it| it.uid()),
        pid: i32::try_from(std::process::id()).ok(),
    }
}

/// A command line as it can be recorded: of options whose values are not known to be harmless only
/// the names, and nothing that looks like a key.
fn told(words: impl Iterator<Item = String>) -> String {
    let mut told: Vec<String> = Vec::new();
    // The option whose value may come next.
    let mut open: Option<String> = None;
    for word in words {
        let Some(option) = word.strip_prefix('-') else {
            let shown = match open.take() {
                Some(option) => of_option(&option, &word),
                None => harmless(&word),
            };
            told.push(shown);
            continue;
        };
        match option.split_once('=') {
            Some((name, value)) => {
                told.push(format!("-{name}={}", of_option(name, value)));
                open = None;
            }
            // A short option may have its value right behind it.
            None if !option.starts_with('-') && option.len() > 1 => {
                let (name, value) = option.split_at_checked(1).unwrap_or((option, ""));
                told.push(format!("-{name}{}", of_option(name, value)));
                open = None;
            }
            None => {
                open = Some(option.to_owned());
                told.push(word);
            }
        }
    }
    told.join(" ")
}

fn of_option(name: &str, value: &str) -> String {
    let name = name.trim_start_matches('-');
    let is_label = value.contains([':', '*']);
    let is_shown = match name {
        // By mistake it may be the credential itself.
        "credential" => is_label,
        name => SHOWN.contains(&name),
    };
    match is_shown {
        true => harmless(value),
        false => HIDDEN.to_owned(),
    }
}

fn harmless(value: &str) -> String {
    match holds_key(value) || value.contains("eyJ") {
        true => HIDDEN.to_owned(),
        false => value.to_owned(),
    }
}

const HIDDEN: &str = "~hidden";
/// The options whose values say which records, and nothing that could be a secret.
const SHOWN: [&str; 35] = [
    "action",
    "client",
    "code",
    "config",
    "console",
    "from-seq",
    "format",
    "from",
    "grant",
    "kind",
    "lease",
    "limit",
    "lines",
    "method",
    "n",
    "o",
    "operation",
    "operator",
    "output",
    "path",
    "principal",
    "request-id",
    "rule",
    "session",
    "since",
    "size",
    "source",
    "status",
    "subject",
    "target",
    "tenant",
    "to",
    "to-seq",
    "until",
    "user",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn told_of(line: &str) -> String {
        told(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn a_command_line_is_recorded_as_far_as_it_holds_no_secret() {
        for line in [
            "audit tail -n 5 --follow",
            "audit query --client zabbix --since=2h --status 4xx -n5",
            "audit query --credential api_key:59bc8e07 --strict",
            "audit prove 17 --output proof.txt",
        ] {
            assert_eq!(told_of(line), line);
        }
        for (line, expected) in [
            ("audit query --text canary", "audit query --text ~hidden"),
            (
                "audit query --text=canary -f",
                "audit query --text=~hidden -f",
            ),
            ("audit query -tcanary", "audit query -t~hidden"),
            (
                "audit query --credential canary",
                "audit query --credential ~hidden",
            ),
            (
                "audit query --client vgk_canary",
                "audit query --client ~hidden",
            ),
            (
                "audit query --path /a/eyJcanary",
                "audit query --path ~hidden",
            ),
            ("audit query vgk_canary", "audit query ~hidden"),
        ] {
            assert_eq!(told_of(line), expected);
        }
    }
}
