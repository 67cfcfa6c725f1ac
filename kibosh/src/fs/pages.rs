//! What the kernel holds of a file's data.

use crate::nodes::Node;

use super::Fs;

impl Fs {
    /// Has the kernel write back and drop a file's pages. False if some were left out: those whose load
    /// is held back by a fault are locked, so that it would take as long, and hold nothing yet.
    ///
    /// Waits for the write-back.
    pub(super) fn drop_pages(&self, node: &Node) -> bool {
        let loading = self.timer.loading(node.id, &self.engine.set().faults);
        let mut start = 0;
        for load in &loading {
            if load.start > start {
                self.channel.drop_pages(node.id, start, Some(load.start));
            }
            start = start.max(load.end);
        }
        self.channel.drop_pages(node.id, start, None);
        loading.is_empty()
    }

    /// Makes what faults did to data visible through the mount.
    pub(super) fn show_writes(&self, node: &Node) {
        if node.writes().take_hidden() && !self.drop_pages(node) {
            node.writes().hide();
        }
    }
}
