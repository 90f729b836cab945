//! Tokens from VSPC itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use aws_lc_rs::digest;
use http::HeaderValue;

pub use crate::vspc::login::Login;

use super::TokenIssuer;
use crate::secret::Secret;
use crate::tenant::IdentityId;
use crate::upstream::{Console, ConsoleId};
use crate::vspc::grant::{Access, Grant, IssueError, Issued, Outage, Subject};
use crate::vspc::login::{Codes, log_in};
use crate::vspc::{Expected, Manner, exchange};

/// A console and the gateway's account there.
#[derive(Debug)]
pub struct Account {
    /// The console.
    pub console: Arc<Console>,
    /// The account.
    pub login: Arc<Login>,
    /// Sent as `X-Client-Version`.
    pub client_version: Option<HeaderValue>,
}

/// Who the gateway is at the consoles, and the tenants that log in by themselves.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// By console.
    pub consoles: HashMap<ConsoleId, Arc<Account>>,
    /// Of tenants.
    pub tenants: HashMap<IdentityId, Arc<Login>>,
}

impl Accounts {
    /// Whose accounts at a console have a permanent key, with which nobody logs in: tenants', and
    /// `None` for the gateway's own.
    pub fn keyed(&self, console: &ConsoleId) -> HashSet<Option<Arc<str>>> {
        let own = self.consoles.get(console);
        let own = own
            .filter(|account| !account.login.can_impersonate())
            .map(|_| None);
        let tenants = self.tenants.iter();
        let tenants =
            tenants.filter(|(of, login)| of.console() == console && !login.can_impersonate());
        own.into_iter()
            .chain(tenants.map(|(of, _)| of.tenant().cloned()))
            .collect()
    }
}

/// Asks consoles for tokens over HTTP.
#[derive(Debug)]
pub struct VspcIssuer {
    accounts: ArcSwap<Accounts>,
    codes: Codes,
    expected: Expected,
}

impl VspcIssuer {
    /// An issuer for these consoles, and for the tenants that log in by themselves. No code of a
    /// second factor is sent that `codes` knows of.
    pub fn new(accounts: Accounts, codes: Codes, expected: Expected) -> Self {
        Self {
            accounts: ArcSwap::from_pointee(accounts),
            codes,
            expected,
        }
    }

    /// From now on goes by other accounts. Calls that are under way end with those they have.
    pub fn replace(&self, accounts: Accounts) {
        self.accounts.store(Arc::new(accounts));
    }

    /// The accounts that it goes by.
    pub fn accounts(&self) -> Arc<Accounts> {
        self.accounts.load_full()
    }

    fn account(&self, console: &ConsoleId) -> Result<Arc<Account>, IssueError> {
        let accounts = self.accounts.load();
        let account = accounts.consoles.get(console).map(Arc::clone);
        account.ok_or(IssueError::Unavailable(Outage::Internal))
    }

    /// The login of a tenant; the account at the console has the gateway's own.
    fn tenants_login(&self, identity: &IdentityId) -> Result<Arc<Login>, IssueError> {
        let login = self.accounts.load().tenants.get(identity).map(Arc::clone);
        login.ok_or(IssueError::Unavailable(Outage::Internal))
    }

    async fn exchange(&self, console: &ConsoleId, grant: Grant<'_>) -> Result<Issued, IssueError> {
        let account = self.account(console)?;
        exchange(&account.console, &grant, self.manner(&account)).await
    }

    fn manner<'a>(&self, account: &'a Account) -> Manner<'a> {
        Manner {
            client_version: account.client_version.as_ref(),
            expected: self.expected,
        }
    }
}

#[async_trait]
impl TokenIssuer for VspcIssuer {
    async fn login(&self, identity: &IdentityId) -> Result<Issued, IssueError> {
        let account = self.account(identity.console())?;
        let manner = self.manner(&account);
        let log_in = async |login| log_in(&account.console, login, manner, &self.codes).await;
        match identity.tenant() {
            None => log_in(&account.login).await,
            Some(_) => log_in(&*self.tenants_login(identity)?).await,
        }
    }

    fn place_print(&self, console: &ConsoleId) -> Option<u64> {
        let account = self.account(console).ok()?;
        let settings = account.console.settings();
        let (scheme, authority) = (settings.scheme.as_str(), settings.authority.as_str());
        Some(print(&[scheme.as_bytes(), b"://", authority.as_bytes()]))
    }

    fn credential_print(&self, identity: &IdentityId) -> Option<u64> {
        let secret = match identity.tenant() {
            None => self
                .account(identity.console())
                .ok()?
                .login
                .secret_print()?,
            Some(_) => self.tenants_login(identity).ok()?.secret_print()?,
        };
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
