//! Leaving out lines that cannot fit, by their bytes, before any JSON is read.
//!
//! A text stands in a line as it is, but for the escapes of JSON. Of these `\u…` and `\/` can stand
//! for what could also be written otherwise: a line that has one is always looked at.

use std::ops::Range;

use regex_automata::meta::{BuildError, Cache, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, meta};

use super::Filter;
use super::value::Pattern;

/// A shorter text is found in most lines.
const LEAST: usize = 3;

/// What a line must have to fit.
#[derive(Debug)]
pub(super) struct Needle(Regex);

impl Needle {
    /// Chooses what to look for; none if the filter asks for nothing that can be seen in bytes.
    pub(super) fn new(filter: &Filter) -> Option<Self> {
        let members = [
            (&filter.request_id, true),
            (&filter.session, true),
            (&filter.text, false),
            (&filter.target, true),
            (&filter.subject, true),
            (&filter.user, true),
            (&filter.principal, true),
            (&filter.path, true),
            (&filter.tenant, true),
            (&filter.client, true),
            (&filter.credential, true),
            (&filter.operation, true),
            (&filter.rule, true),
            (&filter.action, true),
            (&filter.grant, true),
            (&filter.code, true),
            (&filter.console, true),
        ];
        let texts = members.into_iter().find_map(|(patterns, is_whole)| {
            let texts: Option<Vec<String>> = patterns
                .iter()
                .map(|pattern| escaped(pattern, is_whole))
                .collect();
            texts.filter(|texts| !texts.is_empty())
        })?;
        Self::of(&texts).ok()
    }

    fn of(texts: &[String]) -> Result<Self, Box<BuildError>> {
        let texts: Vec<String> = texts
            .iter()
            .map(|text| regex_syntax::escape(text))
            .collect();
        let pattern = format!("(?i:{})|\\\\[u/]", texts.join("|"));
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let config = meta::Config::new().utf8_empty(false);
        let regex = Regex::builder()
            .syntax(syntax)
            .configure(config)
            .build(&pattern)?;
        Ok(Self(regex))
    }

    /// Begins to look.
    pub(super) fn seek(&self) -> Seek<'_> {
        Seek {
            regex: &self.0,
            cache: self.0.create_cache(),
            found: None,
        }
    }
}

/// Looks through a buffer, from its start to its end.
pub(super) struct Seek<'a> {
    regex: &'a Regex,
    cache: Cache,
    /// Where the last one was found.
    found: Option<usize>,
}

impl Seek<'_> {
    /// The first place from `at` on where a line that may fit has what is looked for.
    pub(super) fn next(&mut self, buffer: &[u8], at: usize) -> Option<usize> {
        if let Some(found) = self.found.filter(|found| *found >= at) {
            return Some(found).filter(|found| *found < buffer.len());
        }
        let input = Input::new(buffer).range(at..);
        let found = self.regex.search_with(&mut self.cache, &input);
        let found = found.map_or(buffer.len(), |found| found.start());
        self.found = Some(found);
        Some(found).filter(|found| *found < buffer.len())
    }

    /// Whether a line may fit.
    pub(super) fn is_in(&mut self, buffer: &[u8], line: &Range<usize>) -> bool {
        self.next(buffer, line.start)
            .is_some_and(|found| found < line.end)
    }
}

/// What a line has if a member of it fits a pattern, as JSON is written.
fn escaped(pattern: &Pattern, is_whole: bool) -> Option<String> {
    let text = pattern.longest();
    if text.len() < LEAST {
        return None;
    }
    let json = serde_json::to_string(text).ok()?;
    // A number has no quotes.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_whole && pattern.literal().is_some() && !is_number {
        return Some(json);
    }
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    Some(inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_way_a_text_is_written_its_line_is_found() {
        for (asked, lines) in [
            (
                "acme",
                &[r#"{"tenant":"ACME"}"#, r#"{"tenant":"\u0061cme"}"#][..],
            ),
            (
                "a/b\"c\\d",
                &[r#"{"x":"A/b\"c\\D"}"#, r#"{"x":"a\/b\"c\\d"}"#],
            ),
            ("*zab*", &[r#"{"x":"myZabbix"}"#]),
            ("1234", &[r#"{"x":1234}"#, r#"{"x":"1234"}"#]),
            ("x\ny", &[r#"{"x":"x\ny"}"#, r#"{"x":"x\u000ay"}"#]),
            ("café", &["{\"x\":\"café\"}", r#"{"x":"caf\u00e9"}"#]),
        ] {
            let filter = Filter {
                tenant: vec![asked.parse().unwrap()],
                ..Filter::default()
            };
            let needle = Needle::new(&filter).unwrap();
            for line in lines {
                let mut seek = needle.seek();
                let all = format!("{{\"other\":1}}\n{line}\n");
                let place = 12..all.len() - 1;
                assert!(seek.is_in(all.as_bytes(), &place), "{asked} {line}");
                assert!(!needle.seek().is_in(all.as_bytes(), &(0..11)), "{asked}");
            }
        }
    }

    #[test]
    fn a_whole_text_is_not_found_within_another() {
        let filter = Filter {
            client: vec!["zabbix".parse().unwrap()],
            ..Filter::default()
        };
        let line = br#"{"client":"x","rule":"clients.zabbix.allow[0]"}"#;
        let needle = Needle::new(&filter).unwrap();
        assert!(!needle.seek().is_in(line, &(0..line.len())));
    }
}
