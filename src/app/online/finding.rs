//! What was found, how bad it is, and what helps.

use std::fmt;

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It works, and should be looked at.
    Warning,
    /// It does not work.
    Failed,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        })
    }
}

/// Something that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub grade: Grade,
    /// What was tried: `TCP`, `TLS`, `HTTP` …
    pub what: &'static str,
    /// What came of it.
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// What there is to know besides: names and values.
    pub facts: Vec<(&'static str, String)>,
}

impl Finding {
    pub(super) fn ok(what: &'static str, text: impl Into<String>) -> Self {
        Self::new(Grade::Ok, what, text)
    }

    pub(super) fn warning(what: &'static str, text: impl Into<String>) -> Self {
        Self::new(Grade::Warning, what, text)
    }

    pub(super) fn failed(what: &'static str, text: impl Into<String>) -> Self {
        Self::new(Grade::Failed, what, text)
    }

    fn new(grade: Grade, what: &'static str, text: impl Into<String>) -> Self {
        Self {
            grade,
            what,
            text: text.into(),
            remedy: None,
            facts: Vec::new(),
        }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Finding {
    /// In lines of its own, the remedy last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    {:<8} {}: {}", self.grade, self.what, self.text)?;
        for (name, value) in &self.facts {
            writeln!(f, "             {name:<8} {value}")?;
        }
        match &self.remedy {
            Some(remedy) => writeln!(f, "             -> {remedy}"),
            None => Ok(()),
        }
    }
}
