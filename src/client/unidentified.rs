//! Why a caller is not known.

use std::sync::Arc;
use std::time::Duration;

use super::jwt::JwtFault;
use super::{TokenFault, Unfit, unfit};

/// Why a caller is not known.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unidentified {
    /// A credential that no client has.
    #[error("{}", unfit::BAD)]
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
    #[error("{}", unfit::MISSING)]
    Missing,
    /// A token of the gateway that is not good any more.
    #[error(transparent)]
    Token(TokenFault),
    /// A credential that is known, and does not suffice.
    #[error("{}", .0.told())]
    Unfit(Arc<Unfit>),
}
