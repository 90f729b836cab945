//! How the tables come about, and who may make them.

use vspc_gateway::audit::sinks::postgres::{Names, Postgres, Settings, VERSION, script};

use super::cluster::Cluster;
use super::{COUNT, Write as _, settings, sink, usuals};

/// The first version as it was released, with a record.
const FIRST: &str = include_str!("version_1.sql");

const HAS_VERSION: &str = "SELECT max(version)::bigint FROM vspc_gateway.audit_schema";

#[tokio::test]
async fn tables_of_version_1_come_up_to_date_with_what_they_hold() {
    let cluster = Cluster::start().await;
    cluster.execute(FIRST).await;
    assert_eq!(cluster.number(HAS_VERSION).await, 1);
    sink(&cluster).send(&usuals(0..10)).await.unwrap();
    assert_eq!(cluster.number(COUNT).await, 11);
    let version = i64::try_from(VERSION).unwrap();
    assert_eq!(cluster.number(HAS_VERSION).await, version);

    // What an owner applies by hand leads to the same tables.
    let names = Names::new("by_hand", "x_").unwrap();
    let in_other = FIRST
        .replace("vspc_gateway", "by_hand")
        .replace("audit_", "x_");
    cluster.execute(&in_other).await;
    cluster.execute(&script(&names, 1, None)).await;
    let tables = |schema: &str, prefix: &str| {
        format!(
            "SELECT replace(string_agg(table_name || '.' || column_name || ' ' || data_type, ', '
                    ORDER BY table_name COLLATE \"C\", column_name COLLATE \"C\"), '{prefix}', '')
             FROM information_schema.columns
             WHERE table_schema = '{schema}' AND table_name !~ '_20'"
        )
    };
    let own: String = cluster.rows(&tables("vspc_gateway", "audit_")).await[0].get(0);
    let by_hand: String = cluster.rows(&tables("by_hand", "x_")).await[0].get(0);
    assert_eq!(own, by_hand);
    // Once applied it is refused.
    let again = cluster
        .client()
        .await
        .batch_execute(&script(&names, 1, None))
        .await;
    assert!(again.is_err());
}

#[tokio::test]
async fn tables_of_a_newer_program_are_left_alone() {
    let cluster = Cluster::start().await;
    sink(&cluster).send(&usuals(0..10)).await.unwrap();
    cluster
        .execute("INSERT INTO vspc_gateway.audit_schema VALUES (99)")
        .await;
    let error = sink(&cluster).send(&usuals(10..20)).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("version 99") && text.contains("run the newer"),
        "{text}"
    );
    assert_eq!(cluster.number(COUNT).await, 10);
}

#[tokio::test]
async fn several_gateways_make_the_tables_once() {
    let cluster = Cluster::start().await;
    let write = |from: u64| {
        let mut sink = sink(&cluster);
        async move { sink.send(&usuals(from..from + 10)).await }
    };
    let all = futures_util::future::join_all((0..6).map(|part| write(part * 5)));
    for written in all.await {
        written.unwrap();
    }
    assert_eq!(cluster.number(COUNT).await, 35);
}

#[tokio::test]
async fn a_role_that_may_only_insert_writes_into_tables_made_by_the_owner() {
    let cluster = Cluster::start().await;
    cluster
        .execute("CREATE ROLE gateway LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        .await;
    let settings = Settings {
        user: "gateway".to_owned(),
        ..settings(&cluster)
    };
    let mut sink = Postgres::new(settings.clone());
    let text = sink.send(&usuals(0..10)).await.unwrap_err().to_string();
    assert!(text.contains("vspc-gateway audit schema"), "{text}");

    cluster.execute(&script(&settings.names, 0, None)).await;
    let text = sink.send(&usuals(0..10)).await.unwrap_err().to_string();
    assert!(text.contains("permission denied for schema"), "{text}");

    // The owner's default: nobody gets rights by being there.
    cluster.execute("DROP SCHEMA vspc_gateway CASCADE").await;
    cluster
        .execute(&script(&settings.names, 0, Some("gateway")))
        .await;
    sink.send(&usuals(0..10)).await.unwrap();
    sink.send(&usuals(5..20)).await.unwrap();
    sink.send(&usuals(20..30)).await.unwrap();
    sink.keep_checkpoint("o", 3, b"root", "note").await.unwrap();
    sink.keep_checkpoint("o", 3, b"root", "note").await.unwrap();
    assert_eq!(cluster.number(COUNT).await, 30);
    let checkpoints = "SELECT count(*) FROM vspc_gateway.audit_checkpoint";
    assert_eq!(cluster.number(checkpoints).await, 1);

    // It can neither read nor change what it has written.
    let (client, connection) = {
        let mut config = cluster.config();
        config.user("gateway");
        config.connect(tokio_postgres::NoTls).await.unwrap()
    };
    tokio::spawn(connection);
    for forbidden in [
        COUNT,
        "DELETE FROM vspc_gateway.audit_record",
        "UPDATE vspc_gateway.audit_record SET seq = 1",
        "TRUNCATE vspc_gateway.audit_record",
        "DROP TABLE vspc_gateway.audit_record_2026_03",
    ] {
        let error = client.batch_execute(forbidden).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{forbidden}");
    }
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let cluster = Cluster::start().await;
    cluster
        .execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
        .await;
    let settings = Settings {
        database: "latin".to_owned(),
        ..settings(&cluster)
    };
    let error = Postgres::new(settings)
        .send(&usuals(0..1))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("LATIN1"), "{error}");
}
