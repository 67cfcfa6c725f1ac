//! Attributes of files, and of the file system.

use std::sync::Arc;

use crate::abi::{self, InHeader, fattr};
use crate::nodes::{Key, Node};
use crate::sys::{self, Sys};

use super::data::usable;
use super::handles::Handle;
use super::{Answer, Fs, control};

impl Fs {
    pub(super) fn attr(&self, stat: &libc::stat) -> abi::Attr {
        abi::Attr {
            ino: self.nodes.visible_ino(Key::of(stat)),
            size: stat.st_size as u64,
            blocks: stat.st_blocks as u64,
            atime: stat.st_atime as u64,
            mtime: stat.st_mtime as u64,
            ctime: stat.st_ctime as u64,
            atimensec: stat.st_atime_nsec as u32,
            mtimensec: stat.st_mtime_nsec as u32,
            ctimensec: stat.st_ctime_nsec as u32,
            mode: stat.st_mode,
            nlink: stat.st_nlink as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: stat.st_rdev as u32,
            blksize: stat.st_blksize as u32,
            flags: 0,
        }
    }

    fn attr_out(&self, node: &Node, stat: &libc::stat) -> Sys<Answer> {
        let valid = self.attr_timeout(node);
        Answer::of(&abi::AttrOut {
            attr_valid: valid.as_secs(),
            attr_valid_nsec: valid.subsec_nanos(),
            dummy: 0,
            attr: self.attr(stat),
        })
    }

    pub(super) fn getattr(&self, head: &InHeader, arg: &abi::GetattrIn) -> Sys<Answer> {
        if arg.getattr_flags & abi::GETATTR_FH != 0 {
            if let Ok(Handle::File(file)) = self.handles.get(arg.fh).as_deref() {
                usable(file)?;
            }
        }
        match control::VirtualFile::of_node(head.nodeid) {
            Some(file) => Answer::of(&self.virtual_attr_out(file)),
            None => {
                let node = self.nodes.get(head.nodeid)?;
                self.attr_out(&node, &sys::stat(node.fd())?)
            }
        }
    }

    pub(super) fn statx(&self, head: &InHeader, arg: &abi::StatxIn) -> Sys<Answer> {
        if control::VirtualFile::of_node(head.nodeid).is_some() {
            return Err(sys::Errno(libc::ENOSYS));
        }
        let node = self.nodes.get(head.nodeid)?;
        let found = sys::statx(node.fd(), arg.sx_flags, arg.sx_mask | libc::STATX_BASIC_STATS)?;
        let valid = self.attr_timeout(&node);
        Answer::of(&abi::StatxOut {
            attr_valid: valid.as_secs(),
            attr_valid_nsec: valid.subsec_nanos(),
            stat: abi::Statx { ino: self.nodes.visible_ino(node.key), ..statx_of(&found) },
            ..Default::default()
        })
    }

    pub(super) fn setattr(&self, head: &InHeader, arg: &abi::SetattrIn) -> Sys<Answer> {
        if let Some(file) = control::VirtualFile::of_node(head.nodeid) {
            return Answer::of(&self.virtual_attr_out(file));
        }
        let node = self.nodes.get(head.nodeid)?;
        let has = |bit: u32| arg.valid & bit != 0;
        if arg.valid & !fattr::FH == fattr::MTIME | fattr::CTIME {
            let stat = sys::stat(node.fd())?;
            // The kernel also flushes times that have not changed, after a rename for one.
            if (stat.st_mtime as u64, stat.st_mtime_nsec as u32) == (arg.mtime, arg.mtimensec) {
                return self.attr_out(&node, &stat);
            }
        }
        if has(fattr::MODE) {
            sys::chmod(node.fd(), arg.mode & 0o7777)?;
        }
        if has(fattr::UID | fattr::GID) {
            let uid = if has(fattr::UID) { arg.uid } else { u32::MAX };
            let gid = if has(fattr::GID) { arg.gid } else { u32::MAX };
            sys::chown(node.fd(), uid, gid)?;
        }
        if has(fattr::SIZE) {
            self.resize(&node, arg)?;
        }
        if has(fattr::KILL_SUIDGID) {
            kill_suid_sgid(&node)?;
        }
        if has(fattr::ATIME | fattr::MTIME) {
            set_times(&node, arg)?;
        }
        self.attr_out(&node, &sys::stat(node.fd())?)
    }

