//! Rows 1 to 12: how long a request's body is said to be.

use super::case::{Case, Expect, chunks, get_with, joined, post_with, sees};

/// What every one of these sends behind its head: by one reading a body, by another none, by each
/// something that looks like a request.
const REST: &str = "hello{next}";
/// The same for a body in chunks.
const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n{next}";

const BOTH_FRAMINGS: [(&str, &str); 9] = [
    (
        "a length before a coding",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        "a coding before a length",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ),
    (
        "a length of zero and a coding",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        "a coding and a length of all",
        "Transfer-Encoding: chunked\r\nContent-Length: 15\r\n",
    ),
    (
        "both in other letters",
        "CONTENT-LENGTH: 5\r\ntransfer-encoding: CHUNKED\r\n",
    ),
    (
        "a length between two codings",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        "a length and a coding that is none",
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
    ),
    (
        "a length and an empty coding",
        "Content-Length: 5\r\nTransfer-Encoding:\r\n",
    ),
    (
        "both far apart",
        "Content-Length: 5\r\nX-A: 1\r\nX-B: 2\r\nTransfer-Encoding: chunked\r\n",
    ),
];

const DIFFERENT_LENGTHS: [(&str, &str); 9] = [
    ("five and six", "Content-Length: 5\r\nContent-Length: 6\r\n"),
    ("six and five", "Content-Length: 6\r\nContent-Length: 5\r\n"),
    (
        "none and five",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
    ),
    (
        "five and none",
        "Content-Length: 5\r\nContent-Length: 0\r\n",
    ),
    (
        "two names that differ in case",
        "Content-Length: 5\r\ncontent-length: 0\r\n",
    ),
    ("a list of two", "Content-Length: 5, 6\r\n"),
    ("a list of three", "Content-Length: 5,5,6\r\n"),
    ("a list with nothing behind", "Content-Length: 5,\r\n"),
    ("a list with nothing before", "Content-Length: ,5\r\n"),
];

const EQUAL_LENGTHS: [(&str, &str); 6] = [
    ("two lines", "Content-Length: 5\r\nContent-Length: 5\r\n"),
    (
        "three lines",
        "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
    ),
    (
        "two lines, other letters",
        "Content-Length: 5\r\nCONTENT-LENGTH: 5\r\n",
    ),
    (
        "two lines far apart",
        "Content-Length: 5\r\nX-A: 1\r\nContent-Length: 5\r\n",
    ),
    ("a list", "Content-Length: 5, 5\r\n"),
    ("a tight list", "Content-Length: 5,5\r\n"),
];

const NOT_LENGTHS: [(&str, &[u8]); 31] = [
    ("a plus", b"+5"),
    ("a minus", b"-5"),
    ("minus zero", b"-0"),
    ("hex", b"0x5"),
    ("octal", b"0o5"),
    ("binary", b"0b101"),
    ("a dot", b"5.0"),
    ("a dot behind", b"5."),
    ("an exponent", b"5e0"),
    ("an underscore", b"5_0"),
    ("an inner blank", b"5 0"),
    ("an inner tab", b"5\t0"),
    ("NUL behind", b"5\0"),
    ("NUL before", b"\x005"),
    ("VT before", b"\x0b5"),
    ("VT behind", b"5\x0b"),
    ("FF before", b"\x0c5"),
    ("FF behind", b"5\x0c"),
    ("NBSP behind", b"5\xa0"),
    ("Arabic five", "\u{665}".as_bytes()),
    ("full-width five", "\u{ff15}".as_bytes()),
    ("superscript five", "\u{2075}".as_bytes()),
    ("a letter behind", b"5h"),
    ("a word", b"five"),
    ("single quotes", b"'5'"),
    ("double quotes", b"\"5\""),
    ("a semicolon", b"5;"),
    ("a parameter", b"5;q=1"),
    ("brackets", b"(5)"),
    ("nothing", b""),
    ("only blanks", b"  "),
];

const LEADING_ZEROS: [&str; 4] = ["05", "005", "00", "0000000000000000000000000000000005"];

