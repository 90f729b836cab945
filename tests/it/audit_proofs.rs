//! What an auditor finds out about a log with `audit verify`, proofs, and what the admin listener tells.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use vspc_gateway::audit::checkpoint::{Checkpoint, VERIFIERS, notes_path};
use vspc_gateway::audit::note::{Note, Signer, VerifierKey};
use vspc_gateway::audit::tree::{Frontier, HASHES, leaf};
use vspc_simulator::Simulator;

use crate::child::{Home, command, once, request, unsigned};
use crate::harness::{Answer, ZABBIX};

/// A log of real requests, and where it is.
struct World {
    _simulator: Simulator,
    home: Home,
}

impl World {
    async fn start() -> Self {
        let simulator = Simulator::start(unsigned()).await.unwrap();
        let home = Home::new(&simulator.url());
        let world = Self {
            _simulator: simulator,
            home,
        };
        let mut gateway = world.home.start().await;
        for _ in 0..5 {
            let headers = [("x-api-key", ZABBIX), ("x-tenant", "acme")];
            let request = request("GET", "/api/v3/users/me", &headers, "");
            once(world.home.address, request).await.unwrap();
        }
        gateway.signal("TERM");
        assert!(gateway.exit().await.success());
        sign_if_unsigned(&world.home.audit_folder());
        world
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let config = self.home.config().display().to_string();
        command(&[&["audit"], arguments, &["--config", &config]].concat())
    }

    fn key(&self) -> String {
        let text = text(&self.run(&["key"]));
        let key = text.lines().find_map(|line| line.strip_prefix("key: "));
        key.unwrap().to_owned()
    }

    fn verify(&self, more: &[&str]) -> (Option<i32>, Value) {
        let done = self.run(&[&["verify", "--format", "json"], more].concat());
        let report = serde_json::from_slice(&done.stdout);
        (
            done.status.code(),
            report.unwrap_or_else(|_| panic!("{done:?}")),
        )
    }

    /// Asks the admin listener, as a command does: under its address.
    async fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", self.home.admin.to_string())
            .header("content-type", "text/plain")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        once(self.home.admin, request.unwrap()).await.unwrap()
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, "").await
    }
}

/// Signs what is there, where no gateway has.
fn sign_if_unsigned(directory: &Path) {
    if directory.join(VERIFIERS).exists() {
        return;
    }
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    names.sort();
    let (mut frontier, mut hashes) = (Frontier::new(), Vec::new());
    for name in names {
        for line in fs::read_to_string(name).unwrap().lines() {
            frontier.push(leaf(line.as_bytes()), &mut hashes);
        }
    }
    let signer = Signer::generate_unnamed().unwrap();
    let checkpoint = Checkpoint {
        origin: signer.verifier().name().to_owned(),
        size: frontier.size(),
        root: frontier.root(),
    };
    let note = signer.sign(&checkpoint.text()).unwrap();
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
    fs::write(directory.join(HASHES), bytes).unwrap();
    fs::write(notes_path(directory, 0), format!("{note}\n")).unwrap();
    fs::write(
        directory.join(VERIFIERS),
        format!("{}\n", signer.verifier()),
    )
    .unwrap();
}

