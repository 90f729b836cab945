use std::time::Duration;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

fn tcp4(source: [u8; 4], more: &[u8]) -> Vec<u8> {
    let mut rest = source.to_vec();
    rest.extend([198, 51, 100, 1, 220, 4, 1, 187]);
    rest.extend(more);
    v2(0x21, 0x11, &rest)
}

fn tcp6(source: [u8; 16], more: &[u8]) -> Vec<u8> {
    let mut rest = source.to_vec();
    rest.extend([0; 20]);
    rest.extend(more);
    v2(0x21, 0x21, &rest)
}

/// What is made of a stream that begins like this by somebody who reads as much as is called for,
/// and how much that was.
fn walk(stream: &[u8]) -> (Result<Look, Malformed>, usize) {
    let mut taken = 0;
    loop {
        let looked = look(&stream[..taken]);
        let more = match looked {
            Ok(Look::Needs(count)) => count,
            Ok(Look::Line) => {
                let ahead = &stream[taken..stream.len().min(LINE)];
                let end = ahead.iter().position(|byte| *byte == b'\n');
                end.map_or(ahead.len(), |end| end + 1)
            }
            done => return (done, taken),
        };
        if more == 0 || taken + more > stream.len() {
            return (looked, taken);
        }
        taken += more;
    }
}

fn told(stream: &[u8]) -> Result<Look, Malformed> {
    walk(stream).0
}

fn source(text: &str) -> Result<Look, Malformed> {
    Ok(Look::Whole(Some(text.parse().unwrap())))
}

#[test]
fn lines_tell_their_source() {
    for (line, expected) in [
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
            Some("192.0.2.1"),
        ),
        (
            "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
            Some("0.0.0.0"),
        ),
        ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Some("2001:db8::1")),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN whatever \x01 it says\r\n", None),
    ] {
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(told(line.as_bytes()), Ok(Look::Whole(expected)), "{line}");
    }
}

#[test]
fn lines_that_are_not_to_the_letter_are_malformed() {
    for (line, why) in [
        ("GET / HTTP/1.1\r\n", Malformed::Start),
        (
            "proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            Malformed::Start,
        ),
        (
            "PROXY\tTCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            Malformed::Start,
        ),
        (
            "PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            Malformed::Family,
        ),
        (
            "PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n",
            Malformed::Family,
        ),
        (
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            Malformed::Family,
        ),
        ("PROXY UNKNOWNS\r\n", Malformed::Family),
        ("PROXY TCP4 192.0.2.1\r\n", Malformed::Address),
        (
            "PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
            Malformed::Address,
        ),
        (
            "PROXY TCP4 192.0.2.1  198.51.100.1 1 2\r\n",
            Malformed::Address,
        ),
        ("PROXY TCP4 2001:db8::1 ::1 1 2\r\n", Malformed::Address),
        (
            "PROXY TCP4 192.0.2.1 198.51.100 1 2\r\n",
            Malformed::Address,
        ),
        (
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
            Malformed::Address,
        ),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 [2001:db8::1] ::1 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n", Malformed::Port),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
            Malformed::Port,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
            Malformed::Port,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
            Malformed::Port,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 -2\r\n",
            Malformed::Port,
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n",
            Malformed::Length,
        ),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n", Malformed::End),
        (
            "PROXY TCP4 192.0.2.1\r 198.51.100.1 1 2\r\n",
            Malformed::End,
        ),
        ("PROXY T\r\n\r\n..........", Malformed::End),
    ] {
        assert_eq!(told(line.as_bytes()), Err(why), "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(long.len(), 107);
    assert_eq!(told(long.as_bytes()), Ok(Look::Whole(None)));
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(told(longer.as_bytes()), Err(Malformed::End));
}

#[test]
fn binary_headers_tell_their_source() {
    assert_eq!(told(&tcp4([192, 0, 2, 1], b"")), source("192.0.2.1"));
    let with_fields = tcp4([192, 0, 2, 1], b"\x03\x00\x04\x01\x02\x03\x04");
    assert_eq!(told(&with_fields), source("192.0.2.1"));
    let address: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    assert_eq!(
        told(&tcp6(address.octets(), b"\x04\0\0")),
        source("2001:db8::7")
    );
    // The proxy's own connections, and such as it knows nothing of.
    for own in [
        v2(0x20, 0, b""),
        v2(0x20, 0x11, &[1; 12]),
        v2(0x20, 0x31, &[1; 216]),
        v2(0x21, 0, b"xyz"),
    ] {
        assert_eq!(told(&own), Ok(Look::Whole(None)));
    }
    assert_eq!(told(&v2(0x20, 0, &[0; 4096])), Ok(Look::Whole(None)));
}

#[test]
fn binary_headers_that_are_not_to_the_letter_are_malformed() {
    for (header, why) in [
        (v2(0x11, 0x11, &[1; 12]), Malformed::Version),
        (v2(0x31, 0x11, &[1; 12]), Malformed::Version),
        (v2(0x22, 0x11, &[1; 12]), Malformed::Command),
        (v2(0x2f, 0x11, &[1; 12]), Malformed::Command),
        (v2(0x21, 0x12, &[1; 12]), Malformed::Family),
        (v2(0x21, 0x10, &[1; 12]), Malformed::Family),
        (v2(0x21, 0x31, &[1; 216]), Malformed::Family),
        (v2(0x21, 0x41, &[1; 36]), Malformed::Family),
        (v2(0x21, 0x11, &[1; 11]), Malformed::Length),
        (v2(0x21, 0x21, &[1; 35]), Malformed::Length),
        (v2(0x21, 0x11, &[1; 4097]), Malformed::Length),
        (v2(0x20, 0x00, &[1; 65535]), Malformed::Length),
        (
            b"\r\n\r\n\0\r\nQUIT\r!\x11\0\x0c".to_vec(),
            Malformed::Start,
        ),
    ] {
        assert_eq!(told(&header), Err(why), "{header:?}");
    }
}

/// A header that is in order.
fn good() -> impl Strategy<Value = (Vec<u8>, Option<IpAddr>)> {
    let four = any::<std::net::Ipv4Addr>;
    let six = any::<std::net::Ipv6Addr>;
    let ports = any::<(u16, u16)>;
    prop_oneof![
        (four(), four(), ports()).prop_map(|(from, to, (one, other))| {
            (
                format!("PROXY TCP4 {from} {to} {one} {other}\r\n").into_bytes(),
                Some(IpAddr::V4(from)),
            )
        }),
        (six(), six(), ports()).prop_map(|(from, to, (one, other))| {
            (
                format!("PROXY TCP6 {from} {to} {one} {other}\r\n").into_bytes(),
                Some(IpAddr::V6(from)),
            )
        }),
        Just((b"PROXY UNKNOWN\r\n".to_vec(), None)),
        "[ -~]{0,80}".prop_map(|rest| (format!("PROXY UNKNOWN {rest}\r\n").into_bytes(), None)),
        (four(), prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(from, more)| (tcp4(from.octets(), &more), Some(IpAddr::V4(from)))),
        (six(), prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(from, more)| (tcp6(from.octets(), &more), Some(IpAddr::V6(from)))),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(family, rest)| (v2(0x20, family, &rest), None)),
    ]
}

