//! `vspc-gateway freeze` and `thaw`: the emergency stop.
//!
//! Freezing does not depend on the gateway: where it cannot be reached, the command writes the file
//! that every process reads, at its start and once a second. To thaw takes a gateway that runs,
//! since it is recorded before.

use std::io::{self, IsTerminal as _};

use clap::Args;
use serde_json::Value;
use vspc_gateway::audit::read::visible;
use vspc_gateway::clock::Clock;
use vspc_gateway::config::Operations;
use vspc_gateway::freeze::{Freezer, Hold, Scope};
use vspc_gateway::policy::says_nothing;

use super::admin_client::{AdminClient, NoAnswer, operations, operator};
use super::audit::Format;
use super::recorded;
use super::tokens::{body, print, warn};
use crate::{BAD_USAGE, ConfigFile, FAILED, Failure};

#[derive(Args)]
pub(crate) struct FreezeArguments {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    what: What,
    /// Why, for the audit log and for whoever wants to thaw it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Freeze nothing, but list what is frozen.
    #[arg(long, conflicts_with_all = ["tenant", "client", "reason"])]
    list: bool,
    /// How the list is printed; by default a table on a terminal, JSON lines elsewhere.
    #[arg(long, value_enum, requires = "list")]
    format: Option<Format>,
}

