//! Open files and their data.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::abi::{self, InHeader};
use crate::fault::Mangle;
use crate::nodes::{Key, Node};
use crate::pool::{MAX_DATA, Turn};
use crate::sys::{self, Errno, Sys};

use super::attrs::kill_suid_sgid;
use super::handles::{File, Handle};
use super::inject::size_of;
use super::{Answer, Fs, control};

impl Fs {
    /// The flags with which the target is opened for a caller's flags.
    ///
    /// The kernel's cache has a say in where data goes: it does the appending, and it reads what a page
    /// written in part lacks.
    pub(super) fn target_flags(&self, flags: i32) -> i32 {
        let passed = flags & (libc::O_EXCL | libc::O_TRUNC | libc::O_NOATIME | libc::O_SYNC | libc::O_DSYNC);
        let access = flags & libc::O_ACCMODE;
        let access = if self.fast() && access == libc::O_WRONLY { libc::O_RDWR } else { access };
        passed | access
    }

    pub(super) fn open(&self, head: &InHeader, arg: &abi::OpenIn) -> Sys<Answer> {
        if let Some(file) = control::VirtualFile::of_node(head.nodeid) {
            return self.open_virtual(file);
        }
        let node = self.nodes.get(head.nodeid)?;
        let flags = self.target_flags(arg.flags as i32) & !libc::O_EXCL;
        let reader = self.fast() && flags == libc::O_RDONLY;
        let kept = if reader { node.take_reader() } else { None };
        if flags & libc::O_TRUNC != 0 {
            node.writes().truncated();
            self.before_change(&node, 0, u64::MAX)?;
        }
        let fd = match kept {
            Some(fd) => fd,
            None => Arc::new(self.open_as_allowed(&node, flags, arg.flags as i32)?),
        };
        if arg.open_flags & abi::OPEN_KILL_SUIDGID != 0 {
            kill_suid_sgid(&node)?;
        }
        let gated = self.gated(&node);
        if gated {
            self.channel.forget_attributes(node.id);
        }
        let keep = self.fast() && !gated;
        let fh = self.handles.add(Handle::File(File::new(node, fd, arg.flags as i32, reader).with_direct()?));
        let open_flags = if keep { abi::FOPEN_KEEP_CACHE } else { 0 };
        Answer::of(&abi::OpenOut { fh, open_flags, backing_id: 0 })
    }

    /// Opens a file of the target for reading too, or else just as its caller asks.
    fn open_as_allowed(&self, node: &Node, flags: i32, asked: i32) -> Sys<OwnedFd> {
        match self.patiently(|| self.open_target(node, flags)) {
            Err(Errno(libc::EACCES)) if flags & libc::O_ACCMODE == libc::O_RDWR => {
                sys::reopen(node.fd(), flags & !libc::O_ACCMODE | (asked & libc::O_ACCMODE))
            }
            opened => opened,
        }
    }

    /// Opens a file of the target. Where only the mount changes names, its name is the quick way; what
    /// it stands for is looked at nevertheless.
    fn open_target(&self, node: &Node, flags: i32) -> Sys<OwnedFd> {
        if self.fast() && flags & libc::O_TRUNC == 0 {
            let named = node.last_link().and_then(|(dir, name)| {
                let fd = sys::open_at(dir.fd(), &name, flags | libc::O_NONBLOCK, 0).ok()?;
                (Key::of(&sys::stat(fd.as_fd()).ok()?) == node.key).then_some(fd)
            });
            if let Some(fd) = named {
                return Ok(fd);
            }
        }
        sys::reopen(node.fd(), flags)
    }

    pub(super) fn read(&self, arg: &abi::ReadIn, mangle: Option<Mangle>, turn: &mut Turn) -> Sys<Answer> {
        let size = (arg.size as usize).min(MAX_DATA);
        let handle = self.handles.get(arg.fh)?;
        let file = match &*handle {
            Handle::File(file) => file,
            Handle::Control(control) => return Ok(Answer::Bytes(control.read(arg.offset, size))),
            Handle::Directory(_) => return Err(Errno(libc::EISDIR)),
        };
        usable(file)?;
        let room = &mut turn.scratch.room()[..size];
        let asked_for_it = arg.flags as i32 & libc::O_DIRECT != 0;
        let fd = file.uncached().filter(|_| asked_for_it).unwrap_or(file.fd());
        let found = sys::pread(fd, room, arg.offset)?;
        if let Some(mangle) = mangle {
            mangle.apply_to_read(arg.offset, &mut room[..found]);
        }
        Ok(Answer::Scratch(found))
    }

    pub(super) fn write(&self, arg: &abi::WriteIn, data: &[u8], mangle: Option<Mangle>) -> Sys<Answer> {
        let handle = self.handles.get(arg.fh)?;
        let file = match &*handle {
            Handle::File(file) => file,
            Handle::Control(control) => {
                control.write(arg.offset, data)?;
                return Answer::of(&abi::WriteOut { size: data.len() as u32, padding: 0 });
            }
            Handle::Directory(_) => return Err(Errno(libc::EBADF)),
        };
        let appends = self.appends_beneath(arg);
        self.write_file(file, arg, |fd| match mangle {
            None if appends => sys::append(fd, data),
            None => sys::pwrite(fd, data, arg.offset),
            Some(mangle) => write_mangled(file, data, arg.offset, &mangle),
        })
    }

