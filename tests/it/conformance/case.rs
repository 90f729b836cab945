//! A case: what a caller sends, what the console answers, and what must come of it.

use super::frames::Frame;
use super::upstream::Script;
use super::wire::holds;

/// The key of a client that acts for acme alone, so that it need not say for whom.
pub(super) const KEY: &str = "vgk_conformance_solo_000000000000000000";
/// The key of a client that acts for acme and globex.
pub(super) const BOTH: &str = "vgk_conformance_both_000000000000000000";
/// The host that callers ask for.
pub(super) const HOST: &str = "gw.example";
/// What every request carries, and no answer to a refused one, and no record, may hold.
pub(super) const CANARY: &str = "c4n4ry";
/// What consoles say that no caller may see.
pub(super) const POISON: &str = "p0ison";

/// One thing that a caller does.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Sends bytes at once.
    Send(Vec<u8>),
    /// Sends bytes one by one.
    Trickle(Vec<u8>),
    /// Sends frames of HTTP/2.
    Frames(Vec<Frame>),
    /// Sends bytes one by one, so many milliseconds apart; the connection must end before the last.
    Drip(Vec<u8>, u64),
    /// The same with lines.
    Lines(Vec<u8>, u64),
    /// Waits for so many final answers, or streams that end otherwise.
    Answers(usize),
    /// Waits for an interim answer.
    Interim,
    /// Waits until the console has seen the head of the request.
    Reached,
    /// Ends its side of the connection.
    HalfClose,
    /// Resets the connection.
    Reset,
    /// Leaves the connection open for so many milliseconds, in which nothing more is sent.
    Idle(u64),
}

/// A request that the console must see.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
    /// Fields that must have exactly these values.
    pub(super) has: Vec<(String, Vec<u8>)>,
    /// Fields that must not be there.
    pub(super) lacks: Vec<String>,
}

