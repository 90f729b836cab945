//! The conditions of rules.

use std::collections::HashSet;
use std::sync::Arc;

use super::tenants::{Tenants as AllTenants, subject, uid};
use crate::client::{Targets, Tenants};
use crate::config::reader::{Item, Section};
use crate::policy::{Demand, Hours, OperationPattern};
use crate::tenant::Whom;
use crate::vspc::grant::Subject;

/// Whose rules they are.
pub(super) enum Whose<'a> {
    /// A client's, as far as it could be read.
    Client(&'a AllTenants, Option<&'a Tenants>, Option<&'a Targets>),
    /// Of those who log in at a console and act as themselves.
    Logins,
}

/// The conditions of a rule that hang on whose it is.
pub(super) fn tenants(item: &Item<'_>, whose: &Whose<'_>) -> Option<HashSet<Arc<str>>> {
    let Whose::Client(all, own, _) = whose else {
        item.fault("the console's own users act for no tenant: no request would match");
        return None;
    };
    let elements = listed(item)?;
    let read: Vec<_> = elements
        .iter()
        .map(|item| tenant(item, all, *own))
        .collect();
    read.into_iter().collect()
}

fn tenant(item: &Item<'_>, all: &AllTenants, own: Option<&Tenants>) -> Option<Arc<str>> {
    let name = item.read::<String>()?;
    let known = all.names.get(&name.to_lowercase());
    match known {
        _ if name == "*" => {
            item.fault(
                "every tenant of the client is meant where there are no tenants: leave it out",
            );
            None
        }
        Some(tenant) if *tenant != name => {
            item.fault(format!("write the tenant's own name, {tenant:?}"));
            None
        }
        None if !all.has_directory || name.is_empty() => {
            item.fault(format!("no tenant is called {name:?}"));
            None
        }
        _ => {
            let uid = uid(&name).map(|uid| uid.to_string());
            if let (None, Some(tenant)) = (&known, unclear(all, &name, uid.is_some())) {
                item.fault(format!(
                    "may be tenant {tenant:?}, which is given by company_name: only the console \
                     knows. Write that tenant's name, or give it by its company's UID"
                ));
                return None;
            }
            let name: Arc<str> = Arc::from(uid.unwrap_or(name));
            // Of companies only the console knows which name and which UID are one.
            let is_foreign = known.is_some() || !all.has_directory;
            if let Some(Tenants::Named(own)) = own
                && is_foreign
                && !own.contains(&name)
            {
                item.fault(format!(
                    "the client may not act for {name:?}: no request would match"
                ));
            }
            Some(name)
        }
    }
}

/// A tenant of the file that a company in a rule may turn out to be: the rule would not be about it.
fn unclear<'a>(all: &'a AllTenants, company: &str, is_uid: bool) -> Option<&'a str> {
    let mut tenants = all.directory.configured();
    let tenant = tenants.find(|tenant| match &tenant.whom {
        Whom::CompanyNamed(name) => is_uid || **name == *company,
        Whom::Account | Whom::Company(_) | Whom::User(_) => false,
    });
    tenant.map(|tenant| &*tenant.name)
}

/// The users acted as.
pub(super) fn targets(item: &Item<'_>, whose: &Whose<'_>) -> Option<HashSet<Subject>> {
    let Whose::Client(all, own, named) = whose else {
        item.fault("the console's own users act as nobody else: no request would match");
        return None;
    };
    let elements = listed(item)?;
    let read = elements.iter().map(|item| {
        let target = item.read_with(|text: String| subject(&text))?;
        if let (Some(own), Some(named)) = (own, named)
            && !is_within_reach(target, all, own, named)
        {
            item.fault(
                "neither acts for a tenant of the client nor is among its targets: no request \
                 would match",
            );
        }
        Some(target)
    });
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}

/// Whether a client could ever act as a user, as far as that is known without the console.
fn is_within_reach(target: Subject, all: &AllTenants, own: &Tenants, named: &Targets) -> bool {
    let may_name = match named {
        Targets::All => true,
        Targets::Listed(listed) => listed.contains(&target),
        Targets::None => false,
    };
    let acts = |whom: &Whom| match whom {
        Whom::Account => false,
        Whom::Company(_) | Whom::CompanyNamed(_) => true,
        Whom::User(user) => *user == target,
    };
    let mut of_file = all.directory.configured();
    may_name
        || match own {
            Tenants::All => all.has_directory || of_file.any(|tenant| acts(&tenant.whom)),
            Tenants::Named(names) => names.iter().any(|name| match all.directory.get(name) {
                Some(tenant) => acts(&tenant.whom),
                None => true,
            }),
        }
}

/// The operations, as VSPC's reference writes them.
pub(super) fn operations(item: &Item<'_>) -> Option<Vec<OperationPattern>> {
    let elements = listed(item)?;
    let read: Vec<_> = elements
        .iter()
        .map(|item| item.read_with(|text: String| OperationPattern::parse(&text)))
        .collect();
    read.into_iter().collect()
}

/// A list that is not empty.
fn listed<'a>(item: &Item<'a>) -> Option<Vec<Item<'a>>> {
    let elements = item.elements()?;
    if elements.is_empty() {
        item.fault("an empty list would match nothing: leave it out");
        return None;
    }
    Some(elements)
}

/// Whether a reason is needed.
pub(super) fn demand(section: &mut Section<'_>) -> Option<Demand> {
    let Some(item) = section.optional("reason") else {
        return Some(Demand::Optional);
    };
    item.read_with(|text: String| match text.as_str() {
        "required" => Ok(Demand::Required),
        _ => Err("can only be \"required\"; leave it out where none is needed"),
    })
}

/// Times of the week.
pub(super) fn hours(item: &Item<'_>) -> Option<Hours> {
    let mut section = item.section()?;
    let days = section.optional("days").map_or(Some(0), |item| {
        let elements = listed(&item)?;
        let days: Vec<Option<u8>> = elements
            .iter()
            .map(|item| item.read_with(|text: String| Hours::days(&text)))
            .collect();
        days.into_iter()
            .try_fold(0, |days, more| Some(days | more?))
    });
    let mut minute = |key, default| {
        let minute = |item: Item<'_>| item.read_with(|text: String| Hours::minute(&text));
        section.optional(key).map_or(Some(default), minute)
    };
    let (from, to) = (minute("from", 0), minute("to", 24 * 60));
    let zone = section.optional("zone").map_or(Some(0), |item| {
        item.read_with(|text: String| Hours::zone(&text))
    });
    section.finish();
    match Hours::new(days?, from?, to?, zone?) {
        Ok(hours) => Some(hours),
        Err(fault) => {
            item.fault(fault.to_string());
            None
        }
    }
}
