//! What a console has logged and what the gateway has recorded, laid side by side. No clock, no
//! files, no network.

mod matching;

use uuid::Uuid;

use matching::Matching;

/// What sort of thing happened.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum What {
    /// A log-in was refused.
    FailedLogin,
    /// An identity of a user was made: an API key, a key pair, a device for codes.
    IdentityCreated,
    /// An identity was removed.
    IdentityRemoved,
    /// Somebody began to act as another user.
    Impersonation,
    /// Somebody logged in.
    Login,
    /// The tokens of a user were revoked.
    Revocation,
    /// A user was made, changed or removed.
    User,
}

impl What {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::FailedLogin,
        Self::IdentityCreated,
        Self::IdentityRemoved,
        Self::Impersonation,
        Self::Login,
        Self::Revocation,
        Self::User,
    ];

    /// The name in metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailedLogin => "failed_login",
            Self::IdentityCreated => "identity_created",
            Self::IdentityRemoved => "identity_removed",
            Self::Impersonation => "impersonation",
            Self::Login => "login",
            Self::Revocation => "revocation",
            Self::User => "user",
        }
    }

    /// Whether one request may be behind several entries: whoever makes a company makes its owner.
    fn is_shared(self) -> bool {
        self == Self::User
    }
}

/// An entry of a console's activity log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logged {
    /// What happened.
    pub what: What,
    /// When, in microseconds since the Unix epoch, by the console's clock.
    pub at: i64,
    /// Who did it.
    pub by: Option<Uuid>,
    /// Of which organization.
    pub organization: Option<Uuid>,
    /// Whether only the gateway does such a thing by this account.
    pub is_ours: bool,
}

/// Something that the gateway has recorded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Done {
    /// What happened.
    pub what: What,
    /// When it began and ended, in microseconds since the Unix epoch, by the gateway's clock.
    pub span: (i64, i64),
    /// Whom the console may name, the likeliest first. Empty: somebody who is not known, none of
    /// the accounts that only the gateway uses.
    pub by: Vec<Uuid>,
    /// Of which organization, if that is known.
    pub organization: Option<Uuid>,
    /// Whether the console must have logged it; else it may have.
    pub is_certain: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From this time on, in microseconds since the Unix epoch. What is earlier is there as a
    /// partner only.
    pub from: i64,
    /// Before this time. What is later is there as a partner only.
    pub to: i64,
    /// How much the clocks may differ, in microseconds.
    pub skew: i64,
}

impl Bounds {
    fn have(&self, at: i64) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// What has no partner.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Compared {
    /// Places of entries of our accounts that the gateway has no record of.
    pub strangers: Vec<usize>,
    /// Places of what the gateway has done that the console has not logged.
    pub unlogged: Vec<usize>,
    /// How many entries and records within the bounds are the same event.
    pub matched: usize,
}

/// Finds a partner for as many as possible; each record stands for one entry at most, but for
/// changes of users. What is left over is told, in the order of time.
pub fn compare(logged: &[Logged], done: &[Done], bounds: Bounds) -> Compared {
    let mut matching = Matching::new(logged, done, bounds);
    matching.pair_neighbours();
    for at in matching.logged_by_time.clone() {
        if matching.is_asked(at) && matching.of_logged(at).is_none() {
            matching.find_for_logged(at);
        }
    }
    for at in matching.done_by_time.clone() {
        if matching.is_owed(at) && matching.of_done(at).is_none() {
            matching.find_for_done(at);
        }
    }
    matching.result()
}

#[cfg(test)]
mod tests;
