//! Row 55 as well: frames that break the rules of their connection.

use super::case::{Case, Expect};
use super::frames::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, PING, PRIORITIZED,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use super::hpack;
use super::streams::{data, fields, headers, talk};

pub(super) fn cases() -> Vec<Case> {
    let of = |name: &str, frame: Frame| talk(55, name, vec![frame], 1).expecting(Expect::Shut);
    let block = || hpack::encode(&[(b"x-a".to_vec(), b"1".to_vec())]);
    let open = || Frame {
        flags: 0,
        ..headers(1, 0, fields(&[], &[]))
    };
    vec![
        of(
            "headers of stream zero",
            headers(0, END_STREAM, fields(&[], &[])),
        ),
        of(
            "headers of an even stream",
            headers(2, END_STREAM, fields(&[], &[])),
        ),
        of("data of stream zero", data(0, 0, "x")),
        of("data of an idle stream", data(1, END_STREAM, "x")),
        of(
            "a reset of an idle stream",
            Frame::bytes(RST_STREAM, 0, 1, [0, 0, 0, 8]),
        ),
        of(
            "a reset of stream zero",
            Frame::bytes(RST_STREAM, 0, 0, [0, 0, 0, 8]),
        ),
        of(
            "a promise",
            Frame::bytes(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2]),
        ),
        of(
            "a continuation of nothing",
            Frame::bytes(CONTINUATION, END_HEADERS, 1, block()),
        ),
        of("settings of a stream", Frame::bytes(SETTINGS, 0, 1, "")),
        of(
            "settings of five bytes",
            Frame::bytes(SETTINGS, 0, 0, "12345"),
        ),
        of(
            "an acknowledgement with a load",
            Frame::bytes(SETTINGS, ACK, 0, [0, 3, 0, 0, 0, 1]),
        ),
        of("a ping of seven bytes", Frame::bytes(PING, 0, 0, "1234567")),
        of("a ping of a stream", Frame::bytes(PING, 0, 1, "12345678")),
        of(
            "a window of nothing more",
            Frame::bytes(WINDOW_UPDATE, 0, 0, [0, 0, 0, 0]),
        ),
        of(
            "a window too large",
            Frame::bytes(WINDOW_UPDATE, 0, 0, [0x7f, 0xff, 0xff, 0xff]),
        ),
        of(
            "a window of three bytes",
            Frame::bytes(WINDOW_UPDATE, 0, 0, [0, 0, 1]),
        ),
        of("a frame that is too large", data(1, 0, &"x".repeat(20_000))),
        of(
            "more padding than frame",
            Frame::bytes(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, [200, 0, 0]),
        ),
        of(
            "a block that ends within a field",
            Frame::bytes(HEADERS, END_STREAM | END_HEADERS, 1, [0, 3, b'x']),
        ),
        of(
            "an entry that there is not",
            Frame::bytes(HEADERS, END_STREAM | END_HEADERS, 1, [0xff, 0x7f]),
        ),
        of(
            "a stream that depends on itself",
            Frame::bytes(
                HEADERS,
                END_STREAM | END_HEADERS | PRIORITIZED,
                1,
                [0, 0, 0, 1, 0, 0x82],
            ),
        ),
        talk(
            55,
            "data within a block",
            vec![open(), data(1, END_STREAM, "x")],
            1,
        )
        .expecting(Expect::Shut),
        talk(
            55,
            "another stream within a block",
            vec![open(), headers(3, END_STREAM, fields(&[], &[]))],
            1,
        )
        .expecting(Expect::Shut),
        talk(
            55,
            "a ping within a block",
            vec![open(), Frame::bytes(PING, 0, 0, "12345678")],
            1,
        )
        .expecting(Expect::Shut),
    ]
}
