//! The keys that sign the gateway's tokens: one signs, the others verify until no token can be good
//! that they have signed.

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
    /// Eight hex digits; and behind a hyphen how many seconds a token of it can live at most, which
    /// is read wherever the key is.
    pub(super) id: String,
    made: i64,
    life: i64,
    /// When the last token ends that it can have signed; none for the newest.
    ends: Option<i64>,
    pub(super) signs: EncodingKey,
    pub(super) verifies: DecodingKey,
}

/// What whoever signs needs of the keys, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// How long its tokens live at most.
    pub(super) life: i64,
    /// After which time it wants a new key; none is never.
    pub(super) renewal: Option<i64>,
}

impl Keyring {
    /// The keys in the state, after a new one was made where the newest is too old, or of too short
    /// a life, and those were forgotten that no living token can have been signed with. Blocks.
    pub(super) fn open(state: &State, now: Timestamp, needs: Needs) -> Result<Self, StateError> {
        state.change(Table::TokenKeys, |change| {
            let mut keys = read(change.all()?);
            let is_due = Self::newest_is_due(keys.last(), now, needs);
            turn(
                change,
                &mut keys,
                seconds(now),
                is_due.then_some(needs.life),
            )?;
            Ok(Self(keys))
        })
    }

    /// The same with a new key in any case, unless the newest has taken another's place within the
    /// last `gap` seconds: then none. Blocks.
    pub(super) fn rotate(
        state: &State,
        now: Timestamp,
        needs: Needs,
        gap: u64,
    ) -> Result<Option<Self>, StateError> {
        let now = seconds(now);
        state.change(Table::TokenKeys, |change| {
            let mut keys = read(change.all()?);
            if let [_, .., newest] = keys.as_slice()
                && newest.made.abs_diff(now) < gap
            {
                return Ok(None);
            }
            turn(change, &mut keys, now, Some(needs.life))?;
            Ok(Some(Self(keys)))
        })
    }

    /// The keys as another process may have left them. Reads the disk.
    pub(super) fn look(state: &State) -> Result<Self, StateError> {
        state.all(Table::TokenKeys).map(|all| Self(read(all)))
    }

    /// The key to sign a token with that lives so long at most. A new key waits a moment while an
    /// older one can sign: a process beside this one has read the new one by then, and need not look
    /// for it while somebody waits.
    pub(super) fn signer(&self, now: Timestamp, life: i64) -> Option<&Key> {
        let now = seconds(now);
        let mut fit = self.0.iter().rev().filter(|key| key.can_sign(now, life));
        let newest = fit.next();
        match newest {
            Some(young) if young.made.abs_diff(now) < LEAD => {
                fit.find(|key| key.made.abs_diff(now) >= LEAD).or(newest)
            }
            _ => newest,
        }
    }

    pub(super) fn newest(&self) -> Option<&Key> {
        self.0.last()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the last token ends that any but the newest can have signed.
    pub(super) fn others_end(&self) -> Option<i64> {
        self.0.iter().filter_map(|key| key.ends).max()
    }

    /// A key that is there, perhaps for nothing any more.
    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }

    /// Whether a new key is due.
    pub(super) fn is_due(&self, now: Timestamp, needs: Needs) -> bool {
        Self::newest_is_due(self.newest(), now, needs)
    }

    fn newest_is_due(newest: Option<&Key>, now: Timestamp, needs: Needs) -> bool {
        newest.is_none_or(|newest| {
            let renewal = needs.renewal.map(|after| newest.made.saturating_add(after));
            newest.life < needs.life || renewal.is_some_and(|at| at <= seconds(now))
        })
    }
}

/// Adds a key for tokens that live so long, if any is wanted, and forgets those that have ended.
fn turn(
    change: &mut Change<'_>,
    keys: &mut Vec<Key>,
    now: i64,
    life: Option<i64>,
) -> Result<(), StateError> {
    if let Some(life) = life {
        // The newest is the newest whatever the clock says: it may have been wrong.
        let made = keys.last().map_or(now, |key| now.max(key.made + 1));
        keys.push(make(change, made, life)?);
        set_ends(keys);
    }
    // From the oldest on: a key's end hangs on when the next was made.
    while let Some(oldest) = keys.first()
        && oldest.has_ended(now)
    {
        change.remove(oldest.id.as_bytes())?;
        keys.remove(0);
    }
    Ok(())
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
    set_ends(&mut keys);
    keys
}

/// A key signs until the next one is made, and in a process that has not heard of that a little
/// longer.
fn set_ends(keys: &mut [Key]) {
    let mut next = None;
    for key in keys.iter_mut().rev() {
        key.ends = next.map(|next: i64| next.saturating_add(key.life).saturating_add(MARGIN));
        next = Some(key.made);
    }
}

fn make(change: &mut Change<'_>, made: i64, life: i64) -> Result<Key, StateError> {
    let mut random = Zeroizing::new([0_u8; 36]);
    rand::fill(random.as_mut_slice()).map_err(|_| SecretError::NoRandomness)?;
    let (id, secret) = random.split_at(4);
    let id = format!("{}-{life}", hex::encode(id));
    let value = Zeroizing::new([&made.to_be_bytes(), secret].concat());
    change.put(id.as_bytes(), &value)?;
    Ok(Key::new(id, made, secret))
}

impl Key {
    fn new(id: String, made: i64, secret: &[u8]) -> Self {
        // Whoever made a key without it did not say how long its tokens live.
        let life = id.split_once('-').and_then(|(_, life)| life.parse().ok());
        Self {
            life: life.unwrap_or(LONGEST_LIFE),
            id,
            made,
            ends: None,
            signs: EncodingKey::from_secret(secret),
            verifies: DecodingKey::from_secret(secret),
        }
    }

    /// Whether no token of it can be good any more: what claims to be one was made by somebody who
    /// has an old key.
    pub(super) fn has_ended(&self, now: i64) -> bool {
        self.ends.is_some_and(|ends| ends < now)
    }

    fn can_sign(&self, now: i64, life: i64) -> bool {
        self.life >= life && !self.has_ended(now.saturating_add(life))
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

/// The most that a refresh token can be configured to live, in seconds.
pub(super) const LONGEST_LIFE: i64 = 90 * 24 * 60 * 60;
/// How long a key is known before it signs, while another can: longer than from one look for new
/// keys to the next.
pub(super) const LEAD: u64 = 5;
/// For clocks that differ, and a process that signs with the key before for a little longer.
const MARGIN: i64 = 24 * 60 * 60;
