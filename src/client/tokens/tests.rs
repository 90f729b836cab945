mod rotation;

use proptest::prelude::*;

use super::*;
use crate::state::Table;
use crate::vspc::grant::Subject;

const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

fn later(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1_000_000)
}

fn lifetimes() -> Lifetimes {
    Lifetimes {
        access: Duration::from_secs(3600),
        refresh: Duration::from_secs(48 * 3600),
        keys: Some(Duration::from_secs(30 * 24 * 3600)),
    }
}

fn open(state: &Arc<State>) -> GatewayTokens {
    GatewayTokens::open(Arc::clone(state), lifetimes(), NOW).unwrap()
}

fn state() -> Arc<State> {
    Arc::new(State::in_memory().unwrap())
}

fn holder() -> Holder {
    Holder::Client {
        name: "zabbix".to_owned(),
        key: "01234567".to_owned(),
        tenant: "acme".to_owned(),
        target: Subject(uuid::Uuid::from_u128(1)),
        is_named: false,
    }
}

fn log_in(tokens: &GatewayTokens) -> Pair {
    let login = LoginId::new().unwrap();
    tokens.issue(login, &holder(), Access::Full, NOW).unwrap()
}

fn bytes(secret: &Secret) -> &[u8] {
    secret.expose().as_bytes()
}

#[test]
fn a_token_says_what_it_was_issued_for_until_it_ends() {
    let tokens = open(&state());
    let pair = log_in(&tokens);
    let read = tokens
        .read_access(bytes(&pair.access), later(3599))
        .unwrap();
    assert_eq!(read.holder, holder());
    assert_eq!(read.expires, later(3600));
    let refresh = tokens.read_refresh(bytes(&pair.refresh), NOW).unwrap();
    assert_eq!(refresh.login, read.login);
    let expired = |read: Result<Presented, TokenFault>| read.unwrap_err() == TokenFault::Expired;
    assert!(expired(
        tokens.read_access(bytes(&pair.access), later(3600))
    ));
    let end = later(48 * 3600);
    assert!(expired(tokens.read_refresh(bytes(&pair.refresh), end)));
}

#[test]
fn one_token_is_not_taken_for_the_other() {
    let tokens = open(&state());
    let pair = log_in(&tokens);
    let other = Err(TokenFault::Kind);
    assert_eq!(tokens.read_access(bytes(&pair.refresh), NOW), other);
    assert_eq!(tokens.read_refresh(bytes(&pair.access), NOW), other);
}

#[test]
fn tokens_of_others_and_changed_ones_are_invalid() {
    let tokens = open(&state());
    let other = open(&state());
    let invalid = Err(TokenFault::Invalid);
    let pair = log_in(&other);
    assert_eq!(tokens.read_access(bytes(&pair.access), NOW), invalid);

    let own = log_in(&tokens);
    let text = own.access.expose();
    let (head, tail) = text.split_once('.').unwrap();
    let none = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0";
    for changed in [
        String::new(),
        "eyJ".to_owned(),
        "eyJ.eyJ.x".to_owned(),
        format!("{text}A"),
        text.strip_suffix(|_: char| true).unwrap().to_owned(),
        format!("{none}.{tail}"),
        format!("{head}.{}", tail.replacen('e', "f", 1)),
        format!("{none}.{}.", tail.split('.').next().unwrap()),
        "eyJ".to_owned() + &"x".repeat(10_000),
    ] {
        assert_eq!(
            tokens.read_access(changed.as_bytes(), NOW),
            invalid,
            "{changed}"
        );
    }
}

#[test]
fn keys_survive_a_restart() {
    let state = state();
    let pair = log_in(&open(&state));
    assert!(open(&state).read_access(bytes(&pair.access), NOW).is_ok());
}

