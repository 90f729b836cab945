//! One reading of a console's directory, and what it says of each tenant. Nothing here waits.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use super::RestAccess;
use crate::tenant::{Gone, Tenant, Whom};
use crate::vspc::directory::{Company, User};
use crate::vspc::grant::Subject;

/// What a console said.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Companies and owners, where anybody needs them.
    pub(super) companies: Option<Companies>,
    /// The users that the configuration names; none where the gateway's account may not read users.
    pub(super) users: Option<HashMap<Subject, User>>,
}

/// The companies of a console, and their owners.
#[derive(Debug, Default)]
pub(super) struct Companies {
    pub(super) by_uid: HashMap<Uuid, Company>,
    by_name: HashMap<Arc<str>, Known>,
    owners: HashMap<Uuid, SmallVec<[Owner; 1]>>,
}

/// Whether a name stands for one company.
#[derive(Clone, Copy, Debug)]
enum Known {
    One(Uuid),
    Several,
}

#[derive(Clone, Debug)]
struct Owner {
    user: Subject,
    is_enabled: bool,
    person: Person,
}

/// What a console says of a user, for records.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Person {
    /// The name it logs in with.
    pub name: Option<Arc<str>>,
    /// Its role, in the console's words.
    pub role: Option<Arc<str>>,
}

impl From<User> for Person {
    fn from(user: User) -> Self {
        Self {
            name: user.name,
            role: user.role,
        }
    }
}

impl Companies {
    pub(super) fn new(by_uid: HashMap<Uuid, Company>, users: HashMap<Uuid, User>) -> Self {
        let mut by_name = HashMap::with_capacity(by_uid.len());
        for company in by_uid.values() {
            if let Some(name) = &company.name {
                by_name
                    .entry(Arc::clone(name))
                    .and_modify(|known| *known = Known::Several)
                    .or_insert(Known::One(company.uid));
            }
        }
        let mut owners: HashMap<Uuid, SmallVec<[Owner; 1]>> = HashMap::with_capacity(users.len());
        // A console that does not know the filter gives all users.
        for user in users.into_values().filter(|user| user.is_owner) {
            if let Some(organization) = user.organization {
                owners.entry(organization).or_default().push(Owner {
                    user: user.uid,
                    is_enabled: user.is_enabled,
                    person: user.into(),
                });
            }
        }
        Self {
            by_uid,
            by_name,
            owners,
        }
    }

    /// Who acts for a company. Of several owners the present one stays, else it is the first.
    fn owner(&self, company: Uuid, present: Option<Subject>) -> Result<Subject, Gone> {
        let owners = self.owners.get(&company).ok_or(Gone::UserMissing)?;
        let enabled = || owners.iter().filter(|owner| owner.is_enabled);
        enabled()
            .map(|owner| owner.user)
            .find(|user| Some(*user) == present)
            .or_else(|| enabled().map(|owner| owner.user).min())
            .ok_or(Gone::UserDisabled)
    }

    fn judge(
        &self,
        company: Uuid,
        present: Option<Subject>,
        rest: RestAccess,
    ) -> Result<Subject, Gone> {
        let found = self.by_uid.get(&company).ok_or(Gone::CompanyMissing)?;
        if !found.is_active {
            return Err(Gone::CompanyDisabled);
        }
        if rest == RestAccess::Require && found.has_rest_access == Some(false) {
            return Err(Gone::RestAccessOff);
        }
        self.owner(company, present)
    }
}

impl Reading {
    /// What is said of the user that acts for a tenant, which stands for `company` if it does for
    /// one.
    pub(super) fn person(&self, user: Subject, company: Option<Uuid>) -> Option<Person> {
        let named = self.users.as_ref().and_then(|users| users.get(&user));
        if let Some(user) = named {
            return Some(user.clone().into());
        }
        let owners = self.companies.as_ref()?.owners.get(&company?)?;
        let owner = owners.iter().find(|owner| owner.user == user)?;
        Some(owner.person.clone())
    }

