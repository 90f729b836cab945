//! The pause of all whom a console throttles together.

use tokio::time::{Duration, Instant};

use super::User;

/// A console that throttles two users within a second means their common address, or so it seems:
/// nobody goes for a while, then one request, and the others once that had its time to be throttled.
#[derive(Debug, Default)]
pub(super) struct CommonPause {
    until: Option<Instant>,
    trial: Trial,
    /// Whom the console throttled last, and when.
    throttled: Option<(User, Instant)>,
}

/// The first request after the pause.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Trial {
    /// None is needed.
    #[default]
    None,
    /// It has not gone yet.
    Due,
    /// It has; the others wait for what comes of it.
    UnderWay,
}

impl CommonPause {
    /// When anybody may go.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether nobody pauses, and none has to try.
    pub(super) fn is_over(&self) -> bool {
        self.trial == Trial::None
    }

    /// Forgets a pause whose trial went well.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.trial == Trial::UnderWay && self.until.is_none_or(|until| until <= now) {
            self.trial = Trial::None;
            self.until = None;
        }
    }

    /// The console throttles a user until then.
    pub(super) fn throttled(&mut self, user: User, until: Instant, now: Instant) {
        self.settle(now);
        let another = self.throttled.as_ref().filter(|(other, _)| *other != user);
        let is_common = another.is_some_and(|(_, at)| {
            self.trial == Trial::UnderWay || now.saturating_duration_since(*at) < TOGETHER
        });
        if is_common {
            self.until = self.until.max(Some(until.min(now + LONGEST)));
            self.trial = Trial::Due;
        }
        self.throttled = Some((user, now));
    }

    /// A request goes.
    pub(super) fn went(&mut self, now: Instant) {
        if self.trial == Trial::Due {
            self.trial = Trial::UnderWay;
            self.until = Some(now + TRIAL);
        }
    }
}

/// Two users that the console throttles within this time are throttled for their common address.
const TOGETHER: Duration = Duration::from_secs(1);
/// Perhaps it was a mistake: however long the console asks for, it is asked again after this.
const LONGEST: Duration = Duration::from_secs(5);
/// How long the first request may take to be throttled before the others follow.
const TRIAL: Duration = Duration::from_secs(1);
