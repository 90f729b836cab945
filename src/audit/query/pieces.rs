//! What is to be done, in order: files to be opened, parts of them to be read or to be skipped.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use super::chunk::{CHUNK, Job, Sought};
use super::index::{Index, Known};
use super::plan::Span;
use super::prune::Asked;
use super::{Order, TRIES};
use crate::audit::fault::Fault;
use crate::audit::segment;

/// A thing to be done.
pub(super) enum Piece {
    /// A file begins, with so many bytes.
    Begin(Span, Arc<File>, u64),
    /// A file has come to its end.
    End,
    /// A file cannot be read.
    Fault(Fault),
    /// A file is gone.
    Gone(Span),
    /// A part of the file is to be read.
    Read(Job),
    /// These records are not read. They are all asked for, and only to be counted, or none is.
    Skip {
        seqs: Range<u64>,
        bytes: u64,
        counts: bool,
    },
}

/// What is to be done, in order.
pub(super) struct Pieces {
    directory: PathBuf,
    order: Order,
    /// Whether records are only to be counted.
    counts: bool,
    /// Whether indexes are believed.
    is_indexed: bool,
    spans: vec::IntoIter<Span>,
    ready: VecDeque<Piece>,
}

impl Pieces {
    pub(super) fn new(directory: &Path, order: Order, counts: bool, spans: Vec<Span>) -> Self {
        Self {
            directory: directory.to_owned(),
            order,
            counts,
            is_indexed: true,
            spans: spans.into_iter(),
            ready: VecDeque::new(),
        }
    }

    /// Believes indexes, or reads all.
    #[must_use]
    pub(super) fn believing(mut self, indexes: bool) -> Self {
        self.is_indexed = indexes;
        self
    }

    /// The next thing to be done.
    pub(super) fn next(&mut self, sought: &Sought) -> Option<Piece> {
        if self.ready.is_empty() {
            let span = self.spans.next()?;
            if let Err(fault) = self.open(span, sought) {
                self.ready.push_back(Piece::Fault(fault));
            }
        }
        self.ready.pop_front()
    }

    fn open(&mut self, span: Span, sought: &Sought) -> Result<(), Fault> {
        let path = segment::path(&self.directory, span.first);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.ready.push_back(Piece::Gone(span));
                return Ok(());
            }
            result => Arc::new(result.map_err(Fault::of("open", &path))?),
        };
        let len = whole_len(&file).map_err(Fault::of("read", &path))?;
        let known = match span.end {
            Some(end) if self.is_indexed => Index::of(&self.directory, span.first, end, &file),
            _ => Known::Nothing,
        };
        self.ready
            .push_back(Piece::Begin(span, Arc::clone(&file), len));
        let mut parts = match known {
            Known::Blocks(index) => self.parts(span, &file, len, &index, sought),
            Known::Nothing | Known::Unclean => all_parts(span, &file, len),
        };
        if self.order == Order::NewestFirst {
            parts.reverse();
        }
        self.ready.extend(parts);
        self.ready.push_back(Piece::End);
        Ok(())
    }

    /// The parts of an indexed segment: blocks that follow one another are taken together.
    fn parts(
        &self,
        span: Span,
        file: &Arc<File>,
        len: u64,
        index: &Index,
        sought: &Sought,
    ) -> Vec<Piece> {
        let asked = Asked::new(&sought.filter, index);
        let mut parts: Vec<Part> = Vec::new();
        for block in index.blocks() {
            let does = if !asked.may_have(block) {
                Does::Skip
            } else if self.counts && sought.is_range && asked.has_all(block) {
                Does::Count
            } else {
                Does::Read
            };
            let bytes = block.place.end - block.place.start;
            match parts.last_mut() {
                Some(last) if last.does == does && last.has_room(bytes) => {
                    last.place.end = block.place.end;
                    last.seqs.end = block.seqs.end;
                }
                _ => parts.push(Part {
                    does,
                    place: block.place.clone(),
                    seqs: block.seqs.clone(),
                }),
            }
        }
        let piece = |part: Part| match part.does {
            Does::Read => Piece::Read(Job {
                file: Arc::clone(file),
                span,
                place: part.place,
                len,
                known: Some(part.seqs),
                buffer: Vec::new(),
            }),
            Does::Count | Does::Skip => Piece::Skip {
                seqs: part.seqs,
                bytes: part.place.end - part.place.start,
                counts: part.does == Does::Count,
            },
        };
        parts.into_iter().map(piece).collect()
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Does {
    Count,
    Read,
    Skip,
}

struct Part {
    does: Does,
    place: Range<u64>,
    seqs: Range<u64>,
}

impl Part {
    fn has_room(&self, bytes: u64) -> bool {
        self.does != Does::Read || self.place.end - self.place.start + bytes <= CHUNK
    }
}

/// The parts of a segment of which nothing is known.
fn all_parts(span: Span, file: &Arc<File>, len: u64) -> Vec<Piece> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < len {
        let end = len.min(start + CHUNK);
        parts.push(Piece::Read(Job {
            file: Arc::clone(file),
            span,
            place: start..end,
            len,
            known: None,
            buffer: Vec::new(),
        }));
        start = end;
    }
    parts
}

/// The bytes of a file up to its last newline.
fn whole_len(file: &File) -> io::Result<u64> {
    let mut tries = 1;
    loop {
        match segment::complete_len(file, file.metadata()?.len()) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && tries < TRIES => {
                tries += 1;
            }
            result => return result,
        }
    }
}
