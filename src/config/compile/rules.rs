//! Lists of rules: what may be done, and what may not.

use std::collections::HashSet;
use std::sync::Arc;

use http::Method;

use super::conditions::{self, Whose};
use super::consoles::name as plain_name;
use crate::config::reader::{Item, Section};
use crate::policy::{Demand, Effect, Methods, PathPattern, Rule, Rules};
use crate::request::METHODS;
use crate::vspc::grant::Access;

/// The rules of a section; `name` is what records call it.
pub(super) fn rules(section: &mut Section<'_>, name: &str, whose: &Whose<'_>) -> Rules {
    let mut read = |key: &'static str, effect| {
        let mut names = HashSet::new();
        let sections = section.sections(key).into_iter().enumerate();
        sections
            .filter_map(|(index, mut section)| {
                let list = format!("{name}.{key}");
                let name = match called(&mut section, &mut names) {
                    Some(own) => format!("{list}.{own}"),
                    None => format!("{list}[{index}]"),
                };
                rule(section, name, effect, whose)
            })
            .collect()
    };
    Rules {
        deny: read("deny", Effect::Deny),
        allow: read("allow", Effect::Allow),
        reason: Demand::Optional,
    }
}

/// The rule's own name, which stays when rules are moved.
fn called(section: &mut Section<'_>, names: &mut HashSet<String>) -> Option<String> {
    let own = section.optional("name")?.read_with(plain_name)?;
    if !names.insert(own.clone()) {
        section.fault(
            "name",
            format!("another rule of this list is called {own:?}"),
        );
    }
    Some(own)
}

fn rule(mut section: Section<'_>, name: String, effect: Effect, whose: &Whose<'_>) -> Option<Rule> {
    let operations = section.optional("operations");
    let methods = match section.optional("methods") {
        Some(item) => methods(&item),
        None if effect == Effect::Deny || operations.is_some() => Some(Methods::Any),
        None => {
            section.fault("methods", r#"is missing: list them, or write ["*"]"#);
            None
        }
    };
    let paths = match section.optional("paths") {
        Some(item) => paths(&item),
        None if operations.is_some() => Some(Vec::new()),
        None => {
            section.fault("paths", "is missing: list paths, or operations");
            None
        }
    };
    let operations = operations.map_or(Some(Vec::new()), |item| conditions::operations(&item));
    let tenants = section.optional("tenants");
    let tenants = tenants.map(|item| conditions::tenants(&item, whose));
    let targets = section.optional("targets");
    let targets = targets.map(|item| conditions::targets(&item, whose));
    let hours = section.optional("hours");
    let hours = hours.map(|item| conditions::hours(&item));
    let (access, reason) = asks(&mut section, effect, whose);
    section.finish();
    let rule = Rule {
        name: Arc::from(name),
        methods: methods?,
        paths: paths?,
        operations: operations?,
        tenants: all_read(tenants)?,
        targets: all_read(targets)?,
        access: access?,
        hours: all_read(hours)?,
        reason: reason?,
    };
    if rule.is_impossible() {
        section.fault(
            "",
            "can never match: no method is left of its methods and operations",
        );
    }
    Some(rule)
}

/// What a rule asks of the requests that it allows.
fn asks(
    section: &mut Section<'_>,
    effect: Effect,
    whose: &Whose<'_>,
) -> (Option<Access>, Option<Demand>) {
    let read_only = section.or("read_only", false);
    let reason = conditions::demand(section);
    if effect == Effect::Deny {
        let asked = [
            ("read_only", read_only == Some(true)),
            ("reason", reason == Some(Demand::Required)),
        ];
        for (key, _) in asked.into_iter().filter(|(_, is_there)| *is_there) {
            section.fault(key, "belongs to a rule that allows: this one denies");
        }
    }
    if read_only == Some(true) && matches!(whose, Whose::Logins) {
        let message = "the console's own users choose that with readOnly when they log in: list \
                       the methods that read";
        section.fault("read_only", message);
    }
    let access = read_only.map(|read_only| match read_only {
        true => Access::ReadOnly,
        false => Access::Full,
    });
    (access, reason)
}

/// Turns what was read, or not, of what was there, or not, inside out.
fn all_read<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(read) => Some(read),
    }
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
