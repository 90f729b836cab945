//! The Elastic Common Schema.

use serde_json::{Map, Value, json};

use super::id;
use super::members::{Members, object};
use super::sort::{Change, Outcome, Sort, Step, Verb, Way, is_refused, message};

/// Whose fields these are.
const VERSION: &str = "8.11.0";

/// A record as a document. What has no field of the schema is under `vspc`, by the record's names.
pub(super) fn document(origin: &str, mut members: Members) -> Value {
    let sort = Sort::of(&members);
    let mut document = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            document.insert(name.to_owned(), value);
        }
    };
    add("@timestamp", Some(members.stamp().into()));
    add("ecs", Some(json!({"version": VERSION})));
    add("message", Some(message(&members).into()));
    add(
        "observer",
        Some(json!({"name": origin, "type": "proxy", "product": "vspc-gateway"})),
    );
    add("related", related(&members));
    add("error", error(&members));
    add("event", Some(event(origin, &mut members, sort)));
    add("http", http(&mut members));
    add("url", url(&mut members));
    add("user", user(&mut members));
    let source = members.take_address("source");
    add("source", source.map(|ip| json!({"ip": ip, "address": ip})));
    let tenant = members.text("tenant");
    add("organization", tenant.map(|name| json!({"name": name})));
    let rule = members.take("rule");
    add("rule", rule.map(|name| json!({"name": name})));
    let rest = members.rest();
    add("vspc", (!rest.is_empty()).then_some(Value::Object(rest)));
    Value::Object(document)
}

fn event(origin: &str, members: &mut Members, sort: Sort) -> Value {
    let (category, mut types) = classes(sort, members);
    if is_refused(members) && category == "api" {
        types.push("denied");
    }
    let outcome = match Outcome::of(members) {
        Outcome::Failure => "failure",
        Outcome::Success => "success",
        Outcome::Unknown => "unknown",
    };
    let duration = members.take_number("duration_us");
    let members = [
        ("kind", Some("event".into())),
        ("category", Some(json!([category]))),
        ("type", Some(json!(types))),
        ("outcome", Some(outcome.into())),
        ("module", Some("vspc_gateway".into())),
        ("dataset", Some("vspc_gateway.audit".into())),
        ("id", Some(id(origin, members.seq).into())),
        (
            "sequence",
            Some(members.seq.min(i64::MAX.unsigned_abs()).into()),
        ),
        ("action", members.take("operation").map(Value::from)),
        ("code", members.take("code").map(Value::from)),
        ("reason", members.take("reason").map(Value::from)),
        // In nanoseconds.
        (
            "duration",
            duration.map(|micros| micros.saturating_mul(1000).into()),
        ),
    ];
    object(members).unwrap_or_default()
}

/// The category, and types that are foreseen for it.
fn classes(sort: Sort, members: &Members) -> (&'static str, Vec<&'static str>) {
    match sort {
        Sort::Account(change) => {
            let change = match change {
                Change::Changed | Change::Revoked => "change",
                Change::Created | Change::SecondFactor => "creation",
                Change::Deleted => "deletion",
            };
            ("iam", vec!["user", change])
        }
        Sort::Call(verb) => {
            let verb = match verb {
                Verb::Create => "creation",
                Verb::Delete => "deletion",
                Verb::Operate => "admin",
                Verb::Other => "info",
                Verb::Read => "access",
                Verb::Update => "change",
            };
            ("api", vec![verb])
        }
        Sort::Login(Way::ActAs | Way::LogIn) => ("authentication", vec!["start"]),
        Sort::Login(Way::Renew) => ("authentication", vec!["info"]),
        Sort::Life(Step::Config) if Outcome::of(members) == Outcome::Success => {
            ("configuration", vec!["change"])
        }
        Sort::Life(Step::Config) => ("configuration", vec!["info"]),
        Sort::Life(Step::Other) => ("process", vec!["info"]),
        Sort::Life(Step::Start) => ("process", vec!["start"]),
        Sort::Life(Step::Stop) => ("process", vec!["end"]),
    }
}

fn http(members: &mut Members) -> Option<Value> {
    let body = |bytes: Option<i64>| Some(json!({"bytes": bytes?}));
    let request = object([
        ("id", members.take("request_id").map(Value::from)),
        ("method", members.take("method").map(Value::from)),
        ("body", body(members.take_number("bytes_in"))),
    ]);
    let response = object([
        (
            "status_code",
            members.take_number("status").map(Value::from),
        ),
        ("body", body(members.take_number("bytes_out"))),
    ]);
    object([("request", request), ("response", response)])
}

fn url(members: &mut Members) -> Option<Value> {
    object([
        ("path", members.take("path").map(Value::from)),
        ("query", members.take("query").map(Value::from)),
    ])
}

/// Who acted, as whom, and on whose identity. Who acted stays under its own name as well: whether it
/// was a client, an operator or a user of a console is not told here.
fn user(members: &mut Members) -> Option<Value> {
    let name = actor(members).map(Value::from);
    let effective = object([
        ("id", members.take_in("target", "uid").map(Value::from)),
        ("name", members.take_in("target", "name").map(Value::from)),
    ]);
    let target = members.take_in("subject", "user_uid");
    let target = target.map(|id| json!({"id": id}));
    object([("name", name), ("effective", effective), ("target", target)])
}

/// Who acted: the operator, the console's user, or the client.
pub(super) fn actor(members: &Members) -> Option<&str> {
    let mut all = ["operator", "user", "client"].into_iter();
    all.find_map(|name| members.text(name))
}

/// What searches over all sources look at.
fn related(members: &Members) -> Option<Value> {
    let mut users: Vec<&str> = [actor(members), members.text_in("target", "name")]
        .into_iter()
        .flatten()
        .collect();
    users.dedup();
    let source = members.text("source");
    let source = source.and_then(|source| source.parse::<std::net::IpAddr>().ok());
    object([
        ("ip", source.map(|ip| json!([ip.to_string()]))),
        ("user", (!users.is_empty()).then(|| json!(users))),
    ])
}

/// Why something failed.
fn error(members: &Members) -> Option<Value> {
    if Outcome::of(members) != Outcome::Failure {
        return None;
    }
    object([
        ("code", members.text("code").map(Value::from)),
        ("message", members.text("detail").map(Value::from)),
    ])
}
