//! The consoles of a configuration, and who the gateway is there.

use std::mem;
use std::sync::Arc;

use super::RunError;
use crate::config::{self, Settings};
use crate::gateway::{Consoles, Gateway, Passthrough};
use crate::roster::Source;
use crate::state::StateError;
use crate::token::{Account, Accounts, Logins};
use crate::upstream::Console;

/// The consoles, and who the gateway is there.
#[derive(Default)]
pub(super) struct Connected {
    pub(super) consoles: Consoles,
    pub(super) accounts: Accounts,
    pub(super) sources: Vec<Source>,
    pub(super) passthrough: Option<Passthrough>,
}

/// Prepares the connections to all consoles; nothing is sent yet. A console that is just as it was
/// `before` stays, with its connections, and with what is known of it.
pub(super) fn connect(
    settings: &mut Settings,
    before: Option<&Gateway>,
) -> Result<Connected, RunError> {
    let mut all = Connected::default();
    for console in mem::take(&mut settings.consoles) {
        let id = console.upstream.id.clone();
        let connected = reach(&console, before)?;
        if console.passthrough != config::Passthrough::No {
            all.passthrough = Some(pass_through(&console, &connected, before)?);
        }
        all.sources.push(Source {
            console: Arc::clone(&connected),
            client_version: console.client_version.clone(),
            settings: console.directory,
        });
        let account = Account {
            console: Arc::clone(&connected),
            login: Arc::new(console.login),
            client_version: console.client_version,
        };
        all.accounts.consoles.insert(id.clone(), Arc::new(account));
        all.consoles.insert(id, connected);
    }
    let logins = mem::take(&mut settings.tenant_logins).into_iter();
    let logins = logins.map(|(identity, login)| (identity, Arc::new(login)));
    all.accounts.tenants = logins.collect();
    Ok(all)
}

fn reach(console: &config::Console, before: Option<&Gateway>) -> Result<Arc<Console>, RunError> {
    let settings = &console.upstream;
    let before = before.and_then(|before| before.consoles.get(&settings.id));
    if let Some(same) = before.filter(|before| before.is_reached_by(settings)) {
        return Ok(Arc::clone(same));
    }
    let connected = Console::new(settings.clone()).map_err(|source| RunError::Trust {
        console: settings.id.to_string(),
        source,
    })?;
    Ok(Arc::new(connected))
}

fn pass_through(
    console: &config::Console,
    connected: &Arc<Console>,
    before: Option<&Gateway>,
) -> Result<Passthrough, RunError> {
    let expose = console.passthrough == config::Passthrough::Exposed;
    let before = before.and_then(|before| before.passthrough.as_ref());
    // What was answered holds the console's tokens, where those were given out.
    let is_same =
        |before: &&Passthrough| before.console.id() == connected.id() && before.expose == expose;
    let before = before.filter(is_same);
    let logins = match before {
        Some(before) => Arc::clone(&before.logins),
        None => Arc::new(Logins::new().map_err(StateError::from)?),
    };
    Ok(Passthrough {
        console: Arc::clone(connected),
        // A login without a name has none that anybody could try.
        own_name: console.login.username().unwrap_or_default().to_lowercase(),
        client_version: console.client_version.clone(),
        expose,
        logins,
    })
}