#[test]
fn a_refresh_token_is_good_once_and_its_predecessor_for_a_minute() {
    let state = state();
    let tokens = open(&state);
    let first = log_in(&tokens);
    let exchange = |tokens: &GatewayTokens, token: &Secret, at| {
        let presented = tokens.read_refresh(bytes(token), at).unwrap();
        tokens.exchange(&presented, Access::Full, at)
    };
    let second = exchange(&tokens, &first.refresh, later(10)).unwrap();
    // The answer was lost.
    let again = exchange(&tokens, &first.refresh, later(70)).unwrap();
    // Both are of one turn: the use of one is the use of the other.
    let third = exchange(&tokens, &again.refresh, later(80)).unwrap();
    assert!(exchange(&tokens, &second.refresh, later(90)).is_ok());
    // What was used is known after a restart too, and ends the log-in for whoever has the newest.
    let restarted = open(&state);
    let used = exchange(&restarted, &first.refresh, later(91)).unwrap_err();
    assert!(matches!(used, TurnError::Fault(TokenFault::Used)));
    let ended = exchange(&restarted, &third.refresh, later(92)).unwrap_err();
    assert!(matches!(ended, TurnError::Fault(TokenFault::Used)));
}

#[test]
fn a_check_uses_nothing_up() {
    let tokens = open(&state());
    let pair = log_in(&tokens);
    let presented = tokens.read_refresh(bytes(&pair.refresh), NOW).unwrap();
    for _ in 0..3 {
        tokens.check(&presented, NOW).unwrap();
    }
    tokens.exchange(&presented, Access::Full, NOW).unwrap();
    tokens.check(&presented, later(60)).unwrap();
    assert!(tokens.check(&presented, later(61)).is_err());
}

#[test]
fn what_has_ended_is_cleared_away() {
    let state = state();
    let tokens = open(&state);
    let use_one = |at| {
        let login = LoginId::new().unwrap();
        let pair = tokens.issue(login, &holder(), Access::Full, at).unwrap();
        let presented = tokens.read_refresh(bytes(&pair.refresh), at).unwrap();
        tokens.exchange(&presented, Access::Full, at).unwrap();
    };
    use_one(NOW);
    use_one(later(3600));
    assert_eq!(state.all(Table::Logins).unwrap().len(), 2);
    let days = 24 * 3600;
    use_one(later(9 * days + 3599));
    assert_eq!(state.all(Table::Logins).unwrap().len(), 2);
    use_one(later(9 * days + 2 * 3600));
    assert_eq!(state.all(Table::Logins).unwrap().len(), 2);
}

#[test]
fn a_used_token_stays_used_when_its_life_is_shortened_or_the_clock_jumps() {
    for (life, jump) in [(90 * 24, 0), (48, 3 * 24)] {
        let state = state();
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let long = Lifetimes {
            refresh: hours(life),
            ..lifetimes()
        };
        let tokens = GatewayTokens::open(Arc::clone(&state), long, NOW).unwrap();
        let pair = log_in(&tokens);
        let presented = tokens.read_refresh(bytes(&pair.refresh), NOW).unwrap();
        tokens.exchange(&presented, Access::Full, NOW).unwrap();
        let short = GatewayTokens::open(Arc::clone(&state), lifetimes(), NOW).unwrap();
        let used = short.exchange(&presented, Access::Full, later(100));
        assert!(matches!(used, Err(TurnError::Fault(TokenFault::Used))));
        // Somebody else's exchange clears away what has ended.
        let other = log_in(&short);
        let other = short.read_refresh(bytes(&other.refresh), NOW).unwrap();
        let then = later(if jump > 0 { jump * 3600 } else { 49 * 3600 });
        short.exchange(&other, Access::Full, then).unwrap();
        let back = if jump > 0 { later(7200) } else { then };
        let used = short.exchange(&presented, Access::Full, back);
        assert!(matches!(used, Err(TurnError::Fault(TokenFault::Used))));
    }
}

#[test]
fn a_log_in_that_ended_takes_its_access_tokens_along_also_after_a_restart() {
    let state = state();
    let tokens = open(&state);
    let pair = log_in(&tokens);
    let presented = tokens.read_refresh(bytes(&pair.refresh), NOW).unwrap();
    for _ in 0..2 {
        assert!(!tokens.has_ended(presented.login));
        tokens.exchange(&presented, Access::Full, NOW).unwrap();
    }
    assert!(
        tokens
            .exchange(&presented, Access::Full, later(100))
            .is_err()
    );
    assert!(tokens.has_ended(presented.login));
    assert!(open(&state).has_ended(presented.login));
}

