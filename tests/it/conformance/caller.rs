//! A caller that sends exact bytes and keeps every byte that comes back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

use super::case::{Case, Step};
use super::frames;
use super::upstream::Upstream;
use super::wire::{self, Framing, Head};

/// How a connection stands when a case is over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum End {
    #[default]
    Open,
    Closed,
    Reset,
}

/// An answer that came back.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, Vec<u8>)>,
    pub(super) complete: bool,
}

impl Answer {
    pub(super) fn code(&self) -> String {
        self.head.text("x-gateway-code").unwrap_or_default()
    }

    pub(super) fn request_id(&self) -> Option<String> {
        self.head.text("x-gateway-request-id")
    }
}

/// Everything that came back.
#[derive(Clone, Debug, Default)]
pub(super) struct Received {
    pub(super) raw: Vec<u8>,
    pub(super) answers: Vec<Answer>,
    pub(super) interim: usize,
    /// Streams of HTTP/2 that were reset.
    pub(super) resets: usize,
    /// Whether a connection of HTTP/2 was said to end.
    pub(super) told_to_go: bool,
    /// Why the rest is no answer.
    pub(super) doubt: Option<String>,
    pub(super) end: End,
    /// Whether a step waited for something in vain.
    pub(super) hung: bool,
    /// How long it took.
    pub(super) took: Duration,
}

impl Received {
    /// How many requests have come to an end.
    fn outcomes(&self) -> usize {
        self.answers.iter().filter(|answer| answer.complete).count()
            + self.resets
            + usize::from(self.told_to_go)
    }
}

