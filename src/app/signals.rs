//! How a process ends. pingora's own way sleeps a fixed time and then drops what still runs, so
//! the drain is done here, and pingora is told to stop when nothing is left.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::services::Shared;
use crate::admin::{NotLoaded, Reloads};
use crate::audit::{Auditor, Code, Kind, Record, Unavailable};

/// Keeps the process from being ended by a SIGHUP that comes before it serves. It is remembered, and
/// the configuration is loaded anew once the process serves, since the file may have been read
/// before it. To be called first of all.
///
/// # Errors
/// Fails where the system gives no means to receive signals.
pub fn withstand_hangups() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _within = runtime.enter();
    // What is installed here is the process's and outlives the runtime: what comes until there is
    // another one is told by that.
    *EARLY.lock() = Some(signal(SignalKind::hangup())?);
    Ok(())
}

/// What has received SIGHUP from the first moment on.
static EARLY: Mutex<Option<Signal>> = Mutex::new(None);

pub(super) struct Signals {
    pub(super) auditor: Auditor,
    pub(super) shared: Arc<Shared>,
    /// Has the configuration loaded anew.
    pub(super) reloads: Reloads,
    /// Where a new process waits for the listening sockets.
    pub(super) upgrade_socket: PathBuf,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        self.until_the_end().await;
        ShutdownSignal::FastShutdown
    }
}

impl Signals {
    /// Returns when the process is to end and nothing is left that could be waited for.
    async fn until_the_end(&self) {
        let listened = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::quit(),
        ]
        .map(signal);
        let early = EARLY.lock().take();
        let hangup = early.map_or_else(|| signal(SignalKind::hangup()), Ok);
        let ([Ok(terminate), Ok(interrupt), Ok(quit)], Ok(hangup)) = (listened, hangup) else {
            tracing::error!("signals cannot be received");
            return;
        };
        // A file size limit is an error of the write, not the end of the process.
        let _limit = signal(SignalKind::from_raw(libc::SIGXFSZ));
        let mut listened = Listened {
            terminate,
            interrupt,
            quit,
            hangup,
        };
        let why = loop {
            tokio::select! {
                _ = listened.terminate.recv() => break "SIGTERM",
                _ = listened.interrupt.recv() => break "SIGINT",
                () = self.shared.failed.notified() => {
                    let failure = self.shared.failure().unwrap_or_default();
                    self.note("process.failed", Code::Refused("failed"), failure, "").await;
                    return self.shared.drain.cut().await;
                }
                () = self.auditor.died() => {
                    self.shared.fail(&"the audit writer died");
                    return self.shared.drain.cut().await;
                }
                _ = listened.hangup.recv() => self.reload(),
                _ = listened.quit.recv() => {
                    if self.hand_over().await {
                        break "SIGQUIT";
                    }
                }
            }
        };
        self.drain(&mut listened, why).await;
    }

    /// Lets requests end, for as long as they may.
    async fn drain(&self, listened: &mut Listened, why: &str) {
        let drain_time = self.shared.drain_time();
        tracing::info!(
            seconds = drain_time.as_secs(),
            "draining: no new connections"
        );
        self.shared.close_sockets();
        let most = format!("requests have {} s to end", drain_time.as_secs());
        self.note("drain.begun", Code::Ok, most, why).await;
        let cut = tokio::select! {
            all = self.shared.drain.run(drain_time) => {
                if all {
                    let all = "every request has ended";
                    tracing::info!("{all}");
                    return self.note("drain.ended", Code::Ok, all.to_owned(), why).await;
                }
                "requests that are still running are cut off"
            }
            // A second signal does not wait.
            _ = listened.terminate.recv() => "cut short by a second signal",
            _ = listened.interrupt.recv() => "cut short by a second signal",
        };
        tracing::warn!("{cut}");
        self.note("drain.ended", Code::Aborted, cut.to_owned(), why)
            .await;
        // pingora would leave them to end after this process has closed its audit log.
        self.shared.drain.cut().await;
    }

    /// Has the configuration loaded anew, and waits for nothing: what comes of it is logged.
    fn reload(&self) {
        let by = Record {
            peer: Some("SIGHUP".to_owned()),
            ..Record::default()
        };
        let (reloads, auditor) = (self.reloads.clone(), self.auditor.clone());
        tokio::spawn(async move {
            if let Err(error @ NotLoaded::NotNow(_)) = reloads.ask(by).await {
                tracing::warn!(%error, "SIGHUP does nothing");
                let code = Code::Refused("not_now");
                note(&auditor, "config.reload", code, error.to_string(), "SIGHUP").await;
            }
        });
    }

    async fn note(&self, operation: &'static str, code: Code, detail: String, peer: &str) {
        note(&self.auditor, operation, code, detail, peer).await;
    }

    /// Sends the listening sockets to a new process. Without one this process goes on.
    async fn hand_over(&self) -> bool {
        self.shared.handing_over.store(true, Ordering::Relaxed);
        let is_over = self.send_sockets().await;
        self.shared.handing_over.store(is_over, Ordering::Relaxed);
        is_over
    }

    async fn send_sockets(&self) -> bool {
        let (operation, by) = ("upgrade.handed_over", "SIGQUIT");
        let failed = Code::Refused("not_taken");
        let Some(sockets) = self.shared.sockets() else {
            let none = "there are no sockets to be handed over".to_owned();
            self.note(operation, failed, none, by).await;
            return false;
        };
        let path = self.upgrade_socket.display().to_string();
        let sent = tokio::task::spawn_blocking(move || sockets.lock().send_to_sock(path.as_str()));
        match sent.await {
            Ok(Ok(_)) => {
                tracing::info!("the listening sockets are handed over");
                let to = format!("through {}", self.upgrade_socket.display());
                self.note(operation, Code::Ok, to, by).await;
                self.shared.handed_over.notify_one();
                true
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "nobody takes the listening sockets: start the new process \
                    with --upgrade first; this one goes on");
                self.note(operation, failed, error.to_string(), by).await;
                false
            }
            Err(error) => {
                tracing::error!(%error, "the listening sockets cannot be sent; this process goes on");
                self.note(operation, failed, error.to_string(), by).await;
                false
            }
        }
    }
}

/// Records what happens to the process, and does not wait for long: it must be able to end.
async fn note(auditor: &Auditor, operation: &'static str, code: Code, detail: String, peer: &str) {
    let record = Record {
        operation: Some(Cow::Borrowed(operation)),
        code: Some(code),
        detail: Some(Cow::Owned(detail)),
        peer: Some(peer.to_owned()).filter(|peer| !peer.is_empty()),
        ..Record::default()
    };
    let error = match timeout(AUDIT_TIME, auditor.note(Kind::Admin, &record)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => Unavailable::QueueFull,
    };
    auditor.report_unrecorded(Kind::Admin, &record, error);
}

/// How long a place in the log is waited for.
const AUDIT_TIME: Duration = Duration::from_secs(1);

struct Listened {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}
