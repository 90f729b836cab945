//! May they: client × tenant × operation → [`Permit`]. What no rule allows is denied.

mod pattern;
#[cfg(test)]
mod tests;

pub use pattern::{PathPattern, PatternFault};

use std::sync::Arc;

use http::Method;

use crate::client::{Aim, Caller, Client, SessionKey};
use crate::request::{Operation, RequestHead};
use crate::tenant::{AccountKey, Gone, Named, Resolved, Target, TokenKey};
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, Subject};

/// A decision that a client may act for a tenant on one operation.
///
/// Only [`Policy`] makes one; without it no token is leased.
#[derive(Debug)]
pub struct Permit<'a> {
    acting: Acting,
    rule: &'a Arc<str>,
    bearer: Bearer,
    is_own: bool,
}

/// As whom a request acts.
#[derive(Debug)]
pub enum Acting {
    /// As a tenant's own account, and what the request may do with it.
    Account(Arc<AccountKey>, Access),
    /// As the user of this token, for a tenant.
    For(Arc<TokenKey>),
    /// As itself, in a session of its own.
    Itself(SessionKey),
}

/// Whose token the console is to see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bearer {
    /// Nobody's: one of the operations that VSPC serves without a token.
    Nobody,
    /// Of whom the request acts as.
    Target,
}

impl Permit<'_> {
    /// The rule that allowed it, e.g. `clients.zabbix.allow[0]`.
    pub fn rule(&self) -> &Arc<str> {
        self.rule
    }

    /// As whom the request acts.
    pub fn acting(&self) -> &Acting {
        &self.acting
    }

    /// Whether the request acts as whom the configuration, or the directory, has its tenant act as:
    /// not as a user that the caller names, nor as the caller itself.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Where it goes.
    pub fn console(&self) -> &ConsoleId {
        match &self.acting {
            Acting::Account(account, _) => account.identity.console(),
            Acting::For(key) => &key.console,
            Acting::Itself(session) => &session.console,
        }
    }

    /// Whose token the console is to see.
    pub fn bearer(&self) -> Bearer {
        self.bearer
    }
}

/// What each client may do.
#[derive(Debug)]
pub struct Policy {
    /// By [`Client::index`].
    clients: Vec<Rules>,
    /// Of those who logged in at a console and act as themselves.
    logins: Rules,
    /// What allows a log-in, as records name it.
    log_in: Arc<str>,
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
    /// The tenant acts as another user than when the token was issued.
    Moved,
    /// No rule allows the operation, or one denies it: which.
    Operation(Option<Arc<str>>),
    /// The tenant exists, but not for this client. The caller gets the same answer as for an
    /// unknown one; the audit record tells them apart.
    ForeignTenant(Arc<str>),
    /// Nobody can act for the tenant at the console.
    Gone(Gone),
    /// Who acts for the tenant is not known yet.
    NotYet,
    /// The tenant's tokens, or those of the log-in, are read-only.
    ReadOnly,
    /// The client may not name this user.
    Target(Subject),
    /// `/token` and its like are answered by the gateway or not at all.
    Token,
    /// No tenant has the name.
    UnknownTenant,
}

impl Policy {
    /// A policy from the rules of each client, in the order of [`Client::index`], and those of
    /// callers who act as themselves.
    pub fn new(clients: Vec<Rules>, logins: Rules) -> Self {
        let log_in = Arc::from("token");
        Self {
            clients,
            logins,
            log_in,
        }
    }

