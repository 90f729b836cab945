use std::cell::RefCell;
use std::io;

use tokio::time::sleep;

use super::*;

/// What becomes of an attempt, and after how long.
#[derive(Clone, Copy)]
enum Fate {
    Fails(u64),
    FailsTls(u64),
    Hangs,
    Works(u64),
}

use Fate::{Fails, FailsTls, Hangs, Works};

const LIMIT: Duration = Duration::from_secs(2);

struct Raced {
    result: Result<u16, NoConnection>,
    /// Which were tried, and after how many milliseconds.
    tried: Vec<(u16, u128)>,
    took: u128,
    suspects: Vec<u16>,
}

async fn raced(fates: &[Fate]) -> Raced {
    let address = |index: usize| SocketAddr::from(([127, 0, 0, 1], u16::try_from(index).unwrap()));
    let candidates: Vec<_> = (0..fates.len())
        .map(|index| Facts::new(address(index), "name".into(), "main".into()))
        .collect();
    let began = Instant::now();
    let tried = RefCell::new(Vec::new());
    let attempt = |address: SocketAddr| {
        let port = address.port();
        tried.borrow_mut().push((port, began.elapsed().as_millis()));
        let fate = fates[usize::from(port)];
        async move {
            let millis = Duration::from_millis;
            match fate {
                Fails(after) => {
                    sleep(millis(after)).await;
                    Err(io::Error::other("scripted").into())
                }
                FailsTls(after) => {
                    sleep(millis(after)).await;
                    let error = rustls::Error::General("scripted TLS".to_owned());
                    Err(io::Error::other(error).into())
                }
                Hangs => std::future::pending().await,
                Works(after) => {
                    sleep(millis(after)).await;
                    Ok(port)
                }
            }
        }
    };
    let result = race(candidates.clone(), LIMIT, began + LIMIT, attempt).await;
    let suspects = candidates
        .iter()
        .filter(|facts| facts.rank() != (false, false));
    Raced {
        result: result.map(|(address, port)| {
            assert_eq!(address.unwrap().port(), port);
            port
        }),
        tried: tried.into_inner(),
        took: began.elapsed().as_millis(),
        suspects: suspects.map(|facts| facts.address.port()).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_that_works_is_taken_and_no_other_tried() {
    let raced = raced(&[Works(5), Works(0)]).await;
    assert_eq!(raced.result.unwrap(), 0);
    assert_eq!(raced.tried, [(0, 0)]);
    assert!(raced.suspects.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failure_leads_to_the_next_at_once() {
    let raced = raced(&[Fails(0), FailsTls(10), Works(0)]).await;
    assert_eq!(raced.result.unwrap(), 2);
    assert!(raced.took < 20, "{}", raced.took);
    assert_eq!(raced.suspects, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn one_that_says_nothing_has_its_share_of_the_time() {
    let two = raced(&[Hangs, Works(0)]).await;
    assert_eq!(two.result.unwrap(), 1);
    // At most a second, and at most the half.
    assert!((1000..1010).contains(&two.took), "{}", two.took);
    assert_eq!(two.suspects, [0]);

    let four = raced(&[Hangs, Hangs, Hangs, Works(0)]).await;
    assert_eq!(four.result.unwrap(), 3);
    assert!((1500..1510).contains(&four.took), "{}", four.took);
    assert_eq!(four.suspects, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_one_may_still_win() {
    let raced = raced(&[Works(1500), Hangs]).await;
    assert_eq!(raced.result.unwrap(), 0);
    assert_eq!(raced.tried.len(), 2);
    // Nothing is known of the second, which was tried later.
    assert!(raced.suspects.is_empty());
}

#[tokio::test(start_paused = true)]
async fn it_ends_in_time_and_says_what_became_of_each() {
    let raced = raced(&[Fails(0), Hangs]).await;
    assert!((2000..2010).contains(&raced.took), "{}", raced.took);
    let error = raced.result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "127.0.0.1:0: scripted; 127.0.0.1:1: no connection in time"
    );
    assert!(!error.is_tls);
    assert_eq!(raced.suspects, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn tls_that_fails_anywhere_is_told_where_none_works() {
    let error = raced(&[FailsTls(0), Fails(0)]).await.result.unwrap_err();
    assert!(error.is_tls, "{error}");
    let error = raced(&[FailsTls(0), Hangs]).await.result.unwrap_err();
    assert!(error.is_tls, "{error}");
}

#[tokio::test(start_paused = true)]
async fn of_a_single_address_only_the_cause_is_told() {
    let raced = raced(&[Fails(0)]).await;
    assert_eq!(raced.result.unwrap_err().to_string(), "scripted");
}
