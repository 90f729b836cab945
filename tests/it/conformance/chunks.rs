//! Rows 13 to 19: bodies in chunks, bodies that end too early, trailers.

use super::case::{Case, Expect, Step, chunks, post_with, sees};

/// A size that is none, in place of the five before `hello`.
const NOT_SIZES: [(&str, &[u8]); 24] = [
    ("hex with 0x", b"0x5"),
    ("hex with 0X", b"0X5"),
    ("a plus", b"+5"),
    ("a minus", b"-5"),
    ("an underscore", b"0_5"),
    ("a blank before", b" 5"),
    ("a blank behind", b"5 "),
    ("a tab before", b"\t5"),
    ("a tab behind", b"5\t"),
    ("a blank within", b"0 5"),
    ("nothing", b""),
    ("only a blank", b" "),
    ("a letter that is no digit", b"g"),
    ("a letter behind", b"5h"),
    ("a dot", b"5.0"),
    ("NUL before", b"\x005"),
    ("NUL behind", b"5\0"),
    ("VT behind", b"5\x0b"),
    ("DEL behind", b"5\x7f"),
    ("Arabic five", "\u{665}".as_bytes()),
    ("full-width five", "\u{ff15}".as_bytes()),
    ("a wrap around 64 bits", b"10000000000000005"),
    ("many digits", b"FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"),
    ("quotes", b"\"5\""),
];

const LINE_ENDS: [(&str, &[u8]); 16] = [
    ("LF behind a size", b"5\nhello\r\n0\r\n\r\n"),
    ("LF behind data", b"5\r\nhello\n0\r\n\r\n"),
    ("LF behind the last size", b"5\r\nhello\r\n0\n\r\n"),
    ("LF at the end", b"5\r\nhello\r\n0\r\n\n"),
    ("LF everywhere", b"5\nhello\n0\n\n"),
    ("CR behind a size", b"5\rhello\r\n0\r\n\r\n"),
    ("CR behind data", b"5\r\nhello\r0\r\n\r\n"),
    ("CR behind the last size", b"5\r\nhello\r\n0\r\r\n"),
    ("CR CR LF behind a size", b"5\r\r\nhello\r\n0\r\n\r\n"),
    ("LF CR behind a size", b"5\n\rhello\r\n0\r\n\r\n"),
    ("LF in an extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ("LF in quotes", b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"),
    ("CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("CR in quotes", b"5;a=\"\r\"\r\nhello\r\n0\r\n\r\n"),
    ("LF in the last extension", b"5\r\nhello\r\n0;\n\r\n\r\n"),
    (
        "an extension that ends a line by LF",
        b"5;\nhello\r\n0\r\n\r\n",
    ),
];

const WRONG_DATA: [(&str, &str); 8] = [
    ("one byte too many", "5\r\nhellox\r\n0\r\n\r\n"),
    (
        "many bytes too many",
        "5\r\nhello, hello, hello\r\n0\r\n\r\n",
    ),
    ("one byte too few", "5\r\nhell\r\n0\r\n\r\n"),
    ("no line end behind", "5\r\nhello0\r\n\r\n"),
    (
        "a size that takes the line end in",
        "7\r\nhello\r\n0\r\n\r\n",
    ),
    ("a size of a request behind it", "5\r\nhello\r\n5{next}"),
    ("no size where one belongs", "5\r\nhello\r\n\r\n0\r\n\r\n"),
    ("a request where a size belongs", "5\r\nhello\r\n"),
];

/// Cut off: what has come when the caller ends its side.
const CUT_SHORT: [(&str, &str); 7] = [
    ("before the first size", ""),
    ("within a size", "5"),
    ("behind a size", "5\r\n"),
    ("within data", "5\r\nhel"),
    ("behind data", "5\r\nhello\r\n"),
    ("within the last size", "5\r\nhello\r\n0"),
    ("before the last line end", "5\r\nhello\r\n0\r\n"),
];

