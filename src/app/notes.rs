//! Records of what the process itself does.

use std::borrow::Cow;

use futures_util::FutureExt as _;

use super::Start;
use crate::audit::{Auditor, Code, Kind, Record, Unavailable};

/// Records that the process begins or ends. There is a place: nothing else is under way.
pub(super) fn note_lifecycle(auditor: &Auditor, operation: &'static str, start: Start) {
    let version = concat!("vspc-gateway ", env!("CARGO_PKG_VERSION"));
    let pid = std::process::id();
    let upgrade = match start {
        Start::Fresh => "",
        Start::Upgrade => ", started to take over",
    };
    let detail = format!("{version}, pid {pid}{upgrade}");
    note(auditor, Kind::Admin, operation, Cow::Owned(detail));
}

/// Records an event that is no request.
pub(super) fn note(
    auditor: &Auditor,
    kind: Kind,
    operation: &'static str,
    detail: Cow<'static, str>,
) {
    let record = Record {
        operation: Some(Cow::Borrowed(operation)),
        code: Some(Code::Ok),
        detail: Some(detail),
        ..Record::default()
    };
    match auditor.note(kind, &record).now_or_never() {
        Some(Ok(())) => {}
        Some(Err(error)) => auditor.report_unrecorded(kind, &record, error),
        None => auditor.report_unrecorded(kind, &record, Unavailable::QueueFull),
    }
}
