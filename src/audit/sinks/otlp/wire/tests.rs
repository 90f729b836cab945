use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;

use super::*;
use crate::clock::Timestamp;

fn item(seq: u64, rest: &str) -> Item {
    let line = format!("{{\"seq\":{seq},\"time\":\"2026-03-04T05:06:07.000089Z\",{rest}}}");
    Item::record(&Arc::from("o/1"), seq, line.into())
}

fn text(record: &LogRecord, key: &str) -> Option<Any> {
    let pair = record.attributes.iter().find(|pair| pair.key == key)?;
    pair.value.as_ref()?.value.clone()
}

#[test]
fn what_is_written_is_read_by_the_official_messages() {
    let items = [
        item(7, r#""kind":"request","code":"ok","path":"/ä""#),
        item(300, r#""kind":"admin","code":"bad_key","operation":"x.y""#),
        Item::checkpoint("o/1", 500, (&b"{\"kind\":\"checkpoint\"}"[..]).into()),
    ];
    let request = ExportLogsServiceRequest::decode(&*request(&items)).unwrap();
    let [resource] = &*request.resource_logs else {
        panic!()
    };
    let names = &resource.resource.as_ref().unwrap().attributes;
    assert_eq!(names[0].key, "service.name");
    let [scope] = &*resource.scope_logs else {
        panic!()
    };
    assert_eq!(scope.scope.as_ref().unwrap().name, "vspc-gateway/audit");
    let [first, second, third] = &*scope.log_records else {
        panic!()
    };

    let stamp = Timestamp::parse("2026-03-04T05:06:07.000089Z").unwrap().0;
    assert_eq!(first.time_unix_nano, u64::try_from(stamp).unwrap() * 1000);
    assert_eq!(first.time_unix_nano, first.observed_time_unix_nano);
    let line = String::from_utf8(items[0].line.to_vec()).unwrap();
    assert_eq!(
        first.body.as_ref().unwrap().value,
        Some(Any::StringValue(line))
    );
    let is = |text: &str| Some(Any::StringValue(text.to_owned()));
    assert_eq!(text(first, "log.record.uid"), is("o/1#7"));
    assert_eq!(text(first, "audit.seq"), Some(Any::IntValue(7)));
    assert_eq!((first.severity_number, &*first.severity_text), (9, "INFO"));
    assert_eq!(first.event_name, "vspc_gateway.audit.request");

    assert_eq!(
        (second.severity_number, &*second.severity_text),
        (13, "WARN")
    );
    assert_eq!(text(second, "audit.seq"), Some(Any::IntValue(300)));
    assert_eq!(text(second, "audit.kind"), is("admin"));
    assert_eq!(text(second, "audit.code"), is("bad_key"));
    assert_eq!(text(second, "audit.operation"), is("x.y"));

    assert_eq!(text(third, "log.record.uid"), is("o/1@500"));
    assert_eq!(text(third, "audit.size"), Some(Any::IntValue(500)));
    assert_eq!(third.time_unix_nano, 0);
}

#[test]
fn what_was_not_taken_is_read_from_the_official_answer() {
    let answer = |partial_success| ExportLogsServiceResponse { partial_success }.encode_to_vec();
    assert_eq!(rejected(&answer(None)), None);
    let partial = ExportLogsPartialSuccess {
        rejected_log_records: 300,
        error_message: "too old\u{1b}".to_owned(),
    };
    let expected = Rejected {
        count: 300,
        why: "too old\\u{1b}".to_owned(),
    };
    assert_eq!(rejected(&answer(Some(partial))), Some(expected));
}

#[test]
fn an_answer_that_is_cut_or_rubbish_says_nothing_and_breaks_nothing() {
    let partial = ExportLogsPartialSuccess {
        rejected_log_records: 3,
        error_message: "no".to_owned(),
    };
    let partial_success = Some(partial);
    let whole = ExportLogsServiceResponse { partial_success }.encode_to_vec();
    for length in 0..whole.len() {
        assert_eq!(rejected(&whole[..length]), None);
    }
    for rubbish in [
        &[0xff; 20][..],
        b"<html>",
        b"{}",
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ] {
        assert_eq!(rejected(rubbish), None, "{rubbish:?}");
    }
}
