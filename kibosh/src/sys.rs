//! The system calls Kibosh makes, each as a safe function: here those on files, in `pipe` those that move
//! pages, in `process` those on processes, this one among them, and on mounts.
//!
//! `unsafe` is allowed here because libc's functions are foreign: every pointer passed points into
//! a Rust value that outlives the call, and every descriptor returned is owned at once.
#![allow(unsafe_code)]

mod pipe;
mod process;

use std::ffi::{CString, OsStr};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use libc::{c_int, c_void};

pub use pipe::*;
pub use process::*;

/// An error number of errno(3), positive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub fn last() -> Self {
        Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        std::io::Error::from_raw_os_error(errno.0)
    }
}

pub type Sys<T> = Result<T, Errno>;

fn check(result: c_int) -> Sys<c_int> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

fn check_size(result: isize) -> Sys<usize> {
    usize::try_from(result).map_err(|_| Errno::last())
}

fn owned(result: c_int) -> Sys<OwnedFd> {
    // SAFETY: the call that returned this descriptor has just made it; nobody else owns it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c_string(name: &OsStr) -> Sys<CString> {
    CString::new(name.as_bytes()).map_err(|_| Errno(libc::EINVAL))
}

/// `/proc/self/fd/N`: the object a descriptor stands for, as a path that cannot be renamed away.
struct FdPath([u8; 32]);

impl FdPath {
    fn new(fd: RawFd) -> Self {
        let mut path = [0u8; 32];
        let prefix = b"/proc/self/fd/";
        path[..prefix.len()].copy_from_slice(prefix);
        let digits = fd.to_string();
        path[prefix.len()..prefix.len() + digits.len()].copy_from_slice(digits.as_bytes());
        FdPath(path)
    }

    fn as_ptr(&self) -> *const libc::c_char {
        self.0.as_ptr().cast()
    }
}

pub fn open(path: &OsStr, flags: c_int) -> Sys<OwnedFd> {
    let path = c_string(path)?;
    owned(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) })
}

/// Opens `name` in `dir` without following a symbolic link.
pub fn open_at(dir: BorrowedFd, name: &OsStr, flags: c_int, mode: u32) -> Sys<OwnedFd> {
    let name = c_string(name)?;
    let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    owned(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode) })
}

/// Opens `O_TMPFILE` in `dir`.
pub fn open_tmpfile(dir: BorrowedFd, flags: c_int, mode: u32) -> Sys<OwnedFd> {
    let flags = flags | libc::O_TMPFILE | libc::O_CLOEXEC;
    owned(unsafe { libc::openat(dir.as_raw_fd(), c".".as_ptr(), flags, mode) })
}

/// Opens what `fd` stands for anew, with other flags.
pub fn reopen(fd: BorrowedFd, flags: c_int) -> Sys<OwnedFd> {
    let path = FdPath::new(fd.as_raw_fd());
    owned(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) })
}

/// Opens what `fd` stands for as `O_PATH`, whatever its name may stand for by now.
pub fn reopen_path(fd: BorrowedFd) -> Sys<OwnedFd> {
    let flags = libc::OPEN_TREE_CLOEXEC as c_int | libc::AT_EMPTY_PATH;
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, fd.as_raw_fd(), c"".as_ptr(), flags) };
    owned(tree as c_int).or_else(|_| reopen(fd, libc::O_PATH))
}

/// `O_RDONLY`, `O_WRONLY` or `O_RDWR`, as it was opened.
pub fn access_mode(fd: BorrowedFd) -> Sys<c_int> {
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }).map(|flags| flags & libc::O_ACCMODE)
}

pub fn stat(fd: BorrowedFd) -> Sys<libc::stat> {
    let mut out = MaybeUninit::<libc::stat>::uninit();
    check(unsafe { libc::fstatat(fd.as_raw_fd(), c"".as_ptr(), out.as_mut_ptr(), libc::AT_EMPTY_PATH) })?;
    // SAFETY: fstatat succeeded, so it filled the whole structure.
    Ok(unsafe { out.assume_init() })
}

