//! Lists of rules: what may be done, and what may not.

use std::sync::Arc;

use http::Method;

use crate::config::reader::{Item, Section};
use crate::policy::{Methods, PathPattern, Rule, Rules};
use crate::request::METHODS;

/// The rules of a section; `name` is what records call it.
pub(super) fn rules(section: &mut Section<'_>, name: &str) -> Rules {
    let mut read = |key: &'static str| {
        let sections = section.sections(key).into_iter().enumerate();
        sections
            .filter_map(|(index, section)| {
                rule(section, format!("{name}.{key}[{index}]"), key == "deny")
            })
            .collect()
    };
    Rules {
        deny: read("deny"),
        allow: read("allow"),
    }
}

fn rule(mut section: Section<'_>, name: String, denies: bool) -> Option<Rule> {
    let methods = match section.optional("methods") {
        Some(item) => methods(&item),
        None if denies => Some(Methods::Any),
        None => {
            section.fault("methods", r#"is missing: list them, or write ["*"]"#);
            None
        }
    };
    let paths = section.required("paths").and_then(|item| paths(&item));
    section.finish();
    Some(Rule {
        name: Arc::from(name),
        methods: methods?,
        paths: paths?,
    })
}

fn methods(item: &Item<'_>) -> Option<Methods> {
    let mut listed = Vec::new();
    for element in item.elements()? {
        let text = element.read::<String>()?;
        if text == "*" {
            return Some(Methods::Any);
        }
        if !METHODS.split(", ").any(|served| served == text) {
            element.fault(format!("must be \"*\" or one of {METHODS}"));
        }
        listed.extend(Method::from_bytes(text.as_bytes()));
    }
    if listed.is_empty() {
        item.fault("an empty list would match nothing");
    }
    Some(Methods::Listed(listed))
}

fn paths(item: &Item<'_>) -> Option<Vec<PathPattern>> {
    let elements = item.elements()?;
    if elements.is_empty() {
        item.fault("an empty list would match nothing");
    }
    let read: Vec<_> = elements
        .iter()
        .map(|item| item.read_with(|text: String| PathPattern::parse(&text)))
        .collect();
    read.into_iter().collect()
}
