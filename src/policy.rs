//! May they: client × tenant × operation → [`Permit`]. What no rule allows is denied.

mod book;
mod denied;
mod explain;
mod hours;
mod index;
mod pattern;
mod reason;
mod road;
mod rule;
#[cfg(test)]
mod tests;

pub use denied::Denied;
pub use explain::{Effect, Finding, Unmet};
pub use hours::{Hours, HoursFault};
pub use pattern::{PathPattern, PatternFault};
pub use reason::{NotAReason, REASON_LENGTH, Reason, ReasonFault, Reasons, says_nothing};
pub use road::Road;
pub use rule::{Demand, Methods, OperationFault, OperationPattern, Rule, Rules};

use std::sync::Arc;

use http::header::{HeaderMap, HeaderName};

use book::Book;
use rule::{Facts, READING, bit};

use crate::client::{Aim, Caller, Client, SessionKey};
use crate::clock::Timestamp;
use crate::request::{Operation, RequestHead};
use crate::tenant::{AccountKey, Named, Resolved, Target, TokenKey};
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

/// When a request came, and why.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The wall time.
    pub now: Timestamp,
    /// What the caller says.
    pub reason: Reason<'a>,
}

/// What each client may do.
#[derive(Debug)]
pub struct Policy {
    /// By [`Client::index`].
    clients: Vec<Book>,
    /// Of those who logged in at a console and act as themselves.
    logins: Book,
    /// How callers say why they ask.
    reasons: Option<Reasons>,
    /// What allows a log-in, as records name it.
    log_in: Arc<str>,
}

impl Policy {
    /// A policy from the rules of each client, in the order of [`Client::index`], and those of
    /// callers who act as themselves; `reasons` says how callers say why they ask.
    pub fn new(clients: Vec<Rules>, logins: Rules, reasons: Option<Reasons>) -> Self {
        let log_in = Arc::from("token");
        Self {
            clients: clients.into_iter().map(Book::new).collect(),
            logins: Book::new(logins),
            reasons,
            log_in,
        }
    }

    /// The header by which callers say why they ask, where there is one.
    pub fn reason_header(&self) -> Option<&HeaderName> {
        self.reasons.as_ref().map(Reasons::header)
    }

    /// What all of a reason must match, where anything is asked.
    pub fn reason_pattern(&self) -> Option<&str> {
        self.reasons.as_ref()?.pattern()
    }

    /// Why a caller asks.
    pub fn reason<'a>(&'a self, headers: &'a HeaderMap) -> Reason<'a> {
        let reasons = self.reasons.as_ref();
        reasons.map_or(Reason::NotTaken, |reasons| reasons.read(headers))
    }

    /// A rule that asks for a reason, by its name, if one does.
    pub fn asking(&self) -> Option<&str> {
        let books = self.clients.iter().chain([&self.logins]);
        books.filter_map(|book| book.asking()).next()
    }

