//! Rows 64 and 65: callers that take their time, against the times that a gateway has by default.

use super::case::{Case, Expect, Step, chunks, get, get_with, post_with, sees};
use super::frames::PREFACE;

/// Longer than a head may take.
const LONG: u64 = 9000;

pub(super) fn cases() -> Vec<Case> {
    let stalled = |name: &str, steps: Vec<Step>| {
        Case::of_steps(64, name, steps).refused(408, "request_timeout")
    };
    let then_silence = |bytes: Vec<u8>| vec![Step::Send(bytes), Step::Idle(LONG)];
    let half = |bytes: &[u8]| bytes[..bytes.len() - 2].to_vec();
    let slow = |name: &str, head: Vec<u8>, rest: Vec<u8>| {
        let steps = vec![Step::Send(head), Step::Drip(rest, 500)];
        Case::of_steps(65, name, steps).expecting(Expect::Cut(vec![(408, "request_timeout")]))
    };
    let lines = "X-A: 1\r\n".repeat(40).into_bytes();
    // What might become HTTP/2 has no more time, and is no less a head.
    let mut cases: Vec<Case> = [1, 2, 7, 15]
        .into_iter()
        .map(|length| {
            let name = format!("{length} bytes of the preface of HTTP/2");
            stalled(&name, then_silence(PREFACE[..length].to_vec()))
        })
        .collect();
    // By then there is a line that can be read, and it is none of HTTP/1.
    cases.extend([17, 20].map(|length| {
        let name = format!("{length} bytes of the preface of HTTP/2");
        let steps = then_silence(PREFACE[..length].to_vec());
        Case::of_steps(64, name, steps).refused(400, "bad_request")
    }));
    cases.extend([
        stalled(
            "the preface of HTTP/2, one byte each 0.45 s",
            vec![
                Step::Send(PREFACE[..1].to_vec()),
                Step::Drip(PREFACE[1..].to_vec(), 450),
                Step::Idle(LONG),
            ],
        ),
        stalled(
            "half of a start line",
            then_silence(b"GET /api/v3/{m} HT".to_vec()),
        ),
        stalled("a head without its end", then_silence(half(&get_with("")))),
        stalled(
            "a head without its last byte",
            then_silence(get_with("")[..get_with("").len() - 1].to_vec()),
        ),
        stalled("one byte", then_silence(b"G".to_vec())),
        stalled(
            "one line each 0.3 s",
            vec![
                Step::Send(half(&get_with(""))),
                Step::Lines(lines, 300),
                Step::Idle(LONG),
            ],
        ),
        stalled(
            "one byte each 0.3 s",
            vec![
                Step::Send(b"GET /api/v3/{m}?".to_vec()),
                Step::Drip(vec![b'x'; 40], 300),
                Step::Idle(LONG),
            ],
        ),
        slow(
            "a body at two bytes a second",
            post_with("Content-Length: 1000\r\n", ""),
            vec![b'x'; 28],
        ),
        slow(
            "chunks at two bytes a second",
            chunks(""),
            b"1\r\nx\r\n".repeat(4),
        ),
        slow(
            "a chunk at two bytes a second",
            chunks("3e8\r\n"),
            vec![b'x'; 28],
        ),
        Case::of_steps(
            0,
            "a second between two requests",
            vec![Step::Send(get_with("")), Step::Answers(1), Step::Idle(1000)],
        )
        .passes(get("/api/v3/{m}")),
        Case::of_steps(
            0,
            "a head in two halves, a second apart",
            vec![
                Step::Send(b"GET /api/v3/{m} HTTP/1.1\r\n".to_vec()),
                Step::Idle(1000),
                Step::Send(b"{auth}\r\n".to_vec()),
            ],
        )
        .passes(get("/api/v3/{m}")),
        Case::of_steps(
            0,
            "a body in two halves, a second apart",
            vec![
                Step::Send(post_with("Content-Length: 5\r\n", "he")),
                Step::Idle(1000),
                Step::Send(b"llo".to_vec()),
            ],
        )
        .passes(sees("POST", "/api/v3/{m}", "hello")),
    ]);
    cases
}
