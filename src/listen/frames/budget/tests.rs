use super::*;
use crate::listen::frames::walk::Frame;

const END: u8 = 0x5;
const OPEN: u8 = 0x4;
const PING: u8 = 6;
const SETTINGS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Frame {
    Frame {
        kind,
        flags,
        stream,
        length,
        word: u32::from(kind == WINDOW_UPDATE) * 4096,
    }
}

fn request(stream: u32) -> Frame {
    frame(HEADERS, END, stream, 40)
}

fn reset(stream: u32, code: u32) -> Frame {
    Frame {
        word: code,
        ..frame(RESET, 0, stream, 4)
    }
}

/// A request that is answered by a head and a body.
fn exchange(budget: &mut Budget, stream: u32, now: u64) {
    budget.came(request(stream), now).unwrap();
    budget.went(frame(HEADERS, OPEN, stream, 60));
    budget.went(frame(DATA, END, stream, 300));
    assert!(budget.find(stream).is_none());
}

/// How many times something can be done before the budget is used up.
fn times(mut one: impl FnMut(u32) -> Result<(), Excess>) -> (u32, Excess) {
    for number in 0..10_000 {
        if let Err(excess) = one(number) {
            return (number, excess);
        }
    }
    panic!("the budget is never used up");
}

#[test]
fn each_flood_uses_the_budget_up() {
    let floods = [
        frame(PING, 0, 0, 8),
        frame(PING, 1, 0, 8),
        frame(SETTINGS, 0, 0, 0),
        frame(SETTINGS, 0, 0, 6),
        frame(PRIORITY, 0, 3, 5),
        frame(WINDOW_UPDATE, 0, 0, 4),
        frame(CONTINUATION, 0, 1, 0),
        frame(CONTINUATION, OPEN, 1, 100),
        frame(DATA, 0, 1, 0),
        frame(DATA, 0x8, 1, 256),
        frame(RESET, 0, 1, 4),
        frame(HEADERS, OPEN, 1, 10),
        frame(0x42, 0, 7, 16_384),
    ];
    for flood in floods {
        let mut budget = Budget::new();
        // A connection that was of use for long has no more to waste than a new one, but for the
        // window updates that may still be due for what it got.
        for number in 0..500 {
            exchange(&mut budget, 2 * number + 1, 1);
        }
        budget
            .came(frame(HEADERS, OPEN, 1001, 40), 1)
            .expect("a last request");
        let stream = if flood.stream == 1 {
            1001
        } else {
            flood.stream
        };
        let (frames, _) = times(|_| budget.came(Frame { stream, ..flood }, 1));
        let most = if flood.kind == WINDOW_UPDATE {
            1300
        } else {
            300
        };
        assert!(frames < most, "{flood:?} went on for {frames}");
        let mut budget = Budget::new();
        let (frames, _) = times(|_| budget.came(flood, 1));
        assert!(frames < 300, "{flood:?} went on for {frames}");
    }
}

#[test]
fn resets_before_an_answer_use_the_budget_up() {
    let mut budget = Budget::new();
    let (streams, excess) = times(|number| {
        let stream = 2 * number + 1;
        budget.came(request(stream), 5)?;
        budget.came(reset(stream, 8), 6)
    });
    assert_eq!((streams, excess), (16, Excess::Resets));
}

#[test]
fn resets_that_the_gateway_is_made_to_send_use_the_budget_up() {
    let zero = |stream| Frame {
        word: 0,
        ..frame(WINDOW_UPDATE, 0, stream, 4)
    };
    let itself = |stream| Frame {
        word: stream,
        ..frame(PRIORITY, 0, stream, 5)
    };
    type Fault<'a> = &'a dyn Fn(&mut Budget, u32) -> Result<(), Excess>;
    let faults: [Fault<'_>; 5] = [
        &|budget, stream| budget.came(zero(stream), 1),
        &|budget, stream| budget.came(itself(stream), 1),
        &|budget, stream| budget.came(frame(DATA, 0, stream, 5), 1),
        &|budget, stream| budget.came(frame(HEADERS, END, stream, 5), 1),
        // Whatever else: the reset itself shows it.
        &|budget, stream| {
            budget.went(reset(stream, FLOW_CONTROL_ERROR));
            Ok(())
        },
    ];
    for (number, fault) in faults.iter().enumerate() {
        let mut budget = Budget::new();
        let (streams, excess) = times(|number| {
            let stream = 2 * number + 1;
            budget.came(request(stream), 1)?;
            fault(&mut budget, stream)
        });
        assert_eq!(excess, Excess::Resets, "fault {number}");
        assert!((16..=17).contains(&streams), "fault {number}: {streams}");
    }
}

#[test]
fn resets_for_what_a_console_did_or_a_caller_waited_for_cost_nothing() {
    let mut budget = Budget::new();
    for number in 0..5000_u64 {
        let stream = u32::try_from(2 * number + 1).unwrap();
        let now = number * 1100;
        budget.pass(now);
        budget.came(request(stream), now).unwrap();
        match number % 3 {
            // An answer that broke off.
            0 => assert_eq!(budget.went(reset(stream, 2)), 0),
            // A caller that has read enough.
            1 => {
                budget.went(frame(HEADERS, OPEN, stream, 60));
                budget.came(reset(stream, 8), now).unwrap();
            }
            // A caller whose patience is over.
            _ => budget.came(reset(stream, 8), now + YOUNG).unwrap(),
        }
    }
    assert_eq!((budget.open.len(), budget.answering()), (0, 0));

    // All at once, too: a hundred requests that took too long.
    let stream = |number: u32| 100_001 + 2 * number;
    let now = 10_000_000;
    budget.pass(now);
    for number in 0..100 {
        budget.came(request(stream(number)), now).unwrap();
    }
    for number in 0..100 {
        let late = now + 30_000;
        budget.came(reset(stream(number), 8), late).unwrap();
    }
}