pub fn stat_at(dir: BorrowedFd, name: &OsStr) -> Sys<libc::stat> {
    let name = c_string(name)?;
    let mut out = MaybeUninit::<libc::stat>::uninit();
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    check(unsafe { libc::fstatat(dir.as_raw_fd(), name.as_ptr(), out.as_mut_ptr(), flags) })?;
    // SAFETY: fstatat succeeded, so it filled the whole structure.
    Ok(unsafe { out.assume_init() })
}

pub fn statx(fd: BorrowedFd, flags: u32, mask: u32) -> Sys<libc::statx> {
    let mut out = MaybeUninit::<libc::statx>::zeroed();
    let sync = flags as c_int & (libc::AT_STATX_FORCE_SYNC | libc::AT_STATX_DONT_SYNC);
    let flags = libc::AT_EMPTY_PATH | sync;
    check(unsafe { libc::statx(fd.as_raw_fd(), c"".as_ptr(), flags, mask, out.as_mut_ptr()) })?;
    // SAFETY: zeroed is a valid statx, and the call succeeded.
    Ok(unsafe { out.assume_init() })
}

/// Has the file system be asked for the attributes of a path, whatever is cached of them.
pub fn ask_attributes(path: &OsStr) -> Sys<()> {
    let path = c_string(path)?;
    let mut out = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_STATX_FORCE_SYNC | libc::AT_NO_AUTOMOUNT;
    let (mask, out) = (libc::STATX_BASIC_STATS, out.as_mut_ptr());
    check(unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, mask, out) }).map(drop)
}

pub fn thread_id() -> u32 {
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

pub fn statvfs(fd: BorrowedFd) -> Sys<libc::statvfs> {
    let mut out = MaybeUninit::<libc::statvfs>::uninit();
    check(unsafe { libc::fstatvfs(fd.as_raw_fd(), out.as_mut_ptr()) })?;
    // SAFETY: fstatvfs succeeded, so it filled the whole structure.
    Ok(unsafe { out.assume_init() })
}

pub fn mkdir_at(dir: BorrowedFd, name: &OsStr, mode: u32) -> Sys<()> {
    let name = c_string(name)?;
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) }).map(drop)
}

pub fn mknod_at(dir: BorrowedFd, name: &OsStr, mode: u32, rdev: u32) -> Sys<()> {
    let name = c_string(name)?;
    check(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, libc::dev_t::from(rdev)) }).map(drop)
}

pub fn symlink_at(target: &OsStr, dir: BorrowedFd, name: &OsStr) -> Sys<()> {
    let (target, name) = (c_string(target)?, c_string(name)?);
    check(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }).map(drop)
}

/// Gives what `fd` stands for another name. A file made with `O_TMPFILE` gets its first.
pub fn link_fd(fd: BorrowedFd, dir: BorrowedFd, name: &OsStr) -> Sys<()> {
    let (path, name) = (FdPath::new(fd.as_raw_fd()), c_string(name)?);
    let flags = libc::AT_SYMLINK_FOLLOW;
    check(unsafe { libc::linkat(libc::AT_FDCWD, path.as_ptr(), dir.as_raw_fd(), name.as_ptr(), flags) })
        .map(drop)
}

pub fn unlink_at(dir: BorrowedFd, name: &OsStr, flags: c_int) -> Sys<()> {
    let name = c_string(name)?;
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) }).map(drop)
}

pub fn rename_at(from: BorrowedFd, name: &OsStr, to: BorrowedFd, newname: &OsStr, flags: u32) -> Sys<()> {
    let (name, newname) = (c_string(name)?, c_string(newname)?);
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    check(unsafe { libc::renameat2(from, name.as_ptr(), to, newname.as_ptr(), flags) }).map(drop)
}

pub fn readlink(fd: BorrowedFd) -> Sys<Vec<u8>> {
    let mut out = vec![0u8; libc::PATH_MAX as usize];
    let size = unsafe { libc::readlinkat(fd.as_raw_fd(), c"".as_ptr(), out.as_mut_ptr().cast(), out.len()) };
    out.truncate(check_size(size)?);
    Ok(out)
}

