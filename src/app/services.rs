//! The services that pingora's server runs.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::OptionFuture;
use parking_lot::Mutex;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use tokio::net::UnixListener;
use tokio::sync::Notify;

use crate::admin::{Admin, Peer, Reloads};
use crate::config::{AdminAddress, AdminListener};
use crate::gateway::Live;
use crate::listen::{Connections, Drain, Listener, serve, take_or_bind};

use super::Start;
use super::freezes::watch;
use super::reconciling::reconcile;
use super::reload::Reloader;
use super::upkeep::{addresses, keys, renewals, rosters};

/// What the services and the end of the process share.
pub(super) struct Shared {
    pub(super) drain: Drain,
    fds: OnceLock<ListenFds>,
    failure: Mutex<Option<String>>,
    pub(super) failed: Notify,
    /// Told when a new process has the listening sockets.
    pub(super) handed_over: Notify,
    /// Set while a new process is offered the listening sockets.
    pub(super) handing_over: AtomicBool,
    /// The most time that requests get to end.
    drain_time: Mutex<Duration>,
}

impl Shared {
    pub(super) fn new(drain: Drain, drain_time: Duration) -> Self {
        let (fds, failure, failed) = (OnceLock::new(), Mutex::new(None), Notify::new());
        Self {
            drain,
            fds,
            failure,
            failed,
            handed_over: Notify::new(),
            handing_over: AtomicBool::new(false),
            drain_time: Mutex::new(drain_time),
        }
    }

    /// Whether the process ends, or may be about to.
    pub(super) fn is_leaving(&self) -> bool {
        self.drain.has_begun() || self.handing_over.load(Ordering::Relaxed)
    }

    /// The most time that requests get to end.
    pub(super) fn drain_time(&self) -> Duration {
        *self.drain_time.lock()
    }

    pub(super) fn set_drain_time(&self, time: Duration) {
        *self.drain_time.lock() = time;
    }

    /// A service cannot go on: the process ends.
    pub(super) fn fail(&self, error: &dyn std::fmt::Display) {
        tracing::error!(%error, "a service failed");
        self.failure.lock().get_or_insert_with(|| error.to_string());
        self.failed.notify_one();
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// The listening sockets, for the next process.
    pub(super) fn sockets(&self) -> Option<ListenFds> {
        self.fds.get().cloned()
    }

    /// Closes what was put aside for the next process: as long as it is open, the kernel goes on
    /// taking connections that nobody will serve.
    pub(super) fn close_sockets(&self) {
        if let Some(sockets) = self.sockets() {
            sockets.lock().close_unclaimed(&HashSet::new());
        }
    }

    fn keep(&self, fds: Option<&ListenFds>) {
        if let Some(fds) = fds {
            self.fds.get_or_init(|| Arc::clone(fds));
        }
    }
}

/// Accepts clients.
pub(super) struct DataPlane {
    live: Arc<Live>,
    listen: Vec<Listener>,
    connections: Arc<Connections>,
    workers: usize,
    shared: Arc<Shared>,
}

impl DataPlane {
    pub(super) fn new(
        live: Arc<Live>,
        listen: Vec<Listener>,
        connections: Arc<Connections>,
        workers: usize,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            live,
            listen,
            connections,
            workers,
            shared,
        }
    }
}

#[async_trait]
impl Service for DataPlane {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        self.shared.keep(fds.as_ref());
        let mut accepting = tokio::task::JoinSet::new();
        for listener in &self.listen {
            let address = listener.address;
            match take_or_bind(address, fds.as_ref()) {
                Ok(socket) => {
                    tracing::info!(%address, tls = listener.tls.is_some(), "clients are served");
                    let listener = listener.clone();
                    let live = Arc::clone(&self.live);
                    let drain = self.shared.drain.clone();
                    let connections = Arc::clone(&self.connections);
                    accepting.spawn(async move {
                        serve(socket, &listener, live, &connections, &drain).await;
                    });
                }
                Err(error) => return self.shared.fail(&error),
            }
        }
        while accepting.join_next().await.is_some() {}
    }

    fn name(&self) -> &str {
        "clients"
    }

    fn threads(&self) -> Option<usize> {
        Some(self.workers)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        let addresses = self.listen.iter();
        Some(
            addresses
                .map(|listener| listener.address.to_string())
                .collect(),
        )
    }
}

/// Logs in to the consoles, renews tokens before anybody waits for them, keeps the roster and
/// issuers' keys, checks the consoles' addresses, compares logs with them, and looks for what other processes have frozen.
pub(super) struct TokenService {
    live: Arc<Live>,
    listeners: Vec<Listener>,
    reloader: Option<Reloader>,
    shared: Arc<Shared>,
}

impl TokenService {
    pub(super) fn new(live: Arc<Live>, reloader: Reloader, shared: Arc<Shared>) -> Self {
        Self {
            live,
            listeners: reloader.listeners.clone(),
            reloader: Some(reloader),
            shared,
        }
    }
}

