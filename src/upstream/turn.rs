//! Leave to send a request to a console: a place there, and a console that works.

use std::sync::Arc;

use tokio::time::Instant;

use super::addresses::Balance;
use super::breaker::{Call, Open, Verdict};
use super::share::{Party, Place, Refused, User};
use super::{Console, UpstreamError};
use crate::request::CanonicalPath;

/// Leave to send a request to a console. Its place is somebody else's when it is dropped.
#[derive(Debug)]
pub struct Turn {
    place: Place,
    call: Call,
    /// The addresses, where there is a choice among them.
    addresses: Option<Arc<Balance>>,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoTurn {
    /// Others have the places, or the time.
    #[error(transparent)]
    Share(#[from] Refused),
    /// The console is left alone.
    #[error(transparent)]
    Unwell(#[from] Open),
}

impl Console {
    /// A turn, where nobody has to wait for one.
    ///
    /// # Errors
    /// Fails while the console is left alone.
    pub fn try_turn(&self, party: &Party) -> Result<Option<Turn>, NoTurn> {
        self.breaker.check()?;
        let Some(place) = self.shares.try_enter(party) else {
            return Ok(None);
        };
        let call = self.breaker.admit()?;
        Ok(Some(self.begin(place, call)))
    }

    /// A turn, after those who are before.
    ///
    /// # Errors
    /// Says what is short, or that the console is left alone.
    pub async fn turn(&self, party: &Party) -> Result<Turn, NoTurn> {
        self.breaker.check()?;
        let deadline = Instant::now() + self.settings.sharing.turn_wait;
        let place = self.shares.enter(party, deadline).await?;
        let call = self.breaker.admit()?;
        Ok(self.begin(place, call))
    }

    /// Another turn for whoever had one and sends its request once more.
    ///
    /// # Errors
    /// As [`Console::turn`].
    pub async fn turn_again(&self, turn: Turn, deadline: Instant) -> Result<Turn, NoTurn> {
        let Turn { place, call, .. } = turn;
        drop(call);
        let place = place.again(deadline).await?;
        let call = self.breaker.admit()?;
        Ok(self.begin(place, call))
    }

    fn begin(&self, place: Place, call: Call) -> Turn {
        let addresses = self.balance.clone();
        Turn {
            place,
            call,
            addresses,
        }
    }
}

impl Turn {
    /// Judges the console by what came of a request. One address that fails is not the console, as
    /// long as another one answers.
    pub fn report<T>(
        &self,
        answer: &Result<http::Response<T>, UpstreamError>,
        path: &CanonicalPath,
    ) {
        let excused = |balance: &Arc<Balance>| balance.excuses(answer);
        if self.addresses.as_ref().is_some_and(excused) {
            return;
        }
        if let Some(verdict) = Verdict::of(answer, path) {
            self.call.report(verdict);
        }
    }

    /// The console throttles the user of the request that had the turn, for so long.
    pub fn throttled(&self, user: User, time: std::time::Duration) {
        self.place.throttled(user, time);
    }
}