fn text(done: &Output) -> String {
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    String::from_utf8(done.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_sees_that_a_log_is_as_it_was_signed_and_what_was_changed() {
    let world = World::start().await;
    let key = world.key();
    let (code, report) = world.verify(&["--key", &key]);
    assert_eq!(
        (code, &report["sound"]),
        (Some(0), &Value::Bool(true)),
        "{report}"
    );
    assert_eq!(report["keys"], "given");
    assert_eq!(report["covered"], report["next"]);
    assert_eq!(world.verify(&[]).1["keys"], "directory");
    let other = Signer::generate("other").unwrap().verifier().to_string();
    assert_eq!(world.verify(&["--key", &other]).0, Some(1));
    // Without the configuration, over a copy.
    let directory = world.home.audit_folder();
    let done = command(&[
        "audit",
        "verify",
        "--directory",
        directory.to_str().unwrap(),
    ]);
    assert!(
        text(&done).ends_with("the log is what was signed\n"),
        "{done:?}"
    );

    let path = directory.join("00000000000000000000.jsonl");
    let altered = fs::read_to_string(&path)
        .unwrap()
        .replacen("zabbix", "zabbjx", 1);
    let place = altered.find("zabbjx").unwrap();
    let seq = altered.split_at(place).0.matches('\n').count();
    fs::write(&path, altered).unwrap();
    let (code, report) = world.verify(&["--key", &key]);
    assert_eq!(code, Some(1));
    assert_eq!(report["damage"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["damage"][0]["harm"], "altered");
    assert_eq!(report["damage"][0]["first"], seq);
    assert_eq!(report["damage"][0]["file"], path.to_str().unwrap());
    let done = world.run(&["verify"]);
    let shown = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        shown.contains(&format!("DAMAGE altered: record {seq}: ")),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_needs_nothing_but_the_key_of_the_log() {
    let world = World::start().await;
    let key = world.key();
    let out = world.file("record.tlog-proof");
    let proof = out.to_str().unwrap();
    text(&world.run(&["prove", "2", "--out", proof]));
    let line = {
        let path = world.home.audit_folder().join("00000000000000000000.jsonl");
        fs::read_to_string(path)
            .unwrap()
            .lines()
            .nth(2)
            .unwrap()
            .to_owned()
    };
    let shown = text(&command(&["audit", "check", proof, "--key", &key]));
    assert!(
        shown.starts_with("proved: this is record 2 of the log "),
        "{shown}"
    );
    assert!(shown.contains(&line), "{shown}");
    let other = Signer::generate("other").unwrap().verifier().to_string();
    let refused = command(&["audit", "check", proof, "--key", &other]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let missing = world.run(&["prove", "99999999"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&missing.stderr).contains("not covered yet"),
        "{missing:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn monitors_get_checkpoints_proofs_and_tiles_at_the_admin_listener() {
    let world = World::start().await;
    let _gateway = world.home.start().await;
    let key: VerifierKey = world.key().parse().unwrap();
    let answer = world.get("/audit/checkpoint").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let kept = world.file("kept.note");
    fs::write(&kept, &answer.body).unwrap();
    let note = Note::parse(std::str::from_utf8(&answer.body).unwrap()).unwrap();
    assert!(note.verify(std::slice::from_ref(&key)).is_ok());
    let size = Checkpoint::parse(note.text()).unwrap().size;
    assert_eq!(
        world.verify(&["--since", kept.to_str().unwrap()]).0,
        Some(0)
    );

    let answer = world.get("/audit/proof?seq=1").await;
    let proof = world.file("proof");
    fs::write(&proof, &answer.body).unwrap();
    text(&command(&[
        "audit",
        "check",
        proof.to_str().unwrap(),
        "--key",
        &key.to_string(),
    ]));

    let answer = world.get("/audit/tile/0/000.p/2").await;
    let path = world.home.audit_folder().join("00000000000000000000.jsonl");
    let lines = fs::read_to_string(path).unwrap();
    let leaves: Vec<u8> = lines
        .lines()
        .take(2)
        .flat_map(|line| leaf(line.as_bytes()).0)
        .collect();
    assert_eq!(
        (answer.status, answer.body.as_ref()),
        (200, leaves.as_slice())
    );
    let answer = world
        .get(&format!("/audit/consistency?from=1&to={size}"))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for (target, status) in [
        ("/audit/tile/0/999", 404),
        ("/audit/proof?seq=99999999", 404),
        ("/audit/proof", 400),
        ("/audit/consistency?from=0&to=1", 400),
        ("/audit/other", 404),
        ("/audit/cosignatures", 405),
    ] {
        assert_eq!(world.get(target).await.status, status, "{target}");
    }
    let note = note.to_string();
    let answer = world.ask("POST", "/audit/cosignatures", &note).await;
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("no witness is configured"));
}
