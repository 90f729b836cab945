//! Rules by the paths they are about, so that a decision looks at few of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::rule::{Facts, MethodSet, READING, Rule, with_uid};
use crate::request::CanonicalPath;
use crate::vspc::grant::Access;

/// A tree of path segments. Each node has the rules whose patterns end there: those for all tenants,
/// and those of each tenant, in the order of the list.
#[derive(Debug, Default)]
pub(super) struct Index {
    root: Node,
    /// Whether rules ask for tenants at all.
    of_tenants: bool,
}

#[derive(Debug)]
struct Node {
    /// The first rule that is found here or below.
    first: u32,
    /// The places of the segments, from the left, that patterns spell out on the way here.
    spelled: u32,
    depth: u32,
    /// Sorted.
    literals: Vec<(Box<[u8]>, Self)>,
    any: Option<Box<Self>>,
    /// Of patterns that end with this segment.
    exact: Option<Box<Bucket>>,
    /// Of patterns that go on with `**`.
    open: Option<Box<Bucket>>,
}

impl Default for Node {
    fn default() -> Self {
        Self::below(0, 0)
    }
}

/// The rules that a way leads to.
#[derive(Debug, Default)]
struct Bucket {
    of_all: Hits,
    of_tenant: HashMap<Arc<str>, Hits, foldhash::fast::RandomState>,
}

#[derive(Debug, Default)]
struct Hits {
    /// By the order of rules.
    hits: Vec<Hit>,
    /// The methods for which nothing more can be found: an earlier rule matches in any case.
    settled: MethodSet,
}

#[derive(Clone, Copy, Debug)]
struct Hit {
    rule: u32,
    methods: MethodSet,
}

/// A search for the first rule that matches.
struct Search<'a> {
    rules: &'a [Rule],
    facts: &'a Facts<'a>,
    must_spell: u32,
    uid: Option<&'a str>,
    /// The first that was found so far.
    best: u32,
    /// How many rules were looked at.
    looked_at: usize,
}

impl Index {
    /// An index of rules, for lookups among the same.
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (number, rule) in (0_u32..).zip(rules) {
            for way in rule.ways() {
                let methods = match rule.access {
                    Access::Full => way.methods,
                    Access::ReadOnly => way.methods & READING,
                };
                let hit = Hit {
                    rule: number,
                    methods,
                };
                let bucket = index
                    .root
                    .bucket(way.path.steps(), way.path.is_open(), number);
                bucket.add(hit, rule);
            }
            index.of_tenants |= rule.tenants.is_some();
        }
        index
    }

    /// The first rule that matches, and how many were looked at. `must_spell`: the places of
    /// segments that its pattern must spell out.
    pub(super) fn first<'r>(
        &self,
        rules: &'r [Rule],
        facts: &Facts<'_>,
        must_spell: u32,
    ) -> (Option<&'r Rule>, usize) {
        let search = |uid: Option<&str>| {
            let mut search = Search {
                rules,
                facts,
                must_spell,
                uid,
                best: NONE,
                looked_at: 0,
            };
            search.walk(&self.root, below_root(facts.path));
            (search.best, search.looked_at)
        };
        let (best, looked_at) = match facts.tenant.filter(|_| self.of_tenants) {
            Some(tenant) => with_uid(tenant, search),
            None => search(None),
        };
        let found = usize::try_from(best).ok().and_then(|best| rules.get(best));
        (found, looked_at)
    }
}