#[test]
fn answers_pay_for_what_their_callers_do_besides() {
    let mut budget = Budget::new();
    for number in 0..20_000 {
        let stream = 2 * number + 1;
        budget.came(request(stream), 1).unwrap();
        for other in [
            frame(PRIORITY, 0, stream, 5),
            frame(WINDOW_UPDATE, 0, 0, 4),
            frame(WINDOW_UPDATE, 0, stream, 4),
            frame(PING, 0, 0, 8),
            frame(SETTINGS, 1, 0, 0),
        ] {
            budget.came(other, 1).unwrap();
        }
        budget.went(frame(HEADERS, OPEN, stream, 60));
        budget.went(frame(DATA, END, stream, 20));
    }
}

#[test]
fn one_request_in_five_may_be_given_up_at_once() {
    let mut budget = Budget::new();
    for number in 0..10_000 {
        let stream = 2 * number + 1;
        if number % 5 == 0 {
            budget.came(request(stream), 1).unwrap();
            budget.came(reset(stream, 8), 1).unwrap();
        } else {
            exchange(&mut budget, stream, 1);
        }
    }
}

#[test]
fn bodies_pay_for_window_updates_and_pings() {
    let mut budget = Budget::new();
    budget.came(request(1), 1).unwrap();
    budget.went(frame(HEADERS, OPEN, 1, 60));
    // A download in small pieces, with two updates for each and a ping now and then.
    for number in 0..200_000 {
        budget.went(frame(DATA, 0, 1, 100));
        budget.came(frame(WINDOW_UPDATE, 0, 0, 4), 1).unwrap();
        budget.came(frame(WINDOW_UPDATE, 0, 1, 4), 1).unwrap();
        if number % 2000 == 0 {
            budget.pass(number + 1);
            budget.came(frame(PING, 0, 0, 8), number + 1).unwrap();
        }
    }
    // One in large pieces, whose updates come late.
    for _ in 0..400 {
        budget.went(frame(DATA, 0, 1, 16_384));
    }
    for _ in 0..6400 {
        budget.came(frame(WINDOW_UPDATE, 0, 1, 4), 1).unwrap();
    }
    // An upload, with a ping for every piece.
    budget.came(frame(HEADERS, OPEN, 3, 40), 1).unwrap();
    for _ in 0..10_000 {
        budget.came(frame(DATA, 0, 3, 16_384), 1).unwrap();
        budget.came(frame(PING, 0, 0, 8), 1).unwrap();
    }
}

#[test]
fn a_window_given_byte_by_byte_is_not_paid_by_the_bytes() {
    let mut budget = Budget::new();
    budget.came(request(1), 1).unwrap();
    budget.went(frame(HEADERS, OPEN, 1, 60));
    let (updates, excess) = times(|_| {
        budget.came(frame(WINDOW_UPDATE, 0, 1, 4), 1)?;
        budget.went(frame(DATA, 0, 1, 1));
        Ok(())
    });
    assert_eq!((updates, excess), (FRAMES, Excess::Frames));
}

#[test]
fn pings_every_second_go_on_for_weeks() {
    let mut budget = Budget::new();
    for second in 0..2_000_000 {
        let now = second * 1000;
        budget.pass(now);
        budget.came(frame(PING, 0, 0, 8), now).unwrap();
        if second % 75 == 0 {
            budget.came(frame(PING, 1, 0, 8), now).unwrap();
        }
    }
}

#[test]
fn streams_are_forgotten_when_they_end() {
    let mut budget = Budget::new();
    for number in 0..1000 {
        exchange(&mut budget, 2 * number + 1, 1);
        assert_eq!((budget.open.len(), budget.answering()), (0, 0));
    }
    budget.came(request(3001), 1).unwrap();
    budget.went(frame(HEADERS, OPEN, 3001, 60));
    assert_eq!(budget.answering(), 1);
    budget.went(reset(3001, 2));
    assert_eq!((budget.open.len(), budget.answering()), (0, 0));
    // Frames of streams that are gone, or never were, change nothing.
    budget.went(frame(DATA, END, 3001, 10));
    budget.came(reset(3001, 8), 1).unwrap();
    budget.went(frame(HEADERS, OPEN, 7777, 10));
    assert_eq!(budget.answering(), 0);
}

#[test]
fn a_head_is_awaited_until_its_block_has_ended() {
    let mut budget = Budget::new();
    assert!(budget.awaits_more());
    budget.came(frame(SETTINGS, 0, 0, 0), 1).unwrap();
    assert!(!budget.awaits_more());
    budget.came(frame(HEADERS, 0, 1, 10), 1).unwrap();
    assert!(budget.awaits_more());
    let units = budget.units();
    budget.came(frame(CONTINUATION, 0, 1, 10), 1).unwrap();
    assert!(budget.awaits_more() && budget.units() == units);
    budget.came(frame(CONTINUATION, OPEN, 1, 10), 1).unwrap();
    assert!(!budget.awaits_more() && budget.units() == units + 1);
}