    /// What of the configuration does nothing, for whoever wrote it.
    pub fn warnings(&self) -> Vec<String> {
        let books = self.clients.iter().chain([&self.logins]);
        books.flat_map(Book::idle).collect()
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
        moment: Moment<'_>,
    ) -> Result<Permit<'a>, Denied> {
        let named = &whom.named;
        let (Own { acting, is_own }, book) = self.acts(caller, whom)?;
        if head.operation == Operation::Token {
            return Err(Denied::Token);
        }
        let (facts, road) = facts(&acting, named, head, moment.now);
        let rule = book.judge(&facts, road).0?;
        let acting = acting.at_most(rule.access);
        if acting.access() == Access::ReadOnly && facts.method & READING == 0 {
            return Err(Denied::ReadOnly(Arc::clone(&rule.name)));
        }
        if book.demands_reason() || rule.reason == Demand::Required {
            let needed = moment.reason.needed();
            needed.map_err(|fault| Denied::Reason(Arc::clone(&rule.name), Box::new(fault)))?;
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
            is_own,
            acting,
            rule: &rule.name,
            bearer,
        })
    }

    /// What each rule of a caller says of a request: those that deny, then those that allow, in
    /// their order. The first that denies decides, else the first that allows. Nothing where the
    /// caller cannot act for the tenant at all.
    pub fn explain(
        &self,
        caller: &Caller<'_>,
        whom: &Resolved,
        head: &RequestHead<'_>,
        now: Timestamp,
    ) -> Vec<Finding> {
        let Ok((own, book)) = self.acts(caller, whom) else {
            return Vec::new();
        };
        let (facts, road) = facts(&own.acting, &whom.named, head, now);
        book.explain(&facts, road)
    }

    /// As whom a caller acts, and by which rules.
    fn acts(&self, caller: &Caller<'_>, whom: &Resolved) -> Result<(Own, &Book), Denied> {
        match caller {
            Caller::Client(who) => {
                let acting = acting(who.client(), &whom.named, whom.aim, who.access())?;
                let book = self.clients.get(who.client().index);
                Ok((acting, book.ok_or(Denied::Operation(None))?))
            }
            Caller::Login(_, session) => {
                let acting = Acting::Itself(session.clone());
                let is_own = false;
                Ok((Own { acting, is_own }, &self.logins))
            }
        }
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
        let Own { acting, is_own } = acting(client, &whom.named, whom.aim, access)?;
        Ok(Permit {
            is_own,
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

/// As whom a request acts, and whether that is the tenant's own user or account, whatever its token
/// may do.
struct Own {
    acting: Acting,
    is_own: bool,
}

/// Whose token acts for a tenant, if the client may act for it, and as that user.
fn acting(client: &Client, named: &Named, aim: Aim, access: Access) -> Result<Own, Denied> {
    let Named::Known(tenant) = named else {
        return Err(Denied::UnknownTenant);
    };
    if !tenant.is_of(client) {
        return Err(Denied::ForeignTenant(Arc::clone(&tenant.name)));
    }
    let own = match &**tenant.target() {
        Target::Account(own) => {
            let acting = account(own, aim, access)?;
            let is_own = true;
            return Ok(Own { acting, is_own });
        }
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
    let is_own = target == own.target;
    let key = if is_own && access == own.access {
        own
    } else {
        Arc::new(TokenKey {
            console: own.console.clone(),
            target,
            access,
        })
    };
    let acting = Acting::For(key);
    Ok(Own { acting, is_own })
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

impl Acting {
    /// What the request may do.
    fn access(&self) -> Access {
        match self {
            Self::Account(_, access) => *access,
            Self::For(key) => key.access,
            Self::Itself(session) => session.access,
        }
    }

    /// The same with a token that may do no more than this. Who acts as itself has the token that
    /// it logged in for.
    fn at_most(self, most: Access) -> Self {
        let access = self.access().max(most);
        match self {
            Self::Account(account, _) => Self::Account(account, access),
            Self::For(key) if key.access != access => Self::For(Arc::new(TokenKey {
                console: key.console.clone(),
                target: key.target,
                access,
            })),
            Self::For(_) | Self::Itself(_) => self,
        }
    }
}

/// What rules look at, and the closed road that the request is on.
fn facts<'a>(
    acting: &Acting,
    named: &'a Named,
    head: &'a RequestHead<'_>,
    now: Timestamp,
) -> (Facts<'a>, Option<&'static Road>) {
    let road = Road::of(head);
    let facts = Facts {
        method: bit(head.method),
        path: &head.path,
        tenant: match named {
            Named::Known(tenant) => Some(tenant),
            Named::Nobody | Named::Unknown => None,
        },
        target: match acting {
            Acting::For(key) => Some(key.target),
            Acting::Account(..) | Acting::Itself(_) => None,
        },
        now,
        must_spell: road.map_or(0, |(_, places)| places),
    };
    (facts, road.map(|(road, _)| road))
}
