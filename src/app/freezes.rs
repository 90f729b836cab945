//! What other processes have frozen, or somebody with an editor.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::audit::{Auditor, Code, Kind, Record};
use crate::freeze::{Hold, Scope, Seen};
use crate::gateway::Live;

/// Looks for it once a second, and tells of it in log and audit. Whoever was frozen by the name of a
/// company, before the directory was read, is frozen by its id as well from then on. Never ends.
pub(super) async fn watch(live: Arc<Live>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let gateway = live.now();
        let id_of = |name: &str| Some(gateway.tenants.get(name)?.id.to_string());
        gateway.freezer.learn_ids(id_of);
        let freezer = Arc::clone(&gateway.freezer);
        match tokio::task::spawn_blocking(move || freezer.look()).await {
            Ok(seen) => {
                for seen in seen {
                    tell(&gateway.auditor, seen).await;
                }
            }
            Err(error) => tracing::error!(%error, "what is frozen cannot be looked at"),
        }
    }
}

async fn tell(auditor: &Auditor, seen: Seen) {
    let (operation, hold) = match seen {
        Seen::Frozen(hold) => ("freeze.seen", hold),
        Seen::Thawed(hold) => ("thaw.seen", hold),
    };
    tracing::warn!(operation, %hold, "the file of what is frozen says so");
    let record = record(operation, hold);
    if let Err(error) = auditor.note(Kind::Admin, &record).await {
        auditor.report_unrecorded(Kind::Admin, &record, error);
    }
}

fn record(operation: &'static str, hold: Hold) -> Record {
    let detail = Some(Cow::Owned(hold.to_string()));
    let mut record = Record {
        operation: Some(Cow::Borrowed(operation)),
        code: Some(Code::Ok),
        detail,
        reason: hold.reason,
        ..Record::default()
    };
    match hold.scope {
        Scope::Everything => {}
        Scope::Client(name) => record.client = Some(Arc::from(name)),
        Scope::Tenant(name) => record.tenant = Some(Arc::from(name)),
    }
    record
}

const EVERY: Duration = Duration::from_secs(1);
