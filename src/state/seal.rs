//! Sealing: AES-256-GCM under a ring of keys, bound to the place where a value is kept.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::{Opened, StateError};
use crate::secret::{Secret, SecretError};

/// What tells a key from others, and nothing about it.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct KeyId([u8; 4]);

/// Opens what any of its keys sealed, and seals with one of them.
pub(super) struct Ring {
    keys: Vec<Key>,
    /// Which one seals.
    seals: usize,
}

struct Key {
    id: KeyId,
    aead: RandomizedNonceKey,
}

impl Ring {
    /// From keys of 64 hex digits, one a line; the first one seals.
    pub(super) fn parse(text: &Secret) -> Option<Self> {
        let mut keys: Vec<Key> = Vec::new();
        for line in text.expose().split_ascii_whitespace() {
            let key = Key::parse(line)?;
            if keys.iter().all(|other| other.id != key.id) {
                keys.push(key);
            }
        }
        (!keys.is_empty()).then_some(Self { keys, seals: 0 })
    }

    /// The ids of the keys, in their order.
    pub(super) fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.iter().map(|key| key.id)
    }

    /// The key that seals.
    pub(super) fn sealing(&self) -> Option<KeyId> {
        self.keys.get(self.seals).map(|key| key.id)
    }

    /// Whether that is the first one.
    pub(super) fn seals_first(&self) -> bool {
        self.seals == 0
    }

    /// Lets a key seal, by its place in the ring: another process may know no other one.
    pub(super) fn seal_with(&mut self, place: usize) {
        self.seals = place;
    }

    /// Whether a value has the present form and the first key's id.
    pub(super) fn is_first(&self, sealed: &[u8]) -> bool {
        let first = self.keys.first().map(|key| key.id.0);
        sealed.first() == Some(&FORMAT) && sealed.get(1..5) == first.as_ref().map(|id| &id[..])
    }

    /// Format byte, id of the key, nonce, ciphertext and tag.
    pub(super) fn seal(
        &self,
        table: &str,
        name: &[u8],
        value: &[u8],
    ) -> Result<Vec<u8>, StateError> {
        let key = self.keys.get(self.seals).ok_or(StateError::NotAKey)?;
        // Reserved in full, so that growing leaves no copy of the value behind.
        let mut sealed = Vec::with_capacity(value.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(value);
        let nonce = key
            .aead
            .seal_in_place_append_tag(place(&[FORMAT], table, name), &mut sealed)
            .map_err(|_| SecretError::NoRandomness)?;
        Ok([&[FORMAT], &key.id.0[..], nonce.as_ref(), &sealed].concat())
    }

    /// The value, if it was sealed by a key of the ring for this place.
    pub(super) fn open(&self, table: &str, name: &[u8], sealed: &[u8]) -> Option<Opened> {
        self.open_by(table, name, sealed).map(|(_, opened)| opened)
    }

    /// The value, and the place of the key that sealed it in the ring.
    pub(super) fn open_by(
        &self,
        table: &str,
        name: &[u8],
        sealed: &[u8],
    ) -> Option<(usize, Opened)> {
        match sealed.split_first()? {
            (&FORMAT, rest) => {
                let (id, rest) = rest.split_first_chunk::<4>()?;
                let mut keys = self.keys.iter().enumerate();
                let (index, key) = keys.find(|(_, key)| key.id.0 == *id)?;
                let opened = key.open(place(&[FORMAT], table, name), rest)?;
                Some((index, opened))
            }
            (&WITHOUT_ID, rest) => self.keys.iter().enumerate().find_map(|(index, key)| {
                let opened = key.open(place(&[], table, name), rest)?;
                Some((index, opened))
            }),
            _ => None,
        }
    }
}

impl Key {
    fn parse(hex_digits: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(hex_digits, bytes.as_mut_slice()).ok()?;
        let labelled = Zeroizing::new([ID_LABEL, bytes.as_slice()].concat());
        let digest = digest::digest(&digest::SHA256, &labelled);
        Some(Self {
            id: KeyId(*digest.as_ref().first_chunk()?),
            aead: RandomizedNonceKey::new(&AES_256_GCM, bytes.as_slice()).ok()?,
        })
    }

