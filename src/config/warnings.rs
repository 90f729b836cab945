//! What is in order and yet ought to be known.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Server, Settings};
use crate::client::Tenants;
use crate::clock::{Clock, Timestamp};
use crate::tenant::{Tenant, Whom};
use crate::token::Login;

impl Settings {
    /// What is in order and yet ought to be known: limits of the machine that are too low, keys that
    /// end, rules that cannot do what they say, keys that cross a network in the clear.
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let asks = self.server.asks_for_certificates();
        let server = self.server.warnings().into_iter();
        server
            .chain(self.clients.warnings(now, asks))
            .chain(self.own_accounts())
            .chain(self.companies_by_another_name())
            .chain(self.policy.warnings())
            .chain(self.audit.tree.warning())
            .collect()
    }

    /// Tenants that log in with the account of their console.
    fn own_accounts(&self) -> Vec<String> {
        let warnings = self.tenant_logins.iter().filter_map(|(identity, login)| {
            let tenant = identity.tenant()?;
            let at = |console: &&super::Console| console.upstream.id == *identity.console();
            let console = self.consoles.iter().find(at)?;
            are_one_account(login, &console.login).then(|| {
                format!(
                    "tenants.{tenant}.login is the account of console {}: whoever acts for the tenant has \
                     all its rights, those over other tenants too",
                    identity.console()
                )
            })
        });
        let mut warnings: Vec<String> = warnings.collect();
        warnings.sort_unstable();
        warnings
    }

    /// Companies that a client is to act for by the name that the console has for them, where the
    /// file has them under another: that is the only one that leads to them.
    fn companies_by_another_name(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for client in self.clients.client_names() {
            let Some(Tenants::Named(names)) = self.clients.named(client).map(|it| &it.tenants)
            else {
                continue;
            };
            for tenant in self.tenants.configured() {
                let Whom::CompanyNamed(company) = &tenant.whom else {
                    continue;
                };
                if !self.names_another(company, tenant) && misses(names, company, &tenant.name) {
                    warnings.push(format!(
                        "clients.{client}.tenants names {company:?}, which is the company of tenant \
                         {0:?} and nobody's by itself: write {0:?}",
                        &*tenant.name
                    ));
                }
            }
        }
        warnings.sort_unstable();
        warnings
    }

    /// Whether the name of a tenant's company is, or may be, that of another tenant too: one of the
    /// file, or a company of another console that makes all of them tenants.
    fn names_another(&self, company: &str, tenant: &Tenant) -> bool {
        let others = || self.consoles.iter().filter(|it| it.directory.all);
        self.tenants.names().any(|name| name == company)
            || others().any(|other| other.upstream.id != tenant.console)
    }
}

fn misses(names: &HashSet<Arc<str>>, company: &Arc<str>, tenant: &Arc<str>) -> bool {
    company != tenant && names.contains(company) && !names.contains(tenant)
}

/// Whether two log-ins are surely of one account.
fn are_one_account(one: &Login, other: &Login) -> bool {
    match (one.username(), other.username()) {
        (Some(one), Some(other)) => one.to_lowercase() == other.to_lowercase(),
        _ => one.credentials == other.credentials,
    }
}

impl Server {
    /// What an operator should know of it, though it is served.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<_> = self.shortages.iter().map(ToString::to_string).collect();
        let now = Clock::System.now();
        for listener in &self.listen {
            let Some(tls) = &listener.tls else {
                if !listener.address.ip().to_canonical().is_loopback()
                    && self.proxies.networks.is_empty()
                {
                    warnings.push(format!(
                        "server.listen: keys and tokens cross the network in the clear to {}: give it \
                         tls, or name the proxies in front of it in server.trusted_proxies",
                        listener.address
                    ));
                }
                continue;
            };
            for warning in tls.warnings(now) {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
        warnings
    }
}
