//! `tenant::mapping`: rules over one header.
//!
//! - A pattern takes exactly the values that the `regex` crate takes when it is anchored.
//! - No value makes two rules name two tenants that were proven to be disjoint; where they were not,
//!   the value that is told fits both.
//! - All rules together say of a value what each of them says alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request};
use vspc_gateway::client::{Aim, Client, Targets, Tenants, Terms};
use vspc_gateway::request::{Limits, RequestHead};
use vspc_gateway::tenant::mapping::{
    By, Clash, Condition, Pattern, Rule, Rules, Source, Test, VALUE_LIMIT, conflicts,
};
use vspc_gateway::tenant::{Asker, Claims, Directory, Mapping};

/// Takes the lines of the input for rules (`=value`, `~pattern`), and those after an empty one for
/// values.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n');
    let before = lines.by_ref().take_while(|line| !line.is_empty());
    // More of them is more time, and nothing new.
    let tests: Vec<Test> = before.take(8).filter_map(read).collect();
    let values = lines.take(8).filter(|value| value.len() <= VALUE_LIMIT);
    let values: Vec<&str> = values.collect();
    for test in &tests {
        if let Test::Fits(pattern) = test {
            check_pattern(pattern, &values);
        }
    }
    let rules: Vec<Rule> = tests.into_iter().enumerate().map(rule).collect();
    let mut clashing = BTreeSet::new();
    for conflict in conflicts(&rules) {
        clashing.insert((conflict.one, conflict.other));
        let pair = [&rules[conflict.one], &rules[conflict.other]];
        if let Clash::Both(told) = conflict.clash {
            let value = told.first().expect("they look at one header");
            let says = pair.map(|rule| says(rule, value));
            assert!(says.iter().all(Option::is_some), "{value:?} {pair:?}");
        }
    }
    for value in &values {
        for (other, after) in rules.iter().enumerate() {
            for (one, before) in rules.iter().enumerate().take(other) {
                if let (Some(a), Some(b)) = (says(before, value), says(after, value)) {
                    assert!(
                        a == b || clashing.contains(&(one, other)),
                        "{value:?} {a:?} {b:?}"
                    );
                }
            }
        }
    }
    check_together(rules, &values);
}

fn read(line: &str) -> Option<Test> {
    let rest = line.get(1..).filter(|rest| rest.len() <= 64)?;
    match line.as_bytes().first()? {
        b'=' => Some(Test::Exact(rest.into())),
        b'~' => Pattern::parse(rest).ok().map(Test::Fits),
        _ => None,
    }
}

/// Rules take turns to name two tenants, where their patterns do not name one.
fn rule((number, test): (usize, Test)) -> Rule {
    let captures = matches!(&test, Test::Fits(pattern) if pattern.captures());
    let tenant = ["one", "two"][number % 2];
    Rule {
        name: format!("r{number}").into(),
        clients: None,
        conditions: vec![Condition {
            source: Source::of_header(HeaderName::from_static("x-site")),
            test,
        }],
        tenant: (!captures).then(|| Arc::from(tenant)),
    }
}

fn says(rule: &Rule, value: &str) -> Option<String> {
    match (&rule.tenant, &rule.conditions[0].test) {
        (Some(tenant), test) => test.passes(value).then(|| tenant.to_string()),
        (None, Test::Fits(pattern)) => pattern.capture(value).map(str::to_owned),
        (None, Test::Exact(_)) => None,
    }
}

fn check_pattern(pattern: &Pattern, values: &[&str]) {
    let text = pattern.as_str();
    let alone = regex::Regex::new(text);
    // What stands behind a # may be a comment, and so would the closing anchor.
    let whole = regex::Regex::new(&format!(r"\A(?:{text})\z"));
    let (Ok(_), Ok(whole), false) = (alone, whole, text.contains('#')) else {
        return;
    };
    for value in values {
        assert_eq!(
            pattern.fits(value),
            whole.is_match(value),
            "{text:?} {value:?}"
        );
        let captured = whole.captures(value).filter(|_| pattern.captures());
        let captured = captured.map(|it| it.name("tenant").map_or("", |it| it.as_str()).to_owned());
        if pattern.captures() {
            assert_eq!(
                pattern.capture(value).map(str::to_owned),
                captured,
                "{text:?} {value:?}"
            );
        }
    }
}

fn check_together(rules: Vec<Rule>, values: &[&str]) {
    let alone = |value: &str| -> BTreeSet<(String, String)> {
        let said = rules
            .iter()
            .filter_map(|rule| Some((rule.name.to_string(), says(rule, value)?)));
        said.collect()
    };
    let expected: Vec<_> = values.iter().map(|value| alone(value)).collect();
    let mapping = Mapping {
        rules: Rules::new(rules),
        ..Mapping::default()
    };
    let client = Client {
        name: "tool".into(),
        index: 0,
        tenants: Tenants::All,
        targets: Targets::None,
        terms: Terms::default(),
    };
    let asker = Asker {
        client: &client,
        tenant: None,
        aim: Aim::Own,
        certificate: None,
        claims: Claims::None,
    };
    for (value, expected) in values.iter().zip(expected) {
        let Ok(line) = HeaderValue::from_bytes(value.as_bytes()) else {
            continue;
        };
        let request = Request::builder().uri("/").header("host", "gw");
        let (parts, ()) = request
            .header("x-site", line)
            .body(())
            .unwrap()
            .into_parts();
        let Ok(head) = RequestHead::parse(&parts, &Limits::default()) else {
            continue;
        };
        if value.is_empty() || value.contains(',') {
            let refused = mapping.resolve_for(&head, &asker, &Directory::default());
            assert!(refused.is_err(), "{value:?}");
            continue;
        }
        let explained = mapping.explain(&head, &asker, &Directory::default());
        let said = explained.said.iter().filter_map(|said| match said.by {
            By::Rule(rule) => {
                let name = said.name.as_deref().unwrap_or_default();
                Some((
                    rule.name.to_string(),
                    String::from_utf8(name.to_vec()).unwrap(),
                ))
            }
            _ => None,
        });
        assert_eq!(said.collect::<BTreeSet<_>>(), expected, "{value:?}");
    }
}
