//! What stands in the tables.

use serde_json::{Value, json};
use vspc_gateway::audit::sinks::postgres::Fault;

use super::cluster::Cluster;
use super::{COUNT, ORIGIN, Write as _, item, sink, usual, usuals};

const FULL: &str = r#"{"seq":7,"time":"2026-03-04T05:06:07.000089Z","kind":"request","request_id":"01KJW0000000000000000000AB","config":"3","client":"zabbix","credential":"api_key:12345678","principal":"entra|5c0e","session":"00000000-0000-0000-0000-000000000003","user":"ACME\\ann","source":"2001:db8::1","operator":"ann@host","tenant":"acme","console":"main","target":{"uid":"b3ffc78b-7982-44f3-ae66-1384415f2bea","name":"ann"},"operation":"logins","grant":"password","method":"POST","path":"/api/v3/users/logins","rule":"allow[0]","reason":"ticket \u00e97","code":"ok","status":201,"duration_us":34,"lease":"0123456789abcdef","subject":{"action":"created","user_uid":"u2","login_id":9}}"#;

#[tokio::test]
async fn records_arrive_with_all_columns_right() {
    let cluster = Cluster::start().await;
    let mut sink = sink(&cluster);
    sink.send(&[item(7, FULL)]).await.unwrap();
    let rows = cluster
        .rows(
            "SELECT (to_jsonb(r) - 'record' - 'line')::text, record::text, line,
                    time = '2026-03-04 05:06:07.000089+00', tableoid::regclass::text,
                    sha256('\\x00'::bytea || convert_to(line, 'UTF8'))
             FROM vspc_gateway.audit_record r",
        )
        .await;
    let (columns, record): (String, String) = (rows[0].get(0), rows[0].get(1));
    let mut columns: Value = serde_json::from_str(&columns).unwrap();
    columns.as_object_mut().unwrap().remove("time");
    let expected = json!({
        "seq": 7, "origin": ORIGIN, "kind": "request", "request_id": "01KJW0000000000000000000AB",
        "client": "zabbix", "credential": "api_key:12345678", "principal": "entra|5c0e",
        "session": "00000000-0000-0000-0000-000000000003", "user_name": "ACME\\ann",
        "operator": "ann@host", "source": "2001:db8::1", "tenant": "acme", "console": "main",
        "target_uid": "b3ffc78b-7982-44f3-ae66-1384415f2bea", "target_name": "ann",
        "operation": "logins", "grant_type": "password", "method": "POST",
        "path": "/api/v3/users/logins", "rule": "allow[0]", "code": "ok", "status": 201,
        "duration_us": 34, "lease": "0123456789abcdef", "subject_action": "created",
        "subject_user": "u2", "raw": null,
    });
    assert_eq!(columns, expected);
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record, serde_json::from_str::<Value>(FULL).unwrap());
    assert_eq!(rows[0].get::<_, String>(2), FULL);
    assert!(rows[0].get::<_, bool>(3));
    let partition: String = rows[0].get(4);
    assert_eq!(partition, "vspc_gateway.audit_record_2026_03");
    let leaf = [b"\0".as_slice(), FULL.as_bytes()].concat();
    let leaf = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf);
    assert_eq!(rows[0].get::<_, Vec<u8>>(5), leaf.as_ref());
}

