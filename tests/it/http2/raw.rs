//! A caller that speaks HTTP/2 frame by frame, well or badly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use crate::harness::until;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
/// Of a request that is whole with its head.
pub(super) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The code of a reset by a caller that has lost interest.
pub(super) const CANCEL: [u8; 4] = [0, 0, 0, 8];

pub(super) struct Raw {
    write: OwnedWriteHalf,
    seen: Arc<Mutex<Seen>>,
    reading: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    frames: Vec<Frame>,
    closed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) carried: Vec<u8>,
}

impl Raw {
    /// Connects without a word.
    pub(super) async fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        let seen = Arc::<Mutex<Seen>>::default();
        let reading = tokio::spawn(follow(read, Arc::clone(&seen)));
        Self {
            write,
            seen,
            reading,
        }
    }

    /// Connects, with settings of one's own.
    pub(super) async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self::silent(address).await;
        let mut carried = Vec::new();
        for (name, value) in settings {
            carried.extend(name.to_be_bytes());
            carried.extend(value.to_be_bytes());
        }
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, &carried)].concat();
        assert!(raw.send(&hello).await);
        raw.until(|frames| frames.iter().any(|frame| frame.kind == SETTINGS))
            .await;
        raw
    }

    /// Sends bytes; says whether the connection still takes them.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.write.write_all(bytes).await.is_ok() && !self.is_closed()
    }

    /// Sends one after the other until the connection ends; says how many that were.
    pub(super) async fn flood(&mut self, most: u32, next: impl Fn(u32) -> Vec<u8>) -> u32 {
        for number in 0..most {
            if !self.send(&next(number)).await {
                return number;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        most
    }

    pub(super) fn is_closed(&self) -> bool {
        self.seen.lock().closed
    }

    pub(super) async fn until_closed(&self) {
        until(|| self.is_closed().then_some(())).await;
    }

    pub(super) fn frames(&self) -> Vec<Frame> {
        self.seen.lock().frames.clone()
    }

    pub(super) async fn until(&self, fits: impl Fn(&[Frame]) -> bool) {
        until(|| fits(&self.seen.lock().frames).then_some(())).await;
    }

    /// Stops reading, so that the gateway cannot get rid of what it has.
    pub(super) fn stop_reading(&self) {
        self.reading.abort();
    }
}

async fn follow(mut read: OwnedReadHalf, seen: Arc<Mutex<Seen>>) {
    while let Ok(frame) = next(&mut read).await {
        seen.lock().frames.push(frame);
    }
    seen.lock().closed = true;
}

async fn next(read: &mut OwnedReadHalf) -> std::io::Result<Frame> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut carried = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
    read.read_exact(&mut carried).await?;
    Ok(Frame {
        kind,
        flags,
        stream: u32::from_be_bytes(stream),
        carried,
    })
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, carried: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(carried.len()).unwrap().to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(carried);
    bytes
}

/// A header as it stands in a block, by its own bytes.
pub(super) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

/// A block of headers.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter();
    let fields = fields.flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes()));
    fields.collect()
}

/// A text with its length before it.
pub(super) fn text(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match u8::try_from(text.len()) {
        Ok(short) if short < 127 => bytes.push(short),
        _ => {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
    }
    bytes.extend(text);
    bytes
}
