//! `[[clients]]` and their rules.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::conditions::{Whose, demand};
use super::consoles::name;
use super::credentials::{Proofs, compare};
use super::issuers::{Conditioned, Issuers, Jwt, jwt};
use super::quotas::allowance;
use super::rules::rules;
use super::tenants::{Tenants as AllTenants, subject, uid};
use crate::client::{Client, Directory, Targets, Tenants};
use crate::config::reader::{Item, Section};
use crate::policy::{Policy, Reasons, Rules};
use crate::quota::Allowance;
use crate::tenant::Mapping;

pub(super) fn clients(
    root: &mut Section<'_>,
    (tenants, issuers): (&AllTenants, &Issuers),
    mapping: &Mapping,
    (logins, reasons): (Rules, Option<Reasons>),
    limits: &mut HashMap<Arc<str>, Allowance>,
) -> (Directory, Policy) {
    let mut directory = Directory::default();
    let mut policies = Vec::new();
    let (mut names, mut certificates) = (HashSet::new(), Vec::new());
    let mut conditioned = Conditioned::default();
    for mut section in root.sections("clients") {
        let name = section
            .required("name")
            .and_then(|item| item.read_with(name));
        if let Some(name) = &name
            && !names.insert(name.to_lowercase())
        {
            section.fault("name", format!("another client is called {name:?} already"));
        }
        let name = name.unwrap_or_else(|| section.path().to_owned());
        let scope = section
            .required("tenants")
            .and_then(|item| scope(&item, tenants));
        let jwt = jwt(&mut section, issuers);
        let is_named = mapping.chooses() || jwt.as_ref().is_some_and(Jwt::names_tenant);
        check_choice(&section, scope.as_ref(), is_named);
        let proofs = Proofs::read(&mut section, jwt.is_some());
        let terms = proofs.terms(&mut section);
        let targets = section
            .optional("targets")
            .map_or(Some(Targets::None), |item| targets(&item));
        let whose = Whose::Client(tenants, scope.as_ref(), targets.as_ref());
        let mut rules = rules(&mut section, &format!("clients.{name}"), &whose);
        rules.reason = demand(&mut section).unwrap_or_default();
        let client = Arc::new(Client {
            name: Arc::from(name),
            index: policies.len(),
            tenants: scope.unwrap_or_else(|| Tenants::Named(HashSet::new())),
            targets: targets.unwrap_or_default(),
            terms,
        });
        limits.insert(Arc::clone(&client.name), allowance(&mut section));
        proofs.add(&client, &mut directory, &mut certificates);
        if let Some(jwt) = jwt {
            conditioned.add(&client, jwt, &mut directory);
        }
        section.finish();
        policies.push(rules);
    }
    compare(&certificates, &directory);
    conditioned.finish();
    let policy = policy(root, Policy::new(policies, logins, reasons));
    (directory, policy)
}

/// Whoever has several tenants must be able to say which.
fn check_choice(section: &Section<'_>, scope: Option<&Tenants>, is_named: bool) {
    let are_several = |scope: &Tenants| !matches!(scope, Tenants::Named(names) if names.len() == 1);
    if !is_named && scope.is_some_and(are_several) {
        section.fault(
            "tenants",
            "several tenants need [mapping] tenant_header, or rules, to choose by",
        );
    }
}

/// Reports rules that need reasons where nothing says how to give one.
fn policy(root: &Section<'_>, policy: Policy) -> Policy {
    if let (None, Some(rule)) = (policy.reason_header(), policy.asking()) {
        let message = format!("is missing: {rule} needs reasons");
        root.fault("mapping.reason_header", message);
    }
    policy
}

fn scope(item: &Item<'_>, tenants: &AllTenants) -> Option<Tenants> {
    let elements = item.elements()?;
    let mut named: HashSet<Arc<str>> = HashSet::new();
    let mut all = false;
    for element in &elements {
        let Some(name) = element.read::<String>() else {
            continue;
        };
        match tenants.names.get(&name.to_lowercase()) {
            _ if name == "*" => all = true,
            Some(tenant) if *tenant == name => {
                named.insert(Arc::from(name));
            }
            Some(tenant) => element.fault(format!("write the tenant's own name, {tenant:?}")),
            None if tenants.has_directory && !name.is_empty() => {
                // Nobody knows before the console is asked. Its UIDs are written in lower case.
                let uid = uid(&name).map(|uid| uid.to_string());
                named.insert(Arc::from(uid.unwrap_or(name)));
            }
            None => element.fault(format!("no tenant is called {name:?}")),
        }
    }
    if elements.is_empty() {
        item.fault("an empty list would let the client do nothing");
    }
    if all && elements.len() > 1 {
        item.fault(r#""*" stands alone: it means every tenant"#);
    }
    Some(if all {
        Tenants::All
    } else {
        Tenants::Named(named)
    })
}

fn targets(item: &Item<'_>) -> Option<Targets> {
    let elements = item.elements()?;
    let mut listed = HashSet::new();
    for element in &elements {
        if element.raw().as_str() == Some("*") {
            if elements.len() > 1 {
                item.fault(r#""*" stands alone: it means every user"#);
            }
            return Some(Targets::All);
        }
        listed.insert(element.read_with(|text: String| subject(&text))?);
    }
    if elements.is_empty() {
        item.fault("an empty list allows nobody: leave it out");
    }
    Some(Targets::Listed(listed))
}
