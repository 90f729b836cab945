//! How the audit log is cut into files, and how long they are kept.

use std::time::Duration;

use crate::audit::FileSettings;
use crate::config::reader::Section;
use crate::config::value::{Size, Time};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

/// Reads `segment_size`, `segment_time` and `retention` of `[audit]`.
pub(super) fn files(section: &mut Section<'_>) -> Option<FileSettings> {
    let default = FileSettings::default();
    let size = section.or("segment_size", Size(default.segment_size));
    if size.is_some_and(|size| !(64 * 1024..=64 * 1024 * 1024 * 1024).contains(&size.0)) {
        section.fault("segment_size", "must be between 64KiB and 64GiB");
    }
    let time = section.or("segment_time", Time(default.segment_time));
    if time.is_some_and(|time| time.0 < MINUTE) {
        section.fault("segment_time", "must be at least 1m");
    }
    let retention = section
        .optional("retention")
        .map(|item| item.read::<Duration>());
    if retention.flatten().is_some_and(|retention| retention < DAY) {
        section.fault(
            "retention",
            "must be at least 1d: what is removed is gone. Leave the key out to keep the log for ever",
        );
    }
    let retention = match retention {
        Some(read) => Some(read?),
        None => None,
    };
    Some(FileSettings {
        segment_size: size?.0,
        segment_time: time?.0,
        retention,
        sinks: Vec::new(),
    })
}
