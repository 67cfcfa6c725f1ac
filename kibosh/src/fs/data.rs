//! Open files and their data.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::abi::{self, InHeader};
use crate::fault::Mangle;
use crate::pool::{MAX_DATA, Turn};
use crate::sys::{self, Errno, Sys};

use super::attrs::kill_suid_sgid;
use super::handles::{File, Handle};
use super::{Answer, Fs, control};

impl Fs {
    /// The flags with which the target is opened for a caller's flags.
    ///
    /// The kernel's cache has a say in where data goes: it does the appending, it reads what a page
    /// written in part lacks, and it does not align its buffers for `O_DIRECT`.
    pub(super) fn target_flags(&self, flags: i32) -> i32 {
        let passed = flags & (libc::O_EXCL | libc::O_TRUNC | libc::O_NOATIME | libc::O_SYNC | libc::O_DSYNC);
        let access = flags & libc::O_ACCMODE;
        let access = if self.fast() && access == libc::O_WRONLY { libc::O_RDWR } else { access };
        passed | access
    }

    pub(super) fn open(&self, head: &InHeader, arg: &abi::OpenIn, turn: &mut Turn) -> Sys<Answer> {
        if let Some(file) = control::VirtualFile::of_node(head.nodeid) {
            return self.open_virtual(file);
        }
        let node = self.nodes.get(head.nodeid)?;
        let flags = self.target_flags(arg.flags as i32) & !libc::O_EXCL;
        if flags & libc::O_TRUNC != 0 {
            node.writes().truncated();
            self.before_change(&node, 0, u64::MAX)?;
        }
        let fd = match self.patiently(|| sys::reopen(node.fd(), flags)) {
            Err(Errno(libc::EACCES)) if flags & libc::O_ACCMODE == libc::O_RDWR => {
                sys::reopen(node.fd(), flags & !libc::O_ACCMODE | (arg.flags as i32 & libc::O_ACCMODE))?
            }
            opened => opened?,
        };
        if arg.open_flags & abi::OPEN_KILL_SUIDGID != 0 {
            kill_suid_sgid(&node)?;
        }
        let gated = self.gated(&node);
        if gated {
            turn.may_block();
            self.channel.forget_attributes(node.id);
        }
        let keep = self.fast() && !gated;
        let fh = self.handles.add(Handle::File(File::new(node, fd, arg.flags as i32)));
        let open_flags = if keep { abi::FOPEN_KEEP_CACHE } else { 0 };
        Answer::of(&abi::OpenOut { fh, open_flags, backing_id: 0 })
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
        if turn.scratch.len() < size {
            turn.scratch.resize(size, 0);
        }
        let found = match sys::pread_cached(file.fd(), &mut turn.scratch[..size], arg.offset) {
            Ok(found) if found == size => found,
            _ => {
                turn.may_block();
                sys::pread(file.fd(), &mut turn.scratch[..size], arg.offset)?
            }
        };
        if let Some(mangle) = mangle {
            mangle.apply_to_read(arg.offset, &mut turn.scratch[..found]);
        }
        Ok(Answer::Scratch(found))
    }

    pub(super) fn write(
        &self,
        arg: &abi::WriteIn,
        data: &[u8],
        mangle: Option<Mangle>,
        turn: &mut Turn,
    ) -> Sys<Answer> {
        let handle = self.handles.get(arg.fh)?;
        let file = match &*handle {
            Handle::File(file) => file,
            Handle::Control(control) => {
                control.write(arg.offset, data)?;
                return Answer::of(&abi::WriteOut { size: data.len() as u32, padding: 0 });
            }
            Handle::Directory(_) => return Err(Errno(libc::EBADF)),
        };
        usable(file)?;
        turn.may_block();
        self.before_change(&file.node, arg.offset, data.len() as u64)?;
        let written = match mangle {
            None => sys::pwrite(file.fd(), data, arg.offset)?,
            Some(mangle) => write_mangled(file, data, arg.offset, &mangle)?,
        };
        if arg.write_flags & abi::WRITE_KILL_SUIDGID != 0 {
            kill_suid_sgid(&file.node)?;
        }
        Answer::of(&abi::WriteOut { size: written as u32, padding: 0 })
    }

    pub(super) fn flush(&self, arg: &abi::FlushIn, turn: &mut Turn) -> Sys<Answer> {
        match &*self.handles.get(arg.fh)? {
            Handle::File(file) if file.writable() => sys::close_duplicate(file.fd())?,
            Handle::Control(control) => {
                turn.may_block();
                self.commit(control)?;
            }
            _ => {}
        }
        Ok(Answer::Done)
    }

    pub(super) fn fsync(&self, arg: &abi::FsyncIn, turn: &mut Turn) -> Sys<Answer> {
        let handle = self.handles.get(arg.fh)?;
        turn.may_block();
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

    pub(super) fn fallocate(&self, arg: &abi::FallocateIn, turn: &mut Turn) -> Sys<Answer> {
        self.with_file(arg.fh, |file| {
            turn.may_block();
            self.before_change(&file.node, arg.offset, arg.length)?;
            sys::fallocate(file.fd(), arg.mode, arg.offset, arg.length).map(|()| Answer::Done)
        })
    }

    /// Where data and holes are. What the kernel has not written back yet would look like a hole.
    pub(super) fn lseek(&self, arg: &abi::LseekIn, turn: &mut Turn) -> Sys<Answer> {
        self.with_file(arg.fh, |file| {
            if self.fast() {
                turn.may_block();
                self.channel.drop_pages(file.node.id);
            }
            let offset = sys::lseek(file.fd(), arg.offset, arg.whence)?;
            Answer::of(&abi::LseekOut { offset })
        })
    }

    pub(super) fn copy_file_range(
        &self,
        arg: &abi::CopyFileRangeIn,
        wide: bool,
        turn: &mut Turn,
    ) -> Sys<Answer> {
        let to = self.handles.get(arg.fh_out)?;
        let Handle::File(to) = &*to else { return Err(Errno(libc::EOPNOTSUPP)) };
        usable(to)?;
        self.with_file(arg.fh_in, |from| {
            turn.may_block();
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
