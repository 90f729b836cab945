//! A record as a row of PostgreSQL's binary COPY format.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use time::{Month, OffsetDateTime};
use uuid::Uuid;

use super::fault::Fault;
use crate::audit::query::{Object, Scalar};
use crate::clock::Timestamp;

/// The columns in the order in which a row has them.
pub(super) const COLUMNS: [(&str, &str); 30] = [
    ("time", "timestamptz"),
    ("seq", "bigint"),
    ("origin", "text"),
    ("kind", "text"),
    ("request_id", "text"),
    ("client", "text"),
    ("credential", "text"),
    ("principal", "text"),
    ("session", "uuid"),
    ("user_name", "text"),
    ("operator", "text"),
    ("source", "inet"),
    ("tenant", "text"),
    ("console", "text"),
    ("target_uid", "uuid"),
    ("target_name", "text"),
    ("operation", "text"),
    ("grant_type", "text"),
    ("method", "text"),
    ("path", "text"),
    ("rule", "text"),
    ("code", "text"),
    ("status", "integer"),
    ("duration_us", "bigint"),
    ("lease", "text"),
    ("subject_action", "text"),
    ("subject_user", "text"),
    ("record", "jsonb"),
    ("line", "text"),
    ("raw", "bytea"),
];

/// The most bytes of a text in a column. An entry of an index takes 2704 in all; `line` has the rest.
const TEXT_LIMIT: usize = 2048;
/// How many bytes go in one message.
const CHUNK: usize = 128 * 1024;
/// From the Unix epoch to PostgreSQL's, 2000-01-01, in microseconds.
const EPOCH: i64 = 946_684_800_000_000;

/// How much of a record is written. Each form is taken where the one before it was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// All columns.
    Full,
    /// Without the line as jsonb.
    WithoutJson,
    /// Only its place and the line.
    Bare,
}

impl Form {
    /// What is tried next.
    pub(super) fn lesser(self) -> Option<Self> {
        match self {
            Self::Full => Some(Self::WithoutJson),
            Self::WithoutJson => Some(Self::Bare),
            Self::Bare => None,
        }
    }
}

/// A month of the calendar, in UTC.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct YearMonth(i32, u8);

impl YearMonth {
    /// The month after it.
    pub(super) fn next(self) -> Self {
        match self {
            Self(year, 12) => Self(year + 1, 1),
            Self(year, month) => Self(year, month + 1),
        }
    }

    /// Its first day, as SQL writes it.
    pub(super) fn first_day(self) -> String {
        format!("{:04}-{:02}-01", self.0, self.1)
    }

    fn of(time: Timestamp) -> Option<Self> {
        let at = OffsetDateTime::from_unix_timestamp(time.0.div_euclid(1_000_000)).ok()?;
        let (year, month): (i32, Month) = (at.year(), at.month());
        (1970..9999)
            .contains(&year)
            .then_some(Self(year, u8::from(month)))
    }
}

/// A record as it goes out.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its number.
    pub seq: u64,
    /// The log that it is of.
    pub origin: &'a str,
    /// The JSON object, without the newline.
    pub line: &'a [u8],
}

/// Rows as they go over the wire.
#[derive(Debug)]
pub(super) struct Rows {
    chunks: Vec<Bytes>,
    filling: BytesMut,
    /// The months that the rows are of, each once.
    months: Vec<YearMonth>,
    count: u64,
}

