//! The gateway as its users run it: a process, with a folder of its own; a caller that knows what
//! its connection has been through; and a wire that can be listened to.

use std::cell::Cell;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use vspc_simulator::Settings;

use crate::harness::{Answer, configuration, read_records, until};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_vspc-gateway");

/// What a simulator is started with: its tokens are not signed, which takes long in a debug build.
pub(crate) fn unsigned() -> Settings {
    let mut settings = Settings::default();
    settings.switches.sign_tokens = false;
    settings
}

/// Runs a command of the gateway to its end.
pub(crate) fn command(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .output()
        .expect("the gateway can be run")
}

/// An address that nothing listens on. It is outside of the range that the system takes ports for
/// connections from, so that it is still free when a process is killed and started again.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 500).unwrap() * 20;
    loop {
        let port = 20_000 + start + NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Where a gateway lives: its configuration, its log files, its audit log.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    started: Cell<usize>,
}

impl Home {
    /// Writes the configuration of the tests for a console at `url`, with an admin listener.
    pub(crate) fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (address, admin) = (free_address(), free_address());
        let text = configuration(folder.path(), url, "", &address.to_string());
        let text = format!("{text}\n[admin]\nlisten = \"{admin}\"\n");
        std::fs::write(folder.path().join("gateway.toml"), text).unwrap();
        Self {
            folder,
            address,
            admin,
            started: Cell::new(0),
        }
    }

    /// Changes the configuration; what is to be replaced must be there.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{from:?} is not in the configuration");
        std::fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    /// Adds lines to the end of the configuration.
    pub(crate) fn append(&self, lines: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), text + lines).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("gateway.toml")
    }

    pub(crate) fn audit_folder(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        read_records(&self.audit_folder())
    }

    /// Starts a process and waits until it is ready.
    pub(crate) async fn start(&self) -> Gateway {
        let mut gateway = self.run(&[]);
        self.ready(&mut gateway).await;
        gateway
    }

    /// Starts a process.
    pub(crate) fn run(&self, more: &[&str]) -> Gateway {
        let mut command = Command::new(BINARY);
        command.arg("run").arg("--config").arg(self.config());
        self.spawn(command.args(more))
    }

    /// Starts a process that may have so many files open, and no more.
    pub(crate) fn run_with_files(&self, files: usize) -> Gateway {
        let limited = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(limited).arg(BINARY);
        self.spawn(command.arg("run").arg("--config").arg(self.config()))
    }

    fn spawn(&self, command: &mut Command) -> Gateway {
        let number = self.started.get();
        self.started.set(number + 1);
        let log = self.folder.path().join(format!("process-{number}.log"));
        let output = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("the gateway can be run");
        Gateway { child, log }
    }

    /// Waits until the admin listener says that requests can be served.
    pub(crate) async fn ready(&self, gateway: &mut Gateway) {
        self.readyz(gateway, 200).await;
    }

    /// Waits until `/readyz` has a status, and returns what it says.
    pub(crate) async fn readyz(&self, gateway: &mut Gateway, status: u16) -> Answer {
        loop {
            gateway.assert_running();
            match get(self.admin, "/readyz", &[]).await {
                Ok(answer) if answer.status == status => return answer,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

/// A running gateway; it is killed when it is dropped.
pub(crate) struct Gateway {
    child: Child,
    log: PathBuf,
}

impl Gateway {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, given as in `kill -TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id();
        let sent = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {id}"))
            .status();
        assert!(sent.unwrap().success(), "the process is gone");
    }

    /// Waits until the process has ended.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        until(|| self.child.try_wait().unwrap()).await
    }

    /// Kills the process as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the gateway ended with {status}:\n{}", self.log());
        }
    }

    /// What the process wrote to its standard output and error so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits until the process has written something.
    pub(crate) async fn logged(&self, text: &str) {
        until(|| self.log().contains(text).then_some(())).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A request with headers and a body.
pub(crate) fn request(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "gateway.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

/// A GET on a connection of its own.
pub(crate) async fn get(
    address: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<Answer, String> {
    once(address, request("GET", target, headers, "")).await
}

/// A request on a connection of its own.
pub(crate) async fn once(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    Caller::new(address).send(request).await
}

/// A GET over a Unix socket.
pub(crate) async fn get_unix(path: &std::path::Path, target: &str) -> Result<Answer, String> {
    let stream = UnixStream::connect(path).await.map_err(text)?;
    let mut sender = handshake(stream).await?;
    let response = sender.send_request(request("GET", target, &[], "")).await;
    whole(response.map_err(text)?).await
}

/// A caller that keeps its connection for as long as the gateway does.
///
/// One fault is no fault of the gateway's: that it closed an idle connection just as that was used
/// again. Such a request, and no other, is sent once more on a new connection.
pub(crate) struct Caller {
    address: SocketAddr,
    kept: Option<http1::SendRequest<Full<Bytes>>>,
    pub(crate) connections: usize,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            kept: None,
            connections: 0,
        }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        if let Some(mut sender) = self.kept.take()
            && let Ok(response) = sender.send_request(request.clone()).await
        {
            return self.keep(sender, response).await;
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await.map_err(text)?;
        self.keep(sender, response).await
    }

    /// Connects, and sends nothing yet.
    pub(crate) async fn connect(&mut self) -> Result<http1::SendRequest<Full<Bytes>>, String> {
        self.connections += 1;
        handshake(TcpStream::connect(self.address).await.map_err(text)?).await
    }

    async fn keep(
        &mut self,
        mut sender: http1::SendRequest<Full<Bytes>>,
        response: Response<Incoming>,
    ) -> Result<Answer, String> {
        let answer = whole(response).await?;
        let closes = answer.header("connection") == Some("close");
        if !closes && sender.ready().await.is_ok() {
            self.kept = Some(sender);
        }
        Ok(answer)
    }
}

async fn handshake<S>(stream: S) -> Result<http1::SendRequest<Full<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

/// Reads an answer to its end.
pub(crate) async fn whole(response: Response<Incoming>) -> Result<Answer, String> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(text)?.to_bytes();
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// A wire to a server that keeps every byte of what goes over it.
#[derive(Clone, Debug)]
pub(crate) struct Tap {
    pub(crate) address: SocketAddr,
    connections: Arc<parking_lot::Mutex<Vec<Kept>>>,
}

/// What was heard on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) from_client: Vec<u8>,
    pub(crate) from_server: Vec<u8>,
}

type Kept = Arc<parking_lot::Mutex<Heard>>;

impl Tap {
    /// Listens on a free port and leads every connection on to the server.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tap = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
        };
        let connections = Arc::clone(&tap.connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let kept = Kept::default();
                connections.lock().push(Arc::clone(&kept));
                tokio::spawn(Self::lead(client, server, kept));
            }
        });
        tap
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was heard so far, by connection.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        let connections = self.connections.lock();
        connections.iter().map(|kept| kept.lock().clone()).collect()
    }

    async fn lead(client: TcpStream, server: SocketAddr, kept: Kept) {
        // A server that is not there is one that hangs up.
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            Self::pass(from_client, to_server, &kept, |kept| &mut kept.from_client),
            Self::pass(from_server, to_client, &kept, |kept| &mut kept.from_server),
        );
    }

    async fn pass(
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        kept: &Kept,
        side: fn(&mut Heard) -> &mut Vec<u8>,
    ) {
        let mut bytes = Vec::with_capacity(16 * 1024);
        while let Ok(1..) = from.read_buf(&mut bytes).await {
            side(&mut kept.lock()).extend_from_slice(&bytes);
            if to.write_all(&bytes).await.is_err() {
                break;
            }
            bytes.clear();
        }
        // What is gone already cannot be told that no more comes.
        to.shutdown().await.ok();
    }
}

/// What the callers of a test have seen together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<parking_lot::Mutex<Seen>>);

#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The ids of answered requests.
    pub(crate) answered: Vec<String>,
    pub(crate) failures: Vec<String>,
}

impl Tally {
    pub(crate) fn note(&self, result: Result<Answer, String>) {
        let mut seen = self.0.lock();
        match result {
            Ok(answer) if answer.status == 200 => {
                seen.answered.push(answer.request_id().to_owned())
            }
            Ok(answer) => seen.failures.push(format!("{answer:?}")),
            Err(error) => seen.failures.push(error),
        }
    }

    pub(crate) fn answered(&self) -> usize {
        self.0.lock().answered.len()
    }

    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut self.0.lock())
    }
}

/// Asserts that the records of a log are numbered from 0 without a gap.
pub(crate) fn assert_gapless(records: &[Value]) {
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record["seq"], number, "{record}");
    }
}