#[tokio::test]
async fn records_that_postgresql_does_not_like_arrive_in_another_form() {
    let cluster = Cluster::start().await;
    let mut sink = sink(&cluster);
    let time = r#""time":"2026-03-04T05:06:07.000089Z""#;
    let deep = format!(
        r#"{{"seq":3,{time},"x":{}1{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let long = "y".repeat(1_000_000);
    let odd: Vec<Vec<u8>> = vec![
        format!(r#"{{"seq":0,{time},"client":"a\u0000b","detail":"\u0000"}}"#).into(),
        format!(r#"{{"seq":1,{time},"client":"a","x":"\ud800"}}"#).into(),
        format!(r#"{{"seq":2,{time},"client":"a","x":1e999999}}"#).into(),
        deep.into(),
        format!(r#"{{"seq":4,{time},"client":"{long}","tenant":"{long}"}}"#).into(),
        format!(r#"{{"seq":5,{time},"source":"10.0.0.0/8","session":"x","status":99999999999}}"#)
            .into(),
        [
            format!(r#"{{"seq":6,{time},"client":"a","x":""#).as_bytes(),
            b"\xff\"}",
        ]
        .concat(),
    ];
    let mut items: Vec<_> = (0_u64..)
        .zip(&odd)
        .map(|(seq, line)| item(seq, line.clone()))
        .collect();
    items.extend(usuals(100..200));
    // Without a time there is no partition for it, in whatever form.
    items.insert(50, item(50, r#"{"seq":50}"#));
    items[49] = usual(49);
    let refused = sink.send(&items).await.unwrap_err();
    assert!(
        matches!(refused, Fault::Refused { seq: 50, .. }),
        "{refused}"
    );
    let before = items.iter().position(|item| item.seq == 50).unwrap();
    assert_eq!(cluster.number(COUNT).await, i64::try_from(before).unwrap());
    sink.send(&items[before + 1..]).await.unwrap();
    assert_eq!(
        cluster.number(COUNT).await,
        i64::try_from(items.len() - 1).unwrap()
    );

    let rows = cluster
        .rows(
            "SELECT seq, coalesce(convert_to(line, 'UTF8'), raw), record IS NULL, client
             FROM vspc_gateway.audit_record WHERE seq < 7 ORDER BY seq",
        )
        .await;
    let lines: Vec<Vec<u8>> = rows.iter().map(|row| row.get(1)).collect();
    assert_eq!(lines, odd);
    let without_json: Vec<bool> = rows.iter().map(|row| row.get(2)).collect();
    assert_eq!(without_json, [true, true, true, true, false, false, true]);
    let client: Option<String> = rows[0].get(3);
    assert_eq!(client.as_deref(), Some("a\u{fffd}b"));
    let client: Option<String> = rows[1].get(3);
    assert_eq!(client.as_deref(), Some("a"));
}

#[tokio::test]
async fn a_replay_doubles_nothing_and_old_months_have_their_partitions() {
    let cluster = Cluster::start().await;
    let mut first = sink(&cluster);
    for from in (0..5_000).step_by(1_000) {
        first.send(&usuals(from..from + 1_000)).await.unwrap();
    }
    let old = |seq: u64, time: &str| item(seq, format!(r#"{{"seq":{seq},"time":"{time}"}}"#));
    let old = [
        old(5_000, "2025-12-31T23:59:59.999999Z"),
        old(5_001, "2026-01-01T00:00:00Z"),
        old(5_002, "1999-02-28T12:00:00+14:00"),
    ];
    first.send(&old).await.unwrap();
    let count = cluster.number(COUNT).await;
    assert_eq!(count, 5_003);

    // By the connection that has written them, and by another one.
    for mut again in [first, sink(&cluster)] {
        again.send(&usuals(4_000..5_500)).await.unwrap();
        for from in (0..5_000).step_by(2_500) {
            again.send(&usuals(from..from + 2_500)).await.unwrap();
        }
        again.send(&old).await.unwrap();
    }
    let count = "SELECT count(*) FROM vspc_gateway.audit_record WHERE seq <= 5002
                 AND (seq < 5000 OR time < '2026-02-01')";
    assert_eq!(cluster.number(count).await, 5_003);
    let rows = cluster
        .rows(
            "SELECT DISTINCT tableoid::regclass::text COLLATE \"C\" FROM vspc_gateway.audit_record
             ORDER BY 1",
        )
        .await;
    let partitions: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let named = ["1999_02", "2025_12", "2026_01", "2026_03"];
    assert_eq!(
        partitions,
        named.map(|month| format!("vspc_gateway.audit_record_{month}"))
    );

    // A partition that the owner has dropped is made again for what still comes.
    let mut after = sink(&cluster);
    after.send(&[usual(6_000)]).await.unwrap();
    cluster
        .execute("DROP TABLE vspc_gateway.audit_record_2026_03")
        .await;
    after.send(&[usual(6_001)]).await.unwrap();
    after.send(&[usual(6_002)]).await.unwrap();
    let left = "SELECT count(*) FROM vspc_gateway.audit_record_2026_03";
    assert_eq!(cluster.number(left).await, 2);
}

#[tokio::test]
async fn each_filter_uses_an_index() {
    let cluster = Cluster::start().await;
    let mut sink = sink(&cluster);
    for from in (0..20_000).step_by(5_000) {
        sink.send(&usuals(from..from + 5_000)).await.unwrap();
    }
    cluster
        .execute("VACUUM ANALYZE vspc_gateway.audit_record")
        .await;
    let long_ago = "time >= '2026-03-04 05:01:00+00' AND time < '2026-03-04 05:01:02+00'";
    for (filter, index) in [
        (
            "tenant = 'tenant-7' AND time >= '2026-03-04 05:03:00+00'",
            "tenant_time",
        ),
        (
            "client = 'client-7' AND time >= '2026-03-04 05:03:00+00'",
            "client_time",
        ),
        ("request_id = '01KJW000000000000000000077'", "request_id"),
        (
            "target_uid = '00000000-0000-4000-8000-000000000007' AND time >= '2026-03-04 05:03:00+00'",
            "target_uid_time",
        ),
        (
            "target_name = 'user-7' AND time >= '2026-03-04 05:03:00+00'",
            "target_name_time",
        ),
        (
            "code = 'operation_denied' AND time >= '2026-03-04 05:03:00+00'",
            "code_time",
        ),
        (
            "status = 403 AND time >= '2026-03-04 05:03:00+00'",
            "status_time",
        ),
        (
            "source = '10.0.7.7' AND time >= '2026-03-04 05:03:00+00'",
            "source_time",
        ),
        ("principal = 'entra|5c0e'", "principal_time"),
        (
            "session = '00000000-0000-0000-0000-000000000003'",
            "session_time",
        ),
        ("user_name = 'ann'", "user_name_time"),
        ("operator = 'ann@host'", "operator_time"),
        ("subject_user = 'u2'", "subject_user_time"),
        ("origin = 'vspc-gateway/test' AND seq = 4711", "pkey"),
    ] {
        let plan = plan(&cluster, filter).await;
        assert!(
            plan.contains(&format!("audit_record_2026_03_{index}")),
            "{filter}: {plan}"
        );
        assert!(
            !plan.contains("Seq Scan on audit_record_2026_03"),
            "{filter}: {plan}"
        );
    }
    // What only the time narrows down is found by blocks, in the month's partition alone.
    let client = cluster.client().await;
    client
        .batch_execute("SET enable_seqscan = off")
        .await
        .unwrap();
    let plan = explain(&client, &format!("{long_ago} AND method = 'GET'")).await;
    assert!(
        plan.contains("Bitmap Index Scan on audit_record_2026_03_time_idx"),
        "{plan}"
    );
    assert!(!plan.contains("2026_04"), "{plan}");
}

async fn plan(cluster: &Cluster, filter: &str) -> String {
    explain(&cluster.client().await, filter).await
}

async fn explain(client: &tokio_postgres::Client, filter: &str) -> String {
    let query = format!("EXPLAIN SELECT record FROM vspc_gateway.audit_record WHERE {filter}");
    let rows = client.query(&query, &[]).await.unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    lines.join("\n")
}
