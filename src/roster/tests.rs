use super::*;

fn throttled(seconds: u64) -> Failure {
    let retry_after = Duration::from_secs(seconds);
    DirectoryError::Throttled { retry_after }.into()
}

#[test]
fn failures_are_followed_by_longer_and_longer_pauses() {
    let refresh = Duration::from_secs(300);
    let mut setbacks = 0;
    let mut next = |failure: &Failure| pause(Some(failure), &mut setbacks, refresh, 9).as_secs();
    let pauses: Vec<_> = (0..11).map(|_| next(&Failure::TimedOut)).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    for _ in 0..100 {
        assert_eq!(next(&Failure::TimedOut), 300);
    }
    assert_eq!(pause(None, &mut setbacks, refresh, 0), refresh);
    assert_eq!(setbacks, 0);
}

#[test]
fn a_console_that_throttles_is_left_alone_for_as_long_as_it_says() {
    let refresh = Duration::from_secs(60);
    let mut setbacks = 0;
    assert_eq!(
        pause(Some(&throttled(90)), &mut setbacks, refresh, 0).as_secs(),
        90
    );
    assert_eq!(
        pause(Some(&throttled(1)), &mut setbacks, refresh, 0).as_secs(),
        2
    );
}

#[test]
fn readings_come_at_most_a_tenth_too_soon() {
    let refresh = Duration::from_secs(300);
    let mut setbacks = 3;
    for random in [0, 1, 7_000, u16::MAX] {
        let pause = pause(None, &mut setbacks, refresh, random);
        assert!(pause <= refresh && pause >= refresh * 9 / 10, "{pause:?}");
    }
}

#[test]
fn every_state_is_counted() {
    for gone in Gone::ALL {
        assert!(STATES.contains(&gone.code()));
    }
}
