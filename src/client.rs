//! Who is calling: API keys, as a header of their own, as a bearer, or as a Basic password; and the
//! gateway's own tokens.

mod caller;
mod certificate;
mod claims;
mod keyring;
mod peer;
mod remembered;
#[cfg(test)]
mod tests;
mod tokens;

pub use caller::{Caller, Identified, TenantClaim, split_user};
pub use certificate::{Certificate, CertificateFault, SubjectName};
pub use claims::{Aim, Holder, LoginId, SessionKey};
pub use peer::Peer;
pub use tokens::{GatewayTokens, Lifetimes, Pair, Presented, TokenFault, TurnError};

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::secret::{KeyDigest, Secret};
use crate::upstream::ConsoleId;
use crate::vspc::grant::Subject;
use caller::{ClientToken, Proof, Verified, VerifiedHolder, agree};
use remembered::{DigestHasher, Remembered};

/// The header that carries an API key.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The fewest characters of a key; a shorter one is nobody's, whatever the configuration says.
pub const KEY_LENGTH: usize = 32;

/// A tool that may call the gateway.
#[derive(Debug)]
pub struct Client {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its place among the clients; policies are kept by it.
    pub index: usize,
    /// The tenants it may act for.
    pub tenants: Tenants,
    /// The users it may name itself, beyond the tenants' own.
    pub targets: Targets,
}

/// The tenants a client may act for.
#[derive(Debug)]
pub enum Tenants {
    /// Every tenant.
    All,
    /// The tenants of these names.
    Named(HashSet<Arc<str>>),
}

/// The users that a client may name itself.
#[derive(Debug, Default)]
pub enum Targets {
    /// Every user.
    All,
    /// These.
    Listed(HashSet<Subject>),
    /// Nobody: it acts as the tenant's own target.
    #[default]
    None,
}

impl Client {
    /// Whether the client may act for a tenant.
    pub fn may_act_for(&self, tenant: &str) -> bool {
        match &self.tenants {
            Tenants::All => true,
            Tenants::Named(names) => names.contains(tenant),
        }
    }

    /// Whether the client may name a user to act as.
    pub fn may_name(&self, target: Subject) -> bool {
        match &self.targets {
            Targets::All => true,
            Targets::Listed(listed) => listed.contains(&target),
            Targets::None => false,
        }
    }

    /// The client's tenant, when it has exactly one.
    pub fn only_tenant(&self) -> Option<&str> {
        match &self.tenants {
            Tenants::Named(names) if names.len() == 1 => names.iter().next().map(AsRef::as_ref),
            Tenants::All | Tenants::Named(_) => None,
        }
    }
}

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

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unidentified {
    /// A credential that no client has.
    #[error("the credential is not known here")]
    Bad,
    /// Two credentials that do not name the same client.
    #[error("the request carries credentials that do not name one client: send exactly one")]
    Conflicting,
    /// No credential at all.
    #[error("send the client's key in the X-Api-Key header (or as a bearer, or as Basic)")]
    Missing,
    /// A token of the gateway that is not good any more.
    #[error(transparent)]
    Token(TokenFault),
}

/// All clients by the digests of their keys.
#[derive(Debug, Default)]
pub struct Directory {
    keys: HashMap<KeyDigest, Known, BuildHasherDefault<DigestHasher>>,
    /// The ids of each client's keys: what a token names must still be there.
    names: HashMap<Arc<str>, (Arc<Client>, HashSet<String>)>,
    /// The console whose own users may log in through the gateway.
    passthrough: Option<ConsoleId>,
    tokens: Option<Arc<GatewayTokens>>,
    /// Tokens that were read.
    verified: Remembered,
    /// Tokens of the console that callers hold.
    exposed: Remembered,
}

#[derive(Debug)]
struct Known {
    client: Arc<Client>,
    /// As records name it, by the way it came: header, Basic, bearer.
    credentials: [Arc<str>; 3],
}

/// Two clients share one key.
#[derive(Debug, thiserror::Error)]
#[error("this key already belongs to client {0}")]
pub struct SharedKey(pub String);

impl Directory {
    /// Adds a key of a client.
    ///
    /// # Errors
    /// Refuses a key that is already there: it would not say who is calling.
    pub fn add(&mut self, digest: KeyDigest, client: &Arc<Client>) -> Result<(), SharedKey> {
        if let Some(known) = self.keys.get(&digest) {
            return Err(SharedKey(known.client.name.to_string()));
        }
        let credentials = ["api_key", "basic", "bearer"]
            .map(|way| Arc::from(format!("{way}:{}", digest.label())));
        let known = Known {
            client: Arc::clone(client),
            credentials,
        };
        self.keys.insert(digest, known);
        self.keys_of(client).insert(digest.id());
        Ok(())
    }

    /// The ids of a client's keys; from now on its name is known, whether it has keys or not.
    pub fn keys_of(&mut self, client: &Arc<Client>) -> &mut HashSet<String> {
        let named = self.names.entry(Arc::clone(&client.name));
        let (_, keys) = named.or_insert_with(|| (Arc::clone(client), HashSet::new()));
        keys
    }

    /// From now on knows callers by the gateway's own tokens too; `passthrough` is the console
    /// whose own users may log in.
    pub fn accept(&mut self, tokens: Arc<GatewayTokens>, passthrough: Option<ConsoleId>) {
        self.tokens = Some(tokens);
        self.passthrough = passthrough;
    }

