//! A copy of an audit log, read on another machine: without a configuration, and left as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use vspc_simulator::Simulator;

use crate::child::{Caller, Home, command, request, unsigned};
use crate::harness::ZABBIX;

/// All files, with what is in them.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_copy_is_read_without_a_configuration_and_nothing_is_written_into_it() {
    let simulator = Simulator::start(unsigned()).await.unwrap();
    let home = Home::new(&simulator.url());
    home.edit("[audit]", "[audit]\nsegment_size = \"64KiB\"");
    let mut gateway = home.start().await;
    let mut caller = Caller::new(home.address);
    for _ in 0..250 {
        let headers = [("x-api-key", ZABBIX), ("x-tenant", "acme")];
        let request = request("GET", "/api/v3/users/me", &headers, "");
        assert_eq!(caller.send(request).await.unwrap().status, 200);
    }
    gateway.signal("TERM");
    assert!(gateway.exit().await.success());

    let copy = home.folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for (name, content) in files(&home.audit_folder()) {
        // Without the key, and without indexes, which a query would make.
        if name != "signing.key" && !name.ends_with(".index") {
            fs::write(copy.join(name), content).unwrap();
        }
    }
    let before = files(&copy);
    assert!(
        before
            .keys()
            .filter(|name| name.ends_with(".jsonl"))
            .count()
            > 2
    );
    let directory = copy.to_str().unwrap();
    let read = |arguments: &[&str]| -> Output {
        command(&[&["audit"], arguments, &["--directory", directory]].concat())
    };
    let all = home.records().len();
    for (arguments, lines) in [
        (&["query", "--format", "json"][..], all),
        (&["query", "--count"], 1),
        (&["export", "--format", "ecs"], all),
        (&["tail", "-n", "5", "--format", "json"], 5),
    ] {
        let done = read(arguments);
        assert!(done.status.success(), "{arguments:?} {done:?}");
        let shown = String::from_utf8(done.stdout).unwrap();
        assert_eq!(shown.lines().count(), lines, "{arguments:?}");
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(said.matches("not recorded").count(), 1, "{said}");
    }
    let proof = read(&["prove", "3"]);
    assert!(proof.status.success(), "{proof:?}");
    assert!(String::from_utf8_lossy(&proof.stdout).starts_with("c2sp.org/tlog-proof@v1"));
    assert_eq!(files(&copy), before);

    let config = home.config().display().to_string();
    let both = read(&["query", "--config", &config]);
    assert_eq!(both.status.code(), Some(64), "{both:?}");
    let nowhere = copy.join("nowhere");
    let none = command(&["audit", "query", "--directory", nowhere.to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert!(!nowhere.exists());
}
