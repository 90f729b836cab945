use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::upstream::{
    Console, ConsoleId, HttpVersions, RequestBody, Sharing, Trust, UpstreamError,
};

/// Where names lead; those that are missing cannot be looked up.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Script {
    names: Mutex<HashMap<String, Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Script {
    pub(super) async fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if name == "hangs" {
            return std::future::pending().await;
        }
        let names = self.names.lock();
        let found = names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    }

    fn set(&self, name: &str, ips: &[&str]) {
        let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        self.names.lock().insert(name.to_owned(), ips);
    }

    fn lose(&self, name: &str) {
        self.names.lock().remove(name);
    }
}

fn settings(addresses: &[&str], checks: Option<Checks>) -> Settings {
    let addresses = addresses.iter().map(|text| Address::parse(text).unwrap());
    Settings {
        id: ConsoleId::new("main"),
        scheme: Scheme::HTTP,
        authority: Authority::from_static("vspc.example:1280"),
        addresses: addresses.collect(),
        checks,
        trust: Trust::System,
        http: HttpVersions::Http1,
        connect_timeout: Duration::from_secs(2),
        first_byte_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(2),
        sharing: Sharing::default(),
    }
}

fn often() -> Option<Checks> {
    Some(Checks {
        interval: Duration::from_millis(20),
        failures: NonZeroUsize::new(2).unwrap(),
        successes: NonZeroUsize::new(2).unwrap(),
        path: None,
    })
}

fn known(addresses: &[&str]) -> (Known, Arc<Script>) {
    let script = Arc::new(Script::default());
    let lookup = Lookup::Scripted(Arc::clone(&script));
    (Known::new(&settings(addresses, None), lookup), script)
}

async fn found(known: &Known) -> Vec<String> {
    let found = known.look_up().await;
    found
        .iter()
        .map(|facts| facts.address.to_string())
        .collect()
}

#[test]
fn addresses_are_written_as_they_are_read() {
    for (text, written) in [
        ("10.0.0.5:1280", "10.0.0.5:1280"),
        ("[2001:DB8::5]:1280", "[2001:db8::5]:1280"),
        ("VSPC-2.internal:443", "vspc-2.internal:443"),
        ("localhost:1", "localhost:1"),
    ] {
        assert_eq!(Address::parse(text).unwrap().to_string(), written);
    }
    for (text, fault) in [
        ("", AddressFault::Form),
        (":1280", AddressFault::Form),
        ("a b:1", AddressFault::Form),
        ("a,b:1", AddressFault::Form),
        ("1.2.3:1", AddressFault::Form),
        ("[::1]", AddressFault::Form),
        ("[::1]:0", AddressFault::Port),
        ("::1", AddressFault::Port),
        ("10.0.0.5", AddressFault::Port),
        ("name:", AddressFault::Port),
        ("name:http", AddressFault::Port),
        ("http://name:1", AddressFault::Url),
        ("name:1/", AddressFault::Url),
    ] {
        assert_eq!(Address::parse(text), Err(fault), "{text}");
    }
}

#[test]
fn without_addresses_the_url_says_where() {
    for (scheme, authority, address) in [
        (Scheme::HTTPS, "vspc.example:1280", "vspc.example:1280"),
        (Scheme::HTTPS, "VSPC.example", "vspc.example:443"),
        (Scheme::HTTP, "[::1]", "[::1]:80"),
        (Scheme::HTTPS, "10.0.0.5:1", "10.0.0.5:1"),
    ] {
        let authority = Authority::from_static(authority);
        assert_eq!(Address::of(&scheme, &authority).to_string(), address);
    }
}

