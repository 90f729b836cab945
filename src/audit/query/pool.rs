//! The threads that look through parts of files. What they come to is taken in order.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::chunk::{CHUNK, Done, Job, Sought};

/// The most threads: beyond, memory and not the processor is what there is too little of.
const THREADS: usize = 8;
/// A log that is smaller is read by the caller's own thread.
const SMALL: u64 = 4 * CHUNK;

/// A part that is looked through, or will be.
pub(super) enum Ticket {
    /// By a thread.
    Given(Receiver<io::Result<Done>>),
    /// By the caller, when its turn comes.
    Own(Box<Job>),
}

type Order = (Job, Sender<io::Result<Done>>);

/// The threads.
pub(super) struct Pool {
    sought: Arc<Sought>,
    orders: Option<Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts as many threads as a log of so many bytes is worth.
    pub(super) fn new(sought: Arc<Sought>, bytes: u64) -> Self {
        let mut pool = Self {
            sought,
            orders: None,
            threads: Vec::new(),
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        if bytes < SMALL || processors < 2 {
            return pool;
        }
        let (orders, taken) = mpsc::channel::<Order>();
        let taken = Arc::new(Mutex::new(taken));
        for _ in 0..processors.min(THREADS) {
            let (taken, sought) = (Arc::clone(&taken), Arc::clone(&pool.sought));
            let thread = std::thread::Builder::new()
                .name("audit-query".to_owned())
                .spawn(move || work(&taken, &sought));
            // Without threads the caller does the work.
            pool.threads.extend(thread.ok());
        }
        pool.orders = (!pool.threads.is_empty()).then_some(orders);
        pool
    }

    /// How many parts should be under way, for no thread to wait.
    pub(super) fn depth(&self) -> usize {
        self.threads.len() + 2
    }

    /// Has a part looked through.
    pub(super) fn give(&self, job: Job) -> Ticket {
        let Some(orders) = &self.orders else {
            return Ticket::Own(Box::new(job));
        };
        let (sender, receiver) = mpsc::channel();
        match orders.send((job, sender)) {
            Ok(()) => Ticket::Given(receiver),
            Err(mpsc::SendError((job, _))) => Ticket::Own(Box::new(job)),
        }
    }

    /// What a part came to.
    pub(super) fn take(&self, ticket: Ticket) -> io::Result<Done> {
        match ticket {
            Ticket::Given(done) => done
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("a thread of the query died"))),
            Ticket::Own(job) => job.run(&self.sought),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.orders = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of an audit query panicked");
            }
        }
    }
}

fn work(orders: &Mutex<Receiver<Order>>, sought: &Sought) {
    loop {
        let order = orders.lock().recv();
        let Ok((job, done)) = order else {
            return;
        };
        // Whoever asked may have enough.
        drop(done.send(job.run(sought)));
    }
}
