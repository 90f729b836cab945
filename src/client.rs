//! Who is calling: API keys, as a header of their own, as a bearer, or as a Basic password; the
//! gateway's own tokens; tokens of identity providers; and certificates.
//!
//! No credential is compared with another letter by letter: a key, a bearer and a certificate are
//! found by their SHA-256 digests, and a token's signature is checked in constant time.

mod caller;
mod certificate;
mod certificates;
mod claims;
mod contradiction;
mod credit;
mod issued;
pub mod jwt;
mod keyring;
mod keys;
mod peer;
mod proxies;
mod register;
mod remembered;
mod standing;
mod terms;
#[cfg(test)]
mod tests;
mod tokens;
mod tool;
mod unfit;
mod unidentified;

pub use caller::{Caller, Identified, TenantClaim, split_user};
pub use certificate::{Certificate, CertificateFault, SubjectName};
pub use certificates::{CertificateTerms, SharedCertificate, read_name};
pub use claims::{Aim, Holder, LoginId, SessionKey};
pub use credit::Credit;
pub use keys::{KeyEnd, KeyFault, KeyTerms};
pub use peer::Peer;
pub use proxies::{Proxies, Untraceable};
pub use terms::{Networks, Require, Terms};
pub use tokens::{
    GatewayTokens, Lifetimes, Pair, Presented, RotateError, Rotated, TokenFault, TurnError,
};
pub use tool::{Client, Targets, Tenants};
pub use unfit::{Lack, Unfit};
pub use unidentified::Unidentified;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::request::{Line, Lines};
use crate::secret::KeyDigest;
use crate::upstream::ConsoleId;
use caller::{ClientToken, Proof, Verified, VerifiedHolder, agree};
use certificates::{Certificates, Shown};
use jwt::{Fits, Issued};
use keys::Keys;
use remembered::Remembered;

/// The header that carries an API key.
pub const API_KEY: HeaderName = HeaderName::from_static(Line::ApiKey.name());

/// The fewest characters of a key; a shorter one is nobody's, whatever the configuration says.
pub const KEY_LENGTH: usize = 32;

/// Which way a key came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// `X-Api-Key`
    ApiKey,
    /// The password of `Authorization: Basic`
    Basic,
    /// `Authorization: Bearer`
    Bearer,
}

/// All clients, by what they prove who they are with.
#[derive(Debug, Default)]
pub struct Directory {
    keys: Keys,
    certificates: Certificates,
    names: HashMap<Arc<str>, Arc<Client>>,
    /// The console whose own users may log in through the gateway.
    passthrough: Option<ConsoleId>,
    tokens: Option<Arc<GatewayTokens>>,
    /// Tokens that were read.
    verified: Remembered<Verified>,
    /// Tokens of the console that callers hold.
    exposed: Arc<Remembered<Verified>>,
    /// Which client a token of an issuer is.
    fits: Fits,
    /// Tokens of issuers that were read.
    issued: Remembered<Issued>,
}

impl Directory {
    /// From now on knows callers by the gateway's own tokens too; `passthrough` is the console
    /// whose own users may log in.
    pub fn accept(&mut self, tokens: Arc<GatewayTokens>, passthrough: Option<ConsoleId>) {
        self.tokens = Some(tokens);
        self.passthrough = passthrough;
    }

