//! Which codes were sent: none is sent twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::Totp;
use crate::clock::Clock;
use crate::secret::Secret;
use crate::state::{State, StateError, Table};
use crate::vspc::grant::IssueError;

/// The codes of second factors that were sent, by this process and by others with the same state.
///
/// A console takes a code once. That one was sent is noted before it is: on the disk, and in memory
/// for as long as there is no disk.
#[derive(Debug)]
pub struct Codes {
    state: Arc<State>,
    clock: Clock,
    sent: Mutex<HashMap<Device, Vec<u64>>>,
}

/// Recognizes the secret of a second factor.
type Device = [u8; 16];

impl Codes {
    /// The codes that a state knows of.
    pub fn new(state: Arc<State>, clock: Clock) -> Self {
        Self {
            state,
            clock,
            sent: Mutex::default(),
        }
    }

    /// The code of now, if it was never sent; else the next one, once it is its time. `date` is the
    /// console's own time, in seconds since the Unix epoch: codes are made by its clock where it
    /// differs.
    ///
    /// Nothing is held while this waits.
    ///
    /// # Errors
    /// Names the time until the next unused code when that is too far off to be waited for.
    pub(super) async fn unused(
        &self,
        totp: &Totp,
        date: Option<i64>,
    ) -> Result<Secret, IssueError> {
        let here = self.clock.now().0;
        let now = u64::try_from(here + offset(here, date)).unwrap_or_default();
        let period = totp.period() * SECOND;
        let start = Instant::now();
        let mut step = now / period;
        loop {
            if self.claim(totp.device(), step).await {
                return Ok(totp.code(step));
            }
            step += 1;
            let until = (step * period).saturating_sub(now);
            let begins = start + Duration::from_micros(until) + SETTLED;
            let wait = begins.saturating_duration_since(Instant::now());
            if begins.saturating_duration_since(start) > LONGEST_WAIT {
                return Err(IssueError::NextCode { retry_after: wait });
            }
            sleep_until(begins).await;
        }
    }

    /// Notes that the code of a step is sent, and tells whether it is the first time.
    async fn claim(&self, device: Device, step: u64) -> bool {
        if !note(self.sent.lock().entry(device).or_default(), step) {
            return false;
        }
        let state = Arc::clone(&self.state);
        let kept = tokio::task::spawn_blocking(move || keep(&state, device, step));
        match kept.await {
            Ok(Ok(is_first)) => is_first,
            // The state has logged why. Without the login there would be no service at all.
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("which code of a second factor was sent is kept in memory only");
                true
            }
        }
    }
}

/// Notes a step on the disk, and tells whether it is the first time. One process at a time.
fn keep(state: &State, device: Device, step: u64) -> Result<bool, StateError> {
    state.change(Table::Codes, |change| {
        let known = match change.get(&device) {
            // What cannot be read must not keep the gateway from ever logging in.
            Err(StateError::Damaged) => None,
            other => other?,
        };
        let (known, _) = known.as_ref().map_or(&[][..], |known| known).as_chunks();
        let mut steps: Vec<u64> = known.iter().copied().map(u64::from_be_bytes).collect();
        let is_first = note(&mut steps, step);
        if is_first {
            let bytes: Vec<u8> = steps.into_iter().flat_map(u64::to_be_bytes).collect();
            change.put(&device, &bytes)?;
        }
        Ok(is_first)
    })
}

/// Adds a step to those that were used last; tells whether it is none of them.
fn note(steps: &mut Vec<u64>, step: u64) -> bool {
    if steps.contains(&step) {
        return false;
    }
    if steps.len() >= REMEMBERED {
        steps.remove(0);
    }
    steps.push(step);
    true
}

/// How far ahead of the machine's clock the console's is, in microseconds; nothing where they agree
/// as well as such clocks do.
fn offset(here: i64, date: Option<i64>) -> i64 {
    let Some(date) = date else {
        return 0;
    };
    let offset = date - here.div_euclid(1_000_000);
    if offset.abs() > LARGEST_OFFSET {
        tracing::warn!(
            offset_s = offset,
            "the console's clock differs too much to be believed"
        );
        return 0;
    }
    if offset.abs() <= SMALLEST_OFFSET {
        return 0;
    }
    tracing::info!(
        offset_s = offset,
        "a code is made by the console's clock, which differs"
    );
    offset * 1_000_000
}

const SECOND: u64 = 1_000_000;

/// In seconds: between the smallest and the largest the console's clock is believed.
const SMALLEST_OFFSET: i64 = 5;
const LARGEST_OFFSET: i64 = 10 * 60;

/// After the beginning of a step, for clocks that agree but not to the microsecond.
const SETTLED: Duration = Duration::from_secs(1);

