//! The latest signed checkpoint, as an event of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::Item;
use crate::audit::json;
use crate::clock::Clock;

/// How often there is a new one to send.
const EVERY: Duration = Duration::from_secs(1);

/// Knows which checkpoint was sent last.
pub(super) struct Checkpoints {
    directory: PathBuf,
    sent: u64,
    looked: Option<Instant>,
}

impl Checkpoints {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            sent: 0,
            looked: None,
        }
    }

    /// The latest checkpoint, unless it was sent, or another one was a moment ago.
    pub(super) fn due(&mut self, origin: &Arc<str>, clock: &Clock) -> Option<Item> {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        let (size, note) = latest(&self.directory)?;
        (size > self.sent).then(|| event(origin, size, &note, clock))
    }

    /// Remembers what was sent.
    pub(super) fn sent(&mut self, item: &Item) {
        self.sent = item.seq;
    }
}

fn event(origin: &str, size: u64, note: &str, clock: &Clock) -> Item {
    let mut line = b"{\"time\":\"".to_vec();
    line.extend_from_slice(&clock.now().text());
    line.extend_from_slice(b"\",\"kind\":\"checkpoint\",\"size\":");
    json::number(&mut line, size);
    json::name(&mut line, "note");
    json::text(&mut line, note, usize::MAX);
    line.push(b'}');
    Item::checkpoint(origin, size, line.into())
}

/// The size and the text of the latest checkpoint.
fn latest(_directory: &Path) -> Option<(u64, String)> {
    None
}
