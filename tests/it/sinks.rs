//! Other places that get the records of the audit log: a real syslog daemon, and receivers that are
//! slow, refuse, hang or are not there. Tests assert on what the other end has.

mod receiver;
mod rsyslog;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prost::Message as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::Instant;
use vspc_simulator::Simulator;

use crate::child::{Caller, Gateway, Home, command, get, request, unsigned};
use crate::harness::{BILLING, until_true, write_secret};
use crate::tls_front::{Authority, Wish};
use receiver::{Post, Receiver, Reply};
use rsyslog::Rsyslog;

const AS_ACME: [(&str, &str); 2] = [("x-api-key", BILLING), ("x-tenant", "acme")];

/// The number of a record.
fn seq_of(record: &Value) -> u64 {
    record.get("seq").and_then(Value::as_u64).unwrap()
}

/// A gateway with a sink, and requests through it.
struct World {
    home: Home,
    _simulator: Simulator,
}

impl World {
    async fn new(sink: &str) -> Self {
        let simulator = Simulator::start(unsigned()).await.unwrap();
        let home = Home::new(&simulator.url());
        home.append(&format!(
            "\n[[audit.sinks]]\nname = \"s\"\nfrom = \"start\"\n{sink}\n"
        ));
        Self {
            home,
            _simulator: simulator,
        }
    }

    /// Sends so many requests; every one is answered.
    async fn call(&self, count: usize) {
        let mut caller = Caller::new(self.home.address);
        for number in 0..count {
            let path = format!("/api/v3/_test/bytes?size={number}&limit={number}");
            let answer = caller.send(request("GET", &path, &AS_ACME, "")).await;
            assert_eq!(answer.unwrap().status, 200);
        }
    }

    async fn stop(&self, gateway: &mut Gateway) {
        gateway.signal("TERM");
        assert!(gateway.exit().await.success(), "{}", gateway.log());
    }

    /// The numbers of all records in the log.
    fn logged(&self) -> BTreeSet<u64> {
        let records = self.home.records();
        records.iter().map(seq_of).collect()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.audit_folder().join("sinks").join(name)
    }

    /// A number of the sink's, from the metrics.
    async fn metric(&self, name: &str) -> f64 {
        let answer = get(self.home.admin, "/metrics", &[]).await.unwrap();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let start = format!("vspc_gateway_audit_sink_{name}{{sink=\"s\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {start}: {text}"))
            .parse()
            .unwrap()
    }
}

#[tokio::test]
async fn a_syslog_daemon_that_is_killed_in_the_middle_has_every_record_in_the_end() {
    let Some(mut daemon) = Rsyslog::start(None).await else {
        return;
    };
    let world = World::new(&daemon.sink("")).await;
    let mut gateway = world.home.start().await;
    world.call(40).await;
    until_true(|| daemon.records().len() >= 40).await;
    daemon.kill();
    world.call(40).await;
    daemon.restart().await;
    world.call(40).await;
    world.stop(&mut gateway).await;
    let logged = world.logged();
    assert!(logged.len() > 120);
    until_true(|| daemon.seqs() == logged).await;
    // What came is the log's own line, and its header says what is in it.
    let lines: BTreeSet<String> = world.home.records().iter().map(Value::to_string).collect();
    for message in daemon.records() {
        let line: Value = serde_json::from_str(&message.text).unwrap();
        assert!(lines.contains(&line.to_string()));
        assert_eq!(message.app, "vspc-gateway");
        assert_eq!(message.kind, line["kind"]);
        assert_eq!(message.time, line["time"]);
        assert_eq!(message.facility, "audit");
        let seq = format!("seq=\"{}\"", line["seq"]);
        assert!(message.data.contains(&seq), "{}", message.data);
        assert!(
            message.data.starts_with("[audit@32473 id=\""),
            "{}",
            message.data
        );
    }
}

