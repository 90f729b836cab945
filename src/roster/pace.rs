//! When a console's directory is read again.

use std::time::Duration;

use aws_lc_rs::rand;

use super::Failure;
use crate::vspc::directory::DirectoryError;

/// How long to wait for the next reading: `random` is any number.
pub(super) fn pause(
    failure: Option<&Failure>,
    setbacks: &mut u32,
    refresh: Duration,
    random: u16,
) -> Duration {
    let Some(failure) = failure else {
        *setbacks = 0;
        // Up to a tenth sooner, so that many gateways do not come at once.
        return refresh - refresh / 10 * u32::from(random) / u32::from(u16::MAX);
    };
    let doubled = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(*setbacks).unwrap_or(u32::MAX));
    *setbacks = setbacks.saturating_add(1);
    let pause = doubled.min(refresh.max(FIRST_PAUSE));
    match failure {
        Failure::Directory(DirectoryError::Throttled { retry_after }) => pause.max(*retry_after),
        _ => pause,
    }
}

pub(super) fn random() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness there is no jitter, which is no harm.
    if rand::fill(&mut bytes).is_err() {
        return 0;
    }
    u16::from_ne_bytes(bytes)
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
