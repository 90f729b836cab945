//! A tool that may call the gateway.

use std::collections::HashSet;
use std::sync::Arc;

use super::Terms;
use crate::vspc::grant::Subject;

/// A tool that may call the gateway.
#[derive(Debug)]
pub struct Client {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its place among the clients; policies are kept by it.
    pub index: usize,
    /// The tenants it may act for.
    pub tenants: Tenants,
    /// The users it may name itself, beyond the tenants' own.
    pub targets: Targets,
    /// On which terms it is served.
    pub terms: Terms,
}

/// The tenants a client may act for.
#[derive(Debug)]
pub enum Tenants {
    /// Every tenant.
    All,
    /// The tenants of these names.
    Named(HashSet<Arc<str>>),
}

/// The users that a client may name itself.
#[derive(Debug, Default)]
pub enum Targets {
    /// Every user.
    All,
    /// These.
    Listed(HashSet<Subject>),
    /// Nobody: it acts as the tenant's own target.
    #[default]
    None,
}

impl Client {
    /// Whether the client may act for a tenant.
    pub fn may_act_for(&self, tenant: &str) -> bool {
        match &self.tenants {
            Tenants::All => true,
            Tenants::Named(names) => names.contains(tenant),
        }
    }

    /// Whether the client may name a user to act as.
    pub fn may_name(&self, target: Subject) -> bool {
        match &self.targets {
            Targets::All => true,
            Targets::Listed(listed) => listed.contains(&target),
            Targets::None => false,
        }
    }

    /// The client's tenant, when it has exactly one.
    pub fn only_tenant(&self) -> Option<&str> {
        match &self.tenants {
            Tenants::Named(names) if names.len() == 1 => names.iter().next().map(AsRef::as_ref),
            Tenants::All | Tenants::Named(_) => None,
        }
    }
}
