//! The keys that sign: whatever is done with them, nobody is logged out.

use super::*;
use crate::client::keyring::{Keyring, LONGEST_LIFE};

const HOUR: i64 = 3600;
const DAYS: i64 = 24 * HOUR;

fn kid(token: &Secret) -> String {
    let header = jsonwebtoken::decode_header(token.expose()).unwrap();
    header.kid.unwrap()
}

fn issue(tokens: &GatewayTokens, at: Timestamp) -> Pair {
    let login = LoginId::new().unwrap();
    tokens.issue(login, &holder(), Access::Full, at).unwrap()
}

fn keys(state: &State) -> usize {
    Keyring::look(state).unwrap().len()
}

#[test]
fn a_key_is_replaced_in_time_and_the_one_before_verifies_as_long_as_its_tokens_live() {
    let state = state();
    let (here, there) = (open(&state), open(&state));
    let old = issue(&here, later(30 * DAYS - 1));
    // It is made, known for a moment, and signs.
    let still = issue(&here, later(30 * DAYS));
    assert_eq!(kid(&still.access), kid(&old.access));
    assert_eq!(keys(&state), 2);
    let new = issue(&here, later(30 * DAYS + 5));
    assert_ne!(kid(&new.access), kid(&old.access));
    // A process that holds the keys of before finds it.
    let then = later(30 * DAYS + 5);
    assert!(there.read_access(bytes(&new.access), then).is_ok());
    for tokens in [&here, &there, &open(&state)] {
        let end = later(32 * DAYS - 2);
        assert!(tokens.read_refresh(bytes(&old.refresh), end).is_ok());
    }
    // Whoever has an old key cannot sign with it for ever.
    let fault = |at| here.read_refresh(bytes(&old.refresh), at).unwrap_err();
    assert_eq!(fault(later(33 * DAYS)), TokenFault::Expired);
    assert_eq!(fault(later(33 * DAYS + 1)), TokenFault::Invalid);
    // It goes at the next turn.
    issue(&here, later(60 * DAYS));
    assert_eq!(keys(&state), 2);
}

#[test]
fn without_a_rotation_a_key_signs_until_an_operator_wants_another() {
    let state = state();
    let never = Lifetimes {
        keys: None,
        ..lifetimes()
    };
    let tokens = GatewayTokens::open(Arc::clone(&state), never, NOW).unwrap();
    let first = issue(&tokens, NOW);
    let late = later(1000 * DAYS);
    assert_eq!(kid(&issue(&tokens, late).access), kid(&first.access));
    let rotated = tokens.rotate(late).unwrap();
    assert_eq!((rotated.keys, keys(&state)), (2, 2));
    assert_eq!(rotated.older_until, Some(later(1003 * DAYS)));
    assert_eq!(kid(&issue(&tokens, late).access), kid(&first.access));
    let soon = later(1000 * DAYS + 5);
    assert_eq!(kid(&issue(&tokens, soon).access), rotated.key);
    let twice = tokens.rotate(later(1000 * DAYS + 59)).unwrap_err();
    assert!(matches!(twice, RotateError::TooSoon));
    assert!(tokens.rotate(later(1000 * DAYS + 60)).is_ok());
}

#[test]
fn a_process_beside_another_takes_its_keys_within_a_minute_also_to_sign() {
    let state = state();
    let (here, there) = (open(&state), open(&state));
    let rotated = here.rotate(later(HOUR)).unwrap();
    let signed = issue(&there, later(HOUR + 60));
    assert_eq!(kid(&signed.access), rotated.key);
    assert!(
        here.read_access(bytes(&signed.access), later(HOUR + 60))
            .is_ok()
    );
}

/// Anybody can name a key that is not there, in each request.
#[test]
fn unknown_keys_are_looked_for_a_few_times_a_second_and_none_that_is_there_is_missed() {
    let state = state();
    let (here, there) = (open(&state), open(&state));
    let strangers: Vec<_> = (0..25)
        .map(|_| issue(&open(&super::state()), NOW))
        .collect();
    let junk = |stranger: &Pair, at| {
        let read = here.read_access(bytes(&stranger.access), at);
        assert_eq!(read, Err(TokenFault::Invalid));
    };
    let looks = || here.signing.looks();
    let before = looks();
    (0..100).for_each(|_| junk(&strangers[0], later(10)));
    assert_eq!(looks() - before, 1);
    strangers.iter().for_each(|one| junk(one, later(20)));
    assert_eq!(looks() - before, 21);
    there.rotate(later(100)).unwrap();
    let new = issue(&there, later(105));
    (0..100).for_each(|_| junk(&strangers[0], later(105)));
    let read = here.read_access(bytes(&new.access), later(105));
    assert!(read.is_ok());
}

