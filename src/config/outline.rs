//! What is different between two configuration files, in words, and what of it takes a restart.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::Source;

/// What is different in one file from another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Differences {
    /// What holds once the file is loaded, such as `client zabbix changed: tenants`.
    pub changes: Vec<String>,
    /// What does not hold before the next start, such as `server.workers (2 → 4)`.
    pub restarts: Vec<String>,
}

impl Differences {
    /// Of two files that can be read; of others there are none.
    pub fn between(before: &Source, now: &Source) -> Self {
        let [before, now] = [before, now].map(|source| source.text.parse::<Table>());
        let (Ok(before), Ok(now)) = (before, now) else {
            return Self::default();
        };
        let mut all = Self::default();
        for section in names(&before, &now) {
            let (before, now) = (before.get(section), now.get(section));
            if [before, now].into_iter().flatten().any(is_list) {
                all.add_list(section, before, now);
            } else {
                all.add_section(section, before, now);
            }
        }
        all
    }

    /// A table, or a single value: each key of it.
    fn add_section(&mut self, path: &str, before: Option<&Value>, now: Option<&Value>) {
        if before == now {
            return;
        }
        let tables = [before, now].map(|value| value.and_then(Value::as_table));
        let is_table = |value: Option<&Value>| value.is_none_or(Value::is_table);
        // Certificates may be others; whether there are any is settled with the listener.
        if path == "server.tls" && before.is_some() != now.is_some() {
            let line = if now.is_some() {
                "off → on"
            } else {
                "on → off"
            };
            return self.restarts.push(format!("{path} ({line})"));
        }
        if is_table(before) && is_table(now) && !is_reference(before) && !is_reference(now) {
            let none = Table::new();
            let [before, now] = tables.map(|table| table.unwrap_or(&none));
            for key in names(before, now) {
                self.add_section(&format!("{path}.{key}"), before.get(key), now.get(key));
            }
            return;
        }
        let lines = match [before, now].into_iter().flatten().any(is_list) {
            true => entries_that_differ(path, before, now),
            false => vec![format!("{path} ({} → {})", told(before), told(now))],
        };
        match takes_restart(path) {
            true => self.restarts.extend(lines),
            false => self.changes.extend(lines),
        }
    }

    /// A list of tables that have names.
    fn add_list(&mut self, section: &str, before: Option<&Value>, now: Option<&Value>) {
        let kind = section.strip_suffix('s').unwrap_or(section);
        let (before, now) = (entries(before), entries(now));
        let all: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        for name in all {
            match (before.get(name), now.get(name)) {
                (None, Some(_)) => self.changes.push(format!("{kind} {name} added")),
                (Some(_), None) => self.changes.push(format!("{kind} {name} removed")),
                (Some(before), Some(now)) if before != now => {
                    let keys = names(before, now);
                    let changed = keys
                        .into_iter()
                        .filter(|key| before.get(*key) != now.get(*key));
                    let changed: Vec<&str> = changed.map(String::as_str).collect();
                    let changed = changed.join(", ");
                    self.changes
                        .push(format!("{kind} {name} changed: {changed}"));
                }
                _ => {}
            }
        }
    }
}

/// A list of tables within a section, such as the rules of the mapping: which came, went and changed.
/// One without a name is known by its place, and is the same wherever it stands.
fn entries_that_differ(path: &str, before: Option<&Value>, now: Option<&Value>) -> Vec<String> {
    let labelled = |list: Option<&Value>| -> Vec<(String, Value)> {
        let tables = list.and_then(Value::as_array).into_iter().flatten();
        let label = |(place, table): (usize, &Value)| {
            let name = table.get("name").and_then(Value::as_str);
            let label = match name {
                Some(name) => format!("{path} {name}"),
                None => format!("{path}[{place}]"),
            };
            (label, table.clone())
        };
        tables.enumerate().map(label).collect()
    };
    let (before, now) = (labelled(before), labelled(now));
    let is_in = |list: &[(String, Value)], table: &Value| list.iter().any(|(_, it)| it == table);
    let gone = before.iter().filter(|(_, table)| !is_in(&now, table));
    let mut gone: Vec<_> = gone.collect();
    let mut lines = Vec::new();
    for (label, table) in now.iter().filter(|(_, table)| !is_in(&before, table)) {
        let same = gone.iter().position(|(other, _)| other == label);
        lines.push(match same.map(|place| gone.remove(place)) {
            Some((_, before)) => format!("{label} changed: {}", keys_that_differ(before, table)),
            None => format!("{label} added: {table}"),
        });
    }
    let gone = gone.into_iter();
    lines.extend(gone.map(|(label, table)| format!("{label} removed: {table}")));
    if lines.is_empty() {
        lines.push(format!("{path} (in another order)"));
    }
    lines
}

/// The keys of a table that are not as they were, with what they were and are.
fn keys_that_differ(before: &Value, now: &Value) -> String {
    let none = Table::new();
    let [before, now] = [before, now].map(|value| value.as_table().unwrap_or(&none));
    let keys = names(before, now).into_iter();
    let lines = keys.filter_map(|key| {
        let (before, now) = (before.get(key), now.get(key));
        (before != now).then(|| format!("{key} ({} → {})", told(before), told(now)))
    });
    lines.collect::<Vec<_>>().join(", ")
}

fn told(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "default".to_owned(),
    }
}

/// A reference to a secret is one value.
fn is_reference(value: Option<&Value>) -> bool {
    let table = value.and_then(Value::as_table);
    table.is_some_and(|table| table.contains_key("file") || table.contains_key("env"))
}

