//! Open directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::PoisonError;

use zerocopy::IntoBytes;

use crate::abi::{self, InHeader};
use crate::pool::MAX_DATA;
use crate::sys::{self, DirEntry, Errno, Sys};
use crate::undo;

use super::handles::{DirStream, Directory, Handle};
use super::{Answer, Fs};

impl Fs {
    pub(super) fn opendir(&self, head: &InHeader) -> Sys<Answer> {
        let node = self.nodes.get(head.nodeid)?;
        let fd = sys::reopen(node.fd(), libc::O_RDONLY | libc::O_DIRECTORY)?;
        let cached = self.fast() && !self.gated(&node);
        let open_flags = if cached { abi::FOPEN_CACHE_DIR | abi::FOPEN_KEEP_CACHE } else { 0 };
        let fh = self.handles.add(Handle::Directory(Directory::new(node, fd)));
        Answer::of(&abi::OpenOut { fh, open_flags, backing_id: 0 })
    }

    pub(super) fn readdir(&self, arg: &abi::ReadIn, plus: bool) -> Sys<Answer> {
        let handle = self.handles.get(arg.fh)?;
        let Handle::Directory(directory) = &*handle else { return Err(Errno(libc::EBADF)) };
        let mut stream = directory.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.at != arg.offset as i64 {
            sys::seek_dir(directory.fd(), arg.offset as i64)?;
            *stream = DirStream { at: arg.offset as i64, ..Default::default() };
        }
        let room = (arg.size as usize).min(MAX_DATA);
        let mut out = Vec::new();
        loop {
            if stream.ahead.is_empty() {
                stream.ahead = sys::read_dir(directory.fd())?.into();
            }
            let Some(entry) = stream.ahead.front() else { break };
            let hidden = undo::is_hidden(OsStr::from_bytes(&entry.name));
            if !hidden && !self.append_entry(&mut out, room, directory, entry, plus) {
                break;
            }
            stream.at = entry.next;
            stream.ahead.pop_front();
        }
        Ok(Answer::Bytes(out))
    }

    /// Adds an entry if there is room for it.
    fn append_entry(
        &self,
        out: &mut Vec<u8>,
        room: usize,
        directory: &Directory,
        entry: &DirEntry,
        plus: bool,
    ) -> bool {
        let head = if plus { size_of::<abi::EntryOut>() } else { 0 };
        let size = (head + size_of::<abi::Dirent>() + entry.name.len()).next_multiple_of(8);
        if out.len() + size > room {
            return false;
        }
        let end = out.len() + size;
        if plus {
            out.extend_from_slice(self.entry_of(directory, entry).as_bytes());
        }
        let dirent = abi::Dirent {
            ino: entry.ino,
            off: entry.next as u64,
            namelen: entry.name.len() as u32,
            kind: entry.kind.into(),
        };
        out.extend_from_slice(dirent.as_bytes());
        out.extend_from_slice(&entry.name);
        out.resize(end, 0);
        true
    }

    /// The attributes that go with a listed name; none for what has just vanished.
    fn entry_of(&self, directory: &Directory, entry: &DirEntry) -> abi::EntryOut {
        if entry.name == b"." || entry.name == b".." {
            return abi::EntryOut::default();
        }
        match self.find(&directory.node, OsStr::from_bytes(&entry.name)) {
            Ok((node, stat)) => self.entry(&node, &stat),
            Err(_) => abi::EntryOut::default(),
        }
    }

    pub(super) fn fsyncdir(&self, arg: &abi::FsyncIn) -> Sys<Answer> {
        let handle = self.handles.get(arg.fh)?;
        let Handle::Directory(directory) = &*handle else { return Err(Errno(libc::EBADF)) };
        sys::fsync(directory.fd(), arg.fsync_flags & abi::FSYNC_FDATASYNC != 0)?;
        self.undo.directory_synced(&directory.node);
        Ok(Answer::Done)
    }
}