    /// Who acts for a tenant, and for which company it stands. `None` where the reading says
    /// nothing about it.
    pub(super) fn judge(
        &self,
        tenant: &Tenant,
        rest: RestAccess,
    ) -> Option<(Result<Subject, Gone>, Option<Uuid>)> {
        let of = |companies: &Companies, uid| {
            let at = companies.judge(uid, tenant.user(), rest);
            (at, Some(uid))
        };
        match &tenant.whom {
            Whom::Company(uid) => Some(of(self.companies.as_ref()?, *uid)),
            Whom::CompanyNamed(name) => {
                let companies = self.companies.as_ref()?;
                Some(match companies.by_name.get(name) {
                    None => (Err(Gone::CompanyMissing), None),
                    Some(Known::One(uid)) => of(companies, *uid),
                    Some(Known::Several) => (Err(Gone::CompanyAmbiguous), None),
                })
            }
            Whom::Account => None,
            Whom::User(user) => Some((
                match self.users.as_ref()?.get(user) {
                    None => Err(Gone::UserMissing),
                    Some(found) if !found.is_enabled => Err(Gone::UserDisabled),
                    Some(_) => Ok(*user),
                },
                None,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::ConsoleId;
    use crate::vspc::grant::Access;

    fn company(number: u128, name: &str) -> Company {
        Company {
            uid: Uuid::from_u128(number),
            name: Some(Arc::from(name)),
            aliases: Vec::new(),
            is_active: true,
            has_rest_access: Some(true),
        }
    }

    fn user(number: u128, organization: u128, is_enabled: bool) -> User {
        User {
            uid: Subject(Uuid::from_u128(number)),
            organization: Some(Uuid::from_u128(organization)),
            name: Some(Arc::from(format!("user{number}"))),
            role: Some(Arc::from("CompanyOwner")),
            is_enabled,
            is_owner: true,
            needs_mfa: None,
        }
    }

    fn judge(companies: &[Company], users: &[User], whom: Whom) -> Result<Subject, Gone> {
        let companies = companies
            .iter()
            .map(|company| (company.uid, company.clone()));
        let users = users.iter().map(|user| (user.uid.0, user.clone()));
        let reading = Reading {
            companies: Some(Companies::new(companies.collect(), users.collect())),
            users: None,
        };
        let tenant = Tenant::configured("t", ConsoleId::new("main"), Access::Full, whom);
        reading.judge(&tenant, RestAccess::Require).unwrap().0
    }

    #[test]
    fn a_company_is_judged_by_itself_and_then_by_its_owner() {
        let acme = || company(1, "Acme");
        let by_uid = || Whom::Company(Uuid::from_u128(1));
        let owner = user(7, 1, true);
        let one = std::slice::from_ref(&owner);
        let judged = |company: Company, users: &[User]| judge(&[company], users, by_uid());
        assert_eq!(judged(acme(), one), Ok(owner.uid));
        assert_eq!(judge(&[], one, by_uid()), Err(Gone::CompanyMissing));
        let disabled = Company {
            is_active: false,
            ..acme()
        };
        assert_eq!(judged(disabled, one), Err(Gone::CompanyDisabled));
        let off = Company {
            has_rest_access: Some(false),
            ..acme()
        };
        assert_eq!(judged(off, one), Err(Gone::RestAccessOff));
        let untold = Company {
            has_rest_access: None,
            ..acme()
        };
        assert_eq!(judged(untold, one), Ok(owner.uid));
        assert_eq!(judged(acme(), &[]), Err(Gone::UserMissing));
        assert_eq!(judged(acme(), &[user(7, 2, true)]), Err(Gone::UserMissing));
        assert_eq!(
            judged(acme(), &[user(7, 1, false)]),
            Err(Gone::UserDisabled)
        );
        let administrator = User {
            is_owner: false,
            ..user(8, 1, true)
        };
        assert_eq!(judged(acme(), &[administrator]), Err(Gone::UserMissing));
    }

    #[test]
    fn of_several_owners_the_present_one_stays() {
        let users = [user(7, 1, false), user(9, 1, true), user(8, 1, true)];
        let by_uid = users.iter().map(|user| (user.uid.0, user.clone()));
        let companies = Companies::new(HashMap::new(), by_uid.collect());
        let owner = |present: Option<u128>| {
            let present = present.map(|number| Subject(Uuid::from_u128(number)));
            companies.owner(Uuid::from_u128(1), present)
        };
        let of = |number| Ok(Subject(Uuid::from_u128(number)));
        assert_eq!(owner(None), of(8));
        assert_eq!(owner(Some(9)), of(9));
        assert_eq!(owner(Some(7)), of(8));
    }

    #[test]
    fn a_name_that_two_companies_share_stands_for_neither() {
        let named = || Whom::CompanyNamed(Arc::from("Acme"));
        let owners = [user(7, 1, true), user(8, 2, true)];
        let judged = |companies: &[Company]| judge(companies, &owners, named());
        assert_eq!(judged(&[company(1, "Acme")]), Ok(owners[0].uid));
        let two = [company(1, "Acme"), company(2, "Acme")];
        assert_eq!(judged(&two), Err(Gone::CompanyAmbiguous));
        assert_eq!(judged(&[company(1, "acme")]), Err(Gone::CompanyMissing));
    }

    #[test]
    fn records_are_told_of_named_users_and_of_the_owners_of_companies() {
        let owner = user(7, 1, true);
        let named = user(9, 2, true);
        let by_uid = HashMap::from([(Uuid::from_u128(1), company(1, "Acme"))]);
        let users = HashMap::from([(owner.uid.0, owner.clone())]);
        let reading = Reading {
            companies: Some(Companies::new(by_uid, users)),
            users: Some(HashMap::from([(named.uid, named.clone())])),
        };
        let acme = Some(Uuid::from_u128(1));
        let person = |user: Subject, company| reading.person(user, company);
        assert_eq!(person(owner.uid, acme), Some(owner.clone().into()));
        let uid = named.uid;
        assert_eq!(person(uid, None), Some(named.into()));
        assert_eq!(person(owner.uid, None), None);
        assert_eq!(person(Subject(Uuid::from_u128(8)), acme), None);
    }

    #[test]
    fn what_was_not_read_is_not_judged() {
        let tenant = |whom| Tenant::configured("t", ConsoleId::new("main"), Access::Full, whom);
        let one = Subject(Uuid::from_u128(1));
        let nothing = Reading::default();
        for whom in [Whom::User(one), Whom::Company(one.0)] {
            assert!(nothing.judge(&tenant(whom), RestAccess::Require).is_none());
        }
        let of = |users: &[(Subject, bool)]| {
            let found = |(uid, is_enabled): &(Subject, bool)| (*uid, user(1, 1, *is_enabled));
            let users = Some(users.iter().map(found).collect());
            let reading = Reading {
                companies: None,
                users,
            };
            let judged = reading.judge(&tenant(Whom::User(one)), RestAccess::Require);
            judged.unwrap().0
        };
        assert_eq!(of(&[(one, true)]), Ok(one));
        assert_eq!(of(&[(one, false)]), Err(Gone::UserDisabled));
        assert_eq!(of(&[]), Err(Gone::UserMissing));
    }
}
