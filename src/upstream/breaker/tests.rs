use http::Response;

use super::super::BodyFault;
use super::*;

const PAUSE: Duration = Duration::from_secs(30);

fn settings(faults: u32) -> Settings {
    Settings {
        faults: NonZeroU32::new(faults).unwrap(),
        pause: PAUSE,
    }
}

/// What happens to a breaker, and what is expected of it.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request is let in, and ends so.
    Ends(Verdict),
    /// A request is let in, and says nothing.
    SaysNothing,
    /// A request is refused.
    Refused,
    /// Time passes, in seconds.
    Passes(u64),
    /// Something says that the console may work again.
    EndsPause,
}

use Step::{Ends, EndsPause, Passes, Refused, SaysNothing};
use Verdict::{Fault, FaultIn, Fine};

/// After three faults in a row, for 30 seconds.
const TABLE: &[(&str, &[Step])] = &[
    (
        "faults in a row open",
        &[Ends(Fault), Ends(Fault), Ends(Fault), Refused, Refused],
    ),
    (
        "an answer between them resets",
        &[
            Ends(Fault),
            Ends(Fault),
            Ends(Fine),
            Ends(Fault),
            Ends(Fault),
            Ends(Fine),
        ],
    ),
    (
        "what says nothing neither counts nor resets",
        &[Ends(Fault), Ends(Fault), SaysNothing, Ends(Fault), Refused],
    ),
    (
        "the pause is kept to its end",
        &[
            Ends(Fault),
            Ends(Fault),
            Ends(Fault),
            Passes(29),
            Refused,
            Passes(1),
            Ends(Fine),
        ],
    ),
    (
        "a good try closes",
        &[
            Ends(Fault),
            Ends(Fault),
            Ends(Fault),
            Passes(30),
            Ends(Fine),
            Ends(Fault),
            Ends(Fault),
        ],
    ),
    (
        "a bad try opens again for a whole pause",
        &[
            Ends(Fault),
            Ends(Fault),
            Ends(Fault),
            Passes(30),
            Ends(Fault),
            Passes(29),
            Refused,
        ],
    ),
    (
        "a try that says nothing leaves it to the next",
        &[
            Ends(Fault),
            Ends(Fault),
            Ends(Fault),
            Passes(30),
            SaysNothing,
            SaysNothing,
            Ends(Fine),
        ],
    ),
    (
        "a pause that is ended lets one try, whose fault begins another",
        &[
            Ends(Fault),
            Ends(Fault),
            Ends(Fault),
            Passes(10),
            Refused,
            EndsPause,
            EndsPause,
            Ends(Fault),
            Passes(29),
            Refused,
            EndsPause,
            Ends(Fine),
            EndsPause,
            Ends(Fault),
            EndsPause,
            Ends(Fault),
            Ends(Fault),
            Refused,
        ],
    ),
    (
        "one operation that fails does not open",
        &[
            Ends(FaultIn(1)),
            Ends(FaultIn(1)),
            Ends(FaultIn(1)),
            Ends(FaultIn(1)),
            Ends(Fine),
        ],
    ),
    (
        "two operations that fail do",
        &[
            Ends(FaultIn(1)),
            Ends(FaultIn(1)),
            Ends(FaultIn(2)),
            Refused,
        ],
    ),
    (
        "one operation that fails does not count beside faults",
        &[
            Ends(Fault),
            Ends(FaultIn(1)),
            Ends(Fault),
            Ends(FaultIn(1)),
            Ends(Fault),
            Refused,
        ],
    ),
    (
        "an operation that fails when tried does not keep the others out",
        &[
            Ends(Fault),
            Ends(Fault),
            Ends(Fault),
            Passes(30),
            Ends(FaultIn(1)),
            Ends(FaultIn(1)),
            Ends(Fine),
        ],
    ),
    (
        "but the next one that fails does",
        &[
            Ends(Fault),
            Ends(Fault),
            Ends(Fault),
            Passes(30),
            Ends(FaultIn(1)),
            Ends(FaultIn(2)),
            Refused,
        ],
    ),
];

