//! System calls that move pages between descriptors.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::c_int;

use super::{Sys, check, check_size, offset};

/// A pipe's two ends, the one to read first, with room for `size` bytes in pages.
pub fn pipe(size: usize) -> Sys<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: pipe2 has just made both descriptors.
    let (out, into) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    check(unsafe { libc::fcntl(into.as_raw_fd(), libc::F_SETPIPE_SZ, size as c_int) })?;
    Ok((out, into))
}

pub fn splice_to_pipe(from: BorrowedFd, pipe: BorrowedFd, most: usize) -> Sys<usize> {
    let (from, pipe) = (from.as_raw_fd(), pipe.as_raw_fd());
    check_size(unsafe { libc::splice(from, ptr::null_mut(), pipe, ptr::null_mut(), most, 0) })
}

/// Writes what is in a pipe to a file.
pub fn splice_to_file(pipe: BorrowedFd, to: BorrowedFd, at: u64, size: usize) -> Sys<usize> {
    let mut at = offset(at)?;
    let (pipe, to) = (pipe.as_raw_fd(), to.as_raw_fd());
    check_size(unsafe { libc::splice(pipe, ptr::null_mut(), to, &mut at, size, 0) })
}