impl Rows {
    pub(super) fn new() -> Self {
        let mut filling = BytesMut::with_capacity(CHUNK + CHUNK / 4);
        filling.put_slice(b"PGCOPY\n\xff\r\n\0");
        // No flags, and no more of a header.
        filling.put_u64(0);
        Self {
            chunks: Vec::new(),
            filling,
            months: Vec::new(),
            count: 0,
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Refuses one without a time, or with a number that is not PostgreSQL's.
    pub(super) fn push(&mut self, from: Source<'_>, form: Form) -> Result<(), Fault> {
        let refused = |reason: &str| Fault::Refused {
            seq: from.seq,
            reason: reason.to_owned(),
        };
        let seq = i64::try_from(from.seq)
            .map_err(|_| refused("its number is larger than PostgreSQL's bigint"))?;
        let members = serde_json::from_slice::<Members<'_>>(from.line).ok();
        let time = members
            .as_ref()
            .and_then(|members| members.time.text())
            .and_then(Timestamp::parse)
            .ok_or_else(|| refused("it has no time, so it has no partition"))?;
        let month = YearMonth::of(time)
            .ok_or_else(|| refused("its time is not between the years 1970 and 9998"))?;
        if self.months.last() != Some(&month) && !self.months.contains(&month) {
            self.months.push(month);
        }
        let row = &mut self.filling;
        row.put_i16(i16::try_from(COLUMNS.len()).unwrap_or_default());
        put(row, |row| row.put_i64(time.0 - EPOCH));
        put(row, |row| row.put_i64(seq));
        put(row, |row| row.put_slice(from.origin.as_bytes()));
        let members = members.filter(|_| form != Form::Bare).unwrap_or_default();
        members.put(row);
        put_line(row, from.line, form);
        self.count += 1;
        if self.filling.len() >= CHUNK {
            self.chunks.push(self.filling.split().freeze());
        }
        Ok(())
    }

    /// The end of the rows.
    pub(super) fn finish(mut self) -> Finished {
        self.filling.put_i16(-1);
        self.chunks.push(self.filling.freeze());
        Finished {
            chunks: self.chunks,
            months: self.months,
            count: self.count,
        }
    }
}

/// Rows to which none are added.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) chunks: Vec<Bytes>,
    pub(super) months: Vec<YearMonth>,
    pub(super) count: u64,
}

/// The members that have columns.
#[derive(Default, serde::Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Members<'a> {
    time: Scalar<'a>,
    kind: Scalar<'a>,
    request_id: Scalar<'a>,
    client: Scalar<'a>,
    credential: Scalar<'a>,
    principal: Scalar<'a>,
    session: Scalar<'a>,
    user: Scalar<'a>,
    operator: Scalar<'a>,
    source: Scalar<'a>,
    tenant: Scalar<'a>,
    console: Scalar<'a>,
    target: Object<Target<'a>>,
    operation: Scalar<'a>,
    grant: Scalar<'a>,
    method: Scalar<'a>,
    path: Scalar<'a>,
    rule: Scalar<'a>,
    code: Scalar<'a>,
    status: Scalar<'a>,
    duration_us: Scalar<'a>,
    lease: Scalar<'a>,
    subject: Object<Subject<'a>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Target<'a> {
    uid: Scalar<'a>,
    name: Scalar<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Subject<'a> {
    action: Scalar<'a>,
    user_uid: Scalar<'a>,
}

impl Members<'_> {
    /// The columns between the place and the line.
    fn put(&self, row: &mut BytesMut) {
        let (target, subject) = (&self.target.0, &self.subject.0);
        for member in [
            &self.kind,
            &self.request_id,
            &self.client,
            &self.credential,
            &self.principal,
        ] {
            put_text(row, member);
        }
        put_uuid(row, &self.session);
        put_text(row, &self.user);
        put_text(row, &self.operator);
        put_address(row, &self.source);
        put_text(row, &self.tenant);
        put_text(row, &self.console);
        put_uuid(row, &target.uid);
        for member in [
            &target.name,
            &self.operation,
            &self.grant,
            &self.method,
            &self.path,
            &self.rule,
            &self.code,
        ] {
            put_text(row, member);
        }
        let status = whole(&self.status).and_then(|status| i32::try_from(status).ok());
        put_or_null(row, status, |row, status| row.put_i32(status));
        let duration = whole(&self.duration_us);
        put_or_null(row, duration, |row, duration| row.put_i64(duration));
        put_text(row, &self.lease);
        put_text(row, &subject.action);
        put_text(row, &subject.user_uid);
    }
}

/// A field: its length, then what `fill` writes.
fn put(row: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let start = row.len();
    row.put_i32(0);
    fill(row);
    let len = i32::try_from(row.len() - start - 4).unwrap_or(i32::MAX);
    if let Some(slot) = row.get_mut(start..start + 4) {
        slot.copy_from_slice(&len.to_be_bytes());
    }
}