#[async_trait]
impl Service for TokenService {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let stop = || {
            let mut draining = self.shared.drain.watch();
            async move { draining.begun().await }
        };
        let live = || Arc::clone(&self.live);
        let reloads = self.reloader.take().map(Reloader::run);
        let reloads = OptionFuture::from(reloads).map(|_| ());
        let renewed = super::renewed::watch(live(), std::mem::take(&mut self.listeners));
        let shared = &self.shared;
        tokio::join!(
            indispensable("renewal of tokens", renewals(live(), stop()), shared),
            indispensable("keys of issuers", keys(live(), stop()), shared),
            indispensable("the directory of tenants", rosters(live(), stop()), shared),
            indispensable("comparisons", reconcile(live(), stop()), shared),
            // These go on until the very end.
            indispensable("the watch over freezes", watch(live()), shared),
            indispensable("checks of addresses", addresses(live()), shared),
            indispensable("the watch over renewals", renewed, shared),
            indispensable("reloads", reloads, shared),
        );
    }

    fn name(&self) -> &str {
        "tokens"
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// Runs a part of the process in a task of its own. Where it panics, nothing can be relied on any
/// more, and the process ends: better that it is started anew than that tokens run out, or a freeze
/// is not heeded, and nobody knows why.
async fn indispensable(
    name: &'static str,
    part: impl Future<Output = ()> + Send + 'static,
    shared: &Shared,
) {
    if let Err(error) = tokio::spawn(part).await
        && error.is_panic()
    {
        shared.fail(&format!("{name} panicked"));
    }
}

/// Answers operators.
pub(super) struct AdminService {
    admin: Arc<Admin>,
    listen: AdminAddress,
    start: Start,
    shared: Arc<Shared>,
}

impl AdminService {
    pub(super) fn new(
        (live, reloads): (Arc<Live>, Reloads),
        admin: AdminListener,
        start: Start,
        shared: Arc<Shared>,
    ) -> Self {
        let AdminListener { listen, token } = admin;
        Self {
            admin: Arc::new(Admin::new(live, token, shared.drain.clone()).reloading(reloads)),
            listen,
            start,
            shared,
        }
    }

    /// Who answers, and where.
    pub(super) fn place(&self) -> (Arc<Admin>, AdminAddress) {
        (Arc::clone(&self.admin), self.listen.clone())
    }

    async fn serve_tcp(&self, address: SocketAddr, fds: Option<&ListenFds>) {
        let listener = match take_or_bind(address, fds) {
            Ok(listener) => listener,
            Err(error) => return self.shared.fail(&error),
        };
        tracing::info!(%address, "operators are served");
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // The new process answers on the same socket from here on.
                () = self.shared.handed_over.notified() => return,
            };
            match accepted {
                Ok((stream, from)) => {
                    let serving = Arc::clone(&self.admin).serve(stream, Peer::Tcp(from));
                    drop(tokio::spawn(serving));
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    async fn serve_unix(&self, path: &Path) {
        let listener = match bind_unix(path, self.start) {
            Ok(listener) => listener,
            Err(error) => {
                return self
                    .shared
                    .fail(&format!("cannot listen on {}: {error}", path.display()));
            }
        };
        tracing::info!(path = %path.display(), "operators are served");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(cred) => {
                        let (uid, pid) = (cred.uid(), cred.pid());
                        let serving =
                            Arc::clone(&self.admin).serve(stream, Peer::Unix { uid, pid });
                        drop(tokio::spawn(serving));
                    }
                    Err(error) => tracing::warn!(%error, "an operator's process cannot be told"),
                },
                Err(error) => pause(&error).await,
            }
        }
    }
}

#[async_trait]
impl Service for AdminService {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        // Operators are answered until the very end of a drain.
        match &self.listen {
            AdminAddress::Tcp(address) => self.serve_tcp(*address, fds.as_ref()).await,
            AdminAddress::Unix(path) => self.serve_unix(path).await,
        }
    }

    fn name(&self) -> &str {
        "admin"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(match &self.listen {
            AdminAddress::Tcp(address) => vec![address.to_string()],
            AdminAddress::Unix(_) => Vec::new(),
        })
    }
}

/// Listens on a path. The socket of a process that is gone is replaced, and so is the predecessor's
/// by an upgrade, at once: there is no moment without one.
fn bind_unix(path: &Path, start: Start) -> io::Result<UnixListener> {
    if start == Start::Fresh && UnixStream::connect(path).is_ok() {
        return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    }
    refuse_other_files(path)?;
    let unnamed = path.with_extension("new");
    refuse_other_files(&unnamed)?;
    match std::fs::remove_file(&unnamed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unnamed)?;
    std::fs::rename(&unnamed, path)?;
    Ok(listener)
}

/// A path that holds anything but a socket is somebody's mistake: it must not cost them the file.
pub(super) fn refuse_other_files(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is no socket",
        )),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept an operator's connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_one_part_ends_the_process_and_no_other_part() {
        let shared = Shared::new(Drain::new(), Duration::ZERO);
        let (sender, mut others) = tokio::sync::mpsc::channel(1);
        let other = async move {
            shared_beat(&sender).await;
            pending().await
        };
        let parts = async {
            tokio::join!(
                indispensable("one", async { panic!("scripted") }, &shared),
                indispensable("two", other, &shared),
            )
        };
        let mut parts = std::pin::pin!(parts);
        // They are never over, since one goes on.
        let soon = Duration::from_secs(60);
        assert!(timeout(soon, &mut parts).await.is_err());
        assert_eq!(shared.failure().as_deref(), Some("one panicked"));
        timeout(soon, shared.failed.notified()).await.unwrap();
        assert_eq!(others.recv().await, Some(()));
    }

    async fn shared_beat(sender: &tokio::sync::mpsc::Sender<()>) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sender.send(()).await.unwrap();
    }

    #[tokio::test]
    async fn a_part_that_comes_to_its_end_ends_nothing() {
        let shared = Shared::new(Drain::new(), Duration::ZERO);
        indispensable("one", async {}, &shared).await;
        assert_eq!(shared.failure(), None);
    }
}
