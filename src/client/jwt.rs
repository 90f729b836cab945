//! Tokens of identity providers: read strictly, verified with the keys that the issuer publishes,
//! and matched to the one client whose conditions they fit.

mod claims;
mod fetch;
mod fit;
mod issuer;
mod issuers;
mod json;
mod keys;
mod read;
#[cfg(test)]
mod tests;

pub use claims::Claims;
pub use fetch::{FetchFault, place};
pub use fit::{Conditions, overlaps};
pub use issuer::{Issuer, IssuerSettings, KeySource};
pub use issuers::{Issuers, KeyEvent, KeyWatch};
pub use keys::{KeySet, KeySetFault};
pub use read::{Rules, Unverified, Verified};

pub(super) use fit::Fits;

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::Client;
use super::remembered::Ends;
use crate::clock::Timestamp;
use json::NotJson;
use keys::KeyMark;

/// Why a token of an issuer is not good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwtFault {
    /// It is signed by an algorithm that the issuer's tokens must not have.
    #[error("the token's algorithm is not one of the issuer's")]
    Algorithm,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It is good only together with a key, which cannot be checked here.
    #[error("the token is bound to a key (cnf), which the gateway does not check")]
    Bound,
    /// A claim is not as it must be.
    #[error("the token's {0} is not as it must be")]
    Claim(&'static str),
    /// It is too old.
    #[error("the token has expired")]
    Expired,
    /// It is not three parts of Base64url, the first two of which are JSON objects that have one
    /// reading.
    #[error("the token is no JWT, or one with two readings")]
    Form,
    /// It says that it was issued later than now.
    #[error("the token was issued in the future")]
    Future,
    /// Its key is for another algorithm, or for something else.
    #[error("the token's key is not for its algorithm")]
    KeyUse,
    /// It is of another `typ`.
    #[error("the token is of another kind (typ)")]
    Kind,
    /// It lives longer than the issuer's tokens may.
    #[error("the token lives longer than max_lifetime")]
    Lifetime,
    /// Its header has a member that it must not have, or one that is not as it must be.
    #[error("the token's header has a {0} that is not accepted")]
    Member(&'static str),
    /// A claim is not there.
    #[error("the token has no {0}")]
    Missing(&'static str),
    /// It fits no client.
    #[error("the token is good, but fits the conditions of no client")]
    NoClient,
    /// It lacks the claim that its client's tenant is taken from.
    #[error("the token does not name its tenant, as tenant_claim wants it")]
    NoTenant,
    /// It is not good yet.
    #[error("the token is not good yet (nbf)")]
    NotYet,
    /// It fits several clients.
    #[error("the token fits the conditions of more than one client")]
    SeveralClients,
    /// It does not say which of several keys it is signed with.
    #[error("the token could be signed with more than one key of the issuer")]
    SeveralKeys,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// It is longer than any honest one.
    #[error("the token is too long")]
    TooLarge,
    /// Its issuer is none of the configured ones.
    #[error("the token's issuer is not configured")]
    UnknownIssuer,
    /// It is signed with a key that the issuer does not have.
    #[error("the token's key is not one of the issuer's")]
    UnknownKey,
    /// It is not signed.
    #[error("the token is not signed")]
    Unsigned,
}

impl JwtFault {
    /// What the caller is told: no more than an issuer's own caller may know.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not good yet",
            Self::SeveralClients => "the token fits more than one client",
            _ => "the credential is not known here",
        }
    }
}

impl From<NotJson> for JwtFault {
    fn from(_: NotJson) -> Self {
        Self::Form
    }
}

/// Why a token is not taken now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Untaken {
    /// It is not good.
    Fault(JwtFault),
    /// The issuer's keys are not there; it makes sense to ask again after this time.
    NoKeys(Duration),
}

impl From<JwtFault> for Untaken {
    fn from(fault: JwtFault) -> Self {
        Self::Fault(fault)
    }
}

/// A client that is known by a token of an issuer.
#[derive(Debug)]
pub struct Issued {
    pub(super) client: Arc<Client>,
    /// How records name the token: `jwt:` and the first digits of its digest.
    pub(super) credential: Arc<str>,
    /// Issuer and subject, as records name them.
    pub(super) principal: Arc<str>,
    pub(super) tenant: Option<String>,
    pub(super) claims: Claims,
    expires: Timestamp,
    issuer: Arc<Issuer>,
    key: KeyMark,
}

impl Issued {
    /// Whether a token that was verified before is still good: it has not ended, and neither has
    /// the key that it was verified with.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), Untaken> {
        if self.expires <= now {
            return Err(JwtFault::Expired.into());
        }
        match self.issuer.keys() {
            Ok(keys) if keys.has(self.key) => Ok(()),
            Ok(_) => Err(JwtFault::UnknownKey.into()),
            Err(retry_after) => Err(Untaken::NoKeys(retry_after)),
        }
    }
}

impl Ends for Issued {
    /// They are larger than the gateway's own.
    const LIMIT: usize = 16_384;

    fn ends(&self) -> Timestamp {
        self.expires
    }
}

/// An algorithm that tokens may be signed with, by its one spelling.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}