/// Does what a case says and waits until the connection ends, or all answers are there that may
/// leave it open. No wait is longer than [`PATIENCE`].
pub(super) async fn run(
    address: SocketAddr,
    case: &Case,
    marker: &str,
    upstream: &Upstream,
) -> Received {
    let started = Instant::now();
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (reader, mut writer) = stream.into_split();
    let heard = Arc::new(Mutex::new((Vec::new(), End::Open)));
    let (tell, mut changes) = watch::channel(());
    let listening = tokio::spawn(listen(reader, Arc::clone(&heard), tell));
    let methods = methods(case);
    let read = || {
        let heard = heard.lock().unwrap();
        let mut received = match case.http2 {
            true => frames::answers(&heard.0),
            false => answers(&heard.0, &methods, heard.1),
        };
        received.end = heard.1;
        received
    };
    let mut hung = false;
    for step in &case.steps {
        // Whoever is refused early may still be sending.
        match step {
            Step::Send(bytes) => drop(writer.write_all(bytes).await),
            Step::Trickle(bytes) => {
                for byte in bytes {
                    drop(writer.write_all(std::slice::from_ref(byte)).await);
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
            Step::Frames(_) => unreachable!("they are bytes by now"),
            Step::Drip(bytes, pause) => {
                let bytes = bytes.iter().map(std::slice::from_ref);
                hung |= !drip(&mut writer, bytes, *pause, || is_over(&read())).await;
            }
            Step::Lines(bytes, pause) => {
                let lines = bytes.split_inclusive(|byte| *byte == b'\n');
                hung |= !drip(&mut writer, lines, *pause, || is_over(&read())).await;
            }
            Step::HalfClose => drop(writer.shutdown().await),
            Step::Reset => {
                drop(writer.as_ref().set_zero_linger());
                listening.abort();
                drop(listening.await);
                return Received { hung, ..read() };
            }
            Step::Answers(count) => {
                hung |= !until(&mut changes, || {
                    read().outcomes() >= *count || is_over(&read())
                })
                .await;
            }
            Step::Interim => {
                hung |= !until(&mut changes, || read().interim > 0 || is_over(&read())).await;
            }
            Step::Reached => {
                let reached = upstream.until(marker, |seen| !seen.is_empty());
                hung |= tokio::time::timeout(PATIENCE, reached).await.is_err();
            }
            Step::Idle(time) => {
                let time = Duration::from_millis(*time);
                let ended = async { while !is_over(&read()) && changes.changed().await.is_ok() {} };
                drop(tokio::time::timeout(time, ended).await);
            }
        }
    }
    until(&mut changes, || is_over(&read())).await;
    listening.abort();
    let took = started.elapsed();
    Received {
        hung,
        took,
        ..read()
    }
}

/// Sends piece by piece, so many milliseconds apart, until the connection is over. Says whether it
/// was before all were sent.
async fn drip<'a>(
    writer: &mut OwnedWriteHalf,
    pieces: impl Iterator<Item = &'a [u8]>,
    pause: u64,
    is_over: impl Fn() -> bool,
) -> bool {
    for piece in pieces {
        if is_over() || writer.write_all(piece).await.is_err() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    is_over()
}

fn is_over(received: &Received) -> bool {
    received.end != End::Open
}

/// Waits for a condition, no longer than [`PATIENCE`]; says whether it came true.
async fn until(changes: &mut watch::Receiver<()>, condition: impl Fn() -> bool) -> bool {
    let waiting = async {
        while !condition() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.is_ok() && condition()
}

async fn listen(
    mut reader: OwnedReadHalf,
    heard: Arc<Mutex<(Vec<u8>, End)>>,
    tell: watch::Sender<()>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = reader.read(&mut buffer).await;
        {
            let mut heard = heard.lock().unwrap();
            match read {
                Ok(0) => heard.1 = End::Closed,
                Ok(length) => heard.0.extend_from_slice(&buffer[..length]),
                Err(_) => heard.1 = End::Reset,
            }
        }
        tell.send_replace(());
        if !matches!(read, Ok(1..)) {
            return;
        }
    }
}

/// The methods of the requests that a case means to send, for the reading of their answers.
fn methods(case: &Case) -> Vec<String> {
    let passing = case.expect.methods();
    if !passing.is_empty() {
        return passing;
    }
    let is_head = |step: &Step| matches!(step, Step::Send(bytes) | Step::Trickle(bytes) if bytes.starts_with(b"HEAD "));
    vec![
        if case.steps.iter().any(is_head) {
            "HEAD"
        } else {
            "GET"
        }
        .to_owned(),
    ]
}

/// Reads what came back as answers.
fn answers(raw: &[u8], methods: &[String], end: End) -> Received {
    let mut received = Received {
        raw: raw.to_vec(),
        ..Received::default()
    };
    let mut rest = raw;
    while !rest.is_empty() {
        let method = methods
            .get(received.answers.len())
            .map_or("GET", String::as_str);
        match answer(rest, method, end) {
            Ok(Some((answer, taken))) => {
                rest = &rest[taken..];
                if (100..200).contains(&answer.status) && answer.status != 101 {
                    received.interim += 1;
                } else {
                    received.answers.push(answer);
                }
            }
            Ok(None) => break,
            Err(doubt) => {
                received.doubt = Some(doubt);
                break;
            }
        }
    }
    received
}

fn answer(raw: &[u8], method: &str, end: End) -> Result<Option<(Answer, usize)>, String> {
    let Some((head, length)) = wire::head(raw)? else {
        return match end {
            End::Open => Ok(None),
            _ => Err("an unfinished head".to_owned()),
        };
    };
    let status = status(&head.start)?;
    let framing = wire::framing_of_answer(&head, status, method)?;
    let mut answer = Answer {
        status,
        head,
        ..Answer::default()
    };
    match wire::body(&raw[length..], framing)? {
        Some(body) => {
            (answer.body, answer.trailers, answer.complete) = (body.bytes, body.trailers, true);
            Ok(Some((answer, length + body.taken)))
        }
        None if end == End::Open => Ok(None),
        None => {
            answer.body = raw[length..].to_vec();
            answer.complete = framing == Framing::UntilTheEnd && end == End::Closed;
            Ok(Some((answer, raw.len())))
        }
    }
}

fn status(line: &str) -> Result<u16, String> {
    let doubtful = || format!("a status line of {line:?}");
    let rest = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(1..))
        .ok_or_else(doubtful)?;
    let digits = rest.get(1..4).ok_or_else(doubtful)?;
    let well_formed = rest.starts_with(' ') && matches!(rest.as_bytes().get(4), None | Some(b' '));
    match digits.parse() {
        Ok(status @ 100..=599) if well_formed => Ok(status),
        _ => Err(doubtful()),
    }
}

/// The most that anything is waited for: longer than the gateway waits for a head.
const PATIENCE: Duration = Duration::from_secs(8);
