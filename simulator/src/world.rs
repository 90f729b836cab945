//! Who lives in the simulated console: organizations, users and their identities.

pub(crate) mod estate;
mod login;
pub(crate) mod role;
pub mod seed;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use uuid::Uuid;

pub(crate) use self::login::{Login, NewLogin, Provider, Scope};
pub use self::role::Role;
use crate::rsa_key::RsaKey;
use crate::totp::Device;
use crate::{clock, random, rsa_key};

/// What an organization is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Company,
    Provider,
}

/// The provider, or a company with what belongs to it.
#[derive(Debug)]
pub(crate) struct Organization {
    pub(crate) uid: Uuid,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) active: bool,
    /// Whether its users and their keys may use the REST API.
    pub(crate) rest: bool,
    /// What its users may log in with in place of the name.
    pub(crate) alias: Option<String>,
    /// What other systems call it.
    pub(crate) company_id: Option<String>,
    owner: Option<String>,
}

impl Organization {
    pub(crate) fn new(uid: Uuid, kind: Kind, name: &str) -> Self {
        Self {
            uid,
            kind,
            name: name.to_owned(),
            active: true,
            rest: true,
            alias: None,
            company_id: None,
            owner: None,
        }
    }
}

/// What is needed to make a user.
#[derive(Clone)]
pub struct Account {
    /// The UID of the user.
    pub uid: Uuid,
    /// The organization the user belongs to.
    pub organization: Uuid,
    /// The name to log in with, such as `Acme\jane`.
    pub user_name: String,
    /// The password to log in with.
    pub password: String,
    /// What the user may do.
    pub role: Role,
    /// Whether the user may log in.
    pub enabled: bool,
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Account")
            .field("uid", &self.uid)
            .field("user_name", &self.user_name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A user of the console.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) number: u64,
    pub(crate) account: Account,
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: Option<String>,
    pub(crate) email: Option<String>,
}

/// With whose eyes the world is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viewer {
    pub(crate) uid: Uuid,
    pub(crate) organization: Uuid,
    pub(crate) role: Role,
}

impl Viewer {
    pub(crate) fn sees(&self, organization: Uuid) -> bool {
        self.role.is_portal() || self.organization == organization
    }

    pub(crate) fn sees_logins_of(&self, user: &User) -> bool {
        user.account.uid == self.uid
            || (self.role.sees_others_logins() && self.sees(user.account.organization))
    }

    pub(crate) fn may_edit(&self, user: &User) -> bool {
        self.sees(user.account.organization) && self.role.may_edit(user.account.role)
    }
}

/// Everybody and everything in the simulated console.
#[derive(Debug, Default)]
pub(crate) struct World {
    organizations: Vec<Organization>,
    organization_at: HashMap<Uuid, usize>,
    users: BTreeMap<u64, User>,
    number_of: HashMap<Uuid, u64>,
    number_named: HashMap<String, u64>,
    members: HashMap<Uuid, Vec<u64>>,
    logins: BTreeMap<u64, Login>,
    logins_of: HashMap<Uuid, Vec<u64>>,
    last_user: u64,
    last_login: u64,
}

impl World {
    pub(crate) fn seeded(companies: usize) -> Self {
        seed::world(companies)
    }

    pub(crate) fn add_organization(&mut self, organization: Organization) {
        self.organization_at
            .insert(organization.uid, self.organizations.len());
        self.organizations.push(organization);
    }

    /// Adds a user with the identity it logs in by; refuses a name or UID that is taken and an
    /// organization that is not there.
    pub(crate) fn add_user(&mut self, account: Account) -> bool {
        let name = account.user_name.to_lowercase();
        if self.number_named.contains_key(&name) || self.number_of.contains_key(&account.uid) {
            return false;
        }
        let Some(organization) = self.organization_mut(account.organization) else {
            return false;
        };
        if account.role == Role::CompanyOwner {
            organization.owner = Some(account.user_name.clone());
        }
        self.last_user += 1;
        let number = self.last_user;
        self.number_named.insert(name, number);
        self.number_of.insert(account.uid, number);
        self.members
            .entry(account.organization)
            .or_default()
            .push(number);
        let login = NewLogin {
            user: account.uid,
            provider: if account.role.is_portal() {
                Provider::Windows
            } else {
                Provider::Portal
            },
            description: None,
            read_only: false,
            scopes: Scope::ALL.to_vec(),
            parameters: String::new(),
            device: None,
            identifier: Some(account.user_name.clone()),
        };
        let user = User {
            number,
            account,
            first_name: None,
            last_name: None,
            email: None,
        };
        self.users.insert(number, user);
        self.add_login(login);
        true
    }

    /// Adds an identity and returns its id.
    pub(crate) fn add_login(&mut self, new: NewLogin) -> u64 {
        self.last_login += 1;
        let id = self.last_login;
        self.logins_of.entry(new.user).or_default().push(id);
        let login = Login {
            id,
            user: new.user,
            provider: new.provider,
            description: new.description,
            read_only: new.read_only,
            scopes: new.scopes,
            enabled: true,
            parameters: new.parameters,
            device: new.device,
            identifier: new.identifier.unwrap_or_else(|| id.to_string()),
            created: clock::stamp(),
        };
        self.logins.insert(id, login);
        id
    }

    /// Adds a key pair's identity with all scopes; `None` when the user is not there or the key
    /// cannot be read.
    pub(crate) fn add_public_key(&mut self, user: Uuid, xml: &str, read_only: bool) -> Option<u64> {
        self.user(user)?;
        RsaKey::from_xml(xml)?;
        Some(self.add_login(NewLogin {
            user,
            provider: Provider::KeyPair,
            description: None,
            read_only,
            scopes: Scope::ALL.to_vec(),
            parameters: xml.to_owned(),
            device: None,
            identifier: Some(rsa_key::identifier(xml)),
        }))
    }

