//! JSON that has one reading: no member twice, no depth, nothing behind it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `true`, `false` or `null`: nothing that is asked for is one.
    Word,
    Whole(i64),
    Fraction(f64),
    Text(String),
    List(Vec<Self>),
    Object(Object),
}

/// An object no member of which comes twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object(Vec<(String, Value)>);

/// A text is not the JSON of an object, or could be read in two ways, or is deeper or wider than
/// anything honest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotJson;

/// A member is there, but of another type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct WrongType;

impl Object {
    /// Reads the text of one object.
    pub(super) fn read(text: &[u8]) -> Result<Self, NotJson> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = Nested(DEPTH)
            .deserialize(&mut reader)
            .map_err(|_| NotJson)?;
        reader.end().map_err(|_| NotJson)?;
        match value {
            Value::Object(object) => Ok(object),
            Value::Word
            | Value::Whole(_)
            | Value::Fraction(_)
            | Value::Text(_)
            | Value::List(_) => Err(NotJson),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// A member that is a text where it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, WrongType> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(WrongType),
        }
    }

    pub(super) fn into_members(self) -> Vec<(String, Value)> {
        self.0
    }
}

/// Reads a value with so many levels below it.
#[derive(Clone, Copy)]
struct Nested(usize);

impl Nested {
    fn below<E: Error>(self) -> Result<Self, E> {
        let left = self.0.checked_sub(1);
        left.map(Self).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Word)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Word)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Whole(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number)
            .map(Value::Whole)
            .map_err(|_| E::custom("too large"))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        match number.is_finite() {
            true => Ok(Value::Fraction(number)),
            false => Err(E::custom("not finite")),
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(below)? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut members: Vec<(String, Value)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.len() == WIDTH || members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("a member twice, or too many"));
            }
            members.push((name, map.next_value_seed(below)?));
        }
        Ok(Value::Object(Object(members)))
    }
}

/// The most levels of lists and objects.
const DEPTH: usize = 16;

/// The most members of an object.
const WIDTH: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_two_readings_or_none_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "7",
            r#""{}""#,
            r#"{"a":1"#,
            r#"{"a":1}x"#,
            r#"{"a":1}{"a":1}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"o":{"a":1,"a":2}}"#,
            r#"{"a":18446744073709551615}"#,
            r#"{"a":1e999}"#,
            r#"{"a":NaN}"#,
            r#"{"a":01}"#,
            r#"{"a":'x'}"#,
            r#"{a:1}"#,
            r#"{"a":1,}"#,
            r#"{"a":"\ud800"}"#,
            "\u{feff}{}",
        ] {
            assert_eq!(Object::read(text.as_bytes()), Err(NotJson), "{text}");
        }
        assert_eq!(Object::read(b"{\"a\":\"\xff\"}"), Err(NotJson));
        assert!(Object::read(br#" {"a":1,"A":[null,true,-1,1.5,{}]} "#).is_ok());
    }

    #[test]
    fn depth_and_width_are_bounded() {
        let deep = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            Object::read(format!(r#"{{"a":{open}{close}}}"#).as_bytes())
        };
        assert!(deep(DEPTH - 1).is_ok());
        assert_eq!(deep(DEPTH), Err(NotJson));
        assert_eq!(deep(10_000), Err(NotJson));
        let wide = |members: usize| {
            let all: Vec<_> = (0..members).map(|n| format!(r#""{n}":0"#)).collect();
            Object::read(format!("{{{}}}", all.join(",")).as_bytes())
        };
        assert!(wide(WIDTH).is_ok());
        assert_eq!(wide(WIDTH + 1), Err(NotJson));
    }
}
