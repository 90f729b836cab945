//! A change of what is kept.

use redb::{ReadableTable as _, WriteTransaction};

use super::{Opened, State, StateError, Table};

/// A change of values of one kind that is under way.
pub struct Change<'a> {
    state: &'a State,
    table: Table,
    transaction: &'a WriteTransaction,
}

impl<'a> Change<'a> {
    pub(super) fn new(state: &'a State, table: Table, transaction: &'a WriteTransaction) -> Self {
        Self {
            state,
            table,
            transaction,
        }
    }

    /// The value of a name.
    ///
    /// # Errors
    /// Fails when the database does, and on a damaged value.
    pub fn get(&self, name: &[u8]) -> Result<Option<Opened>, StateError> {
        let stored = self.transaction.open_table(self.table.definition())?;
        let sealed = stored.get(name)?.map(|value| value.value().to_vec());
        sealed
            .map(|sealed| self.state.opened_value(self.table, name, &sealed))
            .transpose()
    }

    /// The names of all values.
    ///
    /// # Errors
    /// Fails when the database does.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let stored = self.transaction.open_table(self.table.definition())?;
        let mut names = Vec::new();
        for entry in stored.iter()? {
            names.push(entry?.0.value().to_vec());
        }
        Ok(names)
    }

    /// The names that begin so.
    ///
    /// # Errors
    /// Fails when the database does.
    pub fn names_under(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StateError> {
        let stored = self.transaction.open_table(self.table.definition())?;
        let mut names = Vec::new();
        for entry in stored.range::<&[u8]>(prefix..)? {
            let (name, _) = entry?;
            if !name.value().starts_with(prefix) {
                break;
            }
            names.push(name.value().to_vec());
        }
        Ok(names)
    }

    /// All values that can be opened, by their names.
    ///
    /// # Errors
    /// Fails when the database does.
    pub fn all(&self) -> Result<Vec<(Vec<u8>, Opened)>, StateError> {
        let stored = self.transaction.open_table(self.table.definition())?;
        let mut all = Vec::new();
        let collect = |name: &[u8], opened| all.push((name.to_vec(), opened));
        self.state.each_opened(self.table, &stored, collect)?;
        Ok(all)
    }

    /// Sets the value of a name.
    ///
    /// # Errors
    /// Fails when the database does.
    pub fn put(&mut self, name: &[u8], value: &[u8]) -> Result<(), StateError> {
        let sealed = self.state.seal.seal(self.table.as_str(), name, value)?;
        let mut stored = self.transaction.open_table(self.table.definition())?;
        stored.insert(name, sealed.as_slice())?;
        Ok(())
    }

    /// Forgets a name.
    ///
    /// # Errors
    /// Fails when the database does.
    pub fn remove(&mut self, name: &[u8]) -> Result<(), StateError> {
        let mut stored = self.transaction.open_table(self.table.definition())?;
        stored.remove(name)?;
        Ok(())
    }
}
