//! The proof that no value fits two rules that name different tenants.
//!
//! Two rules can clash where they are for a common client and one looks at nothing that the other
//! does not look at too. They are disjoint where they are so in one of their common sources: two exact
//! values that differ, an exact value that a pattern does not fit, or two patterns whose automata
//! have no value in common. What cannot be proven in bounded memory counts as a clash.

use std::collections::{HashMap, VecDeque};

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;

use super::pattern::Pattern;
use super::rules::{Rule, Test};
use super::source::Source;

/// The most memory of an automaton, in bytes, and of making it.
const AUTOMATON: usize = 1024 * 1024;
const MAKING: usize = 4 * 1024 * 1024;
/// So many pairs of patterns are looked at one by one, where those of a source are too large for one
/// automaton.
const PAIRS: usize = 2000;

/// Two rules that are not disjoint, by their places.
#[derive(Debug, Eq, PartialEq)]
pub struct Conflict {
    /// The one.
    pub one: usize,
    /// The other, which stands behind it.
    pub other: usize,
    /// What is wrong with them.
    pub clash: Clash,
}

/// What is wrong with two rules.
#[derive(Debug, Eq, PartialEq)]
pub enum Clash {
    /// Both are about these values, one for each of their common sources.
    Both(Vec<String>),
    /// Whether there are values that both are about cannot be proven in bounded memory.
    Unproven,
}

/// The pairs of rules that one request could fit, and that name different tenants or may do so.
pub fn conflicts(rules: &[Rule]) -> Vec<Conflict> {
    let mut proof = Proof::new(rules);
    let mut found = Vec::new();
    let classes = proof.classes();
    for (place, smaller) in classes.iter().enumerate() {
        let index = Index::new(smaller, &proof.looks_at);
        for (other, larger) in classes.iter().enumerate() {
            let is_same = place == other;
            let contains = |source| larger.sources.binary_search(source).is_ok();
            if !is_same
                && (larger.sources.len() == smaller.sources.len()
                    || !smaller.sources.iter().all(contains))
            {
                continue;
            }
            for rule in &larger.rules {
                let candidates = index.candidates(*rule, &proof.looks_at);
                let candidates = candidates.filter(|other| !is_same || **other < *rule);
                let candidates: Vec<usize> = candidates.copied().collect();
                for other in candidates {
                    found.extend(proof.judge(other.min(*rule), other.max(*rule)));
                }
            }
        }
    }
    found.sort_by_key(|conflict| (conflict.other, conflict.one));
    found
}

/// Rules that look at the same sources.
struct Class {
    /// In order.
    sources: Vec<usize>,
    rules: Vec<usize>,
}

/// The rules of a class by their exact values; those with a pattern are all candidates.
struct Index<'r> {
    sources: &'r [usize],
    exact: HashMap<Vec<&'r str>, Vec<usize>>,
    patterned: Vec<usize>,
    all: &'r [usize],
}

/// The tests of each rule by the source they are of.
type LooksAt<'r> = [HashMap<usize, &'r Test>];

impl<'r> Index<'r> {
    fn new(class: &'r Class, looks_at: &LooksAt<'r>) -> Self {
        let mut index = Self {
            sources: &class.sources,
            exact: HashMap::new(),
            patterned: Vec::new(),
            all: &class.rules,
        };
        for rule in &class.rules {
            match values(*rule, &class.sources, looks_at) {
                Some(values) => index.exact.entry(values).or_default().push(*rule),
                None => index.patterned.push(*rule),
            }
        }
        index
    }

    /// The rules of the class that another may clash with.
    fn candidates(&self, rule: usize, looks_at: &LooksAt<'r>) -> impl Iterator<Item = &usize> {
        let (few, many) = match values(rule, self.sources, looks_at) {
            Some(values) => {
                let equal = self.exact.get(&values).map_or(&[][..], Vec::as_slice);
                (equal, &self.patterned[..])
            }
            None => (&[][..], self.all),
        };
        few.iter().chain(many)
    }
}

/// The exact values that a rule wants of some sources, if it wants no other of them.
fn values<'r>(rule: usize, sources: &[usize], looks_at: &LooksAt<'r>) -> Option<Vec<&'r str>> {
    let tests = looks_at.get(rule)?;
    let exact = |source| match tests.get(source) {
        Some(Test::Exact(value)) => Some(&**value),
        Some(Test::Fits(_)) | None => None,
    };
    sources.iter().map(exact).collect()
}

/// What is known of the rules so far.
struct Proof<'r> {
    rules: &'r [Rule],
    looks_at: Vec<HashMap<usize, &'r Test>>,
    /// Of each source the values that two of its patterns have in common, once they were looked for.
    common: HashMap<usize, Common>,
    /// How many pairs of patterns may still be looked at one by one.
    pairs: usize,
}

