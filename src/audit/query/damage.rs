//! What is wrong with the lines that were looked at.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use super::Order;
use crate::audit::segment;

/// The most gaps that are kept one by one.
const GAPS: usize = 100;

/// What is wrong with the lines that were looked at. Takes no more memory the worse it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Damage {
    /// By the first record of the file.
    files: BTreeMap<u64, OfFile>,
    /// Records that are missing, in no order; none twice.
    gaps: Vec<(u64, u64)>,
    /// How many more gaps there are.
    more_gaps: u64,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct OfFile {
    /// Lines that are no record, and where the first of them begins.
    unreadable: u64,
    first_at: u64,
    /// Records that stand behind one with a higher number, or twice.
    disordered: u64,
}

impl Damage {
    /// What is wrong, in sentences.
    pub(super) fn told(&self, directory: &Path) -> Vec<String> {
        let mut told = Vec::new();
        for (first, file) in &self.files {
            let path = segment::path(directory, *first);
            let (path, at) = (path.display(), file.first_at);
            match file.unreadable {
                0 => {}
                1 => told.push(format!("1 line of {path} cannot be read, at byte {at}")),
                count => told.push(format!(
                    "{count} lines of {path} cannot be read, the first at byte {at}"
                )),
            }
            match file.disordered {
                0 => {}
                1 => told.push(format!(
                    "1 record of {path} is out of order or stands there twice"
                )),
                count => told.push(format!(
                    "{count} records of {path} are out of order or stand there twice"
                )),
            }
        }
        let mut gaps = self.gaps.clone();
        gaps.sort_unstable();
        told.extend(gaps.iter().map(|(from, to)| {
            if from == to {
                format!("record {from} is missing")
            } else {
                format!("records {from}-{to} are missing")
            }
        }));
        if self.more_gaps > 0 {
            told.push(format!(
                "records are missing in {} more places",
                self.more_gaps
            ));
        }
        told
    }

    /// Notes a line that is no record.
    pub(super) fn note_unreadable(&mut self, first: u64, offset: u64) {
        let file = self.files.entry(first).or_default();
        file.first_at = if file.unreadable == 0 {
            offset
        } else {
            file.first_at.min(offset)
        };
        file.unreadable += 1;
    }

    fn note_gap(&mut self, from: u64, to: u64) {
        if self.gaps.len() < GAPS {
            self.gaps.push((from, to));
        } else {
            self.more_gaps += 1;
        }
    }

    fn note_disordered(&mut self, first: u64, seq: u64) {
        self.files.entry(first).or_default().disordered += 1;
        // One that was taken for missing is not.
        let Some(at) = self
            .gaps
            .iter()
            .position(|(from, to)| (*from..=*to).contains(&seq))
        else {
            return;
        };
        let (from, to) = self.gaps.swap_remove(at);
        if from < seq {
            self.note_gap(from, seq - 1);
        }
        if seq < to {
            self.note_gap(seq + 1, to);
        }
    }
}

/// Sees whether the numbers of a file are without gaps, in either order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    order: Order,
    /// The first record of the file.
    first: u64,
    /// The first record of the file after it.
    end: Option<u64>,
    /// Which records are asked for.
    asked: (u64, u64),
    /// From the first record on: what must come next. From the last on: what came last.
    edge: Option<u64>,
}

impl Sequence {
    /// Watches the file of the records from `first` to before `end`.
    pub(super) fn new(
        order: Order,
        first: u64,
        end: Option<u64>,
        asked: RangeInclusive<u64>,
    ) -> Self {
        let edge = match order {
            Order::NewestFirst => end,
            Order::OldestFirst => Some(first),
        };
        Self {
            order,
            first,
            end,
            asked: asked.into_inner(),
            edge,
        }
    }

    /// What comes after the records that were seen, from the first on.
    pub(super) fn next(&self) -> u64 {
        self.edge.unwrap_or(self.first)
    }

    /// Sees a record.
    pub(super) fn see(&mut self, seq: u64, damage: &mut Damage) {
        match (self.order, self.edge) {
            (Order::NewestFirst, Some(edge)) if seq < edge => {
                self.gap(seq + 1, edge, damage);
                self.edge = Some(seq);
            }
            (Order::NewestFirst, None) => self.edge = Some(seq),
            (Order::OldestFirst, Some(edge)) if seq >= edge => {
                self.gap(edge, seq, damage);
                self.edge = Some(seq.saturating_add(1));
            }
            _ => damage.note_disordered(self.first, seq),
        }
    }

