//! Unsynced writes: keeping their undoing while a `lose_unsynced` fault is in force, and the moment.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::fault::{self, Effect, Fault, FaultSet};
use crate::nodes::Node;
use crate::sys::{self, Errno, Sys};
use crate::timer::Wakeup;
use crate::undo::{self, Sealed};

use super::Fs;
use super::handles::Handle;

type Name = (Arc<Node>, OsString);

impl Fs {
    /// Whether what happens to a file has to be undoable.
    fn keeps(&self, node: &Node) -> bool {
        let keeping = self.keeping.load(Ordering::Acquire);
        keeping && node.faults(&self.engine).iter().any(loses)
    }

    fn keeps_name(&self, dir: &Node, name: &OsStr) -> bool {
        let keeping = self.keeping.load(Ordering::Acquire);
        keeping && self.engine.matching(&[dir.path_of(name)]).iter().any(loses)
    }

    /// Before data is overwritten or cut off.
    pub(super) fn before_change(&self, node: &Arc<Node>, offset: u64, length: u64) -> Sys<()> {
        if self.keeps(node) { self.undo.keep_data(node, offset, length) } else { Ok(()) }
    }

    /// After a name was made, for a file that is `new` or was there before.
    pub(super) fn name_made(&self, dir: &Arc<Node>, name: &OsStr, node: &Arc<Node>, new: bool) {
        if self.keeps_name(dir, name) {
            self.undo.made(dir, name);
            if new && node.is_regular() {
                self.undo.keep_new_file(node);
            }
        }
    }

    pub(super) fn remove_name(&self, dir: &Arc<Node>, name: &OsStr, flags: i32) -> Sys<()> {
        let directory = flags & libc::AT_REMOVEDIR != 0;
        if self.keeps_name(dir, name) {
            return self.undo.remove(dir, name, directory);
        }
        match sys::unlink_at(dir.fd(), name, flags) {
            Err(Errno(libc::ENOTEMPTY)) if directory => {
                use std::os::fd::AsFd;
                let inner = sys::open_at(dir.fd(), name, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
                undo::purge_hidden(inner.as_fd())?;
                sys::unlink_at(dir.fd(), name, flags)
            }
            result => result,
        }
    }

    pub(super) fn move_name(
        &self,
        from: (&Arc<Node>, &OsStr),
        to: (&Arc<Node>, &OsStr),
        flags: u32,
        replaces: bool,
    ) -> Sys<()> {
        let rename = || sys::rename_at(from.0.fd(), from.1, to.0.fd(), to.1, flags);
        if !self.keeps_name(from.0, from.1) && !self.keeps_name(to.0, to.1) {
            return rename();
        }
        let place = |(dir, name): (&Arc<Node>, &OsStr)| (dir.clone(), name.to_owned());
        if replaces && flags == 0 {
            return self.undo.replace(place(from), place(to));
        }
        rename()?;
        self.undo.moved(place(from), place(to), flags & libc::RENAME_EXCHANGE != 0);
        Ok(())
    }

    pub(super) fn sync_file(&self, node: &Node, sync: impl FnOnce() -> Sys<()>) -> Sys<()> {
        if self.keeping.load(Ordering::Acquire) { self.undo.syncing(node, sync) } else { sync() }
    }

    /// After the set of faults has changed.
    pub(super) fn keep_or_forget(&self, set: &FaultSet) {
        let limit = set.faults.iter().filter_map(|fault| match fault.spec.effect {
            Effect::LoseUnsynced { max_bytes, .. } => Some(max_bytes),
            _ => None,
        });
        let limit = limit.reduce(u64::saturating_add);
        self.undo.set_limit(limit.unwrap_or(0));
        self.keeping.store(limit.is_some(), Ordering::Release);
        if limit.is_none() {
            self.undo.forget();
        }
        for fault in &set.faults {
            if let Effect::LoseUnsynced { at_boottime_ms: Some(at), .. } = fault.spec.effect {
                let left = at.saturating_sub(sys::boottime_ms());
                self.timer.wake_after(Duration::from_millis(left), Wakeup::LoseUnsynced(at));
            }
        }
    }

    /// Loses what a fault in force says to lose at this time.
    pub(super) fn lose_unsynced_at(&self, at: u64) {
        let due = |fault: &Arc<Fault>| matches!(fault.spec.effect, Effect::LoseUnsynced { at_boottime_ms: Some(known), .. } if known == at);
        if self.engine.set().faults.iter().any(due) {
            if let Ok(names) = self.lose_unsynced() {
                self.forget_names(&names);
            }
        }
    }

    /// Loses what is not synced now. As [`Fs::lose`]; nothing is lost if this fails.
    pub(super) fn lose_unsynced(&self) -> Sys<Vec<Name>> {
        self.seal_unsynced(&self.engine.set()).map(|sealed| self.lose(sealed))
    }

    /// Promises that what is not synced can be lost while these faults are in force.
    pub(super) fn seal_unsynced(&self, set: &FaultSet) -> Sys<Sealed<'_>> {
        if !set.faults.iter().any(loses) {
            log::error!("nothing to lose: no lose_unsynced fault is in force");
            return Err(Errno(libc::ENODATA));
        }
        self.undo.seal().inspect_err(|_| log::error!("too much was not synced: nothing was lost"))
    }

