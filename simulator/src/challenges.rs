//! Logins that are half done: passwords that wait for a code, key pairs that wait for an answer.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::random;

/// How long a login waits for the code of a TOTP device.
const MFA_LIFE: Duration = Duration::from_secs(300);
/// How many wrong codes end a login.
const WRONG_CODES: u8 = 5;
/// How many logins may wait; past that the ones that end first are forgotten.
const MOST: usize = 10_000;

/// A login that waits for its second half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) user: Uuid,
    pub(crate) login: u64,
    pub(crate) read_only: bool,
}

/// Why a challenge is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// There is no such challenge, or it is over.
    Unknown,
    /// The code was accepted before.
    Used,
    /// The code is wrong.
    Wrong,
}

/// A code that fits a device: the identity and the 30-second step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    pub(crate) login: u64,
    pub(crate) step: u64,
}

#[derive(Debug)]
struct Entry {
    waiting: Waiting,
    wrong: u8,
    ends: Instant,
}

#[derive(Debug, Default)]
struct Open {
    mfa: HashMap<String, Entry>,
    keys: HashMap<String, Entry>,
    /// The steps whose codes were accepted lately, by identity.
    used: HashMap<u64, Vec<u64>>,
}

/// All logins that wait for their second half.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    open: Mutex<Open>,
}

impl Challenges {
    /// Opens a challenge that a code of a TOTP device meets, and returns its token.
    pub(crate) fn ask_for_code(&self, waiting: Waiting, now: Instant) -> String {
        add(&mut self.open.lock().mfa, waiting, MFA_LIFE, now)
    }

    /// Opens a challenge that its own code meets within a time, and returns that code.
    pub(crate) fn ask_for_key(&self, waiting: Waiting, life: Duration, now: Instant) -> String {
        add(&mut self.open.lock().keys, waiting, life, now)
    }

    /// Returns whose login an `mfa_token` or a code belongs to, without using it up.
    pub(crate) fn user(&self, text: &str) -> Option<Uuid> {
        let open = self.open.lock();
        let entry = open.mfa.get(text).or_else(|| open.keys.get(text))?;
        Some(entry.waiting.user)
    }

    /// Meets a challenge with the codes that `fits` finds; it is used up by the right code, and by
    /// the last of the wrong ones.
    pub(crate) fn meet_with_code(
        &self,
        token: &str,
        now: Instant,
        fits: impl FnOnce(&Waiting) -> Vec<Fit>,
    ) -> Result<Waiting, Unmet> {
        let mut open = self.open.lock();
        let open = &mut *open;
        let live = open.mfa.get_mut(token).filter(|entry| entry.ends > now);
        let entry = live.ok_or(Unmet::Unknown)?;
        let fits = fits(&entry.waiting);
        let fresh = fits.iter().any(|fit| use_up(&mut open.used, *fit));
        if fresh {
            let waiting = entry.waiting;
            open.mfa.remove(token);
            return Ok(waiting);
        }
        entry.wrong += 1;
        if entry.wrong >= WRONG_CODES {
            open.mfa.remove(token);
        }
        Err(if fits.is_empty() {
            Unmet::Wrong
        } else {
            Unmet::Used
        })
    }

    /// Meets a challenge with its own code, which is used up.
    pub(crate) fn meet_with_key(&self, code: &str, now: Instant) -> Result<Waiting, Unmet> {
        let entry = self.open.lock().keys.remove(code).ok_or(Unmet::Unknown)?;
        (entry.ends > now)
            .then_some(entry.waiting)
            .ok_or(Unmet::Unknown)
    }

    /// Notes a code that was accepted outside of a login; tells whether it was new.
    pub(crate) fn use_code(&self, fit: Fit) -> bool {
        use_up(&mut self.open.lock().used, fit)
    }
}

fn add(
    entries: &mut HashMap<String, Entry>,
    waiting: Waiting,
    life: Duration,
    now: Instant,
) -> String {
    entries.retain(|_, entry| entry.ends > now);
    if entries.len() >= MOST {
        let first = entries.iter().min_by_key(|(_, entry)| entry.ends);
        if let Some(first) = first.map(|(text, _)| text.clone()) {
            entries.remove(&first);
        }
    }
    let text = hex::encode(random::bytes::<20>());
    let entry = Entry {
        waiting,
        wrong: 0,
        ends: now + life,
    };
    entries.insert(text.clone(), entry);
    text
}

