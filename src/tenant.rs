//! For whom: from what a request says to the tenant it acts for.

mod directory;
mod identity;
pub mod mapping;

pub use directory::{Directory, Gone, Names, TakenName, Target, Tenant, TokenKey, Whom};
pub use identity::{AccountKey, IdentityId};
pub use mapping::{Asker, Claims, Mapping, Resolved, Unresolved};

use std::sync::Arc;

use crate::client::TenantClaim;

/// Which tenant a request names.
#[derive(Debug)]
pub enum Named {
    /// A tenant there is.
    Known(Arc<Tenant>),
    /// None: the caller acts as itself.
    Nobody,
    /// A name that no tenant has.
    Unknown,
}

impl<'a> TenantClaim<'a> {
    fn lookup(self, directory: &Directory) -> Named {
        match lookup(directory, self.as_str().as_bytes()) {
            Named::Known(tenant) if matches!(self, Self::Name(name) if *name != *tenant.id) => {
                Named::Unknown
            }
            named => named,
        }
    }

    fn as_str(self) -> &'a str {
        match self {
            Self::Name(name) | Self::NameOrAlias(name) => name,
        }
    }
}

/// Names are compared byte for byte: no case folding, no Unicode forms, no trimming.
fn lookup(directory: &Directory, name: &[u8]) -> Named {
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| directory.get(name))
        .map_or(Named::Unknown, Named::Known)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::client::{Client, Targets, Tenants};
    use crate::upstream::ConsoleId;
    use crate::vspc::grant::{Access, Subject};

    fn directory() -> Directory {
        let mut directory = Directory::default();
        for (number, name) in ["acme", "globex"].into_iter().enumerate() {
            let user = Whom::User(Subject(Uuid::from_u128(number as u128)));
            let main = ConsoleId::new("main");
            let tenant = Arc::new(Tenant::configured(name, main, Access::Full, user));
            directory.add(name, &tenant).unwrap();
            directory.add(&format!("100{number}"), &tenant).unwrap();
        }
        directory
    }

    #[test]
    fn a_token_knows_its_tenant_by_its_own_name_only() {
        let directory = directory();
        let found = |claim: TenantClaim<'_>| matches!(claim.lookup(&directory), Named::Known(_));
        assert!(found(TenantClaim::Name("acme")));
        assert!(!found(TenantClaim::Name("1000")));
        assert!(found(TenantClaim::NameOrAlias("1000")));
    }

    #[test]
    fn a_name_stands_for_one_tenant() {
        let mut directory = directory();
        let acme = directory.get("acme").unwrap();
        assert_eq!(directory.add("1001", &acme).unwrap_err().taken_by, "globex");
    }

    #[test]
    fn the_files_own_names_go_before_those_of_a_directory() {
        let directory = directory();
        let uid = Uuid::from_u128(9);
        let company = |name: &str| {
            Arc::new(Tenant::found(
                name.into(),
                ConsoleId::new("main"),
                uid,
                None,
            ))
        };
        let names = [("acme", company("x")), ("Böhm & Co", company("Böhm & Co"))];
        let names = names.map(|(name, tenant)| (Arc::from(name), tenant));
        directory
            .found()
            .store(Arc::new(names.into_iter().collect()));
        assert_eq!(*directory.get("acme").unwrap().id, *"acme");
        assert_eq!(*directory.get("Böhm & Co").unwrap().id, *uid.to_string());
        assert_eq!(directory.configured().count(), 2);
    }

    #[test]
    fn a_company_is_a_clients_by_name_and_by_uid() {
        let uid = Uuid::from_u128(0xabc);
        let company = Tenant::found("Böhm".into(), ConsoleId::new("main"), uid, None);
        let client = |name: &str| Client {
            name: "c".into(),
            index: 0,
            tenants: Tenants::Named([Arc::from(name)].into()),
            targets: Targets::None,
            terms: crate::client::Terms::default(),
        };
        assert!(company.is_of(&client("Böhm")));
        assert!(company.is_of(&client(&uid.to_string())));
        assert!(!company.is_of(&client("böhm")));
    }

    #[test]
    fn only_another_aim_is_a_change() {
        let one = Ok(Subject(Uuid::from_u128(1)));
        let main = ConsoleId::new("main");
        let tenant = Tenant::found("a".into(), main, Uuid::from_u128(9), None);
        assert_eq!(tenant.aim(one).as_deref(), Some(&Target::NotYet));
        assert_eq!(tenant.aim(one), None);
        assert!(tenant.aim(Err(Gone::UserMissing)).is_some());
        assert_eq!(tenant.aim(Err(Gone::UserMissing)), None);
        assert_eq!(tenant.user(), None);
        let before = tenant.aim(Err(Gone::UserDisabled));
        assert_eq!(before.as_deref(), Some(&Target::Gone(Gone::UserMissing)));
    }
}
