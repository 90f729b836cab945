//! A console of raw TCP that writes down every byte, reads requests strictly, and answers as each
//! case says. Log-ins it answers by itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::wire::{self, Framing, Head, holds, shown};

/// What the console does with the request of a case.
#[derive(Clone, Debug, Default)]
pub(super) enum Script {
    /// Answers 200 with the path.
    #[default]
    Ok,
    /// Answers these bytes, and goes on.
    Says(Vec<u8>),
    /// The same, and ends the connection.
    SaysAndCloses(Vec<u8>),
    /// The same, and resets the connection.
    SaysAndResets(Vec<u8>),
    /// Says something before it has read the body, and then nothing more.
    SaysEarly(Vec<u8>),
    /// Says nothing.
    Silent,
    /// Ends the connection at once.
    Closes,
}

/// A request that reached the console.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached {
    pub(super) connection: usize,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    pub(super) trailers: usize,
    /// Whether its end was seen.
    pub(super) complete: bool,
    /// Whether its connection has ended.
    pub(super) gone: bool,
    pub(super) raw: Vec<u8>,
}

impl Reached {
    /// Whether it belongs to the case of a marker.
    pub(super) fn is_of(&self, marker: &str) -> bool {
        let marker = marker.as_bytes();
        let named = holds(self.target.as_bytes(), marker);
        named
            || self
                .head
                .all("x-case")
                .iter()
                .any(|case| holds(case, marker))
    }
}

/// What has crossed on the console's side.
#[derive(Debug, Default)]
struct Wire {
    reached: Vec<Reached>,
    /// What could not be read as requests.
    doubts: Vec<String>,
    scripts: HashMap<String, Script>,
    connections: usize,
}

/// The console.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    wire: Arc<Mutex<Wire>>,
    changed: watch::Sender<()>,
}

impl Upstream {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            wire: Arc::default(),
            changed: watch::Sender::new(()),
        };
        tokio::spawn({
            let upstream = upstream.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(upstream.clone().talk(stream));
                }
            }
        });
        upstream
    }

    pub(super) fn learn(&self, marker: &str, script: &Script) {
        let mut wire = self.wire.lock().unwrap();
        wire.scripts.insert(marker.to_owned(), script.clone());
    }

    /// What reached the console of a case.
    pub(super) fn reached(&self, marker: &str) -> Vec<Reached> {
        let wire = self.wire.lock().unwrap();
        let all = wire.reached.iter();
        all.filter(|request| request.is_of(marker))
            .cloned()
            .collect()
    }

    /// What reached the console that is of no case.
    pub(super) fn strays(&self, markers: &[String]) -> Vec<Reached> {
        let wire = self.wire.lock().unwrap();
        let is_stray = |request: &&Reached| markers.iter().all(|marker| !request.is_of(marker));
        wire.reached.iter().filter(is_stray).cloned().collect()
    }

    /// What could not be read as requests.
    pub(super) fn doubts(&self) -> Vec<String> {
        self.wire.lock().unwrap().doubts.clone()
    }

    /// Waits until something is true of what reached the console of a case.
    pub(super) async fn until(&self, marker: &str, fits: impl Fn(&[Reached]) -> bool) {
        let mut changes = self.changed.subscribe();
        while !fits(&self.reached(marker)) {
            changes.changed().await.unwrap();
        }
    }

    fn note<T>(&self, change: impl FnOnce(&mut Wire) -> T) -> T {
        let changed = change(&mut self.wire.lock().unwrap());
        self.changed.send_replace(());
        changed
    }

    async fn talk(self, mut stream: TcpStream) {
        let connection = self.note(|wire| {
            wire.connections += 1;
            wire.connections
        });
        let mut left = Vec::new();
        loop {
            match self.one(&mut stream, connection, &mut left).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(doubt) => {
                    self.note(|wire| wire.doubts.push(format!("{doubt} in {}", shown(&left))));
                    break;
                }
            }
        }
        self.note(|wire| {
            let of_it = wire.reached.iter_mut();
            of_it
                .filter(|request| request.connection == connection)
                .for_each(|request| request.gone = true);
        });
    }

    /// Reads a request and answers it. Says whether the connection goes on.
    async fn one(
        &self,
        stream: &mut TcpStream,
        connection: usize,
        left: &mut Vec<u8>,
    ) -> Result<bool, String> {
        let (head, length) = loop {
            if let Some(read) = wire::head(left)? {
                break read;
            }
            if !more(stream, left).await {
                return match left.is_empty() {
                    true => Ok(false),
                    false => Err("an unfinished head".to_owned()),
                };
            }
        };
        let framing = wire::framing_of_request(&head)?;
        let (method, target) = request_line(&head.start)?;
        if (method.as_str(), target.as_str()) == ("POST", "/api/v3/token") {
            let form = whole(stream, left, length, framing).await?;
            let form = form.map(|body| String::from_utf8_lossy(&body.bytes).into_owned());
            return Ok(say(stream, &token(&form.unwrap_or_default())).await);
        }
        let request = Reached {
            connection,
            method: method.clone(),
            target: target.clone(),
            head,
            ..Reached::default()
        };
        let (place, script) = self.note(|wire| {
            wire.reached.push(request);
            (wire.reached.len() - 1, wire.script_of(&target))
        });
        if let Script::SaysEarly(bytes) = &script {
            say(stream, bytes).await;
        }
        let mut raw = left.clone();
        let body = whole(stream, left, length, framing).await;
        let Some(body) = body? else {
            raw.clone_from(left);
            self.note(|wire| wire.reached[place].raw = raw);
            return Ok(false);
        };
        raw.truncate(length);
        self.note(|wire| {
            let reached = &mut wire.reached[place];
            (reached.body, reached.raw) = (body.bytes, raw);
            (reached.trailers, reached.complete) = (body.trailers.len(), true);
        });
        Ok(answer(stream, script, &method, &target).await)
    }
}

