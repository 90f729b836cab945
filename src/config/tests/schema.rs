//! The schema for editors says what the reader says, as far as a schema can.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::*;
use crate::config::SCHEMA;

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// Every key that the reader asks for.
fn asked_for() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let mut found: BTreeSet<String> = std::fs::read_dir(root.join("compile"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".rs")
                .map(|name| format!("compile/{name}"))
        })
        .collect();
    found.extend(["compile".to_owned(), "value".to_owned()]);
    let call = Regex::new(
        r#"(?:required|optional|\.or|sections|minute|read|section,)[(\s]\s*"([a-z0-9_]+)""#,
    );
    let call = call.unwrap();
    let mut keys = BTreeSet::new();
    for file in found {
        let source = std::fs::read_to_string(root.join(format!("{file}.rs"))).unwrap();
        let source = source.split("#[cfg(test)]").next().unwrap();
        let found = call.captures_iter(source);
        keys.extend(found.map(|found| found.get(1).unwrap().as_str().to_owned()));
    }
    keys
}

/// The names of all properties, wherever they are.
fn described(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                names.extend(properties.keys().cloned());
                for (name, property) in properties {
                    let has_words = property.get("description").is_some();
                    let refers = property.get("$ref").is_some();
                    assert!(has_words || refers, "{name} has no description");
                }
            }
            members.values().for_each(|value| described(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| described(value, names)),
        _ => {}
    }
}

#[test]
fn the_schema_has_every_key_of_the_reader_and_no_other() {
    let asked = asked_for();
    assert!(asked.len() > 120, "{asked:?}");
    let mut names = BTreeSet::new();
    described(&schema(), &mut names);
    let missing: Vec<_> = asked.difference(&names).collect();
    let surplus: Vec<_> = names.difference(&asked).collect();
    assert!(
        missing.is_empty(),
        "the reader asks for keys that src/config/schema.json does not have: add {missing:?}"
    );
    assert!(
        surplus.is_empty(),
        "src/config/schema.json has keys that no reader asks for: take out {surplus:?}"
    );
}

/// What of JSON Schema the schema uses: a word that is not known here is a fault of the test.
fn faults_of(value: &Value, schema: &Value, root: &Value, at: &str, faults: &mut Vec<String>) {
    let mut say = |what: String| faults.push(format!("{at}: {what}"));
    for (word, given) in schema.as_object().unwrap() {
        let number = || given.as_u64().unwrap();
        let any_of = |least: usize, most: usize| {
            let branches = given.as_array().unwrap().iter();
            let fitting = branches.filter(|branch| fits(value, branch, root)).count();
            (least..=most).contains(&fitting)
        };
        let is_good = match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "properties" => true,
            "$ref" => {
                let place = given.as_str().unwrap().strip_prefix('#').unwrap();
                fits(value, root.pointer(place).unwrap(), root)
            }
            "type" => is_of_type(value, given.as_str().unwrap()),
            "enum" => given.as_array().unwrap().contains(value),
            "const" => given == value,
            "pattern" => value
                .as_str()
                .is_none_or(|text| Regex::new(given.as_str().unwrap()).unwrap().is_match(text)),
            "minLength" => value
                .as_str()
                .is_none_or(|it| it.chars().count() as u64 >= number()),
            "maxLength" => value
                .as_str()
                .is_none_or(|it| it.chars().count() as u64 <= number()),
            "minimum" => value
                .as_i64()
                .is_none_or(|it| it >= given.as_i64().unwrap()),
            "maximum" => value
                .as_i64()
                .is_none_or(|it| it <= given.as_i64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|it| it.len() as u64 >= number()),
            "minProperties" => value
                .as_object()
                .is_none_or(|it| it.len() as u64 >= number()),
            "oneOf" => any_of(1, 1),
            "anyOf" => any_of(1, usize::MAX),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| fits(item, given, root))),
            "required" => value.as_object().is_none_or(|members| {
                let mut names = given.as_array().unwrap().iter();
                names.all(|name| members.contains_key(name.as_str().unwrap()))
            }),
            "additionalProperties" => value
                .as_object()
                .is_none_or(|members| has_good_members(members, schema, given, root)),
            other => panic!("{other} is not checked here"),
        };
        if !is_good {
            say(format!("{word} {given}"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    if let (Some(properties), Some(members)) = (properties, value.as_object()) {
        for (name, member) in members {
            if let Some(property) = properties.get(name) {
                faults_of(member, property, root, &format!("{at}.{name}"), faults);
            }
        }
    }
}

fn has_good_members(
    members: &Map<String, Value>,
    schema: &Value,
    others: &Value,
    root: &Value,
) -> bool {
    let is_property = |name: &str| schema["properties"].get(name).is_some();
    members.iter().all(|(name, member)| {
        is_property(name) || (others.is_object() && fits(member, others, root))
    })
}

fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
    let mut faults = Vec::new();
    faults_of(value, schema, root, "", &mut faults);
    faults.is_empty()
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    }
}