    /// Whether a write's place is the end of the target's file, whatever the kernel takes for it.
    fn appends_beneath(&self, arg: &abi::WriteIn) -> bool {
        !self.fast() && arg.flags as i32 & libc::O_APPEND != 0 && arg.write_flags & abi::WRITE_CACHE == 0
    }

    /// Corrects an append's place: without the writeback cache the kernel does not ask where the end is.
    pub(super) fn place(&self, arg: &mut abi::WriteIn) {
        if self.appends_beneath(arg) {
            if let Ok(Handle::File(file)) = self.handles.get(arg.fh).as_deref() {
                arg.offset = size_of(&file.node);
            }
        }
    }

    /// Has `write` put data into a file of the target.
    pub(super) fn write_file(
        &self,
        file: &File,
        arg: &abi::WriteIn,
        write: impl FnOnce(BorrowedFd) -> Sys<usize>,
    ) -> Sys<Answer> {
        usable(file)?;
        file.written.store(true, Ordering::Relaxed);
        self.before_change(&file.node, arg.offset, arg.size.into())?;
        let from_cache = arg.write_flags & abi::WRITE_CACHE != 0;
        let written = write(file.uncached().filter(|_| !from_cache).unwrap_or(file.fd()))?;
        if arg.write_flags & abi::WRITE_KILL_SUIDGID != 0 {
            kill_suid_sgid(&file.node)?;
        }
        Answer::of(&abi::WriteOut { size: written as u32, padding: 0 })
    }

    pub(super) fn flush(&self, arg: &abi::FlushIn) -> Sys<Answer> {
        match &*self.handles.get(arg.fh)? {
            Handle::File(file) if file.written.swap(false, Ordering::Relaxed) => {
                sys::close_duplicate(file.fd())?;
            }
            Handle::Control(control) => {
                self.commit(control)?;
            }
            _ => {}
        }
        Ok(Answer::Done)
    }

    pub(super) fn fsync(&self, arg: &abi::FsyncIn) -> Sys<Answer> {
        let handle = self.handles.get(arg.fh)?;
        match &*handle {
            Handle::File(file) => {
                usable(file)?;
                let data_only = arg.fsync_flags & abi::FSYNC_FDATASYNC != 0;
                self.sync_file(&file.node, || sys::fsync(file.fd(), data_only))?;
            }
            Handle::Control(control) => self.commit(control)?,
            Handle::Directory(_) => return Err(Errno(libc::EBADF)),
        }
        Ok(Answer::Done)
    }

    pub(super) fn release(&self, fh: u64) -> Sys<Answer> {
        self.handles.remove(fh);
        Ok(Answer::Done)
    }

    pub(super) fn fallocate(&self, arg: &abi::FallocateIn) -> Sys<Answer> {
        self.with_file(arg.fh, |file| {
            self.before_change(&file.node, arg.offset, arg.length)?;
            sys::fallocate(file.fd(), arg.mode, arg.offset, arg.length).map(|()| Answer::Done)
        })
    }

    /// Where data and holes are. What the kernel has not written back yet would look like a hole.
    pub(super) fn lseek(&self, arg: &abi::LseekIn) -> Sys<Answer> {
        self.with_file(arg.fh, |file| {
            if self.fast() {
                self.drop_pages(&file.node);
            }
            let offset = sys::lseek(file.fd(), arg.offset, arg.whence)?;
            Answer::of(&abi::LseekOut { offset })
        })
    }

    pub(super) fn copy_file_range(&self, arg: &abi::CopyFileRangeIn, wide: bool) -> Sys<Answer> {
        let to = self.handles.get(arg.fh_out)?;
        let Handle::File(to) = &*to else { return Err(Errno(libc::EOPNOTSUPP)) };
        usable(to)?;
        self.with_file(arg.fh_in, |from| {
            let length = arg.len.min(1 << 30) as usize;
            self.before_change(&to.node, arg.off_out, length as u64)?;
            let copied = sys::copy_file_range(from.fd(), arg.off_in, to.fd(), arg.off_out, length)?;
            if wide {
                return Answer::of(&abi::CopyFileRangeOut { bytes_copied: copied as u64 });
            }
            Answer::of(&abi::WriteOut { size: copied as u32, padding: 0 })
        })
    }

    fn with_file(&self, fh: u64, act: impl FnOnce(&File) -> Sys<Answer>) -> Sys<Answer> {
        let handle: Arc<Handle> = self.handles.get(fh)?;
        let Handle::File(file) = &*handle else { return Err(Errno(libc::EBADF)) };
        usable(file)?;
        act(file)
    }
}

/// A file that lost its unsynced writes is as one on a disk that went away.
pub(super) fn usable(file: &File) -> Sys<()> {
    if file.lost.load(Ordering::Acquire) { Err(Errno(libc::EIO)) } else { Ok(()) }
}

/// Writes what survives; the caller is told that everything was written.
fn write_mangled(file: &File, data: &[u8], offset: u64, mangle: &Mangle) -> Sys<usize> {
    let mut changed = data.to_vec();
    for kept in mangle.apply(offset, &mut changed) {
        sys::pwrite(file.fd(), &changed[kept.clone()], offset + kept.start as u64)?;
    }
    let end = offset + data.len() as u64;
    if sys::stat(file.fd())?.st_size < end as i64 {
        sys::ftruncate(file.fd(), end)?;
    }
    Ok(data.len())
}
