//! What clients prove who they are with: put into the directory, asked for by log-ins, and warned of.

use std::sync::Arc;

use super::caller::Proof;
use super::{
    Caller, CertificateTerms, Client, Directory, Identified, KeyEnd, KeyFault, KeyTerms, Peer,
    SharedCertificate, TokenFault, Unidentified, caller,
};
use crate::clock::Timestamp;
use crate::secret::KeyDigest;

impl Directory {
    /// From now on a client's name is known, whatever it proves who it is with.
    pub fn know(&mut self, client: &Arc<Client>) {
        let name = Arc::clone(&client.name);
        self.names.insert(name, Arc::clone(client));
    }

    /// Adds a key of a client, without a label and without an end.
    ///
    /// # Errors
    /// Refuses a key that is already there: it would not say who is calling.
    pub fn add(&mut self, digest: KeyDigest, client: &Arc<Client>) -> Result<(), KeyFault> {
        self.add_key(digest, KeyTerms::default(), client)
    }

    /// Adds a key of a client.
    ///
    /// # Errors
    /// Refuses a key that is already there, and a label that another key of the client has.
    pub fn add_key(
        &mut self,
        digest: KeyDigest,
        terms: KeyTerms,
        client: &Arc<Client>,
    ) -> Result<(), KeyFault> {
        self.know(client);
        self.keys.add(digest, terms, client)
    }

    /// Adds certificates of a client.
    pub fn add_certificate(&mut self, terms: CertificateTerms, client: &Arc<Client>) {
        self.know(client);
        self.certificates.add(terms, client);
    }

    /// Says whether certificates of a client, once all are added, would be another client's too.
    ///
    /// # Errors
    /// Names the other client.
    pub fn check_certificate(
        &self,
        terms: &CertificateTerms,
        client: &Arc<Client>,
    ) -> Result<(), SharedCertificate> {
        self.certificates.shared(terms, client)
    }

    /// A caller that is taken to have proved that it is this client: for explanations, which nobody
    /// is served by.
    pub fn suppose(&self, client: &str, peer: &Peer) -> Option<Caller<'_>> {
        let credential = Arc::from("supposed");
        let proof = Proof::Certificate(Arc::clone(self.named(client)?), credential);
        let mut identified = Identified::new(proof);
        identified.certificate = peer.certificate.as_ref().map(Arc::clone);
        Some(Caller::Client(identified))
    }

    /// Whether a client has nothing to prove who it is with but tokens of an issuer.
    pub fn has_only_tokens(&self, client: &Client) -> bool {
        !self.keys.has_any(&client.name) && !self.certificates.has_any(&client.name)
    }

    /// The names of all clients, in order.
    pub fn client_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.names.keys().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names
    }

    /// The keys that end, by client and end.
    pub fn key_ends(&self) -> Vec<KeyEnd> {
        self.keys.ends()
    }

    /// What an operator is to be warned of; `listener_asks` says whether a listener asks callers
    /// for certificates.
    pub fn warnings(&self, now: Timestamp, listener_asks: bool) -> Vec<String> {
        let ends = self.keys.ends();
        let mut warnings: Vec<String> = ends.iter().filter_map(|end| end.warning(now)).collect();
        if !listener_asks && !self.certificates.is_empty() {
            warnings.push(
                "clients have certificates, and no listener asks for them: nobody can show one"
                    .to_owned(),
            );
        }
        warnings
    }

    /// The client of a key that came as the password of a log-in, whether its time is over or not.
    pub fn of_key(&self, key: &[u8]) -> Option<(&Arc<Client>, KeyDigest)> {
        let digest = KeyDigest::of(key);
        let known = self.keys.get(&digest, key.len())?;
        Some((&known.client, digest))
    }

    /// As records name a client's key, without the way it came: `7cc4a7ac(2026-Q4)`.
    pub fn shown_key(&self, client: &Client, id: &str) -> Option<&Arc<str>> {
        let known = self.keys.of_token(&client.name, id)?;
        Some(&known.shown)
    }

    /// Whether a client may log in, or stay logged in, by one of its keys on a connection;
    /// `credential` is how the record names the key.
    ///
    /// # Errors
    /// Says what is in the way: the key is gone or its time over, the certificate of the connection
    /// names another client, or the client must show one.
    pub fn check_log_in(
        &self,
        client: &Arc<Client>,
        id: &str,
        credential: impl Fn() -> Arc<str>,
        (peer, now): (&Peer, Timestamp),
    ) -> Result<(), Unidentified> {
        let known = self.keys.of_token(&client.name, id);
        let known = known.ok_or(Unidentified::Token(TokenFault::Revoked))?;
        known.in_time(now, &credential)?;
        let shown = self.shown(peer);
        let of_certificate = match (&shown, &peer.certificate) {
            (Some(shown), Some(certificate)) => shown.client(certificate, now)?,
            _ => None,
        };
        caller::suffices(client, of_certificate, credential)
    }
}
