//! Records in a real PostgreSQL server.

mod cluster;
mod faults;
mod rows;
mod schema;
mod secured;
mod usual;
mod whole;

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

fn usual(seq: u64) -> Item {
    item(seq, usual::line(seq))
}

fn usuals(seqs: std::ops::Range<u64>) -> Vec<Item> {
    seqs.map(usual).collect()
}

const COUNT: &str = "SELECT count(*) FROM vspc_gateway.audit_record";
