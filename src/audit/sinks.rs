//! Where records go besides the log.

pub mod postgres;

/// A record on its way out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// Its number.
    pub seq: u64,
    /// What it is called outside: `<origin>#<seq>`.
    pub id: String,
    /// The JSON object, without the newline.
    pub line: Vec<u8>,
}
