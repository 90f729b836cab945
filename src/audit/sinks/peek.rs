//! The members of a record that sinks look at.

use std::borrow::Cow;

use serde::Deserialize;

use crate::audit::record::{Code, Kind};
use crate::clock::Timestamp;

/// What sinks look at. A line that is no record has none of it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Peek<'a> {
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Option<Cow<'a, str>>,
}

/// How much a record deserves to be looked at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Weight {
    /// A request, as most are.
    Usual,
    /// The gateway's own doing.
    Notable,
    /// What was refused, or broke off.
    Warning,
    /// What nobody knows the end of.
    Error,
}

impl<'a> Peek<'a> {
    pub(super) fn at(line: &'a [u8]) -> Self {
        serde_json::from_slice(line).unwrap_or_default()
    }

    pub(super) fn stamp(&self) -> Option<Timestamp> {
        self.time.as_deref().and_then(Timestamp::parse)
    }

    pub(super) fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or_default()
    }

    pub(super) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    pub(super) fn operation(&self) -> Option<&str> {
        self.operation.as_deref()
    }

    pub(super) fn weight(&self) -> Weight {
        let is_usual = [Kind::Intent, Kind::Request]
            .iter()
            .any(|kind| kind.as_str() == self.kind());
        match self.code() {
            Some(code) if code == Code::Unknown.as_str() => Weight::Error,
            Some(code) if code != Code::Ok.as_str() => Weight::Warning,
            _ if is_usual => Weight::Usual,
            _ => Weight::Notable,
        }
    }
}