    fn open(&self, place: Aad<Vec<u8>>, sealed: &[u8]) -> Option<Opened> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = Zeroizing::new(rest.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .aead
            .open_in_place(nonce, place, &mut opened)
            .ok()?
            .len();
        opened.truncate(length);
        Some(opened)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn place(format: &[u8], table: &str, name: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([format, table.as_bytes(), &[0], name].concat())
}

/// With the id of the key.
pub(super) const FORMAT: u8 = 2;
/// As it was before there was a ring.
pub(super) const WITHOUT_ID: u8 = 1;
const ID_LABEL: &[u8] = b"vspc-gateway state key id\0";

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "aa";
    const B: &str = "bb";

    pub(crate) fn ring(keys: &[&str]) -> Ring {
        let lines: Vec<String> = keys.iter().map(|digits| digits.repeat(32)).collect();
        Ring::parse(&Secret::new(lines.join("\n"))).unwrap()
    }

    /// A value as it was sealed before there was a ring.
    pub(crate) fn sealed_before(digits: &str, table: &str, name: &[u8], value: &[u8]) -> Vec<u8> {
        let key = Key::parse(&digits.repeat(32)).unwrap();
        let mut sealed = value.to_vec();
        let nonce = key
            .aead
            .seal_in_place_append_tag(place(&[], table, name), &mut sealed)
            .unwrap();
        [&[WITHOUT_ID], nonce.as_ref().as_slice(), &sealed].concat()
    }

    #[test]
    fn the_first_key_seals_and_every_key_opens() {
        let sealed = ring(&[A]).seal("logins", b"a", b"value").unwrap();
        let both = ring(&[B, A]);
        let (place, opened) = both.open_by("logins", b"a", &sealed).unwrap();
        assert_eq!((place, opened.as_slice()), (1, &b"value"[..]));
        assert!(!both.is_first(&sealed));
        let anew = both.seal("logins", b"a", b"value").unwrap();
        assert!(both.is_first(&anew));
        assert!(ring(&[A]).open("logins", b"a", &anew).is_none());
        assert!(ring(&[B]).open("logins", b"a", &anew).is_some());
    }

    #[test]
    fn what_was_sealed_before_there_was_a_ring_opens() {
        let sealed = sealed_before(A, "logins", b"a", b"value");
        let both = ring(&[B, A]);
        assert_eq!(
            both.open("logins", b"a", &sealed).unwrap().as_slice(),
            b"value"
        );
        assert!(!ring(&[A]).is_first(&sealed), "it is to be sealed anew");
        assert!(both.open("logins", b"b", &sealed).is_none());
        assert!(ring(&[B]).open("logins", b"a", &sealed).is_none());
    }

    #[test]
    fn a_ring_is_made_of_keys_alone() {
        let key = "0f".repeat(32);
        let parse = |text: String| Ring::parse(&Secret::new(text));
        assert_eq!(parse(format!("{key}\r\n\n{key}\n")).unwrap().keys.len(), 1);
        for text in [
            String::new(),
            "\n".to_owned(),
            format!("{key}\nshort"),
            format!("{key}{key}"),
            format!("{key},{}", "ab".repeat(32)),
        ] {
            assert!(parse(text).is_none());
        }
    }

    proptest! {
        #[test]
        fn nothing_opens_that_was_damaged_or_moved(
            value in proptest::collection::vec(any::<u8>(), 0..200),
            name in proptest::collection::vec(any::<u8>(), 0..24),
            other_name in proptest::collection::vec(any::<u8>(), 0..24),
            at in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
            added in proptest::collection::vec(any::<u8>(), 1..20),
            old in any::<bool>(),
        ) {
            let both = ring(&[A, B]);
            let sealed = if old {
                sealed_before(B, "logins", &name, &value)
            } else {
                both.seal("logins", &name, &value).unwrap()
            };
            let opened = both.open("logins", &name, &sealed);
            prop_assert_eq!(opened.as_ref().map(|opened| opened.as_slice()), Some(&value[..]));

            let refused = |table: &str, name: &[u8], sealed: &[u8]| {
                both.open(table, name, sealed).is_none()
            };
            let index = at.index(sealed.len());
            let mut flipped = sealed.clone();
            flipped[index] ^= flip;
            prop_assert!(refused("logins", &name, &flipped), "byte {}", index);
            prop_assert!(refused("logins", &name, &sealed[..index]), "cut at {}", index);
            prop_assert!(refused("logins", &name, &[&sealed[..], &added].concat()));
            prop_assert!(refused("sessions", &name, &sealed));
            // What would make table and name run into each other.
            prop_assert!(refused("login", &[b"s", &name[..]].concat(), &sealed));
            if other_name != name {
                prop_assert!(refused("logins", &other_name, &sealed));
            }
            // The other form, whose place is written in another way.
            let mut other_form = sealed.clone();
            other_form[0] = if old { FORMAT } else { WITHOUT_ID };
            prop_assert!(refused("logins", &name, &other_form));
            prop_assert!(ring(&["cc"]).open("logins", &name, &sealed).is_none());
        }
    }
}