/// What an editor would say of a file.
fn complaints(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap();
    let schema = schema();
    let mut faults = Vec::new();
    faults_of(
        &as_json(toml::Value::Table(table)),
        &schema,
        &schema,
        "",
        &mut faults,
    );
    faults
}

/// As JSON; a date is its text.
fn as_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(as_json).collect(),
        toml::Value::Table(table) => {
            let members = table
                .into_iter()
                .map(|(name, value)| (name, as_json(value)));
            Value::Object(members.collect())
        }
    }
}

#[test]
fn examples_fit_the_schema() {
    assert_eq!(complaints(GOOD), Vec::<String>::new());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for example in ["config/gateway.toml", "config/demo.toml"] {
        let text = std::fs::read_to_string(root.join(example)).unwrap();
        assert_eq!(complaints(&text), Vec::<String>::new(), "{example}");
    }
}

/// The alternatives that the reader takes, one by one: it and the schema take the same.
#[test]
fn what_the_reader_takes_the_schema_takes() {
    let rule = "allow = [{ methods = [\"GET\"], paths = [\"/api/v3/**\"] }]";
    for (from, to) in [
        (
            "listen = \"127.0.0.1:0\"",
            "listen = [\"127.0.0.1:0\", \"[::1]:0\"]\nworkers = 2",
        ),
        ("[audit]", "failed_auth_limit = \"off\"\n[audit]"),
        (
            "[audit]",
            "failed_auth_limit = \"5/m\"\nfailed_auth_burst = 3\n[audit]",
        ),
        (
            "[audit]",
            "trusted_proxies = [\"10.0.0.5\"]\nproxy_protocol = true\n[audit]",
        ),
        (
            "[mapping]",
            "[tokens]\nmargin = \"10s\"\ncalls = 8\nassumed_life = \"1m\"\nanswer_timeout = \"3s\"\n[mapping]",
        ),
        (
            "[mapping]",
            "[mapping]\nreason_header = \"X-Why\"\nreason_pattern = 'INC[0-9]+'",
        ),
        (
            "[mapping]",
            "[mapping]\nrules = [{ header = \"Host\", pattern = '(?<tenant>[a-z]+)\\.gw' }]",
        ),
        (
            "[mapping]",
            "[mapping]\nrules = [{ all = [{ header = \"X-A\", value = \"7\" }], tenant = \"acme\" }]",
        ),
        (
            "tenants = [\"*\"]",
            "tenants = [\"acme\"]\nnetworks = [\"10.0.0.0/8\"]\nrate_limit = \"5/s\"\nburst = 9",
        ),
        ("tenants = [\"*\"]", "tenants = [\"*\"]\ntargets = [\"*\"]"),
        (
            "tenants = [\"*\"]",
            "tenants = [\"*\"]\ncertificate = { san = \"a.example\" }\nrequire = \"all\"",
        ),
        (
            "tenants = [\"*\"]",
            "tenants = [\"*\"]\ncertificate = [{ subject = \"CN=a\" }, { subject = \"CN=b\" }]",
        ),
        (
            "tenants = [\"*\"]",
            "tenants = [\"*\"]\ndeny = [{ paths = [\"/api/v3/users/**\"] }]",
        ),
        (
            rule,
            "allow = [{ operations = [\"GET /users/{userUid}/logins\"], hours = { days = [\"mon-fri\"], to = \"18:00\" } }]",
        ),
        (
            rule,
            "allow = [{ name = \"a\", methods = [\"*\"], paths = [\"/**\"], read_only = true, tenants = [\"acme\"] }]",
        ),
        (
            "user = \"b3ffc78b-7982-44f3-ae66-1384415f2bea\"",
            "company_name = \"Acme & Co\"",
        ),
        (
            "impersonate = { user = \"b3ffc78b-7982-44f3-ae66-1384415f2bea\" }",
            "login = { api_key = { env = \"HOME\" } }",
        ),
        (
            "url = ",
            "tenants = \"directory\"\nrest_access = \"ignore\"\nurl = ",
        ),
        (
            "url = ",
            "passthrough_logins = true\npassthrough_rules = { allow = [{ methods = [\"GET\"], paths = [\"/api/v3/**\"] }] }\nurl = ",
        ),
        (
            "\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
            "{ digest = \"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\", label = \"2026-Q4\", expires = 2026-12-31T00:00:00Z }",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        assert_eq!(faults(&text), Vec::<String>::new(), "{to}");
        assert_eq!(complaints(&text), Vec::<String>::new(), "{to}");
    }
}

#[test]
fn what_the_schema_refuses_the_reader_refuses() {
    let key = "\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"";
    for (from, to) in [
        ("[audit]", "colour = \"red\"\n[audit]"),
        ("listen = \"127.0.0.1:0\"", "listen = []"),
        ("listen = \"127.0.0.1:0\"", "listen = 8280"),
        ("listen = \"127.0.0.1:0\"", ""),
        ("[audit]", "drain = 30\n[audit]"),
        ("[audit]", "drain = \"30 s\"\n[audit]"),
        ("[audit]", "body_limit = \"1GB\"\n[audit]"),
        ("[audit]", "workers = 0\n[audit]"),
        ("[audit]", "forwarded_headers = \"keep\"\n[audit]"),
        (
            "directory = \"audit\"",
            "directory = \"audit\"\ndurability = \"maybe\"",
        ),
        (
            "password = { file = \"password\" }",
            "password = \"hunter2\"",
        ),
        (
            "password = { file = \"password\" }",
            "password = { file = \"password\", env = \"X\" }",
        ),
        ("grant = \"password\"", "grant = \"magic\""),
        (
            "user = \"b3ffc78b-7982-44f3-ae66-1384415f2bea\"",
            "user = \"acme\"",
        ),
        (
            "impersonate = { user = \"b3ffc78b-7982-44f3-ae66-1384415f2bea\" }",
            "",
        ),
        ("name = \"acme\"", "name = \"ac me\""),
        (
            "tenant_header = \"X-Tenant\"",
            "tenant_header = \"X Tenant\"",
        ),
        (
            "tenant_header = \"X-Tenant\"",
            "tenant_header = \"X-Tenant\"\nrules = [{ header = \"X-A\", claim = \"b\", value = \"c\", tenant = \"acme\" }]",
        ),
        (key, "\"vgk_a_key_in_the_file\""),
        (key, "{ label = \"2026-Q4\" }"),
        ("methods = [\"GET\"]", "methods = [\"FETCH\"]"),
        ("methods = [\"GET\"], ", ""),
        ("paths = [\"/api/v3/**\"]", "paths = [\"api\"]"),
        ("tenants = [\"*\"]", "tenants = []"),
        (
            "tenants = [\"*\"]",
            "tenants = [\"*\"]\nreason = \"optional\"",
        ),
        (
            "tenants = [\"*\"]",
            "tenants = [\"*\"]\nrate_limit = \"0/s\"",
        ),
        (
            "tenants = [\"*\"]",
            "tenants = [\"*\"]\njwt = { issuer = \"entra\", claims = {} }",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(complaints(&text), Vec::<String>::new(), "{to}");
        assert_ne!(faults(&text), Vec::<String>::new(), "{to}");
    }
}
