//! Which of a log's keys may sign how much.
//!
//! Keys are listed in the order in which they came into use. A key ends with the first checkpoint of
//! one that came after it: what it signs for more records than that was signed by somebody who has a
//! key that is out of use. A key that was taken up once more ends none of those before.

use std::collections::BTreeMap;

use super::note::{Note, VerifierKey};

/// The first checkpoint that each key signed.
#[derive(Debug, Default)]
pub(super) struct Handovers(BTreeMap<usize, u64>);

impl Handovers {
    /// Takes down a checkpoint of so many records, whose signatures were verified.
    pub(super) fn saw(&mut self, keys: &[VerifierKey], note: &Note, size: u64) {
        for key in keys.iter().filter(|key| note.is_by(key)) {
            if let Some(place) = keys.iter().position(|other| other == key) {
                let first = self.0.entry(place).or_insert(size);
                *first = (*first).min(size);
            }
        }
    }

    /// The most records that the key at a place of the list signs for; none if there is no limit.
    pub(super) fn end_of(&self, keys: &[VerifierKey], place: usize) -> Option<u64> {
        let successors = successors(keys, place);
        let firsts = successors.filter_map(|(place, _)| self.0.get(&place).copied());
        firsts.min()
    }

    /// The key that is listed last, if it has signed nothing though another has.
    pub(super) fn idle<'a>(&self, keys: &'a [VerifierKey]) -> Option<&'a VerifierKey> {
        let last = keys.last()?;
        let place = keys.iter().position(|key| key == last)?;
        (!self.0.is_empty() && !self.0.contains_key(&place)).then_some(last)
    }
}

/// The place of the newest key that signed a note. That a key's name stands there is not enough:
/// anybody can write a name.
pub(super) fn signer(keys: &[VerifierKey], note: &Note) -> Option<usize> {
    keys.iter()
        .rposition(|key| note.verify(std::slice::from_ref(key)).is_ok())
}

/// The keys, with their places, that came into use after the one at a place.
pub(super) fn successors(
    keys: &[VerifierKey],
    place: usize,
) -> impl Iterator<Item = (usize, &VerifierKey)> {
    let is_new = move |at: usize, key: &VerifierKey| {
        at > place && keys.iter().position(|other| other == key) == Some(at)
    };
    let all = keys.iter().enumerate();
    all.filter(move |(at, key)| is_new(*at, key))
}

#[cfg(test)]
mod tests {
    use super::super::note::Signer;
    use super::*;

    #[test]
    fn a_key_ends_with_the_first_checkpoint_of_one_that_came_after_it() {
        let signers: Vec<_> = (0..3).map(|_| Signer::generate("log").unwrap()).collect();
        let key = |at: usize| signers[at].verifier().clone();
        let note = |at: usize| signers[at].sign("log\n1\nx\n").unwrap();
        let end = |keys: &[usize], seen: &[(usize, u64)], of: usize| {
            let keys: Vec<_> = keys.iter().map(|at| key(*at)).collect();
            let mut handovers = Handovers::default();
            for (at, size) in seen {
                handovers.saw(&keys, &note(*at), *size);
            }
            let place = signer(&keys, &note(of)).unwrap();
            handovers.end_of(&keys, place)
        };
        for (keys, seen, of, expected) in [
            (&[0][..], &[(0, 5)][..], 0, None),
            (&[0, 1], &[(0, 5)], 0, None),
            (&[0, 1], &[(0, 5), (1, 7), (1, 6), (0, 9)], 0, Some(6)),
            (&[0, 1], &[(0, 5), (1, 7)], 1, None),
            // The checkpoints of the key between are gone.
            (&[0, 1, 2], &[(2, 8)], 0, Some(8)),
            (&[0, 1, 2], &[(1, 3), (2, 8)], 1, Some(8)),
            // The first key was taken up again.
            (&[0, 1, 0], &[(0, 1), (1, 5), (0, 9)], 0, None),
            (&[0, 1, 0], &[(0, 1), (1, 5), (0, 9)], 1, None),
            (&[0, 1, 0, 2], &[(1, 5), (2, 9)], 1, Some(9)),
        ] {
            assert_eq!(end(keys, seen, of), expected, "{keys:?} {seen:?} {of}");
        }
    }
}
