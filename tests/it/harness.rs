//! A gateway in this process, a simulator, a client, and waiting for conditions.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use vspc_gateway::admin::{Admin, Peer};
use vspc_gateway::app;
use vspc_gateway::audit::{Auditor, Writer};
use vspc_gateway::config::Settings;

use vspc_gateway::gateway::{Gateway, Live};
use vspc_gateway::listen::{Connections, Drain, Listener, serve};
use vspc_gateway::secret::KeyDigest;
use vspc_simulator::{SeenRequest, Settings as SimulatorSettings, Simulator, Switches};

/// May act for acme and globex; reads only.
pub(crate) const ZABBIX: &str = "vgk_test_zabbix_00000000000000000000";
/// May act for acme only; reads and writes everything.
pub(crate) const BILLING: &str = "vgk_test_billing_0000000000000000000";
/// May act for every tenant; reads and writes everything but what a rule denies.
pub(crate) const ADMIN: &str = "vgk_test_admin_000000000000000000000";

pub(crate) const ACME: &str = "b3ffc78b-7982-44f3-ae66-1384415f2bea";
pub(crate) const GLOBEX: &str = "c28df41e-5182-4668-b911-1987d4c9150f";

/// How long a condition may take to come true before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway and what is around it.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) address: SocketAddr,
    /// Where each of the listeners is.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) folder: TempDir,
    client: Client<HttpConnector, Full<Bytes>>,
    live: Weak<Live>,
    drain: Drain,
    writer: Writing,
}

/// The thread that writes the log. A test that is over does not wait for it.
struct Writing(Option<Writer>);

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            std::thread::spawn(move || drop(writer));
        }
    }
}

