//! Which blocks of an indexed segment can hold what is asked for.

use super::index::{Block, Field, Index, Many};
use super::value::Pattern;
use super::{Bound, Filter};
use crate::audit::record::Code;

/// What a filter asks of the blocks of one segment.
pub(super) struct Asked<'a> {
    filter: &'a Filter,
    index: &'a Index,
    /// Of each list, a block must have one: numbers of values, in order.
    few: Vec<Vec<u16>>,
    /// The same with hashes.
    many: Vec<Vec<u64>>,
}

impl<'a> Asked<'a> {
    /// Looks up in an index what a filter asks for.
    pub(super) fn new(filter: &'a Filter, index: &'a Index) -> Self {
        let mut asked = Self {
            filter,
            index,
            few: Vec::new(),
            many: Vec::new(),
        };
        for (field, patterns) in [
            (Field::Kind, &filter.kind),
            (Field::Client, &filter.client),
            (Field::Tenant, &filter.tenant),
            (Field::Console, &filter.console),
            (Field::Operation, &filter.operation),
            (Field::Method, &filter.method),
            (Field::Code, &filter.code),
            (Field::Credential, &filter.credential),
            (Field::Grant, &filter.grant),
            (Field::Action, &filter.action),
            (Field::Rule, &filter.rule),
        ] {
            if !patterns.is_empty() {
                asked.want(field, |name| {
                    patterns.iter().any(|pattern| pattern.fits(name))
                });
            }
        }
        asked.want_results();
        for (member, patterns) in [
            (Many::RequestId, &filter.request_id),
            (Many::Session, &filter.session),
            (Many::Target, &filter.target),
            (Many::User, &filter.user),
            (Many::Principal, &filter.principal),
            (Many::Subject, &filter.subject),
            (Many::Client, &filter.client),
            (Many::Tenant, &filter.tenant),
        ] {
            let texts: Option<Vec<&str>> = patterns.iter().map(Pattern::literal).collect();
            if let Some(texts) = texts.filter(|texts| !texts.is_empty()) {
                asked
                    .many
                    .push(texts.iter().map(|text| member.hash(text)).collect());
            }
        }
        asked
    }

    fn want_results(&mut self) {
        let filter = self.filter;
        if filter.refused {
            self.want(Field::Code, Code::is_refusal);
        }
        if !filter.status.is_empty() {
            self.want(Field::Status, |name| {
                let status = name.parse();
                status.is_ok_and(|status| filter.status.iter().any(|asked| asked.has(status)))
            });
        }
        if !filter.source.is_empty() {
            self.want(Field::Source, |name| {
                let source = name.parse();
                source.is_ok_and(|source| filter.source.iter().any(|asked| asked.has(source)))
            });
        }
    }

    fn want(&mut self, field: Field, fits: impl Fn(&str) -> bool) {
        let Some(names) = self.index.names(field) else {
            return;
        };
        let fitting = names.iter().filter(|(_, name)| fits(name));
        let mut wanted: Vec<u16> = fitting.map(|(id, _)| *id).collect();
        wanted.sort_unstable();
        self.few.push(wanted);
    }

    /// Whether a block can hold a record that is asked for.
    pub(super) fn may_have(&self, block: &Block) -> bool {
        let (filter, index) = (self.filter, self.index);
        let (from, to) = block.times;
        filter.from_seq.is_none_or(|seq| block.seqs.end > seq)
            && filter.to_seq.is_none_or(|seq| block.seqs.start <= seq)
            && filter.since.is_none_or(|since: Bound| to >= since.at.0)
            && filter.until.is_none_or(|until: Bound| from < until.at.0)
            && self.few.iter().all(|wanted| index.has_name(block, wanted))
            && self
                .many
                .iter()
                .all(|hashes| hashes.iter().any(|hash| index.may_have(block, *hash)))
    }

    /// Whether all records of a block are asked for, as far as numbers and times are.
    pub(super) fn has_all(&self, block: &Block) -> bool {
        let filter = self.filter;
        let (from, to) = block.times;
        filter.from_seq.is_none_or(|seq| block.seqs.start >= seq)
            && filter.to_seq.is_none_or(|seq| block.seqs.end - 1 <= seq)
            && filter.since.is_none_or(|since: Bound| from >= since.at.0)
            && filter.until.is_none_or(|until: Bound| to < until.at.0)
    }
}