pub fn chmod(fd: BorrowedFd, mode: u32) -> Sys<()> {
    let path = FdPath::new(fd.as_raw_fd());
    check(unsafe { libc::chmod(path.as_ptr(), mode) }).map(drop)
}

/// Changes owner and group; `u32::MAX` leaves one as it is.
pub fn chown(fd: BorrowedFd, uid: u32, gid: u32) -> Sys<()> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    check(unsafe { libc::fchownat(fd.as_raw_fd(), c"".as_ptr(), uid, gid, flags) }).map(drop)
}

/// Sets the size through an open descriptor.
pub fn ftruncate(fd: BorrowedFd, size: u64) -> Sys<()> {
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), offset(size)?) }).map(drop)
}

/// Sets the size of what `fd` (perhaps `O_PATH`) stands for.
pub fn truncate(fd: BorrowedFd, size: u64) -> Sys<()> {
    let path = FdPath::new(fd.as_raw_fd());
    check(unsafe { libc::truncate(path.as_ptr(), offset(size)?) }).map(drop)
}

pub fn utimens(fd: BorrowedFd, times: &[libc::timespec; 2]) -> Sys<()> {
    let flags = libc::AT_EMPTY_PATH;
    check(unsafe { libc::utimensat(fd.as_raw_fd(), c"".as_ptr(), times.as_ptr(), flags) }).map(drop)
}

fn offset(value: u64) -> Sys<libc::off_t> {
    libc::off_t::try_from(value).map_err(|_| Errno(libc::EFBIG))
}

/// Fills `buffer` from `at`, short only at the end of the file.
pub fn pread(fd: BorrowedFd, buffer: &mut [u8], at: u64) -> Sys<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        let at = offset(at + done as u64)?;
        let size = unsafe { libc::pread(fd.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len(), at) };
        match check_size(size) {
            Ok(0) => break,
            Ok(size) => done += size,
            Err(Errno(libc::EINTR)) => {}
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// Writes all of `data` at `at`, or as much as there was room for.
pub fn pwrite(fd: BorrowedFd, data: &[u8], at: u64) -> Sys<usize> {
    let mut done = 0;
    while done < data.len() {
        let rest = &data[done..];
        let at = offset(at + done as u64)?;
        let size = unsafe { libc::pwrite(fd.as_raw_fd(), rest.as_ptr().cast(), rest.len(), at) };
        match check_size(size) {
            Ok(0) => break,
            Ok(size) => done += size,
            Err(Errno(libc::EINTR)) => {}
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// Writes at the end of a file, wherever that is; perhaps not all of `data`.
pub fn append(fd: BorrowedFd, data: &[u8]) -> Sys<usize> {
    let part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    check_size(unsafe { libc::pwritev2(fd.as_raw_fd(), &part, 1, 0, libc::RWF_APPEND) })
}

pub fn fsync(fd: BorrowedFd, data_only: bool) -> Sys<()> {
    let fd = fd.as_raw_fd();
    check(unsafe { if data_only { libc::fdatasync(fd) } else { libc::fsync(fd) } }).map(drop)
}

pub fn syncfs(fd: BorrowedFd) -> Sys<()> {
    check(unsafe { libc::syncfs(fd.as_raw_fd()) }).map(drop)
}

pub fn fallocate(fd: BorrowedFd, mode: u32, at: u64, length: u64) -> Sys<()> {
    let (at, length) = (offset(at)?, offset(length)?);
    check(unsafe { libc::fallocate(fd.as_raw_fd(), mode as c_int, at, length) }).map(drop)
}

pub fn lseek(fd: BorrowedFd, at: u64, whence: u32) -> Sys<u64> {
    let result = unsafe { libc::lseek(fd.as_raw_fd(), offset(at)?, whence as c_int) };
    u64::try_from(result).map_err(|_| Errno::last())
}

pub fn copy_file_range(from: BorrowedFd, at: u64, to: BorrowedFd, to_at: u64, length: usize) -> Sys<usize> {
    let (mut at, mut to_at) = (offset(at)?, offset(to_at)?);
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    check_size(unsafe { libc::copy_file_range(from, &mut at, to, &mut to_at, length, 0) })
}

pub fn close(fd: OwnedFd) -> Sys<()> {
    use std::os::fd::IntoRawFd;
    check(unsafe { libc::close(fd.into_raw_fd()) }).map(drop)
}

/// Reports what close(2) would, without closing: what FLUSH asks.
pub fn close_duplicate(fd: BorrowedFd) -> Sys<()> {
    close(owned(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) })?)
}

pub fn set_xattr(fd: BorrowedFd, name: &OsStr, value: &[u8], flags: u32) -> Sys<()> {
    let (path, name) = (FdPath::new(fd.as_raw_fd()), c_string(name)?);
    let data = value.as_ptr().cast::<c_void>();
    check(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), data, value.len(), flags as c_int) })
        .map(drop)
}

