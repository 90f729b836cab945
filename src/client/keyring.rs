//! The keys that sign the gateway's tokens: the newest signs, the others verify.

use std::fmt;

use aws_lc_rs::rand;
use jsonwebtoken::{DecodingKey, EncodingKey};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::secret::SecretError;
use crate::state::{Change, State, StateError, Table};

/// All keys that are in use, the oldest first.
#[derive(Debug)]
pub(super) struct Keyring(Vec<Key>);

/// One key of 256 bits.
pub(super) struct Key {
    pub(super) id: String,
    made: i64,
    pub(super) signs: EncodingKey,
    pub(super) verifies: DecodingKey,
}

impl Keyring {
    /// The keys in the state, after a new one was made where the newest is too old, and those
    /// were forgotten that no living token can have been signed with. Blocks.
    pub(super) fn open(state: &State, now: Timestamp, token_life: i64) -> Result<Self, StateError> {
        let now = seconds(now);
        state.change(Table::TokenKeys, |change| {
            let mut keys = read(change.all()?);
            if keys
                .last()
                .is_none_or(|newest| newest.made + RENEWED_AFTER <= now)
            {
                keys.push(make(change, now)?);
            }
            // A key signs until the next one is made.
            while let [oldest, next, ..] = keys.as_slice()
                && next.made + token_life + MARGIN < now
            {
                change.remove(oldest.id.as_bytes())?;
                keys.remove(0);
            }
            Ok(Self(keys))
        })
    }

    /// The keys as another process may have left them. Reads the disk.
    pub(super) fn look(state: &State) -> Result<Self, StateError> {
        state.all(Table::TokenKeys).map(|all| Self(read(all)))
    }

    pub(super) fn newest(&self) -> Option<&Key> {
        self.0.last()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }

    /// Whether a new key is due.
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        self.newest()
            .is_none_or(|newest| newest.made + RENEWED_AFTER <= seconds(now))
    }
}

fn read(all: Vec<(Vec<u8>, Zeroizing<Vec<u8>>)>) -> Vec<Key> {
    let key = |(id, value): (Vec<u8>, Zeroizing<Vec<u8>>)| {
        let (made, secret) = value.split_first_chunk::<8>()?;
        Some(Key::new(
            String::from_utf8(id).ok()?,
            i64::from_be_bytes(*made),
            secret,
        ))
    };
    let mut keys: Vec<Key> = all.into_iter().filter_map(key).collect();
    keys.sort_by(|one, other| (one.made, &one.id).cmp(&(other.made, &other.id)));
    keys
}

fn make(change: &mut Change<'_>, now: i64) -> Result<Key, StateError> {
    let mut random = Zeroizing::new([0_u8; 36]);
    rand::fill(random.as_mut_slice()).map_err(|_| SecretError::NoRandomness)?;
    let (id, secret) = random.split_at(4);
    let id = hex::encode(id);
    let value = Zeroizing::new([&now.to_be_bytes(), secret].concat());
    change.put(id.as_bytes(), &value)?;
    Ok(Key::new(id, now, secret))
}

impl Key {
    fn new(id: String, made: i64, secret: &[u8]) -> Self {
        Self {
            id,
            made,
            signs: EncodingKey::from_secret(secret),
            verifies: DecodingKey::from_secret(secret),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

pub(super) fn seconds(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000_000)
}

/// How long a key signs.
const RENEWED_AFTER: i64 = 30 * 24 * 60 * 60;
/// For clocks that differ, and a process that signs with the key before for a little longer.
const MARGIN: i64 = 24 * 60 * 60;