#[test]
fn a_console_is_known_by_its_name_and_all_its_addresses() {
    let settings = settings(
        &["10.0.0.5:1280", "[2001:db8::5]:1280", "two.example:1280"],
        None,
    );
    for authority in [
        "vspc.example",
        "VSPC.example:1280",
        "10.0.0.5",
        "10.0.0.5:9",
        "[2001:db8:0::5]:1280",
        "[2001:db8::5]",
        "Two.example",
    ] {
        assert!(settings.is_named(authority), "{authority}");
    }
    for authority in [
        "",
        "example",
        "10.0.0.50",
        "vspc.example.evil.test",
        "[::1]:1280",
    ] {
        assert!(!settings.is_named(authority), "{authority}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_followed_and_a_failing_look_up_keeps_what_was_known() {
    let (known, script) = known(&["a.example:1", "10.0.0.1:1", "b.example:2"]);
    script.set("a.example", &["10.0.0.1", "::1"]);
    assert_eq!(found(&known).await, ["10.0.0.1:1", "[::1]:1"]);
    let report = known.report();
    let dead = report.last().unwrap();
    assert_eq!((&*dead.address, dead.healthy), ("b.example:2", false));
    assert!(dead.error.is_some());

    script.set("b.example", &["10.0.0.9"]);
    script.set("a.example", &["10.0.0.2"]);
    let now = ["10.0.0.2:1", "10.0.0.1:1", "10.0.0.9:2"];
    assert_eq!(found(&known).await, now);
    assert!(known.report().iter().all(|state| state.healthy));

    script.lose("a.example");
    script.set("b.example", &[]);
    assert_eq!(found(&known).await, now);
    script.set("a.example", &["10.0.0.3"]);
    assert_eq!(
        found(&known).await,
        ["10.0.0.3:1", "10.0.0.1:1", "10.0.0.9:2"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_an_address_stays_while_a_name_leads_there() {
    let (known, script) = known(&["a.example:1"]);
    script.set("a.example", &["10.0.0.1", "10.0.0.2"]);
    known.look_up().await[0].failed("scripted");
    script.set("a.example", &["10.0.0.3", "10.0.0.1"]);
    let facts = known.look_up().await;
    assert!(!facts[0].is_suspect() && facts[1].is_suspect());
    script.set("a.example", &["10.0.0.3"]);
    known.look_up().await;
    script.set("a.example", &["10.0.0.1"]);
    assert!(!known.look_up().await[0].is_suspect());
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_unreachable_and_says_so() {
    let script = Arc::new(Script::default());
    for checks in [None, often()] {
        let lookup = Lookup::Scripted(Arc::clone(&script));
        let console = Console::with_lookup(settings(&[], checks), lookup).unwrap();
        match get(&console).await {
            Err(UpstreamError::Unreachable(text)) => {
                assert!(text.starts_with("vspc.example:1280: "), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_takes_too_long_ends_in_time() {
    let script = Arc::new(Script::default());
    let lookup = Lookup::Scripted(script);
    let console = Console::with_lookup(settings(&["hangs:1"], None), lookup).unwrap();
    let began = tokio::time::Instant::now();
    match get(&console).await {
        Err(UpstreamError::Unreachable(text)) => {
            assert_eq!(text, "hangs:1: looking the name up takes too long")
        }
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() < Duration::from_millis(2100));
}

async fn get(
    console: &Console,
) -> Result<http::Response<crate::upstream::Received>, UpstreamError> {
    let mut request = http::Request::new(RequestBody::Empty);
    *request.uri_mut() = console.uri(PathAndQuery::from_static("/x")).unwrap();
    console.send(request, None).await
}

#[tokio::test(start_paused = true)]
async fn rounds_follow_names_and_two_failures_in_a_row_count() {
    let script = Arc::new(Script::default());
    script.set("a.example", &["127.0.0.1"]);
    let interval = Duration::from_secs(60);
    let checks = often().map(|checks| Checks { interval, ..checks });
    // Nothing listens on that port.
    let settings = settings(&["a.example:1", "b.example:1"], checks);
    let lookup = Lookup::Scripted(Arc::clone(&script));
    let console = Console::with_lookup(settings, lookup).unwrap();
    let mut rounds = std::pin::pin!(console.watch_addresses());
    let mut pass = async |time: Duration| {
        let ended = tokio::time::timeout(time, rounds.as_mut()).await;
        assert!(ended.is_err(), "it goes on for ever");
        let states = console.addresses();
        states
            .into_iter()
            .map(|state| (state.address, state.healthy))
            .collect::<Vec<_>>()
    };
    let dead = ("b.example:1".to_owned(), false);
    let told = pass(interval / 2).await;
    assert_eq!(told, [("127.0.0.1:1".to_owned(), true), dead.clone()]);
    assert_eq!(script.asked.load(Ordering::Relaxed), 2);
    let told = pass(interval).await;
    assert_eq!(told, [("127.0.0.1:1".to_owned(), false), dead]);
    assert_eq!(script.asked.load(Ordering::Relaxed), 4);
    // What is new is believed to work.
    script.set("a.example", &["127.0.0.1", "127.0.0.2"]);
    script.set("b.example", &["127.0.0.2"]);
    let told = pass(interval).await;
    let now = [
        ("127.0.0.1:1".to_owned(), false),
        ("127.0.0.2:1".to_owned(), true),
    ];
    assert_eq!(told, now);
    script.lose("a.example");
    script.lose("b.example");
    let told = pass(interval).await;
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, healthy)| !healthy), "{told:?}");
}

/// A console that answers, at an address of this machine.
async fn console() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener);
    address
}

fn serve(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
}

#[tokio::test]
async fn an_address_is_used_while_the_name_of_another_one_is_being_looked_up() {
    let working = console().await.to_string();
    let lookup = Lookup::Scripted(Arc::new(Script::default()));
    let settings = settings(&[&working, "hangs:1"], often());
    let console = Arc::new(Console::with_lookup(settings, lookup).unwrap());
    let rounds = tokio::spawn({
        let console = Arc::clone(&console);
        async move { console.watch_addresses().await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answer = get(&console).await;
    rounds.abort();
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_hangs_is_not_begun_twice() {
    let (known, script) = known(&["10.0.0.1:1", "hangs:1"]);
    for _ in 0..3 {
        let began = tokio::time::Instant::now();
        let facts = known.look_up_soon().await;
        assert_eq!(facts.len(), 1);
        assert!(began.elapsed() < Duration::from_millis(110));
    }
    assert_eq!(script.asked.load(Ordering::Relaxed), 1);
    // It ends in time, and the next one begins.
    assert_eq!(found(&known).await, ["10.0.0.1:1"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(found(&known).await, ["10.0.0.1:1"]);
    assert_eq!(script.asked.load(Ordering::Relaxed), 2);
    let report = known.report();
    let dead = report.last().unwrap();
    assert_eq!((&*dead.address, dead.healthy), ("hangs:1", false));
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_on_says_nothing_about_an_address() {
    let address = console().await.to_string();
    let console = Console::new(settings(&[&address], often())).unwrap();
    let console = Arc::new(console);
    let rounds = tokio::spawn({
        let console = Arc::clone(&console);
        async move { console.watch_addresses().await }
    });
    until(|| !console.addresses().is_empty()).await;
    get(&console).await.unwrap();
    let mut request = http::Request::new(RequestBody::Empty);
    *request.uri_mut() = console.uri(PathAndQuery::from_static("/x")).unwrap();
    for number in 0..110 {
        let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
        let value = http::HeaderValue::from_static("1");
        request.headers_mut().insert(name, value);
    }
    // No check is to come between this and that.
    rounds.abort();
    rounds.await.unwrap_err();
    let answer = console.send(request, None).await;
    assert!(
        matches!(answer, Err(UpstreamError::Unsendable(_))),
        "{answer:?}"
    );
    assert_eq!(console.addresses()[0].error, None);
}

#[tokio::test]
async fn an_address_that_works_again_ends_the_pause_of_the_breaker() {
    let listener = TcpListener::bind("127.9.1.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let settings = settings(&[&address.to_string()], often());
    let console = Arc::new(Console::new(settings).unwrap());
    let rounds = tokio::spawn({
        let console = Arc::clone(&console);
        async move { console.watch_addresses().await }
    });
    let is_healthy = || console.addresses().first().map(|state| state.healthy);
    until(|| is_healthy() == Some(false)).await;
    while let Ok(call) = console.breaker().admit() {
        call.report(crate::upstream::breaker::Verdict::Fault);
    }
    serve(TcpListener::bind(address).await.unwrap());
    // Half a minute otherwise.
    until(|| console.breaker().check().is_ok()).await;
    assert!(console.breaker().is_open());
    let call = console.breaker().admit().unwrap();
    get(&console).await.unwrap();
    call.report(crate::upstream::breaker::Verdict::Fine);
    assert!(!console.breaker().is_open());
    rounds.abort();
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    waited.unwrap();
}
