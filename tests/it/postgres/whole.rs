//! A gateway that writes into a database.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use vspc_simulator::Simulator;

use super::COUNT;
use super::cluster::Cluster;
use crate::child::{Caller, Home, command, request, unsigned};
use crate::harness::BILLING;

const AS_ACME: [(&str, &str); 2] = [("x-api-key", BILLING), ("x-tenant", "acme")];

/// A gateway before a simulator, with a sink for the database.
struct Scene {
    cluster: Cluster,
    home: Home,
    _simulator: Simulator,
}

impl Scene {
    async fn new(more: &str) -> Self {
        let cluster = Cluster::start().await;
        let simulator = Simulator::start(unsigned()).await.unwrap();
        let home = Home::new(&simulator.url());
        home.append(&format!(
            "\n[[audit.sinks]]\nname = \"database\"\nkind = \"postgres\"\nfrom = \"start\"\n\
             host = \"{}\"\nport = {}\ndatabase = \"postgres\"\nuser = \"owner\"\n{more}\n",
            cluster.sockets().display(),
            cluster.port,
        ));
        Self {
            cluster,
            home,
            _simulator: simulator,
        }
    }

    /// Sends so many requests; says how long the longest took.
    async fn call(&self, count: usize) -> Duration {
        let mut caller = Caller::new(self.home.address);
        let mut longest = Duration::ZERO;
        for number in 0..count {
            let path = format!("/api/v3/_test/bytes?size={number}");
            let begun = Instant::now();
            let answer = caller.send(request("GET", &path, &AS_ACME, "")).await;
            assert_eq!(answer.unwrap().status, 200);
            longest = longest.max(begun.elapsed());
        }
        longest
    }

    /// Waits until the database has every line of the log, once, to the byte.
    async fn has_all(&self) {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let wanted = self.lines();
            let lines = "SELECT line FROM vspc_gateway.audit_record ORDER BY seq";
            // At first there are no tables.
            let rows = self.cluster.client().await.query(lines, &[]).await;
            let rows = rows.unwrap_or_default();
            let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            if lines == wanted {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} of {}",
                lines.len(),
                wanted.len()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let folder = std::fs::read_dir(self.home.audit_folder()).unwrap();
        let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        });
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(file).unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
        lines
    }
}

#[tokio::test]
async fn whatever_becomes_of_the_database_no_request_waits_and_no_record_is_lost() {
    let mut scene = Scene::new("timeout = \"2s\"").await;
    let gateway = scene.home.start().await;
    scene.call(50).await;
    scene.has_all().await;

    // It dies in the middle.
    scene.call(50).await;
    scene.cluster.kill();
    let longest = scene.call(200).await;
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    gateway.logged("a sink takes no records").await;
    scene.cluster.run();
    scene.cluster.ready().await;
    scene.has_all().await;

    // It hangs.
    scene.cluster.signal("-STOP");
    let longest = scene.call(200).await;
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    let told = || gateway.log().matches("a sink takes no records").count() > 1;
    crate::harness::until_true(told).await;
    scene.cluster.signal("-CONT");
    scene.has_all().await;

    // From the beginning again.
    drop(gateway);
    let offset = scene.home.audit_folder().join("sinks/database.offset");
    std::fs::remove_file(offset).unwrap();
    let _gateway = scene.home.start().await;
    scene.call(10).await;
    scene.has_all().await;
    assert_eq!(
        scene.cluster.number(COUNT).await,
        i64::try_from(scene.lines().len()).unwrap()
    );
    let tenant = "SELECT count(*) FROM vspc_gateway.audit_record
                  WHERE tenant = 'acme' AND kind = 'request' AND status = 200";
    assert_eq!(scene.cluster.number(tenant).await, 510);
}

#[tokio::test]
async fn an_owner_applies_what_the_command_prints() {
    let scene = Scene::new("").await;
    let config = scene.home.config().display().to_string();
    let printed = command(&["audit", "schema", "--config", &config, "--role", "writer"]);
    assert!(printed.status.success(), "{printed:?}");
    scene.cluster.execute("CREATE ROLE writer LOGIN").await;
    let sql = String::from_utf8(printed.stdout).unwrap();
    scene.cluster.execute(&sql).await;
    scene.home.edit("user = \"owner\"", "user = \"writer\"");
    let _gateway = scene.home.start().await;
    scene.call(20).await;
    scene.has_all().await;
    let refused = command(&["audit", "schema", "--config", &config, "--sink", "other"]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("database"), "{text}");
}
