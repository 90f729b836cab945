//! One batch: what the sink takes of it, and what becomes of the rest.

use std::sync::atomic::Ordering;

use tokio::time::timeout;

use super::{Running, Setback};
use crate::audit::sinks::{Item, SendError};

/// So many records refused, and none taken between them: it is not the records that are at fault.
const REFUSED_IN_A_ROW: u32 = 16;

impl Running {
    /// Gives the sink all records of a batch, or puts them aside. On a setback, `next` stands behind
    /// those that it has.
    pub(super) async fn deliver(&mut self, items: &[Item]) -> Result<(), Setback> {
        let mut parts = vec![items];
        while let Some(part) = parts.pop() {
            let Some((first, last)) = part.first().zip(part.last()) else {
                continue;
            };
            match self.send(part).await {
                Ok(()) => {
                    self.refused_in_a_row = 0;
                    self.count_sent(part.len());
                }
                Err(SendError::PartlyTaken(why)) => {
                    for item in part {
                        self.set_aside(item, &why)?;
                    }
                    self.refused_in_a_row = 0;
                }
                Err(SendError::RecordRefused { why, .. } | SendError::BatchRefused(why))
                    if part.len() == 1 =>
                {
                    self.set_aside(first, &why)?;
                    self.next = last.seq + 1;
                    self.count_refused()?;
                }
                Err(SendError::RecordRefused { seq, .. }) => {
                    let at = part.iter().position(|item| item.seq == seq);
                    let (before, rest) = part.split_at(at.unwrap_or(part.len() / 2));
                    let (it, behind) = rest.split_at(usize::from(at.is_some()).min(rest.len()));
                    parts.extend([behind, it, before]);
                    continue;
                }
                Err(SendError::BatchRefused(_)) => {
                    let (before, behind) = part.split_at(part.len() / 2);
                    parts.extend([behind, before]);
                    continue;
                }
                Err(error @ (SendError::Refused { .. } | SendError::Unreachable(_))) => {
                    return Err(error.into());
                }
            }
            self.next = last.seq + 1;
        }
        Ok(())
    }

    async fn send(&mut self, items: &[Item]) -> Result<(), SendError> {
        let limit = self.runner.settings.timeout;
        match timeout(limit, self.runner.sink.send(items)).await {
            Ok(result) => result,
            Err(_) => Err(SendError::late(limit)),
        }
    }

    pub(super) async fn idle(&mut self) -> Result<(), Setback> {
        let limit = self.runner.settings.timeout;
        let result = match timeout(limit, self.runner.sink.idle()).await {
            Ok(result) => result,
            Err(_) => Err(SendError::late(limit)),
        };
        result.map_err(Setback::from)?;
        self.store(false);
        Ok(())
    }

    /// Sends the latest checkpoint if there is a new one.
    pub(super) async fn send_checkpoint(&mut self) -> Result<(), Setback> {
        let Some(checkpoints) = &mut self.checkpoints else {
            return Ok(());
        };
        let Some(item) = checkpoints.due(&self.runner.origin, &self.runner.clock) else {
            return Ok(());
        };
        match self.send(std::slice::from_ref(&item)).await {
            Err(error @ (SendError::Refused { .. } | SendError::Unreachable(_))) => {
                return Err(error.into());
            }
            Err(error) => {
                let sink = &*self.runner.settings.name;
                tracing::warn!(%error, sink, id = item.id, "a sink refused a checkpoint");
            }
            Ok(()) => {}
        }
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.sent(&item);
        }
        Ok(())
    }

    fn set_aside(&mut self, item: &Item, why: &str) -> Result<(), Setback> {
        let (sink, now) = (&*self.runner.settings.name, self.runner.clock.now());
        self.files
            .set_aside(item, why, now)
            .map_err(|error| Setback {
                why: format!("cannot put a refused record aside: {error}"),
                after: None,
            })?;
        self.runner
            .progress
            .set_aside
            .fetch_add(1, Ordering::Relaxed);
        let file = self.files.refused();
        tracing::error!(
            sink,
            id = item.id,
            why,
            file = %file.display(),
            "a sink refused a record, which was put aside"
        );
        Ok(())
    }

    /// Where record after record is refused, the next ones wait.
    fn count_refused(&mut self) -> Result<(), Setback> {
        self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
        if self.refused_in_a_row < REFUSED_IN_A_ROW {
            return Ok(());
        }
        Err(Setback {
            why: format!("it refused {} records in a row", self.refused_in_a_row),
            after: None,
        })
    }

    fn count_sent(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(0);
        self.runner
            .progress
            .sent
            .fetch_add(count, Ordering::Relaxed);
    }
}
