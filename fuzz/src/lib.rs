//! What the fuzz targets promise, as plain functions: each panics where a promise is broken. The
//! targets run them over what the fuzzer thinks up, and `tests/it/fuzz_seeds.rs` over the corpus.

pub mod chunks;
pub mod config;
pub mod form;
pub mod head;
mod hyper_server;
pub mod jwt;
pub mod mapping;
pub mod multipart;
pub mod note;
pub mod path;

/// Where to cut an input that comes in pieces: other places for every input, the same ones each time.
fn cuts(data: &[u8]) -> Vec<usize> {
    let fnv = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let mut state = data.iter().fold(0xcbf2_9ce4_8422_2325, fnv) | 1;
    let mut cuts = vec![0];
    let mut at = 0;
    while at < data.len() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Short pieces are where readers stumble, long ones get through the input.
        let longest = if state & 0x300 == 0 { 64 } else { 5 };
        at = data.len().min(at + 1 + (state >> 32) as usize % longest);
        cuts.push(at);
    }
    cuts
}
