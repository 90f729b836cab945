//! Rows 60 to 62, much of what HTTP/2 allows once; and what it allows.

use super::case::{Case, Expect, Step, get, sees};
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Load, PADDED, PING,
    PREFACE, PRIORITY, RST_STREAM, WINDOW_UPDATE,
};
use super::hpack;
use super::streams::{data, fields, headers, passes, settings, talk};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = floods();
    cases.extend(valid());
    cases
}

/// Much of what is allowed once: the connection ends, and its caller need not help with that.
fn floods() -> Vec<Case> {
    let flood =
        |row: u8, name: &str, first: Vec<Frame>, frame: Frame, times: usize, most: usize| {
            let mut frames = vec![settings()];
            frames.extend(first);
            frames.extend(std::iter::repeat_n(frame, times));
            let steps = vec![Step::Send(PREFACE.to_vec()), Step::Frames(frames)];
            Case {
                http2: true,
                ..Case::of_steps(row, name, steps)
            }
            .expecting(Expect::Flooded(most))
        };
    let open = || Frame {
        flags: 0,
        ..headers(1, 0, fields(&[], &[]))
    };
    let post = || headers(1, 0, fields(&[(":method", Some(b"POST"))], &[]));
    let resets = |stream: u32| {
        [
            headers(stream, END_STREAM, fields(&[], &[])),
            Frame::bytes(RST_STREAM, 0, stream, [0, 0, 0, 8]),
        ]
    };
    let rapid: Vec<Frame> = (0..1200)
        .flat_map(|number| resets(2 * number + 1))
        .collect();
    let own: Vec<Frame> = (0..1200)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            [
                headers(stream, 0, fields(&[(":method", Some(b"POST"))], &[])),
                Frame::bytes(WINDOW_UPDATE, 0, stream, [0, 0, 0, 0]),
            ]
        })
        .collect();
    let mut bomb = hpack::encode(&[]);
    bomb.push(0x40);
    for text in ["x-a".to_owned(), "x".repeat(3900)] {
        hpack::number(&mut bomb, 0, 7, text.len());
        bomb.extend_from_slice(text.as_bytes());
    }
    bomb.extend(std::iter::repeat_n(0x80 | 62, 12_000));
    vec![
        flood(60, "1,200 streams that are reset", rapid, settings(), 0, 20),
        flood(
            60,
            "1,200 streams that the server has to reset",
            own,
            settings(),
            0,
            20,
        ),
        flood(
            61,
            "5,000 empty continuations",
            vec![open()],
            Frame::bytes(CONTINUATION, 0, 1, ""),
            5000,
            0,
        ),
        flood(
            61,
            "5,000 continuations of a byte",
            vec![open()],
            Frame::bytes(CONTINUATION, 0, 1, [0x82]),
            5000,
            0,
        ),
        flood(
            61,
            "5,000 empty frames of data",
            vec![post()],
            data(1, 0, ""),
            5000,
            1,
        ),
        flood(
            61,
            "5,000 pings",
            Vec::new(),
            Frame::bytes(PING, 0, 0, "12345678"),
            5000,
            0,
        ),
        flood(61, "5,000 settings", Vec::new(), settings(), 5000, 0),
        flood(
            61,
            "5,000 priorities",
            Vec::new(),
            Frame::bytes(PRIORITY, 0, 1, [0, 0, 0, 3, 0]),
            5000,
            0,
        ),
        talk(
            62,
            "47 MB of headers out of 16 kB",
            vec![Frame::bytes(HEADERS, END_STREAM | END_HEADERS, 1, bomb)],
            1,
        )
        .expecting(Expect::Shut),
        talk(
            62,
            "a header of 100 kB",
            vec![headers(1, END_STREAM, fields(&[], &[]))],
            1,
        )
        .with_a_long_header(),
    ]
}

