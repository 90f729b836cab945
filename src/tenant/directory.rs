//! The tenants by name: those of the file, and those that a console's directory tells.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;
use uuid::Uuid;

use super::identity::{AccountKey, IdentityId};
use crate::client::{Client, Tenants};
use crate::upstream::ConsoleId;
use crate::vspc::grant::{Access, Subject};

/// A customer that clients act for.
#[derive(Debug)]
pub struct Tenant {
    /// Its name: of one from the file the name there; of a company its name at the console, or its
    /// UID where the name stands for another tenant as well.
    pub name: Arc<str>,
    /// What tokens of the gateway are bound to: the name in the file, or the company's UID, which
    /// stays when the company is renamed.
    pub id: Arc<str>,
    /// The console it is on.
    pub console: ConsoleId,
    /// What its tokens may do.
    pub access: Access,
    /// Who acts for it.
    pub whom: Whom,
    target: ArcSwap<Target>,
}

/// Who acts for a tenant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Whom {
    /// Nobody: the tenant has an account of its own.
    Account,
    /// The owner of this company.
    Company(Uuid),
    /// The owner of the company of this name.
    CompanyNamed(Arc<str>),
    /// This user.
    User(Subject),
}

/// Whose token acts for a tenant at present.
#[derive(Debug, Eq, PartialEq)]
pub enum Target {
    /// That of the tenant's own account, always.
    Account(Arc<AccountKey>),
    /// Nobody's, and why.
    Gone(Gone),
    /// This one.
    Known(Arc<TokenKey>),
    /// It is not known yet: the console's directory was never read.
    NotYet,
}

/// Why nobody can act for a tenant.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Gone {
    /// Several companies have its name.
    CompanyAmbiguous,
    /// The company is disabled.
    CompanyDisabled,
    /// The console has no such company.
    CompanyMissing,
    /// The company's users may not use the REST API.
    RestAccessOff,
    /// The user is disabled.
    UserDisabled,
    /// There is no such user, or the company has no owner.
    UserMissing,
}

impl Gone {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::CompanyAmbiguous,
        Self::CompanyDisabled,
        Self::CompanyMissing,
        Self::RestAccessOff,
        Self::UserDisabled,
        Self::UserMissing,
    ];

    /// The stable code of refusals, records and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::CompanyAmbiguous => "company_ambiguous",
            Self::CompanyDisabled => "company_disabled",
            Self::CompanyMissing => "company_missing",
            Self::RestAccessOff => "rest_access_off",
            Self::UserDisabled => "user_disabled",
            Self::UserMissing => "user_missing",
        }
    }

    /// The same for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::CompanyAmbiguous => "the console has several companies of this tenant's name",
            Self::CompanyDisabled => "this tenant's company is disabled at the console",
            Self::CompanyMissing => "the console has no such company",
            Self::RestAccessOff => "this tenant's company has no access to the REST API",
            Self::UserDisabled => "the user who acts for this tenant is disabled at the console",
            Self::UserMissing => "the console has no user who acts for this tenant",
        }
    }
}

/// Which token: the impersonation of one user on one console.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TokenKey {
    /// The console.
    pub console: ConsoleId,
    /// The user impersonated.
    pub target: Subject,
    /// Whether the token may change anything.
    pub access: Access,
}

impl Tenant {
    /// A tenant of the file. Where it names a user, its target is known from the start.
    pub fn configured(name: &str, console: ConsoleId, access: Access, whom: Whom) -> Self {
        let name: Arc<str> = Arc::from(name);
        let tenant = Self {
            id: Arc::clone(&name),
            name,
            console,
            access,
            whom,
            target: ArcSwap::from_pointee(Target::NotYet),
        };
        match tenant.whom {
            Whom::Account => {
                let identity = IdentityId::of_tenant(&tenant.console, &tenant.name);
                let account = AccountKey { identity, access };
                tenant
                    .target
                    .store(Arc::new(Target::Account(Arc::new(account))));
            }
            Whom::User(user) => drop(tenant.aim(Ok(user))),
            Whom::Company(_) | Whom::CompanyNamed(_) => {}
        }
        tenant
    }

    /// A company that a directory tells; `before` is what it was called until now.
    pub fn found(name: Arc<str>, console: ConsoleId, company: Uuid, before: Option<&Self>) -> Self {
        let target = before.map(|before| before.target.load_full());
        Self {
            name,
            id: Arc::from(company.to_string()),
            console,
            access: Access::Full,
            whom: Whom::Company(company),
            target: ArcSwap::new(target.unwrap_or_else(|| Arc::new(Target::NotYet))),
        }
    }

    /// Whose token acts for it at present.
    pub fn target(&self) -> Guard<Arc<Target>> {
        self.target.load()
    }

    /// Which token acts for it, where somebody can.
    pub fn key(&self) -> Option<Arc<TokenKey>> {
        match &**self.target.load() {
            Target::Known(key) => Some(Arc::clone(key)),
            Target::Account(_) | Target::Gone(_) | Target::NotYet => None,
        }
    }

