//! Bloom filters: sets that may say yes of what is not in them, never no of what is.

/// The bits for each value: less than one wrong yes in two hundred.
const BITS: usize = 12;
/// How many of them a value sets.
const PROBES: u64 = 7;
/// The most words of a filter: one that is too full says yes too often, which is only slow.
const WORDS: usize = u16::MAX as usize;

/// The hash of a member's text, whatever the case of its ASCII letters. It stands in files, so it
/// stays as it is.
pub(super) fn hash(tag: u8, text: &str) -> u64 {
    let bytes = text.bytes().map(|byte| byte.to_ascii_lowercase());
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in std::iter::once(tag).chain(bytes) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 30;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 27;
    hash = hash.wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Makes the filter of these hashes, in whole words.
pub(super) fn filter(hashes: &[u64]) -> Vec<u8> {
    let words = (hashes.len() * BITS).div_ceil(64).min(WORDS);
    let mut bits = vec![0; words * 8];
    for hash in hashes {
        for (at, bit) in places(bits.len(), *hash) {
            if let Some(byte) = bits.get_mut(at) {
                *byte |= bit;
            }
        }
    }
    bits
}

/// Whether the value of a hash may be in a filter.
pub(super) fn may_have(bits: &[u8], hash: u64) -> bool {
    !bits.is_empty()
        && places(bits.len(), hash)
            .all(|(at, bit)| bits.get(at).is_some_and(|byte| byte & bit != 0))
}

fn places(bytes: usize, hash: u64) -> impl Iterator<Item = (usize, u8)> {
    let count = u64::try_from(bytes)
        .unwrap_or(u64::MAX)
        .saturating_mul(8)
        .max(1);
    let step = hash.rotate_left(32) | 1;
    (0..PROBES).map(move |probe| {
        let bit = hash.wrapping_add(probe.wrapping_mul(step)) % count;
        (
            usize::try_from(bit / 8).unwrap_or(usize::MAX),
            1_u8 << (bit % 8),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_filter_is_found_and_little_else() {
        for count in [0_usize, 1, 5, 300] {
            let hashes: Vec<u64> = (0..count).map(|n| hash(1, &format!("Value {n}"))).collect();
            let bits = filter(&hashes);
            for n in 0..count {
                assert!(may_have(&bits, hash(1, &format!("vALUE {n}"))));
            }
            let wrong = (0..10_000)
                .filter(|n| may_have(&bits, hash(2, &format!("value {n}"))))
                .count();
            assert!(wrong < 200, "{wrong} of {count}");
        }
    }
}
