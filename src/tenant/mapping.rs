//! From what a request says to the tenant and the user it acts for.
//!
//! The credential, the rules and the tenant header are sources; each that says something names a
//! tenant, and all must name the same one.

mod disjoint;
mod pattern;
mod rules;
mod source;
#[cfg(test)]
mod tests;
mod told;

pub use disjoint::{Clash, Conflict, conflicts};
pub use pattern::{Pattern, PatternFault};
pub use rules::{Condition, Rule, Rules, Test};
pub use source::{Part, Source, VALUE_LIMIT};

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName};
use smallvec::SmallVec;
use uuid::Uuid;

use super::{Directory, Named, lookup};
use crate::client::{Aim, Caller, Certificate, Client, Identified, TenantClaim};
use crate::request::RequestHead;
use crate::vspc::grant::Subject;
use rules::Heard;
use source::read_header;

/// How requests name their tenant, and the user to act as.
#[derive(Debug, Default)]
pub struct Mapping {
    /// The header whose value is a tenant's name or alias.
    pub tenant_header: Option<HeaderName>,
    /// The header whose value is the `userUid` of the user to act as.
    pub user_header: Option<HeaderName>,
    /// What else names a tenant.
    pub rules: Rules,
}

/// Who asks, as far as it counts for whom it may ask.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The client.
    pub client: &'a Client,
    /// The tenant that the credential names, if it names one.
    pub tenant: Option<TenantClaim<'a>>,
    /// As which user of the tenant the credential acts.
    pub aim: Aim,
    /// The certificate of the connection.
    pub certificate: Option<&'a Certificate>,
    /// What the credential claims.
    pub claims: Claims<'a>,
}

/// What a credential claims.
#[derive(Clone, Copy, Debug)]
pub enum Claims<'a> {
    /// These, by name.
    Listed(&'a [(String, String)]),
    /// Nothing.
    None,
    /// What the caller's token says.
    Of(&'a Identified<'a>),
}

impl<'a> Asker<'a> {
    /// A client that proved who it is.
    pub fn of(who: &'a Identified<'_>) -> Self {
        Self {
            client: who.client(),
            tenant: who.tenant(),
            aim: who.aim(),
            certificate: who.certificate().map(AsRef::as_ref),
            claims: Claims::Of(who),
        }
    }

    fn claim(&self, name: &str) -> Option<&'a str> {
        match self.claims {
            Claims::Listed(listed) => {
                let found = listed.iter().find(|(claim, _)| claim == name);
                found.map(|(_, value)| value.as_str())
            }
            Claims::None => None,
            Claims::Of(who) => who.claim(name),
        }
    }
}

/// For whom a request acts.
#[derive(Debug)]
pub struct Resolved {
    /// The tenant.
    pub named: Named,
    /// As which of its users.
    pub aim: Aim,
    /// The first rule that named the tenant, as records call it.
    pub rule: Option<Arc<str>>,
}

impl Resolved {
    /// For a tenant, as its own user, without a rule.
    pub fn own(named: Named) -> Self {
        Self {
            named,
            aim: Aim::Own,
            rule: None,
        }
    }
}

/// One source of a tenant's name, and what it says.
#[derive(Debug)]
pub struct Said<'a> {
    /// Which.
    pub by: By<'a>,
    /// The name, as it came; none where the value means nothing to any rule.
    pub name: Option<Cow<'a, [u8]>>,
    /// Whose it is.
    pub named: Named,
}

