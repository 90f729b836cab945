//! Records in the forms that other systems take: CloudEvents 1.0, ECS 8 and OCSF 1.3.
//!
//! Nothing of a record is lost: what a form has no place for goes along, under the record's own
//! names. `docs/EXPORT.md` has the tables of what becomes what.

mod cloudevents;
mod ecs;
mod members;
mod ocsf;
mod sort;

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

use super::json::is_hidden;
use members::Members;

/// In what form records are given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// An event of CloudEvents 1.0 in its JSON form; its `data` is the record, byte for byte.
    CloudEvents,
    /// A document of the Elastic Common Schema 8.
    Ecs,
    /// An event of the Open Cybersecurity Schema Framework 1.3.
    Ocsf,
}

impl Format {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::CloudEvents, Self::Ecs, Self::Ocsf];

    /// The name of the form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
        }
    }
}

/// Says that a line is no record: no JSON object with a `seq`, and a `time` of RFC 3339.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the line is no record: it needs a seq and a time")]
pub struct NotARecord;

/// Writes a record in another form, as one JSON object on one line, without a newline at its end.
/// `line` is the record as it stands in the log, without its newline; `origin` is the log's own
/// name, so that `<origin>#<seq>` is the same for all who hold the record. When it fails, nothing
/// is written.
///
/// # Errors
/// Says that the line is no record.
pub fn write(
    format: Format,
    origin: &str,
    line: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), NotARecord> {
    let members = Members::of_record(line)?;
    match format {
        Format::CloudEvents => cloudevents::write(origin, &members, line, out),
        Format::Ecs => put(&ecs::document(origin, members), out),
        Format::Ocsf => put(&ocsf::event(origin, members), out),
    }
    Ok(())
}

/// The name of a log: that of the key that signs its checkpoints now, or `vspc-gateway` where there
/// is none.
///
/// # Errors
/// Fails when the directory cannot be read.
pub fn origin_of(directory: &Path) -> io::Result<String> {
    let keys = match fs::read_to_string(directory.join(KEYS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        result => result?,
    };
    let last = keys.lines().map(str::trim).rfind(|line| !line.is_empty());
    let name = last.and_then(|key| key.split('+').next());
    Ok(name
        .filter(|name| !name.is_empty())
        .unwrap_or(NO_KEY)
        .to_owned())
}

/// The stable id of a record, outside its log.
fn id(origin: &str, seq: u64) -> String {
    format!("{origin}#{seq}")
}

/// Writes JSON as records are written: on one line, without a hidden character.
fn put(value: &Value, out: &mut Vec<u8>) {
    let mut serializer = Serializer::with_formatter(out, Plain);
    // Neither a vector nor a value that was read from JSON can fail.
    value.serialize(&mut serializer).ok();
}

struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, char)) = rest.char_indices().find(|(_, char)| is_hidden(*char)) {
            let (plain, tail) = rest.split_at_checked(at).unwrap_or((rest, ""));
            writer.write_all(plain.as_bytes())?;
            // All hidden characters are in the basic plane: one unit each.
            write!(writer, "\\u{:04x}", u32::from(char))?;
            rest = tail.get(char.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// The public keys of checkpoints, one a line, the present one last.
const KEYS: &str = "verifier.keys";
/// The origin of a log that has no key.
const NO_KEY: &str = "vspc-gateway";

#[cfg(test)]
mod tests;
