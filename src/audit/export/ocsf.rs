//! The Open Cybersecurity Schema Framework.

use serde_json::{Map, Value, json};

use super::ecs::actor;
use super::id;
use super::members::{Members, object};
use super::sort::{Change, Outcome, Sort, Step, Verb, Way, message};

/// Whose classes these are.
const VERSION: &str = "1.3.0";
/// The methods that the schema knows.
const METHODS: [&str; 8] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE",
];

/// A class of events, and what of it happened.
struct Class {
    uid: u32,
    name: &'static str,
    category: (u32, &'static str),
    activity: (u32, &'static str),
}

/// A record as an event. What has no attribute of its class is under `unmapped`, by the record's
/// names.
pub(super) fn event(origin: &str, mut members: Members) -> Value {
    let sort = Sort::of(&members);
    let mut event = base(origin, &members, &Class::of(sort));
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            event.insert(name.to_owned(), value);
        }
    };
    add("status_detail", members.text("detail").map(Value::from));
    let duration = members.take_number("duration_us");
    // In milliseconds.
    add("duration", duration.map(|micros| (micros / 1000).into()));
    match sort {
        Sort::Account(_) => {
            add("actor", Some(acting(&mut members)));
            add("http_request", http_request(&mut members));
            add("src_endpoint", from(&mut members));
            let owner = members.take_in("subject", "user_uid");
            add(
                "user",
                Some(json!({"uid": owner.as_deref().unwrap_or(UNKNOWN)})),
            );
        }
        Sort::Call(_) => {
            let from = from(&mut members).unwrap_or_else(|| json!({"name": UNKNOWN}));
            add("src_endpoint", Some(from));
            add("actor", Some(acting(&mut members)));
            add("resources", acted_as(&members).map(|user| json!([user])));
            add("api", Some(api(&mut members)));
            add("http_request", http_request(&mut members));
        }
        Sort::Login(_) => {
            add("user", Some(logged_in(&members)));
            add("service", Some(json!({"name": service(&members)})));
            add("actor", Some(acting(&mut members)));
            add("src_endpoint", from(&mut members));
            add("http_request", http_request(&mut members));
        }
        Sort::Life(_) => add("app", Some(product())),
    }
    let rest = members.rest();
    add(
        "unmapped",
        (!rest.is_empty()).then_some(Value::Object(rest)),
    );
    Value::Object(event)
}

/// What all classes have.
fn base(origin: &str, members: &Members, class: &Class) -> Map<String, Value> {
    let (status, severity) = match Outcome::of(members) {
        Outcome::Failure => ((2, "Failure"), (2, "Low")),
        Outcome::Success => ((1, "Success"), (1, "Informational")),
        Outcome::Unknown => ((0, "Unknown"), (1, "Informational")),
    };
    let (category, activity) = (class.category, class.activity);
    let type_name = format!("{}: {}", class.name, activity.1);
    let attributes = object([
        ("class_uid", Some(class.uid.into())),
        ("class_name", Some(class.name.into())),
        ("category_uid", Some(category.0.into())),
        ("category_name", Some(category.1.into())),
        ("activity_id", Some(activity.0.into())),
        ("activity_name", Some(activity.1.into())),
        ("type_uid", Some((class.uid * 100 + activity.0).into())),
        ("type_name", Some(type_name.into())),
        ("severity_id", Some(severity.0.into())),
        ("severity", Some(severity.1.into())),
        ("status_id", Some(status.0.into())),
        ("status", Some(status.1.into())),
        ("status_code", members.text("code").map(Value::from)),
        ("message", Some(message(members).into())),
        // In milliseconds.
        ("time", Some(members.time.0.div_euclid(1000).into())),
        ("metadata", metadata(origin, members)),
    ]);
    match attributes {
        Some(Value::Object(attributes)) => attributes,
        _ => Map::new(),
    }
}

fn metadata(origin: &str, members: &Members) -> Option<Value> {
    object([
        ("version", Some(VERSION.into())),
        ("product", Some(product())),
        ("uid", Some(id(origin, members.seq).into())),
        ("sequence", Some(members.seq.into())),
        ("log_name", Some(origin.into())),
        ("event_code", members.text("kind").map(Value::from)),
        (
            "correlation_uid",
            members.text("request_id").map(Value::from),
        ),
        ("tenant_uid", members.text("tenant").map(Value::from)),
        ("original_time", Some(members.stamp().into())),
    ])
}

fn product() -> Value {
    json!({"name": "vspc-gateway", "vendor_name": "vspc-gateway"})
}

