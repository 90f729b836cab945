//! Why a request would be allowed, or refused, and what would change it: from the configuration
//! alone, by the functions of the data path itself. Nothing is sent, and no state is written.

mod question;
mod remedy;
mod road;
#[cfg(test)]
mod tests;
mod told;

pub use question::{BadQuestion, Question};
pub use told::{Outcome, Refusal, Sent, Told, Verdict};

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use crate::config::{ConfigError, Settings};
use crate::freeze::Freezer;
use crate::gateway::OwnedHeaders;
use crate::tenant::{Names, Target, Tenant};
use crate::vspc::grant::Subject;

/// A configuration that can be asked about.
#[derive(Debug)]
pub struct Plan {
    settings: Settings,
    owned: OwnedHeaders,
    /// What is frozen, or why that is not known.
    frozen: Result<Freezer, String>,
}

impl Plan {
    /// Reads a configuration, without the secrets that it names, and what is frozen, as far as that
    /// can be read.
    ///
    /// # Errors
    /// Tells every fault of the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Settings::load_alone(path).map(Self::new)
    }

    /// The same of a configuration that was read.
    pub fn new(settings: Settings) -> Self {
        for tenant in settings.tenants.configured() {
            // Only the console knows who it is; rules are to be judged all the same.
            if matches!(**tenant.target(), Target::NotYet) {
                tenant.aim(Ok(SOMEBODY));
            }
        }
        let mapped = settings.mapping.owned();
        let owned = OwnedHeaders::new(mapped.chain(settings.policy.reason_header()));
        let frozen = Freezer::open(&settings.state.directory).map_err(|error| error.to_string());
        Self {
            settings,
            owned,
            frozen,
        }
    }

    /// Says what would become of a request.
    ///
    /// # Errors
    /// Refuses what is no question about a request.
    pub fn explain(&self, question: &Question) -> Result<Told, BadQuestion> {
        let parts = question.parts(&self.settings)?;
        self.settings.tenants.found().store(Arc::default());
        road::go(self, question, &parts)
    }

    /// The consoles all of whose companies are tenants.
    fn directories(&self) -> impl Iterator<Item = &crate::config::Console> {
        let consoles = self.settings.consoles.iter();
        consoles.filter(|console| console.directory.all)
    }

    /// Takes a console for having a company of this name, from now on.
    fn suppose_company(&self, name: &str) {
        let Some(console) = self.directories().next() else {
            return;
        };
        let uid = Uuid::try_parse(name).unwrap_or(SOMEBODY.0);
        let id = console.upstream.id.clone();
        let company = Tenant::found(Arc::from(name), id, uid, None);
        company.aim(Ok(SOMEBODY));
        let mut names = Names::default();
        names.insert(Arc::from(name), Arc::new(company));
        self.settings.tenants.found().store(Arc::new(names));
    }
}

/// Stands for whoever the console would say it is.
const SOMEBODY: Subject = Subject(Uuid::max());
