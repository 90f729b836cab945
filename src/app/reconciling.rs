//! Comparing the audit log with the consoles' own, again and again.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::audit::{self, Record};
use crate::clock::Clock;
use crate::gateway::Live;
use crate::reconcile::{Last, Reached, Reconciler};
use crate::roster::Source;
use crate::token::{Accounts, Broker};
use crate::upstream::ConsoleId;

/// The consoles that the audit log is compared with.
pub(super) fn reached(sources: &[Source], accounts: &Accounts) -> BTreeMap<ConsoleId, Reached> {
    let reached = sources.iter().map(|source| {
        let reached = Reached {
            console: Arc::clone(&source.console),
            client_version: source.client_version.clone(),
            keyed: accounts.keyed(source.console.id()),
        };
        (source.console.id().clone(), reached)
    });
    reached.collect()
}

/// Prepares comparisons.
pub(super) fn reconciler(
    log: audit::Settings,
    consoles: BTreeMap<ConsoleId, Reached>,
    broker: &Broker,
    clock: &Clock,
    last: Arc<Last>,
) -> Reconciler {
    let log = (log.directory, log.reconcile);
    Reconciler::new(log, consoles, broker.clone(), clock.clone(), last)
}

/// Compares as often as the settings say, until `stop` returns; by hand only where they do not say.
pub(super) async fn reconcile(live: Arc<Live>, stop: impl Future<Output = ()>) {
    tokio::select! {
        () = again_and_again(&live) => {}
        () = stop => {}
    }
}

async fn again_and_again(live: &Live) {
    // The settings are those of the start: a change needs a restart.
    let Some(every) = live.now().reconciler.settings().every else {
        return pending().await;
    };
    // Not all at once with what else a start asks of a console.
    sleep(every.min(FIRST)).await;
    loop {
        let gateway = live.now();
        let reconciler = &gateway.reconciler;
        let reports = reconciler.run(None, None).await;
        let reports = reports.unwrap_or_else(|error| reconciler.failed(&error));
        for report in &reports {
            let last = reconciler.last();
            last.tell(report, Record::default(), &gateway.auditor).await;
        }
        drop(gateway);
        sleep(every).await;
    }
}

/// When the first comparison is made.
const FIRST: Duration = Duration::from_secs(60);
