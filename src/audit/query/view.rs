//! The members of a record that filters and sinks look at, borrowed from its line.
//!
//! Every JSON object is a record, whatever its members are: one of an unforeseen type is taken as
//! one that fits no filter, so that a log of another version can be read.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What filters look at.
#[derive(Default, serde::Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(in crate::audit) struct View<'a> {
    pub(in crate::audit) time: Scalar<'a>,
    pub(in crate::audit) kind: Scalar<'a>,
    pub(super) request_id: Scalar<'a>,
    pub(super) session: Scalar<'a>,
    pub(super) lease: Scalar<'a>,
    pub(super) operator: Scalar<'a>,
    pub(super) client: Scalar<'a>,
    pub(super) credential: Scalar<'a>,
    pub(super) principal: Scalar<'a>,
    pub(super) grant: Scalar<'a>,
    pub(super) source: Scalar<'a>,
    pub(super) tenant: Scalar<'a>,
    pub(super) console: Scalar<'a>,
    pub(super) target: Object<Target<'a>>,
    pub(super) user: Scalar<'a>,
    pub(in crate::audit) operation: Scalar<'a>,
    pub(super) method: Scalar<'a>,
    pub(super) path: Scalar<'a>,
    pub(super) rule: Scalar<'a>,
    pub(in crate::audit) code: Scalar<'a>,
    pub(super) status: Scalar<'a>,
    pub(super) subject: Object<Subject<'a>>,
}

/// Whom a request acted as.
#[derive(Default, serde::Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Target<'a> {
    pub(super) uid: Scalar<'a>,
    pub(super) name: Scalar<'a>,
}

/// The identity that a request concerned.
#[derive(Default, serde::Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Subject<'a> {
    pub(super) action: Scalar<'a>,
    pub(super) user_uid: Scalar<'a>,
    pub(super) login_id: Scalar<'a>,
}

/// A member that is a text or a whole number.
#[derive(Debug, Default, Eq, PartialEq)]
pub(in crate::audit) enum Scalar<'a> {
    Number(u64),
    #[default]
    Other,
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// The member if it is a text.
    pub(in crate::audit) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Other => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfScalar(PhantomData))
    }
}

/// A member that is an object; the default one if it is anything else.
#[derive(Default)]
pub(in crate::audit) struct Object<T>(pub(in crate::audit) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfObject(PhantomData))
    }
}

/// The visits that give the default, as they are the same for any visitor here.
macro_rules! others_give_the_default {
    ($($visit:ident($kind:ty))*) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }

        $(fn $visit<E>(self, _: $kind) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        })*
    };
}

struct OfScalar<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Visitor<'de> for OfScalar<'a> {
    type Value = Scalar<'a>;

    others_give_the_default! { visit_bool(bool) visit_i64(i64) visit_f64(f64) }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }
}

struct OfObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for OfObject<T> {
    type Value = Object<T>;

    others_give_the_default! { visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) visit_str(&str) }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_borrowed_unless_they_are_escaped() {
        let view: View<'_> = serde_json::from_str(
            r#"{"seq":1,"client":"zabbix","path":"/a\u0001","status":404,"target":{"uid":"u"}}"#,
        )
        .unwrap();
        assert!(matches!(view.client, Scalar::Text(Cow::Borrowed("zabbix"))));
        assert_eq!(view.path.text(), Some("/a\u{1}"));
        assert_eq!(view.status, Scalar::Number(404));
        assert_eq!(view.target.0.uid.text(), Some("u"));
        assert_eq!(view.tenant, Scalar::Other);
    }

    #[test]
    fn members_of_any_type_are_read_over() {
        for value in [
            "null",
            "true",
            "-1",
            "1.5",
            "18446744073709551616",
            "7",
            r#""x\n""#,
            "[1,[2]]",
            r#"{"a":{"b":1}}"#,
            "{}",
        ] {
            let line = format!(
                r#"{{"client":{value},"target":{value},"subject":{{"action":{value}}},"new":{value},"tenant":"acme"}}"#
            );
            let view: View<'_> =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(view.tenant.text(), Some("acme"), "{line}");
        }
    }

    #[test]
    fn what_is_no_object_is_no_record() {
        for line in [
            "",
            "7",
            r#"{"client":"a""#,
            r#"{"client":"a","client":"b"}"#,
            r#"{"seq":1} x"#,
        ] {
            assert!(serde_json::from_str::<View<'_>>(line).is_err(), "{line}");
        }
    }
}