/// The pairs of rules whose patterns for a source have a value in common, and one such value.
type Overlaps = HashMap<(usize, usize), String>;

enum Common {
    /// All that there are.
    All(Overlaps),
    /// Those of the pairs that were looked at; `None` is for what could not be proven.
    Some(HashMap<(usize, usize), Option<Relation>>),
}

/// What two tests have in common.
#[derive(Clone, Debug)]
enum Relation {
    Disjoint,
    Overlap(String),
}

impl<'r> Proof<'r> {
    fn new(rules: &'r [Rule]) -> Self {
        let mut places: HashMap<&Source, usize> = HashMap::new();
        let mut looks_at = Vec::with_capacity(rules.len());
        for rule in rules {
            let mut tests = HashMap::new();
            for condition in &rule.conditions {
                let next = places.len();
                let place = *places.entry(&condition.source).or_insert(next);
                tests.insert(place, &condition.test);
            }
            looks_at.push(tests);
        }
        Self {
            rules,
            looks_at,
            common: HashMap::new(),
            pairs: PAIRS,
        }
    }

    fn classes(&self) -> Vec<Class> {
        let mut classes: HashMap<Vec<usize>, Vec<usize>> = HashMap::new();
        for (rule, tests) in self.looks_at.iter().enumerate() {
            let mut sources: Vec<usize> = tests.keys().copied().collect();
            sources.sort_unstable();
            classes.entry(sources).or_default().push(rule);
        }
        let classes = classes.into_iter();
        classes
            .map(|(sources, rules)| Class { sources, rules })
            .collect()
    }

    /// Whether two rules clash, of which one looks at nothing that the other does not look at.
    fn judge(&mut self, one: usize, other: usize) -> Option<Conflict> {
        let (a, b) = (self.rules.get(one)?, self.rules.get(other)?);
        if !have_common_client(a, b) || same_tenant(a, b) {
            return None;
        }
        let (tests, others) = (self.looks_at.get(one)?, self.looks_at.get(other)?);
        let shared = tests.iter().filter_map(|(source, test)| {
            let other = others.get(source)?;
            Some((*source, *test, *other))
        });
        let mut shared: Vec<_> = shared.collect();
        shared.sort_by_key(|(source, ..)| *source);
        let mut both = Vec::new();
        let mut is_open = false;
        for (source, test, against) in shared {
            let relation = match (test, against) {
                (Test::Exact(value), against) => of_value(value, against),
                (test, Test::Exact(value)) => of_value(value, test),
                (Test::Fits(_), Test::Fits(_)) => match self.patterns(source, one, other) {
                    Some(relation) => relation,
                    None => {
                        is_open = true;
                        continue;
                    }
                },
            };
            match relation {
                Relation::Disjoint => return None,
                Relation::Overlap(value) => both.push(value),
            }
        }
        let clash = if is_open {
            Clash::Unproven
        } else {
            Clash::Both(both)
        };
        Some(Conflict { one, other, clash })
    }

    /// What the patterns of two rules for a source have in common, if that can be told.
    fn patterns(&mut self, source: usize, one: usize, other: usize) -> Option<Relation> {
        let looks_at = &self.looks_at;
        let pattern = |rule: usize| match looks_at.get(rule)?.get(&source)? {
            Test::Fits(pattern) => Some((rule, pattern)),
            Test::Exact(_) => None,
        };
        let common = self.common.entry(source).or_insert_with(|| {
            let all: Vec<_> = (0..looks_at.len()).filter_map(pattern).collect();
            overlaps(&all).map_or_else(|| Common::Some(HashMap::new()), Common::All)
        });
        let pair = (one, other);
        let of = |overlaps: &Overlaps| match overlaps.get(&pair) {
            Some(value) => Relation::Overlap(value.clone()),
            None => Relation::Disjoint,
        };
        match common {
            Common::All(overlaps) => Some(of(overlaps)),
            Common::Some(known) => {
                if let Some(known) = known.get(&pair) {
                    return known.clone();
                }
                self.pairs = self.pairs.checked_sub(1)?;
                let two = [pattern(one)?, pattern(other)?];
                let relation = overlaps(&two).as_ref().map(of);
                known.insert(pair, relation.clone());
                relation
            }
        }
    }
}

fn of_value(value: &str, test: &Test) -> Relation {
    if test.passes(value) {
        Relation::Overlap(value.to_owned())
    } else {
        Relation::Disjoint
    }
}

fn have_common_client(one: &Rule, other: &Rule) -> bool {
    match (&one.clients, &other.clients) {
        (Some(one), Some(other)) => !one.is_disjoint(other),
        (None, _) | (_, None) => true,
    }
}