/// What names a tenant.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// The credential: what a token is bound to, or the user name of Basic or of a log-in.
    Credential,
    /// The tenant header.
    Header(&'a HeaderName),
    /// The client's only tenant, since nothing else says one.
    OnlyTenant,
    /// A rule.
    Rule(&'a Rule),
    /// A header of some rules, with a value that none of them knows.
    Unheard(&'a HeaderName),
}

/// Why a request acts for a tenant and a user, or for none.
#[derive(Debug)]
pub struct Explained<'a> {
    /// What each source said; nothing where a header could not be read.
    pub said: Vec<Said<'a>>,
    /// What came of it.
    pub resolved: Result<Resolved, Unresolved>,
}

/// Why a request names no tenant, or more than one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unresolved {
    /// A header that names the tenant comes twice, is empty, or holds a list.
    #[error("a header that names the tenant must come once and hold one value")]
    Ambiguous,
    /// Headers name several tenants.
    #[error("the headers of this request name several tenants, or one that is not known to a rule")]
    Disagree,
    /// The request names another tenant than the credential does.
    #[error("the request names another tenant or user than the credential, or one that it has not")]
    Mismatch,
    /// Nothing says for whom, and the client has more than one tenant.
    #[error("this client has several tenants: the request must say which")]
    Required,
    /// The user header comes twice, is empty, or holds anything but one `userUid`.
    #[error("the user header must come once and hold one userUid, a UUID of 36 characters")]
    User,
}

impl Mapping {
    /// Finds the tenant and the user a request acts for: by the credential, the rules and the
    /// tenant header, or because the client has only one tenant. Whoever logged in at a console acts
    /// as itself, and names none.
    ///
    /// # Errors
    /// Refuses requests that name no tenant, or more than one.
    pub fn resolve(
        &self,
        head: &RequestHead<'_>,
        caller: &Caller<'_>,
        directory: &Directory,
    ) -> Result<Resolved, Unresolved> {
        match caller {
            Caller::Client(who) => self.resolve_for(head, &Asker::of(who), directory),
            Caller::Login(..) => {
                let own = self.refuse_named(head.headers);
                own.map(|()| Resolved::own(Named::Nobody))
            }
        }
    }

    /// Refuses a request that names a tenant or a user, for a caller that acts as itself. Rules are
    /// about clients: only the headers that exist for the mapping alone count.
    ///
    /// # Errors
    /// Says that it names one.
    pub fn refuse_named(&self, headers: &HeaderMap) -> Result<(), Unresolved> {
        for name in self.owned() {
            if read_header(headers, name)?.is_some() {
                return Err(Unresolved::Mismatch);
            }
        }
        Ok(())
    }

    /// As [`Self::resolve`], for a client. An unknown name is not an error here: it is refused by
    /// policy, like a foreign one, so that the two cannot be told apart.
    ///
    /// # Errors
    /// Refuses requests that name no tenant, or more than one.
    pub fn resolve_for(
        &self,
        head: &RequestHead<'_>,
        asker: &Asker<'_>,
        directory: &Directory,
    ) -> Result<Resolved, Unresolved> {
        let said = self.said(head, asker, directory)?;
        agree(&said, asker.client)?;
        let aim = self.aim(head.headers, asker.aim)?;
        let rule = said.iter().find_map(|said| match said.by {
            By::Rule(rule) => Some(Arc::clone(&rule.name)),
            By::Credential | By::Header(_) | By::OnlyTenant | By::Unheard(_) => None,
        });
        let named = said.into_iter().next().map(|said| said.named);
        Ok(Resolved {
            named: named.ok_or(Unresolved::Required)?,
            aim,
            rule,
        })
    }

