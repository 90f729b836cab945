//! Rules: which values of a request name which tenant.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;
use http::header::HeaderName;
use smallvec::SmallVec;

use super::pattern::{Pattern, Patterns};
use super::source::{Read, Source};
use super::{Asker, Unresolved};
use crate::request::RequestHead;

/// What a value must be.
#[derive(Debug)]
pub enum Test {
    /// This, byte for byte.
    Exact(Box<str>),
    /// One that fits.
    Fits(Pattern),
}

impl Test {
    /// Whether a value passes.
    pub fn passes(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *value,
            Self::Fits(pattern) => pattern.fits(value),
        }
    }
}

/// One thing that must hold.
#[derive(Debug)]
pub struct Condition {
    /// What it looks at. No other condition of the rule looks at the same.
    pub source: Source,
    /// What that must be.
    pub test: Test,
}

/// A rule: where all conditions hold, the request names a tenant.
#[derive(Debug)]
pub struct Rule {
    /// How records call it.
    pub name: Arc<str>,
    /// The clients that it is for; every client, where it does not say.
    pub clients: Option<HashSet<Arc<str>>>,
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// The tenant, by name or alias; absent, the one pattern that captures says it.
    pub tenant: Option<Arc<str>>,
}

impl Rule {
    /// Whether it is the caller's proof of who it is, alone, that the rule looks at.
    pub fn is_bound(&self) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.all(|condition| condition.source.is_bound())
    }
}

/// All rules, found by what they look at.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Of each rule the sources of its conditions, in their order.
    looks_at: Vec<SmallVec<[usize; 2]>>,
    sources: Vec<Looked>,
}

/// A source, and the rules that are found by its values.
#[derive(Debug)]
struct Looked {
    source: Source,
    everyone: Option<Group>,
    of_client: HashMap<Arc<str>, Group>,
}

/// Some rules by what one source must be. Each rule is in one group of each of its clients, that
/// of its rarest condition; the groups of its other sources are there, if empty.
#[derive(Debug, Default)]
struct Group {
    exact: HashMap<Box<str>, SmallVec<[usize; 1]>, FixedState>,
    patterns: Patterns,
}

/// What a rule, or a header that rules are about, says.
pub(super) enum Heard<'a> {
    /// A rule holds, and names this tenant.
    Rule(&'a Rule, Cow<'a, str>),
    /// No rule knows the value of this header, which exists for rules alone.
    Unheard(&'a HeaderName),
}

impl Rules {
    /// Rules that were proven to be disjoint.
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut sources: Vec<&Source> = Vec::new();
        let mut found: HashMap<&Source, usize> = HashMap::new();
        let mut looks_at: Vec<SmallVec<[usize; 2]>> = Vec::with_capacity(rules.len());
        let mut counts: HashMap<(usize, &str), usize> = HashMap::new();
        for rule in &rules {
            let places = rule.conditions.iter().map(|condition| {
                let place = *found.entry(&condition.source).or_insert_with(|| {
                    sources.push(&condition.source);
                    sources.len() - 1
                });
                if let Test::Exact(value) = &condition.test {
                    *counts.entry((place, value)).or_default() += 1;
                }
                place
            });
            looks_at.push(places.collect());
        }
        let mut drafts: Vec<Drafts<'_>> = sources.iter().map(|_| Drafts::default()).collect();
        for (number, (rule, places)) in rules.iter().zip(&looks_at).enumerate() {
            let by = rarest(rule, places, &counts);
            for (at, (condition, place)) in rule.conditions.iter().zip(places).enumerate() {
                if let Some(drafts) = drafts.get_mut(*place) {
                    let test = (at == by).then_some(&condition.test);
                    draft(drafts, rule, number, test);
                }
            }
        }
        let looked = sources.into_iter().zip(drafts);
        let looked = looked.map(|(source, drafts)| Looked::new(source.clone(), drafts));
        let sources = looked.collect();
        Self {
            rules,
            looks_at,
            sources,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The headers that exist for rules alone.
    pub fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        self.sources
            .iter()
            .filter_map(|looked| looked.source.owned())
    }