    /// Finds out who is calling.
    ///
    /// A presented key is hashed and looked up by its digest, so that the time taken says nothing
    /// about how much of a key was right. A bearer that is no key is read as a token. A certificate
    /// that names nobody is no credential, and is in no other's way.
    ///
    /// # Errors
    /// Refuses missing and unknown credentials, those whose time is over, and two that do not name
    /// the same client.
    pub fn identify(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        now: Timestamp,
    ) -> Result<Caller<'_>, Unidentified> {
        self.identify_by(&Lines::of(headers), peer, now)
    }

    /// As [`Self::identify`], where the headers that count have been looked for.
    ///
    /// # Errors
    /// As [`Self::identify`].
    pub fn identify_by(
        &self,
        lines: &Lines<'_>,
        peer: &Peer,
        now: Timestamp,
    ) -> Result<Caller<'_>, Unidentified> {
        let mut found: Option<Caller<'_>> = None;
        let mut presented = 0_usize;
        let mut fault = Unidentified::Bad;
        for value in lines.all(Line::ApiKey) {
            presented += 1;
            let identified = self.look_up(value.as_bytes(), Way::ApiKey, now);
            let identified = identified.map_err(|why| fault = why).ok();
            found = agree(found, identified.map(Caller::Client), presented)?;
        }
        let has_key = found.is_some();
        let mut authorizations = 0_usize;
        for value in lines.all(Line::Authorization) {
            authorizations += 1;
            presented += 1;
            let read = self.read_authorization(value.as_bytes(), now);
            // Whether it agrees with the others cannot be told.
            if let Err(why @ Unidentified::NoKeys { .. }) = read {
                return Err(why);
            }
            let identified = read.map_err(|why| fault = why).ok();
            found = agree(found, identified, presented)?;
        }
        let shown = self.shown(peer);
        let of_certificate = match (&shown, &peer.certificate) {
            (Some(shown), Some(certificate)) => shown.client(certificate, now)?,
            _ => None,
        };
        match found {
            // Of two, one would be taken and the other not.
            Some(_) if authorizations > 1 => Err(Unidentified::Conflicting),
            Some(caller) => caller.beside(of_certificate, peer, has_key),
            None if presented > 0 && of_certificate.is_some() => Err(Unidentified::Conflicting),
            None if presented > 0 => Err(fault),
            None => Identified::by_certificate(of_certificate, shown.as_deref(), peer),
        }
    }

    /// The client of a name.
    pub fn named(&self, name: &str) -> Option<&Arc<Client>> {
        self.names.get(name)
    }

    /// The certificate of a connection, where there is one and clients have any.
    fn shown(&self, peer: &Peer) -> Option<Arc<Shown>> {
        let certificate = peer.certificate.as_ref()?;
        Some(self.certificates.look_up(certificate))
    }

    fn look_up(
        &self,
        key: &[u8],
        way: Way,
        now: Timestamp,
    ) -> Result<Identified<'_>, Unidentified> {
        let found = self.look_up_digest(&KeyDigest::of(key), key.len(), way, now);
        found.unwrap_or(Err(Unidentified::Bad))
    }

    /// None for what is no key.
    fn look_up_digest(
        &self,
        digest: &KeyDigest,
        length: usize,
        way: Way,
        now: Timestamp,
    ) -> Option<Result<Identified<'_>, Unidentified>> {
        let known = self.keys.get(digest, length)?;
        let credential = known.credential(way);
        let in_time = known.in_time(now, || Arc::clone(credential));
        Some(in_time.map(|()| Identified::new(Proof::Key(&known.client, credential))))
    }

    fn read_authorization(&self, value: &[u8], now: Timestamp) -> Result<Caller<'_>, Unidentified> {
        let blank = value.iter().position(|byte| *byte == b' ');
        let (scheme, rest) = value.split_at(blank.ok_or(Unidentified::Bad)?);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return self.read_bearer(rest, now);
        }
        if scheme.eq_ignore_ascii_case(b"basic") {
            return self.read_basic(rest, now).map(Caller::Client);
        }
        Err(Unidentified::Bad)
    }

    fn read_bearer(&self, bearer: &[u8], now: Timestamp) -> Result<Caller<'_>, Unidentified> {
        let digest = KeyDigest::of(bearer);
        // Here is the place for further kinds of bearers: each says whether it is one of its own.
        if let Some(found) = self.look_up_digest(&digest, bearer.len(), Way::Bearer, now) {
            return found.map(Caller::Client);
        }
        let remembered = self.verified.get(&digest);
        let verified = match remembered.or_else(|| self.exposed.get(&digest)) {
            Some(verified) => verified,
            None => match self.read_issued(bearer, digest, now) {
                Some(read) => return read.map(Caller::Client),
                None => self.verify(bearer, digest, now)?,
            },
        };
        if verified.expires <= now {
            return Err(Unidentified::Token(TokenFault::Expired));
        }
        let tokens = self.tokens.as_ref();
        if tokens.is_some_and(|tokens| tokens.has_ended(verified.login)) {
            return Err(Unidentified::Token(TokenFault::Used));
        }
        Ok(match &verified.holder {
            VerifiedHolder::Client(token) => {
                let token = token.clone();
                Caller::Client(Identified::new(Proof::Token(verified, token)))
            }
            VerifiedHolder::Login(session) => {
                let session = session.clone();
                Caller::Login(verified, session)
            }
        })
    }

    /// Reads a token that was not seen before.
    fn verify(
        &self,
        bearer: &[u8],
        digest: KeyDigest,
        now: Timestamp,
    ) -> Result<Arc<Verified>, Unidentified> {
        let tokens = self.tokens.as_ref().ok_or(Unidentified::Bad)?;
        let read = tokens
            .read_access(bearer, now)
            .map_err(|fault| match fault {
                TokenFault::Invalid => Unidentified::Bad,
                fault => Unidentified::Token(fault),
            })?;
        if !self.still_knows(&read.holder) {
            return Err(Unidentified::Token(TokenFault::Revoked));
        }
        // It ends with the key that it was issued for.
        let expires = match &read.holder {
            Holder::Client { name, key, .. } => self
                .named(name)
                .and_then(|client| self.keys.of_token(&client.name, key)?.expires)
                .map_or(read.expires, |end| end.min(read.expires)),
            Holder::Login(_) => read.expires,
        };
        let holder = match read.holder {
            Holder::Client {
                name,
                tenant,
                target,
                is_named,
                ..
            } => VerifiedHolder::Client(ClientToken {
                client: Arc::clone(self.named(&name).ok_or(Unidentified::Bad)?),
                tenant: Arc::from(tenant),
                aim: Aim::of(target, is_named),
            }),
            Holder::Login(session) => {
                let revoked = Unidentified::Token(TokenFault::Revoked);
                VerifiedHolder::Login(self.session(&session).ok_or(revoked)?)
            }
        };
        let verified = Arc::new(Verified {
            expires,
            credential: Arc::from(format!("token:{}", digest.label())),
            login: read.login,
            access: read.access,
            holder,
        });
        self.verified.insert(digest, Arc::clone(&verified), now);
        Ok(verified)
    }

    /// Basic: the user name must be the client's own, or `tenant\client`.
    fn read_basic(&self, encoded: &[u8], now: Timestamp) -> Result<Identified<'_>, Unidentified> {
        let decoded = STANDARD.decode(encoded).map_err(|_| Unidentified::Bad)?;
        let decoded = Zeroizing::new(decoded);
        let colon = decoded.iter().position(|byte| *byte == b':');
        let (user, key) = decoded.split_at(colon.ok_or(Unidentified::Bad)?);
        let user = std::str::from_utf8(user).map_err(|_| Unidentified::Bad)?;
        let key = key.get(1..).unwrap_or_default();
        let mut identified = self.look_up(key, Way::Basic, now)?;
        let (tenant, name) = split_user(user);
        if name != identified.client().name.as_ref() {
            return Err(Unidentified::Bad);
        }
        identified.tenant = tenant.map(str::to_owned);
        Ok(identified)
    }
}
