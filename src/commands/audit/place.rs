//! Which log a command reads: the configured one, or a copy of one.

use std::path::PathBuf;

use clap::Args;
use vspc_gateway::audit;

use super::load;
use crate::commands::recorded;
use crate::commands::tokens::warn;
use crate::{ConfigFile, Failure};

/// Which log is read.
#[derive(Args)]
pub(crate) struct Place {
    #[command(flatten)]
    file: ConfigFile,
    /// The directory of a log, or of a copy of one, in place of the configured one: no configuration
    /// is read, nothing is written there, and so the reading is not recorded.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    directory: Option<PathBuf>,
}

/// A log that is read.
pub(super) struct Log {
    pub(super) settings: audit::Settings,
    /// Whether it may be written to.
    pub(super) is_ours: bool,
}

impl Place {
    /// Finds it out.
    pub(super) fn find(&self) -> Result<Log, Failure> {
        Ok(match &self.directory {
            Some(directory) => Log {
                settings: audit::Settings::new(directory.clone()),
                is_ours: false,
            },
            None => Log {
                settings: load(&self.file)?,
                is_ours: true,
            },
        })
    }
}

impl Log {
    /// Records that it is read, before anything of it is shown; or says that it is not recorded.
    pub(super) fn reading(&self, operation: &'static str) -> Option<u64> {
        if self.is_ours {
            return recorded::reading(&self.settings, operation);
        }
        warn("this reading is not recorded: with --directory nothing is written to the log");
        None
    }
}