#[tokio::test]
async fn a_syslog_daemon_is_spoken_with_over_tls_and_not_if_it_is_not_believed() {
    let (ours, other) = (Authority::new(), Authority::new());
    let identity = ours.sign(&Wish::default());
    let pair = (identity.pem.clone(), identity.key_pem.clone());
    let Some(daemon) = Rsyslog::start(Some(pair)).await else {
        return;
    };
    let world = World::new(&daemon.sink("tls = { ca = \"ca.pem\" }")).await;
    let ca = world.home.folder.path().join("ca.pem");
    other.write(&ca);
    let mut gateway = world.home.start().await;
    world.call(5).await;
    gateway.logged("no TLS with 127.0.0.1").await;
    assert!(daemon.records().is_empty());
    assert!(world.metric("failing").await > 0.5);
    // The file is read again.
    ours.write(&ca);
    until_true(|| daemon.records().len() >= 5).await;
    world.stop(&mut gateway).await;
    until_true(|| daemon.seqs() == world.logged()).await;
    let log = gateway.log();
    assert!(log.contains("a sink takes records again"), "{log}");
    // The daemon ended its half in order, at the end: otherwise nothing would ever be settled.
    assert!(!log.contains("did not read to the end"), "{log}");
}

#[tokio::test]
async fn a_receiver_that_hangs_slows_no_request_and_not_the_end_either() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sink = format!("kind = \"webhook\"\nurl = \"http://{address}/\"\ntimeout = \"2s\"");
    let world = World::new(&sink).await;
    let mut gateway = world.home.start().await;
    // It takes the connection and never says anything.
    let (_held, _) = listener.accept().await.unwrap();
    let begun = Instant::now();
    world.call(200).await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    gateway.logged("no answer within 2 s").await;
    assert!(world.metric("failures").await >= 1.0);
    assert!(world.metric("lag_records").await >= 200.0);
    let ready = get(world.home.admin, "/readyz", &[]).await.unwrap();
    assert_eq!(ready.status, 200);
    let begun = Instant::now();
    world.stop(&mut gateway).await;
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_receiver_that_takes_ten_seconds_gets_everything_once_and_in_order() {
    let receiver = Receiver::start(|number, _| match number {
        0 => Reply::After(Duration::from_secs(10)),
        _ => Reply::Status(StatusCode::OK, None),
    })
    .await;
    let world = World::new(&receiver.webhook("")).await;
    let mut gateway = world.home.start().await;
    let begun = Instant::now();
    world.call(200).await;
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    until_true(|| receiver.seqs().len() >= 200).await;
    world.stop(&mut gateway).await;
    let expected: Vec<u64> = world.logged().into_iter().collect();
    assert_eq!(receiver.seqs(), expected);
    assert!(
        !gateway.log().contains("takes no records"),
        "{}",
        gateway.log()
    );
}