/// Whether two rules name one tenant wherever both hold. What a pattern captures is known only
/// where the other rule wants an exact value of the same source.
fn same_tenant(one: &Rule, other: &Rule) -> bool {
    match (&one.tenant, &other.tenant) {
        (Some(one), Some(other)) => one == other,
        (Some(fixed), None) => captured(other, one) == Some(fixed),
        (None, Some(fixed)) => captured(one, other) == Some(fixed),
        (None, None) => false,
    }
}

/// What a rule captures of the exact value that another wants of the same source.
fn captured<'r>(capturing: &Rule, exact: &'r Rule) -> Option<&'r str> {
    let (source, pattern) = capturing.conditions.iter().find_map(|it| match &it.test {
        Test::Fits(pattern) if pattern.captures() => Some((&it.source, pattern)),
        Test::Exact(_) | Test::Fits(_) => None,
    })?;
    let mut conditions = exact.conditions.iter();
    let beside = conditions.find(|condition| condition.source == *source)?;
    match &beside.test {
        Test::Exact(value) => pattern.capture(value),
        Test::Fits(_) => None,
    }
}

/// The pairs of patterns that have a value in common; `None` where the automaton of all is too
/// large, or cannot be made.
///
/// One automaton reads a value for all patterns at once. It has no state in which two of them have
/// come to their end unless a value leads there, which is told.
fn overlaps(patterns: &[(usize, &Pattern)]) -> Option<Overlaps> {
    let wholes: Vec<&Hir> = patterns.iter().map(|(_, pattern)| &pattern.whole).collect();
    let nfa = thompson::Compiler::new()
        .configure(thompson::Config::new().which_captures(WhichCaptures::None))
        .build_many_from_hir(&wholes)
        .ok()?;
    let config = dense::Config::new()
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .accelerate(false)
        .dfa_size_limit(Some(AUTOMATON))
        .determinize_size_limit(Some(MAKING));
    let mut builder = dense::Builder::new();
    let dfa = builder.configure(config).build_from_nfa(&nfa).ok()?;
    let input = Input::new("").anchored(Anchored::Yes);
    let start = dfa.start_state_forward(&input).ok()?;

    let bytes = readable_bytes(&dfa);
    let mut overlaps = Overlaps::new();
    let mut came_from: HashMap<StateID, Option<(StateID, u8)>> = HashMap::from([(start, None)]);
    let mut waiting = VecDeque::from([start]);
    while let Some(state) = waiting.pop_front() {
        let end = dfa.next_eoi_state(state);
        if dfa.is_match_state(end) && dfa.match_len(end) > 1 {
            let ended = (0..dfa.match_len(end)).map(|at| dfa.match_pattern(end, at));
            let rules = ended.filter_map(|pattern| patterns.get(pattern.as_usize()));
            let rules: Vec<usize> = rules.map(|(rule, _)| *rule).collect();
            note(&mut overlaps, &rules, &value_to(state, &came_from));
        }
        for byte in &bytes {
            let next = dfa.next_state(state, *byte);
            if dfa.is_quit_state(next) {
                return None;
            }
            if !dfa.is_dead_state(next) && !came_from.contains_key(&next) {
                came_from.insert(next, Some((state, *byte)));
                waiting.push_back(next);
            }
        }
    }
    Some(overlaps)
}

/// A byte of each class that the automaton tells apart, one that can be read where there is one.
fn readable_bytes(dfa: &dense::DFA<Vec<u32>>) -> Vec<u8> {
    let classes = dfa.byte_classes();
    let mut seen = [false; 256];
    let mut bytes: Vec<u8> = (b'a'..=b'z')
        .chain(b'0'..=b'9')
        .chain(0..=u8::MAX)
        .collect();
    bytes.retain(|byte| {
        let class = seen.get_mut(usize::from(classes.get(*byte)));
        class.is_some_and(|seen| !std::mem::replace(seen, true))
    });
    bytes
}

/// The shortest value that leads to a state.
fn value_to(state: StateID, came_from: &HashMap<StateID, Option<(StateID, u8)>>) -> String {
    let mut value = Vec::new();
    let mut at = state;
    while let Some(Some((before, byte))) = came_from.get(&at) {
        value.push(*byte);
        at = *before;
    }
    value.reverse();
    String::from_utf8_lossy(&value).into_owned()
}

fn note(overlaps: &mut Overlaps, rules: &[usize], value: &str) {
    for (at, one) in rules.iter().enumerate() {
        for other in rules.iter().skip(at + 1) {
            let pair = (*one.min(other), *one.max(other));
            overlaps.entry(pair).or_insert_with(|| value.to_owned());
        }
    }
}
