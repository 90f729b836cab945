//! Looking for a text in all values of a record.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::filter::NoRecord;
use super::value::Pattern;

/// Whether a text or whole number of a record, at any depth, fits one of the patterns.
pub(super) fn has(json: &[u8], patterns: &[Pattern]) -> Result<bool, NoRecord> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    Look(patterns)
        .deserialize(&mut reader)
        .map_err(|_| NoRecord)
}

#[derive(Clone, Copy)]
struct Look<'p>(&'p [Pattern]);

impl Look<'_> {
    fn fits(self, text: &str) -> bool {
        self.0.iter().any(|pattern| pattern.fits(text))
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, number: i64) -> Result<bool, E> {
        Ok(self.fits(&number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<bool, E> {
        Ok(self.fits(&number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        Ok(self.fits(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(here) = seq.next_element_seed(self)? {
            found |= here;
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while map.next_key::<IgnoredAny>()?.is_some() {
            found |= map.next_value_seed(self)?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_looked_through_and_names_are_not() {
        let json = br#"{"seq":17,"path":"/API/v3","target":{"name":"ACME\\Ann"},"scopes":["one","tw\u006f"],"x":true,"y":1.5}"#;
        for (text, expected) in [
            ("ann", true),
            ("me\\a", true),
            ("two", true),
            ("17", true),
            ("/api/*3", true),
            ("path", false),
            ("true", false),
            ("1.5", false),
            ("annn", false),
        ] {
            let pattern = Pattern::within(text).unwrap();
            assert_eq!(has(json, &[pattern]), Ok(expected), "{text}");
        }
        assert_eq!(
            has(b"{\"a\":", &[Pattern::within("a").unwrap()]),
            Err(NoRecord)
        );
    }
}
