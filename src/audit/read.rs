//! Reading a log, also one that is being written: its end, what comes after, a table of it.
//!
//! Nothing here takes the lock or changes a file. Only whole lines that are records are seen;
//! whether any other line stands between them is not judged here.

mod csv;

pub use csv::Csv;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio::time::Duration;

use super::disk::identity;
use super::json::is_hidden;
use super::segment::{self, At, LinesBack};

/// How often to look for new records.
pub const POLL: Duration = Duration::from_millis(250);

/// How often the end of a log is looked for while a writer cuts it back.
const TRIES: usize = 5;
/// The most bytes read by one look for new records.
const POLL_BYTES: u64 = 4 * 1024 * 1024;

/// One record as it stands in the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// The JSON object, without the newline.
    pub json: Vec<u8>,
}

/// The last records of a log, and what comes after them.
#[derive(Debug)]
pub struct Tail {
    /// The records, the oldest first.
    pub lines: Vec<Line>,
    /// Sees the records from there on.
    pub follow: Follow,
}

/// Reads the last `count` records of a directory, from the end: the size of the log does not
/// matter. An unfinished last line is left to its writer.
///
/// # Errors
/// Fails when the directory or a file of it cannot be read.
pub fn tail(directory: &Path, count: usize) -> io::Result<Tail> {
    let mut tries = 1;
    loop {
        match try_tail(directory, count) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && tries < TRIES => {
                tries += 1;
            }
            result => return result,
        }
    }
}

fn try_tail(directory: &Path, count: usize) -> io::Result<Tail> {
    let mut lines = Vec::new();
    let mut follow = Follow {
        directory: directory.to_owned(),
        current: None,
        next_seq: 0,
    };
    // The first record that a later segment has.
    let mut end_seq = u64::MAX;
    for first in segment::list(directory)?.into_iter().rev() {
        let file = match File::open(segment::path(directory, first)) {
            // Old files are removed from the oldest on.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            result => result?,
        };
        let len = segment::complete_len(&file, file.metadata()?.len())?;
        let mut back = LinesBack::new(&file, len);
        while lines.len() < count
            && let Some((_, json)) = back.next()?
        {
            if let Some(seq) = segment::seq_of(&json).filter(|seq| *seq < end_seq) {
                end_seq = seq;
                lines.push(Line { seq, json });
            }
        }
        end_seq = end_seq.min(first);
        if follow.current.is_none() {
            follow.current = Some(Current {
                first,
                file: Arc::new(file),
                offset: len,
            });
        }
        if lines.len() >= count {
            break;
        }
    }
    lines.reverse();
    follow.next_seq = lines.last().map_or(0, |line| line.seq + 1);
    Ok(Tail { lines, follow })
}

/// Sees the records that are added to a log.
#[derive(Debug)]
pub struct Follow {
    directory: PathBuf,
    current: Option<Current>,
    next_seq: u64,
}

#[derive(Debug)]
struct Current {
    first: u64,
    file: Arc<File>,
    offset: u64,
}

impl Follow {
    /// Sees the records from `next_seq` on; those before `offset` of the segment `first` were seen.
    pub(super) fn from(
        directory: &Path,
        last: Option<(u64, Arc<File>, u64)>,
        next_seq: u64,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            current: last.map(|(first, file, offset)| Current {
                first,
                file,
                offset,
            }),
            next_seq,
        }
    }

    /// The records that came since the last call, or the first few megabytes of them. A caller
    /// that gets none waits for [`POLL`].
    ///
    /// # Errors
    /// Fails when the directory or a file of it cannot be read.
    pub fn poll(&mut self) -> io::Result<Vec<Line>> {
        loop {
            // Listed before the file is read: a file that is not the last will not grow, so once
            // it is read to its end nothing of it is missed.
            let segments = segment::list(&self.directory)?;
            let current = self.current.as_ref().map(|current| current.first);
            let later = segments
                .into_iter()
                .find(|first| current.is_none_or(|at| *first > at));
            let lines = self.read_current(later.unwrap_or(u64::MAX))?;
            if !lines.is_empty() {
                return Ok(lines);
            }
            let Some(first) = later.or(current) else {
                return Ok(lines);
            };
            let file = match File::open(segment::path(&self.directory, first)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(lines),
                result => result?,
            };
            if later.is_none() && self.is_current(&file)? {
                return Ok(lines);
            }
            self.current = Some(Current {
                first,
                file: Arc::new(file),
                offset: 0,
            });
        }
    }

    fn is_current(&self, file: &File) -> io::Result<bool> {
        let Some(current) = &self.current else {
            return Ok(false);
        };
        Ok(identity(&current.file.metadata()?) == identity(&file.metadata()?))
    }

    /// Reads on in the current segment, which ends at record `end_seq`.
    fn read_current(&mut self, end_seq: u64) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        let Some(current) = &mut self.current else {
            return Ok(lines);
        };
        if current.file.metadata()?.len() < current.offset {
            // A writer took back what it could not finish; numbers say what was seen already.
            current.offset = 0;
        }
        let mut part = BufReader::new(At {
            file: &current.file,
            offset: current.offset,
        });
        let end = current.offset.saturating_add(POLL_BYTES);
        while current.offset < end || lines.is_empty() {
            let mut json = Vec::new();
            let limit = u64::try_from(segment::LINE_LIMIT).unwrap_or(u64::MAX);
            let read = part.by_ref().take(limit).read_until(b'\n', &mut json)?;
            if json.pop() != Some(b'\n') {
                break;
            }
            current.offset += u64::try_from(read).unwrap_or(0);
            if let Some(seq) = segment::seq_of(&json)
                && (self.next_seq..end_seq).contains(&seq)
            {
                self.next_seq = seq + 1;
                lines.push(Line { seq, json });
            }
        }
        Ok(lines)
    }
}