#[test]
fn what_is_or_claims_to_be_a_token_of_the_gateway_is_known() {
    let tokens = open(&state());
    let pair = log_in(&tokens);
    for token in [&pair.access, &pair.refresh] {
        assert!(GatewayTokens::is_own(bytes(token)));
        let text = token.expose().replacen("eyJ", "xxx", 1);
        assert!(GatewayTokens::is_own(text.as_bytes()));
    }
    for other in ["", "a.b.c", "eyJ.eyJ.", "eyJhIjoxfQ.eyJpc3MiOiJ2c3BjIn0.x"] {
        assert!(!GatewayTokens::is_own(other.as_bytes()), "{other}");
    }
}

#[test]
fn a_read_only_token_stays_read_only() {
    let tokens = open(&state());
    let login = LoginId::new().unwrap();
    let pair = tokens
        .issue(login, &holder(), Access::ReadOnly, NOW)
        .unwrap();
    let presented = tokens.read_refresh(bytes(&pair.refresh), NOW).unwrap();
    assert_eq!(presented.access, Access::ReadOnly);
    let next = tokens.exchange(&presented, presented.access, NOW).unwrap();
    let read = tokens.read_access(bytes(&next.access), NOW).unwrap();
    assert_eq!(read.access, Access::ReadOnly);
}

/// What a naive keeper of all refresh tokens would say.
#[derive(Debug, Default)]
struct Model {
    current: u32,
    taken: i64,
    ended: bool,
}

impl Model {
    fn take(&mut self, turn: u32, now: i64) -> Option<u32> {
        if self.ended {
            return None;
        }
        if turn == self.current {
            self.current += 1;
            self.taken = now;
            return Some(self.current);
        }
        if turn + 1 == self.current && now <= self.taken + 60 {
            return Some(self.current);
        }
        self.ended = true;
        None
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn turns_are_what_the_model_says(steps in prop::collection::vec((0_u32..6, 0_i64..50), 1..20)) {
        let state = State::in_memory().unwrap();
        let login = LoginId::new().unwrap();
        let swept = AtomicI64::new(0);
        let mut model = Model::default();
        let mut now = 1_790_000_000;
        for (back, passed) in steps {
            now += passed;
            let turn = model.current.saturating_sub(back / 2);
            let expected = model.take(turn, now);
            let taken = turns::take(&state, login, turn, now, now + 172_800, &swept).unwrap();
            prop_assert_eq!(taken, expected);
        }
    }
}

#[test]
fn a_log_in_that_is_ended_by_hand_stays_ended_and_no_other_is() {
    let state = state();
    let tokens = open(&state);
    let (used, fresh, other) = (log_in(&tokens), log_in(&tokens), log_in(&tokens));
    let read = |tokens: &GatewayTokens, pair: &Pair| {
        tokens.read_refresh(bytes(&pair.refresh), NOW).unwrap()
    };
    let next = tokens.exchange(&read(&tokens, &used), Access::Full, NOW);
    let next = next.unwrap();
    for pair in [&used, &fresh] {
        tokens.end(read(&tokens, pair).login, NOW).unwrap();
    }
    for tokens in [&tokens, &open(&state)] {
        for pair in [&used, &fresh, &next] {
            let read = read(tokens, pair);
            assert!(tokens.has_ended(read.login));
            let refused = |result: Result<(), TurnError>| {
                matches!(result, Err(TurnError::Fault(TokenFault::Used)))
            };
            assert!(refused(tokens.check(&read, NOW)));
            let exchanged = tokens.exchange(&read, Access::Full, NOW);
            assert!(refused(exchanged.map(|_| ())));
        }
        let read = read(tokens, &other);
        assert!(!tokens.has_ended(read.login));
        assert!(tokens.check(&read, NOW).is_ok());
    }
}
