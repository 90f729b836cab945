//! The query parameters `filter` and `sort`: JSON text, strictly written or with single quotes.

mod pseudo;

pub(crate) use self::pseudo::parse as parse_json;

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::answer::ApiError;

/// What a collection is narrowed by.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    expressions: Vec<Expression>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    operation: String,
    property: Option<String>,
    collation: Option<Collation>,
    #[serde(default, deserialize_with = "given")]
    value: Option<Value>,
    items: Option<Vec<Self>>,
}

/// Tells a value that is `null` from one that is not there.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Collation {
    Ignorecase,
    Lexicographic,
    #[default]
    Ordinal,
}

#[derive(Debug)]
enum Expression {
    And(Vec<Self>),
    Compare(Comparison),
    ExclusiveOr(Vec<Self>),
    Not(Vec<Self>),
    Or(Vec<Self>),
}

#[derive(Debug)]
struct Comparison {
    property: String,
    operator: Operator,
    collation: Collation,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Contains,
    Equals,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    LessThan,
    LessThanOrEqual,
    NotEquals,
}

impl Operator {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "contains" => Self::Contains,
            "equals" => Self::Equals,
            "greaterThan" => Self::GreaterThan,
            "greaterThanOrEqual" => Self::GreaterThanOrEqual,
            "in" => Self::In,
            "lessThan" => Self::LessThan,
            "lessThanOrEqual" => Self::LessThanOrEqual,
            "notEquals" => Self::NotEquals,
            _ => return None,
        })
    }
}

impl Filter {
    /// Reads the value of the query parameter `filter`: a list of expressions that all must hold, or one.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let wrong = |what: String| ApiError::parameter("filter", what);
        let value = pseudo::parse(text).map_err(|error| wrong(error.to_string()))?;
        let written: Vec<Written> = one_or_many(value).map_err(|error| wrong(error.to_string()))?;
        let expressions = written
            .into_iter()
            .map(Expression::compile)
            .collect::<Result<_, _>>()
            .map_err(wrong)?;
        Ok(Self { expressions })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.expressions.is_empty()
    }

    pub(crate) fn admits(&self, item: &Value) -> bool {
        self.expressions
            .iter()
            .all(|expression| expression.holds(item))
    }
}

impl Expression {
    fn compile(written: Written) -> Result<Self, String> {
        let join: Option<fn(Vec<Self>) -> Self> = match written.operation.as_str() {
            "and" => Some(Self::And),
            "exclusiveOr" => Some(Self::ExclusiveOr),
            "not" => Some(Self::Not),
            "or" => Some(Self::Or),
            _ => None,
        };
        if let Some(join) = join {
            let items = written.items.filter(|items| !items.is_empty());
            let items = items.ok_or("A logical operation needs items.")?;
            return items
                .into_iter()
                .map(Self::compile)
                .collect::<Result<_, _>>()
                .map(join);
        }
        let operator = Operator::named(&written.operation)
            .ok_or_else(|| format!("The operation {:?} is not known.", written.operation))?;
        let value = written.value.ok_or("The value is missing.")?;
        if operator == Operator::In && !value.is_array() {
            return Err("The operation in needs a list of values.".to_owned());
        }
        Ok(Self::Compare(Comparison {
            property: written.property.ok_or("The property is missing.")?,
            operator,
            collation: written.collation.unwrap_or_default(),
            value,
        }))
    }

    fn holds(&self, item: &Value) -> bool {
        let held = |items: &[Self]| items.iter().filter(|inner| inner.holds(item)).count();
        match self {
            Self::And(items) => held(items) == items.len(),
            Self::Compare(comparison) => comparison.holds(item),
            Self::ExclusiveOr(items) => held(items) == 1,
            Self::Not(items) => held(items) == 0,
            Self::Or(items) => held(items) > 0,
        }
    }
}

impl Comparison {
    fn holds(&self, item: &Value) -> bool {
        let have = property(item, &self.property);
        let order = || compare(have, &self.value, self.collation);
        match self.operator {
            Operator::Contains => self.contains(have),
            Operator::Equals => order() == Some(Ordering::Equal),
            Operator::GreaterThan => order() == Some(Ordering::Greater),
            Operator::GreaterThanOrEqual => order().is_some_and(Ordering::is_ge),
            Operator::In => self.value.as_array().is_some_and(|values| {
                values
                    .iter()
                    .any(|value| compare(have, value, self.collation) == Some(Ordering::Equal))
            }),
            Operator::LessThan => order() == Some(Ordering::Less),
            Operator::LessThanOrEqual => order().is_some_and(Ordering::is_le),
            Operator::NotEquals => order() != Some(Ordering::Equal),
        }
    }

    fn contains(&self, have: &Value) -> bool {
        if let Value::Array(values) = have {
            return values
                .iter()
                .any(|value| compare(value, &self.value, self.collation) == Some(Ordering::Equal));
        }
        let (Some(have), Some(part)) = (have.as_str(), self.value.as_str()) else {
            return false;
        };
        match self.collation {
            Collation::Ordinal => have.contains(part),
            Collation::Ignorecase | Collation::Lexicographic => {
                have.to_lowercase().contains(&part.to_lowercase())
            }
        }
    }
}

