//! Tokens from VSPC itself.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderValue;

use super::TokenIssuer;
use crate::secret::{Secret, SecretSource};
use crate::tenant::IdentityId;
use crate::upstream::{Console, ConsoleId};
use crate::vspc::exchange;
use crate::vspc::grant::{Access, Grant, IssueError, Issued, Outage, Subject};

/// Who the gateway is at a console.
#[derive(Clone, Debug)]
pub struct Login {
    /// `DOMAIN\user`.
    pub username: String,
    /// Where the password is. Read at each login, so that a new one takes effect.
    pub password: SecretSource,
}

/// A console and the gateway's account there.
#[derive(Debug)]
pub struct Account {
    /// The console.
    pub console: Arc<Console>,
    /// The account.
    pub login: Login,
    /// Sent as `X-Client-Version`.
    pub client_version: Option<HeaderValue>,
}

/// Asks consoles for tokens over HTTP.
#[derive(Debug)]
pub struct VspcIssuer(HashMap<ConsoleId, Account>);

impl VspcIssuer {
    /// An issuer for these consoles.
    pub fn new(accounts: HashMap<ConsoleId, Account>) -> Self {
        Self(accounts)
    }

    fn account(&self, console: &ConsoleId) -> Result<&Account, IssueError> {
        self.0
            .get(console)
            .ok_or(IssueError::Unavailable(Outage::Internal))
    }

    async fn exchange(&self, console: &ConsoleId, grant: Grant<'_>) -> Result<Issued, IssueError> {
        let account = self.account(console)?;
        exchange(&account.console, &grant, account.client_version.as_ref()).await
    }
}

#[async_trait]
impl TokenIssuer for VspcIssuer {
    async fn login(&self, identity: &IdentityId) -> Result<Issued, IssueError> {
        let console = identity.console();
        let login = &self.account(console)?.login;
        let password = login.password.read().map_err(|error| {
            tracing::error!(%console, %error, "the password of the gateway's account cannot be read");
            IssueError::Unavailable(Outage::Internal)
        })?;
        let (username, password) = (login.username.as_str(), &password);
        self.exchange(console, Grant::Password { username, password })
            .await
    }

    async fn refresh(
        &self,
        console: &ConsoleId,
        refresh: &Secret,
        access: Access,
    ) -> Result<Issued, IssueError> {
        self.exchange(console, Grant::Refresh { refresh, access })
            .await
    }

    async fn impersonate(
        &self,
        console: &ConsoleId,
        refresh: &Secret,
        target: Subject,
        access: Access,
    ) -> Result<Issued, IssueError> {
        self.exchange(
            console,
            Grant::Impersonate {
                refresh,
                target,
                access,
            },
        )
        .await
    }
}
