//! Sealing what other keys sealed anew, with the first key of the ring.

use std::ops::Bound;

use redb::{ReadableDatabase as _, ReadableTable as _};

use super::{CHECK, META, State, StateError, Table};

/// What became of the values that were not sealed with the first key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Resealed {
    /// They are now.
    pub(super) anew: u64,
    /// They cannot be opened: the key is gone, or they are damaged.
    pub(super) lost: u64,
}

impl State {
    /// Seals everything with the first key. Nobody else may be using the state.
    ///
    /// The value that tells the key comes last: once it is sealed with the first key, all are, and
    /// no start looks again.
    pub(super) fn seal_anew(&mut self) -> Result<Resealed, StateError> {
        let mut resealed = Resealed::default();
        if self.is_first(CHECK)? {
            return Ok(resealed);
        }
        self.seal.seal_with(0);
        for table in Table::ALL {
            self.seal_table_anew(table, &mut resealed)?;
        }
        let transaction = self.database.load().begin_write()?;
        let sealed = self.seal.seal("meta", CHECK, CHECK)?;
        transaction
            .open_table(META)?
            .insert(CHECK, sealed.as_slice())?;
        transaction.commit()?;
        let key = self.seal.sealing();
        tracing::info!(
            values = resealed.anew,
            key = key.map(|id| id.to_string()),
            "the state is sealed with the first key alone: the other lines of the key may be taken out"
        );
        if resealed.lost > 0 {
            tracing::warn!(
                values = resealed.lost,
                "values whose key is gone were passed over: what they held is obtained anew"
            );
        }
        Ok(resealed)
    }

    fn is_first(&self, name: &[u8]) -> Result<bool, StateError> {
        let transaction = self.database.load().begin_read()?;
        let stored = transaction.open_table(META)?.get(name)?;
        Ok(stored.is_some_and(|sealed| self.seal.is_first(sealed.value())))
    }

    fn seal_table_anew(&self, table: Table, resealed: &mut Resealed) -> Result<(), StateError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let transaction = self.database.load().begin_write()?;
            let mut anew = Vec::new();
            let mut seen = 0;
            {
                let mut stored = transaction.open_table(table.definition())?;
                let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                for entry in stored.range::<&[u8]>((from, Bound::Unbounded))?.take(BATCH) {
                    let (name, sealed) = entry?;
                    let (name, sealed) = (name.value(), sealed.value());
                    seen += 1;
                    if seen == BATCH {
                        after = Some(name.to_vec());
                    }
                    if self.seal.is_first(sealed) {
                        continue;
                    }
                    match self.opened_value(table, name, sealed) {
                        Ok(opened) => {
                            let sealed = self.seal.seal(table.as_str(), name, &opened)?;
                            anew.push((name.to_vec(), sealed));
                        }
                        Err(_) => resealed.lost += 1,
                    }
                }
                for (name, sealed) in &anew {
                    stored.insert(name.as_slice(), sealed.as_slice())?;
                    resealed.anew += 1;
                }
            }
            transaction.commit()?;
            if seen < BATCH {
                return Ok(());
            }
        }
    }
}

/// So many values are looked at in one transaction.
const BATCH: usize = 1000;