fn put_null(row: &mut BytesMut) {
    row.put_i32(-1);
}

fn put_or_null<T>(row: &mut BytesMut, value: Option<T>, fill: impl FnOnce(&mut BytesMut, T)) {
    match value {
        Some(value) => put(row, |row| fill(row, value)),
        None => put_null(row),
    }
}

fn put_text(row: &mut BytesMut, member: &Scalar<'_>) {
    let text = match member {
        Scalar::Number(number) => Some(Cow::Owned(number.to_string())),
        Scalar::Other => None,
        Scalar::Text(text) => Some(Cow::Borrowed(column_text(text))),
    };
    put_or_null(row, text, |row, text| match text.contains('\0') {
        // No text of PostgreSQL has a NUL.
        true => row.put_slice(text.replace('\0', "\u{fffd}").as_bytes()),
        false => row.put_slice(text.as_bytes()),
    });
}

fn column_text(text: &str) -> &str {
    if text.len() <= TEXT_LIMIT {
        return text;
    }
    // A character has at most four bytes.
    let mut ends = (TEXT_LIMIT - 3..=TEXT_LIMIT).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

fn put_uuid(row: &mut BytesMut, member: &Scalar<'_>) {
    let uuid = member.text().and_then(|text| Uuid::try_parse(text).ok());
    put_or_null(row, uuid, |row, uuid| row.put_slice(uuid.as_bytes()));
}

fn put_address(row: &mut BytesMut, member: &Scalar<'_>) {
    let address: Option<IpAddr> = member.text().and_then(|text| text.parse().ok());
    // Family, bits of the mask, whether it is a network, length.
    put_or_null(row, address, |row, address| match address {
        IpAddr::V4(address) => {
            row.put_slice(&[2, 32, 0, 4]);
            row.put_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            row.put_slice(&[3, 128, 0, 16]);
            row.put_slice(&address.octets());
        }
    });
}

fn whole(member: &Scalar<'_>) -> Option<i64> {
    match member {
        Scalar::Number(number) => i64::try_from(*number).ok(),
        Scalar::Other | Scalar::Text(_) => None,
    }
}

/// The line: as jsonb if that can hold it, as text, or as bytes where it is none.
fn put_line(row: &mut BytesMut, line: &[u8], form: Form) {
    let is_text = std::str::from_utf8(line).is_ok() && !line.contains(&0);
    match form == Form::Full && is_text && !has_nul(line) {
        true => put(row, |row| {
            // The version of the format.
            row.put_u8(1);
            row.put_slice(line);
        }),
        false => put_null(row),
    }
    let (text, raw) = match is_text {
        true => (Some(line), None),
        false => (None, Some(line)),
    };
    for bytes in [text, raw] {
        put_or_null(row, bytes, |row, bytes| row.put_slice(bytes));
    }
}

/// Whether JSON has `\u0000` in a text, which jsonb cannot hold.
fn has_nul(json: &[u8]) -> bool {
    memchr::memmem::find_iter(json, b"\\u0000").any(|at| {
        // An even number of backslashes before it are escaped ones.
        let before = json.get(..at).unwrap_or_default();
        let slashes = before.iter().rev().take_while(|byte| **byte == b'\\');
        slashes.count().is_multiple_of(2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(line: &[u8], form: Form) -> Result<Finished, Fault> {
        let mut rows = Rows::new();
        rows.push(
            Source {
                seq: 7,
                origin: "o",
                line,
            },
            form,
        )?;
        Ok(rows.finish())
    }

    /// The fields of the only row.
    fn fields(rows: &Finished) -> Vec<Option<Vec<u8>>> {
        let bytes = rows.chunks.concat();
        let mut rest = &bytes[19..];
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at(count);
            rest = left;
            taken
        };
        let count = i16::from_be_bytes(take(2).try_into().unwrap());
        let fields = (0..count)
            .map(|_| {
                let len = i32::from_be_bytes(take(4).try_into().unwrap());
                usize::try_from(len).ok().map(|len| take(len).to_vec())
            })
            .collect();
        assert_eq!(take(2), [0xff, 0xff]);
        assert!(rest.is_empty());
        fields
    }

    fn field(rows: &Finished, name: &str) -> Option<Vec<u8>> {
        let at = COLUMNS.iter().position(|(column, _)| *column == name);
        fields(rows)[at.unwrap()].clone()
    }

    #[test]
    fn members_have_their_columns() {
        let line = br#"{"seq":7,"time":"2026-03-04T05:06:07.000089Z","kind":"request","user":"ACME\\ann","source":"2001:db8::1","target":{"uid":"b3ffc78b-7982-44f3-ae66-1384415f2bea","name":"ann"},"grant":"password","status":200,"duration_us":34,"subject":{"action":"created","user_uid":"u2"}}"#;
        let rows = encoded(line, Form::Full).unwrap();
        let text = |name: &str| field(&rows, name).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(field(&rows, "seq").unwrap(), 7_i64.to_be_bytes());
        let micros = 1_772_600_767_000_089 - EPOCH;
        assert_eq!(field(&rows, "time").unwrap(), micros.to_be_bytes());
        for (name, expected) in [
            ("kind", "request"),
            ("user_name", "ACME\\ann"),
            ("target_name", "ann"),
            ("grant_type", "password"),
            ("subject_action", "created"),
            ("subject_user", "u2"),
        ] {
            assert_eq!(text(name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(field(&rows, "status").unwrap(), 200_i32.to_be_bytes());
        assert_eq!(field(&rows, "target_uid").unwrap().len(), 16);
        assert_eq!(field(&rows, "source").unwrap().len(), 20);
        assert_eq!(field(&rows, "client"), None);
        assert_eq!(field(&rows, "line").unwrap(), line);
        assert_eq!(field(&rows, "record").unwrap()[1..], *line);
        assert_eq!(field(&rows, "raw"), None);
        assert_eq!(rows.months, [YearMonth(2026, 3)]);
    }

    #[test]
    fn what_jsonb_cannot_hold_stays_as_text() {
        let line = |path: &str| {
            format!(r#"{{"seq":7,"time":"2026-03-04T05:06:07.000089Z","path":"{path}"}}"#)
        };
        for (path, is_json) in [
            (r"a\u0000b", false),
            (r"a\\\u0000b", false),
            (r"a\\u0000b", true),
            (r"a\\u0000\u0000", false),
            ("a", true),
        ] {
            let rows = encoded(line(path).as_bytes(), Form::Full).unwrap();
            assert_eq!(field(&rows, "record").is_some(), is_json, "{path}");
            assert_eq!(field(&rows, "line").unwrap(), line(path).as_bytes());
            assert!(!field(&rows, "path").unwrap().contains(&0), "{path}");
        }
    }

    #[test]
    fn each_form_has_less_than_the_one_before() {
        let line = br#"{"seq":7,"time":"2026-03-04T05:06:07.000089Z","client":"a"}"#;
        let count = |form| {
            let rows = encoded(line, form).unwrap();
            fields(&rows).iter().flatten().count()
        };
        assert_eq!(count(Form::Full), 6);
        assert_eq!(count(Form::WithoutJson), 5);
        assert_eq!(count(Form::Bare), 4);
        assert_eq!(Form::Bare.lesser(), None);
    }

    #[test]
    fn a_record_without_a_partition_is_refused() {
        for line in [
            r#"{"seq":7}"#,
            r#"{"seq":7,"time":7}"#,
            r#"{"seq":7,"time":"1969-12-31T23:59:59.999999Z"}"#,
            r#"{"seq":7,"time":"9999-01-01T00:00:00Z"}"#,
            "no JSON",
        ] {
            let refused = encoded(line.as_bytes(), Form::Full);
            let refused = matches!(refused, Err(Fault::Refused { seq: 7, .. }));
            assert!(refused, "{line}");
        }
    }

    #[test]
    fn years_end_in_december() {
        assert_eq!(YearMonth(2026, 12).next(), YearMonth(2027, 1));
        assert_eq!(YearMonth(2026, 3).next().first_day(), "2026-04-01");
    }
}