#[tokio::test(start_paused = true)]
async fn the_table_of_the_breaker() {
    for (what, steps) in TABLE {
        let breaker = Breaker::new("main", settings(3));
        for (at, step) in steps.iter().enumerate() {
            let place = format!("{what}: step {at}, {step:?}");
            match *step {
                Ends(verdict) => {
                    breaker.check().expect(&place);
                    breaker.admit().expect(&place).report(verdict);
                }
                SaysNothing => drop(breaker.admit().expect(&place)),
                Refused => {
                    breaker.check().expect_err(&place);
                    breaker.admit().expect_err(&place);
                    assert!(breaker.is_open(), "{place}");
                }
                EndsPause => breaker.end_pause(),
                Passes(seconds) => tokio::time::advance(Duration::from_secs(seconds)).await,
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_one_request_tries_a_console_that_failed() {
    let breaker = Breaker::new("main", settings(1));
    breaker.admit().unwrap().report(Fault);
    assert_eq!(breaker.admit().unwrap_err().retry_after, PAUSE);
    tokio::time::advance(PAUSE).await;
    let trying = breaker.admit().unwrap();
    assert!(breaker.is_open());
    breaker.check().unwrap_err();
    breaker.admit().unwrap_err();
    trying.report(Fine);
    assert!(!breaker.is_open());
    drop(trying);
    breaker.admit().unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_the_console_is_tried_there_is_no_pause_to_end() {
    let breaker = Breaker::new("main", settings(1));
    breaker.admit().unwrap().report(Fault);
    breaker.end_pause();
    let trying = breaker.admit().unwrap();
    breaker.end_pause();
    breaker.check().unwrap_err();
    trying.report(Fine);
    assert!(!breaker.is_open());
}

/// It tries the console with a report that takes a minute.
#[tokio::test(start_paused = true)]
async fn a_slow_try_does_not_keep_the_others_out() {
    let breaker = Breaker::new("main", settings(1));
    breaker.admit().unwrap().report(Fault);
    tokio::time::advance(PAUSE).await;
    let slow = breaker.admit().unwrap();
    tokio::time::advance(Duration::from_secs(4)).await;
    breaker.check().unwrap_err();
    tokio::time::advance(Duration::from_secs(1)).await;
    breaker.check().unwrap();
    let quick = breaker.admit().unwrap();
    breaker.admit().unwrap_err();
    quick.report(Fine);
    assert!(!breaker.is_open());
    // What comes of the other says nothing any more.
    slow.report(Fault);
    assert!(!breaker.is_open());
}

/// What was sent before the breaker opened says nothing about the console now.
#[tokio::test(start_paused = true)]
async fn late_answers_change_nothing() {
    let breaker = Breaker::new("main", settings(1));
    let [late_fine, late_fault, first] = [(); 3].map(|()| breaker.admit().unwrap());
    first.report(Fault);
    late_fine.report(Fine);
    assert!(breaker.is_open());
    tokio::time::advance(PAUSE).await;
    let trying = breaker.admit().unwrap();
    late_fault.report(Fault);
    drop((first, late_fine, late_fault));
    breaker.admit().unwrap_err();
    trying.report(Fine);
    assert!(!breaker.is_open());
}

fn path(text: &str) -> CanonicalPath {
    CanonicalPath::parse(text).unwrap()
}

#[test]
fn answers_are_judged_by_their_status() {
    let users = path("/api/v3/users");
    for (status, expected) in [
        (200, Fine),
        (202, Fine),
        (302, Fine),
        (400, Fine),
        (401, Fine),
        (404, Fine),
        (429, Fine),
        (500, Fine),
        (502, Fault),
        (503, Fault),
        (504, FaultIn(operation(&users))),
        (520, FaultIn(operation(&users))),
    ] {
        let answer = Ok(Response::builder().status(status).body(()).unwrap());
        assert_eq!(Verdict::of(&answer, &users), Some(expected), "{status}");
    }
}

#[test]
fn only_what_the_console_does_counts_against_it() {
    let users = path("/api/v3/users");
    let judge = |error| Verdict::of::<()>(&Err(error), &users);
    let text = String::new;
    for error in [
        UpstreamError::Cut(text()),
        UpstreamError::Tls(text()),
        UpstreamError::Unreachable(text()),
    ] {
        assert_eq!(judge(error), Some(Fault));
    }
    let own = Some(FaultIn(operation(&users)));
    assert_eq!(judge(UpstreamError::Invalid(text())), own);
    assert_eq!(judge(UpstreamError::Timeout), own);
    assert_eq!(judge(UpstreamError::Body(BodyFault::Aborted)), None);
}

#[test]
fn ids_in_a_path_make_no_other_operation() {
    let same = |a, b| operation(&path(a)) == operation(&path(b));
    assert!(same("/api/v3/users/1/logins", "/api/v3/users/22/logins"));
    assert!(same(
        "/api/v3/users/b3ffc78b-7982-44f3-ae66-1384415f2bea",
        "/api/v3/Users/c28df41e-5182-4668-b911-1987d4c9150f",
    ));
    assert!(!same("/api/v3/users/1", "/api/v3/users/1/logins"));
    assert!(!same("/api/v3/users/me", "/api/v3/users/1"));
    assert!(!same("/api/v3/a/bc", "/api/v3/ab/c"));
}
