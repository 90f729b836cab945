//! What an operator is told of a request that names no one tenant: by whom each was named, and
//! which, but no value that means nothing: it may be a key.

use http::HeaderName;
use http::header::HeaderMap;

use super::source::read_header;
use super::{Aim, Asker, Mapping, Named, Said, Unresolved, read_user};
use crate::request::RequestHead;
use crate::tenant::Directory;

impl Mapping {
    /// Why a request of a client names no tenant or user, or several, with the names of headers,
    /// rules and tenants.
    pub fn told(
        &self,
        why: Unresolved,
        head: &RequestHead<'_>,
        asker: &Asker<'_>,
        directory: &Directory,
    ) -> String {
        let mut told = Vec::new();
        match why {
            Unresolved::Ambiguous => told = self.told_of_headers(head.headers),
            Unresolved::Disagree | Unresolved::Mismatch => {
                let said = self.said(head, asker, directory).unwrap_or_default();
                told.extend(said.iter().map(told_of));
                told.extend(self.told_of_users(head.headers, asker.aim));
            }
            Unresolved::User => told.extend(self.told_of_user_header(head.headers)),
            Unresolved::Required => {}
        }
        with(why, &told)
    }

    /// The same for a caller that acts as itself.
    pub fn told_of_own(&self, why: Unresolved, headers: &HeaderMap) -> String {
        let mut told = self.told_of_headers(headers);
        let owned = self.owned().filter(|name| headers.contains_key(*name));
        if told.is_empty() {
            let own = |name| format!("the header {name}, of a caller that acts as itself");
            told.extend(owned.map(own));
        }
        with(why, &told)
    }

    /// Which headers cannot be read as one value, and why.
    fn told_of_headers(&self, headers: &HeaderMap) -> Vec<String> {
        let own = self.tenant_header.iter().chain(&self.user_header);
        let looked = own.chain(self.rules.headers());
        let faulty = looked.filter(|name| read_header(headers, name).is_err());
        let mut told: Vec<String> = faulty.map(|name| fault(headers, name)).collect();
        told.sort_unstable();
        told.dedup();
        told
    }

    fn told_of_user_header(&self, headers: &HeaderMap) -> Option<String> {
        let name = self.user_header.as_ref()?;
        Some(match read_header(headers, name) {
            Err(_) => fault(headers, name),
            Ok(_) => format!("the header {name} is no userUid"),
        })
    }

    /// Where the user header names another than the credential is bound to.
    fn told_of_users(&self, headers: &HeaderMap, of_credential: Aim) -> Option<String> {
        let name = self.user_header.as_ref()?;
        let user = read_user(read_header(headers, name).ok()??)?;
        match of_credential {
            Aim::Named(bound) | Aim::Was(bound) if bound != user => Some(format!(
                "the header {name}: user {user}; the credential: user {bound}"
            )),
            Aim::Named(_) | Aim::Own | Aim::Was(_) => None,
        }
    }
}

fn told_of(said: &Said<'_>) -> String {
    match (&said.named, &said.name) {
        (Named::Known(tenant), _) => format!("{}: {}", said.by, tenant.name),
        // What it is said by tells that it means nothing.
        (_, None) => said.by.to_string(),
        (Named::Nobody | Named::Unknown, Some(_)) => {
            format!("{}: a name that no tenant has", said.by)
        }
    }
}

fn fault(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines = headers.get_all(name).iter().count();
    let is_empty = headers.get(name).is_some_and(|value| value.is_empty());
    match (lines, is_empty) {
        (2.., _) => format!("the header {name} comes {lines} times"),
        (_, true) => format!("the header {name} is empty"),
        (_, false) => format!("the header {name} holds a list"),
    }
}

fn with(why: Unresolved, told: &[String]) -> String {
    let mut text = why.to_string();
    for (index, told) in told.iter().take(MOST).enumerate() {
        text += if index == 0 { ": " } else { "; " };
        text += told;
    }
    if let Some(more) = told.len().checked_sub(MOST).filter(|more| *more > 0) {
        text += &format!("; {more} more");
    }
    text
}

/// How many sources are told of.
const MOST: usize = 6;
