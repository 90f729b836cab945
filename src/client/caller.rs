//! A caller that proved who it is.

use std::sync::Arc;

use super::jwt::Issued;
use super::remembered::Ends;
use super::{Aim, Certificate, Client, LoginId, Peer, SessionKey, Unidentified};
use crate::clock::Timestamp;
use crate::vspc::grant::Access;

/// A caller that proved who it is.
#[derive(Debug)]
pub enum Caller<'a> {
    /// A tool of the configuration.
    Client(Identified<'a>),
    /// Somebody who logged in at a console through the gateway, and acts as itself.
    Login(Arc<Verified>, SessionKey),
}

/// A client that proved who it is.
#[derive(Debug)]
pub struct Identified<'a> {
    pub(super) proof: Proof<'a>,
    /// The tenant in the user name of Basic (`tenant\client`), if there was one.
    pub(super) tenant: Option<String>,
    /// The certificate of its connection, if it showed one.
    pub(super) certificate: Option<Arc<Certificate>>,
}

#[derive(Debug)]
pub(super) enum Proof<'a> {
    Issued(Arc<Issued>),
    Key(&'a Arc<Client>, &'a Arc<str>),
    Token(Arc<Verified>, ClientToken),
}

/// A token that was read, remembered until it ends.
#[derive(Debug)]
pub struct Verified {
    pub(super) expires: Timestamp,
    /// How records name it: `token:` and the first digits of its digest.
    pub credential: Arc<str>,
    /// The log-in that it came from.
    pub login: LoginId,
    /// What it may do.
    pub access: Access,
    pub(super) holder: VerifiedHolder,
}

impl Ends for Verified {
    const LIMIT: usize = 65_536;

    fn ends(&self) -> Timestamp {
        self.expires
    }
}

#[derive(Debug)]
pub(super) enum VerifiedHolder {
    Client(ClientToken),
    Login(SessionKey),
}

/// What a client's token is bound to.
#[derive(Clone, Debug)]
pub(super) struct ClientToken {
    pub(super) client: Arc<Client>,
    pub(super) tenant: Arc<str>,
    pub(super) aim: Aim,
}

impl Identified<'_> {
    /// The client.
    pub fn client(&self) -> &Arc<Client> {
        match &self.proof {
            Proof::Issued(token) => &token.client,
            Proof::Key(client, _) => client,
            Proof::Token(_, token) => &token.client,
        }
    }

    /// How it proved it, as records name it: `api_key:`, `basic:`, `bearer:`, `token:` or
    /// `jwt:` and the first digits of the digest, which tell the keys of one client apart.
    pub fn credential(&self) -> &Arc<str> {
        match &self.proof {
            Proof::Issued(token) => &token.credential,
            Proof::Key(_, credential) => credential,
            Proof::Token(verified, _) => &verified.credential,
        }
    }

    /// The tenant that the credential names, if it names one.
    pub fn tenant(&self) -> Option<TenantClaim<'_>> {
        match &self.proof {
            Proof::Issued(token) => token.tenant.as_deref().map(TenantClaim::NameOrAlias),
            Proof::Key(..) => self.tenant.as_deref().map(TenantClaim::NameOrAlias),
            Proof::Token(_, token) => Some(TenantClaim::Name(&token.tenant)),
        }
    }

    /// The certificate of the connection, if the client showed one.
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.certificate.as_ref()
    }

    /// Whom the issuer's token is of: the issuer's name, a bar, and the token's subject.
    pub fn principal(&self) -> Option<&Arc<str>> {
        match &self.proof {
            Proof::Issued(token) => Some(&token.principal),
            Proof::Key(..) | Proof::Token(..) => None,
        }
    }

    #[cfg(test)]
    pub(super) fn issued(&self) -> Option<&Arc<Issued>> {
        match &self.proof {
            Proof::Issued(token) => Some(token),
            Proof::Key(..) | Proof::Token(..) => None,
        }
    }

    /// A claim of the issuer's token that is a text.
    pub fn claim(&self, name: &str) -> Option<&str> {
        match &self.proof {
            Proof::Issued(token) => token.claims.text(name),
            Proof::Key(..) | Proof::Token(..) => None,
        }
    }

    /// As which user of the tenant the credential acts.
    pub fn aim(&self) -> Aim {
        match &self.proof {
            Proof::Issued(_) | Proof::Key(..) => Aim::Own,
            Proof::Token(_, token) => token.aim,
        }
    }

    /// What the credential may do at most.
    pub fn access(&self) -> Access {
        match &self.proof {
            Proof::Issued(_) | Proof::Key(..) => Access::Full,
            Proof::Token(verified, _) => verified.access,
        }
    }
}

impl Caller<'_> {
    /// The caller, with what its connection says of it.
    pub(super) fn on(mut self, peer: &Peer) -> Self {
        if let Self::Client(who) = &mut self {
            who.certificate = peer.certificate.clone();
        }
        self
    }

    /// How it proved who it is, as records name it.
    pub fn credential(&self) -> &Arc<str> {
        match self {
            Self::Client(who) => who.credential(),
            Self::Login(verified, _) => &verified.credential,
        }
    }

    /// The log-in at the gateway that the credential came from.
    pub fn login(&self) -> Option<LoginId> {
        match self {
            Self::Client(Identified {
                proof: Proof::Token(verified, _),
                ..
            })
            | Self::Login(verified, _) => Some(verified.login),
            Self::Client(_) => None,
        }
    }
}

/// The tenant that a credential names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TenantClaim<'a> {
    /// By its own name: what a token is bound to does not move with an alias.
    Name(&'a str),
    /// As somebody typed it.
    NameOrAlias(&'a str),
}

/// Puts a further credential beside those before it: all must name the same client.
pub(super) fn agree<'a>(
    found: Option<Caller<'a>>,
    next: Option<Caller<'a>>,
    presented: usize,
) -> Result<Option<Caller<'a>>, Unidentified> {
    match (found, next) {
        (None, next) if presented == 1 => Ok(next),
        // The second is of the one `Authorization`, which alone can say more.
        (Some(Caller::Client(one)), Some(Caller::Client(other)))
            if Arc::ptr_eq(one.client(), other.client()) =>
        {
            Ok(Some(Caller::Client(other)))
        }
        // Two unknown ones are just unknown.
        (None, None) => Ok(None),
        _ => Err(Unidentified::Conflicting),
    }
}

/// Takes a user name apart that is `client` or `tenant\client`.
pub fn split_user(user: &str) -> (Option<&str>, &str) {
    match user.split_once('\\') {
        Some((tenant, client)) => (Some(tenant), client),
        None => (None, user),
    }
}