fn use_up(used: &mut HashMap<u64, Vec<u64>>, fit: Fit) -> bool {
    let steps = used.entry(fit.login).or_default();
    if steps.contains(&fit.step) {
        return false;
    }
    // A code is taken one step early or late, so older ones than these cannot come back.
    steps.retain(|step| step + 2 >= fit.step);
    steps.push(fit.step);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_LIFE: Duration = Duration::from_secs(30);

    const WAITING: Waiting = Waiting {
        user: Uuid::nil(),
        login: 7,
        read_only: true,
    };

    fn at(step: u64) -> Vec<Fit> {
        vec![Fit { login: 9, step }]
    }

    #[test]
    fn a_challenge_is_met_once() {
        let (challenges, now) = (Challenges::default(), Instant::now());
        let token = challenges.ask_for_code(WAITING, now);
        assert_eq!(challenges.user(&token), Some(WAITING.user));
        assert_eq!(
            challenges.meet_with_code(&token, now, |_| at(5)),
            Ok(WAITING)
        );
        assert_eq!(
            challenges.meet_with_code(&token, now, |_| at(6)),
            Err(Unmet::Unknown)
        );
        let code = challenges.ask_for_key(WAITING, KEY_LIFE, now);
        assert_eq!(challenges.meet_with_key(&code, now), Ok(WAITING));
        assert_eq!(challenges.meet_with_key(&code, now), Err(Unmet::Unknown));
    }

    #[test]
    fn challenges_are_over_after_five_minutes_and_thirty_seconds() {
        let (challenges, now) = (Challenges::default(), Instant::now());
        let second = Duration::from_secs(1);
        for (life, expected) in [(299, Ok(WAITING)), (300, Err(Unmet::Unknown))] {
            let token = challenges.ask_for_code(WAITING, now);
            let later = now + second * life;
            let met = challenges.meet_with_code(&token, later, |_| at(u64::from(life)));
            assert_eq!(met, expected);
        }
        for (life, expected) in [(29, Ok(WAITING)), (30, Err(Unmet::Unknown))] {
            let code = challenges.ask_for_key(WAITING, KEY_LIFE, now);
            assert_eq!(
                challenges.meet_with_key(&code, now + second * life),
                expected
            );
        }
    }

    #[test]
    fn the_fifth_wrong_code_ends_a_login() {
        let (challenges, now) = (Challenges::default(), Instant::now());
        let token = challenges.ask_for_code(WAITING, now);
        for _ in 0..5 {
            let met = challenges.meet_with_code(&token, now, |_| Vec::new());
            assert_eq!(met, Err(Unmet::Wrong));
        }
        let met = challenges.meet_with_code(&token, now, |_| at(1));
        assert_eq!(met, Err(Unmet::Unknown));
    }

    #[test]
    fn a_code_is_accepted_once_for_all_logins_of_its_device() {
        let (challenges, now) = (Challenges::default(), Instant::now());
        let meet = |step| {
            let token = challenges.ask_for_code(WAITING, now);
            challenges.meet_with_code(&token, now, |_| at(step))
        };
        assert_eq!(meet(100), Ok(WAITING));
        assert_eq!(meet(100), Err(Unmet::Used));
        assert_eq!(meet(101), Ok(WAITING));
        assert_eq!(meet(99), Ok(WAITING));
        assert_eq!(meet(100), Err(Unmet::Used));
    }

    #[test]
    fn logins_that_wait_are_bounded() {
        let (challenges, now) = (Challenges::default(), Instant::now());
        let first = challenges.ask_for_key(WAITING, KEY_LIFE, now);
        for _ in 0..MOST {
            challenges.ask_for_key(WAITING, KEY_LIFE, now + Duration::from_millis(1));
        }
        assert_eq!(challenges.open.lock().keys.len(), MOST);
        assert_eq!(challenges.user(&first), None);
    }
}