/// The limit of the suite's gateway is 65536.
const TOO_LONG: [(&str, u16, &str); 8] = [
    ("65537", 413, "body_too_large"),
    ("1000000", 413, "body_too_large"),
    ("4294967301", 413, "body_too_large"),
    ("9223372036854775807", 413, "body_too_large"),
    ("9223372036854775808", 413, "body_too_large"),
    ("18446744073709551616", 400, "bad_request"),
    ("18446744073709551621", 400, "bad_request"),
    ("1000000000000000000000000000005", 400, "bad_request"),
];

const EMPTY_LENGTHS: [(&str, &str); 4] = [
    (
        "empty, then five",
        "Content-Length:\r\nContent-Length: 5\r\n",
    ),
    (
        "a blank, then five",
        "Content-Length: \r\nContent-Length: 5\r\n",
    ),
    (
        "five, then empty",
        "Content-Length: 5\r\nContent-Length:\r\n",
    ),
    (
        "empty, then a coding",
        "Content-Length:\r\nTransfer-Encoding: chunked\r\n",
    ),
];

/// What stands between a name and its colon.
const BEFORE_COLON: [(&str, &[u8]); 11] = [
    ("a blank", b" "),
    ("a tab", b"\t"),
    ("VT", b"\x0b"),
    ("FF", b"\x0c"),
    ("NUL", b"\0"),
    ("SOH", b"\x01"),
    ("DEL", b"\x7f"),
    ("0x80", b"\x80"),
    ("0x85", b"\x85"),
    ("0xA0", b"\xa0"),
    ("0xFF", b"\xff"),
];

const NOT_CHUNKED: [(&str, &[u8]); 32] = [
    ("identity", b"identity"),
    ("gzip", b"gzip"),
    ("gzip, then chunked", b"gzip, chunked"),
    ("chunked, then gzip", b"chunked, gzip"),
    ("chunked, then identity", b"chunked, identity"),
    ("identity, then chunked", b"identity, chunked"),
    ("chunked twice", b"chunked, chunked"),
    ("chunked twice without a comma", b"chunked chunked"),
    ("a letter before", b"xchunked"),
    ("a letter behind", b"chunkedx"),
    ("a dash before", b"x-chunked"),
    ("cut short", b"chunk"),
    ("a parameter", b"chunked;q=1"),
    ("a semicolon", b"chunked;"),
    ("a comma behind", b"chunked,"),
    ("a comma before", b",chunked"),
    ("double quotes", b"\"chunked\""),
    ("single quotes", b"'chunked'"),
    ("nothing", b""),
    ("only a blank", b" "),
    ("VT before", b"\x0bchunked"),
    ("FF before", b"\x0cchunked"),
    ("VT behind", b"chunked\x0b"),
    ("NUL before", b"\0chunked"),
    ("NUL behind", b"chunked\0"),
    ("NUL within", b"chun\0ked"),
    ("a blank within", b"chun ked"),
    ("NBSP before", b"\xa0chunked"),
    ("0x85 behind", b"chunked\x85"),
    ("a Kelvin sign for k", "chun\u{212a}ed".as_bytes()),
    ("something else", b"cow"),
    ("trailers", b"trailers"),
];