#[tokio::test]
async fn a_record_that_is_refused_is_put_aside_and_the_others_are_sent() {
    let is_poison = |line: &Value| {
        let query = line["query"].as_str().unwrap_or_default();
        query.ends_with("limit=3") && line["kind"] == "request"
    };
    let receiver =
        Receiver::start(
            move |_, post: &Post| match post.lines().iter().any(is_poison) {
                true => Reply::Status(StatusCode::UNPROCESSABLE_ENTITY, Some("no threes")),
                false => Reply::Status(StatusCode::NO_CONTENT, None),
            },
        )
        .await;
    let world = World::new(&receiver.webhook("")).await;
    let mut gateway = world.home.start().await;
    world.call(10).await;
    until_true(|| world.path("s.refused").exists()).await;
    while world.metric("set_aside_records").await < 0.5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.stop(&mut gateway).await;
    let refused = std::fs::read_to_string(world.path("s.refused")).unwrap();
    let [refused] = &*refused.lines().collect::<Vec<_>>() else {
        panic!("{refused}");
    };
    let refused: Value = serde_json::from_str(refused).unwrap();
    assert!(is_poison(&refused["record"]));
    let why = refused["why"].as_str().unwrap();
    assert!(why.contains("422") && why.contains("no threes"), "{why}");
    let mut taken = receiver.seqs();
    taken.push(refused["record"]["seq"].as_u64().unwrap());
    taken.sort_unstable();
    assert_eq!(taken, world.logged().into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_sink_goes_on_after_a_restart_and_after_the_receiver_was_away() {
    let mut receiver = Receiver::start(|_, _| Reply::Status(StatusCode::OK, None)).await;
    let sink = receiver.webhook("checkpoints = false");
    let world = World::new(&sink).await;
    let mut gateway = world.home.start().await;
    world.call(10).await;
    world.stop(&mut gateway).await;
    assert_eq!(
        receiver.seqs(),
        world.logged().into_iter().collect::<Vec<_>>()
    );
    receiver.stop().await;
    let mut gateway = world.home.start().await;
    world.call(50).await;
    gateway.logged("a sink takes no records").await;
    world.stop(&mut gateway).await;
    receiver.resume().await;
    let mut gateway = world.home.start().await;
    world.call(5).await;
    world.stop(&mut gateway).await;
    assert_eq!(
        receiver.seqs(),
        world.logged().into_iter().collect::<Vec<_>>()
    );
    let stored = std::fs::read_to_string(world.path("s.offset")).unwrap();
    assert_eq!(stored, format!("{}\n", world.logged().len()));

    // Taken out of the file: told, and kept.
    world.home.edit(&sink, "");
    world
        .home
        .edit("[[audit.sinks]]\nname = \"s\"\nfrom = \"start\"\n", "");
    let mut gateway = world.home.start().await;
    gateway.logged("no longer configured").await;
    world.stop(&mut gateway).await;
    assert!(world.path("s.offset").exists());
}

#[tokio::test]
async fn what_a_receiver_refused_is_sent_again_when_an_operator_says_so() {
    let refuses = Arc::new(AtomicBool::new(true));
    let answers = Arc::clone(&refuses);
    let receiver = Receiver::start(move |_, _| {
        let status = match answers.load(Ordering::Relaxed) {
            true => StatusCode::UNPROCESSABLE_ENTITY,
            false => StatusCode::OK,
        };
        Reply::Status(status, None)
    })
    .await;
    let world = World::new(&receiver.webhook("")).await;
    let config = world.home.config().display().to_string();
    let sinks =
        |more: &[&str]| command(&[&["audit", "sinks"], more, &["--config", &config]].concat());
    let standing = || -> Value { serde_json::from_slice(&sinks(&[]).stdout).unwrap() };
    let mut gateway = world.home.start().await;
    world.call(3).await;
    until_true(|| world.path("s.refused").exists()).await;
    // It is set right: what comes is taken, what was put aside is not sent by itself.
    refuses.store(false, Ordering::Relaxed);
    world.call(3).await;
    until_true(|| standing()["lag"] == 0).await;
    let before = standing();
    let refused = before["refused"].as_u64().unwrap();
    assert!(refused > 0 && before["configured"] == true, "{before}");
    let missing = || world.logged().len() - receiver.seqs().len();
    until_true(|| u64::try_from(missing()).unwrap() == refused).await;

    let done = sinks(&["resend", "s"]);
    assert!(done.status.success(), "{done:?}");
    until_true(|| !world.path("s.resend").exists()).await;
    until_true(|| standing()["lag"] == 0).await;
    world.stop(&mut gateway).await;
    let taken: BTreeSet<u64> = receiver.seqs().into_iter().collect();
    assert_eq!(taken, world.logged());
    let records = world.home.records();
    let record = records
        .iter()
        .find(|it| it["operation"] == "audit.sink_resent");
    assert_eq!(record.unwrap()["code"], "ok");

    let nothing = sinks(&["resend", "s"]);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    assert_eq!(sinks(&["resend", "t"]).status.code(), Some(64));
}

#[tokio::test]
async fn a_webhook_can_tell_who_posts_what() {
    let receiver = Receiver::start(|_, _| Reply::Status(StatusCode::OK, None)).await;
    let more = "format = \"array\"\nkinds = [\"request\"]\ntoken = { file = \"token\" }\n\
                token_header = \"X-Api-Key\"\nsigning_secret = { file = \"signing\" }";
    let world = World::new(&receiver.webhook(more)).await;
    write_secret(&world.home.folder.path().join("token"), "let-me-in");
    write_secret(&world.home.folder.path().join("signing"), "between-us");
    let mut gateway = world.home.start().await;
    world.call(3).await;
    world.stop(&mut gateway).await;
    let posts = receiver.posts();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"between-us");
    for post in &posts {
        let header = |name: &str| post.headers[name].to_str().unwrap();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("x-api-key"), "let-me-in");
        let signature = hex::encode(aws_lc_rs::hmac::sign(&key, &post.body));
        assert_eq!(header("x-gateway-signature"), format!("sha256={signature}"));
        let records: Vec<Value> = serde_json::from_slice(&post.body).unwrap();
        assert!(records.iter().all(|record| record["kind"] == "request"));
        let (first, last) = (&records[0]["seq"], &records.last().unwrap()["seq"]);
        let ids = header("idempotency-key");
        let expected = match records.len() {
            1 => format!("#{first}"),
            _ => format!("#{first}-{last}"),
        };
        assert!(ids.ends_with(&expected), "{ids} {expected}");
    }
    let log = gateway.log();
    assert!(
        !log.contains("let-me-in") && !log.contains("between-us"),
        "{log}"
    );
    // Those of other kinds were passed over, not left.
    let stored = std::fs::read_to_string(world.path("s.offset")).unwrap();
    assert_eq!(stored, format!("{}\n", world.logged().len()));
}

