//! What an operator is told of credentials that do not name one client: which came, by their labels,
//! and whose they are. Of one that nobody knows not even a digest: it may be easy to guess.

use http::header::{AUTHORIZATION, HeaderMap};

use super::caller::Caller;
use super::{API_KEY, Client, Directory, Identified, Peer, Unidentified, Way};
use crate::clock::Timestamp;

impl Directory {
    /// Lists the credentials of a request that were found to disagree.
    pub fn contradiction(&self, headers: &HeaderMap, peer: &Peer, now: Timestamp) -> String {
        let mut told = Vec::new();
        for value in headers.get_all(API_KEY) {
            let found = self.look_up(value.as_bytes(), Way::ApiKey, now);
            told.push(told_of(API_KEY.as_str(), found.map(Caller::Client)));
        }
        for value in headers.get_all(AUTHORIZATION) {
            let found = self.read_authorization(value.as_bytes(), now);
            told.push(told_of(AUTHORIZATION.as_str(), found));
        }
        told.extend(self.told_of_certificate(peer, now));
        disagree(&told)
    }

    /// The same of a log-in by a key of a client, which records name as `credential`.
    pub fn contradiction_of_log_in(
        &self,
        client: &Client,
        credential: &str,
        (peer, now): (&Peer, Timestamp),
    ) -> String {
        let mut told = vec![format!("the log-in: {credential} of {}", client.name)];
        told.extend(self.told_of_certificate(peer, now));
        disagree(&told)
    }

    fn told_of_certificate(&self, peer: &Peer, now: Timestamp) -> Option<String> {
        let certificate = peer.certificate.as_ref()?;
        let shown = self.shown(peer)?;
        let credential = &shown.credential;
        Some(match shown.client(certificate, now) {
            Ok(Some(client)) => format!("{credential} of {}", client.name),
            Ok(None) => format!("{credential} of nobody"),
            Err(Unidentified::Unfit(unfit)) => format!("{credential}, {}", unfit.lack),
            Err(_) => format!("{credential} of several clients"),
        })
    }
}

/// All of them, as far as there is room.
fn disagree(told: &[String]) -> String {
    let mut text = String::from("these do not name one client");
    for (index, told) in told.iter().take(MOST).enumerate() {
        text += if index == 0 { ": " } else { "; " };
        text += told;
    }
    if let Some(more) = told.len().checked_sub(MOST).filter(|more| *more > 0) {
        text += &format!("; {more} more");
    }
    text
}

/// A credential in a header.
fn told_of(header: &str, found: Result<Caller<'_>, Unidentified>) -> String {
    match found {
        Ok(Caller::Client(who)) => format!("{header}: {}", owner(&who)),
        Ok(Caller::Login(verified, _)) => {
            format!("{header}: {} of a user of the console", verified.credential)
        }
        Err(Unidentified::Unfit(unfit)) => {
            let (credential, lack) = (&unfit.credential, &unfit.lack);
            match &unfit.client {
                Some(client) => format!("{header}: {credential} of {client}, {lack}"),
                None => format!("{header}: {credential}, {lack}"),
            }
        }
        Err(Unidentified::Token(_) | Unidentified::Jwt(_)) => {
            format!("{header}: a token that is not good")
        }
        Err(_) => format!("{header}: a credential that nobody has"),
    }
}

fn owner(who: &Identified<'_>) -> String {
    format!("{} of {}", who.credential(), who.client().name)
}

/// How many credentials are told of.
const MOST: usize = 6;