/// What a caller got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The refusal's code, or the empty text.
    pub(crate) fn code(&self) -> &str {
        self.header("x-gateway-code").unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// A member of a JSON answer, as text.
    pub(crate) fn text(&self, member: &str) -> String {
        self.text_at(&format!("/{member}"))
    }

    /// What a JSON pointer leads to, as text.
    pub(crate) fn text_at(&self, pointer: &str) -> String {
        let json = self.json();
        let text = json.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{pointer}: {json}"))
            .to_owned()
    }

    pub(crate) fn request_id(&self) -> &str {
        self.header("x-gateway-request-id")
            .expect("every answer carries the id")
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with("", unsigned()).await
    }

    /// Starts with more lines for the console, and with switches of the simulator.
    pub(crate) async fn start_with(console: &str, switches: Switches) -> Self {
        let settings = SimulatorSettings {
            switches,
            ..SimulatorSettings::default()
        };
        let simulator = Simulator::start(settings).await.unwrap();
        let url = simulator.url();
        Self::start_on(simulator, &url, console).await
    }

    pub(crate) async fn start_on(simulator: Simulator, url: &str, console: &str) -> Self {
        Self::start_adjusted(simulator, url, console, |_| {}).await
    }

    /// Starts with a gateway that was changed in a way that no configuration can.
    pub(crate) async fn start_adjusted(
        simulator: Simulator,
        url: &str,
        console: &str,
        adjust: impl FnOnce(&mut Gateway),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = configuration(folder.path(), url, console, "127.0.0.1:0");
        Self::start_in(simulator, folder, &text, adjust).await
    }

    /// Starts a gateway by a configuration, in a folder that may hold the state of one before.
    pub(crate) async fn start_in(
        simulator: Simulator,
        folder: TempDir,
        text: &str,
        adjust: impl FnOnce(&mut Gateway),
    ) -> Self {
        let settings = Settings::parse(text, folder.path()).unwrap_or_else(|faults| {
            panic!("{faults:#?}");
        });
        let (auditor, writer) = Auditor::open(settings.audit.clone()).unwrap();
        let limits = settings.server.connections;
        let listeners = settings.server.listen.clone();
        let (mut gateway, _) = app::compose(settings, &auditor).unwrap();
        adjust(Arc::get_mut(&mut gateway).unwrap());
        let drain = Drain::new();
        let connections = Connections::new(limits, gateway.telemetry.clone());
        let live = Live::new(Arc::clone(&gateway));
        let mut addresses = Vec::new();
        for listener in listeners.clone() {
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(socket.local_addr().unwrap());
            let (live, drain) = (Arc::clone(&live), drain.clone());
            let connections = Arc::clone(&connections);
            tokio::spawn(async move {
                serve(socket, &listener, live, &connections, &drain).await;
            });
        }
        tokio::spawn({
            let (broker, mut draining) = (gateway.broker.clone(), drain.watch());
            async move {
                broker
                    .run_renewals(async move { draining.begun().await })
                    .await
            }
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            simulator,
            address: *addresses.first().unwrap(),
            addresses,
            listeners,
            folder,
            client,
            live: Arc::downgrade(&live),
            drain,
            writer: Writing(Some(writer)),
        }
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.upgrade().unwrap()
    }

    pub(crate) fn gateway(&self) -> Arc<Gateway> {
        self.live().now()
    }

    /// Loads another configuration, as a reload of the process does.
    pub(crate) async fn reload(&self, text: &str) {
        let settings = Settings::parse(text, self.folder.path());
        let settings = settings.unwrap_or_else(|faults| panic!("{faults:#?}"));
        let next = app::Next::prepare(&self.gateway(), settings).unwrap();
        next.take_effect(&self.live()).await;
    }

    /// Reads the console's directory from now on, as the process does.
    pub(crate) fn keep_roster(&self) {
        let (gateway, mut draining) = (self.gateway(), self.drain.watch());
        tokio::spawn(async move {
            let stop = async move { draining.begun().await };
            gateway.roster.run(stop).await
        });
    }

    /// Fetches the keys of issuers from now on, as the process does.
    pub(crate) fn keep_issuers(&self) {
        let (gateway, mut draining) = (self.gateway(), self.drain.watch());
        let issuers = Arc::clone(&gateway.issuers);
        tokio::spawn(async move { issuers.run(async { draining.begun().await }).await });
    }

    /// Checks the consoles' addresses from now on, as the process does, once for a start.
    pub(crate) async fn keep_addresses(&self) {
        let gateway = self.gateway();
        for console in gateway.consoles.values() {
            let (console, mut draining) = (Arc::clone(console), self.drain.watch());
            tokio::spawn(async move {
                tokio::select! {
                    () = console.watch_addresses() => {}
                    () = draining.begun() => {}
                }
            });
        }
        let all_known = || {
            let mut consoles = gateway.consoles.values();
            consoles.all(|console| !console.addresses().is_empty())
        };
        until_true(all_known).await;
    }

    /// Watches the consoles' TLS files from now on, as the process does.
    pub(crate) fn keep_files(&self) {
        for console in self.gateway().consoles.values() {
            let (console, mut draining) = (Arc::clone(console), self.drain.watch());
            tokio::spawn(async move {
                tokio::select! {
                    () = console.watch_addresses() => {}
                    () = draining.begun() => {}
                }
            });
        }
    }

    /// What operators are told about readiness.
    pub(crate) async fn readyz(&self) -> Answer {
        self.admin("/readyz").await
    }

    /// A request as a tool sends it.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        collect(self.client.request(request).await.unwrap()).await
    }

    /// Sends a request without a body.
    pub(crate) async fn send(&self, request: http::request::Builder) -> Answer {
        let request = request.body(Full::default()).unwrap();
        collect(self.client.request(request).await.unwrap()).await
    }

    /// A GET with a key, for a tenant.
    pub(crate) async fn get(&self, key: &str, tenant: &str, path: &str) -> Answer {
        self.call("GET", path, &[("x-api-key", key), ("x-tenant", tenant)], "")
            .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What the gateway answers to raw bytes, until it closes the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the connection stayed open")
            .ok();
        answer
    }

    /// How many requests wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        let gateway = self.gateway();
        let consoles = gateway.consoles.values();
        consoles.map(|console| console.shares().waiting()).sum()
    }

    /// What operators get.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let admin = Arc::new(Admin::new(self.live(), None, self.drain.clone()));
        let (near, far) = tokio::io::duplex(64 * 1024);
        let peer = Peer::Tcp(([127, 0, 0, 1], 1).into());
        let serving = tokio::spawn(admin.serve(far, peer));
        let connected = hyper::client::conn::http1::handshake(TokioIo::new(near)).await;
        let (mut sender, connection) = connected.unwrap();
        let talking = tokio::spawn(connection);
        let request = Request::get(path).header("host", "localhost");
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let answer = collect(sender.send_request(request).await.unwrap()).await;
        serving.abort();
        talking.abort();
        answer
    }

    pub(crate) fn audit_folder(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    /// The records on disk now.
    pub(crate) fn records(&self) -> Vec<Value> {
        read_records(&self.audit_folder())
    }

    /// The outcome record of a request, once it is there.
    pub(crate) async fn outcome(&self, answer: &Answer) -> Value {
        let id = answer.request_id().to_owned();
        self.record(|record| record["kind"] == "request" && record["request_id"] == *id)
            .await
    }

    /// The first record that fits, once it is there.
    pub(crate) async fn record(&self, fits: impl Fn(&Value) -> bool) -> Value {
        until(|| self.records().into_iter().find(&fits)).await
    }

    /// Requests of callers that the simulator saw: everything but `/token`, and but what the
    /// gateway's own account asks.
    pub(crate) fn reached(&self) -> Vec<SeenRequest> {
        let mut seen = of_callers(self.simulator.requests());
        seen.retain(|request| !is_token(&request.target));
        seen
    }

    /// How many grants of a kind the simulator was asked for: given and refused.
    pub(crate) fn grants(&self, grant: &str) -> (u64, u64) {
        self.simulator
            .state()
            .grants
            .get(grant)
            .map_or((0, 0), |count| (count.ok, count.refused))
    }

    /// Ends the gateway as a process would, and gives the records it left.
    pub(crate) async fn stop(mut self) -> Vec<Value> {
        self.end().await;
        self.records()
    }

    /// Ends the gateway and starts another on what it left, by a configuration of its own.
    pub(crate) async fn restart(mut self, change: impl FnOnce(String) -> String) -> Self {
        self.end().await;
        let url = self.simulator.url();
        let text = change(configuration(self.folder.path(), &url, "", "127.0.0.1:0"));
        Self::start_in(self.simulator, self.folder, &text, |_| {}).await
    }

    async fn end(&mut self) {
        self.drain.run(PATIENCE).await;
        let writer = self.writer.0.take().unwrap();
        tokio::task::spawn_blocking(move || writer.close())
            .await
            .unwrap()
            .unwrap();
    }

    /// What the gateway's `/token` answers to a form.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.call("POST", "/api/v3/token", &[FORM], encoded(form))
            .await
    }

    /// Logs a client in.
    pub(crate) async fn log_in(&self, username: &str, key: &str) -> Answer {
        let form = [
            ("grant_type", "password"),
            ("username", username),
            ("password", key),
        ];
        self.token(&form).await
    }

    /// A GET with a gateway token.
    pub(crate) async fn get_as(&self, token: &str, path: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.call("GET", path, &[("authorization", &bearer)], "")
            .await
    }
}

