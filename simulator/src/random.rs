//! Unpredictable values: token ids and API keys.

use uuid::{Builder, Uuid};

const KEY_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Returns `N` random bytes; all zero in the unheard-of case that the system has none to give.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    if aws_lc_rs::rand::fill(&mut out).is_err() {
        out = [0; N];
    }
    out
}

/// Returns a random version 4 UUID.
pub(crate) fn uuid() -> Uuid {
    Builder::from_random_bytes(bytes()).into_uuid()
}

/// Returns an opaque key of 128 characters, the length the console's API keys have.
pub(crate) fn api_key() -> String {
    bytes::<128>()
        .iter()
        .filter_map(|byte| KEY_ALPHABET.get(usize::from(byte & 63)))
        .map(|byte| char::from(*byte))
        .collect()
}
