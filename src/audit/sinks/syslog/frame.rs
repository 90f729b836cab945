//! One record as a message of RFC 5424, behind the count of its octets.
//!
//! The message is the record's line to the byte, without a byte order mark: it is JSON, which must
//! not begin with one (RFC 8259 §8.1), and RFC 5424 lets a message be octets of any kind (§6.4,
//! `MSG-ANY`).

use std::io::Write as _;

use super::super::Item;
use super::super::peek::{Peek, Weight};
use super::SyslogSettings;

/// What all messages of a sink have in common.
pub(super) struct Label {
    facility: u8,
    hostname: String,
    process: u32,
    /// The name of the structured data.
    data: String,
}

impl Label {
    pub(super) fn new(settings: &SyslogSettings) -> Self {
        let own = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let hostname = settings.hostname.clone().unwrap_or_else(own);
        Self {
            facility: settings.facility,
            hostname: printable(hostname.trim(), 255),
            process: std::process::id(),
            data: format!("audit@{}", settings.enterprise),
        }
    }

    /// Writes a record behind what is there.
    pub(super) fn write(&self, item: &Item, out: &mut Vec<u8>) {
        let header = self.header(item);
        let length = header.len() + item.line.len();
        // Writing to memory cannot fail.
        write!(out, "{length} ").unwrap_or_default();
        out.extend_from_slice(&header);
        out.extend_from_slice(&item.line);
    }

    fn header(&self, item: &Item) -> Vec<u8> {
        let peek = Peek::at(&item.line);
        let severity = match peek.weight() {
            Weight::Usual => 6,
            Weight::Notable => 5,
            Weight::Warning => 4,
            Weight::Error => 3,
        };
        let priority = u16::from(self.facility) * 8 + severity;
        let time = peek.stamp().map(|stamp| stamp.text().to_vec());
        let time = time.unwrap_or_else(|| b"-".to_vec());
        let kind = printable(peek.kind(), 32);
        let mut out = Vec::with_capacity(256);
        write!(out, "<{priority}>1 ").unwrap_or_default();
        out.extend_from_slice(&time);
        let (hostname, process) = (&self.hostname, self.process);
        write!(out, " {hostname} vspc-gateway {process} {kind} ").unwrap_or_default();
        write!(out, "[{} id=\"", self.data).unwrap_or_default();
        value(&mut out, &item.id);
        write!(out, "\" seq=\"{}\"", item.seq).unwrap_or_default();
        if let Some(code) = peek.code() {
            out.extend_from_slice(b" code=\"");
            value(&mut out, code);
            out.push(b'"');
        }
        out.extend_from_slice(b"] ");
        out
    }
}

/// A field of the header: printable ASCII, and not empty.
fn printable(text: &str, most: usize) -> String {
    let text: String = text
        .chars()
        .filter(char::is_ascii_graphic)
        .take(most)
        .collect();
    match text.is_empty() {
        true => "-".to_owned(),
        false => text,
    }
}

/// The value of structured data.
fn value(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\' | b']') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}
