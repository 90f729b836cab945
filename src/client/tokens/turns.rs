//! Which refresh tokens were used: one number for each log-in that was ever refreshed.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::client::LoginId;
use crate::state::{Change, State, StateError, Table};

/// How far a log-in has come.
#[derive(Clone, Copy, Debug, Default)]
struct Turns {
    /// The turn of the refresh token that is good.
    current: u32,
    /// When the one before was used, in seconds.
    taken: i64,
    /// When nothing of the log-in is good any more.
    ends: i64,
}

/// Uses the refresh token of a turn and gives the turn of the next one; none if it is not good.
/// Then the log-in ends.
///
/// `ends` is when the last token ends that comes of it.
pub(super) fn take(
    state: &State,
    login: LoginId,
    turn: u32,
    now: i64,
    ends: i64,
    swept: &AtomicI64,
) -> Result<Option<u32>, StateError> {
    let name = login.0.as_bytes();
    state.change(Table::Logins, |change| {
        if now.saturating_sub(swept.load(Ordering::Relaxed)) >= SWEEP_EVERY {
            sweep(change, now)?;
            swept.store(now, Ordering::Relaxed);
        }
        let turns = Turns::stored(change, name)?;
        let (next, taken) = match turns.judge(turn, now) {
            Judged::Current => (turn.saturating_add(1), now),
            // The answer was lost: its repeat is worth as much, and no more.
            Judged::Predecessor => return Ok(Some(turns.current)),
            Judged::Used => (ENDED, now),
        };
        // Whatever the lifetimes were when its tokens were issued.
        let ends = ends.max(turns.ends);
        let current = next;
        change.put(
            name,
            &Turns {
                current,
                taken,
                ends,
            }
            .written(),
        )?;
        Ok((next != ENDED).then_some(next))
    })
}

/// Ends a log-in: none of its refresh tokens is good any more.
pub(super) fn end(state: &State, login: LoginId, now: i64, ends: i64) -> Result<(), StateError> {
    let name = login.0.as_bytes();
    state.change(Table::Logins, |change| {
        let ends = ends.max(Turns::stored(change, name)?.ends);
        let ended = Turns {
            current: ENDED,
            taken: now,
            ends,
        };
        change.put(name, &ended.written())
    })
}

/// Whether the refresh token of a turn is good.
pub(super) fn look(state: &State, login: LoginId, turn: u32, now: i64) -> Result<bool, StateError> {
    let turns = match state.get(Table::Logins, login.0.as_bytes()) {
        Ok(stored) => Turns::read(stored.as_deref().map(Vec::as_slice)),
        Err(StateError::Damaged) => Turns::UNREADABLE,
        Err(error) => return Err(error),
    };
    Ok(turns.judge(turn, now) != Judged::Used)
}

#[derive(Eq, PartialEq)]
enum Judged {
    Current,
    Predecessor,
    Used,
}

impl Turns {
    fn judge(self, turn: u32, now: i64) -> Judged {
        if self.current == ENDED {
            Judged::Used
        } else if turn == self.current {
            Judged::Current
        } else if turn.checked_add(1) == Some(self.current)
            && now <= self.taken.saturating_add(GRACE)
        {
            Judged::Predecessor
        } else {
            Judged::Used
        }
    }

    fn stored(change: &Change<'_>, name: &[u8]) -> Result<Self, StateError> {
        match change.get(name) {
            Ok(stored) => Ok(Self::read(stored.as_deref().map(Vec::as_slice))),
            Err(StateError::Damaged) => Ok(Self::UNREADABLE),
            Err(error) => Err(error),
        }
    }

    /// What cannot be read is not good.
    const UNREADABLE: Self = Self {
        current: ENDED,
        taken: 0,
        ends: 0,
    };

    /// A log-in that was never refreshed has no number.
    fn read(stored: Option<&[u8]>) -> Self {
        let parse = |bytes: &[u8]| {
            let (current, rest) = bytes.split_first_chunk::<4>()?;
            let (taken, rest) = rest.split_first_chunk::<8>()?;
            Some(Self {
                current: u32::from_be_bytes(*current),
                taken: i64::from_be_bytes(*taken),
                ends: i64::from_be_bytes(*rest.first_chunk::<8>()?),
            })
        };
        let Some(bytes) = stored else {
            return Self::default();
        };
        parse(bytes).unwrap_or(Self::UNREADABLE)
    }

    fn written(self) -> Vec<u8> {
        [
            &self.current.to_be_bytes()[..],
            &self.taken.to_be_bytes(),
            &self.ends.to_be_bytes(),
        ]
        .concat()
    }
}

/// The log-ins that have ended before their tokens did, and when the last of these does.
pub(super) fn ended(state: &State) -> Result<Vec<(LoginId, i64)>, StateError> {
    let all = state.all(Table::Logins)?.into_iter();
    Ok(all
        .filter_map(|(name, value)| {
            let turns = Turns::read(Some(&value));
            let login = LoginId(uuid::Uuid::from_slice(&name).ok()?);
            (turns.current == ENDED).then_some((login, turns.ends))
        })
        .collect())
}

/// Forgets the log-ins of which no token can be good any more. A clock that was wrong for some
/// days does not make them good again. What cannot be read is left: it is not good, and somebody
/// may want to look at it.
fn sweep(change: &mut Change<'_>, now: i64) -> Result<(), StateError> {
    for name in change.names()? {
        let turns = Turns::stored(change, &name)?;
        if turns.ends > 0 && turns.ends.saturating_add(MARGIN) < now {
            change.remove(&name)?;
        }
    }
    Ok(())
}

/// How long the predecessor of the newest refresh token is good, in seconds.
const GRACE: i64 = 60;
/// No token has this turn.
const ENDED: u32 = u32::MAX;
const SWEEP_EVERY: i64 = 60 * 60;
/// For clocks that are wrong, in seconds.
const MARGIN: i64 = 7 * 24 * 60 * 60;