/// Reads an attribute into `buffer`; an empty buffer asks for its size.
pub fn get_xattr(fd: BorrowedFd, name: &OsStr, buffer: &mut [u8]) -> Sys<usize> {
    let (path, name) = (FdPath::new(fd.as_raw_fd()), c_string(name)?);
    let data = buffer.as_mut_ptr().cast::<c_void>();
    check_size(unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), data, buffer.len()) })
}

pub fn list_xattr(fd: BorrowedFd, buffer: &mut [u8]) -> Sys<usize> {
    let path = FdPath::new(fd.as_raw_fd());
    check_size(unsafe { libc::listxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

pub fn remove_xattr(fd: BorrowedFd, name: &OsStr) -> Sys<()> {
    let (path, name) = (FdPath::new(fd.as_raw_fd()), c_string(name)?);
    check(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
}

/// One name of a directory as getdents64(2) tells it.
#[derive(Debug, Clone)]
pub struct DirEntry {
    pub ino: u64,
    /// Where the entry after this one begins.
    pub next: i64,
    pub kind: u8,
    pub name: Vec<u8>,
}

/// The next entries of an open directory; empty at its end.
pub fn read_dir(fd: BorrowedFd) -> Sys<Vec<DirEntry>> {
    let mut buffer = [0u8; 32 * 1024];
    let size =
        unsafe { libc::syscall(libc::SYS_getdents64, fd.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
    let size = check_size(size as isize)?;
    Ok(parse_dir(&buffer[..size]))
}

fn parse_dir(mut bytes: &[u8]) -> Vec<DirEntry> {
    let mut entries = Vec::new();
    while let Some((head, _)) = bytes.split_at_checked(19) {
        let word = |at: usize| {
            let mut value = [0u8; 8];
            value.copy_from_slice(&head[at..at + 8]);
            u64::from_ne_bytes(value)
        };
        let length = usize::from(u16::from_ne_bytes([head[16], head[17]]));
        let Some(record) = bytes.get(..length).filter(|record| record.len() > 19) else { break };
        let name = &record[19..];
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let name = name[..end].to_vec();
        entries.push(DirEntry { ino: word(0), next: word(8) as i64, kind: head[18], name });
        bytes = &bytes[length..];
    }
    entries
}

pub fn seek_dir(fd: BorrowedFd, position: i64) -> Sys<()> {
    let result = unsafe { libc::lseek(fd.as_raw_fd(), position, libc::SEEK_SET) };
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

pub fn read(fd: BorrowedFd, buffer: &mut [u8]) -> Sys<usize> {
    check_size(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

pub fn write(fd: BorrowedFd, data: &[u8]) -> Sys<usize> {
    check_size(unsafe { libc::write(fd.as_raw_fd(), data.as_ptr().cast(), data.len()) })
}

/// Writes the parts as one message.
pub fn write_message(fd: BorrowedFd, parts: &[std::io::IoSlice]) -> Sys<usize> {
    let count = parts.len() as c_int;
    check_size(unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr().cast(), count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_directory_record_ends_the_list() {
        let mut bytes = vec![0u8; 24];
        bytes[16] = 24;
        bytes[19] = b'a';
        assert_eq!(parse_dir(&bytes).len(), 1);
        assert!(parse_dir(&bytes[..23]).is_empty());
        bytes[16] = 0;
        assert!(parse_dir(&bytes).is_empty());
    }
}
