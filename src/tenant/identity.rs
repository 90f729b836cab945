//! The accounts that the gateway itself logs in with.

use std::fmt;
use std::sync::Arc;

use crate::upstream::ConsoleId;
use crate::vspc::grant::Access;

/// A VSPC login that the gateway holds a session for: its own account on a console, or a tenant's.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IdentityId {
    console: ConsoleId,
    tenant: Option<Arc<str>>,
}

impl IdentityId {
    /// The gateway's own account on a console.
    pub fn service(console: &ConsoleId) -> Self {
        Self {
            console: console.clone(),
            tenant: None,
        }
    }

    /// The account of a tenant that acts without impersonation.
    pub fn of_tenant(console: &ConsoleId, tenant: &Arc<str>) -> Self {
        Self {
            console: console.clone(),
            tenant: Some(Arc::clone(tenant)),
        }
    }

    /// Where it logs in.
    pub fn console(&self) -> &ConsoleId {
        &self.console
    }

    /// Whose account it is; none for the gateway's own.
    pub fn tenant(&self) -> Option<&Arc<str>> {
        self.tenant.as_ref()
    }
}

/// Which token: that of a tenant's own account, which impersonates nobody.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct AccountKey {
    /// The account.
    pub identity: IdentityId,
    /// What its token may do.
    pub access: Access,
}

impl fmt::Debug for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            None => write!(f, "{}", self.console),
            Some(tenant) => write!(f, "{}/{tenant}", self.console),
        }
    }
}