/// A code of the usual 30 seconds is waited for, one of a minute perhaps not.
const LONGEST_WAIT: Duration = Duration::from_secs(31);

/// How many used codes of a device are remembered. They are used about once a day, and over again
/// only if a clock is set back.
const REMEMBERED: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;
    use crate::state::Settings;

    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    /// The beginning of a step.
    const NOON: i64 = 1_772_625_600;

    fn totp(text: &str) -> Totp {
        Totp::read(&Secret::new(text.to_owned())).unwrap()
    }

    fn clock(seconds: i64) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(seconds * 1_000_000)))
    }

    fn memory() -> Arc<State> {
        Arc::new(State::in_memory().unwrap())
    }

    fn step(seconds: i64) -> u64 {
        u64::try_from(seconds).unwrap() / 30
    }

    fn code_of(step: u64) -> String {
        totp(SECRET).code(step).expose().to_owned()
    }

    async fn next(codes: &Codes, date: Option<i64>) -> Result<String, IssueError> {
        let code = codes.unused(&totp(SECRET), date).await?;
        Ok(code.expose().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_used_code_is_not_sent_again_but_the_next_one_when_its_time_has_come() {
        let codes = Codes::new(memory(), clock(NOON + 10));
        let begun = Instant::now();
        assert_eq!(next(&codes, None).await, Ok(code_of(step(NOON))));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(next(&codes, None).await, Ok(code_of(step(NOON) + 1)));
        assert_eq!(begun.elapsed(), Duration::from_secs(21));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_want_one_at_once_never_get_the_same() {
        let codes = Codes::new(memory(), clock(NOON));
        let all = tokio::join!(next(&codes, None), next(&codes, None), next(&codes, None));
        let mut got: Vec<_> = [all.0, all.1, all.2].into_iter().flatten().collect();
        got.sort();
        let mut expected = vec![code_of(step(NOON)), code_of(step(NOON) + 1)];
        expected.sort();
        assert_eq!(got, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_code_that_is_far_off_is_not_waited_for() {
        let slow = totp("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&period=300");
        let codes = Codes::new(memory(), clock(NOON));
        codes.unused(&slow, None).await.unwrap();
        let begun = Instant::now();
        let error = codes.unused(&slow, None).await.unwrap_err();
        let retry_after = Duration::from_secs(301);
        assert_eq!(error, IssueError::NextCode { retry_after });
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn codes_are_remembered_over_a_restart_and_by_a_second_process() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: folder.path().join("state"),
            key: None,
        };
        let open = || {
            let state = Arc::new(State::open(&settings).unwrap());
            Codes::new(state, clock(NOON))
        };
        let first = open();
        assert_eq!(next(&first, None).await, Ok(code_of(step(NOON))));
        let second = open();
        assert_eq!(next(&second, None).await, Ok(code_of(step(NOON) + 1)));
        drop((first, second));
        // Both were used, and a third one is too far off.
        let third = open();
        let error = next(&third, None).await.unwrap_err();
        assert!(matches!(error, IssueError::NextCode { .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_state_codes_are_remembered_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: folder.path().join("state"),
            key: None,
        };
        let state = Arc::new(State::open(&settings).unwrap());
        std::fs::remove_dir_all(&settings.directory).unwrap();
        let codes = Codes::new(state, clock(NOON));
        assert_eq!(next(&codes, None).await, Ok(code_of(step(NOON))));
        assert_eq!(next(&codes, None).await, Ok(code_of(step(NOON) + 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn codes_are_made_by_the_clock_of_a_console_that_differs_believably() {
        for (ahead, expected) in [
            (0, step(NOON)),
            // Less than this is the time that an answer takes.
            (-5, step(NOON)),
            (-6, step(NOON) - 1),
            (5, step(NOON)),
            (45, step(NOON) + 1),
            (600, step(NOON) + 20),
            (601, step(NOON)),
            (-3600, step(NOON)),
        ] {
            let codes = Codes::new(memory(), clock(NOON));
            let code = next(&codes, Some(NOON + ahead)).await;
            assert_eq!(code, Ok(code_of(expected)), "{ahead}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_brings_no_used_code_back() {
        let state = memory();
        let codes = |at| Codes::new(Arc::clone(&state), clock(at));
        for at in [NOON, NOON + 30, NOON + 60] {
            assert_eq!(next(&codes(at), None).await, Ok(code_of(step(at))));
        }
        let back = codes(NOON + 45);
        let error = next(&back, None).await.unwrap_err();
        // The next one was waited for, and it was used as well.
        let retry_after = Duration::from_secs(30);
        assert_eq!(error, IssueError::NextCode { retry_after });
    }
}