    /// Decides whether a caller may act for a tenant on what a request asks.
    ///
    /// # Errors
    /// Says what stands against it.
    pub fn authorize<'a>(
        &'a self,
        caller: &Caller<'_>,
        whom: &Resolved,
        head: &RequestHead<'_>,
    ) -> Result<Permit<'a>, Denied> {
        let named = &whom.named;
        let (acting, rules) = match caller {
            Caller::Client(who) => {
                let acting = acting(who.client(), named, whom.aim, who.access())?;
                let rules = self.clients.get(who.client().index);
                (acting, rules.ok_or(Denied::Operation(None))?)
            }
            Caller::Login(_, session) => (Acting::Itself(session.clone()), &self.logins),
        };
        let rule = rules.judge(head)?;
        let access = match &acting {
            Acting::Account(_, access) => *access,
            Acting::For(key) => key.access,
            Acting::Itself(session) => session.access,
        };
        let safe = matches!(*head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if access == Access::ReadOnly && !safe {
            return Err(Denied::ReadOnly);
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
            is_own: is_own(named, &acting),
            acting,
            rule,
            bearer,
        })
    }

    /// Decides whether a client may log in for a tenant, and as whom.
    ///
    /// # Errors
    /// Says what stands against it.
    pub fn admit<'a>(
        &'a self,
        client: &Client,
        whom: &Resolved,
        access: Access,
    ) -> Result<Permit<'a>, Denied> {
        let named = &whom.named;
        let acting = acting(client, named, whom.aim, access)?;
        Ok(Permit {
            is_own: is_own(named, &acting),
            acting,
            rule: &self.log_in,
            bearer: Bearer::Target,
        })
    }

    /// Lets somebody who logged in at a console go on with its own session.
    pub fn admit_itself(&self, session: SessionKey) -> Permit<'_> {
        Permit {
            acting: Acting::Itself(session),
            rule: &self.log_in,
            bearer: Bearer::Target,
            is_own: false,
        }
    }
}

/// Whose token acts for a tenant, if the client may act for it, and as that user.
fn acting(client: &Client, named: &Named, aim: Aim, access: Access) -> Result<Acting, Denied> {
    let Named::Known(tenant) = named else {
        return Err(Denied::UnknownTenant);
    };
    if !tenant.is_of(client) {
        return Err(Denied::ForeignTenant(Arc::clone(&tenant.name)));
    }
    let own = match &**tenant.target() {
        Target::Account(own) => return account(own, aim, access),
        Target::Known(own) => Arc::clone(own),
        Target::Gone(gone) => return Err(Denied::Gone(*gone)),
        Target::NotYet => return Err(Denied::NotYet),
    };
    let target = match aim {
        Aim::Own => own.target,
        Aim::Named(target) if target == own.target || client.may_name(target) => target,
        Aim::Named(target) => return Err(Denied::Target(target)),
        Aim::Was(target) if target == own.target => target,
        Aim::Was(_) => return Err(Denied::Moved),
    };
    let access = own.access.max(access);
    if target == own.target && access == own.access {
        return Ok(Acting::For(own));
    }
    Ok(Acting::For(Arc::new(TokenKey {
        console: own.console.clone(),
        target,
        access,
    })))
}

/// Whether it is the tenant's own user or account, whatever its token may do.
fn is_own(named: &Named, acting: &Acting) -> bool {
    match (acting, named) {
        (Acting::Account(..), _) => true,
        (Acting::For(key), Named::Known(tenant)) => {
            matches!(&**tenant.target(), Target::Known(own) if own.target == key.target)
        }
        (Acting::For(_) | Acting::Itself(_), _) => false,
    }
}

/// A tenant's own account impersonates nobody, whoever asks.
fn account(own: &Arc<AccountKey>, aim: Aim, access: Access) -> Result<Acting, Denied> {
    match aim {
        Aim::Own | Aim::Was(NOBODY) => {
            let access = own.access.max(access);
            Ok(Acting::Account(Arc::clone(own), access))
        }
        Aim::Was(_) => Err(Denied::Moved),
        Aim::Named(target) => Err(Denied::Target(target)),
    }
}

/// The target of those who impersonate nobody.
pub const NOBODY: Subject = Subject(uuid::Uuid::nil());

impl Rules {
    /// The rule that allows a request.
    fn judge(&self, head: &RequestHead<'_>) -> Result<&Arc<str>, Denied> {
        if head.operation == Operation::Token {
            return Err(Denied::Token);
        }
        if let Some(rule) = self.deny.iter().find(|rule| rule.denies(head)) {
            return Err(Denied::Operation(Some(Arc::clone(&rule.name))));
        }
        let allowing = self.allow.iter().find(|rule| rule.allows(head));
        allowing
            .map(|rule| &rule.name)
            .ok_or(Denied::Operation(None))
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