impl Search<'_> {
    fn walk(&mut self, node: &Node, path: &[u8]) {
        if node.first >= self.best {
            return;
        }
        let is_spelled = node.spelled & self.must_spell == self.must_spell;
        if let Some(bucket) = node.open.as_ref().filter(|_| is_spelled) {
            self.look_in(bucket);
        }
        if path.is_empty() {
            if let Some(bucket) = node.exact.as_ref().filter(|_| is_spelled) {
                self.look_in(bucket);
            }
            return;
        }
        if node.is_last() {
            return;
        }
        let (segment, rest) = split(path);
        if let Some(child) = node.literal(segment) {
            self.walk(child, rest);
        }
        if let Some(child) = &node.any {
            self.walk(child, rest);
        }
    }

    fn look_in(&mut self, bucket: &Bucket) {
        self.look_at(&bucket.of_all);
        let Some(tenant) = self.facts.tenant.filter(|_| !bucket.of_tenant.is_empty()) else {
            return;
        };
        for name in [Some(&*tenant.name), self.uid].into_iter().flatten() {
            if let Some(hits) = bucket.of_tenant.get(name) {
                self.look_at(hits);
            }
        }
    }

    fn look_at(&mut self, hits: &Hits) {
        let Self { rules, facts, .. } = *self;
        for hit in hits.hits.iter().take_while(|hit| hit.rule < self.best) {
            self.looked_at += 1;
            let rule = usize::try_from(hit.rule)
                .ok()
                .and_then(|rule| rules.get(rule));
            if hit.methods & facts.method != 0 && rule.is_some_and(|rule| rule.agrees(facts)) {
                self.best = hit.rule;
                return;
            }
        }
    }
}

impl Node {
    fn below(spelled: u32, depth: u32) -> Self {
        Self {
            first: NONE,
            spelled,
            depth,
            literals: Vec::new(),
            any: None,
            exact: None,
            open: None,
        }
    }

    /// Whether no pattern spells out more segments, nor asks for any one.
    fn is_last(&self) -> bool {
        self.literals.is_empty() && self.any.is_none()
    }

    fn literal(&self, segment: &[u8]) -> Option<&Self> {
        // Of one there is nothing to search for.
        if let [(literal, child)] = &self.literals[..] {
            return (**literal == *segment).then_some(child);
        }
        let place = self
            .literals
            .binary_search_by(|(literal, _)| (**literal).cmp(segment));
        self.literals.get(place.ok()?).map(|(_, child)| child)
    }

    /// Where the rules of a pattern stand. What is not there yet is made.
    fn bucket<'s>(
        &mut self,
        mut steps: impl Iterator<Item = Option<&'s str>>,
        is_open: bool,
        number: u32,
    ) -> &mut Bucket {
        self.first = self.first.min(number);
        match steps.next() {
            Some(step) => self.child(step).bucket(steps, is_open, number),
            None if is_open => self.open.get_or_insert_default(),
            None => self.exact.get_or_insert_default(),
        }
    }

    fn child(&mut self, step: Option<&str>) -> &mut Self {
        let depth = self.depth + 1;
        let Some(literal) = step else {
            let spelled = self.spelled;
            let any = || Box::new(Self::below(spelled, depth));
            return self.any.get_or_insert_with(any);
        };
        let literal = literal.as_bytes();
        let place = self
            .literals
            .binary_search_by(|(other, _)| (**other).cmp(literal))
            .unwrap_or_else(|place| {
                let here = 1_u32.checked_shl(self.depth).unwrap_or(0);
                let child = Self::below(self.spelled | here, depth);
                self.literals.insert(place, (literal.into(), child));
                place
            });
        #[expect(clippy::indexing_slicing, reason = "found, or put there just now")]
        &mut self.literals[place].1
    }
}

impl Bucket {
    fn add(&mut self, hit: Hit, rule: &Rule) {
        let is_sure = rule.is_sure();
        match &rule.tenants {
            None => self.of_all.add(hit, is_sure),
            Some(tenants) => {
                for tenant in tenants {
                    let hits = self.of_tenant.entry(Arc::clone(tenant)).or_default();
                    hits.add(hit, is_sure);
                }
            }
        }
    }
}

impl Hits {
    fn add(&mut self, hit: Hit, is_sure: bool) {
        if hit.methods & !self.settled == 0 {
            return;
        }
        self.hits.push(hit);
        if is_sure {
            self.settled |= hit.methods;
        }
    }
}

fn below_root(path: &CanonicalPath) -> &[u8] {
    path.as_bytes().get(1..).unwrap_or_default()
}

/// The first segment of a path without its slash, and what comes after it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    // By hand: segments are short.
    let end = path.iter().position(|byte| *byte == b'/');
    let end = end.unwrap_or(path.len());
    let (segment, rest) = path.split_at_checked(end).unwrap_or_default();
    (segment, rest.get(1..).unwrap_or_default())
}

/// More rules than anybody has.
const NONE: u32 = u32::MAX;
