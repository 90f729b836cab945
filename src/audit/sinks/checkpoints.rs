//! The latest signed checkpoint, as an event of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::Item;
use crate::audit::{checkpoint, json};
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

/// The size and the note of the latest checkpoint. One that cannot be read is told elsewhere.
fn latest(directory: &Path) -> Option<(u64, String)> {
    let signed = checkpoint::latest(directory).ok().flatten()?;
    Some((signed.checkpoint.size, signed.note.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::audit::note::Signer;

    #[tokio::test(start_paused = true)]
    async fn each_new_checkpoint_is_due_once_and_one_a_second() {
        let folder = TempDir::new().unwrap();
        let mut checkpoints = Checkpoints::new(folder.path());
        let origin = Arc::from("o/1");
        assert!(checkpoints.due(&origin, &Clock::System).is_none());
        let signer = Signer::generate("o/1").unwrap();
        let mut text = String::new();
        for size in [3, 9] {
            let root = tlog_tiles::Hash([7; 32]);
            let checkpoint = checkpoint::Checkpoint {
                origin: "o/1".to_owned(),
                size,
                root,
            };
            let note = signer.sign(&checkpoint.text()).unwrap();
            text.push_str(&format!("{note}\n"));
            fs::write(folder.path().join(format!("{:020}.notes", 0)), &text).unwrap();
            assert!(checkpoints.due(&origin, &Clock::System).is_none());
            tokio::time::advance(EVERY).await;
            let item = checkpoints.due(&origin, &Clock::System).unwrap();
            assert_eq!(item.id, format!("o/1@{size}"));
            let event: serde_json::Value = serde_json::from_slice(&item.line).unwrap();
            assert_eq!(event["size"], size);
            assert_eq!(event["note"], note.to_string());
            checkpoints.sent(&item);
            tokio::time::advance(EVERY).await;
            assert!(checkpoints.due(&origin, &Clock::System).is_none());
        }
    }
}
