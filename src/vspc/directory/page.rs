//! Pages of a collection, put together.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::DirectoryError;

/// What is asked for at once: the most that VSPC gives.
pub(super) const LIMIT: usize = 500;
/// The most pages that are read of one collection: a hundred thousand entries.
pub(super) const MOST_PAGES: usize = 200;
/// What VSPC gives where it was not asked for a number, or does not listen.
const DEFAULT_LIMIT: usize = 100;

/// VSPC's envelope of an answer.
#[derive(Deserialize)]
struct Envelope<T> {
    data: Option<T>,
    meta: Option<Meta>,
    errors: Option<Value>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "pagingInfo")]
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct Paging {
    total: Option<usize>,
}

/// An entry as it is written, and as it is read.
pub(super) trait Entry: Sized {
    type Written: DeserializeOwned;

    /// Reads an entry; `None` for one that has no UID.
    fn read(written: Self::Written) -> Option<(Uuid, Self)>;
}

/// One page of a collection.
pub(super) struct Page<T> {
    entries: Vec<Option<(Uuid, T)>>,
    total: Option<usize>,
}

/// Reads a page.
pub(super) fn read_page<T: Entry>(body: &[u8]) -> Result<Page<T>, DirectoryError> {
    let envelope: Envelope<Vec<T::Written>> = decode(body)?;
    let paging = envelope.meta.and_then(|meta| meta.paging);
    let entries = data(envelope.data, envelope.errors.as_ref())?;
    Ok(Page {
        entries: entries.into_iter().map(T::read).collect(),
        total: paging.and_then(|paging| paging.total),
    })
}

/// A page of entries as they are written.
pub(super) struct List<T> {
    pub(super) entries: Vec<T>,
    pub(super) total: Option<usize>,
}

/// Reads a page of entries that have no UID.
pub(super) fn read_list<T: DeserializeOwned>(body: &[u8]) -> Result<List<T>, DirectoryError> {
    let envelope: Envelope<Vec<T>> = decode(body)?;
    let paging = envelope.meta.and_then(|meta| meta.paging);
    Ok(List {
        entries: data(envelope.data, envelope.errors.as_ref())?,
        total: paging.and_then(|paging| paging.total),
    })
}

/// Reads the answer to a question about one entry.
pub(super) fn read_one<T: Entry>(body: &[u8]) -> Result<T, DirectoryError> {
    let envelope: Envelope<T::Written> = decode(body)?;
    T::read(data(envelope.data, envelope.errors.as_ref())?)
        .map(|(_, entry)| entry)
        .ok_or(DirectoryError::Malformed("an entry without a UID"))
}

/// Whether a body is VSPC's own error, and not that of something in between.
pub(super) fn is_own_error(body: &[u8]) -> bool {
    decode::<Envelope<Value>>(body).is_ok_and(|envelope| is_any(envelope.errors.as_ref()))
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DirectoryError> {
    // An array would be taken for a struct by position, hence the first look.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(DirectoryError::Malformed("not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|_| DirectoryError::Malformed("not VSPC's JSON"))
}

/// VSPC may answer 200 with errors beside, or in place of, the data.
fn data<T>(data: Option<T>, errors: Option<&Value>) -> Result<T, DirectoryError> {
    if is_any(errors) {
        return Err(DirectoryError::Errors);
    }
    data.ok_or(DirectoryError::Malformed("no data"))
}

fn is_any(errors: Option<&Value>) -> bool {
    errors.is_some_and(|errors| match errors {
        Value::Array(errors) => !errors.is_empty(),
        errors => !errors.is_null(),
    })
}

/// A collection on its way in, page by page.
pub(super) struct Gathered<T> {
    entries: HashMap<Uuid, T>,
    /// What came, with what was not kept.
    received: usize,
    nameless: usize,
    total: Option<usize>,
    pages: usize,
}

impl<T> Gathered<T> {
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            received: 0,
            nameless: 0,
            total: None,
            pages: 0,
        }
    }

    /// Where the next page begins.
    pub(super) fn offset(&self) -> usize {
        self.received
    }

    pub(super) fn into_entries(self) -> HashMap<Uuid, T> {
        self.entries
    }

    /// Adds a page; tells whether it was the last.
    ///
    /// Nothing that was read while the collection changed is taken: an entry that slipped from one
    /// page to the one before would be missing.
    ///
    /// # Errors
    /// Refuses pages that do not fit together.
    pub(super) fn add(&mut self, page: Page<T>) -> Result<bool, DirectoryError> {
        if self.pages > 0 && page.total != self.total {
            return Err(DirectoryError::Changed);
        }
        self.total = page.total;
        self.pages += 1;
        let (length, before) = (page.entries.len(), self.entries.len() + self.nameless);
        if let Some(total) = page.total {
            self.entries
                .reserve(total.saturating_sub(before).min(length * MOST_PAGES));
        }
        for entry in page.entries {
            match entry {
                Some((uid, entry)) => drop(self.entries.insert(uid, entry)),
                None => self.nameless += 1,
            }
        }
        self.received += length;
        let kept = self.entries.len() + self.nameless;
        if length > 0 && kept == before {
            return Err(DirectoryError::Repeated);
        }
        let is_last = match self.total {
            Some(total) => length == 0 || self.received >= total,
            None => length < DEFAULT_LIMIT,
        };
        if is_last && self.total.is_some_and(|total| kept != total) {
            return Err(DirectoryError::Changed);
        }
        if !is_last && self.pages >= MOST_PAGES {
            return Err(DirectoryError::TooMany);
        }
        Ok(is_last)
    }
}
