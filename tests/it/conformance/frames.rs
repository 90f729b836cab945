//! Frames of HTTP/2, written as they are told, whatever is wrong with them.

use std::collections::BTreeMap;

use super::caller::{Answer, Received};
use super::hpack::{self, Decoder};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITIZED: u8 = 0x20;

/// A frame.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) load: Load,
}

/// What a frame carries. What stands in braces is filled in before lengths are counted.
#[derive(Clone, Debug)]
pub(super) enum Load {
    Bytes(Vec<u8>),
    Fields(Vec<(Vec<u8>, Vec<u8>)>),
}

impl Frame {
    pub(super) fn bytes(kind: u8, flags: u8, stream: u32, bytes: impl AsRef<[u8]>) -> Self {
        let load = Load::Bytes(bytes.as_ref().to_vec());
        Self {
            kind,
            flags,
            stream,
            load,
        }
    }

    /// The frame on the wire.
    pub(super) fn encode(&self, fill: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let load = match &self.load {
            Load::Bytes(bytes) => fill(bytes),
            Load::Fields(fields) => {
                let filled = fields.iter().map(|(name, value)| (fill(name), fill(value)));
                hpack::encode(&filled.collect::<Vec<_>>())
            }
        };
        let length = u32::try_from(load.len()).unwrap().to_be_bytes();
        let stream = self.stream.to_be_bytes();
        [&length[1..], &[self.kind, self.flags], &stream, &load].concat()
    }
}

/// Reads what a server sent.
pub(super) fn answers(raw: &[u8]) -> Received {
    let mut received = Received {
        raw: raw.to_vec(),
        ..Received::default()
    };
    let mut decoder = Decoder::default();
    let mut streams: BTreeMap<u32, Answer> = BTreeMap::new();
    let mut block = Vec::new();
    let mut rest = raw;
    while let Some((head, after)) = rest.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some((load, after)) = after.split_at_checked(length) else {
            break;
        };
        rest = after;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (kind, flags) = (head[3], head[4]);
        match kind {
            HEADERS | CONTINUATION => {
                block.extend_from_slice(load);
                if flags & END_HEADERS != 0 {
                    let Some(fields) = decoder.decode(&std::mem::take(&mut block)) else {
                        received.doubt = Some("a malformed block".to_owned());
                        break;
                    };
                    note(
                        streams.entry(stream).or_default(),
                        fields,
                        &mut received.interim,
                    );
                }
            }
            DATA => streams
                .entry(stream)
                .or_default()
                .body
                .extend_from_slice(load),
            RST_STREAM => received.resets += 1,
            GOAWAY => received.told_to_go = true,
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            streams.entry(stream).or_default().complete = true;
        }
    }
    received.answers = streams
        .into_values()
        .filter(|answer| answer.status > 0)
        .collect();
    received
}

fn note(answer: &mut Answer, fields: Vec<(String, Vec<u8>)>, interim: &mut usize) {
    let status = fields.iter().find(|(name, _)| name == ":status");
    let status = status.and_then(|(_, value)| String::from_utf8_lossy(value).parse().ok());
    match status {
        Some(100..200) => *interim += 1,
        Some(status) => (answer.status, answer.head.fields) = (status, fields),
        None => answer.trailers = fields,
    }
}