#[test]
fn a_clock_that_was_wrong_does_not_keep_a_new_key_from_signing() {
    let state = state();
    let tokens = open(&state);
    tokens.rotate(later(400 * DAYS)).unwrap();
    let old = issue(&tokens, later(10));
    let rotated = tokens.rotate(later(20)).unwrap();
    assert_eq!(kid(&issue(&tokens, later(30)).access), rotated.key);
    assert!(tokens.read_access(bytes(&old.access), later(30)).is_ok());
}

/// As a version before this one left it.
#[test]
fn a_key_that_does_not_say_how_long_its_tokens_live_verifies_the_longest_time() {
    let state = state();
    state
        .change(Table::TokenKeys, |change| {
            let made = NOW.0 / 1_000_000;
            change.put(b"0123abcd", &[&made.to_be_bytes()[..], &[7; 32]].concat())
        })
        .unwrap();
    let tokens = open(&state);
    let old = issue(&tokens, NOW);
    assert_eq!(kid(&old.access), "0123abcd");
    let rotated = tokens.rotate(later(DAYS)).unwrap();
    let end = later(DAYS + LONGEST_LIFE + DAYS);
    assert_eq!(rotated.older_until, Some(end));
}

/// What is done to two processes that share a state.
#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Issue(bool),
    Rotate(bool),
    /// With other lifetimes, in days.
    Restart(bool, u64),
    /// Somebody names a key that is not there.
    Junk(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop_oneof![0..10_i64, 50..70_i64, 0..2 * DAYS, 0..40 * DAYS].prop_map(Step::Wait),
        4 => any::<bool>().prop_map(Step::Issue),
        3 => any::<bool>().prop_map(Step::Rotate),
        1 => (any::<bool>(), prop_oneof![Just(1_u64), Just(2), Just(7), Just(90)])
            .prop_map(|(which, days)| Step::Restart(which, days)),
        2 => any::<bool>().prop_map(Step::Junk),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_token_is_refused_before_its_time_whatever_becomes_of_the_keys(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let state = Arc::new(State::in_memory().unwrap());
        let start = |days: u64, at| {
            let lifetimes = Lifetimes {
                refresh: Duration::from_secs(days * 24 * 3600),
                ..lifetimes()
            };
            GatewayTokens::open(Arc::clone(&state), lifetimes, at).unwrap()
        };
        let junk = issue(&open(&super::state()), NOW);
        let mut now = 0;
        let mut processes = [start(2, NOW), start(2, NOW)];
        let mut given: Vec<(Pair, i64, i64)> = Vec::new();
        for step in steps {
            let at = later(now);
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Issue(which) => {
                    let tokens = &processes[usize::from(which)];
                    let refresh = i64::try_from(tokens.lifetimes().refresh.as_secs()).unwrap();
                    given.push((issue(tokens, at), now + HOUR, now + refresh));
                }
                Step::Rotate(which) => drop(processes[usize::from(which)].rotate(at)),
                Step::Restart(which, days) => {
                    processes[usize::from(which)] = start(days, at);
                    // It takes a moment.
                    now += 1;
                }
                Step::Junk(which) => {
                    let read = processes[usize::from(which)].read_access(bytes(&junk.access), at);
                    prop_assert_eq!(read, Err(TokenFault::Invalid));
                }
            }
            let at = later(now);
            for (pair, access, refresh) in &given {
                for tokens in &processes {
                    let read = tokens.read_access(bytes(&pair.access), at);
                    prop_assert_eq!(read.is_ok(), now < *access, "{:?}", read);
                    let read = tokens.read_refresh(bytes(&pair.refresh), at);
                    prop_assert_eq!(read.is_ok(), now < *refresh, "{:?}", read);
                }
            }
        }
        // And what nobody needs any more goes.
        let rest = now + 2 * LONGEST_LIFE;
        processes[0].rotate(later(rest)).unwrap();
        let end = later(rest + LONGEST_LIFE + 2 * DAYS);
        processes[1].rotate(end).unwrap();
        prop_assert_eq!(keys(&state), 2);
    }
}
