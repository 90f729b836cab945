//! How much a connection may ask of consoles before it has taken answers.

use std::pin::pin;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// What a connection of HTTP/2 may have sent to consoles.
///
/// A caller can ask for a hundred things at once and give them all up, at the price of a few bytes; a
/// console has a hundred requests then. So a connection begins with a credit of 20. Each request takes
/// one. A whole answer gives two back, up to 100; an answer that is not the caller's fault gives one, and
/// a request that the caller gave up none. Where there is nothing left, requests wait in their order,
/// and each second of that pays 20: who asks for more than it has taken yet, but means it, waits
/// seconds at most. Where a trusted proxy names senders, its connection has none.
#[derive(Debug)]
pub struct Credit {
    left: Semaphore,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    /// How many wait.
    waiting: usize,
    /// When time pays, as long as somebody waits.
    due: Instant,
}

/// Somebody who waits.
struct Waiting<'a>(&'a Credit);

impl Credit {
    /// The credit of a new connection.
    pub fn new() -> Self {
        Self {
            left: Semaphore::new(FIRST),
            queue: Mutex::new(Queue {
                waiting: 0,
                due: Instant::now(),
            }),
        }
    }

    /// Takes one for a request, if there is one and nobody waits for it.
    pub fn try_spend(&self) -> bool {
        self.left.try_acquire().map(|one| one.forget()).is_ok()
    }

    /// Takes one for a request as soon as there is one.
    pub async fn spend(&self) {
        let waiting = self.wait();
        let mut spent = pin!(self.left.acquire());
        loop {
            let due = self.queue.lock().due;
            tokio::select! {
                biased;
                one = &mut spent => {
                    // Nobody closes it.
                    drop(one.map(|one| one.forget()));
                    break;
                }
                () = sleep_until(due) => self.pass(),
            }
        }
        drop(waiting);
    }

    /// The caller has taken a whole answer.
    pub fn answered(&self) {
        self.pay(2);
    }

    /// There was no whole answer, and that was not the caller's doing.
    pub fn failed(&self) {
        self.pay(1);
    }

    fn pay(&self, count: usize) {
        let room = MOST.saturating_sub(self.left.available_permits());
        self.left.add_permits(count.min(room));
    }

    /// Lets time pay.
    fn pass(&self) {
        let mut queue = self.queue.lock();
        let now = Instant::now();
        if queue.due <= now {
            queue.due = now + SECOND;
            self.left.add_permits(FIRST);
        }
    }

    fn wait(&self) -> Waiting<'_> {
        let mut queue = self.queue.lock();
        if queue.waiting == 0 {
            queue.due = Instant::now() + SECOND;
        }
        queue.waiting += 1;
        Waiting(self)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().waiting -= 1;
    }
}

impl Default for Credit {
    fn default() -> Self {
        Self::new()
    }
}

/// What a connection begins with, and what a second pays in which somebody waits.
const FIRST: usize = 20;

/// The most that answers pay: as many requests as a connection may have under way.
const MOST: usize = 100;

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn spend_all(credit: &Credit) -> usize {
        std::iter::repeat_with(|| credit.try_spend())
            .take_while(|spent| *spent)
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn whole_answers_widen_it_and_requests_that_were_given_up_do_not() {
        let credit = Credit::new();
        assert_eq!(spend_all(&credit), 20);
        for _ in 0..20 {
            credit.answered();
        }
        assert_eq!(spend_all(&credit), 40);
        for _ in 0..40 {
            credit.failed();
        }
        assert_eq!(spend_all(&credit), 40);
        for _ in 0..1000 {
            credit.answered();
        }
        assert_eq!(spend_all(&credit), 100);
        assert_eq!(spend_all(&credit), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_in_its_order_twenty_a_second_and_by_every_answer() {
        let credit = Arc::new(Credit::new());
        let began = Instant::now();
        let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..70 {
            let (credit, sender) = (Arc::clone(&credit), sender.clone());
            tokio::spawn(async move {
                if !credit.try_spend() {
                    credit.spend().await;
                }
                sender.send((number, began.elapsed().as_millis())).unwrap();
            });
        }
        tokio::time::sleep(SECOND * 3 / 2).await;
        credit.answered();
        drop(sender);
        let mut all = Vec::new();
        while let Some(one) = served.recv().await {
            all.push(one);
        }
        let times = [(20, 0), (20, 1000), (2, 1500), (20, 2000), (8, 3000)];
        let times = times.map(|(count, at)| vec![at; count]).concat();
        let expected: Vec<_> = (0..70).zip(times).collect();
        assert_eq!(all, expected);
        // The second that began then pays nobody who comes later.
        assert_eq!(spend_all(&credit), 12);
        let came = Instant::now() + SECOND / 2;
        sleep_until(came).await;
        credit.spend().await;
        assert_eq!(came.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_takes_nothing() {
        let credit = Credit::new();
        spend_all(&credit);
        let waiting = tokio::time::timeout(SECOND / 2, credit.spend());
        assert!(waiting.await.is_err());
        assert_eq!(credit.queue.lock().waiting, 0);
        credit.answered();
        assert_eq!(spend_all(&credit), 2);
    }
}
