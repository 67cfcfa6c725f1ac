//! Changing the set of faults, so that the next call of any process feels it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fault::{Document, Fault, FaultSet, Operation, Operations, Refused};
use crate::nodes::Node;
use crate::sys;
use crate::timer::Wakeup;

use super::Fs;
use super::inject::leaves_pages;

/// Operations that the kernel answers for files nobody has open.
const OF_CLOSED_FILES: Operations =
    Operations::of(&[Operation::Lookup, Operation::Getattr, Operation::Readlink, Operation::Readdir]);

impl Fs {
    /// Carries out a document; the new generation. When this returns, it is in force. If it is refused,
    /// nothing has changed: whatever can fail comes first.
    ///
    /// Waits for the kernel to write back, so it must not run on the thread that reads requests.
    pub(super) fn change_faults(&self, document: Document) -> Result<u64, Refused> {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.engine.set();
        let lose = document.lose_unsynced;
        let new = old.changed(document, &self.engine)?;
        let sealed = lose.then(|| self.seal_unsynced(&new)).transpose();
        let sealed = sealed.map_err(|errno| Refused::NothingLost(errno.0))?;
        let generation = new.generation;
        self.replace(&old, new);
        let names = sealed.map(|sealed| self.lose(sealed));
        drop(changing);
        self.forget_names(&names.unwrap_or_default());
        Ok(generation)
    }

    /// Ends the faults whose time is over.
    pub(super) fn expire_faults(&self) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.engine.set();
        let new = old.unexpired(sys::boottime_ms());
        if new.faults.len() < old.faults.len() {
            log::info!("{} faults have ended by themselves", old.faults.len() - new.faults.len());
            self.replace(&old, new);
        } else {
            self.wake_at_next_expiry(&old);
        }
    }

    fn replace(&self, old: &FaultSet, new: FaultSet) {
        let added = difference(&new.faults, &old.faults);
        let removed = difference(&old.faults, &new.faults);
        if !added.is_empty() {
            self.outside.look();
        }
        let mut touched = self.touched_by(&added);
        // What was written before a fault is not to be met by it.
        let left_out: HashSet<_> =
            touched.iter().filter(|node| !self.drop_pages(node)).map(|node| node.id).collect();
        self.wake_at_next_expiry(&new);
        let in_force = new.faults.clone();
        self.engine.install(new);
        self.keep_or_forget(&self.engine.set());
        self.timer.release(&in_force);
        let seen: HashSet<_> = touched.iter().map(|node| node.id).collect();
        touched.extend(self.touched_by(&removed).into_iter().filter(|node| !seen.contains(&node.id)));
        let pages = added.iter().chain(&removed).any(|fault| leaves_pages(fault));
        let names = added.iter().any(|fault| fault.spec.select.operations.has(Operation::Lookup));
        for node in &touched {
            self.close_gate(node);
            if (pages || left_out.contains(&node.id)) && !self.drop_pages(node) {
                node.writes().hide();
            }
            if names {
                node.links().iter().for_each(|(parent, name)| self.channel.forget_name(parent.id, name));
            }
        }
    }

    /// The known files that faults are about and of which the kernel may hold something.
    pub(super) fn touched_by(&self, faults: &[Arc<Fault>]) -> Vec<Arc<Node>> {
        if faults.is_empty() {
            return Vec::new();
        }
        let closed_too = faults.iter().any(|fault| fault.spec.select.operations.meets(OF_CLOSED_FILES));
        let mut nodes = self.nodes.all();
        nodes.retain(|node| {
            (closed_too || node.cached.load(Ordering::Relaxed)) && {
                let paths = node.paths();
                faults.iter().any(|fault| paths.iter().any(|path| fault.spec.select.selects_path(path)))
            }
        });
        nodes
    }

    /// Has the kernel ask about a file before each of its uses.
    ///
    /// Forgotten attributes close the gate for writes. With the writeback cache a read only looks at
    /// when they were valid until, which an answer to stat(2) changes; a file without a name that
    /// leads to it has its reads met as they are made.
    fn close_gate(&self, node: &Node) {
        self.channel.forget_attributes(node.id);
        if !self.fast() || !node.is_regular() || !node.cached.load(Ordering::Relaxed) {
            return;
        }
        let thread = sys::thread_id();
        self.own_threads().push(thread);
        for path in node.paths() {
            let path = [self.settings.mountpoint.as_os_str().as_bytes(), &path].concat();
            if let Err(errno) = sys::ask_attributes(OsStr::from_bytes(&path)) {
                log::debug!("the gate of {} is open to reads: {errno}", String::from_utf8_lossy(&path));
            }
        }
        self.own_threads().retain(|own| *own != thread);
    }

    fn own_threads(&self) -> MutexGuard<'_, Vec<u32>> {
        self.own_threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_own(&self, thread: u32) -> bool {
        self.own_threads().contains(&thread)
    }

    fn wake_at_next_expiry(&self, set: &FaultSet) {
        if let Some(at) = set.next_expiry_ms() {
            let left = at.saturating_sub(sys::boottime_ms());
            self.timer.wake_after(Duration::from_millis(left), Wakeup::FaultsExpire);
        }
    }

    /// Ends every fault, and has the kernel write back what it holds, before the mount goes.
    pub fn quiesce(&self) {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.engine.set();
        if !old.faults.is_empty() {
            self.replace(&old, FaultSet { generation: old.generation + 1, faults: Vec::new() });
        }
        drop(changing);
        let open = |node: &Arc<Node>| node.open.load(Ordering::Relaxed) > 0 && node.is_regular();
        let open: Vec<_> = self.nodes.all().into_iter().filter(open).collect();
        for node in &open {
            self.drop_pages(node);
        }
    }

    pub fn stop_timer(&self) {
        self.timer.stop();
    }
}

/// The faults of one list that the other has not.
fn difference(of: &[Arc<Fault>], without: &[Arc<Fault>]) -> Vec<Arc<Fault>> {
    let missing = |fault: &&Arc<Fault>| !without.iter().any(|other| Arc::ptr_eq(fault, other));
    of.iter().filter(missing).cloned().collect()
}
