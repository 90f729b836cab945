//! Why a caller is not known.

use std::time::Duration;

use super::TokenFault;
use super::jwt::JwtFault;

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unidentified {
    /// A credential that no client has.
    #[error("the credential is not known here")]
    Bad,
    /// A token of an identity provider that is not good.
    #[error("{}", .0.told())]
    Jwt(JwtFault),
    /// The keys of a token's issuer are not there.
    #[error("the keys of the token's issuer cannot be had just now")]
    NoKeys {
        /// When it makes sense to ask again.
        retry_after: Duration,
    },
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
