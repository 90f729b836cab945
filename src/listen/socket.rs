//! Listening sockets: inherited from the process before, or bound anew.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, IntoRawFd as _};

use pingora_core::server::ListenFds;
use tokio::net::{TcpListener, TcpSocket};

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the operating system said.
    source: std::io::Error,
}

/// The socket for an address: the one that a former process handed over, or a new one, which is
/// then put aside for the next process.
///
/// # Errors
/// Fails when the address cannot be bound.
pub fn take_or_bind(
    address: SocketAddr,
    fds: Option<&ListenFds>,
) -> Result<TcpListener, BindError> {
    let fail = |source| BindError { address, source };
    let key = address.to_string();
    let Some(fds) = fds else {
        return bind(address).map_err(fail);
    };
    let mut table = fds.lock();
    if let Some(inherited) = table.get(&key) {
        #[expect(
            unsafe_code,
            reason = "the descriptor is in pingora's table, which keeps it open; it is only \
                      duplicated here"
        )]
        let borrowed = unsafe { BorrowedFd::borrow_raw(*inherited) };
        let owned = borrowed.try_clone_to_owned().map_err(fail)?;
        let listener = std::net::TcpListener::from(owned);
        listener.set_nonblocking(true).map_err(fail)?;
        return TcpListener::from_std(listener).map_err(fail);
    }
    let listener = bind(address).map_err(fail)?.into_std().map_err(fail)?;
    let kept = listener.try_clone().map_err(fail)?;
    table.add(key, kept.into_raw_fd());
    TcpListener::from_std(listener).map_err(fail)
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
