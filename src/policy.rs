//! May they: client × tenant × operation → [`Permit`]. What no rule allows is denied.

mod pattern;
#[cfg(test)]
mod tests;

pub use pattern::{PathPattern, PatternFault};

use std::sync::Arc;

use http::Method;

use crate::client::Client;
use crate::request::{Operation, RequestHead};
use crate::tenant::{Named, Tenant, TokenKey};
use crate::vspc::grant::Access;

/// A decision that a client may act for a tenant on one operation.
///
/// Only [`Policy::authorize`] makes one; without it no token is leased.
#[derive(Debug)]
pub struct Permit<'a> {
    tenant: &'a Arc<Tenant>,
    rule: &'a Arc<str>,
    bearer: Bearer,
}

/// Whose token the console is to see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bearer {
    /// Nobody's: one of the operations that VSPC serves without a token.
    Nobody,
    /// The impersonated user's.
    Target,
}

impl Permit<'_> {
    /// The tenant acted for.
    pub fn tenant(&self) -> &Arc<Tenant> {
        self.tenant
    }

    /// The rule that allowed it, e.g. `clients.zabbix.allow[0]`.
    pub fn rule(&self) -> &Arc<str> {
        self.rule
    }

    /// Which token is to be used.
    pub fn key(&self) -> &TokenKey {
        &self.tenant.key
    }

    /// Whose token the console is to see.
    pub fn bearer(&self) -> Bearer {
        self.bearer
    }
}

/// What each client may do.
#[derive(Debug, Default)]
pub struct Policy {
    /// By [`Client::index`].
    clients: Vec<Rules>,
}

/// The rules of one client. A matching `deny` wins over every `allow`.
#[derive(Debug, Default)]
pub struct Rules {
    /// What is denied.
    pub deny: Vec<Rule>,
    /// What is allowed.
    pub allow: Vec<Rule>,
}

/// Methods and paths.
#[derive(Debug)]
pub struct Rule {
    /// How the rule is called in audit records.
    pub name: Arc<str>,
    /// The methods it is about; `GET` covers `HEAD`.
    pub methods: Methods,
    /// The paths it is about.
    pub paths: Vec<PathPattern>,
}

/// The methods a rule is about.
#[derive(Debug, Eq, PartialEq)]
pub enum Methods {
    /// All that are served.
    Any,
    /// These.
    Listed(Vec<Method>),
}

/// Why a request is not allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Denied {
    /// No rule allows the operation, or one denies it: which.
    Operation(Option<Arc<str>>),
    /// The tenant exists, but not for this client. The caller gets the same answer as for an
    /// unknown one; the audit record tells them apart.
    ForeignTenant(Arc<Tenant>),
    /// The tenant's tokens are read-only.
    ReadOnlyTenant,
    /// `/token` and its like are answered by the gateway or not at all.
    Token,
    /// No tenant has the name.
    UnknownTenant,
}

impl Policy {
    /// A policy from the rules of each client, in the order of [`Client::index`].
    pub fn new(clients: Vec<Rules>) -> Self {
        Self { clients }
    }

    /// Decides whether a client may act for a tenant on what a request asks.
    ///
    /// # Errors
    /// Says what stands against it.
    pub fn authorize<'a>(
        &'a self,
        client: &Client,
        named: &Named<'a>,
        head: &RequestHead<'_>,
    ) -> Result<Permit<'a>, Denied> {
        let Named::Known(tenant) = *named else {
            return Err(Denied::UnknownTenant);
        };
        if !client.may_act_for(&tenant.name) {
            return Err(Denied::ForeignTenant(Arc::clone(tenant)));
        }
        if head.operation == Operation::Token {
            return Err(Denied::Token);
        }
        let rules = self
            .clients
            .get(client.index)
            .ok_or(Denied::Operation(None))?;
        if let Some(rule) = rules.deny.iter().find(|rule| rule.denies(head)) {
            return Err(Denied::Operation(Some(Arc::clone(&rule.name))));
        }
        let rule = rules
            .allow
            .iter()
            .find(|rule| rule.allows(head))
            .ok_or(Denied::Operation(None))?;
        let safe = matches!(*head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if tenant.key.access == Access::ReadOnly && !safe {
            return Err(Denied::ReadOnlyTenant);
        }
        let bearer = match head.operation {
            Operation::TokenFree => Bearer::Nobody,
            Operation::AuthenticationKeys
            | Operation::Logins(_)
            | Operation::OutsideApi
            | Operation::Plain
            | Operation::Token => Bearer::Target,
        };
        Ok(Permit {
            tenant,
            rule: &rule.name,
            bearer,
        })
    }
}

impl Rule {
    fn allows(&self, head: &RequestHead<'_>) -> bool {
        self.methods.cover(head.method) && self.paths.iter().any(|path| path.allows(&head.path))
    }

    fn denies(&self, head: &RequestHead<'_>) -> bool {
        self.methods.cover(head.method) && self.paths.iter().any(|path| path.covers(&head.path))
    }
}

impl Methods {
    fn cover(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed
                .iter()
                .any(|one| one == method || (*one == Method::GET && *method == Method::HEAD)),
        }
    }
}
