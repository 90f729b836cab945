//! The two messages of the protocol, written and read by hand: `ExportLogsServiceRequest` and its
//! response.

use super::super::Item;
use super::super::peek::{Peek, Weight};
use crate::audit::read::visible;

/// The most characters of a text of the other end that are told.
const TOLD: usize = 200;

/// What the other end did not take.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Rejected {
    pub(super) count: u64,
    pub(super) why: String,
}

/// A request with all records of a batch.
pub(super) fn request(batch: &[Item]) -> Vec<u8> {
    let mut scope_logs = Vec::new();
    let mut scope = Vec::new();
    bytes(&mut scope, 1, b"vspc-gateway/audit");
    bytes(&mut scope, 2, VERSION.as_bytes());
    bytes(&mut scope_logs, 1, &scope);
    for item in batch {
        bytes(&mut scope_logs, 2, &record(item));
    }
    let mut resource = Vec::new();
    attribute(&mut resource, 1, "service.name", "vspc-gateway");
    attribute(&mut resource, 1, "service.version", VERSION);
    let mut resource_logs = Vec::new();
    bytes(&mut resource_logs, 1, &resource);
    bytes(&mut resource_logs, 2, &scope_logs);
    let mut request = Vec::new();
    bytes(&mut request, 1, &resource_logs);
    request
}

/// One `LogRecord`: its body is the line as it stands in the log.
fn record(item: &Item) -> Vec<u8> {
    let peek = Peek::at(&item.line);
    let (number, name) = match peek.weight() {
        Weight::Usual => (9, "INFO"),
        Weight::Notable => (10, "INFO2"),
        Weight::Warning => (13, "WARN"),
        Weight::Error => (17, "ERROR"),
    };
    let stamp = peek.stamp().map_or(0, |stamp| stamp.0);
    let nanos = u64::try_from(stamp).unwrap_or(0).saturating_mul(1000);
    let mut record = Vec::with_capacity(item.line.len() + 256);
    fixed(&mut record, 1, nanos);
    varint_field(&mut record, 2, number);
    bytes(&mut record, 3, name.as_bytes());
    let mut body = Vec::with_capacity(item.line.len() + 8);
    // A text must be UTF-8; a line that is not was not written by this log.
    bytes(&mut body, 1, String::from_utf8_lossy(&item.line).as_bytes());
    bytes(&mut record, 5, &body);
    attribute(&mut record, 6, "log.record.uid", &item.id);
    let seq = match item.is_checkpoint {
        true => "audit.size",
        false => "audit.seq",
    };
    let mut number = Vec::new();
    varint_field(&mut number, 3, item.seq);
    pair(&mut record, 6, seq, &number);
    let members = [
        ("audit.kind", Some(peek.kind())),
        ("audit.code", peek.code()),
        ("audit.operation", peek.operation()),
    ];
    for (key, value) in members {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            attribute(&mut record, 6, key, value);
        }
    }
    fixed(&mut record, 11, nanos);
    bytes(
        &mut record,
        12,
        format!("vspc_gateway.audit.{}", peek.kind()).as_bytes(),
    );
    record
}

/// What of a batch the other end did not take, as it says itself. An answer that cannot be read
/// says nothing.
pub(super) fn rejected(answer: &[u8]) -> Option<Rejected> {
    let mut rest = answer;
    let mut partial = None;
    while let Some((field, value)) = read_field(&mut rest) {
        if let (1, Value::Bytes(bytes)) = (field, value) {
            partial = Some(bytes);
        }
    }
    let mut rest = partial?;
    let mut rejected = Rejected {
        count: 0,
        why: String::new(),
    };
    while let Some((field, value)) = read_field(&mut rest) {
        match (field, value) {
            (1, Value::Number(count)) => rejected.count = count,
            (2, Value::Bytes(text)) => {
                let text = String::from_utf8_lossy(text);
                let text: String = text.chars().take(TOLD).collect();
                rejected.why = visible(&text).into_owned();
            }
            _ => {}
        }
    }
    Some(rejected)
}

enum Value<'a> {
    Bytes(&'a [u8]),
    Number(u64),
    Other,
}

fn read_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = read_varint(rest)?;
    let value = match tag & 7 {
        0 => Value::Number(read_varint(rest)?),
        1 => skip(rest, 8)?,
        2 => {
            let length = usize::try_from(read_varint(rest)?).ok()?;
            let (bytes, others) = rest.split_at_checked(length)?;
            *rest = others;
            Value::Bytes(bytes)
        }
        5 => skip(rest, 4)?,
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn skip<'a>(rest: &mut &'a [u8], length: usize) -> Option<Value<'a>> {
    *rest = rest.get(length..)?;
    Some(Value::Other)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, others) = rest.split_first()?;
        *rest = others;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A `KeyValue` whose value is a text.
fn attribute(out: &mut Vec<u8>, field: u64, key: &str, value: &str) {
    let mut any = Vec::with_capacity(value.len() + 4);
    bytes(&mut any, 1, value.as_bytes());
    pair(out, field, key, &any);
}

/// A `KeyValue`.
fn pair(out: &mut Vec<u8>, field: u64, key: &str, any: &[u8]) {
    let mut pair = Vec::with_capacity(key.len() + any.len() + 8);
    bytes(&mut pair, 1, key.as_bytes());
    bytes(&mut pair, 2, any);
    bytes(out, field, &pair);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, u64::try_from(value.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(value);
}

fn fixed(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests;
