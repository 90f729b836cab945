//! One message after the other on a connection.

use super::answer::{AnswerReader, Asked};
use super::chunks::{Chunks, Portion};
use super::fault::{Fault, What};
use super::head::{Bounds, Head, HeadReader};
use super::{Framing, Minor};

/// How much of what came may go on to the parser behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look {
    /// So many bytes at the beginning; the rest is a head that is not whole yet, and is to be shown
    /// again together with what comes behind it.
    Pass(usize),
    /// So many bytes, and no byte after them ever: what follows cannot be read.
    Fault(usize, Fault),
    /// So many bytes, and no byte after them ever: nothing is expected to follow.
    Last(usize),
}

/// Follows the requests of a connection.
#[derive(Debug)]
pub struct Requests {
    bounds: Bounds,
    state: State<HeadReader>,
    /// Whether nothing follows the message that is being read: a connection of HTTP/1.0 has one
    /// request, since its readers do not agree where one without a length ends.
    last: bool,
}

/// Follows the answers of a connection.
#[derive(Debug)]
pub struct Answers {
    /// The most bytes of a head.
    limit: usize,
    state: State<Option<AnswerReader>>,
    interims: u8,
    /// Whether nothing is expected behind the answer that is being read: one of HTTP/1.0 is the last
    /// of its connection, as a request of it is.
    last: bool,
}

/// Where in a message a connection is.
#[derive(Debug)]
enum State<R> {
    Head(R),
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    /// Behind the last message that is read.
    Over,
}

impl<R> State<R> {
    /// The body of a message, or `next` where there is none.
    fn body(
        framing: Framing,
        next: impl FnOnce() -> Self,
        chunks: impl FnOnce() -> Chunks,
    ) -> Self {
        match framing {
            Framing::Chunked => Self::Chunked(chunks()),
            Framing::None | Framing::Length(0) => next(),
            Framing::Length(length) => Self::Length(length),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

impl Requests {
    /// Begins with the first request of a connection.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: State::Head(HeadReader::new(bounds)),
            last: false,
        }
    }

    /// Looks at bytes that come next; `head` is told of each head that is let through.
    pub fn look(&mut self, bytes: &[u8], mut head: impl FnMut(Head)) -> Look {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            match &mut self.state {
                State::Head(_) if rest.is_empty() => return Look::Pass(at),
                State::Head(reader) => match reader.read(rest) {
                    Ok(None) => return Look::Pass(at),
                    Ok(Some(found)) => {
                        at += found.size;
                        self.state = self.behind(found);
                        head(found);
                    }
                    Err(fault) => return self.fault(at, fault),
                },
                State::Length(left) => {
                    let here = piece(left, rest);
                    at += here;
                    if *left > 0 {
                        return Look::Pass(at);
                    }
                    self.state = self.next();
                }
                State::Chunked(chunks) => match chunks.read(rest) {
                    Ok(Portion::All) => return Look::Pass(bytes.len()),
                    Ok(Portion::End(here)) => {
                        at += here;
                        self.state = self.next();
                    }
                    Err(what) => return self.fault(at, what.in_body()),
                },
                State::UntilClose | State::Over => return Look::Last(at),
            }
        }
    }

    fn behind(&mut self, head: Head) -> State<HeadReader> {
        self.last = head.version == Minor::Zero;
        State::body(
            head.framing,
            || self.next(),
            || Chunks::new(self.bounds.body, self.bounds.head),
        )
    }

    /// What follows a message.
    fn next(&self) -> State<HeadReader> {
        if self.last {
            State::Over
        } else {
            State::Head(HeadReader::new(self.bounds))
        }
    }

    fn fault(&mut self, at: usize, fault: Fault) -> Look {
        self.state = State::Over;
        Look::Fault(at, fault)
    }

    /// Whether a request has begun of which the head is not whole; `withheld` is what there is of
    /// it.
    pub fn is_within_head(&self, withheld: &[u8]) -> bool {
        matches!(&self.state, State::Head(reader) if !reader.is_untouched(withheld))
    }

    /// Whether the bytes of a request's body are awaited.
    pub fn is_within_body(&self) -> bool {
        matches!(self.state, State::Chunked(_) | State::Length(_))
    }
}

impl Answers {
    /// Begins with a connection on which nothing was asked yet.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            state: State::Head(None),
            interims: 0,
            last: false,
        }
    }

    /// A request was sent: its answer is expected.
    pub fn expect(&mut self, asked: Asked) {
        if let State::Head(reader) = &mut self.state {
            *reader = Some(AnswerReader::new(asked, self.limit));
            self.interims = 0;
        }
    }

    /// Looks at bytes that come next.
    pub fn look(&mut self, bytes: &[u8]) -> Look {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            match &mut self.state {
                State::Head(None) if self.last => return self.over(at),
                State::Head(_) if rest.is_empty() => return Look::Pass(at),
                // Nobody asked for it: the next caller must not take it for an answer.
                State::Head(None) => return self.over(at),
                State::Head(Some(reader)) => match reader.read(rest) {
                    Ok(None) => return Look::Pass(at),
                    Ok(Some(answer)) => {
                        at += answer.size;
                        if answer.is_interim() {
                            let asked = reader.asked();
                            self.interims += 1;
                            if self.interims > INTERIMS {
                                return self.fault(at, What::Interims.into());
                            }
                            *reader = AnswerReader::new(asked, self.limit);
                        } else if answer.doubtful {
                            return self.over(at);
                        } else {
                            self.last = answer.version == Minor::Zero;
                            self.state = State::body(
                                answer.framing,
                                || State::Head(None),
                                || Chunks::new(u64::MAX, self.limit),
                            );
                        }
                    }
                    Err(fault) => return self.fault(at, fault),
                },
                State::Length(left) => {
                    let here = piece(left, rest);
                    at += here;
                    if *left > 0 {
                        return Look::Pass(at);
                    }
                    self.state = State::Head(None);
                }
                State::Chunked(chunks) => match chunks.read(rest) {
                    Ok(Portion::All) => return Look::Pass(bytes.len()),
                    Ok(Portion::End(here)) => {
                        at += here;
                        self.state = State::Head(None);
                    }
                    Err(what) => return self.fault(at, what.in_body()),
                },
                State::UntilClose => return Look::Pass(bytes.len()),
                State::Over => return Look::Last(at),
            }
        }
    }

    fn fault(&mut self, at: usize, fault: Fault) -> Look {
        self.state = State::Over;
        Look::Fault(at, fault)
    }

    fn over(&mut self, at: usize) -> Look {
        self.state = State::Over;
        Look::Last(at)
    }
}

/// Takes as much of a body as there is; says how much.
fn piece(left: &mut u64, rest: &[u8]) -> usize {
    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
    // Not more than what is left.
    *left -= u64::try_from(here).unwrap_or(*left);
    here
}

/// The most interim answers to one request.
const INTERIMS: u8 = 8;
