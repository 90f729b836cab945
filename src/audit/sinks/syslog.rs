//! Syslog: RFC 5424 over TCP (RFC 6587, octets counted) or TLS (RFC 5425).
//!
//! Syslog has no acknowledgement. What the receiver has is known in one way only: the gateway ends
//! its half of the connection, and the receiver, once it has read everything, ends the other. A
//! receiver that dies with bytes unread resets the connection instead. So what was sent since the
//! last such end is not settled, nor is what was read a moment ago and may be in the receiver's
//! memory: after a failure all of that is sent again.

mod frame;

use std::collections::VecDeque;
use std::io;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Duration, Instant};

use super::dial::{Dialer, Duplex, Place};
use super::{Item, SendError, Sink};

/// After so many records a connection is ended, so that they are known to have been read.
const RECORDS: usize = 10_000;
/// After this time likewise.
const CONFIRM_EVERY: Duration = Duration::from_secs(30);
/// How long what was read may be in the receiver's memory only.
const SETTLE: Duration = Duration::from_secs(10);
/// How much is written at once.
const BLOCK: usize = 64 * 1024;

/// Where records are sent, and how they are labelled.
#[derive(Clone, Debug)]
pub struct SyslogSettings {
    /// Where.
    pub place: Place,
    /// The number of the facility.
    pub facility: u8,
    /// What this machine is called; none: what it calls itself.
    pub hostname: Option<String>,
    /// The private enterprise number in the name of the structured data.
    pub enterprise: u32,
}

pub(super) struct Syslog {
    label: frame::Label,
    dialer: Dialer,
    connection: Option<Box<dyn Duplex>>,
    sent: VecDeque<Stretch>,
}

/// Records that were sent on one connection.
struct Stretch {
    first: u64,
    records: usize,
    begun: Instant,
    /// When the receiver was known to have read all of them.
    read: Option<Instant>,
}

impl Stretch {
    fn is_settled(&self) -> bool {
        self.read.is_some_and(|read| read.elapsed() >= SETTLE)
    }

    fn is_due(&self) -> bool {
        self.read.is_none() && (self.records >= RECORDS || self.begun.elapsed() >= CONFIRM_EVERY)
    }
}

impl Syslog {
    pub(super) fn new(settings: &SyslogSettings) -> Self {
        Self {
            label: frame::Label::new(settings),
            dialer: Dialer::new(settings.place.clone()),
            connection: None,
            sent: VecDeque::new(),
        }
    }

    /// A connection that the receiver has not ended.
    async fn connection(&mut self) -> Result<Box<dyn Duplex>, SendError> {
        match self.connection.take() {
            Some(mut connection) => {
                self.look_at(&mut connection)?;
                Ok(connection)
            }
            None => self.dialer.connect().await,
        }
    }

    /// Fails if the receiver has ended the connection.
    fn look_at(&self, connection: &mut Box<dyn Duplex>) -> Result<(), SendError> {
        let mut block = [0; 512];
        loop {
            let why = match connection.read(&mut block).now_or_never() {
                None => return Ok(()),
                // Nobody speaks back in this protocol.
                Some(Ok(read)) if read > 0 => continue,
                Some(Ok(_)) => "closed the connection".to_owned(),
                Some(Err(error)) => format!("broke the connection: {error}"),
            };
            return Err(self.unreachable(&why));
        }
    }

    fn unreachable(&self, why: &str) -> SendError {
        SendError::Unreachable(format!("{} {why}", self.dialer.authority()))
    }

    /// Makes an error of what the operating system or TLS says.
    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> SendError + Send + use<> {
        let place = self.dialer.authority();
        move |error| SendError::Unreachable(format!("{place} {what}: {error}"))
    }

    /// Remembers what is being sent, before any of it may arrive.
    fn note(&mut self, batch: &[Item]) {
        let is_next = |first: &&Item| !first.is_checkpoint && !first.is_again;
        let Some(first) = batch.first().filter(is_next) else {
            return;
        };
        // They are sent again, with all that was behind them.
        self.sent.retain(|stretch| stretch.first < first.seq);
        match self.sent.back_mut() {
            Some(stretch) if stretch.read.is_none() => stretch.records += batch.len(),
            _ => self.sent.push_back(Stretch {
                first: first.seq,
                records: batch.len(),
                begun: Instant::now(),
                read: None,
            }),
        }
    }

    /// Ends the connection, and waits until the receiver does.
    async fn confirm(&mut self) -> Result<(), SendError> {
        let Some(mut connection) = self.connection.take() else {
            return Ok(());
        };
        let failed = self.failed("did not read to the end");
        connection.shutdown().await.map_err(&failed)?;
        let mut block = [0; 512];
        while connection.read(&mut block).await.map_err(&failed)? > 0 {}
        if let Some(stretch) = self.sent.back_mut() {
            stretch.read.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    async fn confirm_if_due(&mut self) -> Result<(), SendError> {
        while self.sent.front().is_some_and(Stretch::is_settled) {
            self.sent.pop_front();
        }
        match self.sent.back() {
            Some(stretch) if stretch.is_due() => self.confirm().await,
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Sink for Syslog {
    async fn send(&mut self, batch: &[Item]) -> Result<(), SendError> {
        let mut connection = self.connection().await?;
        self.note(batch);
        let failed = self.failed("takes no more");
        let mut block = Vec::with_capacity(BLOCK + 4096);
        for item in batch {
            self.label.write(item, &mut block);
            if block.len() >= BLOCK {
                connection.write_all(&block).await.map_err(&failed)?;
                block.clear();
            }
        }
        connection.write_all(&block).await.map_err(&failed)?;
        connection.flush().await.map_err(&failed)?;
        self.connection = Some(connection);
        if batch.iter().any(|item| item.is_again) {
            // It is in no stretch, so nobody would send it once more: the receiver has to have read it.
            return self.confirm().await;
        }
        self.confirm_if_due().await
    }

    async fn idle(&mut self) -> Result<(), SendError> {
        if let Some(mut connection) = self.connection.take() {
            self.look_at(&mut connection)?;
            self.connection = Some(connection);
        }
        self.confirm_if_due().await
    }

    fn unsettled(&self) -> Option<u64> {
        let unsettled = self.sent.iter().find(|stretch| !stretch.is_settled());
        unsettled.map(|stretch| stretch.first)
    }

    async fn close(&mut self) -> Result<(), SendError> {
        self.confirm().await
    }
}

#[cfg(test)]
mod tests;
