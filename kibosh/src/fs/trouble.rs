//! What is wrong with the target itself, in the log.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::abi::{InHeader, op};
use crate::sys::{self, Errno};

use super::Fs;

const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Errnos that no caller is to blame for.
const TROUBLE: [i32; 9] = [
    libc::EIO,
    libc::ENOSPC,
    libc::EDQUOT,
    libc::ESTALE,
    libc::ENODEV,
    libc::ENXIO,
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOMEM,
];

/// When the last line was written, and how many were left out since.
#[derive(Default)]
pub struct Told {
    last: Option<Instant>,
    left_out: u64,
}

impl Fs {
    /// Says that a request failed for the target's sake, at most once a second.
    pub(super) fn tell_of_trouble(&self, head: &InHeader, errno: Errno) {
        let gone = errno.0 == libc::ENOENT
            && head.opcode != op::LOOKUP
            && sys::stat(self.nodes.root().fd()).is_ok_and(|root| root.st_nlink == 0);
        if !gone && !TROUBLE.contains(&errno.0) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| last.elapsed() < TOLD_EVERY) {
            told.left_out += 1;
            return;
        }
        let node = self.nodes.get(head.nodeid).ok();
        let path = node.and_then(|node| node.paths().pop()).unwrap_or_default();
        let path = String::from_utf8_lossy(&path);
        let why = if gone { "the target is gone".to_string() } else { errno.to_string() };
        let (opcode, thread, left_out) = (head.opcode, head.pid, told.left_out);
        log::warn!(
            "request {opcode} of thread {thread} on {path} failed: {why}; {left_out} more since the last"
        );
        *told = Told { last: Some(Instant::now()), left_out: 0 };
    }
}
