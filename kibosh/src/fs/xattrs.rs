//! Extended attributes, ACLs among them.

use std::ffi::OsStr;

use crate::abi::{self, InHeader};
use crate::sys::{self, Errno, Sys};

use super::{Answer, Fs};

/// The kernel's limit of one value, and of one list of names.
const LARGEST: u32 = 65_536;

impl Fs {
    pub(super) fn setxattr(
        &self,
        head: &InHeader,
        arg: &abi::SetxattrIn,
        name: &OsStr,
        value: &[u8],
    ) -> Sys<Answer> {
        let node = self.node_with_xattrs(head)?;
        sys::set_xattr(node.fd(), name, value, arg.flags)?;
        if arg.setxattr_flags & abi::SETXATTR_ACL_KILL_SGID != 0 {
            let mode = sys::stat(node.fd())?.st_mode;
            sys::chmod(node.fd(), mode & 0o7777 & !libc::S_ISGID)?;
        }
        Ok(Answer::Done)
    }

    pub(super) fn getxattr(&self, head: &InHeader, name: &OsStr, size: u32) -> Sys<Answer> {
        let node = self.node_with_xattrs(head)?;
        sized(size, |buffer| sys::get_xattr(node.fd(), name, buffer))
    }

    pub(super) fn listxattr(&self, head: &InHeader, size: u32) -> Sys<Answer> {
        let node = self.node_with_xattrs(head)?;
        sized(size, |buffer| sys::list_xattr(node.fd(), buffer))
    }

    pub(super) fn removexattr(&self, head: &InHeader, name: &OsStr) -> Sys<Answer> {
        sys::remove_xattr(self.node_with_xattrs(head)?.fd(), name).map(|()| Answer::Done)
    }

    fn node_with_xattrs(&self, head: &InHeader) -> Sys<std::sync::Arc<crate::nodes::Node>> {
        self.nodes.get(head.nodeid).map_err(|_| Errno(libc::ENODATA))
    }
}

/// A size of 0 asks how much there is.
fn sized(size: u32, read: impl FnOnce(&mut [u8]) -> Sys<usize>) -> Sys<Answer> {
    let mut buffer = vec![0u8; size.min(LARGEST) as usize];
    let found = read(&mut buffer)?;
    if size == 0 {
        return Answer::of(&abi::GetxattrOut { size: found as u32, padding: 0 });
    }
    buffer.truncate(found);
    Ok(Answer::Bytes(buffer))
}
