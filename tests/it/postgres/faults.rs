//! A server that dies, hangs, or refuses.

use std::time::Duration;

use tokio::time::timeout;

use super::cluster::Cluster;
use super::{COUNT, Write as _, sink, usuals};

#[tokio::test]
async fn a_server_killed_in_the_middle_loses_and_doubles_nothing() {
    let mut cluster = Cluster::start().await;
    let mut sink = sink(&cluster);
    sink.send(&usuals(0..1_000)).await.unwrap();
    let (last, batch) = (31_000, 2_000);
    let mut next = 1_000;
    let (mut failed, mut attempt) = (0, 0);
    while next < last {
        attempt += 1;
        let items = usuals(next..next + batch);
        let written = sink.send(&items);
        // Killed between two reads of whatever it is at.
        let written = match attempt % 4 {
            1 => {
                let kill = Duration::from_millis(attempt * 4);
                let (written, ()) = tokio::join!(written, async {
                    tokio::time::sleep(kill).await;
                    cluster.kill();
                });
                written
            }
            _ => written.await,
        };
        match written {
            Ok(()) => next += batch,
            Err(error) => {
                failed += 1;
                assert!(failed < 100, "{error}");
                cluster.ready().await;
            }
        }
    }
    assert!(failed > 2);
    let all = "SELECT count(*) - count(DISTINCT seq) + max(seq) - min(seq) - count(*) + 1
               FROM vspc_gateway.audit_record";
    assert_eq!(cluster.number(all).await, 0);
    assert_eq!(cluster.number(COUNT).await, i64::try_from(next).unwrap());
}

#[tokio::test]
async fn a_server_that_hangs_can_be_given_up_and_taken_again() {
    let cluster = Cluster::start().await;
    let mut sink = sink(&cluster);
    sink.send(&usuals(0..1_000)).await.unwrap();
    cluster.signal("-STOP");
    let short = Duration::from_millis(300);
    for _ in 0..3 {
        let given_up = timeout(short, sink.send(&usuals(1_000..5_000))).await;
        assert!(given_up.is_err());
    }
    cluster.signal("-CONT");
    let rest = usuals(1_000..5_000);
    let written = timeout(Duration::from_secs(30), sink.send(&rest));
    written.await.unwrap().unwrap();
    assert_eq!(cluster.number(COUNT).await, 5_000);
}

#[tokio::test]
async fn refusals_name_the_remedy_and_end_when_it_is_applied() {
    let cluster = Cluster::start().await;
    let mut sink = sink(&cluster);
    sink.send(&usuals(0..10)).await.unwrap();
    for (fault, said, remedy) in [
        (
            "ALTER SYSTEM SET default_transaction_read_only = on",
            "standby",
            "ALTER SYSTEM RESET default_transaction_read_only",
        ),
        (
            "ALTER TABLE vspc_gateway.audit_record RENAME TO other",
            "audit schema",
            "ALTER TABLE vspc_gateway.other RENAME TO audit_record",
        ),
        (
            "ALTER DATABASE postgres RENAME TO other",
            "correct `database`",
            "ALTER DATABASE other RENAME TO postgres",
        ),
    ] {
        apply(&cluster, fault).await;
        let error = sink.send(&usuals(10..20)).await.unwrap_err();
        assert!(error.to_string().contains(said), "{fault}: {error}");
        apply(&cluster, remedy).await;
        sink.send(&usuals(10..20)).await.unwrap();
    }
    assert_eq!(cluster.number(COUNT).await, 20);
}

/// Runs one statement in another database, and ends all other connections.
async fn apply(cluster: &Cluster, sql: &str) {
    let mut config = cluster.config();
    config.dbname("template1");
    let in_table = sql.contains("TABLE");
    if in_table {
        config.dbname("postgres");
    }
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let end_others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                      WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    client
        .batch_execute("SET default_transaction_read_only = off")
        .await
        .unwrap();
    client.batch_execute(end_others).await.unwrap();
    client.batch_execute(sql).await.unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    if !in_table {
        // The next connection sees it.
        let seen = async {
            loop {
                let (other, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                let row = other
                    .query_one("SHOW default_transaction_read_only", &[])
                    .await;
                let is_on = row.unwrap().get::<_, String>(0) == "on";
                if is_on == sql.contains("= on") {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(10), seen).await.unwrap();
    }
}