    /// The headers that rules look at.
    pub(super) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.sources
            .iter()
            .filter_map(|looked| match &looked.source {
                Source::Header(name) => Some(name),
                Source::Certificate(_) | Source::Claim(_) | Source::Host => None,
            })
    }

    /// Tells what each rule says that holds for a request, and of each header of the rules' own
    /// that no rule knows its value.
    pub(super) fn apply<'a>(
        &'a self,
        head: &RequestHead<'_>,
        asker: &Asker<'_>,
        mut hear: impl FnMut(Heard<'a>),
    ) -> Result<(), Unresolved> {
        let client = &*asker.client.name;
        let mut reads: SmallVec<[Read<'_>; 4]> = SmallVec::new();
        for looked in &self.sources {
            reads.push(if looked.groups(client).next().is_some() {
                looked.source.read(head, asker)?
            } else {
                Read::Absent
            });
        }
        let mut held: SmallVec<[usize; 4]> = SmallVec::new();
        for (looked, read) in self.sources.iter().zip(&reads) {
            for value in read.values() {
                for group in looked.groups(client) {
                    group.each(value, |number| {
                        if !held.contains(&number) && self.holds(number, &reads, &mut hear) {
                            held.push(number);
                        }
                    });
                }
            }
        }
        for (place, (looked, read)) in self.sources.iter().zip(&reads).enumerate() {
            let mut held = held.iter().filter_map(|number| self.looks_at.get(*number));
            if let (Some(name), false) = (looked.source.owned(), matches!(read, Read::Absent))
                && !held.any(|places| places.contains(&place))
            {
                hear(Heard::Unheard(name));
            }
        }
        Ok(())
    }

    /// Whether all conditions of a rule hold; then tells what it says.
    fn holds<'a>(
        &'a self,
        number: usize,
        reads: &[Read<'_>],
        hear: &mut impl FnMut(Heard<'a>),
    ) -> bool {
        let (Some(rule), Some(places)) = (self.rules.get(number), self.looks_at.get(number)) else {
            return false;
        };
        let values = |place: &usize| reads.get(*place).map_or(&[][..], Read::values);
        let mut conditions = rule.conditions.iter().zip(places);
        if !conditions.all(|(condition, place)| {
            let mut values = values(place).iter();
            values.any(|value| condition.test.passes(value))
        }) {
            return false;
        }
        if let Some(tenant) = &rule.tenant {
            hear(Heard::Rule(rule, Cow::Borrowed(tenant)));
            return true;
        }
        for (condition, place) in rule.conditions.iter().zip(places) {
            if let Test::Fits(pattern) = &condition.test
                && pattern.captures()
            {
                let captured = values(place).iter().filter_map(|v| pattern.capture(v));
                captured.for_each(|name| hear(Heard::Rule(rule, Cow::Owned(name.to_owned()))));
            }
        }
        true
    }
}

impl Looked {
    fn new(source: Source, drafts: Drafts<'_>) -> Self {
        let mut looked = Self {
            source,
            everyone: None,
            of_client: HashMap::new(),
        };
        for (scope, draft) in drafts {
            let group = draft.build();
            match scope {
                None => looked.everyone = Some(group),
                Some(client) => drop(looked.of_client.insert(client, group)),
            }
        }
        looked
    }

    /// The rules for every client, and those for this one.
    fn groups(&self, client: &str) -> impl Iterator<Item = &Group> {
        let own = match self.of_client.is_empty() {
            true => None,
            false => self.of_client.get(client),
        };
        self.everyone.iter().chain(own)
    }
}

impl Group {
    /// The rules that a value may be of.
    fn each(&self, value: &str, mut found: impl FnMut(usize)) {
        if let Some(rules) = self.exact.get(value) {
            rules.iter().copied().for_each(&mut found);
        }
        self.patterns.each(value, found);
    }
}

/// The place of the condition by which a rule is found: the value that the fewest rules have.
fn rarest(rule: &Rule, places: &[usize], counts: &HashMap<(usize, &str), usize>) -> usize {
    let conditions = rule.conditions.iter().zip(places).enumerate();
    let exact = conditions.filter_map(|(at, (condition, place))| match &condition.test {
        Test::Exact(value) => Some((at, counts.get(&(*place, value)))),
        Test::Fits(_) => None,
    });
    exact
        .min_by_key(|(_, count)| *count)
        .map_or(0, |(at, _)| at)
}

/// The groups of a source under way; `None` is for every client.
type Drafts<'r> = HashMap<Option<Arc<str>>, Draft<'r>>;

/// Puts a rule among those of its clients; without a test, it is found by another condition.
fn draft<'r>(drafts: &mut Drafts<'r>, rule: &'r Rule, number: usize, test: Option<&'r Test>) {
    match &rule.clients {
        None => drafts.entry(None).or_default().add(number, test),
        Some(clients) => {
            for client in clients {
                let scope = Some(Arc::clone(client));
                drafts.entry(scope).or_default().add(number, test);
            }
        }
    }
}

#[derive(Default)]
struct Draft<'r> {
    exact: HashMap<Box<str>, SmallVec<[usize; 1]>, FixedState>,
    patterns: Vec<(usize, &'r Pattern)>,
}

impl<'r> Draft<'r> {
    fn add(&mut self, number: usize, test: Option<&'r Test>) {
        match test {
            None => {}
            Some(Test::Exact(value)) => self.exact.entry(value.clone()).or_default().push(number),
            Some(Test::Fits(pattern)) => self.patterns.push((number, pattern)),
        }
    }

    fn build(self) -> Group {
        Group {
            exact: self.exact,
            patterns: Patterns::new(&self.patterns),
        }
    }
}