#[derive(Args)]
pub(crate) struct ThawArguments {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    what: What,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What is meant; without any of it, everything.
#[derive(Args)]
#[group(multiple = false)]
struct What {
    /// A tenant: its name or an alias. Without tenant or client, everything is meant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// A client.
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
}

impl What {
    fn body(&self, reason: &Option<String>) -> Value {
        body(&[
            ("tenant", &self.tenant),
            ("client", &self.client),
            ("reason", reason),
        ])
    }
}

/// Freezes, by the gateway or without it.
pub(crate) fn freeze(arguments: FreezeArguments) -> Result<(), Failure> {
    let FreezeArguments {
        file,
        what,
        reason,
        list: lists,
        format,
    } = arguments;
    let mut operations = operations(&file)?;
    let asked = match operations.admin.take() {
        None => Err(NoAnswer::Unreachable(format!(
            "{} has no [admin] section",
            file.config.display()
        ))),
        admin => {
            let client = AdminClient::new(admin, &file.config)?;
            match lists {
                true => client.get("/frozen"),
                false => client.post("/freeze", &what.body(&reason)),
            }
        }
    };
    match asked {
        Ok(answer) if lists => list(answer.get("frozen").unwrap_or(&Value::Null), format),
        Ok(answer) => tell(&answer),
        Err(NoAnswer::Unreachable(why)) if lists => {
            warn(&format!("{why}; this is what the file says"));
            let freezer = Freezer::open(&operations.state_directory)?;
            list(&serde_json::to_value(freezer.holds())?, format)
        }
        Err(NoAnswer::Unreachable(why)) => {
            warn(&why);
            let told = what.body(&reason).to_string();
            let frozen = freeze_by_file(&operations, &what, reason);
            recorded::outcome(&file, "freeze.by_file", told, frozen)
        }
        Err(refused) => Err(refused.into()),
    }
}

/// Ends a freeze.
pub(crate) fn thaw(arguments: ThawArguments) -> Result<(), Failure> {
    let ThawArguments { file, what, reason } = arguments;
    let admin = operations(&file)?.admin;
    let client = AdminClient::new(admin, &file.config)?;
    let answer = match client.post("/thaw", &what.body(&reason)) {
        Ok(answer) => answer,
        Err(NoAnswer::Unreachable(why)) => {
            let message = format!(
                "{why}; nothing is thawed, since that is recorded first, by the gateway: start it"
            );
            return Err(Failure(message, FAILED));
        }
        Err(refused) => return Err(refused.into()),
    };
    let thawed = answer.get("thawed").map(scope).unwrap_or_default();
    print(&format!("thawed: {thawed}\n"))?;
    let still = answer.get("still_frozen").and_then(Value::as_array);
    for hold in still.into_iter().flatten() {
        warn(&format!("still frozen: {}", scope(hold)));
    }
    Ok(())
}

fn tell(answer: &Value) -> Result<(), Failure> {
    let hold = answer.get("frozen").unwrap_or(&Value::Null);
    let what = scope(hold);
    let already = answer.get("was_frozen") == Some(&Value::Bool(true));
    let since = match already {
        true => format!(
            " already, since {} by {}",
            of(hold, "since"),
            of(hold, "by")
        ),
        false => String::new(),
    };
    print(&format!(
        "frozen{since}: {what}; requests that are under way go on to their end\n"
    ))?;
    let warnings = answer.get("warnings").and_then(Value::as_array);
    for warning in warnings.into_iter().flatten().filter_map(Value::as_str) {
        warn(&visible(warning));
    }
    Ok(())
}

/// Writes the file that the gateway reads. It records what it finds there.
fn freeze_by_file(
    operations: &Operations,
    what: &What,
    reason: Option<String>,
) -> Result<(), Failure> {
    let (scope, is_known) = match (&what.tenant, &what.client) {
        (Some(tenant), _) => {
            let known = operations.tenants.get(tenant);
            (
                Scope::Tenant(known.unwrap_or(tenant).clone()),
                known.is_some(),
            )
        }
        (None, Some(client)) => (
            Scope::Client(client.clone()),
            operations.clients.contains(client),
        ),
        (None, None) => (Scope::Everything, true),
    };
    if !scope.is_possible() {
        return Err(Failure(Scope::NAMES.to_owned(), BAD_USAGE));
    }
    if !is_known {
        warn(&format!("the configuration knows no {scope}"));
    }
    let directory = &operations.state_directory;
    if !directory.is_dir() {
        let message = format!(
            "nothing is frozen: there is no state directory {}, so no gateway has run by this file \
             on this machine",
            directory.display()
        );
        return Err(Failure(message, FAILED));
    }
    let freezer = Freezer::open(directory)?;
    let by = format!("{} (by the file)", operator());
    let reason = reason.filter(|reason| !says_nothing(reason));
    let hold = Hold::new(scope.clone(), Clock::System.now(), by, reason);
    let earlier = freezer.hold(hold);
    freezer.keep()?;
    let already = match earlier {
        Some(earlier) => format!(" already, since {} by {}", earlier.since, earlier.by),
        None => String::new(),
    };
    let already = visible(&already);
    print(&format!(
        "frozen{already}: {scope}, by the file in {}: a gateway that runs on it heeds it within two \
         seconds and records it, one that does not run will start frozen\n",
        directory.display()
    ))
}

fn list(holds: &Value, format: Option<Format>) -> Result<(), Failure> {
    let by_default = match io::stdout().is_terminal() {
        true => Format::Table,
        false => Format::Json,
    };
    let format = format.unwrap_or(by_default);
    let mut text = String::new();
    if format == Format::Table {
        text += &format!("{:30} {:27} {:40} reason\n", "frozen", "since", "by");
    }
    for hold in holds.as_array().into_iter().flatten() {
        text += &match format {
            Format::Json => format!("{hold}\n"),
            Format::Table => {
                let (since, by, reason) = (of(hold, "since"), of(hold, "by"), of(hold, "reason"));
                format!("{:30} {since:27} {by:40} {reason}\n", scope(hold))
            }
        };
    }
    print(&text)
}

/// What a freeze stops, in words.
fn scope(hold: &Value) -> String {
    for kind in ["tenant", "client"] {
        if hold.get(kind).is_some() {
            return format!("{kind} {}", of(hold, kind));
        }
    }
    "everything".to_owned()
}

fn of(hold: &Value, member: &str) -> String {
    let text = hold.get(member).and_then(Value::as_str);
    visible(text.unwrap_or("-")).into_owned()
}
