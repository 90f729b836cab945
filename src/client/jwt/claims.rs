//! What a token says, as far as anybody asks for it.

use super::json::{Object, Value};

/// The claims of a verified token that are texts, or lists of texts.
#[derive(Clone, Debug, Default)]
pub struct Claims(Vec<(Box<str>, Claim)>);

#[derive(Clone, Debug)]
enum Claim {
    List(Vec<Box<str>>),
    Text(Box<str>),
}

impl Claims {
    pub(super) fn of(object: Object) -> Self {
        let text = |value: Value| match value {
            Value::Text(text) => Some(text.into_boxed_str()),
            Value::Word
            | Value::Whole(_)
            | Value::Fraction(_)
            | Value::List(_)
            | Value::Object(_) => None,
        };
        let claim = |(name, value): (String, Value)| {
            let claim = match value {
                Value::List(values) => Claim::List(values.into_iter().filter_map(text).collect()),
                Value::Text(text) => Claim::Text(text.into_boxed_str()),
                Value::Word | Value::Whole(_) | Value::Fraction(_) | Value::Object(_) => {
                    return None;
                }
            };
            Some((name.into_boxed_str(), claim))
        };
        Self(
            object
                .into_members()
                .into_iter()
                .filter_map(claim)
                .collect(),
        )
    }

    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Claim::Text(text) => Some(text),
            Claim::List(_) => None,
        }
    }

    /// The text of a claim, or those of its list.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let texts = match self.get(name) {
            None => &[][..],
            Some(Claim::List(list)) => list,
            Some(Claim::Text(text)) => std::slice::from_ref(text),
        };
        texts.iter().map(AsRef::as_ref)
    }

    fn get(&self, name: &str) -> Option<&Claim> {
        let (_, claim) = self.0.iter().find(|(known, _)| **known == *name)?;
        Some(claim)
    }
}
