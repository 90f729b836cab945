//! Records in a real PostgreSQL server.

mod cluster;
mod faults;
mod rows;
mod schema;
mod secured;

use vspc_gateway::audit::sinks::postgres::{Fault, Host, Names, Postgres, Settings, Source};

use cluster::Cluster;

pub(crate) const ORIGIN: &str = "vspc-gateway/test";

/// A sink that writes as the owner, over the socket.
fn settings(cluster: &Cluster) -> Settings {
    Settings {
        hosts: vec![Host::Socket(cluster.sockets(), cluster.port)],
        database: "postgres".to_owned(),
        user: "owner".to_owned(),
        password: None,
        tls: None,
        names: Names::default(),
        application_name: "vspc-gateway".to_owned(),
    }
}

fn sink(cluster: &Cluster) -> Postgres {
    Postgres::new(settings(cluster))
}

/// A record of the log of these tests.
#[derive(Clone, Debug)]
struct Item {
    seq: u64,
    line: Vec<u8>,
}

trait Write {
    async fn send(&mut self, items: &[Item]) -> Result<(), Fault>;
}

impl Write for Postgres {
    async fn send(&mut self, items: &[Item]) -> Result<(), Fault> {
        let sources = items.iter().map(|item| Source {
            seq: item.seq,
            origin: ORIGIN,
            line: &item.line,
        });
        let sources: Vec<_> = sources.collect();
        self.write(&sources).await
    }
}

fn item(seq: u64, line: impl Into<Vec<u8>>) -> Item {
    Item {
        seq,
        line: line.into(),
    }
}

/// A usual record. There are a hundred in a second.
fn usual(seq: u64) -> Item {
    let (second, part) = (seq / 100 % 60, seq % 100);
    let minute = seq / 6000 % 60;
    let uid = seq % 50;
    item(
        seq,
        format!(
            r#"{{"seq":{seq},"time":"2026-03-04T05:{minute:02}:{second:02}.{part:02}0000Z","kind":"request","request_id":"01KJW{seq:021}","config":"3f9a","client":"client-{}","credential":"api_key:12345678","source":"10.0.{}.7","tenant":"tenant-{uid}","mapping":"mapping.tenant_header","console":"main","target":{{"uid":"00000000-0000-4000-8000-{uid:012}","name":"user-{uid}"}},"operation":"plain","method":"GET","path":"/api/v3/organizations/companies/{seq}","query":"limit=100","rule":"allow[0]","code":"{}","status":{},"bytes_in":0,"bytes_out":4312,"duration_us":8123,"attempts":1,"lease":"0123456789abcdef"}}"#,
            seq % 20,
            seq % 250,
            if seq % 100 == 99 {
                "operation_denied"
            } else {
                "ok"
            },
            if seq % 100 == 99 { 403 } else { 200 },
        ),
    )
}

fn usuals(seqs: std::ops::Range<u64>) -> Vec<Item> {
    seqs.map(usual).collect()
}

const COUNT: &str = "SELECT count(*) FROM vspc_gateway.audit_record";
