//! `vspc-gateway state`: a backup of the state directory, its way back, and what is in it.

use std::path::PathBuf;

use clap::Subcommand;
use vspc_gateway::config::Settings;
use vspc_gateway::state;
use vspc_gateway::state::copy::{self, Backup, Prospect, Restore};

use super::bar::Bar;
use super::recorded;
use crate::{BAD_USAGE, ConfigFile, Failure, print};

/// Back up the state directory, bring a backup back, tell what is in it.
#[derive(Subcommand)]
pub(crate) enum StateCommand {
    /// Write all of the state, as it is at one moment, to a file. The gateway may be running.
    Backup {
        /// The file; it can be read by its owner alone.
        backup: PathBuf,
        #[command(flatten)]
        file: ConfigFile,
        /// Leave the key out: without it nobody can read the backup, nor restore it.
        #[arg(long)]
        without_key: bool,
        /// Replace the file if it exists.
        #[arg(long)]
        force: bool,
    },
    /// Put a backup in place of the state, which is set aside. No gateway may be running on it.
    Restore {
        /// The file.
        backup: PathBuf,
        #[command(flatten)]
        file: ConfigFile,
        /// Let log-ins go on that had begun by then. Refresh tokens that were used since the backup
        /// are good again then, for whoever has them.
        #[arg(long)]
        keep_logins: bool,
    },
    /// Tell what there is: keys by their ids, values by their kinds.
    Info {
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// Runs a command.
pub(crate) fn run(command: StateCommand) -> Result<(), Failure> {
    match command {
        StateCommand::Backup {
            backup,
            file,
            without_key,
            force,
        } => {
            let wanted = Backup {
                to: &backup,
                with_key: !without_key,
                replaces: force,
            };
            let what = format!(
                "to {}, {}",
                backup.display(),
                if without_key {
                    "without the key"
                } else {
                    "with the key"
                }
            );
            recorded::outcome(&file, "state.backup", what, back_up(&load(&file)?, wanted))
        }
        StateCommand::Restore {
            backup,
            file,
            keep_logins,
        } => {
            let wanted = Restore {
                from: &backup,
                keeps_logins: keep_logins,
            };
            let what = format!(
                "from {}, log-ins {}",
                backup.display(),
                if keep_logins { "go on" } else { "end" }
            );
            recorded::outcome(&file, "state.restore", what, restore(&load(&file)?, wanted))
        }
        StateCommand::Info { file } => info(&load(&file)?),
    }
}

/// What a start would do with the state: lines for `check`; none if it would just go on.
pub(crate) fn prospect(settings: &state::Settings) -> String {
    let directory = settings.directory.display();
    match copy::prospect(settings) {
        Prospect::GoOn => String::new(),
        Prospect::Begin => format!("a start begins a new state in {directory}\n"),
        Prospect::SetAside(error) => format!(
            "a start sets the state in {directory} aside and begins a new one, which ends all log-ins at \
             the gateway: {error}\n"
        ),
        Prospect::Fail(error) => {
            format!("whether a start can use the state is not known: {error}\n")
        }
    }
}

fn back_up(settings: &state::Settings, wanted: Backup<'_>) -> Result<(), Failure> {
    let mut bar = Bar::of("{len} values");
    let done = copy::backup(settings, wanted, &mut |done, total| bar.tell((done, total)));
    bar.clear();
    let done = done?;
    let mut text = format!("{}: {} values", wanted.to.display(), done.values);
    if done.files > 0 {
        text += &format!(", {} files", done.files);
    }
    text += match wanted.with_key {
        true => "; it holds the key: whoever has it can read the state\n",
        false => "; it is of no use without the state key: keep that elsewhere\n",
    };
    if done.lost > 0 {
        text += &format!("{} values cannot be opened and are not in it\n", done.lost);
    }
    print(&text)
}

fn restore(settings: &state::Settings, wanted: Restore<'_>) -> Result<(), Failure> {
    let mut bar = Bar::new();
    let done = copy::restore(settings, wanted, &mut |done, total| bar.tell((done, total)));
    bar.clear();
    let done = done?;
    let mut text = format!("restored {} values of {}\n", done.values, done.made);
    if let Some(aside) = &done.set_aside {
        text += &format!("the state before is now {}\n", aside.display());
    }
    if done.keys_added {
        let place = settings.directory.join("key");
        text += &format!("keys were added to {}\n", place.display());
    }
    for file in &done.files {
        text += &format!("{file} holds what it held in the backup, too\n");
    }
    text += match wanted.keeps_logins {
        true => {
            "log-ins at the gateway go on; refresh tokens that were used since are good again\n"
        }
        false => "log-ins at the gateway have ended: tools log in again\n",
    };
    print(&text)
}

fn info(settings: &state::Settings) -> Result<(), Failure> {
    let info = copy::info(settings)?;
    let mut text = format!(
        "{}: {} bytes, sealed form {}, {}\nkeys: {} (the first seals)\n",
        info.path.display(),
        info.size,
        info.format,
        if info.in_use { "in use" } else { "not in use" },
        info.keys.join(", "),
    );
    for table in &info.tables {
        let by_key: Vec<String> = table
            .by_key
            .iter()
            .map(|(id, n)| format!("{n} by {id}"))
            .collect();
        text += &format!("{}: {} values", table.name, table.values);
        if !by_key.is_empty() {
            text += &format!(" ({})", by_key.join(", "));
        }
        if table.lost > 0 {
            text += &format!(", {} cannot be opened", table.lost);
        }
        text.push('\n');
    }
    for path in &info.set_aside {
        text += &format!("set aside: {}\n", path.display());
    }
    print(&text)
}

fn load(file: &ConfigFile) -> Result<state::Settings, Failure> {
    Settings::load_state(&file.config).map_err(|error| Failure(error.to_string(), BAD_USAGE))
}
