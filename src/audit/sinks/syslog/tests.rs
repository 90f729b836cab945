use std::sync::Arc;

use tokio::io::AsyncBufReadExt as _;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn settings(port: u16) -> SyslogSettings {
    SyslogSettings {
        place: Place {
            host: "127.0.0.1".to_owned(),
            port,
            tls: None,
        },
        facility: 13,
        hostname: Some("gw 1".to_owned()),
        enterprise: 32473,
    }
}

fn item(seq: u64, kind: &str, code: &str) -> Item {
    let line = format!(
        "{{\"seq\":{seq},\"time\":\"2026-03-04T05:06:07.000089Z\",\"kind\":\"{kind}\",\
         \"code\":\"{code}\",\"path\":\"/ä\"}}"
    );
    Item::record(&Arc::from("o/1"), seq, line.into())
}

fn framed(items: &[Item]) -> String {
    let label = frame::Label::new(&settings(0));
    let mut out = Vec::new();
    items.iter().for_each(|item| label.write(item, &mut out));
    String::from_utf8(out).unwrap()
}

#[test]
fn a_record_is_one_message_of_rfc_5424_with_its_octets_counted() {
    let item = item(7, "request", "a\"]\\");
    let text = framed(std::slice::from_ref(&item));
    let (count, message) = text.split_once(' ').unwrap();
    assert_eq!(count.parse::<usize>().unwrap(), message.len());
    let line = std::str::from_utf8(&item.line).unwrap();
    let process = std::process::id();
    // The code in the line is not valid JSON: nothing of the line is known, and all of it is sent.
    let expected = format!(
        "<109>1 - gw1 vspc-gateway {process} - [audit@32473 id=\"o/1#7\" seq=\"7\"] {line}"
    );
    assert_eq!(message, expected);
}

#[test]
fn what_a_record_is_about_is_in_the_header() {
    let header = |kind, code| {
        let text = framed(&[item(7, kind, code)]);
        let message = text.split_once(' ').unwrap().1.to_owned();
        message.split_once("] ").unwrap().0.to_owned()
    };
    let process = std::process::id();
    for (kind, code, priority) in [
        ("request", "ok", 110),
        ("intent", "ok", 110),
        ("admin", "ok", 109),
        ("request", "tenant_denied", 108),
        ("request", "unknown", 107),
    ] {
        let expected = format!(
            "<{priority}>1 2026-03-04T05:06:07.000089Z gw1 vspc-gateway {process} {kind} \
             [audit@32473 id=\"o/1#7\" seq=\"7\" code=\"{code}\""
        );
        assert_eq!(header(kind, code), expected);
    }
}

async fn listen() -> (TcpListener, Syslog) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Syslog::new(&settings(port)))
}

fn batch(seqs: std::ops::Range<u64>) -> Vec<Item> {
    seqs.map(|seq| item(seq, "request", "ok")).collect()
}

async fn read_all(stream: TcpStream) -> usize {
    let mut text = Vec::new();
    BufReader::new(stream)
        .read_until(0, &mut text)
        .await
        .unwrap();
    String::from_utf8(text)
        .unwrap()
        .matches("{\"seq\":")
        .count()
}

#[tokio::test]
async fn records_are_settled_some_time_after_the_receiver_has_read_to_the_end() {
    let (listener, mut syslog) = listen().await;
    syslog.send(&batch(3..6)).await.unwrap();
    syslog.send(&batch(6..8)).await.unwrap();
    assert_eq!(syslog.unsettled(), Some(3));
    let (stream, _) = listener.accept().await.unwrap();
    let (closed, read) = tokio::join!(syslog.close(), read_all(stream));
    closed.unwrap();
    assert_eq!(read, 5);
    assert_eq!(syslog.unsettled(), Some(3));
    tokio::time::pause();
    tokio::time::advance(SETTLE).await;
    assert_eq!(syslog.unsettled(), None);
}

#[tokio::test]
async fn a_receiver_that_dies_with_bytes_unread_has_not_got_them() {
    let (listener, mut syslog) = listen().await;
    syslog.send(&batch(0..4)).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    stream.readable().await.unwrap();
    drop(stream);
    assert!(syslog.close().await.is_err());
    assert_eq!(syslog.unsettled(), Some(0));
    // They are sent again, and count once.
    syslog.send(&batch(0..6)).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (closed, read) = tokio::join!(syslog.close(), read_all(stream));
    closed.unwrap();
    assert_eq!(read, 6);
    assert_eq!(syslog.sent.len(), 1);
}

#[tokio::test]
async fn a_receiver_that_goes_away_is_noticed_before_anything_is_lost_to_it() {
    let (listener, mut syslog) = listen().await;
    syslog.send(&batch(0..4)).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut block = vec![0; 64 * 1024];
    assert!(stream.read(&mut block).await.unwrap() > 0);
    drop(stream);
    while syslog.idle().await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(syslog.unsettled(), Some(0));
}

#[tokio::test]
async fn many_records_end_a_connection() {
    let (listener, mut syslog) = listen().await;
    let reads = tokio::spawn(async move {
        let mut reads = Vec::new();
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            reads.push(read_all(stream).await);
        }
        reads
    });
    for start in (0..12_000).step_by(2000) {
        syslog.send(&batch(start..start + 2000)).await.unwrap();
    }
    syslog.close().await.unwrap();
    assert_eq!(reads.await.unwrap(), [10_000, 2000]);
    assert_eq!(syslog.unsettled(), Some(0));
}

#[test]
fn a_record_that_is_sent_again_moves_nothing_back() {
    let mut sink = Syslog::new(&settings(0));
    sink.note(&[item(9, "request", "ok")]);
    let mut again = item(2, "request", "ok");
    again.is_again = true;
    sink.note(&[again]);
    assert_eq!(sink.unsettled(), Some(9));
}
