//! Reading numbers and texts off a slice.

use std::ops::Range;

/// What is left of a slice.
pub(super) struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.all.len()
    }

    /// Goes over the next `length` bytes, and says where they stand.
    pub(super) fn range(&mut self, length: usize) -> Option<Range<usize>> {
        let end = self.at.checked_add(length)?;
        let range = (end <= self.all.len()).then_some(self.at..end)?;
        self.at = end;
        Some(range)
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let range = self.range(length)?;
        self.all.get(range)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}
