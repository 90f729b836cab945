//! Comparing the audit log with the consoles' own, again and again.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::audit::Record;
use crate::gateway::Live;

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