    /// Sees records that follow one another without a gap.
    pub(super) fn see_all(&mut self, seqs: RangeInclusive<u64>, damage: &mut Damage) {
        let (low, high) = seqs.into_inner();
        match self.order {
            Order::NewestFirst => {
                self.see(high, damage);
                if self.edge == Some(high) {
                    self.edge = Some(low);
                } else {
                    (low..high).rev().for_each(|seq| self.see(seq, damage));
                }
            }
            Order::OldestFirst => {
                self.see(low, damage);
                if self.edge == Some(low.saturating_add(1)) {
                    self.edge = Some(high.saturating_add(1));
                } else {
                    (low..=high).skip(1).for_each(|seq| self.see(seq, damage));
                }
            }
        }
    }

    /// Sees the end of the file, which is its start when it is read from the last record on.
    pub(super) fn finish(&self, damage: &mut Damage) {
        match (self.order, self.edge, self.end) {
            (Order::NewestFirst, Some(edge), _) => self.gap(self.first, edge, damage),
            (Order::OldestFirst, Some(edge), Some(end)) => self.gap(edge, end, damage),
            _ => {}
        }
    }

    /// Notes that the records from `from` to before `to` were not there.
    fn gap(&self, from: u64, to: u64, damage: &mut Damage) {
        let from = from.max(self.asked.0);
        let to = to.min(self.asked.1.saturating_add(1));
        if from < to {
            damage.note_gap(from, to - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a file that begins with record 10 and has these numbers.
    fn told(
        seqs: &[u64],
        end: Option<u64>,
        asked: RangeInclusive<u64>,
        order: Order,
    ) -> Vec<String> {
        let mut damage = Damage::default();
        let mut sequence = Sequence::new(order, 10, end, asked);
        let mut seqs = seqs.to_vec();
        if order == Order::NewestFirst {
            seqs.reverse();
        }
        for seq in seqs {
            sequence.see(seq, &mut damage);
        }
        sequence.finish(&mut damage);
        damage.told(Path::new("d"))
    }

    #[test]
    fn gaps_are_told_alike_in_both_orders() {
        let twice =
            "1 record of d/00000000000000000010.jsonl is out of order or stands there twice";
        let all = 0..=u64::MAX;
        for (seqs, end, asked, expected) in [
            (&[10, 11, 12][..], Some(13), all.clone(), &[][..]),
            (&[10, 11, 12], None, all.clone(), &[]),
            (&[], None, all.clone(), &[]),
            (&[], Some(12), all.clone(), &["records 10-11 are missing"]),
            (
                &[10, 12, 13, 17],
                None,
                all.clone(),
                &["record 11 is missing", "records 14-16 are missing"],
            ),
            (
                &[11, 12],
                Some(15),
                all.clone(),
                &["record 10 is missing", "records 13-14 are missing"],
            ),
            (&[10, 30], None, 15..=20, &["records 15-20 are missing"]),
            (&[10, 30], None, 31..=u64::MAX, &[]),
            (&[10, 30], Some(40), 0..=5, &[]),
            (&[10, 11, 11, 12], Some(13), all.clone(), &[twice]),
            (
                &[10, u64::MAX],
                None,
                all,
                &["records 11-18446744073709551614 are missing"],
            ),
        ] {
            for order in [Order::OldestFirst, Order::NewestFirst] {
                assert_eq!(
                    told(seqs, end, asked.clone(), order),
                    expected,
                    "{seqs:?} {order:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_out_of_order_is_not_missing() {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let told = told(&[10, 14, 11, 12, 13, 16], Some(17), 0..=u64::MAX, order);
            assert_eq!(told.len(), 2, "{told:?}");
            assert!(told[0].contains("out of order"), "{told:?}");
            assert_eq!(told[1], "record 15 is missing");
        }
    }

    #[test]
    fn many_gaps_are_counted_only() {
        let seqs: Vec<u64> = (5..1005).map(|number| number * 2).collect();
        let told = told(&seqs, None, 0..=u64::MAX, Order::OldestFirst);
        assert_eq!(told.len(), GAPS + 1);
        assert_eq!(
            told.last().unwrap(),
            "records are missing in 899 more places"
        );
    }

    #[test]
    fn lines_that_cannot_be_read_are_counted_by_file_with_the_first_place() {
        let mut damage = Damage::default();
        for (first, offset) in [(9, 70), (9, 20), (9, 90), (0, 4)] {
            damage.note_unreadable(first, offset);
        }
        assert_eq!(
            damage.told(Path::new("d")),
            [
                "1 line of d/00000000000000000000.jsonl cannot be read, at byte 4",
                "3 lines of d/00000000000000000009.jsonl cannot be read, the first at byte 20"
            ]
        );
    }
}