/// Writes records as lines of a table, for eyes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Table;

#[derive(Deserialize)]
struct View<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    client: Option<Cow<'a, str>>,
    user: Option<Cow<'a, str>>,
    operator: Option<Cow<'a, str>>,
    tenant: Option<Cow<'a, str>>,
    console: Option<Cow<'a, str>>,
    target: Option<TargetView<'a>>,
    operation: Option<Cow<'a, str>>,
    grant: Option<Cow<'a, str>>,
    method: Option<Cow<'a, str>>,
    path: Option<Cow<'a, str>>,
    query: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    status: Option<u16>,
    duration_us: Option<u64>,
    detail: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct TargetView<'a> {
    uid: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
}

impl Table {
    /// Writes the names of the columns.
    ///
    /// # Errors
    /// Fails when `out` does.
    pub fn header(self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:27} {:7} {:>6} {:20} {:>9}  {:30} what",
            "time", "kind", "status", "code", "ms", "client→tenant/target"
        )
    }

    /// Writes one record as one line. Characters that would move the cursor, turn the direction
    /// of writing or hide are written as `\u{…}`.
    ///
    /// # Errors
    /// Fails when `out` does.
    pub fn row(self, seq: u64, json: &[u8], out: &mut impl Write) -> io::Result<()> {
        let Ok(view) = serde_json::from_slice::<View<'_>>(json) else {
            return writeln!(out, "record {seq} cannot be read");
        };
        let status = view
            .status
            .map_or_else(|| "-".to_owned(), |status| status.to_string());
        let millis = view.duration_us.map_or_else(
            || "-".to_owned(),
            |micros| format!("{}.{:01}", micros / 1000, micros % 1000 / 100),
        );
        writeln!(
            out,
            "{:27} {:7} {status:>6} {:20} {millis:>9}  {:30} {}",
            visible(&view.time),
            visible(&view.kind),
            visible(view.code.as_deref().unwrap_or("-")),
            visible(&view.who()),
            visible(&view.what()),
        )
    }
}

impl View<'_> {
    fn who(&self) -> String {
        let target = self.target.as_ref().and_then(|target| {
            // The first digits tell users apart; the JSON form has all of them.
            let uid = target
                .uid
                .as_deref()
                .map(|uid| uid.split('-').next().unwrap_or(uid));
            target.name.as_deref().or(uid)
        });
        let target = target
            .map(|target| format!("/{target}"))
            .unwrap_or_default();
        match (
            self.client.as_deref(),
            self.tenant.as_deref(),
            self.console.as_deref(),
        ) {
            _ if self.operator.is_some() => {
                let operator = self.operator.as_deref().unwrap_or_default();
                let what = [&self.client, &self.tenant, &self.console];
                let what = what.into_iter().find_map(Option::as_deref);
                format!("{operator}→{}{target}", what.unwrap_or("-"))
            }
            (None, None, console) if self.user.is_some() => {
                let user = self.user.as_deref().unwrap_or_default();
                format!("{user}→{}{target}", console.unwrap_or("-"))
            }
            (None, None, None) => "-".to_owned(),
            (None, None, Some(console)) => format!("gateway→{console}{target}"),
            (client, tenant, _) => {
                format!(
                    "{}→{}{target}",
                    client.unwrap_or("-"),
                    tenant.unwrap_or("-")
                )
            }
        }
    }

    fn what(&self) -> String {
        let mut what = match (&self.method, &self.path) {
            (Some(method), Some(path)) => format!("{method} {path}"),
            _ => self.operation.as_deref().unwrap_or("-").to_owned(),
        };
        for (mark, more) in [
            ("?", &self.query),
            ("  ", &self.grant),
            ("  ", &self.detail),
        ] {
            if let Some(more) = more {
                what.push_str(mark);
                what.push_str(more);
            }
        }
        what
    }
}

/// The text with its hidden characters made visible.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() * 2);
    for char in text.chars() {
        if is_hidden(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests;
