//! The members of a record: those that have a place in a form are taken, the others stay.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::NotARecord;
use crate::clock::Timestamp;

/// What of a record has no place yet.
pub(super) struct Members {
    /// The record's number.
    pub(super) seq: u64,
    /// Its time.
    pub(super) time: Timestamp,
    rest: Map<String, Value>,
}

impl Members {
    /// Reads a line of the log. `seq` and `time` are taken.
    pub(super) fn of_record(line: &[u8]) -> Result<Self, NotARecord> {
        let mut rest: Map<String, Value> = serde_json::from_slice(line).map_err(|_| NotARecord)?;
        let seq = rest.remove("seq").and_then(|seq| seq.as_u64());
        let time = rest.remove("time");
        let time = time.as_ref().and_then(Value::as_str);
        let time = time.and_then(Timestamp::parse);
        Ok(Self {
            seq: seq.ok_or(NotARecord)?,
            time: time.ok_or(NotARecord)?,
            rest,
        })
    }

    /// The time as the log writes it.
    pub(super) fn stamp(&self) -> String {
        self.time.text().iter().copied().map(char::from).collect()
    }

    /// What a member says, if it is a text that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let text = self.rest.get(name)?.as_str()?;
        (!text.is_empty()).then_some(text)
    }

    /// What a member of a member says.
    pub(super) fn text_in(&self, object: &str, name: &str) -> Option<&str> {
        let text = self.rest.get(object)?.get(name)?.as_str()?;
        (!text.is_empty()).then_some(text)
    }

    /// The number that a member is, if it is one of at most 63 bits.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.rest.get(name)?.as_i64().filter(|number| *number >= 0)
    }

    /// Takes a text.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?.to_owned();
        self.rest.remove(name);
        Some(text)
    }

    /// Takes a text out of a member.
    pub(super) fn take_in(&mut self, object: &str, name: &str) -> Option<String> {
        let text = self.text_in(object, name)?.to_owned();
        let members = self.rest.get_mut(object)?.as_object_mut()?;
        members.remove(name);
        if members.is_empty() {
            self.rest.remove(object);
        }
        Some(text)
    }

    /// Takes a number.
    pub(super) fn take_number(&mut self, name: &str) -> Option<i64> {
        let number = self.number(name)?;
        self.rest.remove(name);
        Some(number)
    }

    /// Takes an IP address.
    pub(super) fn take_address(&mut self, name: &str) -> Option<String> {
        let address: IpAddr = self.text(name)?.parse().ok()?;
        self.rest.remove(name);
        Some(address.to_string())
    }

    /// What was not taken. A member without a value says nothing.
    pub(super) fn rest(self) -> Map<String, Value> {
        let said = |(_, value): &(String, Value)| !value.is_null();
        self.rest.into_iter().filter(said).collect()
    }
}

/// An object of the members that have a value.
pub(super) fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Option<Value> {
    let members = members.into_iter();
    let members = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let members: Map<_, _> = members.collect();
    (!members.is_empty()).then_some(Value::Object(members))
}