    fn resize(&self, node: &Arc<Node>, arg: &abi::SetattrIn) -> Sys<()> {
        node.writes().truncated();
        self.before_change(node, arg.size, u64::MAX)?;
        if arg.valid & fattr::FH != 0 {
            if let Handle::File(file) = &*self.handles.get(arg.fh)? {
                if file.writable() {
                    return sys::ftruncate(file.fd(), arg.size);
                }
            }
        }
        sys::truncate(node.fd(), arg.size)
    }

    pub(super) fn statfs(&self, head: &InHeader) -> Sys<Answer> {
        let node = self.nodes.get(head.nodeid).unwrap_or_else(|_| self.nodes.root().clone());
        let found = sys::statvfs(node.fd())?;
        let (bfree, bavail) = self.visible_room(&node, &found);
        Answer::of(&abi::Kstatfs {
            blocks: found.f_blocks,
            bfree,
            bavail,
            files: found.f_files,
            ffree: found.f_ffree,
            bsize: found.f_bsize as u32,
            namelen: found.f_namemax as u32,
            frsize: found.f_frsize as u32,
            ..Default::default()
        })
    }
}

fn set_times(node: &Node, arg: &abi::SetattrIn) -> Sys<()> {
    let has = |bit: u32| arg.valid & bit != 0;
    let time = |set, now, sec: u64, nsec: u32| libc::timespec {
        tv_sec: sec as i64,
        tv_nsec: if has(now) {
            libc::UTIME_NOW
        } else if has(set) {
            nsec.into()
        } else {
            libc::UTIME_OMIT
        },
    };
    let atime = time(fattr::ATIME, fattr::ATIME_NOW, arg.atime, arg.atimensec);
    let mtime = time(fattr::MTIME, fattr::MTIME_NOW, arg.mtime, arg.mtimensec);
    sys::utimens(node.fd(), &[atime, mtime])
}

/// What write(2) by an unprivileged caller does to a file's set-id bits.
pub(super) fn kill_suid_sgid(node: &Node) -> Sys<()> {
    let mode = sys::stat(node.fd())?.st_mode;
    let mut kept = mode & !libc::S_ISUID;
    if mode & libc::S_IXGRP != 0 {
        kept &= !libc::S_ISGID;
    }
    if kept == mode { Ok(()) } else { sys::chmod(node.fd(), kept & 0o7777) }
}

fn statx_of(found: &libc::statx) -> abi::Statx {
    let time =
        |time: libc::statx_timestamp| abi::SxTime { sec: time.tv_sec, nsec: time.tv_nsec, reserved: 0 };
    abi::Statx {
        mask: found.stx_mask,
        blksize: found.stx_blksize,
        attributes: found.stx_attributes,
        nlink: found.stx_nlink,
        uid: found.stx_uid,
        gid: found.stx_gid,
        mode: found.stx_mode,
        ino: found.stx_ino,
        size: found.stx_size,
        blocks: found.stx_blocks,
        attributes_mask: found.stx_attributes_mask,
        atime: time(found.stx_atime),
        btime: time(found.stx_btime),
        ctime: time(found.stx_ctime),
        mtime: time(found.stx_mtime),
        rdev_major: found.stx_rdev_major,
        rdev_minor: found.stx_rdev_minor,
        dev_major: found.stx_dev_major,
        dev_minor: found.stx_dev_minor,
        ..Default::default()
    }
}
