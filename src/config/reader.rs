//! Reads a parsed file key by key, and gathers every fault on the way.

use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Fault;

/// The faults found so far, and what may be looked at to find them.
#[derive(Debug, Default)]
pub(super) struct FaultList {
    found: RefCell<Vec<Fault>>,
    alone: bool,
}

impl FaultList {
    /// For a file that is read alone: see [`Item::is_alone`].
    pub(super) fn alone() -> Self {
        Self {
            found: RefCell::default(),
            alone: true,
        }
    }

    pub(super) fn add(&self, fault: Fault) {
        self.found.borrow_mut().push(fault);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    pub(super) fn take(&self) -> Vec<Fault> {
        let mut faults = self.found.take();
        faults.sort_by_key(|fault| fault.line);
        faults
    }

    pub(super) fn into_result<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.is_empty() {
            Ok(value)
        } else {
            Err(self.take())
        }
    }
}

/// A value in the file, and where it stands.
#[derive(Clone)]
pub(super) struct Item<'a> {
    value: &'a Spanned<DeValue<'a>>,
    path: String,
    text: &'a str,
    faults: &'a FaultList,
}

/// A type that values of the file are read into.
pub(super) trait FromItem: Sized {
    /// Reads the value, or reports a fault.
    fn from_item(item: &Item<'_>) -> Option<Self>;
}

impl<'a> Item<'a> {
    /// Reports that something is wrong here.
    pub(super) fn fault(&self, message: impl Into<String>) {
        let line = Some(line_of(self.text, self.value.span().start));
        self.faults.add(Fault {
            path: self.path.clone(),
            line,
            message: message.into(),
        });
    }

    /// Reports that another kind of value was expected.
    pub(super) fn expected(&self, what: &str) {
        self.fault(format!("expected {what}, found {}", self.raw().type_str()));
    }

    /// Whether the file is read alone: no secret, certificate or key that it names is looked at, and
    /// whoever would use one gets an empty one instead.
    pub(super) fn is_alone(&self) -> bool {
        self.faults.alone
    }

    pub(super) fn raw(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    pub(super) fn read<T: FromItem>(&self) -> Option<T> {
        T::from_item(self)
    }

    /// Reads a value through a function, whose error becomes a fault.
    pub(super) fn read_with<T, R, E>(&self, read: impl FnOnce(T) -> Result<R, E>) -> Option<R>
    where
        T: FromItem,
        E: ToString,
    {
        match read(self.read::<T>()?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(error.to_string());
                None
            }
        }
    }

    /// The elements of an array.
    pub(super) fn elements(&self) -> Option<Vec<Self>> {
        let Some(array) = self.raw().as_array() else {
            self.expected("an array");
            return None;
        };
        let element = |(index, value)| Self {
            value,
            path: format!("{}[{index}]", self.path),
            text: self.text,
            faults: self.faults,
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    /// The values of a table whose keys are the operator's own.
    pub(super) fn entries(&self) -> Option<Vec<(String, Self)>> {
        let Some(table) = self.raw().as_table() else {
            self.expected("a table");
            return None;
        };
        let entry = |(name, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            let item = Self {
                value,
                path: format!("{}.{name}", self.path),
                text: self.text,
                faults: self.faults,
            };
            (name.to_string(), item)
        };
        Some(table.iter().map(entry).collect())
    }

    /// The table here.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        let Some(table) = self.raw().as_table() else {
            self.expected("a table");
            return None;
        };
        Some(Section {
            table,
            path: self.path.clone(),
            start: Some(self.value.span().start),
            text: self.text,
            faults: self.faults,
            known: Vec::new(),
        })
    }
}

/// A table of the file. Every key must be asked for: [`Section::finish`] reports the others.
pub(super) struct Section<'a> {
    table: &'a DeTable<'a>,
    path: String,
    /// Where it stands; its line is counted when there is a fault, since that takes a walk over
    /// the text.
    start: Option<usize>,
    text: &'a str,
    faults: &'a FaultList,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn root(text: &'a str, table: &'a DeTable<'a>, faults: &'a FaultList) -> Self {
        Self {
            table,
            path: String::new(),
            start: None,
            text,
            faults,
            known: Vec::new(),
        }
    }

    /// The value of a key, if it is there.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.push(key);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(Item {
            value,
            path: self.join(key),
            text: self.text,
            faults: self.faults,
        })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, key: &'static str) -> Option<Item<'a>> {
        let item = self.optional(key);
        if item.is_none() {
            self.fault(key, "is missing");
        }
        item
    }

    /// The value of a key, or a default where it is not there.
    pub(super) fn or<T: FromItem>(&mut self, key: &'static str, default: T) -> Option<T> {
        self.optional(key).map_or(Some(default), |item| item.read())
    }

    /// The tables of an array of tables; none where it is not there.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let Some(item) = self.optional(key) else {
            return Vec::new();
        };
        let elements = item.elements().unwrap_or_default();
        elements.iter().filter_map(Item::section).collect()
    }

    /// As [`Item::is_alone`].
    pub(super) fn is_alone(&self) -> bool {
        self.faults.alone
    }

    /// The text of the whole file.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Reports a fault of a key: at its line, or at the table's where it is not there.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>) {
        let path = self.join(key);
        let written = self.table.iter().find(|(name, _)| name.get_ref() == key);
        let start = written.map(|(_, value)| value.span().start).or(self.start);
        self.faults.add(Fault {
            path,
            line: start.map(|start| line_of(self.text, start)),
            message: message.into(),
        });
    }

    /// Reports a fault of a key of another table, at the line of this one.
    pub(super) fn fault_at(&self, table: &str, key: &str, message: String) {
        let path = format!("{table}.{key}");
        self.faults.add(Fault {
            path: path.trim_end_matches('.').to_owned(),
            line: self.start.map(|start| line_of(self.text, start)),
            message,
        });
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(&mut self) {
        self.known.sort_unstable();
        for (name, _) in self.table.iter() {
            if !self.known.contains(&name.get_ref().as_ref()) {
                let line = Some(line_of(self.text, name.span().start));
                let message = format!("is not known here; known are: {}", self.known.join(", "));
                self.faults.add(Fault {
                    path: self.join(name.get_ref()),
                    line,
                    message,
                });
            }
        }
    }

    fn join(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }
}

/// The line, from one, of a byte of a text.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}
