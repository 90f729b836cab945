//! The one grammar of HTTP/1 messages: heads and the framing of bodies, as RFC 9112 has them and
//! nothing beside.
//!
//! The parsers of the libraries that read and write the messages are lenient here and there: a bare
//! line feed ends a line, equal lengths may be repeated. What could be read in a second way by
//! somebody else is a fault here. These readers look at bytes in place, on their way to the parser;
//! they keep numbers only, so that any number of connections can afford them, and they know nothing
//! of sockets.

mod answer;
mod chunks;
mod fault;
mod fields;
mod gate;
mod head;
mod lines;
mod stream;
mod target;
#[cfg(test)]
mod tests;

pub use answer::{Answer, AnswerReader, Asked};
pub use chunks::{Chunks, Portion};
pub use fault::{Fault, Place, What};
pub use gate::{Came, End, Gate};
pub use head::{Bounds, Head, HeadReader};
pub use stream::{Answers, Look, Requests};
pub use target::{is_host, is_plain_path};

/// How long a message's body is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// It comes in chunks, which tell their lengths.
    Chunked,
    /// So many bytes.
    Length(u64),
    /// There is none.
    None,
    /// It ends with its connection; answers only.
    UntilClose,
}

/// The version of HTTP that a message names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Minor {
    /// HTTP/1.0.
    Zero,
    /// HTTP/1.1.
    One,
}

/// The most lines of headers, and of trailers, in a message: the parsers behind have room for these.
pub const LINES: u16 = 100;