fn is_list(value: &Value) -> bool {
    let array = value.as_array();
    array.is_some_and(|array| !array.is_empty() && array.iter().all(Value::is_table))
}

fn names<'a>(before: &'a Table, now: &'a Table) -> BTreeSet<&'a String> {
    before.keys().chain(now.keys()).collect()
}

/// The tables of a list by their names; those without one by their places.
fn entries(list: Option<&Value>) -> BTreeMap<String, &Table> {
    let tables = list.and_then(Value::as_array).into_iter().flatten();
    let tables = tables.filter_map(Value::as_table).enumerate();
    let named = tables.map(|(place, table)| {
        let name = table.get("name").and_then(Value::as_str);
        let name = name.map_or_else(|| place.to_string(), str::to_owned);
        (name, table)
    });
    named.collect()
}

fn takes_restart(path: &str) -> bool {
    RESTART.iter().any(|key| {
        let rest = path.strip_prefix(key);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// What a process cannot change while it runs: a reload tells of it and goes on with what it has.
const RESTART: [&str; 15] = [
    "admin.listen",
    "audit",
    "log.format",
    "server.connections",
    "server.connections_per_source",
    "server.handshake_timeout",
    "server.head_timeout",
    "server.idle_timeout",
    "server.listen",
    "server.proxy_protocol",
    "server.unread_timeout",
    "server.upgrade_socket",
    "server.workers",
    "state",
    "tokens",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn between(before: &str, now: &str) -> Differences {
        let [before, now] = [before, now].map(Source::of);
        Differences::between(&before, &now)
    }

    const BEFORE: &str = r#"
        [server]
        listen = "127.0.0.1:1"
        workers = 2
        body_limit = "1MiB"
        [admin]
        listen = "unix:admin.sock"
        [[clients]]
        name = "zabbix"
        tenants = ["acme"]
        [[clients]]
        name = "billing"
        tenants = ["acme"]
        [[tenants]]
        name = "acme"
    "#;

    #[test]
    fn the_same_file_is_not_different_and_neither_is_another_spelling_of_it() {
        assert_eq!(between(BEFORE, BEFORE), Differences::default());
        let respelled = BEFORE.replace(r#""1MiB""#, "'1MiB' # as before");
        assert_eq!(between(BEFORE, &respelled), Differences::default());
    }

    #[test]
    fn who_came_went_and_changed_is_told_by_name() {
        let now = BEFORE
            .replace(
                "name = \"zabbix\"\n        tenants = [\"acme\"]",
                "name = \"zabbix\"\n        tenants = [\"*\"]\n        deny = []",
            )
            .replace("billing", "backup")
            + "[[consoles]]\nname = \"second\"\n";
        let told = between(BEFORE, &now);
        assert_eq!(
            told.changes,
            [
                "client backup added",
                "client billing removed",
                "client zabbix changed: deny, tenants",
                "console second added"
            ]
        );
        assert!(told.restarts.is_empty());
    }

    #[test]
    fn which_rules_of_the_mapping_came_went_and_changed_is_told() {
        let with = |rules: &str| format!("{BEFORE}[mapping]\nrules = [{rules}]\n");
        let host = r#"{ header = "Host", value = "a.gw", tenant = "acme" }"#;
        let site = r#"{ name = "site", header = "X-Site", value = "7", tenant = "acme" }"#;
        let agent = r#"{ header = "User-Agent", value = "m", tenant = "acme" }"#;
        let told = |before: &[&str], now: &[&str]| {
            let told = between(&with(&before.join(", ")), &with(&now.join(", ")));
            assert!(told.restarts.is_empty());
            told.changes
        };
        let moved = told(&[host, site], &[agent, host, site]);
        assert_eq!(moved.len(), 1, "{moved:?}");
        assert!(
            moved[0].starts_with("mapping.rules[0] added: { "),
            "{moved:?}"
        );
        assert!(moved[0].contains("value = \"m\""), "{moved:?}");
        let changed = told(
            &[host, site],
            &[&host.replace("a.gw", "b.gw"), &site.replace('7', "8")],
        );
        assert_eq!(
            changed,
            [
                "mapping.rules[0] changed: value (a.gw → b.gw)",
                "mapping.rules site changed: value (7 → 8)"
            ]
        );
        let removed = told(&[host, site], &[host]);
        assert_eq!(removed.len(), 1, "{removed:?}");
        assert!(removed[0].starts_with("mapping.rules site removed: { "));
        assert_eq!(
            told(&[host, site], &[site, host]),
            ["mapping.rules (in another order)"]
        );
        let first = between(BEFORE, &with(host)).changes;
        assert!(
            first[0].starts_with("mapping.rules[0] added: { "),
            "{first:?}"
        );
    }

    #[test]
    fn what_takes_a_restart_is_told_with_what_is_and_what_would_be() {
        let now = BEFORE
            .replace("workers = 2", "workers = 4\n        drain = \"5s\"")
            .replace("unix:admin.sock", "127.0.0.1:2")
            .replace("\"1MiB\"", "\"2MiB\"")
            + "[tokens]\ncalls = 3\n[state]\nkey = { file = \"key\" }\n";
        let told = between(BEFORE, &now);
        assert_eq!(
            told.restarts,
            [
                "admin.listen (unix:admin.sock → 127.0.0.1:2)",
                "server.workers (2 → 4)",
                "state.key (default → { file = \"key\" })",
                "tokens.calls (default → 3)"
            ]
        );
        let changes = [
            "server.body_limit (1MiB → 2MiB)",
            "server.drain (default → 5s)",
        ];
        assert_eq!(told.changes, changes);
    }
}