proptest! {
    #[test]
    fn a_header_is_taken_to_the_byte_whatever_follows(
        (header, address) in good(),
        follows in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let stream = [header.as_slice(), &follows].concat();
        prop_assert_eq!(walk(&stream), (Ok(Look::Whole(address)), header.len()));
    }

    #[test]
    fn a_part_of_a_header_is_neither_whole_nor_malformed((header, _) in good(), cut in any::<prop::sample::Index>()) {
        let part = &header[..cut.index(header.len())];
        match look(part) {
            Ok(Look::Needs(count)) => prop_assert!(count > 0 && part.len() + count <= header.len()),
            Ok(Look::Line) => prop_assert!(!part.contains(&b'\n')),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// Whatever stands there, the end is found, and never behind the bounds.
    #[test]
    fn no_bytes_lead_astray(
        start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11"]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let stream = [start, &rest].concat();
        let (looked, taken) = walk(&stream);
        prop_assert!(taken <= stream.len().min(16 + 4096));
        if let Ok(Look::Whole(_)) = looked {
            prop_assert!(taken > 14);
        }
    }

    /// A second reading of lines, by a pattern.
    #[test]
    fn lines_are_read_as_a_pattern_reads_them(
        words in prop::collection::vec(
            prop::sample::select(vec!["TCP4", "TCP6", "192.0.2.1", "10.0.0.256", "::1", "1", "65535", "65536", "", "007"]),
            3..7,
        ),
    ) {
        let line = format!("PROXY {}\r\n", words.join(" "));
        let number = "(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|65535)";
        let pattern = format!(
            r"^PROXY (TCP4 192\.0\.2\.1 192\.0\.2\.1|TCP6 ::1 ::1) {number} {number}\r\n$"
        );
        let pattern = regex::Regex::new(&pattern).unwrap();
        prop_assert_eq!(matches!(told(line.as_bytes()), Ok(Look::Whole(_))), pattern.is_match(&line), "{}", line);
    }
}

/// The two ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    far.set_nodelay(true).unwrap();
    let (near, _) = listener.accept().await.unwrap();
    (near, far)
}

#[tokio::test]
async fn what_follows_a_header_is_left_on_the_connection() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec();
    let mapped: std::net::Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
    for header in [
        line,
        tcp4([192, 0, 2, 1], &[9; 500]),
        tcp6(mapped.octets(), b""),
    ] {
        let request = b"GET / HTTP/1.1\r\nPROXY TCP4 and so on";
        let stream = [header.as_slice(), request].concat();
        // As a whole; and in pieces, of which none is the next one's business.
        for size in [stream.len(), 7] {
            let (mut near, mut far) = pair().await;
            let pieces = stream.clone();
            let sending = tokio::spawn(async move {
                for piece in pieces.chunks(size) {
                    far.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
            let read = read(&mut near, &Limits::default()).await;
            assert_eq!(read, Ok(Some("192.0.2.1".parse().unwrap())));
            let mut rest = Vec::new();
            near.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, request, "in pieces of {size}");
            sending.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_header_that_does_not_come_is_told_from_one_that_breaks_off() {
    let limits = Limits {
        head_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let (mut near, far) = pair().await;
    drop(far);
    assert_eq!(read(&mut near, &limits).await, Err(Fault::Absent));
    for part in [
        &b"PROXY"[..],
        b"PROXY TCP4 192.0.2.1 ",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0",
    ] {
        let (mut near, mut far) = pair().await;
        far.write_all(part).await.unwrap();
        assert_eq!(read(&mut near, &limits).await, Err(Fault::Late), "{part:?}");
        drop(far);
        let (mut near, mut far) = pair().await;
        far.write_all(part).await.unwrap();
        drop(far);
        assert_eq!(read(&mut near, &limits).await, Err(Fault::Cut), "{part:?}");
    }
    let (mut near, mut far) = pair().await;
    far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let malformed = Fault::Malformed(Malformed::Start);
    assert_eq!(read(&mut near, &limits).await, Err(malformed));
}