impl Wire {
    /// What is said to a request: what its case says, but for those behind its first.
    fn script_of(&self, target: &str) -> Script {
        let path = target.split('?').next().unwrap_or_default();
        if path.ends_with("/follower") || path.ends_with("/smuggled") {
            return Script::Ok;
        }
        let scripts = self.scripts.iter();
        let fits = |(marker, _): &(&String, &Script)| target.contains(marker.as_str());
        scripts
            .clone()
            .find(fits)
            .map(|(_, script)| script.clone())
            .unwrap_or_default()
    }
}

async fn answer(stream: &mut TcpStream, script: Script, method: &str, target: &str) -> bool {
    match script {
        Script::Ok => {
            let body = told(target);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let body = if method == "HEAD" { "" } else { &body };
            say(stream, format!("{head}{body}").as_bytes()).await
        }
        Script::Says(bytes) => say(stream, &bytes).await,
        Script::SaysAndCloses(bytes) => {
            say(stream, &bytes).await;
            drop(stream.shutdown().await);
            false
        }
        Script::SaysAndResets(bytes) => {
            say(stream, &bytes).await;
            drop(stream.set_zero_linger());
            false
        }
        Script::SaysEarly(_) | Script::Silent => {
            let mut rest = Vec::new();
            while more(stream, &mut rest).await {}
            false
        }
        Script::Closes => false,
    }
}

/// The body of the answer to a request that went well.
pub(super) fn told(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    format!("served {path}")
}

/// The bearer that the console gives out for a user.
pub(super) fn bearer(user: &str) -> String {
    format!("as-{user}")
}

fn token(form: &str) -> Vec<u8> {
    let mut fields = form.split('&').filter_map(|pair| pair.split_once('='));
    let user = fields.find(|(name, _)| *name == "userUid");
    let access = bearer(user.map_or("service", |(_, user)| user));
    let body = format!(
        r#"{{"access_token":"{access}","token_type":"bearer","refresh_token":"refresh-of-the-service-account","mfa_token":null,"encrypted_code":null,"expires_in":3600}}"#
    );
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn request_line(line: &str) -> Result<(String, String), String> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts.as_slice() else {
        return Err(format!("a request line of {line:?}"));
    };
    if !method.bytes().all(|byte| byte.is_ascii_uppercase()) || !target.starts_with('/') {
        return Err(format!("a request line of {line:?}"));
    }
    Ok(((*method).to_owned(), (*target).to_owned()))
}

/// The body behind a head of a length, taken from what is left; `None` when it breaks off.
async fn whole(
    stream: &mut TcpStream,
    left: &mut Vec<u8>,
    head: usize,
    framing: Framing,
) -> Result<Option<wire::Body>, String> {
    loop {
        if let Some(body) = wire::body(&left[head..], framing)? {
            left.drain(..head + body.taken);
            return Ok(Some(body));
        }
        if !more(stream, left).await {
            return Ok(None);
        }
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    matches!(stream.read_buf(bytes).await, Ok(1..))
}

async fn say(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok()
}
