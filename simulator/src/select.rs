//! The query parameter `select`: which members of a resource are told.

use serde_json::{Map, Value};

use crate::answer::ApiError;
use crate::filter;
use crate::query::Query;

/// The members that are asked for; none named means all.
#[derive(Debug, Default)]
pub(crate) struct Select {
    paths: Vec<String>,
}

impl Select {
    /// Reads the parameter: a JSON list of names, or names with commas between them.
    ///
    /// A name that no member has is passed over. `a.b` names the member `b` of the member `a`.
    pub(crate) fn of(query: &Query) -> Result<Self, ApiError> {
        let mut select = Self::default();
        for text in query.all("select").map(str::trim) {
            if text.starts_with('[') {
                select.paths.extend(listed(text)?);
            } else {
                let names = text.split(',').map(str::trim);
                let names = names.filter(|name| !name.is_empty());
                select.paths.extend(names.map(str::to_owned));
            }
        }
        Ok(select)
    }

    /// Returns the value with the members that are asked for.
    pub(crate) fn prune(&self, value: Value) -> Value {
        if self.paths.is_empty() {
            return value;
        }
        let paths: Vec<&str> = self.paths.iter().map(String::as_str).collect();
        prune(value, &paths)
    }
}

fn listed(text: &str) -> Result<Vec<String>, ApiError> {
    filter::parse_json(text)
        .and_then(serde_json::from_value)
        .map_err(|error| ApiError::parameter("select", error.to_string()))
}

fn prune(value: Value, paths: &[&str]) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(|item| prune(item, paths)).collect(),
        Value::Object(members) => {
            let chosen = members.into_iter().filter_map(|(name, member)| {
                let below = below(&name, paths)?;
                let member = match below.contains(&"") {
                    true => member,
                    false => prune(member, &below),
                };
                Some((name, member))
            });
            Value::Object(chosen.collect::<Map<String, Value>>())
        }
        plain => plain,
    }
}

/// Returns the rests of the paths that begin with the name, if there are any; the rest of a path that
/// ends there is empty.
fn below<'a>(name: &str, paths: &[&'a str]) -> Option<Vec<&'a str>> {
    let rests: Vec<&str> = paths
        .iter()
        .map(|path| path.split_once('.').unwrap_or((path, "")))
        .filter(|(first, _)| first.eq_ignore_ascii_case(name))
        .map(|(_, rest)| rest)
        .collect();
    (!rests.is_empty()).then_some(rests)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &Value) {
        let value = json!({ "a": 1, "b": { "c": 2, "d": 3 }, "e": [{ "f": 4, "g": 5 }] });
        let select = Select::of(&Query::of(Some(query))).unwrap();
        assert_eq!(&select.prune(value), expected, "{query}");
    }

    #[test]
    fn names_come_as_json_or_with_commas() {
        check("select=a,B", &json!({ "a": 1, "b": { "c": 2, "d": 3 } }));
        check(r#"select=["a"]"#, &json!({ "a": 1 }));
        check("select=['a','nowhere']", &json!({ "a": 1 }));
        check(
            "select=a&select=e",
            &json!({ "a": 1, "e": [{ "f": 4, "g": 5 }] }),
        );
    }

    #[test]
    fn a_dotted_name_reaches_into_objects_and_lists() {
        check(
            "select=b.c,e.g",
            &json!({ "b": { "c": 2 }, "e": [{ "g": 5 }] }),
        );
        check("select=b.c,b", &json!({ "b": { "c": 2, "d": 3 } }));
    }

    #[test]
    fn without_names_all_is_told() {
        let all = json!({ "a": 1, "b": { "c": 2, "d": 3 }, "e": [{ "f": 4, "g": 5 }] });
        check("", &all);
        check("select=", &all);
    }

    #[test]
    fn a_broken_list_is_refused() {
        for query in ["select=[", "select=[1]"] {
            assert!(Select::of(&Query::of(Some(query))).is_err(), "{query}");
        }
    }
}
