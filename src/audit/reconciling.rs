//! How the log is compared with the consoles' own, as far as settings say it.

use tokio::time::Duration;

/// How the log is compared with the consoles' activity logs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReconcileSettings {
    /// How often; `None` for only by hand.
    pub every: Option<Duration>,
    /// How far back each time.
    pub window: Duration,
    /// How much the clocks of a console and the gateway may differ.
    pub skew: Duration,
    /// How long a console may take to log something: what is younger is left for the next time. At
    /// least `skew`.
    pub settle: Duration,
    /// Whom a console names in the entry of an impersonation.
    pub impersonation_by: Named,
    /// Whether a console logs the renewal of a session as a log-in.
    pub refreshes: Refreshes,
}

impl Default for ReconcileSettings {
    fn default() -> Self {
        Self {
            every: None,
            window: Duration::from_secs(24 * 3600),
            skew: Duration::from_secs(2 * 60),
            settle: Duration::from_secs(5 * 60),
            impersonation_by: Named::Impersonator,
            refreshes: Refreshes::Unlogged,
        }
    }
}

/// Whom a console names in the entry of an impersonation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Named {
    /// Who acts as another.
    Impersonator,
    /// Who is acted as. Impersonations by anybody then count as the gateway's, or somebody's who
    /// went past it.
    Target,
}

/// Whether a console logs the renewal of a session as a log-in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refreshes {
    /// Each.
    Logged,
    /// Perhaps: a log-in near one is taken for it, and none is missed.
    Perhaps,
    /// None.
    Unlogged,
}