    /// The moment: what is not synced is gone, and whoever has a file open gets EIO from it. The names
    /// returned are still to be forgotten by the kernel, see [`Fs::forget_names`].
    ///
    /// Waits for the kernel, so it must not run on the thread that reads requests.
    pub(super) fn lose(&self, sealed: Sealed) -> Vec<Name> {
        let in_use = self.take_away_open_files();
        let done = sealed.roll_back(|node| self.loses_its_writes(node));
        log::info!("lost the unsynced writes of {} files and {} names", done.files.len(), done.names.len());
        let mut names = done.names;
        for node in in_use.iter().chain(&done.files) {
            self.nodes.renew(node);
            self.channel.forget_attributes(node.id);
            names.extend(node.links());
        }
        names
    }

    /// Every use of a file that is open now is an error from now on. Those that lose their writes do
    /// so before the kernel can write them back, the others after.
    fn take_away_open_files(&self) -> Vec<Arc<Node>> {
        let open = self.handles.all();
        let files = open.iter().filter_map(|handle| match &**handle {
            Handle::File(file) if self.keeps(&file.node) => Some(file),
            _ => None,
        });
        let (lost, kept): (Vec<_>, Vec<_>) = files.partition(|file| self.loses_its_writes(&file.node));
        for file in &kept {
            self.drop_pages(&file.node);
        }
        for file in lost.iter().chain(&kept) {
            file.lost.store(true, Ordering::Release);
            file.node.lost.store(true, Ordering::Release);
            self.channel.forget_attributes(file.node.id);
        }
        for file in &lost {
            self.drop_pages(&file.node);
        }
        lost.iter().chain(&kept).map(|file| file.node.clone()).collect()
    }

    /// Has the kernel look names up anew. It waits for their directories, so the request of a caller
    /// that has one locked must have been answered before.
    pub(super) fn forget_names(&self, names: &[Name]) {
        for (dir, name) in names {
            self.channel.forget_name(dir.id, name);
            self.channel.forget_attributes(dir.id);
            self.drop_pages(dir);
        }
    }

    /// Whether a file is among the seeded part that loses its writes.
    fn loses_its_writes(&self, node: &Node) -> bool {
        self.engine.set().faults.iter().any(|fault| match fault.spec.effect {
            Effect::LoseUnsynced { fraction, .. } => fault.chance_of(node.key.ino) < fraction,
            _ => false,
        })
    }

    /// A file's sync was made to fail.
    pub(super) fn sync_was_failed(&self, node: Option<&Node>, fired: &fault::Fired) {
        if let (Effect::FsyncOnce { .. }, Some(node)) = (&fired.fault.spec.effect, node) {
            self.undo.sync_failed(node);
        }
    }
}

fn loses(fault: &Arc<Fault>) -> bool {
    matches!(fault.spec.effect, Effect::LoseUnsynced { .. })
}
