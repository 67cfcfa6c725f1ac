//! What was decided about reads and writes whose data is still to come.
//!
//! With the writeback cache a write(2) is decided at the gate, but its data arrives later, in
//! pieces of the kernel's choosing. The plan holds each decision until then.

use std::collections::{HashMap, VecDeque};

use crate::fault::Mangle;

const MOST_PLANNED: usize = 1024;
const MOST_READERS: usize = 1024;

#[derive(Default)]
pub struct Writes {
    planned: VecDeque<Planned>,
    reads: HashMap<u32, Option<Mangle>>,
    /// Where the farthest write that was let through ends.
    end: u64,
    epoch: u64,
    hidden: bool,
}

struct Planned {
    start: u64,
    end: u64,
    /// Bytes that have not arrived yet.
    left: u64,
    mangle: Option<Mangle>,
}

impl Writes {
    /// Forgets what other faults decided.
    fn renew(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.planned.clear();
            self.reads.clear();
            self.end = 0;
            self.epoch = epoch;
        }
    }

    /// A write was let through, changed or not. One of unknown place may be any.
    pub fn plan(&mut self, epoch: u64, span: Option<(u64, u64)>, mangle: Option<Mangle>) {
        self.renew(epoch);
        if self.planned.len() >= MOST_PLANNED {
            self.planned.pop_front();
        }
        let (start, end) =
            span.map_or((0, u64::MAX), |(start, length)| (start, start.saturating_add(length)));
        if span.is_some() {
            self.end = self.end.max(end);
        }
        self.hidden |= mangle.is_some();
        self.planned.push_back(Planned { start, end, left: end - start, mangle });
    }

    /// Whether pages in the kernel's cache may not be what the file holds. Whoever asks drops them.
    pub fn take_hidden(&mut self) -> bool {
        std::mem::take(&mut self.hidden) || self.planned.iter().any(|planned| planned.mangle.is_some())
    }

    /// Whether data that will be changed has not arrived yet.
    pub fn expects_data(&self) -> bool {
        self.planned.iter().any(|planned| planned.mangle.is_some() && planned.left != u64::MAX)
    }

    /// Data that the kernel still has in its cache was changed on its way.
    pub fn hide(&mut self) {
        self.hidden = true;
    }

    /// What was decided about data that arrives now; none if nobody was asked, as for a mapped page.
    pub fn decided(&mut self, epoch: u64, offset: u64, length: u64) -> Option<Option<Mangle>> {
        self.renew(epoch);
        let end = offset + length;
        let overlap = |planned: &Planned| planned.end.min(end).saturating_sub(planned.start.max(offset));
        let newest = self.planned.iter().rposition(|planned| overlap(planned) > 0)?;
        let planned = self.planned.get_mut(newest)?;
        let mangle = planned.mangle.clone();
        planned.left = planned.left.saturating_sub(overlap(planned));
        if planned.left == 0 {
            self.planned.remove(newest);
        }
        self.hidden |= mangle.is_some();
        Some(mangle)
    }

    pub fn plan_read(&mut self, epoch: u64, thread: u32, mangle: Option<Mangle>) {
        self.renew(epoch);
        if self.reads.len() >= MOST_READERS {
            self.reads.clear();
        }
        self.reads.insert(thread, mangle);
    }

    pub fn decided_read(&mut self, epoch: u64, thread: u32) -> Option<Option<Mangle>> {
        self.renew(epoch);
        self.reads.get(&thread).cloned()
    }

    /// By how much a write makes a file longer whose size in the target is `size`.
    pub fn growth(&mut self, epoch: u64, span: Option<(u64, u64)>, size: u64) -> u64 {
        self.renew(epoch);
        let known = self.end.max(size);
        span.map_or(0, |(start, length)| start.saturating_add(length).saturating_sub(known))
    }

    /// The file was cut.
    pub fn truncated(&mut self) {
        self.end = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_meets_the_newest_decision_about_its_place() {
        let mut writes = Writes::default();
        let mangle = Mangle::flip(1, 1, 1.0, 1);
        writes.plan(1, Some((0, 100)), Some(mangle.clone()));
        writes.plan(1, Some((50, 10)), None);
        assert_eq!(writes.decided(1, 0, 10), Some(Some(mangle)));
        assert_eq!(writes.decided(1, 55, 1), Some(None));
        assert_eq!(writes.decided(1, 100, 10), None);
        assert_eq!(writes.decided(1, 50, 9), Some(None));
        assert!(writes.take_hidden() && writes.expects_data());
        assert_eq!(writes.decided(2, 0, 10), None);
        writes.take_hidden();
        assert!(!writes.take_hidden() && !writes.expects_data());
    }

    #[test]
    fn a_decision_is_used_up_by_its_data() {
        let mut writes = Writes::default();
        writes.plan(1, Some((0, 100)), None);
        assert_eq!(writes.decided(1, 0, 60), Some(None));
        assert_eq!(writes.decided(1, 60, 40), Some(None));
        assert_eq!(writes.decided(1, 0, 100), None);
    }

    #[test]
    fn growth_counts_each_byte_once() {
        let mut writes = Writes::default();
        assert_eq!(writes.growth(1, Some((0, 100)), 40), 60);
        writes.plan(1, Some((0, 100)), None);
        assert_eq!(writes.growth(1, Some((90, 20)), 40), 10);
        assert_eq!(writes.growth(1, Some((0, 50)), 40), 0);
    }
}
