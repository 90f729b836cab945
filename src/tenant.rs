//! For whom: from what a request says to the tenant it acts for.

mod directory;
mod identity;

pub use directory::{Directory, Gone, Names, TakenName, Target, Tenant, TokenKey, Whom};
pub use identity::{AccountKey, IdentityId};

use std::sync::Arc;

use http::header::{HeaderMap, HeaderName};

use crate::client::{Caller, Client, TenantClaim};

/// How requests name their tenant.
#[derive(Debug, Default)]
pub struct Mapping {
    /// The header whose value is a tenant's name or alias.
    pub tenant_header: Option<HeaderName>,
}

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

/// Why a request names no tenant, or more than one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unresolved {
    /// The mapping header comes twice, is empty, or holds a list.
    #[error("the tenant header must come once and hold one name")]
    Ambiguous,
    /// The header names another tenant than the credential does.
    #[error("the tenant header names another tenant than the credential, or one that it has not")]
    Mismatch,
    /// Nothing says for whom, and the client has more than one tenant.
    #[error("this client has several tenants: say which in the tenant header")]
    Required,
}

impl Mapping {
    /// Finds the tenant a request acts for: by the mapping header, by the credential, or because
    /// the client has only one. Whoever logged in at a console acts as itself, and names none.
    ///
    /// # Errors
    /// Refuses requests that name no tenant, or more than one.
    pub fn resolve(
        &self,
        headers: &HeaderMap,
        caller: &Caller<'_>,
        directory: &Directory,
    ) -> Result<Named, Unresolved> {
        match caller {
            Caller::Client(who) => self.resolve_for(headers, who.tenant(), who.client(), directory),
            Caller::Login(..) => self.refuse_named(headers).map(|()| Named::Nobody),
        }
    }

    /// Refuses a request that names a tenant, for a caller that acts as itself.
    ///
    /// # Errors
    /// Says that it names one.
    pub fn refuse_named(&self, headers: &HeaderMap) -> Result<(), Unresolved> {
        match self.read_header(headers)? {
            Some(_) => Err(Unresolved::Mismatch),
            None => Ok(()),
        }
    }

    /// As [`Self::resolve`], for a client; `claimed` is the tenant that the credential names, if
    /// any. An unknown name is not an error here: it is refused by policy, like a foreign one, so
    /// that the two cannot be told apart.
    ///
    /// # Errors
    /// Refuses requests that name no tenant, or more than one.
    pub fn resolve_for(
        &self,
        headers: &HeaderMap,
        claimed: Option<TenantClaim<'_>>,
        client: &Client,
        directory: &Directory,
    ) -> Result<Named, Unresolved> {
        let of_header = self.read_header(headers)?;
        match (of_header, claimed) {
            (Some(header), Some(claim)) => {
                let (one, other) = (lookup(directory, header), claim.lookup(directory));
                // Of a tenant that is not the client's, only what is spelled alike is the same.
                let is_same = match (&one, &other) {
                    (Named::Known(one), Named::Known(other)) => {
                        one.id == other.id && one.is_of(client)
                    }
                    _ => false,
                };
                if is_same || claim.as_str().as_bytes() == header {
                    Ok(other)
                } else {
                    Err(Unresolved::Mismatch)
                }
            }
            (Some(header), None) => Ok(lookup(directory, header)),
            (None, Some(claim)) => Ok(claim.lookup(directory)),
            (None, None) => client
                .only_tenant()
                .map(|name| lookup(directory, name.as_bytes()))
                .ok_or(Unresolved::Required),
        }
    }

    /// The tenant of a name that the gateway itself has kept.
    pub fn resolve_claim(&self, claim: TenantClaim<'_>, directory: &Directory) -> Named {
        claim.lookup(directory)
    }

    fn read_header<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h [u8]>, Unresolved> {
        let Some(name) = &self.tenant_header else {
            return Ok(None);
        };
        let mut lines = headers.get_all(name).iter();
        let Some(value) = lines.next() else {
            return Ok(None);
        };
        let value = value.as_bytes();
        if lines.next().is_some() || value.is_empty() || value.contains(&b',') {
            return Err(Unresolved::Ambiguous);
        }
        Ok(Some(value))
    }
}

