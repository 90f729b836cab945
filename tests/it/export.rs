//! What `audit export` makes of a log of real requests, of the real binary.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::process::{Command, Output};

use serde_json::Value;
use vspc_simulator::{Simulator, seed};

use crate::child::{Gateway, Home, command, get, unsigned};
use crate::harness::{ADMIN, until_true};

const ME: &str = "/api/v3/users/me";

struct World {
    _simulator: Simulator,
    home: Home,
    _gateway: Gateway,
}

impl World {
    /// A gateway that served one request and refused one.
    async fn start() -> Self {
        let simulator = Simulator::start(unsigned()).await.unwrap();
        let home = Home::new(&simulator.url());
        let gateway = home.start().await;
        for (key, status) in [(ADMIN, 200), ("vgk_wrong_00000000000000000000000000", 401)] {
            let headers = [("x-api-key", key), ("x-tenant", "acme")];
            let answer = get(home.address, ME, &headers).await.unwrap();
            assert_eq!(answer.status, status, "{answer:?}");
        }
        let is_outcome = |record: &&Value| record["kind"] == "request";
        until_true(|| home.records().iter().filter(is_outcome).count() == 2).await;
        Self {
            _simulator: simulator,
            home,
            _gateway: gateway,
        }
    }

    fn export(&self, options: &[&str]) -> Output {
        let config = self.home.config().display().to_string();
        command(&[&["audit", "export", "--config", &config], options].concat())
    }
}

fn lines(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn what_a_query_finds_is_exported_in_each_form() {
    let world = World::start().await;
    let records = world.home.records();
    let all = lines(&world.export(&["--format", "cloudevents", "--to-seq", "1000"]));
    for (event, record) in all.iter().zip(&records) {
        assert_eq!(event["data"], *record);
        assert_eq!(event["time"], record["time"]);
        let id = event["id"].as_str().unwrap();
        assert!(id.ends_with(&format!("#{}", record["seq"])), "{id}");
    }
    assert!(all.len() >= records.len());
    let served = ["--kind", "request", "--status", "2xx"];
    let [ecs] = &lines(&world.export(&[&["--format", "ecs"], &served[..]].concat()))[..] else {
        panic!("there is one")
    };
    let target = seed::ACME_OWNER.uid.to_string();
    assert_eq!(ecs["user"]["effective"]["id"], target);
    assert_eq!(ecs["organization"]["name"], "acme");
    assert_eq!(ecs["event"]["outcome"], "success");
    let refused = ["--format", "ocsf", "--refused", "--kind", "request"];
    let [ocsf] = &lines(&world.export(&refused))[..] else {
        panic!("there is one")
    };
    assert_eq!(ocsf["class_uid"], 6003);
    assert_eq!(ocsf["status_code"], "bad_credentials");
    let token = ["--format", "ocsf", "--kind", "token", "--operation", "as"];
    let [ocsf] = &lines(&world.export(&token))[..] else {
        panic!("there is one")
    };
    assert_eq!(
        (&ocsf["class_uid"], &ocsf["user"]["uid"]),
        (&3002.into(), &target.into())
    );
    assert!(lines(&world.export(&["--format", "ocsf", "--client", "nobody"])).is_empty());
}

#[tokio::test]
async fn a_file_is_there_when_all_is_in_it_and_nobody_else_reads_it() {
    let world = World::start().await;
    let file = world.home.folder.path().join("export.json");
    let path = file.display().to_string();
    let done = world.export(&["--format", "ecs", "--kind", "request", "--out", &path]);
    assert!(lines(&done).is_empty());
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 2);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!file.with_extension("json.part").exists());
    let nowhere = world.home.folder.path().join("none/export.json");
    let path = nowhere.display().to_string();
    let failed = world.export(&["--format", "ecs", "--out", &path]);
    assert_eq!(failed.status.code(), Some(1));
    let error = String::from_utf8(failed.stderr).unwrap();
    assert!(error.contains("--out"), "{error}");
}

/// `/dev/null`, say, would else be a file from then on.
#[tokio::test]
async fn what_is_no_file_is_written_to_and_not_replaced() {
    let world = World::start().await;
    let pipe = world.home.folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    let path = pipe.display().to_string();
    let done = world.export(&["--format", "ecs", "--kind", "request", "--out", &path]);
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(reader.join().unwrap().lines().count(), 2);
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
}

#[tokio::test]
async fn a_record_that_says_no_time_is_told_and_the_others_are_exported() {
    let home = Home::new("http://127.0.0.1:9");
    std::fs::create_dir_all(home.audit_folder()).unwrap();
    let log = "{\"seq\":0,\"time\":\"2026-03-04T05:06:07.000089Z\",\"kind\":\"admin\"}\n{\"seq\":1,\"kind\":\"admin\"}\n";
    let name = format!("{:020}.jsonl", 0);
    std::fs::write(home.audit_folder().join(name), log).unwrap();
    let config = home.config().display().to_string();
    let export = ["audit", "export", "--config", &config, "--format", "ocsf"];
    let done = command(&export);
    assert_eq!(done.status.code(), Some(0));
    // The other one is the log's own, of the tree that it has from now on.
    assert_eq!(done.stdout.iter().filter(|byte| **byte == b'\n').count(), 2);
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(told.contains("1 records have no time"), "{told}");
    let strict = command(&[&export[..], &["--strict"]].concat());
    assert_eq!(strict.status.code(), Some(1));
    let unknown = command(&["audit", "export", "--config", &config, "--format", "syslog"]);
    assert_eq!(unknown.status.code(), Some(64));
    let error = String::from_utf8(unknown.stderr).unwrap();
    assert!(error.contains("cloudevents"), "{error}");
}
