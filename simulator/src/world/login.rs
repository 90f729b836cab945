//! The identities of users: what they log in by.

use uuid::Uuid;

use crate::totp::Device;

/// One way for a user to log in: a Windows or console account, a key pair, an API key, a TOTP device.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) id: u64,
    pub(crate) user: Uuid,
    pub(crate) provider: Provider,
    pub(crate) description: Option<String>,
    pub(crate) read_only: bool,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) enabled: bool,
    pub(crate) parameters: String,
    /// The secret of a TOTP device.
    pub(crate) device: Option<Device>,
    pub(crate) identifier: String,
    pub(crate) created: String,
}

/// Where an identity comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    ApiKey,
    KeyPair,
    Portal,
    Totp,
    Windows,
}

impl Provider {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "AK",
            Self::KeyPair => "AA",
            Self::Portal => "VSPC",
            Self::Totp => "TOTP",
            Self::Windows => "WIN",
        }
    }
}

/// What an identity may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Integration,
    Rest,
    Ui,
}

impl Scope {
    pub(crate) const ALL: [Self; 3] = [Self::Integration, Self::Rest, Self::Ui];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Integration => "integration",
            Self::Rest => "rest",
            Self::Ui => "ui",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.name().eq_ignore_ascii_case(name))
    }
}

/// What a new identity is made of.
#[derive(Debug)]
pub(crate) struct NewLogin {
    pub(crate) user: Uuid,
    pub(crate) provider: Provider,
    pub(crate) description: Option<String>,
    pub(crate) read_only: bool,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) parameters: String,
    /// The secret of a TOTP device.
    pub(crate) device: Option<Device>,
    /// The identifier at the provider; the number of the identity where there is none.
    pub(crate) identifier: Option<String>,
}

impl super::World {
    /// A user who can log in and is neither of two.
    pub(crate) fn user_beside(&self, one: Uuid, other: Uuid) -> Option<Uuid> {
        let uids = self.users.values().map(|user| user.account.uid);
        uids.filter(|uid| *uid != one && *uid != other)
            .find(|uid| self.password_login(*uid).is_some())
    }
}