    /// Finds out who is calling.
    ///
    /// A presented key is hashed and looked up by its digest, so that the time taken says nothing
    /// about how much of a key was right. A bearer that is no key is read as a token.
    ///
    /// # Errors
    /// Refuses missing and unknown credentials, and two that do not name the same client.
    pub fn identify(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        now: Timestamp,
    ) -> Result<Caller<'_>, Unidentified> {
        let mut found: Option<Caller<'_>> = None;
        let mut presented = 0_usize;
        for value in headers.get_all(API_KEY) {
            presented += 1;
            let identified = self.look_up(value.as_bytes(), Way::ApiKey);
            found = agree(found, identified.map(Caller::Client), presented)?;
        }
        let mut fault = Unidentified::Bad;
        let mut authorizations = 0_usize;
        for value in headers.get_all(AUTHORIZATION) {
            authorizations += 1;
            presented += 1;
            let read = self.read_authorization(value.as_bytes(), now);
            let identified = read.map_err(|why| fault = why).ok();
            found = agree(found, identified, presented)?;
        }
        match found {
            // Of two, one would be taken and the other not.
            Some(_) if authorizations > 1 => Err(Unidentified::Conflicting),
            Some(caller) => Ok(caller.on(peer)),
            None if presented == 0 => Err(Unidentified::Missing),
            None => Err(fault),
        }
    }

    /// The client of a key that came as the password of a log-in.
    pub fn of_key(&self, key: &[u8]) -> Option<(&Arc<Client>, KeyDigest)> {
        let digest = KeyDigest::of(key);
        let known = self.keys.get(&digest).filter(|_| key.len() >= KEY_LENGTH)?;
        Some((&known.client, digest))
    }

    /// The client of a name.
    pub fn named(&self, name: &str) -> Option<&Arc<Client>> {
        self.names.get(name).map(|(client, _)| client)
    }

    /// Whether what a token is bound to is still there: its client with that key, or its console.
    pub fn still_knows(&self, holder: &Holder) -> bool {
        match holder {
            Holder::Client { name, key, .. } => self
                .names
                .get(name.as_str())
                .is_some_and(|(_, keys)| keys.contains(key)),
            Holder::Login(session) => self.passthrough.as_ref() == Some(&session.console),
        }
    }

    /// Remembers a token of the console that a caller was given, so that it is known again.
    pub fn expose(
        &self,
        token: &Secret,
        session: &SessionKey,
        login: LoginId,
        expires: Timestamp,
        now: Timestamp,
    ) {
        let digest = KeyDigest::of(token.expose().as_bytes());
        let verified = Verified {
            expires,
            credential: Arc::from(format!("exposed:{}", digest.label())),
            login,
            access: session.access,
            holder: VerifiedHolder::Login(session.clone()),
        };
        self.exposed.insert(digest, Arc::new(verified), now);
    }

    fn look_up(&self, key: &[u8], way: Way) -> Option<Identified<'_>> {
        self.look_up_digest(&KeyDigest::of(key), key.len(), way)
    }

    fn look_up_digest(
        &self,
        digest: &KeyDigest,
        length: usize,
        way: Way,
    ) -> Option<Identified<'_>> {
        // Hashed whatever its length, so that the time says nothing.
        let known = self.keys.get(digest).filter(|_| length >= KEY_LENGTH)?;
        let [api_key, basic, bearer] = &known.credentials;
        let credential = match way {
            Way::ApiKey => api_key,
            Way::Basic => basic,
            Way::Bearer => bearer,
        };
        Some(Identified {
            proof: Proof::Key(&known.client, credential),
            tenant: None,
            certificate: None,
        })
    }

    fn read_authorization(&self, value: &[u8], now: Timestamp) -> Result<Caller<'_>, Unidentified> {
        let blank = value.iter().position(|byte| *byte == b' ');
        let (scheme, rest) = value.split_at(blank.ok_or(Unidentified::Bad)?);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return self.read_bearer(rest, now);
        }
        if scheme.eq_ignore_ascii_case(b"basic") {
            return self
                .read_basic(rest)
                .map(Caller::Client)
                .ok_or(Unidentified::Bad);
        }
        Err(Unidentified::Bad)
    }

    fn read_bearer(&self, bearer: &[u8], now: Timestamp) -> Result<Caller<'_>, Unidentified> {
        let digest = KeyDigest::of(bearer);
        if let Some(identified) = self.look_up_digest(&digest, bearer.len(), Way::Bearer) {
            return Ok(Caller::Client(identified));
        }
        let remembered = self.verified.get(&digest);
        let verified = match remembered.or_else(|| self.exposed.get(&digest)) {
            Some(verified) => verified,
            None => self.verify(bearer, digest, now)?,
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
                Caller::Client(Identified {
                    proof: Proof::Token(verified, token),
                    tenant: None,
                    certificate: None,
                })
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
            Holder::Login(session) => VerifiedHolder::Login(session),
        };
        let verified = Arc::new(Verified {
            expires: read.expires,
            credential: Arc::from(format!("token:{}", digest.label())),
            login: read.login,
            access: read.access,
            holder,
        });
        self.verified.insert(digest, Arc::clone(&verified), now);
        Ok(verified)
    }

    /// Basic: the user name must be the client's own, or `tenant\client`.
    fn read_basic(&self, encoded: &[u8]) -> Option<Identified<'_>> {
        let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let (user, key) = decoded.split_at(colon);
        let user = std::str::from_utf8(user).ok()?;
        let mut identified = self.look_up(key.get(1..)?, Way::Basic)?;
        let (tenant, name) = split_user(user);
        if name != identified.client().name.as_ref() {
            return None;
        }
        identified.tenant = tenant.map(str::to_owned);
        Some(identified)
    }
}
