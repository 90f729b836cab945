//! One freeze, and how it is written.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// What one freeze stops.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Scope {
    /// All requests.
    Everything,
    /// Those of one client, by its name.
    Client(String),
    /// Those for one tenant, by its own name, or by what tokens of the gateway are bound to.
    Tenant(String),
}

impl Scope {
    /// Whether it stops everything, or what it names can have that name. Tenants are called what
    /// consoles call companies.
    pub fn is_possible(&self) -> bool {
        let fits = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        match self {
            Self::Everything => true,
            Self::Client(name) => {
                !name.is_empty() && name.len() <= LONGEST_CLIENT && name.chars().all(fits)
            }
            Self::Tenant(name) => {
                let is_of_length = !name.is_empty() && name.len() <= LONGEST_TENANT;
                is_of_length && name.trim() == name && name.chars().all(is_printable)
            }
        }
    }

    /// What [`Scope::is_possible`] asks for.
    pub const NAMES: &'static str = "a client's name has letters, digits, - _ and . alone; a \
        tenant's is printable, without blanks at its ends, and has 512 bytes at most";
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Client(name) => write!(f, "client {name}"),
            Self::Tenant(name) if name.contains(char::is_whitespace) => {
                write!(f, "tenant {name:?}")
            }
            Self::Tenant(name) => write!(f, "tenant {name}"),
        }
    }
}

/// One freeze: what, since when, by whom and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Hold {
    /// What is stopped.
    pub scope: Scope,
    /// Of a tenant that was frozen by the name that its company has at the console: its id, which
    /// stays when the company is renamed.
    pub id: Option<String>,
    /// Since when, in RFC 3339.
    pub since: String,
    /// By whom, as far as it is known.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

impl Hold {
    /// A freeze that begins now.
    pub fn new(scope: Scope, now: Timestamp, by: String, reason: Option<String>) -> Self {
        Self {
            scope,
            id: None,
            since: String::from_utf8_lossy(&now.text()).into_owned(),
            by,
            reason,
        }
    }

    /// Whether it is the freeze of this, under whichever of its names.
    pub fn is_of(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Tenant(name) if self.id.as_ref() == Some(name) => true,
            scope => self.scope == *scope,
        }
    }

    /// Whether it stops a tenant by a name alone, as far as is known.
    pub(super) fn open_name(&self) -> Option<&str> {
        match (&self.scope, &self.id) {
            (Scope::Tenant(name), None) => Some(name),
            _ => None,
        }
    }
}

/// In one line, whatever somebody wrote.
impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scope, since, by, ..
        } = self;
        write!(f, "{scope}, since {since}, by {by:?}")?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason:?}"),
            None => Ok(()),
        }
    }
}

/// One freeze as it stands in the file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    everything: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    since: String,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl TryFrom<Written> for Hold {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let scope = match (written.everything, written.client, written.tenant) {
            (true, None, None) => Scope::Everything,
            (false, Some(client), None) => Scope::Client(client),
            (false, None, Some(tenant)) => Scope::Tenant(tenant),
            _ => return Err("a freeze needs exactly one of everything, client and tenant"),
        };
        if !scope.is_possible() {
            return Err(Scope::NAMES);
        }
        let is_id = |id: &String| Scope::Tenant(id.clone()).is_possible();
        if !written.id.as_ref().is_none_or(is_id) {
            return Err("an id is one of a tenant");
        }
        if written.since.contains(|c: char| !c.is_ascii_graphic()) {
            return Err("since is a time such as 2026-03-04T05:06:07Z");
        }
        Ok(Self {
            scope,
            id: written.id,
            since: written.since,
            by: written.by,
            reason: written.reason,
        })
    }
}

impl From<Hold> for Written {
    fn from(hold: Hold) -> Self {
        let (mut client, mut tenant) = (None, None);
        let everything = hold.scope == Scope::Everything;
        match hold.scope {
            Scope::Everything => {}
            Scope::Client(name) => client = Some(name),
            Scope::Tenant(name) => tenant = Some(name),
        }
        Self {
            everything,
            client,
            tenant,
            id: hold.id,
            since: hold.since,
            by: hold.by,
            reason: hold.reason,
        }
    }
}

/// Whether it is shown as it is wherever text is.
fn is_printable(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().count() == 1
}

const LONGEST_CLIENT: usize = 128;
/// As long as the name of a company may be.
const LONGEST_TENANT: usize = 512;
