//! The rules of one client, ready for decisions.

use super::explain::{Effect, Finding, Unmet};
use super::index::Index;
use super::rule::{Facts, Rule, Rules};
use super::{Demand, Denied, Road};

/// The rules of one client, and where to find them.
#[derive(Debug, Default)]
pub(super) struct Book {
    rules: Rules,
    deny: Index,
    allow: Index,
}

impl Book {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            deny: Index::new(&rules.deny),
            allow: Index::new(&rules.allow),
            rules,
        }
    }

    /// Whether every request needs a reason.
    pub(super) fn demands_reason(&self) -> bool {
        self.rules.reason == Demand::Required
    }

    /// The rule that allows a request, and how many rules it took to find it.
    pub(super) fn judge(
        &self,
        facts: &Facts<'_>,
        road: Option<&'static Road>,
    ) -> (Result<&Rule, Denied>, usize) {
        let (denying, looked_at) = self.deny.first(&self.rules.deny, facts, 0);
        if let Some(rule) = denying {
            return (Err(Denied::Operation(Some(rule.name.clone()))), looked_at);
        }
        let (allowing, more) = self.allow.first(&self.rules.allow, facts, facts.must_spell);
        let judged = allowing.ok_or_else(|| self.nothing_allows(facts, road));
        (judged, looked_at + more)
    }

    /// The nearest miss among the rules that allow.
    fn nothing_allows(&self, facts: &Facts<'_>, road: Option<&'static Road>) -> Denied {
        let allow = self.rules.allow.iter();
        let misses = allow
            .filter(|rule| rule.ways().any(|way| way.path.covers(facts.path)))
            .map(|rule| Finding::of(rule, Effect::Allow, facts, road))
            .filter(Finding::covers_path);
        // Of two that are as near, the one that a wildcard would be enough for.
        let distance = |finding: &Finding| match finding.unmet[..] {
            [Unmet::Road(_)] => 0,
            ref unmet => unmet.len(),
        };
        match misses.min_by_key(distance) {
            None => Denied::Operation(None),
            Some(nearest) => match nearest.unmet[..] {
                [Unmet::Road(road)] => Denied::Road(road),
                _ => Denied::Unmet(Box::new(nearest)),
            },
        }
    }

    /// What each rule says of a request: those that deny, then those that allow.
    pub(super) fn explain(&self, facts: &Facts<'_>, road: Option<&'static Road>) -> Vec<Finding> {
        let of = |effect| move |rule: &Rule| Finding::of(rule, effect, facts, road);
        let deny = self.rules.deny.iter().map(of(Effect::Deny));
        deny.chain(self.rules.allow.iter().map(of(Effect::Allow)))
            .collect()
    }

    /// A rule that asks for a reason, if one does.
    pub(super) fn asking(&self) -> Option<&str> {
        let asks = |rule: &&Rule| self.rules.reason.max(rule.reason) == Demand::Required;
        self.rules.allow.iter().find(asks).map(|rule| &*rule.name)
    }

    /// Rules that do nothing, each with why.
    pub(super) fn idle(&self) -> impl Iterator<Item = String> {
        let allow = self.rules.allow.iter().enumerate();
        allow.filter_map(|(index, rule)| {
            let mut deny = self.rules.deny.iter();
            if let Some(denying) = deny.find(|denying| denying.includes(rule)) {
                return Some(format!(
                    "{} allows nothing: {} denies all of it",
                    rule.name, denying.name
                ));
            }
            let asks_more = |other: &Rule| rule.reason > other.reason || rule.access > other.access;
            let mut before = self.rules.allow.iter().take(index);
            let other = before.find(|other| asks_more(other) && other.includes(rule))?;
            Some(format!(
                "{} asks for nothing: {} stands before it and allows all of it without",
                rule.name, other.name
            ))
        })
    }
}
