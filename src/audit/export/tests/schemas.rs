//! Judges of what is exported: the published schemas, as `tests/schemas/README.md` tells.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value};

macro_rules! schema {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/schemas/", $name))
    };
}

static CLOUDEVENTS: LazyLock<Validator> =
    LazyLock::new(|| validator(schema!("cloudevents-1.0.json")));

static OCSF: LazyLock<BTreeMap<u64, Validator>> = LazyLock::new(|| {
    BTreeMap::from([
        (3001, validator(schema!("ocsf-1.3.0-account_change.json"))),
        (3002, validator(schema!("ocsf-1.3.0-authentication.json"))),
        (
            6002,
            validator(schema!("ocsf-1.3.0-application_lifecycle.json")),
        ),
        (6003, validator(schema!("ocsf-1.3.0-api_activity.json"))),
    ])
});

static ECS: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(schema!("ecs-8.11.json")).unwrap());

fn validator(schema: &str) -> Validator {
    let schema = serde_json::from_str(schema).unwrap();
    let options = jsonschema::options().should_validate_formats(true);
    options.build(&schema).unwrap()
}

fn faults(validator: &Validator, event: &Value) -> Vec<String> {
    let faults = validator.iter_errors(event);
    faults
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect()
}

/// What is wrong with an event, by the specification's own JSON schema.
pub(super) fn of_cloudevents(event: &Value) -> Vec<String> {
    faults(&CLOUDEVENTS, event)
}

/// What is wrong with an event, by the schema of the class that it says it is of.
pub(super) fn of_ocsf(event: &Value) -> Vec<String> {
    let class = event["class_uid"].as_u64().unwrap();
    faults(&OCSF[&class], event)
}

/// What is wrong with a document, by the list of all fields. What is under `vspc` is nobody's.
pub(super) fn of_ecs(document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, value) in document.as_object().unwrap() {
        if name != "vspc" {
            judge(name, value, &mut faults);
        }
    }
    let event = &document["event"];
    let categories = &ECS["event.category"]["allowed"];
    for category in event["category"].as_array().unwrap() {
        let foreseen = categories[category.as_str().unwrap()].as_array();
        for kind in event["type"].as_array().unwrap() {
            if !foreseen.is_some_and(|foreseen| foreseen.contains(kind)) {
                faults.push(format!("event.type {kind} is not foreseen for {category}"));
            }
        }
    }
    faults
}

fn judge(name: &str, value: &Value, faults: &mut Vec<String>) {
    let Some(field) = ECS.get(name) else {
        match value {
            Value::Object(members) => {
                for (member, value) in members {
                    judge(&format!("{name}.{member}"), value, faults);
                }
            }
            _ => faults.push(format!("there is no field {name}")),
        }
        return;
    };
    let is_list = field["array"] == true;
    let values = match value {
        Value::Array(values) if is_list => values.as_slice(),
        other if !is_list => std::slice::from_ref(other),
        _ => return faults.push(format!("{name} must be an array")),
    };
    for value in values {
        let fits = match field["type"].as_str().unwrap() {
            "keyword" | "wildcard" | "match_only_text" => value.is_string(),
            "long" => value.as_i64().is_some(),
            "ip" => value
                .as_str()
                .is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()),
            "date" => value
                .as_str()
                .is_some_and(|date| crate::clock::Timestamp::parse(date).is_some()),
            other => panic!("{name} is a {other}: nobody looks at these yet"),
        };
        if !fits {
            faults.push(format!("{name} is no {}: {value}", field["type"]));
        }
        if let Some(allowed) = field["allowed"].as_object()
            && !value
                .as_str()
                .is_some_and(|value| allowed.contains_key(value))
        {
            faults.push(format!("{name} must not be {value}"));
        }
    }
}