/// How a collection is ordered: by the first key, and by the next where it ties.
#[derive(Debug, Default)]
pub(crate) struct Sort {
    keys: Vec<SortKey>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SortKey {
    property: String,
    #[serde(default)]
    direction: Direction,
    #[serde(default)]
    collation: Collation,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Direction {
    #[default]
    #[serde(alias = "asc")]
    Ascending,
    #[serde(alias = "desc")]
    Descending,
}

impl Sort {
    /// Reads the value of the query parameter `sort`: a list of keys, or one.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let wrong = |what: String| ApiError::parameter("sort", what);
        let value = pseudo::parse(text).map_err(|error| wrong(error.to_string()))?;
        let keys = one_or_many(value).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { keys })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn apply(&self, items: &mut [Value]) {
        items.sort_by(|a, b| {
            self.keys
                .iter()
                .map(|key| key.order(a, b))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
    }
}

impl SortKey {
    fn order(&self, a: &Value, b: &Value) -> Ordering {
        let (a, b) = (property(a, &self.property), property(b, &self.property));
        let order = compare(a, b, self.collation).unwrap_or_else(|| a.is_null().cmp(&b.is_null()));
        match self.direction {
            Direction::Ascending => order,
            Direction::Descending => order.reverse(),
        }
    }
}

fn one_or_many<T: for<'de> Deserialize<'de>>(value: Value) -> Result<Vec<T>, serde_json::Error> {
    match value {
        Value::Array(_) => serde_json::from_value(value),
        one => serde_json::from_value(one).map(|one| vec![one]),
    }
}

/// Finds a property by its path `a.b`, without regard to case.
fn property<'a>(item: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(item, |item, name| {
        item.as_object()
            .and_then(|members| {
                members
                    .iter()
                    .find(|(member, _)| member.eq_ignore_ascii_case(name))
            })
            .map_or(&Value::Null, |(_, value)| value)
    })
}

fn compare(a: &Value, b: &Value, collation: Collation) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(compare_text(a, b, collation)),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        // Clients write numbers and truth values as text as well.
        (Value::Number(_) | Value::Bool(_), Value::String(text)) => {
            let text = serde_json::from_str(text)
                .ok()
                .filter(|v: &Value| !v.is_string())?;
            compare(a, &text, collation)
        }
        _ => None,
    }
}

fn compare_text(a: &str, b: &str, collation: Collation) -> Ordering {
    if let (Ok(a), Ok(b)) = (a.parse::<Uuid>(), b.parse::<Uuid>()) {
        return a.cmp(&b);
    }
    match collation {
        Collation::Ordinal => a.cmp(b),
        Collation::Ignorecase | Collation::Lexicographic => a.to_lowercase().cmp(&b.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(filter: &str, expected: bool) {
        let item = json!({
            "name": "Acme", "role": "CompanyOwner", "id": 7, "scopes": ["ui", "rest"],
            "uid": "b3ffc78b-7982-44f3-ae66-1384415f2bea", "profile": { "email": null },
        });
        let filter = Filter::parse(filter).map_err(|_| "refused").unwrap();
        assert_eq!(filter.admits(&item), expected);
    }

    #[test]
    fn comparisons_hold_as_written() {
        check(
            r#"[{"property":"name","operation":"equals","value":"Acme"}]"#,
            true,
        );
        check(
            r#"[{"property":"name","operation":"equals","value":"acme"}]"#,
            false,
        );
        check(
            r#"[{"property":"name","operation":"equals","collation":"ignorecase","value":"acme"}]"#,
            true,
        );
        check(
            r#"[{"property":"name","operation":"notEquals","value":"Acme"}]"#,
            false,
        );
        check(
            r#"[{"property":"name","operation":"contains","value":"cm"}]"#,
            true,
        );
        check(
            r#"[{"property":"name","operation":"in","value":["x","Acme"]}]"#,
            true,
        );
        check(
            r#"[{"property":"scopes","operation":"contains","value":"rest"}]"#,
            true,
        );
        check(
            r#"[{"property":"id","operation":"greaterThan","value":"6"}]"#,
            true,
        );
        check(
            r#"{"property":"uid","operation":"equals","value":"B3FFC78B-7982-44F3-AE66-1384415F2BEA"}"#,
            true,
        );
        check(
            r#"{"property":"profile.email","operation":"equals","value":null}"#,
            true,
        );
    }

    #[test]
    fn logical_operations_join_their_items() {
        let name = r#"{"property":"name","operation":"equals","value":"Acme"}"#;
        let id = r#"{"property":"id","operation":"equals","value":8}"#;
        check(
            &format!(r#"[{{"operation":"and","items":[{name},{id}]}}]"#),
            false,
        );
        check(
            &format!(r#"[{{"operation":"or","items":[{name},{id}]}}]"#),
            true,
        );
        check(&format!(r#"[{{"operation":"not","items":[{id}]}}]"#), true);
        check(&format!("[{name},{id}]"), false);
    }

    #[test]
    fn single_quotes_will_do() {
        check(
            "[{'property':'name','operation':'equals','value':'Acme'}]",
            true,
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "name eq 'x'",
            r#"[{"property":"name","operation":"equals"}]"#,
            r#"[{"property":"name","operation":"like","value":"x"}]"#,
            r#"[{"operation":"and","items":[]}]"#,
            r#"[{"property":"name","operation":"in","value":"x"}]"#,
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sorting_takes_the_next_key_where_the_first_ties() {
        let mut items = vec![
            json!({"a": 1, "b": "x"}),
            json!({"a": 2, "b": "y"}),
            json!({"a": 1, "b": "Z"}),
        ];
        let sort =
            "[{'property':'a','direction':'descending'},{'property':'b','collation':'ignorecase'}]";
        Sort::parse(sort)
            .map_err(|_| "refused")
            .unwrap()
            .apply(&mut items);
        let order: Vec<&str> = items.iter().filter_map(|item| item["b"].as_str()).collect();
        assert_eq!(order, ["y", "x", "Z"]);
    }
}