const BAD_EXTENSIONS: [(&str, &[u8]); 13] = [
    ("no name", b";"),
    ("two semicolons", b";;a"),
    ("a value without a name", b";=b"),
    ("a name without its value", b";a="),
    ("quotes that stay open", b";a=\"b"),
    ("something behind quotes", b";a=\"b\"c"),
    ("two values", b";a=b=c"),
    ("a blank in a name", b";a b"),
    ("no semicolon", b" a"),
    ("a comma", b",a"),
    ("NUL", b";a\0"),
    ("a control in quotes", b";a=\"\x01\""),
    ("a byte that no name has", b";\xe9=1"),
];

const GOOD_EXTENSIONS: [(&str, &str); 7] = [
    ("a name", ";a"),
    ("a value", ";a=b"),
    ("a quoted value", ";a=\"b c\""),
    ("quotes within quotes", ";a=\"b \\\" ; c\""),
    ("several", ";a;b=c;d=\"e\""),
    ("an empty quoted value", ";a=\"\""),
    (
        "every byte that a name may have",
        ";!#$%&'*+-.^_`|~09azAZ=1",
    ),
];

const BAD_TRAILERS: [(&str, &[u8]); 12] = [
    ("a blank in a name", b"X A: 1\r\n"),
    ("a blank before the colon", b"X-A : 1\r\n"),
    ("no colon", b"X-A\r\n"),
    ("no name", b": 1\r\n"),
    ("NUL in a value", b"X-A: \0\r\n"),
    ("a control in a value", b"X-A: \x01\r\n"),
    ("DEL in a name", b"X-\x7fA: 1\r\n"),
    ("a fold", b"X-A: 1\r\n 2\r\n"),
    ("a fold first", b" X-A: 1\r\n"),
    ("LF behind", b"X-A: 1\n"),
    ("CR within", b"X-A: 1\r2\r\n"),
    ("a request", b"GET /api/v3/{m} HTTP/1.1\r\n"),
];

/// What must not become part of the request when it comes behind its body.
const MEANT_AS_HEADERS: [&str; 10] = [
    "Authorization: Bearer x",
    "Host: evil.example",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "X-Tenant: globex",
    "X-Api-Key: {both}",
    "Cookie: a=b",
    "Connection: close",
    "Expect: 100-continue",
    "X-Forwarded-For: 192.0.2.1",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let whole = || sees("POST", "/api/v3/{m}", "hello");
    for (name, size) in NOT_SIZES {
        let rest = [size, b"\r\nhello\r\n0\r\n\r\n{next}"].concat();
        cases.push(Case::new(13, name, chunks(rest)).cut());
    }
    for (name, rest) in LINE_ENDS {
        cases.push(Case::new(14, name, chunks([rest, b"{next}"].concat())).cut());
    }
    for (name, rest) in WRONG_DATA {
        cases.push(Case::new(15, name, chunks([rest, "{next}"].concat())).cut());
    }
    for (name, rest) in CUT_SHORT {
        let steps = vec![Step::Send(chunks(rest)), Step::HalfClose];
        cases.push(Case::of_steps(17, name, steps).cut());
    }
    for (name, extension) in BAD_EXTENSIONS {
        let rest = [b"5", extension, b"\r\nhello\r\n0\r\n\r\n{next}"].concat();
        cases.push(Case::new(16, name, chunks(rest)).cut());
        let rest = [b"5\r\nhello\r\n0", extension, b"\r\n\r\n{next}"].concat();
        cases.push(Case::new(16, format!("{name}, at the end"), chunks(rest)).cut());
    }
    for (name, extension) in GOOD_EXTENSIONS {
        let rest = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        cases.push(Case::new(16, name, chunks(rest)).passes(whole()));
    }
    for (name, trailer) in BAD_TRAILERS {
        let rest = [b"5\r\nhello\r\n0\r\n", trailer, b"\r\n{next}"].concat();
        cases.push(Case::new(18, name, chunks(rest)).cut());
    }
    for trailer in MEANT_AS_HEADERS {
        let rest = format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n");
        cases.push(Case::new(19, trailer, chunks(rest)).passes(whole()));
    }
    cases.extend(large());
    cases.extend(ends());
    cases
}

