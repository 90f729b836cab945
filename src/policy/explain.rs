//! Why a request is allowed or denied, rule by rule. For people: this takes its time.

use std::fmt;
use std::sync::Arc;

use super::rule::{Facts, MethodNames, MethodSet, READING, Rule};
use super::{Hours, Road};
use crate::vspc::grant::Access;

/// What one rule says of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The rule, as records name it.
    pub rule: Arc<str>,
    /// What it does to requests that it matches.
    pub effect: Effect,
    /// What keeps it from matching this one; nothing where it does.
    pub unmet: Vec<Unmet>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// It lets requests pass.
    Allow,
    /// It stops them, whatever else allows them.
    Deny,
}

/// What keeps a rule from matching.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unmet {
    /// It holds at other times.
    Hours(Hours),
    /// It is about these methods.
    Methods(String),
    /// It is about other paths.
    Path,
    /// It is for reading.
    Reading,
    /// Its wildcards do not reach there.
    Road(&'static Road),
    /// It is about other users.
    Targets,
    /// It is about other tenants.
    Tenants,
}

impl Finding {
    pub(super) fn of(
        rule: &Rule,
        effect: Effect,
        facts: &Facts<'_>,
        road: Option<&'static Road>,
    ) -> Self {
        Self {
            rule: Arc::clone(&rule.name),
            effect,
            unmet: unmet(rule, facts, road.filter(|_| effect == Effect::Allow)),
        }
    }

    /// Whether the rule matches.
    pub fn applies(&self) -> bool {
        self.unmet.is_empty()
    }

    /// Whether the rule is about the request's path, wherever else it fails.
    pub fn covers_path(&self) -> bool {
        !self.unmet.contains(&Unmet::Path)
    }
}

fn unmet(rule: &Rule, facts: &Facts<'_>, road: Option<&'static Road>) -> Vec<Unmet> {
    let mut unmet = Vec::new();
    let covering = || rule.ways().filter(|way| way.path.covers(facts.path));
    if covering().next().is_none() || !rule.is_on_path(facts) {
        unmet.push(Unmet::Path);
    } else {
        let methods: MethodSet = covering().fold(0, |all, way| all | way.methods);
        let has_method = methods & facts.method != 0;
        if !has_method {
            unmet.push(Unmet::Methods(MethodNames(methods).to_string()));
        }
        let spells = |must: u32| {
            let mut ways = covering().filter(|way| !has_method || way.methods & facts.method != 0);
            ways.any(|way| way.path.spelled() & must == must)
        };
        if let Some(road) = road.filter(|_| !spells(facts.must_spell)) {
            unmet.push(Unmet::Road(road));
        }
    }
    if rule.access == Access::ReadOnly && facts.method & READING == 0 {
        unmet.push(Unmet::Reading);
    }
    if !rule.is_for_tenant(facts) {
        unmet.push(Unmet::Tenants);
    }
    if !rule.is_for_target(facts) {
        unmet.push(Unmet::Targets);
    }
    if let Some(hours) = rule.hours.filter(|_| !rule.is_time(facts)) {
        unmet.push(Unmet::Hours(hours));
    }
    unmet
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            effect,
            unmet,
        } = self;
        match (effect, unmet.split_first()) {
            (Effect::Allow, None) => write!(f, "{rule} allows it"),
            (Effect::Deny, None) => write!(f, "{rule} denies it"),
            (_, Some(_)) if !self.covers_path() => write!(f, "{rule} is about other paths"),
            (_, Some((first, others))) => {
                write!(f, "{rule} covers the path but {first}")?;
                others
                    .iter()
                    .try_for_each(|other| write!(f, " and {other}"))
            }
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hours(hours) => write!(f, "holds only {hours}"),
            Self::Methods(methods) => write!(f, "lists only {methods}"),
            Self::Path => f.write_str("is about other paths"),
            Self::Reading => f.write_str("is for reading only"),
            Self::Road(road) => write!(f, "does not name the road {}", road.road),
            Self::Targets => f.write_str("is for other users"),
            Self::Tenants => f.write_str("is for other tenants"),
        }
    }
}
