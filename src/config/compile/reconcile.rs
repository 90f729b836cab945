//! `[audit] reconcile`.

use std::time::Duration;

use crate::audit::{Named, ReconcileSettings, Refreshes};
use crate::config::reader::Section;
use crate::config::value::Time;

/// Reads how the audit log is compared with the consoles' own.
pub(super) fn read(audit: &mut Section<'_>) -> Option<ReconcileSettings> {
    let default = ReconcileSettings::default();
    let Some(item) = audit.optional("reconcile") else {
        return Some(default);
    };
    let mut section = item.section()?;
    let every = section
        .optional("every")
        .map(|item| item.read::<Duration>());
    let window = section.or("window", Time(default.window));
    let skew = section.or("skew", default.skew);
    let settle = section.or("settle", default.settle);
    let impersonation_by =
        section
            .optional("impersonation_by")
            .map_or(Some(default.impersonation_by), |item| {
                item.read_with(|text: String| match text.as_str() {
                    "impersonator" => Ok(Named::Impersonator),
                    "target" => Ok(Named::Target),
                    _ => Err(r#"must be "impersonator" or "target""#),
                })
            });
    let refreshes = section
        .optional("refreshes")
        .map_or(Some(default.refreshes), |item| {
            item.read_with(|text: String| match text.as_str() {
                "logged" => Ok(Refreshes::Logged),
                "perhaps" => Ok(Refreshes::Perhaps),
                "unlogged" => Ok(Refreshes::Unlogged),
                _ => Err(r#"must be "logged", "perhaps" or "unlogged""#),
            })
        });
    let every = match every {
        Some(every) => Some(every?),
        None => None,
    };
    let times = [every, window.map(|window| window.0), skew, settle];
    refuse_nonsense(&section, times);
    section.finish();
    Some(ReconcileSettings {
        every,
        window: window?.0,
        skew: skew?,
        settle: settle?,
        impersonation_by: impersonation_by?,
        refreshes: refreshes?,
    })
}

/// Refuses times that do not fit together: those of `every`, `window`, `skew` and `settle`.
fn refuse_nonsense(section: &Section<'_>, times: [Option<Duration>; 4]) {
    let [every, window, skew, settle] = times;
    if every.is_some_and(|every| every < SHORTEST) {
        section.fault(
            "every",
            "must be at least 1m: each time the console is asked for much",
        );
    }
    if settle.zip(skew).is_some_and(|(settle, skew)| settle < skew) {
        section.fault("settle", "must not be shorter than skew");
    }
    if window
        .zip(settle)
        .is_some_and(|(window, settle)| window <= settle)
    {
        section.fault(
            "window",
            "must be longer than settle: what is younger than that is not compared",
        );
    }
    if let (Some(every), Some(window)) = (every, window)
        && every > window
    {
        section.fault(
            "window",
            "must not be shorter than every, or what is between is never compared",
        );
    }
}

/// More often than that nobody may compare.
const SHORTEST: Duration = Duration::from_secs(60);