/// Framing that is well formed and too much of it.
fn large() -> Vec<Case> {
    let either = |codes: &[(u16, &'static str)]| Expect::Cut(codes.to_vec());
    let extension = "x".repeat(5000);
    let one = format!("5;{extension}\r\nhello\r\n0\r\n\r\n{{next}}");
    let many = "1;abcdef=g\r\nx\r\n".repeat(1000) + "0\r\n\r\n{next}";
    let endless = format!("5\r\nhello\r\n{}", "0".repeat(70_000));
    let trailer = format!(
        "5\r\nhello\r\n0\r\nX-A: {}\r\n\r\n{{next}}",
        "x".repeat(70_000)
    );
    let lines = format!(
        "5\r\nhello\r\n0\r\n{}\r\n{{next}}",
        "X-A: 1\r\n".repeat(10_000)
    );
    let told = [(400, "bad_request"), (431, "head_too_large")];
    vec![
        Case::new(16, "one extension of 5 kB", chunks(one)).expecting(either(&told)),
        Case::new(16, "a thousand small extensions", chunks(many)).expecting(either(&told)),
        Case::new(13, "a size without an end", chunks(endless)).expecting(either(&told)),
        Case::of_steps(
            13,
            "a chunk of 4 GiB",
            vec![
                Step::Send(chunks("100000005\r\nhello\r\n0\r\n\r\n{next}")),
                Step::HalfClose,
            ],
        )
        .expecting(either(&[(400, "bad_request"), (413, "body_too_large")])),
        Case::new(18, "a trailer of 70 kB", chunks(trailer)).expecting(either(&told)),
        Case::new(18, "ten thousand trailers", chunks(lines)).expecting(either(&told)),
        Case::new(
            18,
            "a trailer",
            chunks("5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n"),
        )
        .passes(
            sees("POST", "/api/v3/{m}", "hello")
                .lacks("x-a")
                .lacks("x-b"),
        ),
        Case::new(
            18,
            "a trailer that was announced",
            post_with(
                "Transfer-Encoding: chunked\r\nTrailer: X-A\r\n",
                "5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n",
            ),
        )
        .passes(sees("POST", "/api/v3/{m}", "hello").lacks("x-a")),
        Case::new(
            13,
            "a size that is none",
            chunks("0x5\r\nhello\r\n0\r\n\r\n{next}"),
        )
        .cut()
        .trickled(),
        Case::new(14, "LF behind data", chunks("5\r\nhello\n0\r\n\r\n{next}"))
            .cut()
            .trickled(),
        Case::new(
            15,
            "no line end behind data",
            chunks("5\r\nhello0\r\n\r\n{next}"),
        )
        .cut()
        .trickled(),
    ]
}

/// Callers that go away within a body.
fn ends() -> Vec<Case> {
    let reset = |head: Vec<u8>| vec![Step::Send(head), Step::Reached, Step::Reset];
    let half = |head: Vec<u8>| vec![Step::Send(head), Step::HalfClose];
    let long = |rest: &str| post_with("Content-Length: 10\r\n", rest);
    vec![
        Case::of_steps(17, "half of a body, then its end", half(long("hello"))).cut(),
        Case::of_steps(17, "nothing of a body, then its end", half(long(""))).cut(),
        Case::of_steps(17, "half of a body, then a reset", reset(long("hello"))).cut(),
        Case::of_steps(17, "nothing of a body, then a reset", reset(long(""))).cut(),
        Case::of_steps(17, "a chunk, then a reset", reset(chunks("5\r\nhello\r\n"))).cut(),
        Case::of_steps(
            17,
            "all but the last line end, then a reset",
            reset(chunks("5\r\nhello\r\n0\r\n")),
        )
        .cut(),
    ]
}
