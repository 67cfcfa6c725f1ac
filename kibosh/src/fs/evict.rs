//! Staying within the limit of descriptors: each file the kernel knows holds one.
//!
//! The kernel forgets files only when it is short of memory. Long before it is, we may be short of
//! descriptors; then the files known longest and not open are taken out of its cache.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::sys::{Errno, Sys};

use super::Fs;

/// Counting them all costs something, so it is done once for so many new ones.
const CHECK_EVERY: u64 = 64;

impl Fs {
    /// Known files that may be there before the oldest have to go. Each may hold a second descriptor,
    /// see `Node::take_reader`, and a third is left for open ones.
    fn crowd(&self) -> usize {
        (self.settings.most_descriptors / 3) as usize
    }

    /// After a new file has become known.
    pub(super) fn evict_if_crowded(&self, newest: u64) {
        if newest % CHECK_EVERY == 0 && self.nodes.count() > self.crowd() {
            self.evict();
        }
    }

    /// Has the kernel forget half of what may be known. That may have to wait for a directory locked
    /// by the very request being served, so each directory is another thread's.
    fn evict(&self) {
        let Some(serve) = self.serve.get() else { return };
        if self.evicting.fetch_add(1, Ordering::AcqRel) > 0 {
            self.evicting.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let idle = self.nodes.idle(self.crowd() / 2);
        log::info!("{} files known: having the kernel forget {}", self.nodes.count(), idle.len());
        let mut by_directory: HashMap<u64, Vec<OsString>> = HashMap::new();
        for (dir, name) in idle.iter().flat_map(|node| node.links()) {
            by_directory.entry(dir.id).or_default().push(name);
        }
        for (dir, names) in by_directory {
            self.evicting.fetch_add(1, Ordering::AcqRel);
            let job = self.job(move |fs| {
                names.iter().for_each(|name| fs.channel.forget_name(dir, name));
                fs.evicting.fetch_sub(1, Ordering::AcqRel);
            });
            self.pool.submit(serve, job);
        }
        self.evicting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Tries again for up to a second what failed for want of a descriptor.
    pub(super) fn patiently<T>(&self, mut open: impl FnMut() -> Sys<T>) -> Sys<T> {
        for _ in 0..100 {
            match open() {
                Err(Errno(libc::EMFILE)) => {
                    self.evict();
                    thread::sleep(Duration::from_millis(10));
                }
                result => return result,
            }
        }
        open()
    }
}