impl TenantClaim<'_> {
    fn lookup(&self, directory: &Directory) -> Named {
        match lookup(directory, self.as_str().as_bytes()) {
            Named::Known(tenant) if matches!(self, Self::Name(name) if **name != *tenant.id) => {
                Named::Unknown
            }
            named => named,
        }
    }

    fn as_str(&self) -> &str {
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
    use http::HeaderValue;
    use uuid::Uuid;

    use super::*;
    use crate::client::{Targets, Tenants};
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

    fn resolve(
        lines: &[&[u8]],
        of_credential: Option<&str>,
        tenants: &[&str],
    ) -> Result<Option<String>, Unresolved> {
        let mapping = Mapping {
            tenant_header: Some(HeaderName::from_static("x-tenant")),
        };
        let tenants = tenants.iter().map(|name| Arc::from(*name)).collect();
        let client = Client {
            name: "c".into(),
            index: 0,
            tenants: Tenants::Named(tenants),
            targets: Targets::None,
            terms: crate::client::Terms::default(),
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-tenant", HeaderValue::from_bytes(line).unwrap());
        }
        let directory = directory();
        let claim = of_credential.map(TenantClaim::NameOrAlias);
        mapping
            .resolve_for(&headers, claim, &client, &directory)
            .map(|named| match named {
                Named::Known(tenant) => Some(tenant.name.to_string()),
                Named::Nobody | Named::Unknown => None,
            })
    }

    #[test]
    fn a_tenant_is_found_by_name_alias_credential_or_because_it_is_the_only_one() {
        let two = &["acme", "globex"][..];
        let acme = Ok(Some("acme".to_owned()));
        assert_eq!(resolve(&[b"acme"], None, two), acme);
        assert_eq!(resolve(&[b"1000"], None, two), acme);
        assert_eq!(resolve(&[], Some("acme"), two), acme);
        assert_eq!(resolve(&[], None, &["acme"]), acme);
        assert_eq!(resolve(&[b"1000"], Some("acme"), two), acme);
        assert_eq!(resolve(&[], None, two), Err(Unresolved::Required));
        assert_eq!(
            resolve(&[b"globex"], Some("acme"), two),
            Err(Unresolved::Mismatch)
        );
        assert_eq!(
            resolve(&[b"nobody"], Some("acme"), two),
            Err(Unresolved::Mismatch)
        );
    }

    #[test]
    fn a_header_that_comes_twice_or_holds_a_list_is_ambiguous() {
        for lines in [
            &[&b"acme"[..], b"acme"][..],
            &[b"acme", b"globex"],
            &[b""],
            &[b"acme,globex"],
            &[b"acme, acme"],
            &[b","],
        ] {
            assert_eq!(
                resolve(lines, None, &["acme"]),
                Err(Unresolved::Ambiguous),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_foreign_tenant_and_an_unknown_one_look_alike_however_they_are_named() {
        let mine = &["acme"][..];
        for name in ["globex", "nowhere"] {
            let twice = resolve(&[name.as_bytes()], Some(name), mine);
            assert!(
                matches!(twice, Ok(found) if found.as_deref() != Some("acme")),
                "{name}"
            );
            let other = resolve(&[b"1001"], Some(name), mine);
            assert_eq!(other, Err(Unresolved::Mismatch), "{name}");
        }
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
    fn odd_values_are_unknown_names() {
        let long = "a".repeat(300);
        for line in [
            &b"Acme"[..],
            b"ac me",
            b"acm\xc3\xa9",
            b"\xff\xfe",
            "аcme".as_bytes(),
            b"ac\tme",
            long.as_bytes(),
        ] {
            assert_eq!(resolve(&[line], None, &["acme"]), Ok(None), "{line:?}");
        }
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
        directory.found().store(Arc::new(names.into()));
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
