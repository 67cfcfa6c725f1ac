//! What the kernel holds of a file's data.

use std::sync::atomic::Ordering;

use crate::nodes::Node;

use super::Fs;

impl Fs {
    /// Has the kernel write back and drop a file's pages. False if some were left out: those whose load or
    /// write-back is held back by a fault, so that it would take as long. They have met their fault.
    ///
    /// Waits for the write-back, which no fault holds back.
    pub(super) fn drop_pages(&self, node: &Node) -> bool {
        node.dropping.fetch_add(1, Ordering::AcqRel);
        let kept = self.timer.kept_pages(node.id, &self.engine.set().faults);
        let mut start = 0;
        for pages in &kept {
            if pages.start > start {
                self.channel.drop_pages(node.id, start, Some(pages.start));
            }
            start = start.max(pages.end);
        }
        self.channel.drop_pages(node.id, start, None);
        node.dropping.fetch_sub(1, Ordering::AcqRel);
        kept.is_empty()
    }

    /// Makes what faults did to data visible through the mount.
    pub(super) fn show_writes(&self, node: &Node) {
        if node.writes().take_hidden() && !self.drop_pages(node) {
            node.writes().hide();
        }
    }
}
