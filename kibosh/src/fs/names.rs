//! Names: looking them up, making, moving and removing them.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::abi::{self, InHeader, ROOT_ID};
use crate::nodes::{Key, Node};
use crate::sys::{self, ActingAs, Errno, Sys};
use crate::undo;

use super::{Answer, Fs, control, handles};

impl Fs {
    pub(super) fn lookup(&self, head: &InHeader, name: &OsStr) -> Sys<Answer> {
        if let Some(file) = self.virtual_file(head.nodeid, name) {
            return Answer::of(&self.virtual_entry(file));
        }
        let parent = self.nodes.get(head.nodeid)?;
        if undo::is_hidden(name) {
            return Err(Errno(libc::ENOENT));
        }
        match self.find(&parent, name) {
            Ok((node, stat)) => Answer::of(&self.entry(&node, &stat)),
            Err(Errno(libc::ENOENT)) if self.fast() && !self.hides_absence(&parent, name) => {
                Answer::of(&absent(self.name_timeout()))
            }
            Err(errno) => Err(errno),
        }
    }

    /// The node a name stands for. The kernel will know it once more.
    pub(super) fn find(&self, parent: &Arc<Node>, name: &OsStr) -> Sys<(Arc<Node>, libc::stat)> {
        let fd = self.patiently(|| sys::open_at(parent.fd(), name, libc::O_PATH, 0))?;
        let stat = sys::stat(fd.as_fd())?;
        Ok((self.adopt(fd, &stat, parent, name), stat))
    }

    fn adopt(&self, fd: OwnedFd, stat: &libc::stat, parent: &Arc<Node>, name: &OsStr) -> Arc<Node> {
        let node = self.nodes.adopt(fd, stat);
        node.add_name(parent, name);
        self.evict_if_crowded(node.id);
        node
    }

    pub(super) fn entry(&self, node: &Node, stat: &libc::stat) -> abi::EntryOut {
        let (name_valid, attr_valid) = (self.entry_timeout(node), self.attr_timeout(node));
        abi::EntryOut {
            nodeid: node.id,
            generation: 0,
            entry_valid: name_valid.as_secs(),
            entry_valid_nsec: name_valid.subsec_nanos(),
            attr_valid: attr_valid.as_secs(),
            attr_valid_nsec: attr_valid.subsec_nanos(),
            attr: self.attr(stat),
        }
    }

    fn made(&self, head: &InHeader, name: &OsStr, new: bool) -> Sys<Answer> {
        let parent = self.nodes.get(head.nodeid)?;
        let (node, stat) = self.find(&parent, name)?;
        self.name_made(&parent, name, &node, new);
        Answer::of(&self.entry(&node, &stat))
    }

    pub(super) fn symlink(&self, head: &InHeader, name: &OsStr, target: &OsStr) -> Sys<Answer> {
        let parent = self.parent(head.nodeid, name)?;
        let acting = ActingAs::new(head.uid, head.gid);
        sys::symlink_at(target, parent.fd(), name)?;
        drop(acting);
        self.made(head, name, true)
    }

    pub(super) fn mknod(&self, head: &InHeader, arg: &abi::MknodIn, name: &OsStr) -> Sys<Answer> {
        let parent = self.parent(head.nodeid, name)?;
        let acting = ActingAs::new(head.uid, head.gid);
        with_umask(arg.umask, || sys::mknod_at(parent.fd(), name, arg.mode, arg.rdev))?;
        drop(acting);
        self.made(head, name, true)
    }

    pub(super) fn mkdir(&self, head: &InHeader, arg: &abi::MkdirIn, name: &OsStr) -> Sys<Answer> {
        let parent = self.parent(head.nodeid, name)?;
        let acting = ActingAs::new(head.uid, head.gid);
        with_umask(arg.umask, || sys::mkdir_at(parent.fd(), name, arg.mode))?;
        drop(acting);
        self.made(head, name, true)
    }

    pub(super) fn create(&self, head: &InHeader, arg: &abi::CreateIn, name: &OsStr) -> Sys<Answer> {
        let parent = self.parent(head.nodeid, name)?;
        let flags = self.target_flags(arg.flags as i32) | libc::O_CREAT;
        let is_new = self.keeping.load(Ordering::Acquire) && sys::stat_at(parent.fd(), name).is_err();
        let acting = ActingAs::new(head.uid, head.gid);
        let fd = with_umask(arg.umask, || sys::open_at(parent.fd(), name, flags, arg.mode))?;
        drop(acting);
        let stat = sys::stat(fd.as_fd())?;
        let node = self.adopt(sys::reopen_path(fd.as_fd())?, &stat, &parent, name);
        if is_new {
            self.name_made(&parent, name, &node, true);
        }
        self.opened_new(node, &stat, fd, arg)
    }

    pub(super) fn tmpfile(&self, head: &InHeader, arg: &abi::CreateIn) -> Sys<Answer> {
        let parent = self.nodes.get(head.nodeid)?;
        let flags = self.target_flags(arg.flags as i32) & !libc::O_CREAT;
        let acting = ActingAs::new(head.uid, head.gid);
        let fd = with_umask(arg.umask, || sys::open_tmpfile(parent.fd(), flags, arg.mode))?;
        drop(acting);
        let stat = sys::stat(fd.as_fd())?;
        let node = self.nodes.adopt(sys::reopen_path(fd.as_fd())?, &stat);
        node.made_without_name(&parent);
        self.opened_new(node, &stat, fd, arg)
    }