/// Who called. It stays under its own name as well: whether it was a client, an operator or a user
/// of a console is not told here.
fn acting(members: &mut Members) -> Value {
    let session = members.take("session");
    let credential = members.take("credential");
    let user = object([
        ("name", actor(members).map(Value::from)),
        ("credential_uid", credential.map(Value::from)),
    ]);
    // A user needs a name; the gateway itself is behind what nobody called for.
    let user = match user {
        Some(user) if user.get("name").is_some() => user,
        Some(Value::Object(mut user)) => {
            user.insert("name".to_owned(), UNKNOWN.into());
            Value::Object(user)
        }
        _ => json!({"name": "vspc-gateway"}),
    };
    let session = session.map(|uid| json!({"uid": uid}));
    object([("user", Some(user)), ("session", session)]).unwrap_or_default()
}

/// As whom the call was made, and of which tenant that is.
fn acted_as(members: &Members) -> Option<Value> {
    let (uid, name) = (
        members.text_in("target", "uid"),
        members.text_in("target", "name"),
    );
    uid.or(name)?;
    let tenant = members.text("tenant").map(|name| json!({"name": name}));
    let owner = object([
        ("uid", uid.map(Value::from)),
        ("name", name.map(Value::from)),
        ("org", tenant),
    ]);
    object([
        ("type", Some("impersonated user".into())),
        ("uid", uid.map(Value::from)),
        ("name", name.map(Value::from)),
        ("owner", owner),
    ])
}

/// Whose token it is: of the user that is acted as, or of who logged in.
fn logged_in(members: &Members) -> Value {
    let uid = members.text_in("target", "uid");
    let name = members.text_in("target", "name");
    let name = if uid.is_some() {
        name
    } else {
        name.or(actor(members))
    };
    object([
        ("uid", uid.map(Value::from)),
        ("name", name.map(Value::from)),
    ])
    .unwrap_or_else(|| json!({"name": UNKNOWN}))
}

/// Where somebody logged in.
fn service(members: &Members) -> &str {
    let is_of_console = members.text("kind") == Some("token");
    let console = members.text("console").filter(|_| is_of_console);
    console.unwrap_or("vspc-gateway")
}

fn from(members: &mut Members) -> Option<Value> {
    if let Some(ip) = members.take_address("source") {
        return Some(json!({"ip": ip}));
    }
    let peer = members.take("peer")?;
    Some(json!({"name": peer}))
}

fn api(members: &mut Members) -> Value {
    let operation = members.take("operation").or(members.take("kind"));
    let request = members.take("request_id").map(|uid| json!({"uid": uid}));
    let response = members.take_number("status");
    let response = response.map(|code| json!({"code": code}));
    let console = members.text("console").map(|name| json!({"name": name}));
    object([
        (
            "operation",
            Some(operation.as_deref().unwrap_or(UNKNOWN).into()),
        ),
        ("request", request),
        ("response", response),
        ("service", console),
    ])
    .unwrap_or_default()
}

fn http_request(members: &mut Members) -> Option<Value> {
    let is_known = |method: &str| METHODS.contains(&method);
    let method = match members.text("method").is_some_and(is_known) {
        true => members.take("method"),
        false => None,
    };
    let path = members.take("path");
    // Without a path it is none, by the schema.
    let query = path.is_some().then(|| members.take("query")).flatten();
    let url = path.map(|path| {
        object([
            ("path", Some(path.into())),
            ("query_string", query.map(Value::from)),
        ])
    });
    object([
        ("http_method", method.map(Value::from)),
        ("url", url.flatten()),
    ])
}

impl Class {
    fn of(sort: Sort) -> Self {
        match sort {
            Sort::Account(change) => Self {
                uid: 3001,
                name: "Account Change",
                category: IDENTITY,
                activity: match change {
                    Change::Changed | Change::Revoked => OTHER,
                    Change::Created => (1, "Create"),
                    Change::Deleted => (6, "Delete"),
                    Change::SecondFactor => (10, "MFA Factor Enable"),
                },
            },
            Sort::Call(verb) => Self {
                uid: 6003,
                name: "API Activity",
                category: APPLICATION,
                activity: match verb {
                    Verb::Create => (1, "Create"),
                    Verb::Delete => (4, "Delete"),
                    Verb::Operate | Verb::Other => OTHER,
                    Verb::Read => (2, "Read"),
                    Verb::Update => (3, "Update"),
                },
            },
            Sort::Login(way) => Self {
                uid: 3002,
                name: "Authentication",
                category: IDENTITY,
                activity: match way {
                    Way::ActAs => (4, "Service Ticket Request"),
                    Way::LogIn => (1, "Logon"),
                    Way::Renew => (5, "Service Ticket Renew"),
                },
            },
            Sort::Life(step) => Self {
                uid: 6002,
                name: "Application Lifecycle",
                category: APPLICATION,
                activity: match step {
                    Step::Config | Step::Other => OTHER,
                    Step::Start => (3, "Start"),
                    Step::Stop => (4, "Stop"),
                },
            },
        }
    }
}

const IDENTITY: (u32, &str) = (3, "Identity & Access Management");
const APPLICATION: (u32, &str) = (6, "Application Activity");
const OTHER: (u32, &str) = (99, "Other");
/// For what the schema requires and the record does not say.
const UNKNOWN: &str = "unknown";
