//! Sealing: AES-256-GCM, bound to the place where a value is kept.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use super::{Opened, StateError};
use crate::secret::{Secret, SecretError};

/// Seals values and opens what it sealed.
pub(super) struct Seal(RandomizedNonceKey);

impl Seal {
    /// From a key of 64 hex digits.
    pub(super) fn new(key: &Secret) -> Option<Self> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(key.expose(), bytes.as_mut_slice()).ok()?;
        RandomizedNonceKey::new(&AES_256_GCM, bytes.as_slice())
            .ok()
            .map(Self)
    }

    /// Format byte, nonce, ciphertext and tag.
    pub(super) fn seal(
        &self,
        table: &str,
        name: &[u8],
        value: &[u8],
    ) -> Result<Vec<u8>, StateError> {
        // Reserved in full, so that growing leaves no copy of the value behind.
        let mut sealed = Vec::with_capacity(value.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(value);
        let nonce = self
            .0
            .seal_in_place_append_tag(place(table, name), &mut sealed)
            .map_err(|_| SecretError::NoRandomness)?;
        Ok([&[FORMAT], nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// The value, if it was sealed by this key for this place.
    pub(super) fn open(&self, table: &str, name: &[u8], sealed: &[u8]) -> Option<Opened> {
        let rest = sealed.strip_prefix(&[FORMAT])?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = Zeroizing::new(rest.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .0
            .open_in_place(nonce, place(table, name), &mut opened)
            .ok()?
            .len();
        opened.truncate(length);
        Some(opened)
    }
}

fn place(table: &str, name: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([table.as_bytes(), &[0], name].concat())
}

const FORMAT: u8 = 1;
