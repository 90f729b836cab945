//! How long tokens live, which another configuration may change.

use std::time::Duration;

use super::GatewayTokens;

/// How long tokens live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lifetimes {
    /// An access token.
    pub access: Duration,
    /// A refresh token.
    pub refresh: Duration,
    /// The key that signs both, until another is made; none is until an operator wants another.
    pub keys: Option<Duration>,
}

impl GatewayTokens {
    /// How long the tokens live that it issues.
    pub fn lifetimes(&self) -> Lifetimes {
        *self.lifetimes.read()
    }

    /// From now on tokens live as long as this. Those that there are end when they were to.
    pub fn let_live(&self, lifetimes: Lifetimes) {
        *self.lifetimes.write() = lifetimes;
    }
}