    /// As [`Self::resolve_for`], with the reasons.
    pub fn explain<'a>(
        &'a self,
        head: &'a RequestHead<'_>,
        asker: &'a Asker<'_>,
        directory: &Directory,
    ) -> Explained<'a> {
        Explained {
            said: self
                .said(head, asker, directory)
                .map_or_else(|_| Vec::new(), SmallVec::into_vec),
            resolved: self.resolve_for(head, asker, directory),
        }
    }

    /// The headers that exist for the mapping alone: no console gets them.
    pub fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        let own = [&self.tenant_header, &self.user_header];
        own.into_iter().flatten().chain(self.rules.owned())
    }

    /// Whether a request can say which of several tenants it is for.
    pub fn chooses(&self) -> bool {
        self.tenant_header.is_some() || !self.rules.is_empty()
    }

    /// What each source says, what the credential proves first.
    fn said<'a>(
        &'a self,
        head: &'a RequestHead<'_>,
        asker: &Asker<'a>,
        directory: &Directory,
    ) -> Result<SmallVec<[Said<'a>; 2]>, Unresolved> {
        let mut all: SmallVec<[Said<'a>; 2]> = SmallVec::new();
        if let Some(claim) = asker.tenant {
            all.push(Said {
                by: By::Credential,
                name: Some(Cow::Borrowed(claim.as_str().as_bytes())),
                named: claim.lookup(directory),
            });
        }
        if let Some(header) = &self.tenant_header
            && let Some(name) = read_header(head.headers, header)?
        {
            all.push(Said {
                by: By::Header(header),
                name: Some(Cow::Borrowed(name)),
                named: lookup(directory, name),
            });
        }
        if !self.rules.is_empty() {
            self.rules.apply(head, asker, |heard| {
                all.push(match heard {
                    Heard::Rule(rule, name) => Said {
                        by: By::Rule(rule),
                        named: lookup(directory, name.as_bytes()),
                        name: Some(into_bytes(name)),
                    },
                    Heard::Unheard(header) => Said {
                        by: By::Unheard(header),
                        name: None,
                        named: Named::Unknown,
                    },
                });
            })?;
            all.sort_by_key(|said| !said.by.is_bound());
        }
        if all.is_empty()
            && let Some(name) = asker.client.only_tenant()
        {
            all.push(Said {
                by: By::OnlyTenant,
                name: Some(Cow::Borrowed(name.as_bytes())),
                named: lookup(directory, name.as_bytes()),
            });
        }
        Ok(all)
    }

    /// As which user: whom the header names, where the credential leaves it open.
    fn aim(&self, headers: &HeaderMap, of_credential: Aim) -> Result<Aim, Unresolved> {
        let Some(header) = &self.user_header else {
            return Ok(of_credential);
        };
        let Some(value) = read_header(headers, header).map_err(|_| Unresolved::User)? else {
            return Ok(of_credential);
        };
        let user = read_user(value).ok_or(Unresolved::User)?;
        match of_credential {
            Aim::Own => Ok(Aim::Named(user)),
            // A header beside a token may repeat its user, not change it.
            Aim::Named(bound) | Aim::Was(bound) if bound == user => Ok(of_credential),
            Aim::Named(_) | Aim::Was(_) => Err(Unresolved::Mismatch),
        }
    }
}

/// Whether all that is said of the tenant is the same. A name of another's tenant is the same only
/// as itself: whether two such names are of one tenant is not for the caller to learn.
fn agree(said: &[Said<'_>], client: &Client) -> Result<(), Unresolved> {
    let Some((first, others)) = said.split_first() else {
        return Ok(());
    };
    for other in others {
        let is_same = match (&first.named, &other.named) {
            (Named::Known(one), Named::Known(other)) => one.id == other.id && one.is_of(client),
            _ => false,
        };
        // Values that mean nothing are alike; to whatever means something they are in contradiction.
        if !is_same && first.name != other.name {
            return Err(if first.by.is_bound() {
                Unresolved::Mismatch
            } else {
                Unresolved::Disagree
            });
        }
    }
    Ok(())
}

/// A user by its UUID in the usual spelling.
fn read_user(value: &[u8]) -> Option<Subject> {
    let user = Uuid::try_parse_ascii(value).ok();
    let user = user.filter(|user| value.len() == 36 && !user.is_nil());
    user.map(Subject)
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

impl By<'_> {
    /// Whether it is the caller's proof of who it is that says so, not the request.
    fn is_bound(self) -> bool {
        match self {
            Self::Credential => true,
            Self::Rule(rule) => rule.is_bound(),
            Self::Header(_) | Self::OnlyTenant | Self::Unheard(_) => false,
        }
    }
}

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential => f.write_str("the credential"),
            Self::Header(name) => write!(f, "the header {name}"),
            Self::OnlyTenant => f.write_str("the client's only tenant"),
            Self::Rule(rule) => f.write_str(&rule.name),
            Self::Unheard(name) => write!(f, "the header {name}, whose value no rule knows"),
        }
    }
}