    pub(crate) fn remove_user(&mut self, uid: Uuid) -> bool {
        let Some(user) = self
            .number_of
            .remove(&uid)
            .and_then(|n| self.users.remove(&n))
        else {
            return false;
        };
        self.number_named
            .remove(&user.account.user_name.to_lowercase());
        if let Some(members) = self.members.get_mut(&user.account.organization) {
            members.retain(|number| *number != user.number);
        }
        for id in self.logins_of.remove(&uid).unwrap_or_default() {
            self.logins.remove(&id);
        }
        true
    }

    /// Removes a company with its users.
    pub(crate) fn remove_company(&mut self, uid: Uuid) -> bool {
        let is_company = |organization: &Organization| organization.kind == Kind::Company;
        if !self.organization(uid).is_some_and(is_company) {
            return false;
        }
        for number in self.members.remove(&uid).unwrap_or_default() {
            if let Some(user) = self.users.get(&number).map(|user| user.account.uid) {
                self.remove_user(user);
            }
        }
        self.organizations
            .retain(|organization| organization.uid != uid);
        let places = self.organizations.iter().enumerate();
        self.organization_at = places
            .map(|(at, organization)| (organization.uid, at))
            .collect();
        true
    }

    pub(crate) fn remove_login(&mut self, id: u64) -> Option<Login> {
        let login = self.logins.remove(&id)?;
        if let Some(ids) = self.logins_of.get_mut(&login.user) {
            ids.retain(|other| *other != id);
        }
        Some(login)
    }

    pub(crate) fn user(&self, uid: Uuid) -> Option<&User> {
        self.users.get(self.number_of.get(&uid)?)
    }

    pub(crate) fn user_mut(&mut self, uid: Uuid) -> Option<&mut User> {
        self.users.get_mut(self.number_of.get(&uid)?)
    }

    pub(crate) fn user_named(&self, name: &str) -> Option<&User> {
        self.users.get(self.number_named.get(&name.to_lowercase())?)
    }

    pub(crate) fn organization(&self, uid: Uuid) -> Option<&Organization> {
        self.organizations.get(*self.organization_at.get(&uid)?)
    }

    pub(crate) fn organization_mut(&mut self, uid: Uuid) -> Option<&mut Organization> {
        self.organizations.get_mut(*self.organization_at.get(&uid)?)
    }

    pub(crate) fn login(&self, id: u64) -> Option<&Login> {
        self.logins.get(&id)
    }

    pub(crate) fn login_mut(&mut self, id: u64) -> Option<&mut Login> {
        self.logins.get_mut(&id)
    }

    /// Tells whether the user and its organization are enabled.
    pub(crate) fn is_enabled(&self, user: &User) -> bool {
        user.account.enabled
            && self
                .organization(user.account.organization)
                .is_some_and(|organization| organization.active)
    }

    /// Tells whether the users of an organization and their keys may use the REST API.
    pub(crate) fn has_rest(&self, organization: Uuid) -> bool {
        self.organization(organization)
            .is_some_and(|organization| organization.rest)
    }

    /// Tells whether the user can open a session: enabled, and of an organization with REST access.
    pub(crate) fn may_log_in(&self, user: &User) -> bool {
        self.is_enabled(user) && self.has_rest(user.account.organization)
    }

    /// Returns the enabled TOTP devices of a user; one that has any logs in with a code as well.
    pub(crate) fn devices_of(&self, uid: Uuid) -> impl Iterator<Item = (u64, &Device)> {
        self.logins_of(uid)
            .filter(|login| login.enabled)
            .filter_map(|login| Some((login.id, login.device.as_ref()?)))
    }

    /// Returns the identities that are made of a key pair.
    pub(crate) fn key_pairs(&self) -> impl Iterator<Item = &Login> {
        self.logins
            .values()
            .filter(|login| login.provider == Provider::KeyPair)
    }

    /// Returns the enabled identity that the user's name and password belong to.
    pub(crate) fn password_login(&self, uid: Uuid) -> Option<&Login> {
        self.logins_of(uid).find(|login| {
            login.enabled && matches!(login.provider, Provider::Portal | Provider::Windows)
        })
    }

    pub(crate) fn logins_of(&self, uid: Uuid) -> impl Iterator<Item = &Login> {
        self.logins_of
            .get(&uid)
            .into_iter()
            .flatten()
            .filter_map(|id| self.logins.get(id))
    }

    /// Returns the eyes of a user; a disabled one has none, unless `disabled_too`.
    pub(crate) fn viewer(&self, uid: Uuid, disabled_too: bool) -> Option<Viewer> {
        let user = self.user(uid)?;
        (disabled_too || self.is_enabled(user)).then_some(Viewer {
            uid,
            organization: user.account.organization,
            role: user.account.role,
        })
    }

    /// Returns the users of one organization, or of all, in the order of their numbers.
    pub(crate) fn users_of(
        &self,
        organization: Option<Uuid>,
    ) -> Box<dyn Iterator<Item = &User> + '_> {
        match organization {
            Some(uid) => Box::new(
                self.members
                    .get(&uid)
                    .into_iter()
                    .flatten()
                    .filter_map(|number| self.users.get(number)),
            ),
            None => Box::new(self.users.values()),
        }
    }

    pub(crate) fn organizations(&self) -> impl Iterator<Item = &Organization> {
        self.organizations.iter()
    }
}

/// Returns an account with a new UID that may log in.
pub(crate) fn account(organization: Uuid, user_name: &str, password: &str, role: Role) -> Account {
    Account {
        uid: random::uuid(),
        organization,
        user_name: user_name.to_owned(),
        password: password.to_owned(),
        role,
        enabled: true,
    }
}
