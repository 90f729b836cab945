//! Patterns over whole values, in time that grows with the value alone.

use regex_automata::meta::{Config, Regex};
use regex_automata::{Anchored, Input, MatchKind, PatternID, PatternSet};
use regex_syntax::hir::{Hir, Look};

/// The group that captures the tenant's name.
const GROUP: &str = "tenant";
/// The most bytes of a pattern.
const TEXT_LIMIT: usize = 1024;
/// The most memory of a compiled pattern, in bytes.
const SIZE_LIMIT: usize = 256 * 1024;
/// How deep groups may be nested.
const NESTING: u32 = 32;
/// So few patterns are tried one by one.
const FEW: usize = 4;

/// A regular expression that a value fits as a whole, or not at all.
#[derive(Debug)]
pub struct Pattern {
    text: Box<str>,
    /// With its anchors. They are put in beside the parsed expression, not around its text, which
    /// could end a group or begin a comment.
    pub(super) whole: Hir,
    regex: Regex,
    /// The number of the group that captures the tenant's name.
    group: Option<usize>,
}

/// Why a text is no pattern.
#[derive(Debug, thiserror::Error)]
pub enum PatternFault {
    /// It needs too much memory.
    #[error("this pattern is too large: limit its repetitions")]
    Large,
    /// It is too long.
    #[error("a pattern has at most {TEXT_LIMIT} bytes")]
    Long,
    /// It is no regular expression.
    #[error("is no regular expression: {0}")]
    Syntax(String),
}

impl Pattern {
    /// Reads a regular expression in the syntax of the crate `regex`: no look-around, no back
    /// references. A value must fit it as a whole, whether it has `^` and `$` or not.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        if text.len() > TEXT_LIMIT {
            return Err(PatternFault::Long);
        }
        let parsed = regex_syntax::ParserBuilder::new()
            .nest_limit(NESTING)
            .build()
            .parse(text)
            .map_err(|error| PatternFault::Syntax(in_one_line(&error.to_string())))?;
        let whole = Hir::concat(vec![Hir::look(Look::Start), parsed, Hir::look(Look::End)]);
        let regex = build(&[&whole], MatchKind::LeftmostFirst)?;
        let group = regex.group_info().to_index(PatternID::ZERO, GROUP);
        Ok(Self {
            text: text.into(),
            whole,
            regex,
            group,
        })
    }

    /// The text that it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it captures the tenant's name, in a group called `tenant`.
    pub fn captures(&self) -> bool {
        self.group.is_some()
    }

    /// Whether a value fits.
    pub fn fits(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    /// What a value says in the group: `None` where it does not fit, nothing where the group has no
    /// part in it.
    pub fn capture<'v>(&self, value: &'v str) -> Option<&'v str> {
        let mut captures = self.regex.create_captures();
        self.regex.captures(value, &mut captures);
        if !captures.is_match() {
            return None;
        }
        let span = self.group.and_then(|group| captures.get_group(group));
        Some(span.and_then(|span| value.get(span.range())).unwrap_or(""))
    }
}

/// Several patterns, which of them a value fits.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    /// The rules that they belong to, in the same order.
    rules: Vec<usize>,
    /// All of them in one automaton, where they are many.
    all: Option<Regex>,
}

impl Patterns {
    /// From pairs of a rule and its pattern.
    pub(super) fn new(patterns: &[(usize, &Pattern)]) -> Self {
        let wholes: Vec<&Hir> = patterns.iter().map(|(_, pattern)| &pattern.whole).collect();
        // Where they are too large for one, they are tried one by one.
        let all = (patterns.len() > FEW)
            .then(|| build(&wholes, MatchKind::All).ok())
            .flatten();
        Self {
            rules: patterns.iter().map(|(rule, _)| *rule).collect(),
            all,
        }
    }

    /// The rules whose patterns a value may fit.
    pub(super) fn each(&self, value: &str, mut found: impl FnMut(usize)) {
        let Some(all) = &self.all else {
            self.rules.iter().copied().for_each(found);
            return;
        };
        let mut fitting = PatternSet::new(self.rules.len());
        let input = Input::new(value).anchored(Anchored::Yes);
        all.which_overlapping_matches(&input, &mut fitting);
        for pattern in fitting.iter() {
            if let Some(rule) = self.rules.get(pattern.as_usize()) {
                found(*rule);
            }
        }
    }
}

fn build(wholes: &[&Hir], kind: MatchKind) -> Result<Regex, PatternFault> {
    let limit = SIZE_LIMIT.saturating_mul(wholes.len());
    let config = Config::new().match_kind(kind).nfa_size_limit(Some(limit));
    let mut builder = Regex::builder();
    let built = builder.configure(config).build_many_from_hir(wholes);
    built.map_err(|error| match error.size_limit() {
        Some(_) => PatternFault::Large,
        None => PatternFault::Syntax(error.to_string()),
    })
}

/// The parser draws the pattern, with a mark below the fault.
fn in_one_line(text: &str) -> String {
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    let last = last.unwrap_or(text).trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
