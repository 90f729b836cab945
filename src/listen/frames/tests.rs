use std::time::Duration;

use bytes::Bytes;
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;

const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn frame(kind: u8, flags: u8, stream: u32, carried: &[u8]) -> Vec<u8> {
    let length = u32::try_from(carried.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(carried);
    bytes
}

/// A connection whose caller is `far`.
fn connection() -> (Frames<DuplexStream>, Watch, DuplexStream) {
    let (near, far) = duplex(4096);
    let (frames, watch) = Frames::new(near, &Limits::default(), Instant::now());
    (frames, watch, far)
}

/// One that has begun, with a request that has the head of its answer.
async fn answering() -> (Frames<DuplexStream>, Watch, DuplexStream) {
    let (mut frames, watch, mut far) = connection();
    far.write_all(HELLO).await.unwrap();
    far.write_all(&frame(1, 5, 1, b"request")).await.unwrap();
    let mut read = [0; 49];
    frames.read_exact(&mut read).await.unwrap();
    frames.write_all(&frame(1, 4, 1, b"answer")).await.unwrap();
    (frames, watch, far)
}

/// How long the watch lets a connection go on, in seconds.
async fn until_late(watch: &Watch) -> (u64, Late) {
    let started = Instant::now();
    let late = watch.late().await;
    (started.elapsed().as_secs(), late)
}

/// Whether the watch lets it go on for that long.
async fn is_left_alone(watch: &Watch, seconds: u64) -> bool {
    let time = Duration::from_secs(seconds);
    tokio::time::timeout(time, watch.late()).await.is_err()
}

#[tokio::test]
async fn what_passes_is_passed_on_unchanged() {
    let (mut frames, _watch, mut far) = connection();
    let bytes = [HELLO, &frame(6, 0, 0, &[7; 8]), &frame(0x77, 0, 9, b"?")].concat();
    far.write_all(&bytes).await.unwrap();
    let mut read = vec![0; bytes.len()];
    frames.read_exact(&mut read).await.unwrap();
    assert_eq!(read, bytes);
    let slices = [IoSlice::new(b"\0\0\x02\0\0\0\0\0\x01a"), IoSlice::new(b"b")];
    let written = frames.write_vectored(&slices).await.unwrap();
    let mut got = vec![0; written];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(got, b"\0\0\x02\0\0\0\0\0\x01ab"[..written]);
}

#[tokio::test]
async fn who_has_had_too_much_is_told_so_and_gets_no_further() {
    let (mut frames, watch, mut far) = connection();
    far.write_all(HELLO).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            if let Err(error) = frames.read(&mut buffer).await {
                return (frames, error);
            }
        }
    });
    far.write_all(&frame(1, 4, 77, b"request")).await.unwrap();
    let ping = frame(6, 0, 0, &[0; 8]);
    for _ in 0..300 {
        if far.write_all(&ping).await.is_err() || reading.is_finished() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let (mut frames, error) = reading.await.unwrap();
    assert!(error.to_string().contains("more frames"), "{error}");
    assert_eq!(watch.excess().unwrap().to_string(), error.to_string());
    let mut told = [0; 17];
    far.read_exact(&mut told).await.unwrap();
    assert_eq!(told, *b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x4d\0\0\0\x0b");
    // Not a byte more in either direction.
    assert!(frames.read(&mut [0; 8]).await.is_err());
    assert!(frames.write(b"late").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_preface_is_due_as_a_whole() {
    let (mut frames, watch, mut far) = connection();
    let trickle = async {
        for byte in HELLO {
            far.write_all(&[*byte]).await.unwrap();
            frames.read_exact(&mut [0]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! {
        late = until_late(&watch) => assert_eq!(late, (5, Late::Head)),
        () = trickle => panic!("it took ten seconds"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_idle_when_there_was_no_request_for_long_enough() {
    const IDLE: Duration = Duration::from_secs(75);
    let (mut frames, watch, _far) = answering().await;
    let time = 10 * IDLE;
    let idle = watch.idle(Duration::ZERO);
    let early = tokio::time::timeout(time, idle).await;
    assert!(early.is_err(), "there is a request");
    frames.write_all(&frame(0, 1, 1, b"end")).await.unwrap();
    let started = Instant::now();
    watch.idle(Duration::ZERO).await;
    assert_eq!(started.elapsed(), IDLE);
    watch.idle(Duration::from_secs(5)).await;
    assert_eq!(started.elapsed(), IDLE + Duration::from_secs(5));

    // Pings are no requests; whoever never asks is idle from the beginning.
    let (mut frames, watch, mut far) = connection();
    let started = Instant::now();
    far.write_all(HELLO).await.unwrap();
    frames.read_exact(&mut [0; 33]).await.unwrap();
    let pings = async {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            far.write_all(&frame(6, 0, 0, &[0; 8])).await.unwrap();
            frames.read_exact(&mut [0; 17]).await.unwrap();
        }
    };
    tokio::select! {
        () = watch.idle(Duration::ZERO) => assert_eq!(started.elapsed(), IDLE),
        () = pings => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_lies_idle_is_late_with_nothing() {
    let (mut frames, watch, mut far) = connection();
    far.write_all(HELLO).await.unwrap();
    frames.read_exact(&mut [0; 33]).await.unwrap();
    assert!(is_left_alone(&watch, 100_000).await);
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_head_is_due_and_the_rest_of_a_body_is_not() {
    let whole = frame(1, 0, 1, b"request");
    let cases = [
        (whole[..1].to_vec(), true),
        (whole[..9].to_vec(), true),
        (whole[..12].to_vec(), true),
        (whole.clone(), true),
        ([&whole[..], &frame(9, 0, 1, b"more")].concat(), true),
        ([&whole[..], &frame(9, 4, 1, b"more")].concat(), false),
        ([&whole[..], &frame(9, 4, 1, b"more")[..11]].concat(), true),
        (frame(6, 0, 0, &[0; 8])[..16].to_vec(), true),
        (frame(0, 0, 1, &[0; 8])[..16].to_vec(), false),
    ];
    for (part, is_due) in cases {
        let (mut frames, watch, mut far) = connection();
        far.write_all(HELLO).await.unwrap();
        far.write_all(&part).await.unwrap();
        let mut read = vec![0; HELLO.len() + part.len()];
        frames.read_exact(&mut read).await.unwrap();
        if is_due {
            assert_eq!(until_late(&watch).await, (5, Late::Head), "{part:?}");
        } else {
            assert!(is_left_alone(&watch, 1000).await, "{part:?}");
        }
    }
}

/// Each frame has its own time: a busy connection of which every read ends within a frame is not
/// one that is stuck.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_always_within_some_frame_goes_on() {
    let (mut frames, watch, mut far) = connection();
    far.write_all(HELLO).await.unwrap();
    frames.read_exact(&mut [0; 33]).await.unwrap();
    let ping = frame(6, 0, 0, &[0; 8]);
    far.write_all(&ping[..12]).await.unwrap();
    frames.read_exact(&mut [0; 12]).await.unwrap();
    let shifted = [&ping[12..], &ping[..12]].concat();
    let busy = async {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            far.write_all(&shifted).await.unwrap();
            frames.read_exact(&mut [0; 17]).await.unwrap();
        }
    };
    tokio::select! {
        late = watch.late() => panic!("{late}"),
        () = busy => {}
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_transport_holds_is_due() {
    let (_frames, watch, _far) = answering().await;
    assert_eq!(until_late(&watch).await, (10, Late::Unread));
}

#[tokio::test(start_paused = true)]
async fn bytes_of_answers_give_more_time_and_a_dribble_does_not() {
    for (bytes, goes_on) in [(4000, true), (100, false)] {
        let (mut frames, watch, mut far) = answering().await;
        let flowing = async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                let data = frame(0, 0, 1, &vec![0; bytes]);
                frames.write_all(&data).await.unwrap();
                far.read_exact(&mut vec![0; data.len()]).await.unwrap();
            }
        };
        tokio::select! {
            late = until_late(&watch) => assert!(!goes_on && late == (10, Late::Unread)),
            () = flowing => assert!(goes_on),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_end_went_is_not_due() {
    let (mut frames, watch, _far) = answering().await;
    frames.write_all(&frame(0, 1, 1, b"end")).await.unwrap();
    assert!(is_left_alone(&watch, 1000).await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_caller_gave_up_is_not_due() {
    let (mut frames, watch, mut far) = answering().await;
    far.write_all(&frame(3, 0, 1, &[0, 0, 0, 8])).await.unwrap();
    frames.read_exact(&mut [0; 13]).await.unwrap();
    assert!(is_left_alone(&watch, 1000).await);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_takes_no_bytes_is_late() {
    let (mut frames, watch, _far) = answering().await;
    frames.write_all(&frame(0, 1, 1, b"end")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let stuck = async { while frames.write_all(&frame(6, 1, 0, &[0; 8])).await.is_ok() {} };
    tokio::select! {
        late = until_late(&watch) => assert_eq!(late, (10, Late::Unread)),
        () = stuck => unreachable!("nobody reads it"),
    }
}

/// A body whose pieces come when the test sends them.
type Pieces = tokio::sync::mpsc::UnboundedReceiver<Bytes>;

fn body(
    mut pieces: Pieces,
) -> StreamBody<impl futures_util::Stream<Item = Result<http_body::Frame<Bytes>, Infallible>> + Unpin>
{
    StreamBody::new(futures_util::stream::poll_fn(move |context| {
        let piece = ready!(pieces.poll_recv(context));
        Poll::Ready(piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }))
}

#[tokio::test(start_paused = true)]
async fn a_console_that_is_slow_is_not_a_caller_that_does_not_read() {
    let (_frames, watch, _far) = answering().await;
    let (console, pieces) = tokio::sync::mpsc::unbounded_channel();
    let mut body = watch.over(body(pieces));
    let slow = async {
        for _ in 0..100 {
            console.send(Bytes::from_static(b"piece")).unwrap();
            let piece = http_body_util::BodyExt::frame(&mut body).await;
            assert!(piece.unwrap().is_ok());
            // It was taken, and more is asked for, which takes its time.
            let more = http_body_util::BodyExt::frame(&mut body);
            let time = Duration::from_secs(100);
            assert!(tokio::time::timeout(time, more).await.is_err());
        }
    };
    tokio::select! {
        late = watch.late() => panic!("{late}"),
        () = slow => {}
    }
}

/// Also when something goes on beside them: it has to be worth what they cost.
#[tokio::test(start_paused = true)]
async fn bodies_that_hold_what_the_caller_does_not_take_are_late() {
    for (others, bytes, goes_on) in [
        (0, 0, false),
        (0, 1000, true),
        (90, 1000, false),
        (90, 60_000, true),
    ] {
        let (mut frames, watch, mut far) = answering().await;
        let mut all = Vec::new();
        for _ in 0..=others {
            let (console, pieces) = tokio::sync::mpsc::unbounded_channel();
            let mut held = watch.over(body(pieces));
            console.send(Bytes::from_static(b"piece")).unwrap();
            let piece = http_body_util::BodyExt::frame(&mut held).await;
            assert!(piece.unwrap().is_ok());
            all.push((held, console));
        }
        let busy = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let data = frame(0, 0, 1, &vec![0; bytes]);
                let taking = async { far.read_exact(&mut vec![0; data.len()]).await };
                let (given, taken) = tokio::join!(frames.write_all(&data), taking);
                assert!(given.is_ok() && taken.is_ok());
            }
        };
        tokio::select! {
            late = until_late(&watch) => {
                assert_eq!(late, (10, Late::Unread));
                assert!(!goes_on, "{others} others, {bytes} bytes a second");
            }
            () = busy => assert!(goes_on, "{others} others, {bytes} bytes a second"),
        }
    }
}