/// What must come of a case.
#[derive(Clone, Debug)]
pub(super) enum Expect {
    /// Nothing reaches the console, the caller gets one of these, and the connection ends.
    Refused(Vec<(u16, &'static str)>),
    /// As before, but the connection may go on with the next request.
    Answered(Vec<(u16, &'static str)>),
    /// Nothing reaches the console; the connection ends with or without a 4xx, and echoes nothing.
    Dropped,
    /// The console never sees a whole request; the caller gets one of these, or nothing.
    Cut(Vec<(u16, &'static str)>),
    /// The console sees exactly these, and the caller gets as many answers, all of this status.
    Passed(u16, Vec<Seen>),
    /// The console sees the request; the caller gets one of these refusals.
    Fault(Vec<(u16, &'static str)>),
    /// The console sees the request; what the caller gets visibly breaks off, or is a 502.
    Torn,
    /// Of HTTP/2: the console never sees a whole request, and the stream or connection ends by a
    /// reset, or a 4xx.
    Shut,
    /// Of HTTP/2: the gateway ends the connection when at most so many requests reached the console.
    Flooded(usize),
    /// One of several.
    Either(Vec<Self>),
}

/// What is to be seen in the answer to the first request.
#[derive(Clone, Debug, Default)]
pub(super) struct Gets {
    pub(super) body: Option<Vec<u8>>,
    pub(super) has: Vec<(String, Vec<u8>)>,
    pub(super) lacks: Vec<String>,
    pub(super) interim: Option<usize>,
    pub(super) trailers: Option<bool>,
}

/// One case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// The row of the catalogue that it belongs to; 0 for messages that are valid.
    pub(super) row: u8,
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
    pub(super) script: Script,
    pub(super) expect: Expect,
    pub(super) gets: Gets,
    /// Whose token the console must see.
    pub(super) acts_as: &'static str,
    /// Whether a request is sent behind it on the same connection, and answered.
    pub(super) followed: bool,
    /// Whether HTTP/2 is spoken.
    pub(super) http2: bool,
    /// Whether a repair into one reading is good enough. At most eight cases may say so.
    pub(super) may_repair: bool,
}

impl Case {
    pub(super) fn new(row: u8, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Self {
        Self::of_steps(row, name, vec![Step::Send(bytes.as_ref().to_vec())])
    }

    pub(super) fn of_steps(row: u8, name: impl Into<String>, steps: Vec<Step>) -> Self {
        Self {
            row,
            name: name.into(),
            steps,
            script: Script::default(),
            expect: Expect::Dropped,
            gets: Gets::default(),
            acts_as: crate::harness::ACME,
            followed: false,
            http2: false,
            may_repair: false,
        }
    }

    /// One outcome is right: nothing reaches the console, and the connection ends.
    pub(super) fn refused(self, status: u16, code: &'static str) -> Self {
        self.expecting(Expect::Refused(vec![(status, code)]))
    }

    /// The gateway answers by itself, and may go on.
    pub(super) fn answered(self, status: u16, code: &'static str) -> Self {
        self.expecting(Expect::Answered(vec![(status, code)]))
    }

    /// A fault within a body.
    pub(super) fn cut(self) -> Self {
        self.expecting(Expect::Cut(vec![(400, "bad_request")]))
    }

    /// Reaches the console as one request, and one behind it does too.
    pub(super) fn passes(self, seen: Seen) -> Self {
        Self {
            followed: true,
            ..self.expecting(Expect::Passed(200, vec![seen]))
        }
    }

    /// As before, with nothing behind it: the gateway ends the connection.
    pub(super) fn passes_last(self, seen: Seen) -> Self {
        self.expecting(Expect::Passed(200, vec![seen]))
    }

    pub(super) fn expecting(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    /// What the console answers to it, byte for byte.
    pub(super) fn console(self, script: Script) -> Self {
        Self { script, ..self }
    }

    pub(super) fn with_status(mut self, status: u16) -> Self {
        if let Expect::Passed(expected, _) = &mut self.expect {
            *expected = status;
        }
        self
    }

    pub(super) fn getting(self, gets: Gets) -> Self {
        Self { gets, ..self }
    }

    /// The same for other bytes of the caller.
    pub(super) fn sending(mut self, bytes: Vec<u8>) -> Self {
        self.steps = Self::new(0, "", bytes).steps;
        self
    }

    /// A 502 instead is as good.
    pub(super) fn or_a_fault(self) -> Self {
        let fault = Expect::Fault(vec![(502, "upstream_invalid")]);
        let both = Expect::Either(vec![self.expect.clone(), fault]);
        self.expecting(both)
    }

    /// Sends everything byte by byte.
    pub(super) fn trickled(mut self) -> Self {
        self.name.push_str(", byte by byte");
        for step in &mut self.steps {
            if let Step::Send(bytes) = step {
                *step = Step::Trickle(std::mem::take(bytes));
            }
        }
        self
    }

    /// Says what is to be filled in, for the case of a number.
    pub(super) fn filled(mut self, number: usize) -> (String, Self) {
        let marker = format!("m{number:04}z");
        if self.followed {
            self.steps.push(Step::Send(FOLLOWER.to_vec()));
            self.expect.follow();
        }
        for step in &mut self.steps {
            match step {
                Step::Send(bytes) | Step::Trickle(bytes) => *bytes = fill(bytes, &marker),
                Step::Frames(frames) => {
                    let frames = frames.iter();
                    let encoded = frames.map(|frame| frame.encode(|text| fill(text, &marker)));
                    *step = Step::Send(encoded.collect::<Vec<_>>().concat());
                }
                _ => {}
            }
        }
        self.expect.fill(&marker);
        if let Some(body) = &mut self.gets.body {
            *body = fill(body, &marker);
        }
        (marker, self)
    }
}

impl Expect {
    fn fill(&mut self, marker: &str) {
        match self {
            Self::Passed(_, all) => {
                for seen in all {
                    let target = fill(seen.target.as_bytes(), marker);
                    seen.target = String::from_utf8(target).unwrap();
                    seen.body = fill(&seen.body, marker);
                }
            }
            Self::Either(several) => several.iter_mut().for_each(|one| one.fill(marker)),
            _ => {}
        }
    }

    fn follow(&mut self) {
        match self {
            Self::Passed(_, seen) => seen.push(get("/api/v3/{m}/follower")),
            Self::Either(several) => several.iter_mut().for_each(Self::follow),
            _ => {}
        }
    }

    /// The methods of what may pass.
    pub(super) fn methods(&self) -> Vec<String> {
        match self {
            Self::Passed(_, seen) => seen.iter().map(|seen| seen.method.clone()).collect(),
            Self::Either(several) => several.iter().flat_map(Self::methods).collect(),
            _ => Vec::new(),
        }
    }
}

impl Seen {
    pub(super) fn has(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.has.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(super) fn lacks(mut self, name: &str) -> Self {
        self.lacks.push(name.to_owned());
        self
    }
}

/// A request without a body, as the console must see it.
pub(super) fn get(target: &str) -> Seen {
    sees("GET", target, "")
}

/// A request as the console must see it.
pub(super) fn sees(method: &str, target: &str, body: impl AsRef<[u8]>) -> Seen {
    Seen {
        method: method.to_owned(),
        target: target.to_owned(),
        body: body.as_ref().to_vec(),
        ..Seen::default()
    }
}

/// A GET with these lines.
pub(super) fn get_with(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [
        b"GET /api/v3/{m} HTTP/1.1\r\n{auth}".as_slice(),
        lines.as_ref(),
        b"\r\n",
    ]
    .concat()
}

/// A POST with these lines, and what follows its head.
pub(super) fn post_with(lines: impl AsRef<[u8]>, rest: impl AsRef<[u8]>) -> Vec<u8> {
    [
        b"POST /api/v3/{m} HTTP/1.1\r\n{auth}".as_slice(),
        lines.as_ref(),
        b"\r\n",
        rest.as_ref(),
    ]
    .concat()
}

/// A POST in chunks: what follows its head.
pub(super) fn chunks(rest: impl AsRef<[u8]>) -> Vec<u8> {
    post_with("Transfer-Encoding: chunked\r\n", rest)
}

/// How long something is once it is filled in.
pub(super) fn length_of(template: impl AsRef<[u8]>) -> usize {
    fill(template.as_ref(), "m0000z").len()
}

/// Puts bytes together.
pub(super) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Fills in what stands in braces: `{m}` the case's own marker, `{key}` and `{both}` the keys,
/// `{auth}` the lines that every request needs, `{next}` a whole request that nobody meant to send.
fn fill(template: &[u8], marker: &str) -> Vec<u8> {
    let auth = format!("Host: {HOST}\r\nX-Api-Key: {KEY}\r\nX-Case: {marker}.{CANARY}\r\n");
    let next = format!("GET /api/v3/{marker}/smuggled HTTP/1.1\r\n{auth}\r\n");
    let mut filled = template.to_vec();
    for (name, value) in [
        ("{next}", next.as_str()),
        ("{auth}", &auth),
        ("{key}", KEY),
        ("{both}", BOTH),
        ("{m}", marker),
    ] {
        if holds(&filled, name.as_bytes()) {
            filled = replace(&filled, name.as_bytes(), value.as_bytes());
        }
    }
    filled
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len() + to.len());
    let mut rest = bytes;
    while let Some(at) = super::wire::find(rest, from) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

const FOLLOWER: &[u8] = b"GET /api/v3/{m}/follower HTTP/1.1\r\n{auth}Connection: close\r\n\r\n";
