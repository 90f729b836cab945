//! What goes on without a request. All of it follows the configuration: what is new begins, what is
//! gone ends, and what stays is not disturbed.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};

use crate::gateway::{Gateway, Live};
use crate::upstream::Console;

/// Logs in to the consoles, and renews tokens before anybody waits for them, until `stop` returns.
pub(super) async fn renewals(live: Arc<Live>, stop: impl Future<Output = ()>) {
    let mut changes = live.changes();
    take_up(&live.now()).await;
    let broker = live.now().broker.clone();
    let follow = async {
        while changes.changed().await.is_ok() {
            take_up(&live.now()).await;
        }
        pending().await
    };
    tokio::select! {
        () = broker.run_renewals(stop) => {}
        () = follow => {}
    }
}

/// Obtains the sessions of consoles, and takes up those of tenants' own accounts that were kept.
/// Whatever there is already is left alone.
async fn take_up(gateway: &Gateway) {
    for console in gateway.consoles.keys() {
        gateway.broker.warm(console);
    }
    let tenants = gateway.tenants.all();
    gateway.broker.expect_tenants(tenants.len());
    let accounts = tenants.iter().filter_map(|tenant| tenant.account());
    gateway.broker.resume_accounts(accounts.collect()).await;
}

/// Keeps the keys of issuers fresh, until `stop` returns. They follow the configuration by themselves.
pub(super) async fn keys(live: Arc<Live>, stop: impl Future<Output = ()>) {
    let issuers = Arc::clone(&live.now().issuers);
    drop(live);
    issuers.run(stop).await;
}

/// Keeps the roster of the present configuration true, until `stop` returns.
pub(super) async fn rosters(live: Arc<Live>, stop: impl Future<Output = ()>) {
    let mut changes = live.changes();
    let mut stop = pin!(stop);
    loop {
        let gateway = live.now();
        tokio::select! {
            () = gateway.roster.run(pending()) => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = &mut stop => return,
        }
    }
}

/// Checks the addresses of the consoles that the present configuration has. Never ends.
pub(super) async fn addresses(live: Arc<Live>) {
    let mut changes = live.changes();
    let mut checks = Checks::default();
    loop {
        checks.follow(&live.now());
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            Some(Err(error)) = checks.tasks.join_next() => if error.is_panic() {
                std::panic::resume_unwind(error.into_panic());
            },
        }
    }
}

/// The checks that are under way.
#[derive(Default)]
struct Checks {
    tasks: JoinSet<()>,
    /// By the place of the console in memory, which is kept: one that was changed has its name, and
    /// another place.
    begun: HashMap<usize, (Arc<Console>, AbortHandle)>,
}

impl Checks {
    fn follow(&mut self, gateway: &Gateway) {
        let place = |console: &Arc<Console>| Arc::as_ptr(console).addr();
        let consoles = gateway.consoles.values();
        let present: HashMap<usize, _> = consoles.map(|it| (place(it), it)).collect();
        for (_, (_, task)) in self
            .begun
            .extract_if(|place, _| !present.contains_key(place))
        {
            task.abort();
        }
        for (place, console) in present {
            self.begun.entry(place).or_insert_with(|| {
                let checked = Arc::clone(console);
                let task = async move { checked.watch_addresses().await };
                (Arc::clone(console), self.tasks.spawn(task))
            });
        }
    }
}
