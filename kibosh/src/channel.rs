//! `/dev/fuse` as a transport: requests in, replies and notifications out.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use zerocopy::IntoBytes;

use crate::abi;
use crate::piped::Pipe;
use crate::sys::{self, Errno, Sys};

const SHORT: usize = 512;

pub struct Channel {
    device: OwnedFd,
}

impl Channel {
    pub fn new(device: OwnedFd) -> Self {
        Channel { device }
    }

    /// The next request's length in `buffer`; none when the mount is gone. A large WRITE's data stays in
    /// the pipe, if there is one.
    pub fn receive(&self, buffer: &mut [u8], mut pipe: Option<&mut Pipe>) -> Sys<Option<usize>> {
        let device = self.device.as_fd();
        loop {
            let received = match &mut pipe {
                Some(pipe) => pipe.receive(device, buffer),
                None => sys::read(device, buffer),
            };
            match received {
                Ok(size) => return Ok(Some(size)),
                Err(Errno(libc::ENODEV | libc::ECONNABORTED)) => return Ok(None),
                // ENOENT: the request was interrupted before it could be read.
                Err(Errno(libc::EINTR | libc::EAGAIN | libc::ENOENT)) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Answers a request with data.
    pub fn reply(&self, unique: u64, data: &[u8]) {
        self.send(abi::OutHeader { len: 0, error: 0, unique }, &[data]);
    }

    pub fn reply_error(&self, unique: u64, errno: i32) {
        self.send(abi::OutHeader { len: 0, error: -errno, unique }, &[]);
    }

    /// Sends a message; a short one in one piece, which the kernel takes in with less effort. That the
    /// other side has gone or forgotten meanwhile is no error.
    fn send(&self, mut head: abi::OutHeader, parts: &[&[u8]]) {
        let size = parts.iter().map(|part| part.len()).sum::<usize>() + size_of::<abi::OutHeader>();
        head.len = size as u32;
        let mut short = [0u8; SHORT];
        let sent = if size <= SHORT {
            let mut end = 0;
            for part in [head.as_bytes()].iter().chain(parts) {
                short[end..end + part.len()].copy_from_slice(part);
                end += part.len();
            }
            sys::write(self.device.as_fd(), &short[..end])
        } else {
            let whole =
                [head.as_bytes()].iter().chain(parts).map(|part| IoSlice::new(part)).collect::<Vec<_>>();
            sys::write_message(self.device.as_fd(), &whole)
        };
        match sent {
            Ok(_) | Err(Errno(libc::ENOENT | libc::ENODEV | libc::ENOTDIR | libc::ENOTEMPTY)) => {}
            Err(errno) => log::warn!("message {} ({}) refused: {errno}", head.unique, head.error),
        }
    }

    fn notify(&self, code: i32, parts: &[&[u8]]) {
        self.send(abi::OutHeader { len: 0, error: code, unique: 0 }, parts);
    }

    /// Has the kernel write back and drop a file's pages from `start` up to `end` or the file's, and
    /// forget its attributes.
    ///
    /// Waits for the write-back, and for loads under way.
    pub fn drop_pages(&self, node: u64, start: u64, end: Option<u64>) {
        self.invalidate(node, start as i64, end.map_or(0, |end| (end - start) as i64));
    }

    /// Has the kernel forget a file's attributes, so that its next use asks for them: the gate.
    pub fn forget_attributes(&self, node: u64) {
        self.invalidate(node, -1, 0);
    }

    fn invalidate(&self, ino: u64, off: i64, len: i64) {
        let notice = abi::NotifyInvalInodeOut { ino, off, len };
        self.notify(abi::NOTIFY_INVAL_INODE, &[notice.as_bytes()]);
    }

    /// Has the kernel look a name up anew.
    pub fn forget_name(&self, parent: u64, name: &OsStr) {
        let notice = abi::NotifyInvalEntryOut { parent, namelen: name.len() as u32, flags: 0 };
        self.notify(abi::NOTIFY_INVAL_ENTRY, &[notice.as_bytes(), name.as_bytes(), &[0]]);
    }
}