    /// Its own account, where it has one.
    pub fn account(&self) -> Option<Arc<AccountKey>> {
        match &**self.target.load() {
            Target::Account(account) => Some(Arc::clone(account)),
            Target::Gone(_) | Target::Known(_) | Target::NotYet => None,
        }
    }

    /// The user who acts for it at present.
    pub fn user(&self) -> Option<Subject> {
        match &**self.target() {
            Target::Known(key) => Some(key.target),
            Target::Account(_) | Target::Gone(_) | Target::NotYet => None,
        }
    }

    /// Lets another user act for it, or nobody. What it was before is given back if that is a
    /// change. One at a time may do this.
    pub fn aim(&self, at: Result<Subject, Gone>) -> Option<Arc<Target>> {
        let is_so = match (&**self.target.load(), at) {
            (Target::Known(key), Ok(user)) => key.target == user,
            (Target::Gone(gone), Err(other)) => *gone == other,
            // No directory has a say in it.
            (Target::Account(_), _) => true,
            _ => false,
        };
        if is_so {
            return None;
        }
        let target = match at {
            Ok(target) => Target::Known(Arc::new(TokenKey {
                console: self.console.clone(),
                target,
                access: self.access,
            })),
            Err(gone) => Target::Gone(gone),
        };
        Some(self.target.swap(Arc::new(target)))
    }

    /// Goes on with who acts for the tenant that a file before had in its place, unless it says
    /// otherwise of that. `also_gone` says whether it is also believed that nobody can.
    pub fn take_over(&self, before: &Self, also_gone: bool) {
        if self.whom != before.whom || self.console != before.console {
            return;
        }
        match &**before.target.load() {
            Target::Known(key) => drop(self.aim(Ok(key.target))),
            Target::Gone(gone) if also_gone => drop(self.aim(Err(*gone))),
            Target::Account(_) | Target::Gone(_) | Target::NotYet => {}
        }
    }

    /// Whether a client may act for it: by its name, or by its company's UID.
    pub fn is_of(&self, client: &Client) -> bool {
        if client.may_act_for(&self.name) {
            return true;
        }
        match self.whom {
            Whom::Company(uid) => {
                client.may_act_for(uid.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
            Whom::Account | Whom::CompanyNamed(_) | Whom::User(_) => false,
        }
    }
}

/// What directories tell: names that were not known when the file was written.
pub type Names = HashMap<Arc<str>, Arc<Tenant>, RandomState>;

/// All tenants by name and alias.
#[derive(Debug, Default)]
pub struct Directory {
    tenants: HashMap<Box<str>, Arc<Tenant>, RandomState>,
    found: Arc<ArcSwap<Names>>,
}

/// A name or alias that two tenants claim.
#[derive(Debug, thiserror::Error)]
#[error("{name:?} already stands for tenant {taken_by}")]
pub struct TakenName {
    /// The name or alias.
    pub name: String,
    /// Whose it is.
    pub taken_by: String,
}

impl Directory {
    /// Adds a tenant of the file under its name or an alias.
    ///
    /// # Errors
    /// Refuses a name that is taken.
    pub fn add(&mut self, name: &str, tenant: &Arc<Tenant>) -> Result<(), TakenName> {
        if let Some(other) = self.tenants.get(name) {
            let taken_by = other.name.to_string();
            return Err(TakenName {
                name: name.to_owned(),
                taken_by,
            });
        }
        self.tenants.insert(name.into(), Arc::clone(tenant));
        Ok(())
    }

    /// The tenant of a name or alias. The file's own names go before those of directories.
    pub fn get(&self, name: &str) -> Option<Arc<Tenant>> {
        if let Some(tenant) = self.tenants.get(name) {
            return Some(Arc::clone(tenant));
        }
        self.found.load().get(name).map(Arc::clone)
    }

    /// The tenants of the file.
    pub fn configured(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        let tenants = self.tenants.iter();
        tenants
            .filter(|(name, tenant)| ***name == *tenant.name)
            .map(|(_, tenant)| tenant)
    }

    /// All tenants, each once.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        let found = self.found.load();
        let own = found.iter().filter(|(name, it)| ***name == *it.name);
        let configured = self.configured().map(Arc::clone);
        configured
            .chain(own.map(|(_, it)| Arc::clone(it)))
            .collect()
    }

    /// The names and aliases of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(AsRef::as_ref)
    }

    /// Where the names go that directories tell.
    pub fn found(&self) -> Arc<ArcSwap<Names>> {
        Arc::clone(&self.found)
    }

    /// Whether a client may act for tenants that the file does not know.
    pub fn leaves_open(&self, client: &Client) -> bool {
        match &client.tenants {
            Tenants::All => true,
            Tenants::Named(names) => names.iter().any(|name| !self.tenants.contains_key(&**name)),
        }
    }
}