/// Tokens without a signature: a key takes seconds to make in a debug build.
pub(crate) fn unsigned() -> Switches {
    Switches {
        sign_tokens: false,
        ..Switches::default()
    }
}

pub(crate) fn unsigned_settings() -> SimulatorSettings {
    SimulatorSettings {
        switches: unsigned(),
        ..SimulatorSettings::default()
    }
}

/// What callers sent, of all that a console saw: neither grants nor what the gateway's own account
/// asked.
pub(crate) fn of_callers(mut seen: Vec<SeenRequest>) -> Vec<SeenRequest> {
    let service = Some(vspc_simulator::seed::SERVICE.uid);
    seen.retain(|request| request.grant.is_none() && request.subject != service);
    seen
}

fn is_token(target: &str) -> bool {
    target.to_ascii_lowercase().starts_with("/api/v3/token")
}

/// The configuration of the tests, and the secrets it names.
pub(crate) fn configuration(folder: &Path, url: &str, console: &str, listen: &str) -> String {
    write_secret(&folder.join("password"), "gateway-demo-password\n");
    let digest = |key: &str| KeyDigest::of(key.as_bytes());
    format!(
        r#"
[server]
listen = "{listen}"
replay_limit = "64KiB"
body_limit = "64MiB"
unread_timeout = "60s"
failed_auth_limit = "off"
drain = "10s"
[audit]
directory = "audit"
[state]
directory = "state"
[[consoles]]
name = "main"
url = "{url}"
login = {{ grant = "password", username = 'VSPC\svc-gateway', password = {{ file = "password" }} }}
connect_timeout = "2s"
first_byte_timeout = "3s"
idle_timeout = "1s"
{console}
[[tenants]]
name = "acme"
aliases = ["1001"]
impersonate = {{ user = "{ACME}" }}
[[tenants]]
name = "globex"
impersonate = {{ user = "{GLOBEX}" }}
[[tenants]]
name = "viewed"
impersonate = {{ user = "{GLOBEX}" }}
read_only = true
[[tenants]]
name = "disabled"
impersonate = {{ user = "{}" }}
[mapping]
tenant_header = "X-Tenant"
[[clients]]
name = "zabbix"
api_keys = ["{}"]
tenants = ["acme", "globex"]
allow = [{{ methods = ["GET"], paths = ["/api/v3/**"] }}]
[[clients]]
name = "billing"
api_keys = ["{}"]
tenants = ["acme"]
allow = [{{ methods = ["*"], paths = ["/api/v3/**", "/api/v3/users/*/logins/**", "/api/v3/users/*/tokens"] }}]
[[clients]]
name = "admin"
api_keys = ["{}"]
tenants = ["*"]
targets = ["{GLOBEX}"]
allow = [{{ methods = ["*"], paths = ["/api/v3/**", "/**", "/api/v3/users/*/logins/**"] }}]
deny = [{{ paths = ["/api/v3/authentication/keys/**"] }}]
"#,
        vspc_simulator::seed::ACME_DISABLED.uid,
        digest(ZABBIX),
        digest(BILLING),
        digest(ADMIN),
    )
}