const SEVERAL_CODINGS: [(&str, &str); 6] = [
    (
        "chunked twice",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        "chunked and identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ),
    (
        "identity and chunked",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        "chunked and nothing",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
    ),
    (
        "gzip and chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        "names in other letters",
        "Transfer-Encoding: chunked\r\ntransfer-ENCODING: x\r\n",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut refuse = |row: u8, name: &str, lines: &[u8], rest: &str| {
        cases.push(Case::new(row, name, post_with(lines, rest)).refused(400, "bad_request"));
    };
    for (name, lines) in BOTH_FRAMINGS {
        refuse(1, name, lines.as_bytes(), CHUNKS);
    }
    for (name, lines) in DIFFERENT_LENGTHS {
        refuse(2, name, lines.as_bytes(), REST);
    }
    for (name, lines) in EQUAL_LENGTHS {
        refuse(3, name, lines.as_bytes(), REST);
    }
    for (name, length) in NOT_LENGTHS {
        refuse(
            4,
            name,
            &joined(&[b"Content-Length: ", length, b"\r\n"]),
            REST,
        );
    }
    for length in LEADING_ZEROS {
        refuse(
            5,
            length,
            format!("Content-Length: {length}\r\n").as_bytes(),
            REST,
        );
    }
    for (name, lines) in EMPTY_LENGTHS {
        refuse(7, name, lines.as_bytes(), REST);
    }
    for (name, byte) in BEFORE_COLON {
        let (length, coding) = (
            format!("{name} behind Content-Length"),
            format!("{name} behind Transfer-Encoding"),
        );
        refuse(
            8,
            &length,
            &joined(&[b"Content-Length", byte, b": 5\r\n"]),
            REST,
        );
        refuse(
            8,
            &coding,
            &joined(&[b"Transfer-Encoding", byte, b": chunked\r\n"]),
            CHUNKS,
        );
    }
    for (name, coding) in NOT_CHUNKED {
        refuse(
            9,
            name,
            &joined(&[b"Transfer-Encoding: ", coding, b"\r\n"]),
            CHUNKS,
        );
    }
    for (name, lines) in SEVERAL_CODINGS {
        refuse(10, name, lines.as_bytes(), CHUNKS);
    }
    for (length, status, code) in TOO_LONG {
        let lines = format!("Content-Length: {length}\r\n");
        cases.push(Case::new(6, length, post_with(lines, REST)).refused(status, code));
    }
    cases.extend(more());
    cases
}

fn more() -> Vec<Case> {
    let too_large = "10001\r\n".to_owned() + &"x".repeat(0x10001) + "\r\n0\r\n\r\n{next}";
    let pieces = "1000\r\n".to_owned() + &"x".repeat(0x1000) + "\r\n";
    let grown = pieces.repeat(17) + "0\r\n\r\n{next}";
    let large = || Expect::Cut(vec![(413, "body_too_large")]);
    let old = |lines: &str, rest: &str| {
        format!("POST /api/v3/{{m}} HTTP/1.0\r\n{{auth}}{lines}\r\n{rest}")
    };
    let alone = || sees("POST", "/api/v3/{m}", "");
    vec![
        Case::new(
            6,
            "18446744073709551615",
            post_with("Content-Length: 18446744073709551615\r\n", REST),
        )
        .expecting(Expect::Refused(vec![
            (413, "body_too_large"),
            (400, "bad_request"),
        ])),
        Case::new(6, "one chunk over the limit", chunks(&too_large)).expecting(large()),
        Case::new(6, "chunks that outgrow the limit", chunks(&grown)).expecting(large()),
        Case::new(
            4,
            "a GET with a length of minus one",
            get_with("Content-Length: -1\r\n"),
        )
        .refused(400, "bad_request"),
        Case::new(11, "chunked", old("Transfer-Encoding: chunked\r\n", CHUNKS))
            .refused(400, "bad_request"),
        Case::new(
            11,
            "chunked and kept alive",
            old(
                "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
                CHUNKS,
            ),
        )
        .refused(400, "bad_request"),
        Case::new(
            11,
            "a length and chunked",
            old(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                CHUNKS,
            ),
        )
        .refused(400, "bad_request"),
        Case::new(11, "identity", old("Transfer-Encoding: identity\r\n", REST))
            .refused(400, "bad_request"),
        Case::new(12, "bytes behind a POST without a length", old("", REST)).passes_last(alone()),
        Case::new(
            12,
            "a request behind a POST without a length",
            old("", "{next}"),
        )
        .passes_last(alone()),
        Case::new(
            12,
            "the same, kept alive",
            old("Connection: keep-alive\r\n", "{next}"),
        )
        .passes_last(alone()),
        Case::new(
            12,
            "a request behind a POST with a length",
            old("Content-Length: 5\r\n", REST),
        )
        .passes_last(sees("POST", "/api/v3/{m}", "hello")),
        Case::new(
            12,
            "a request behind a kept alive POST with a length",
            old("Connection: keep-alive\r\nContent-Length: 5\r\n", REST),
        )
        .passes_last(sees("POST", "/api/v3/{m}", "hello")),
        Case::new(1, "both framings", post_with(BOTH_FRAMINGS[0].1, CHUNKS))
            .refused(400, "bad_request")
            .trickled(),
        Case::new(
            9,
            "a Kelvin sign for k",
            post_with("Transfer-Encoding: chun\u{212a}ed\r\n", CHUNKS),
        )
        .refused(400, "bad_request")
        .trickled(),
    ]
}
