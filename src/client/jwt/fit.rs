//! Which client a token is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::claims::Claims;
use super::issuer::Issuer;
use super::read::Unverified;
use super::{Issued, JwtFault, Untaken};
use crate::client::Client;
use crate::clock::Timestamp;
use crate::secret::KeyDigest;

/// Which tokens of an issuer are a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conditions {
    /// The name of the issuer.
    pub issuer: Arc<str>,
    /// The values that claims must have, or have among others. There is one at least.
    pub claims: BTreeMap<String, String>,
    /// The claim that names the tenant.
    pub tenant_claim: Option<String>,
}

impl Conditions {
    fn hold(&self, claims: &Claims) -> bool {
        self.claims
            .iter()
            .all(|(name, value)| claims.texts(name).any(|text| text == value))
    }

    /// What the claims of these names must be, as far as they are among the conditions.
    fn project<'a>(&'a self, names: &BTreeSet<&str>) -> Vec<(&'a str, &'a str)> {
        self.claims
            .iter()
            .filter(|(name, _)| names.contains(name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    fn names(&self) -> BTreeSet<&str> {
        self.claims.keys().map(String::as_str).collect()
    }
}

/// Finds pairs of conditions that one token with a single value for each claim would fit, and so
/// could be either client: both are of one issuer, and no claim tells them apart. Gives for each the
/// place of the later one, and that of an earlier one.
///
/// Conditions that differ in the value of some claim may still both fit a token in which that claim
/// is a list; such a token is refused when it comes.
pub fn overlaps(all: &[Conditions]) -> Vec<(usize, usize)> {
    let mut groups: BTreeMap<(&str, BTreeSet<&str>), Vec<usize>> = BTreeMap::new();
    for (index, conditions) in all.iter().enumerate() {
        let group = (&*conditions.issuer, conditions.names());
        groups.entry(group).or_default().push(index);
    }
    let mut found = BTreeMap::new();
    for ((issuer, names), group) in &groups {
        for ((other_issuer, other_names), others) in &groups {
            if issuer != other_issuer {
                continue;
            }
            let common: BTreeSet<&str> = names.intersection(other_names).copied().collect();
            let project = |index: &usize| all.get(*index).map(|of| of.project(&common));
            // The earliest of each: a pair is told of once, at the later.
            let mut firsts = HashMap::new();
            for index in group {
                firsts.entry(project(index)).or_insert(*index);
            }
            for index in others {
                if let Some(first) = firsts.get(&project(index))
                    && first < index
                {
                    found.entry(*index).or_insert(*first);
                }
            }
        }
    }
    found.into_iter().collect()
}

/// The clients that are known by tokens, so that the one of a token is found without a look at all
/// of them.
#[derive(Debug, Default)]
pub(in crate::client) struct Fits {
    /// Before the issuers are there.
    clients: Vec<(Arc<Client>, Conditions)>,
    /// By the `iss` of their tokens.
    issuers: HashMap<String, OfIssuer>,
}

#[derive(Debug)]
struct OfIssuer {
    issuer: Arc<Issuer>,
    /// By the rarest of each client's conditions: the name of the claim, then its value.
    clients: HashMap<String, HashMap<String, Vec<Fit>>>,
}

#[derive(Debug)]
struct Fit {
    client: Arc<Client>,
    conditions: Conditions,
}

impl Fits {
    pub(in crate::client) fn tenant_claim(&self, client: &Client) -> Option<&str> {
        let of_client = self
            .clients
            .iter()
            .find(|(known, _)| known.name == client.name);
        of_client.and_then(|(_, conditions)| conditions.tenant_claim.as_deref())
    }

    pub(in crate::client) fn add(&mut self, client: &Arc<Client>, conditions: Conditions) {
        self.clients.push((Arc::clone(client), conditions));
    }

    /// From now on takes tokens of these issuers.
    pub(in crate::client) fn trust(&mut self, issuers: &[Arc<Issuer>]) {
        let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
        for (name, value) in self.clients.iter().flat_map(|(_, of)| &of.claims) {
            *counts.entry((name, value)).or_default() += 1;
        }
        for issuer in issuers {
            let mut by_claim: HashMap<String, HashMap<String, Vec<Fit>>> = HashMap::new();
            let name = issuer.name();
            for (client, conditions) in self.clients.iter().filter(|(_, of)| of.issuer == *name) {
                let rarest = conditions
                    .claims
                    .iter()
                    .min_by_key(|(name, value)| counts.get(&(name.as_str(), value.as_str())));
                let Some((name, value)) = rarest else {
                    continue;
                };
                let by_value = by_claim.entry(name.clone()).or_default();
                by_value.entry(value.clone()).or_default().push(Fit {
                    client: Arc::clone(client),
                    conditions: conditions.clone(),
                });
            }
            let of_issuer = OfIssuer {
                issuer: Arc::clone(issuer),
                clients: by_claim,
            };
            self.issuers
                .insert(issuer.rules().issuer.clone(), of_issuer);
        }
    }

    /// The most clients that one look-up leads to.
    #[cfg(test)]
    pub(in crate::client) fn widest(&self) -> usize {
        let by_claim = self.issuers.values().flat_map(|of| of.clients.values());
        let lists = by_claim.flat_map(HashMap::values);
        lists.map(Vec::len).max().unwrap_or_default()
    }

    /// Whether a bearer is to be read as a token of an issuer at all.
    pub(in crate::client) fn are_none(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Verifies a token that was not seen before, and finds out whose it is.
    pub(in crate::client) fn verify(
        &self,
        bearer: &[u8],
        digest: KeyDigest,
        now: Timestamp,
    ) -> Result<Issued, Untaken> {
        let unverified = Unverified::read(bearer)?;
        let of = self.issuers.get(unverified.issuer());
        let of = of.ok_or(JwtFault::UnknownIssuer)?;
        let keys = of.issuer.keys().map_err(Untaken::NoKeys)?;
        let verified = unverified.verify(of.issuer.rules(), &keys, now);
        let verified = verified.map_err(|fault| match fault {
            // There may be a key by now that was not there at the last look.
            JwtFault::UnknownKey => of.issuer.ask().map_or(fault.into(), Untaken::NoKeys),
            fault => fault.into(),
        })?;
        let fit = of.find(&verified.claims)?;
        let tenant = match &fit.conditions.tenant_claim {
            None => None,
            Some(claim) => {
                let named = verified.claims.text(claim).filter(|name| !name.is_empty());
                Some(named.ok_or(JwtFault::NoTenant)?.to_owned())
            }
        };
        let (issuer, subject) = (of.issuer.name(), &verified.subject);
        Ok(Issued {
            client: Arc::clone(&fit.client),
            credential: Arc::from(format!("jwt:{}", digest.label())),
            principal: Arc::from(format!("{issuer}|{subject}")),
            tenant,
            expires: verified.expires,
            issuer: Arc::clone(&of.issuer),
            key: verified.key,
            claims: verified.claims,
        })
    }
}

impl OfIssuer {
    fn find(&self, claims: &Claims) -> Result<&Fit, JwtFault> {
        let mut found: Option<&Fit> = None;
        for (name, by_value) in &self.clients {
            let candidates = claims.texts(name).filter_map(|value| by_value.get(value));
            for fit in candidates
                .flatten()
                .filter(|fit| fit.conditions.hold(claims))
            {
                // A list may name a value twice.
                if found.is_some_and(|found| !Arc::ptr_eq(&found.client, &fit.client)) {
                    return Err(JwtFault::SeveralClients);
                }
                found = Some(fit);
            }
        }
        found.ok_or(JwtFault::NoClient)
    }
}
