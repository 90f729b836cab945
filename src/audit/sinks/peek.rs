//! The members of a record that sinks look at.

use crate::audit::query::view::View;
use crate::audit::record::{Code, Kind};
use crate::clock::Timestamp;

/// What sinks look at, as queries read it. A line that is no record has none of it.
#[derive(Default)]
pub(super) struct Peek<'a>(View<'a>);

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
        Self(serde_json::from_slice(line).unwrap_or_default())
    }

    pub(super) fn stamp(&self) -> Option<Timestamp> {
        self.0.time.text().and_then(Timestamp::parse)
    }

    pub(super) fn kind(&self) -> &str {
        self.0.kind.text().unwrap_or_default()
    }

    pub(super) fn code(&self) -> Option<&str> {
        self.0.code.text()
    }

    pub(super) fn operation(&self) -> Option<&str> {
        self.0.operation.text()
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
