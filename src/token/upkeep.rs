//! What goes on without a request: renewals, the store, and a look at the credentials.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{MissedTickBehavior, interval};

use super::Broker;
use super::cell::Cell;
use super::session::SessionKind;
use crate::tenant::AccountKey;

impl Broker {
    /// Renews sessions, and the tokens that are in use, before they end, and uses new credentials as
    /// soon as there are some. Returns once `stop` does.
    pub async fn run_renewals(&self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut looking = pin!(self.watch_credentials());
        let mut sweeping = pin!(self.keep_sweeping());
        let mut known = HashSet::new();
        let mut queues = FuturesUnordered::new();
        loop {
            for entry in &self.0.consoles {
                if known.insert(entry.key().clone()) {
                    let console = Arc::clone(entry.value());
                    queues.push(async move {
                        console.desk.renew(&self.0).await;
                        console.desk.id.clone()
                    });
                }
            }
            tokio::select! {
                () = &mut stop => return,
                () = self.0.new_console.notified() => {}
                // It may be back already, or come back.
                Some(closed) = queues.next() => drop(known.remove(&closed)),
                () = &mut looking => {}
                () = &mut sweeping => {}
            }
        }
    }

    /// Takes up the sessions of tenants' own accounts that were kept, so that they are kept alive
    /// though nobody asks for them. Calls no console for that.
    pub async fn resume_accounts(&self, accounts: Vec<Arc<AccountKey>>) {
        for account in accounts {
            let cell = self.0.account(&account);
            let session = &cell.kind.session;
            if session.kind.is_kept(&self.0).await {
                session.wake(&self.0);
            }
        }
    }

    /// Puts on the disk what waits to be written. Blocks.
    pub fn save(&self) {
        self.0.store().write_now();
    }

    async fn keep_sweeping(&self) {
        let mut ticks = interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            let store = self.0.store().clone();
            drop(tokio::task::spawn_blocking(move || store.sweep()).await);
        }
    }

    /// A secret that was changed is used at once: where the last log-in was refused nobody waits
    /// for the end of a cooldown, and where there is a session it is replaced by one of the new
    /// credentials, being served until then.
    async fn watch_credentials(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0_usize.. {
            ticks.tick().await;
            let consoles = self.0.consoles.iter().map(|it| Arc::clone(&it.session));
            // Of thousands of tenants' accounts some at a time, each once a minute.
            let accounts = self.0.accounts.iter().enumerate();
            let accounts = accounts
                .filter(|(place, _)| place % ACCOUNT_TURNS == turn % ACCOUNT_TURNS)
                .map(|(_, account)| Arc::clone(&account.kind.session));
            let sessions: Vec<_> = consoles.chain(accounts).collect();
            for session in sessions {
                self.renew_if_changed(&session).await;
            }
        }
    }

    /// Replaces a session whose credentials are others than before.
    pub(super) async fn renew_if_changed(&self, session: &Arc<Cell<SessionKind>>) {
        if session.kind.has_new_credentials(&self.0).await {
            let identity = session.kind.identity();
            tracing::info!(%identity, "the credentials were changed");
            session.pardon(&self.0);
            session.force(&self.0);
        }
    }
}

/// Looks in which each account of a tenant is looked at once.
const ACCOUNT_TURNS: usize = 12;
const LOOK_EVERY: Duration = Duration::from_secs(5);
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);
