//! Open files and directories, by the number the kernel knows them by.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::nodes::Node;
use crate::sys::{self, DirEntry, Errno, Sys};

use super::control::ControlHandle;

pub enum Handle {
    File(File),
    Directory(Directory),
    Control(ControlHandle),
}

pub struct File {
    pub node: Arc<Node>,
    fd: Arc<OwnedFd>,
    /// The same past the target's page cache, where its owner asked for `O_DIRECT`.
    direct: Option<OwnedFd>,
    /// The flags it was opened with, as its owner gave them.
    pub flags: i32,
    /// Written to since close(2) was last asked about.
    pub written: AtomicBool,
    /// It was open when unsynced writes were lost: every use is an error from then on.
    pub lost: AtomicBool,
    /// The descriptor serves whoever opens the file next.
    reader: bool,
}

pub struct Directory {
    pub node: Arc<Node>,
    fd: OwnedFd,
    pub stream: Mutex<DirStream>,
}

#[derive(Default)]
pub struct DirStream {
    /// The position of the first entry of `ahead`.
    pub at: i64,
    pub ahead: VecDeque<DirEntry>,
}

impl File {
    /// `reader`: opened for nothing but reading, as others may open it after.
    pub fn new(node: Arc<Node>, fd: Arc<OwnedFd>, flags: i32, reader: bool) -> Self {
        node.opened();
        let (written, lost) = Default::default();
        File { node, fd, direct: None, flags, written, lost, reader }
    }

    /// Opens it past the page cache too, if its owner asked for that. EINVAL where the target cannot.
    pub fn with_direct(mut self) -> Sys<Self> {
        if self.flags & libc::O_DIRECT != 0 {
            let access = sys::access_mode(self.fd())?;
            self.direct = Some(sys::reopen(self.fd(), access | libc::O_DIRECT)?);
        }
        Ok(self)
    }

    /// The descriptor for data that the kernel's cache has no part in.
    pub fn uncached(&self) -> Option<BorrowedFd<'_>> {
        self.direct.as_ref().map(AsFd::as_fd)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub fn writable(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }

    pub fn appends(&self) -> bool {
        self.flags & libc::O_APPEND != 0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if self.reader {
            self.node.keep_reader(self.fd.clone());
        }
        self.node.closed();
    }
}

impl Directory {
    pub fn new(node: Arc<Node>, fd: OwnedFd) -> Self {
        node.opened();
        Directory { node, fd, stream: Mutex::default() }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.node.closed();
    }
}

#[derive(Default)]
pub struct Handles {
    next: AtomicU64,
    open: RwLock<HashMap<u64, Arc<Handle>>>,
}

impl Handles {
    pub fn add(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::new(handle));
        number
    }

    pub fn get(&self, number: u64) -> Sys<Arc<Handle>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&number).cloned().ok_or(Errno(libc::EBADF))
    }

    pub fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }

    pub fn all(&self) -> Vec<Arc<Handle>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.open.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