pub(crate) fn write_secret(path: &Path, secret: &str) {
    std::fs::write(path, secret).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) async fn collect<B>(response: Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}

/// The records of a log; an unfinished last line is not one.
pub(crate) fn read_records(folder: &Path) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut segments: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    segments.sort();
    let mut records = Vec::new();
    for segment in segments {
        let text = std::fs::read_to_string(segment).unwrap();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        records.extend(text[..whole].lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        }));
    }
    records
}

/// How tools send a form.
pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A form, encoded.
pub(crate) fn encoded(form: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    let pairs = form
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Waits until there is a value.
pub(crate) async fn until<T>(mut value: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the condition never came true"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until something is true.
pub(crate) async fn until_true(mut condition: impl FnMut() -> bool) {
    until(|| condition().then_some(())).await;
}

/// Calls until the answer is the gateway's own: a connection that was cut may be noticed only later.
pub(crate) async fn until_refused(world: &World, key: &str, path: &str) -> Answer {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = world.get(key, "acme", path).await;
        if !answer.code().is_empty() && answer.code() != "upstream_unreachable" {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "{answer:?}");
    }
}

/// Waits for something that takes a call to find out.
pub(crate) async fn until_true_async(condition: impl AsyncFnMut() -> bool) {
    until_true_within(PATIENCE, condition).await;
}

/// Waits so long for something that takes a call to find out.
pub(crate) async fn until_true_within(
    patience: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let deadline = tokio::time::Instant::now() + patience;
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the condition never came true"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn ok(answer: &Answer) -> bool {
    answer.status == StatusCode::OK.as_u16()
}
