//! The gateway's own correlation id.

use std::cell::Cell;
use std::fmt;

use aws_lc_rs::rand;

use crate::clock::Timestamp;

/// A time-ordered id of 26 characters (Crockford base 32), unique across processes.
///
/// It goes back to the caller as `X-Gateway-Request-Id` and into every audit record, and is never
/// sent to the console: there `X-Request-id` is an idempotence key, not a trace id.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct RequestId([u8; 26]);

impl RequestId {
    /// Makes an id for a request that arrived at `now`.
    pub fn new(now: Timestamp) -> Self {
        let millis = u128::from(now.0.div_euclid(1000).unsigned_abs()) & ((1 << 48) - 1);
        let (thread, count) = next();
        Self::encode((millis << 80) | (u128::from(thread & 0xffff) << 64) | u128::from(count))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // The alphabet is ASCII, so this never takes the empty branch.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The id as the ASCII bytes of its text.
    pub fn as_bytes(&self) -> &[u8; 26] {
        &self.0
    }

    fn encode(bits: u128) -> Self {
        let mut text = [b'0'; 26];
        for (place, slot) in text.iter_mut().rev().enumerate() {
            let digit = (bits >> (5 * place)) & 31;
            *slot = usize::try_from(digit)
                .ok()
                .and_then(|d| ALPHABET.get(d))
                .copied()
                .unwrap_or(b'0');
        }
        Self(text)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A random start for each thread and a count from there: no two threads share a cache line.
fn next() -> (u64, u64) {
    thread_local! {
        static STATE: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
    }
    STATE.with(|state| {
        let (thread, count) = state.get().unwrap_or_else(|| (random(), random()));
        state.set(Some((thread, count.wrapping_add(1))));
        (thread, count)
    })
}

fn random() -> u64 {
    let mut bytes = [0_u8; 8];
    // Ids need to differ, not to be secret: with no randomness the time still tells them apart.
    rand::fill(&mut bytes).map_or(0, |()| u64::from_le_bytes(bytes))
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
