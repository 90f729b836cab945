//! How commands ask the running gateway: by its admin listener.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use vspc_gateway::admin::OPERATOR;
use vspc_gateway::audit::read::visible;
use vspc_gateway::config::{AdminAddress, AdminListener, Operations, Settings};
use vspc_gateway::secret::Secret;

use crate::{BAD_USAGE, ConfigFile, FAILED, Failure};

/// The admin listener of the gateway that runs by a configuration file.
pub(super) struct AdminClient {
    address: AdminAddress,
    token: Option<Secret>,
    config: PathBuf,
    patience: Duration,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// Nobody listens, or nobody answers: whether anything was done is not known, but for a
    /// connection that did not come about.
    Unreachable(String),
    /// The answer is no.
    Refused(Failure),
}

impl From<NoAnswer> for Failure {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Refused(failure) => failure,
            NoAnswer::Unreachable(message) => Self(message, FAILED),
        }
    }
}

/// What a configuration file says to operators' commands.
pub(super) fn operations(file: &ConfigFile) -> Result<Operations, Failure> {
    Settings::load_operations(&file.config).map_err(|error| Failure(error.to_string(), BAD_USAGE))
}

/// As whom a command acts, as far as it can tell: `user@host`.
pub(super) fn operator() -> String {
    // Behind sudo, whoever called it.
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|user| !user.is_empty());
    let uid = || std::fs::metadata("/proc/self").map(|it| format!("uid-{}", it.uid()));
    let user = user.or_else(|| uid().ok());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = format!("{}@{}", user.as_deref().unwrap_or("?"), host.trim());
    let name = name.chars().filter(char::is_ascii_graphic);
    name.take(LONGEST_NAME).collect()
}

impl AdminClient {
    /// The listener of a file, which must have one.
    pub(super) fn new(admin: Option<AdminListener>, config: &Path) -> Result<Self, Failure> {
        let Some(AdminListener { listen, token }) = admin else {
            let message = format!(
                "{} has no [admin] section: the running gateway cannot be asked without a listener \
                 for operators; add listen = \"unix:admin.sock\" there and start it anew",
                config.display()
            );
            return Err(Failure(message, FAILED));
        };
        Ok(Self {
            address: listen,
            token,
            config: config.to_owned(),
            patience: ANSWER_TIME,
        })
    }

    /// Waits for answers so long.
    #[must_use]
    pub(super) fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks for something.
    pub(super) fn get(&self, target: &str) -> Result<Value, NoAnswer> {
        self.ask(Method::GET, target, None)
    }

    /// Has something done.
    pub(super) fn post(&self, target: &str, body: &Value) -> Result<Value, NoAnswer> {
        self.ask(Method::POST, target, Some(body))
    }

    fn ask(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Value, NoAnswer> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| NoAnswer::Refused(error.into()))?;
        let request = self.request(method, target, body)?;
        let unreachable = |error: io::Error| NoAnswer::Unreachable(self.unreachable(&error));
        let (status, bytes) = runtime.block_on(async {
            let exchange = async {
                match &self.address {
                    AdminAddress::Tcp(address) => {
                        let stream = TcpStream::connect(reachable(*address));
                        exchange(connected(stream).await?, request).await
                    }
                    AdminAddress::Unix(path) => {
                        exchange(connected(UnixStream::connect(path)).await?, request).await
                    }
                }
            };
            let answered = tokio::time::timeout(self.patience, exchange).await;
            let silent = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
            answered
                .unwrap_or_else(|_| Err(silent()))
                .map_err(unreachable)
        })?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        Err(NoAnswer::Refused(self.refused(status, &answer)))
    }

    fn request(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let host = match self.address {
            AdminAddress::Tcp(address) => reachable(address).to_string(),
            AdminAddress::Unix(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, host)
            .header(ACCEPT, "application/json")
            .header(OPERATOR, operator());
        if let Some(token) = &self.token {
            let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let mut bearer = bearer.map_err(|_| {
                let message = "admin.token holds characters that no header can carry";
                NoAnswer::Refused(Failure(message.to_owned(), BAD_USAGE))
            })?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        let mut bytes = Bytes::new();
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json");
            bytes = Bytes::from(body.to_string());
        }
        let request = request.body(Full::new(bytes));
        request.map_err(|error| NoAnswer::Refused(error.into()))
    }

    fn unreachable(&self, error: &io::Error) -> String {
        let config = self.config.display();
        let help = match (error.kind(), &self.address) {
            (io::ErrorKind::PermissionDenied, AdminAddress::Unix(_)) => {
                "run the command as the gateway's own user, or as root"
            }
            (io::ErrorKind::TimedOut, _) => "the process is there, or was, but does not answer",
            _ => "is the gateway running, and by this file?",
        };
        format!(
            "the gateway of {config} cannot be reached on {}: {error}; {help}",
            self.place()
        )
    }

    fn refused(&self, status: StatusCode, answer: &Value) -> Failure {
        let told = answer.get("error").and_then(Value::as_str);
        let told = told.or(status.canonical_reason()).unwrap_or("no reason");
        let place = self.place();
        if let Some(faults) = answer.get("faults").and_then(Value::as_array) {
            let faults = faults.iter().filter_map(Value::as_str);
            let faults: String = faults.map(|it| format!("\n  {}", visible(it))).collect();
            let message = format!("the gateway on {place} says no: {told}{faults}");
            return Failure(message, BAD_USAGE);
        }
        let message = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => format!(
                "the gateway on {place} wants a token: {} has no admin.token, perhaps it is not the \
                 file that it runs by",
                self.config.display()
            ),
            (StatusCode::UNAUTHORIZED, Some(_)) => format!(
                "the gateway on {place} wants another token than admin.token of {}: perhaps it was \
                 changed since the start",
                self.config.display()
            ),
            (StatusCode::METHOD_NOT_ALLOWED, _) => format!(
                "what listens on {place} does not know this: is it a gateway of this version?"
            ),
            _ => format!("the gateway on {place} says no: {told}"),
        };
        Failure(message, FAILED)
    }

    fn place(&self) -> String {
        match &self.address {
            AdminAddress::Tcp(address) => reachable(*address).to_string(),
            AdminAddress::Unix(path) => path.display().to_string(),
        }
    }
}

/// A listener on all addresses is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn connected<S>(connecting: impl Future<Output = io::Result<S>>) -> io::Result<S> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
    let connected = tokio::time::timeout(CONNECT_TIME, connecting).await;
    connected.unwrap_or_else(|_| Err(late()))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> io::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(io::Error::other)?;
    tokio::spawn(async move { connection.await.ok() });
    let response = sender.send_request(request).await;
    let (parts, body) = response.map_err(io::Error::other)?.into_parts();
    let body = Limited::new(body, ANSWER_LIMIT).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    Ok((parts.status, body))
}

const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Longer than most that is asked for may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: usize = 256 << 20;
const LONGEST_NAME: usize = 128;
