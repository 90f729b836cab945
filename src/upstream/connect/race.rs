//! The addresses of a console, tried one after another, and together where one takes its time.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use crate::upstream::addresses::Facts;
use crate::upstream::error::{innermost, is_tls};

/// Why no address could be connected to.
#[derive(Debug)]
pub(in crate::upstream) struct NoConnection {
    /// Whether one answered, but TLS with it failed.
    pub(in crate::upstream) is_tls: bool,
    text: String,
}

impl NoConnection {
    pub(super) fn nowhere(why: &str) -> Self {
        let text = if why.is_empty() { LATE } else { why };
        Self {
            is_tls: false,
            text: text.to_owned(),
        }
    }
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for NoConnection {}

type BoxError = Box<dyn Error + Send + Sync>;

/// Connects to the first address that works, in the order given. The next one is tried when the one
/// before has failed, or has had its share of the time; it may still win then.
///
/// # Errors
/// Says what became of each attempt.
pub(super) async fn race<S, F>(
    candidates: Vec<Arc<Facts>>,
    limit: Duration,
    deadline: Instant,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<(Option<SocketAddr>, S), NoConnection>
where
    F: Future<Output = Result<S, BoxError>>,
{
    let count = candidates.len();
    let share = u32::try_from(count).map_or(Duration::ZERO, |count| limit / count.max(1));
    let head_start = share.min(HEAD_START);
    let mut waiting = candidates.into_iter();
    let mut under_way = FuturesUnordered::new();
    let mut begun: Vec<Begun> = Vec::with_capacity(count);
    let mut next_at = Instant::now();
    loop {
        if (under_way.is_empty() || next_at <= Instant::now())
            && let Some(facts) = waiting.next()
        {
            let (attempt, index) = (attempt(facts.address), begun.len());
            under_way.push(async move { (index, attempt.await) });
            begun.push(Begun {
                facts,
                failure: None,
            });
            next_at = Instant::now() + head_start;
        }
        let ended = tokio::select! {
            biased;
            ended = under_way.next() => ended,
            () = sleep_until(next_at), if begun.len() < count => continue,
            () = sleep_until(deadline) => None,
        };
        let Some((index, ended)) = ended else {
            return Err(sum_up(begun));
        };
        match ended {
            Ok(stream) => return Ok((settle(&begun, index), stream)),
            Err(error) => {
                if let Some(begun) = begun.get_mut(index) {
                    begun.fail(Failure::of(&*error));
                }
                next_at = Instant::now();
            }
        }
    }
}

/// An attempt.
struct Begun {
    facts: Arc<Facts>,
    failure: Option<Failure>,
}

impl Begun {
    fn fail(&mut self, failure: Failure) {
        self.facts.failed(&failure.text);
        self.failure = Some(failure);
    }
}

/// Why an attempt failed.
struct Failure {
    is_tls: bool,
    text: String,
}

impl Failure {
    fn of(error: &(dyn Error + 'static)) -> Self {
        Self {
            is_tls: is_tls(error),
            text: innermost(error),
        }
    }
}

/// One works, and its index is given. Those that were tried before it, and are not done yet, are slow.
fn settle(begun: &[Begun], winner: usize) -> Option<SocketAddr> {
    let before = begun.iter().take(winner);
    for slow in before.filter(|attempt| attempt.failure.is_none()) {
        slow.facts
            .failed("a connection took longer than to another address");
    }
    let winner = &begun.get(winner)?.facts;
    winner.reached();
    Some(winner.address)
}

/// What to tell of attempts none of which succeeded.
fn sum_up(mut begun: Vec<Begun>) -> NoConnection {
    let several = begun.len() > 1;
    let mut is_tls = false;
    let mut texts = Vec::new();
    for attempt in &mut begun {
        if attempt.failure.is_none() {
            attempt.fail(Failure {
                is_tls: false,
                text: LATE.to_owned(),
            });
        }
        let Some(failure) = &attempt.failure else {
            continue;
        };
        is_tls |= failure.is_tls;
        texts.push(match several {
            true => format!("{}: {}", attempt.facts.address, failure.text),
            false => failure.text.clone(),
        });
    }
    NoConnection {
        is_tls,
        text: texts.join("; "),
    }
}

const LATE: &str = "no connection in time";

/// The most time that an address has for itself while there is another one.
const HEAD_START: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
