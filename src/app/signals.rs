//! How a process ends. pingora's own way sleeps a fixed time and then drops what still runs, so
//! the drain is done here, and pingora is told to stop when nothing is left.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::services::Shared;
use crate::admin::{NotLoaded, Reloads};
use crate::audit::{Auditor, Record};

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
            SignalKind::hangup(),
        ]
        .map(signal);
        let [Ok(terminate), Ok(interrupt), Ok(quit), Ok(hangup)] = listened else {
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
        loop {
            tokio::select! {
                _ = listened.terminate.recv() => break,
                _ = listened.interrupt.recv() => break,
                () = self.shared.failed.notified() => return self.shared.drain.cut().await,
                () = self.auditor.died() => {
                    self.shared.fail(&"the audit writer died");
                    return self.shared.drain.cut().await;
                }
                _ = listened.hangup.recv() => self.reload(),
                _ = listened.quit.recv() => {
                    if self.hand_over().await {
                        break;
                    }
                }
            }
        }
        let drain_time = self.shared.drain_time();
        tracing::info!(
            seconds = drain_time.as_secs(),
            "draining: no new connections"
        );
        self.shared.close_sockets();
        tokio::select! {
            all = self.shared.drain.run(drain_time) => {
                if all {
                    tracing::info!("every request has ended");
                    return;
                }
                tracing::warn!("requests that are still running are cut off");
            }
            // A second signal does not wait.
            _ = listened.terminate.recv() => tracing::warn!("cut short by a second signal"),
            _ = listened.interrupt.recv() => tracing::warn!("cut short by a second signal"),
        }
        // pingora would leave them to end after this process has closed its audit log.
        self.shared.drain.cut().await;
    }

    /// Has the configuration loaded anew, and waits for nothing: what comes of it is logged.
    fn reload(&self) {
        let by = Record {
            peer: Some("SIGHUP".to_owned()),
            ..Record::default()
        };
        let reloads = self.reloads.clone();
        tokio::spawn(async move {
            if let Err(error @ NotLoaded::NotNow(_)) = reloads.ask(by).await {
                tracing::warn!(%error, "SIGHUP does nothing");
            }
        });
    }

    /// Sends the listening sockets to a new process. Without one this process goes on.
    async fn hand_over(&self) -> bool {
        self.shared.handing_over.store(true, Ordering::Relaxed);
        let is_over = self.send_sockets().await;
        self.shared.handing_over.store(is_over, Ordering::Relaxed);
        is_over
    }

    async fn send_sockets(&self) -> bool {
        let Some(sockets) = self.shared.sockets() else {
            return false;
        };
        let path = self.upgrade_socket.display().to_string();
        let sent = tokio::task::spawn_blocking(move || sockets.lock().send_to_sock(path.as_str()));
        match sent.await {
            Ok(Ok(_)) => {
                tracing::info!("the listening sockets are handed over");
                self.shared.handed_over.notify_one();
                true
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "nobody takes the listening sockets: start the new process \
                    with --upgrade first; this one goes on");
                false
            }
            Err(error) => {
                tracing::error!(%error, "the listening sockets cannot be sent; this process goes on");
                false
            }
        }
    }
}

struct Listened {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}