fn valid() -> Vec<Case> {
    let plain = || fields(&[], &[]);
    let post = |more: &[(&[u8], &[u8])]| headers(1, 0, fields(&[(":method", Some(b"POST"))], more));
    let hello = || vec![sees("POST", "/api/v3/{m}", "hello")];
    let one = || vec![headers(1, END_STREAM, plain())];
    let again = |name: &str, field: (&[u8], &[u8])| {
        let seen = get("/api/v3/{m}").has(name, field.1);
        (
            vec![headers(1, END_STREAM, fields(&[], &[field]))],
            vec![seen],
        )
    };
    let method = |method: &str| {
        let head = headers(
            1,
            END_STREAM,
            fields(&[(":method", Some(method.as_bytes()))], &[]),
        );
        passes(
            0,
            &format!("HTTP/2: {method}"),
            vec![head],
            vec![sees(method, "/api/v3/{m}", "")],
        )
    };
    let blank = |name: &str, value: &'static [u8]| {
        let head = headers(1, END_STREAM, fields(&[], &[(b"x-a", value)]));
        let passed = Expect::Passed(200, vec![get("/api/v3/{m}").has("x-a", "1")]);
        talk(56, name, vec![head], 1).expecting(Expect::Either(vec![Expect::Shut, passed]))
    };
    let (latin, seen_latin) = again("x-a", (b"x-a", b"caf\xe9"));
    let (empty, seen_empty) = again("x-a", (b"x-a", b""));
    let block = hpack_split();
    let three = [1, 3, 5].map(|stream| headers(stream, END_STREAM, plain()));
    let mut cases: Vec<Case> = ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "PATCH"]
        .map(method)
        .into();
    cases.extend([
        blank("a blank before a value", b" 1"),
        blank("a blank behind a value", b"1 "),
        blank("a tab behind a value", b"1\t"),
        passes(
            0,
            "HTTP/2: a body",
            vec![post(&[]), data(1, END_STREAM, "hello")],
            hello(),
        ),
        passes(
            0,
            "HTTP/2: a body and its length",
            vec![
                post(&[(b"content-length", b"5")]),
                data(1, END_STREAM, "hello"),
            ],
            hello(),
        ),
        passes(
            0,
            "HTTP/2: a body in pieces",
            vec![
                post(&[]),
                data(1, 0, "he"),
                data(1, 0, ""),
                data(1, 0, "llo"),
                data(1, END_STREAM, ""),
            ],
            hello(),
        ),
        passes(
            0,
            "HTTP/2: padding",
            vec![
                post(&[]),
                Frame::bytes(DATA, END_STREAM | PADDED, 1, b"\x03hello\0\0\0"),
            ],
            hello(),
        ),
        passes(
            0,
            "HTTP/2: trailers",
            vec![
                post(&[]),
                data(1, 0, "hello"),
                headers(1, END_STREAM, vec![(b"x-a".to_vec(), b"1".to_vec())]),
            ],
            vec![sees("POST", "/api/v3/{m}", "hello").lacks("x-a")],
        ),
        passes(
            0,
            "HTTP/2: te of trailers",
            vec![headers(1, END_STREAM, fields(&[], &[(b"te", b"trailers")]))],
            vec![get("/api/v3/{m}").lacks("te")],
        ),
        passes(
            0,
            "HTTP/2: cookies",
            vec![headers(
                1,
                END_STREAM,
                fields(&[], &[(b"cookie", b"a=b"), (b"cookie", b"c=d")]),
            )],
            vec![get("/api/v3/{m}")],
        ),
        passes(0, "HTTP/2: Latin-1 in a value", latin, seen_latin),
        passes(0, "HTTP/2: an empty value", empty, seen_empty),
        passes(
            0,
            "HTTP/2: a block in pieces",
            block,
            vec![get("/api/v3/{m}")],
        ),
        passes(
            0,
            "HTTP/2: three streams",
            three.to_vec(),
            vec![get("/api/v3/{m}"), get("/api/v3/{m}"), get("/api/v3/{m}")],
        ),
        passes(
            0,
            "HTTP/2: a frame of a kind that is not known",
            [vec![Frame::bytes(0x42, 0xff, 0, "x")], one()].concat(),
            vec![get("/api/v3/{m}")],
        ),
        passes(
            0,
            "HTTP/2: a ping, a priority and a window",
            [
                vec![
                    Frame::bytes(PING, 0, 0, "12345678"),
                    Frame::bytes(PRIORITY, 0, 3, [0, 0, 0, 0, 9]),
                    Frame::bytes(WINDOW_UPDATE, 0, 0, [0, 1, 0, 0]),
                ],
                one(),
            ]
            .concat(),
            vec![get("/api/v3/{m}")],
        ),
        passes(
            0,
            "HTTP/2: a caller that says it will go",
            [one(), vec![Frame::bytes(GOAWAY, 0, 0, [0; 8])]].concat(),
            vec![get("/api/v3/{m}")],
        ),
    ]);
    cases
}

/// A request whose block comes in a frame for each of its fields.
fn hpack_split() -> Vec<Frame> {
    let all = fields(&[], &[]);
    let last = all.len() - 1;
    let frames = all.into_iter().enumerate().map(|(place, field)| Frame {
        kind: if place == 0 { HEADERS } else { CONTINUATION },
        flags: match place {
            0 => END_STREAM,
            place if place == last => END_HEADERS,
            _ => 0,
        },
        stream: 1,
        load: Load::Fields(vec![field]),
    });
    frames.collect()
}

impl Case {
    /// Adds a header of 100 kB in frames of 16 kB.
    fn with_a_long_header(mut self) -> Self {
        let mut block = hpack::encode(&[]);
        block.extend_from_slice(&[0, 3, b'x', b'-', b'a']);
        hpack::number(&mut block, 0, 7, 100_000);
        block.extend(std::iter::repeat_n(b'x', 100_000));
        let mut pieces = block.chunks(16_000).peekable();
        let mut frames = vec![
            settings(),
            Frame {
                flags: END_STREAM,
                ..headers(1, 0, fields(&[], &[]))
            },
        ];
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            frames.push(Frame::bytes(CONTINUATION, flags, 1, piece));
        }
        for step in &mut self.steps {
            if let Step::Frames(old) = step {
                old.clone_from(&frames);
            }
        }
        self.expecting(Expect::Shut)
    }
}
