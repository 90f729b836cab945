//! Tokens from VSPC itself.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest;
use http::HeaderValue;

pub use crate::vspc::login::Login;

use super::TokenIssuer;
use crate::secret::Secret;
use crate::tenant::IdentityId;
use crate::upstream::{Console, ConsoleId};
use crate::vspc::exchange;
use crate::vspc::grant::{Access, Grant, IssueError, Issued, Outage, Subject};
use crate::vspc::login::{Codes, log_in};

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
pub struct VspcIssuer {
    accounts: HashMap<ConsoleId, Account>,
    tenants: HashMap<IdentityId, Login>,
    codes: Codes,
}

impl VspcIssuer {
    /// An issuer for these consoles, and for the tenants that log in by themselves. No code of a
    /// second factor is sent that `codes` knows of.
    pub fn new(
        accounts: HashMap<ConsoleId, Account>,
        tenants: HashMap<IdentityId, Login>,
        codes: Codes,
    ) -> Self {
        Self {
            accounts,
            tenants,
            codes,
        }
    }

    fn login_of(&self, identity: &IdentityId) -> Result<&Login, IssueError> {
        match identity.tenant() {
            None => Ok(&self.account(identity.console())?.login),
            Some(_) => {
                let login = self.tenants.get(identity);
                login.ok_or(IssueError::Unavailable(Outage::Internal))
            }
        }
    }

    fn account(&self, console: &ConsoleId) -> Result<&Account, IssueError> {
        self.accounts
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
        let account = self.account(identity.console())?;
        let login = self.login_of(identity)?;
        let version = account.client_version.as_ref();
        log_in(&account.console, login, version, &self.codes).await
    }

    fn place_print(&self, console: &ConsoleId) -> Option<u64> {
        let settings = self.account(console).ok()?.console.settings();
        let (scheme, authority) = (settings.scheme.as_str(), settings.authority.as_str());
        Some(print(&[scheme.as_bytes(), b"://", authority.as_bytes()]))
    }

    fn credential_print(&self, identity: &IdentityId) -> Option<u64> {
        let secret = self.login_of(identity).ok()?.secret_print()?;
        let place = self.place_print(identity.console())?;
        Some(print(&[&secret, &place.to_be_bytes()]))
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

/// A number that stands for some bytes.
fn print(parts: &[&[u8]]) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(part);
    }
    let hash = hash.finish();
    let first = hash.as_ref().first_chunk().copied();
    u64::from_be_bytes(first.unwrap_or_default())
}