#[tokio::test]
async fn a_collector_gets_logs_says_when_and_what_it_does_not_take_is_put_aside() {
    let partial = ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records: 1,
            error_message: "too long".to_owned(),
        }),
    };
    let receiver = Receiver::start(move |number, _| match number {
        0 => Reply::Later(2),
        1 => Reply::Body(partial.encode_to_vec()),
        _ => Reply::Status(StatusCode::OK, None),
    })
    .await;
    let sink = format!(
        "kind = \"otlp\"\nurl = \"{}/v1/logs\"\ntoken = {{ file = \"token\" }}",
        receiver.url()
    );
    let world = World::new(&sink).await;
    write_secret(&world.home.folder.path().join("token"), "let-me-in");
    let begun = Instant::now();
    let mut gateway = world.home.start().await;
    until_true(|| world.path("s.refused").exists()).await;
    assert!(begun.elapsed() >= Duration::from_secs(2));
    world.call(10).await;
    world.stop(&mut gateway).await;
    let mut seqs = BTreeSet::new();
    for post in receiver.posts() {
        assert_eq!(post.path, "/v1/logs");
        assert_eq!(post.headers["content-type"], "application/x-protobuf");
        assert_eq!(post.headers["authorization"], "Bearer let-me-in");
        let request = ExportLogsServiceRequest::decode(&*post.body).unwrap();
        for record in &request.resource_logs[0].scope_logs[0].log_records {
            let body = format!("{:?}", record.body);
            assert!(body.contains("seq"), "{body}");
            let seq = record
                .attributes
                .iter()
                .find(|pair| pair.key == "audit.seq");
            let seq = format!("{:?}", seq.unwrap().value);
            let digits: String = seq.chars().filter(char::is_ascii_digit).collect();
            seqs.insert(digits.parse::<u64>().unwrap());
        }
    }
    assert_eq!(seqs, world.logged());
    let refused = std::fs::read_to_string(world.path("s.refused")).unwrap();
    assert!(refused.contains("too long"), "{refused}");
}

#[test]
fn check_names_every_fault_of_a_sink() {
    let home = Home::new("http://127.0.0.1:9");
    home.append(
        "[[audit.sinks]]\nname = \"a\"\nkind = \"syslog\"\naddress = \"logs.example.com:514\"\n\
         facility = \"loud\"\nbatch = 0\n\
         [[audit.sinks]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"http://hook.example.com/\"\n\
         kinds = [\"requests\"]\nsigning_secret = \"hunter2\"\ntoken_header = \"X-Key\"\n\
         [[audit.sinks]]\nname = \"c\"\nkind = \"carrier pigeon\"\nfrom = \"here\"\n",
    );
    let config = home.config().display().to_string();
    let checked = command(&["check", "--config", &config]);
    let told = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(64), "{told}");
    for fault in [
        "audit.sinks[0].tls: is missing: the network would see every record",
        "audit.sinks[0].facility: must be one of kern",
        "audit.sinks[0].batch: must be between",
        "audit.sinks[1].name: another sink is called \"a\"",
        "audit.sinks[1].url: plain HTTP would show",
        "audit.sinks[1].kinds[0]: must be one of admin",
        "audit.sinks[1].signing_secret: secrets stand in files",
        "audit.sinks[1].token_header: means nothing",
        "audit.sinks[2].kind: must be",
        "audit.sinks[2].from: must be",
    ] {
        assert!(told.contains(fault), "no {fault:?} in {told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
    // Whoever may read the log need not be able to read the sinks' secrets.
    let home = Home::new("http://127.0.0.1:9");
    home.append(
        "[[audit.sinks]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"https://hook.example.com/\"\n\
         token = { file = \"nobody-may-read-this\" }\n",
    );
    std::fs::create_dir(home.audit_folder()).unwrap();
    let config = home.config().display().to_string();
    let tail = command(&["audit", "tail", "--config", &config]);
    assert!(tail.status.success(), "{tail:?}");
}
