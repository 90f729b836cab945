//! The syslog daemon of Debian, started by the test.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::seq_of;
use crate::child::free_address;
use crate::harness::until_true_async;

const PROGRAM: &str = "/usr/sbin/rsyslogd";
const TLS: &str = "/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so";

pub(super) struct Rsyslog {
    folder: TempDir,
    address: SocketAddr,
    child: Child,
}

/// What the daemon has written of a message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) time: String,
    pub(super) app: String,
    pub(super) kind: String,
    pub(super) data: String,
    pub(super) facility: String,
    pub(super) text: String,
}

impl Rsyslog {
    /// Starts a daemon, with TLS where it gets a certificate and its key. None where it is not
    /// installed, which is a failure in CI.
    pub(super) async fn start(tls: Option<(String, String)>) -> Option<Self> {
        for needed in [Some(PROGRAM), tls.is_some().then_some(TLS)]
            .into_iter()
            .flatten()
        {
            if !Path::new(needed).exists() {
                let why = format!("{needed} is missing: apt-get install rsyslog rsyslog-openssl");
                assert!(std::env::var_os("CI").is_none(), "{why}");
                let told = format!("SKIPPED, NOTHING WAS TESTED: {why}\n");
                std::io::stderr().write_all(told.as_bytes()).unwrap();
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let at = folder.path().display();
        let (driver, mode) = match &tls {
            None => (String::new(), ""),
            Some((certificate, key)) => {
                std::fs::write(folder.path().join("cert.pem"), certificate).unwrap();
                std::fs::write(folder.path().join("key.pem"), key).unwrap();
                let files = format!(
                    " DefaultNetstreamDriver=\"ossl\" DefaultNetstreamDriverCAFile=\"{at}/cert.pem\" \
                     DefaultNetstreamDriverCertFile=\"{at}/cert.pem\" \
                     DefaultNetstreamDriverKeyFile=\"{at}/key.pem\""
                );
                let mode = " StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" \
                            StreamDriver.AuthMode=\"anon\"";
                (files, mode)
            }
        };
        let config = format!(
            "global(workDirectory=\"{at}\" maxMessageSize=\"64k\"{driver})\n\
             module(load=\"imtcp\"{mode})\n\
             template(name=\"line\" type=\"string\" string=\"%timereported:::date-rfc3339%\\t\
             %app-name%\\t%msgid%\\t%structured-data%\\t%syslogfacility-text%\\t%msg%\\n\")\n\
             ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{at}/out\" template=\"line\") }}\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{}\" ruleset=\"all\")\n",
            address.port()
        );
        std::fs::write(folder.path().join("rsyslog.conf"), config).unwrap();
        let child = run(folder.path());
        let mut daemon = Self {
            folder,
            address,
            child,
        };
        daemon.listens().await;
        Some(daemon)
    }

    /// The settings of a sink that sends to it.
    pub(super) fn sink(&self, more: &str) -> String {
        format!("kind = \"syslog\"\naddress = \"{}\"\n{more}", self.address)
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) async fn restart(&mut self) {
        // It would not start beside itself.
        std::fs::remove_file(self.folder.path().join("pid")).ok();
        self.child = run(self.folder.path());
        self.listens().await;
    }

    async fn listens(&mut self) {
        until_true_async(async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("rsyslogd ended with {status}");
            }
            TcpStream::connect(self.address).await.is_ok()
        })
        .await;
    }

    /// What it has got so far, whole lines only.
    pub(super) fn records(&self) -> Vec<Message> {
        let text = std::fs::read_to_string(self.folder.path().join("out")).unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'));
        let message = |line: &str| {
            let mut parts = line.splitn(6, '\t').map(str::to_owned);
            let mut part = || parts.next().unwrap_or_else(|| panic!("{line:?}"));
            Message {
                time: part(),
                app: part(),
                kind: part(),
                data: part(),
                facility: part(),
                text: part(),
            }
        };
        whole.map(message).collect()
    }

    /// The numbers of the records that it has got.
    pub(super) fn seqs(&self) -> BTreeSet<u64> {
        let seq = |message: Message| {
            let line: Value = serde_json::from_str(&message.text).unwrap();
            seq_of(&line)
        };
        self.records().into_iter().map(seq).collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn run(folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("rsyslogd.log")).unwrap();
    Command::new(PROGRAM)
        .args(["-n", "-f"])
        .arg(folder.join("rsyslog.conf"))
        .arg("-i")
        .arg(folder.join("pid"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("rsyslogd can be run")
}