    fn opened_new(
        &self,
        node: Arc<Node>,
        stat: &libc::stat,
        fd: OwnedFd,
        arg: &abi::CreateIn,
    ) -> Sys<Answer> {
        let entry = self.entry(&node, stat);
        let file = handles::File::new(node, Arc::new(fd), arg.flags as i32, false).with_direct()?;
        let fh = self.handles.add(handles::Handle::File(file));
        let open = abi::OpenOut { fh, open_flags: abi::FOPEN_KEEP_CACHE, backing_id: 0 };
        let mut out = Vec::with_capacity(size_of_val(&entry) + size_of_val(&open));
        out.extend_from_slice(zerocopy::IntoBytes::as_bytes(&entry));
        out.extend_from_slice(zerocopy::IntoBytes::as_bytes(&open));
        Ok(Answer::Bytes(out))
    }

    pub(super) fn link(&self, head: &InHeader, oldnode: u64, name: &OsStr) -> Sys<Answer> {
        let parent = self.parent(head.nodeid, name)?;
        let node = self.nodes.get(oldnode)?;
        sys::link_fd(node.fd(), parent.fd(), name)?;
        let made = self.made(head, name, false);
        self.renamed(&node, false);
        made
    }

    pub(super) fn unlink(&self, head: &InHeader, name: &OsStr, flags: i32) -> Sys<Answer> {
        let parent = self.parent(head.nodeid, name)?;
        let node = if self.links_matter() { self.known(&parent, name) } else { None };
        self.remove_name(&parent, name, flags)?;
        if let Some(node) = node {
            node.remove_name(&parent, name);
        }
        Ok(Answer::Done)
    }

    pub(super) fn rename(
        &self,
        head: &InHeader,
        from: &OsStr,
        newdir: u64,
        to: &OsStr,
        flags: u32,
    ) -> Sys<Answer> {
        let (parent, newparent) = (self.parent(head.nodeid, from)?, self.parent(newdir, to)?);
        let exchanged = flags & libc::RENAME_EXCHANGE != 0;
        let looks = exchanged || self.links_matter();
        let there = if looks { sys::stat_at(newparent.fd(), to).ok() } else { None };
        let (moved, replaced) =
            (self.known(&parent, from), there.and_then(|stat| self.nodes.find(Key::of(&stat))));
        let nodes: Vec<_> = [&moved, &replaced].into_iter().flatten().cloned().collect();
        let faulty: Vec<_> = nodes.iter().map(|node| self.has_faults(node)).collect();
        self.move_name((&parent, from), (&newparent, to), flags, there.is_some())?;
        if let Some(node) = &replaced {
            if exchanged {
                node.add_name(&parent, from);
            }
            node.remove_name(&newparent, to);
        }
        if let Some(node) = &moved {
            node.add_name(&newparent, to);
            node.remove_name(&parent, from);
        }
        for (node, was_faulty) in nodes.iter().zip(faulty) {
            self.renamed(node, was_faulty);
        }
        Ok(Answer::Done)
    }

    fn has_faults(&self, node: &Node) -> bool {
        self.engine.armed() && !node.faults(&self.engine).is_empty()
    }

    /// Faults that a file gets with a new name must be felt, so the kernel has to ask again; also about one
    /// that `was_faulty` under the old.
    fn renamed(&self, node: &Arc<Node>, was_faulty: bool) {
        let mut touched = Vec::new();
        if node.is_directory() {
            self.engine.paths_changed();
            touched = self.touched_by(&self.engine.set().faults);
        }
        if was_faulty || self.has_faults(node) {
            touched.push(node.clone());
        }
        for node in &touched {
            self.channel.forget_attributes(node.id);
            self.drop_pages(node);
        }
    }

    /// Whether it matters which file loses a name: one that has another, or that a fault is about.
    fn links_matter(&self) -> bool {
        !self.fast() || self.nodes.any_linked() || self.engine.armed()
    }

    /// The node of a name, if the kernel knows it.
    fn known(&self, parent: &Node, name: &OsStr) -> Option<Arc<Node>> {
        let stat = sys::stat_at(parent.fd(), name).ok()?;
        self.nodes.find(Key::of(&stat))
    }

    /// The directory in which a name is to be made or removed; the control file's is taken.
    fn parent(&self, id: u64, name: &OsStr) -> Sys<Arc<Node>> {
        if id == ROOT_ID && control::VirtualFile::named(name).is_some() {
            return Err(Errno(libc::EPERM));
        }
        self.nodes.get(id)
    }
}

/// A name the kernel may remember as not there.
fn absent(valid: Duration) -> abi::EntryOut {
    abi::EntryOut {
        entry_valid: valid.as_secs(),
        entry_valid_nsec: valid.subsec_nanos(),
        ..Default::default()
    }
}

/// Makes something under the caller's umask, which the target applies unless a default ACL says
/// otherwise.
fn with_umask<T>(mask: u32, make: impl FnOnce() -> T) -> T {
    sys::set_umask(mask & 0o777);
    make()
}
