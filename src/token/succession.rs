//! What becomes of tokens when the configuration is another one. Those of whoever stays are served
//! on; those of whoever is gone are given up, in memory and on the disk.

use std::collections::HashSet;
use std::sync::Arc;

use super::Broker;
use super::store::Doomed;
use crate::tenant::{AccountKey, IdentityId, TokenKey};
use crate::upstream::ConsoleId;

/// Who is in the configuration no more.
#[derive(Clone, Debug, Default)]
pub struct Leaving {
    /// Consoles, also those that are somewhere else from now on.
    pub consoles: HashSet<ConsoleId>,
    /// What tenants acted by.
    pub users: HashSet<TokenKey>,
    /// Tenants' own accounts.
    pub accounts: HashSet<Arc<AccountKey>>,
    /// Those whose very name is gone: nobody goes on by what is kept under it.
    pub names: HashSet<IdentityId>,
}

impl Broker {
    /// Gives up the tokens and sessions of those who leave: they are served no more when this
    /// returns, nobody renews them, and they are off the disk soon after.
    pub fn part_with(&self, leaving: &Leaving) {
        let shared = &self.0;
        let store = shared.store();
        let consoles = leaving.consoles.iter().cloned().map(Doomed::Console);
        let users = leaving.users.iter();
        let users = users.map(|key| Doomed::TargetAt(key.console.clone(), key.target));
        // First, so that nobody finds there what is dropped here.
        store.doom(consoles.chain(users));
        let is_gone = |console: &ConsoleId| leaving.consoles.contains(console);
        let cells =
            shared.impersonations_where(|key| is_gone(&key.console) || leaving.users.contains(key));
        for cell in cells {
            cell.discard(shared);
        }
        let mut accounts = Vec::new();
        shared.accounts.retain(|identity, cell| {
            let key = AccountKey {
                identity: identity.clone(),
                access: cell.kind.session.kind.access(),
            };
            let stays = !is_gone(identity.console()) && !leaving.accounts.contains(&key);
            if !stays {
                accounts.push(Arc::clone(cell));
            }
            stays
        });
        for account in accounts {
            account.kind.session.discard(shared);
            account.discard(shared);
        }
        for session in shared.sessions().leave(&leaving.consoles) {
            session.discard(shared);
        }
        for id in &leaving.consoles {
            if let Some((_, console)) = shared.consoles.remove(id) {
                console.session.discard(shared);
                console.desk.close();
            }
        }
        store.carry_out_soon();
    }

    /// Forgets on the disk what is kept under names that are gone.
    pub async fn forget_names(&self, leaving: &Leaving) {
        for identity in &leaving.names {
            self.0.store().forget(identity, None).await;
        }
    }

    /// Looks now whether the credentials are others than before: of all consoles, and of these
    /// accounts. New ones are used at once; what the old ones gave is served meanwhile.
    pub async fn look_at_credentials(&self, accounts: &HashSet<IdentityId>) {
        let consoles = self.0.consoles.iter().map(|it| Arc::clone(&it.session));
        let of_tenants = self.0.accounts.iter();
        let of_tenants = of_tenants
            .filter(|entry| accounts.contains(entry.key()))
            .map(|entry| Arc::clone(&entry.kind.session));
        let sessions: Vec<_> = consoles.chain(of_tenants).collect();
        for session in sessions {
            self.renew_if_changed(&session).await;
        }
    }
}

impl Leaving {
    /// Whether nobody leaves.
    pub fn is_empty(&self) -> bool {
        let Self {
            consoles,
            users,
            accounts,
            names,
        } = self;
        consoles.is_empty() && users.is_empty() && accounts.is_empty() && names.is_empty()
    }
}
