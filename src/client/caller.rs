//! A caller that proved who it is.

use std::sync::Arc;

use super::certificates::Shown;
use super::jwt::Issued;
use super::remembered::Ends;
use super::unfit::{Lack, Unfit};
use super::{Aim, Certificate, Client, LoginId, Peer, Require, SessionKey, Unidentified};
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
    Certificate(Arc<Client>, Arc<str>),
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

impl<'a> Identified<'a> {
    pub(super) fn new(proof: Proof<'a>) -> Self {
        Self {
            proof,
            tenant: None,
            certificate: None,
        }
    }

    /// A caller that sent nothing but perhaps showed a certificate.
    pub(super) fn by_certificate(
        client: Option<&Arc<Client>>,
        shown: Option<&Shown>,
        peer: &Peer,
    ) -> Result<Caller<'a>, Unidentified> {
        let (Some(shown), Some(certificate)) = (shown, &peer.certificate) else {
            return Err(Unidentified::Missing);
        };
        let credential = Arc::clone(&shown.credential);
        let Some(client) = client else {
            // Whoever has one signed may have put a book into it.
            let lack = Lack::Owner(certificate.subject.chars().take(SUBJECT).collect());
            return Err(Unidentified::Unfit(Arc::new(Unfit {
                client: None,
                credential,
                lack,
            })));
        };
        if client.terms.require == Require::All {
            return Err(Unfit::of(client, credential, Lack::Key));
        }
        let mut identified = Self::new(Proof::Certificate(Arc::clone(client), credential));
        identified.certificate = Some(Arc::clone(certificate));
        Ok(Caller::Client(identified))
    }
}

impl Identified<'_> {
    /// The client.
    pub fn client(&self) -> &Arc<Client> {
        match &self.proof {
            Proof::Certificate(client, _) => client,
            Proof::Issued(token) => &token.client,
            Proof::Key(client, _) => client,
            Proof::Token(_, token) => &token.client,
        }
    }

    /// How it proved it, as records name it: `api_key:`, `basic:`, `bearer:`, `token:` or
    /// `certificate:` or `jwt:` and the first digits of the digest, which tell the keys of one client apart,
    /// and behind them the label of the key, where it has one: `api_key:7cc4a7ac(2026-Q4)`.
    pub fn credential(&self) -> &Arc<str> {
        match &self.proof {
            Proof::Certificate(_, credential) => credential,
            Proof::Issued(token) => &token.credential,
            Proof::Key(_, credential) => credential,
            Proof::Token(verified, _) => &verified.credential,
        }
    }

    /// The tenant that the credential names, if it names one.
    pub fn tenant(&self) -> Option<TenantClaim<'_>> {
        match &self.proof {
            Proof::Issued(token) => token.tenant.as_deref().map(TenantClaim::NameOrAlias),
            Proof::Certificate(..) | Proof::Key(..) => {
                self.tenant.as_deref().map(TenantClaim::NameOrAlias)
            }
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
            Proof::Certificate(..) | Proof::Key(..) | Proof::Token(..) => None,
        }
    }

    #[cfg(test)]
    pub(super) fn issued(&self) -> Option<&Arc<Issued>> {
        match &self.proof {
            Proof::Issued(token) => Some(token),
            Proof::Certificate(..) | Proof::Key(..) | Proof::Token(..) => None,
        }
    }

    /// A claim of the issuer's token that is a text.
    pub fn claim(&self, name: &str) -> Option<&str> {
        match &self.proof {
            Proof::Issued(token) => token.claims.text(name),
            Proof::Certificate(..) | Proof::Key(..) | Proof::Token(..) => None,
        }
    }

    /// As which user of the tenant the credential acts.
    pub fn aim(&self) -> Aim {
        match &self.proof {
            Proof::Certificate(..) | Proof::Issued(_) | Proof::Key(..) => Aim::Own,
            Proof::Token(_, token) => token.aim,
        }
    }

    /// What the credential may do at most.
    pub fn access(&self) -> Access {
        match &self.proof {
            Proof::Certificate(..) | Proof::Issued(_) | Proof::Key(..) => Access::Full,
            Proof::Token(verified, _) => verified.access,
        }
    }
}

impl Caller<'_> {
    /// The caller, on a connection whose certificate names a client, or nobody. `has_key` says whether
    /// it sent a key in a header of its own.
    pub(super) fn beside(
        mut self,
        of_certificate: Option<&Arc<Client>>,
        peer: &Peer,
        has_key: bool,
    ) -> Result<Self, Unidentified> {
        match &mut self {
            Self::Client(who) => {
                let credential = || Arc::clone(who.credential());
                suffices(who.client(), of_certificate, credential)?;
                // An issuer's token is no key, and was got for none.
                if who.client().terms.require == Require::All
                    && matches!(who.proof, Proof::Issued(_))
                    && !has_key
                {
                    return Err(Unfit::of(who.client(), credential(), Lack::Key));
                }
                who.certificate = peer.certificate.clone();
                Ok(self)
            }
            // Who acts as itself is no client.
            Self::Login(..) if of_certificate.is_some() => Err(Unidentified::Conflicting),
            Self::Login(..) => Ok(self),
        }
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

/// Whether a key or token of a client is enough, beside what the certificate of the connection says.
pub(super) fn suffices(
    client: &Arc<Client>,
    of_certificate: Option<&Arc<Client>>,
    credential: impl FnOnce() -> Arc<str>,
) -> Result<(), Unidentified> {
    match of_certificate {
        Some(other) if !Arc::ptr_eq(other, client) => Err(Unidentified::Conflicting),
        None if client.terms.require == Require::All => {
            Err(Unfit::of(client, credential(), Lack::Certificate))
        }
        _ => Ok(()),
    }
}

/// Takes a user name apart that is `client` or `tenant\client`.
pub fn split_user(user: &str) -> (Option<&str>, &str) {
    match user.split_once('\\') {
        Some((tenant, client)) => (Some(tenant), client),
        None => (None, user),
    }
}

/// The most characters of a certificate's subject in a record.
const SUBJECT: usize = 200;
