//! What the caller of a request is doing.
//!
//! When a file's attributes have expired, the kernel asks for them with the file's handle before
//! each read(2) and write(2), and before a seek to the end. The answer becomes the call's own, so it
//! is where faults are felt; `/proc/TID/syscall` tells which call it is.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::sys;

/// How often a running thread is looked at; some, such as those of io_uring, never sleep for us.
const MOST_LOOKS: u32 = 64;

/// The most buffers of one readv(2) or writev(2), and the size in which each is told.
const MOST_BUFFERS: usize = libc::UIO_MAXIOV as usize;
const IOVEC: usize = size_of::<libc::iovec>();

/// What a thread is doing with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read(Option<(u64, u64)>),
    Write(Option<(u64, u64)>),
    /// Moving data between two files: at the gate it is the one written, in a READ the one read.
    Copy,
    /// Something else, such as lseek(2).
    Other,
    /// Not to be seen: asynchronous I/O, or a thread of another pid namespace.
    Unknown,
    /// No system call: the load or store of a mapped page.
    Fault,
}

/// Looks at a thread. Offset and length are those of the call's arguments, where it has both; `size`
/// is where an appending write begins.
pub fn access(thread: u32, append: bool, size: u64) -> Access {
    if thread == 0 {
        return Access::Unknown;
    }
    let position = |descriptor| if append { Some(size) } else { position(thread, descriptor) };
    let total = |vector, count| vector_length(thread, vector, count);
    settled(thread).map_or(Access::Unknown, |line| parse(&line, &Look { position: &position, total: &total }))
}

/// What has to be looked up besides: where a descriptor's next read or write begins, and how long the
/// buffers of an `iovec` array are together.
struct Look<'a> {
    position: &'a dyn Fn(u64) -> Option<u64>,
    total: &'a dyn Fn(u64, u64) -> Option<u64>,
}

/// What `/proc` says of a thread once it waits for our answer. It may still be on its way to sleep.
fn settled(thread: u32) -> Option<String> {
    let path = format!("/proc/{thread}/syscall");
    for attempt in 0..MOST_LOOKS {
        let line = fs::read_to_string(&path).ok()?;
        if !line.starts_with("running") {
            return Some(line);
        }
        if attempt < MOST_LOOKS / 2 {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(100));
        }
    }
    None
}

fn parse(line: &str, look: &Look) -> Access {
    let mut words = line.split_ascii_whitespace();
    let Some(Ok(number)) = words.next().map(str::parse::<i64>) else { return Access::Unknown };
    if number < 0 {
        return Access::Fault;
    }
    let mut arguments = [0u64; 6];
    for (argument, word) in arguments.iter_mut().zip(words) {
        *argument = u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap_or(0);
    }
    let [descriptor, buffer, length, offset, ..] = arguments;
    let streamed = || (look.position)(descriptor).map(|at| (at, length));
    // Without a position, or with that of -1, it is the descriptor's.
    let vector = |given: bool| {
        let at = if given && offset != u64::MAX { Some(offset) } else { (look.position)(descriptor) };
        Some((at?, (look.total)(buffer, length)?))
    };
    match number {
        libc::SYS_read => Access::Read(streamed()),
        libc::SYS_pread64 => Access::Read(Some((offset, length))),
        libc::SYS_readv => Access::Read(vector(false)),
        libc::SYS_preadv | libc::SYS_preadv2 => Access::Read(vector(true)),
        libc::SYS_write => Access::Write(streamed()),
        libc::SYS_pwrite64 => Access::Write(Some((offset, length))),
        libc::SYS_writev => Access::Write(vector(false)),
        libc::SYS_pwritev | libc::SYS_pwritev2 => Access::Write(vector(true)),
        libc::SYS_sendfile | libc::SYS_splice | libc::SYS_copy_file_range => Access::Copy,
        libc::SYS_io_submit | libc::SYS_io_uring_enter | libc::SYS_io_getevents => Access::Unknown,
        _ => Access::Other,
    }
}

/// Where the next read(2) or write(2) of a descriptor begins.
fn position(thread: u32, descriptor: u64) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/{thread}/fdinfo/{descriptor}")).ok()?;
    info.lines().find_map(|line| line.strip_prefix("pos:"))?.trim().parse().ok()
}

/// The length of all buffers that an array of `iovec`s in a thread's memory names.
fn vector_length(thread: u32, vector: u64, count: u64) -> Option<u64> {
    let mut array = vec![0u8; usize::try_from(count).ok().filter(|count| *count <= MOST_BUFFERS)? * IOVEC];
    sys::read_memory(thread, vector, &mut array).ok()?;
    let lengths = array.chunks_exact(IOVEC).map(|entry| entry.last_chunk().copied().map(u64::from_ne_bytes));
    lengths.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_says_what_is_being_done() {
        let at = &Look { position: &|_| Some(100), total: &|_, count| Some(count * 10) };
        let line = format!("{} 0x3 0x7ffd 0x1000 0x2000 0x0 0x0 0x7ffe 0x7f00", libc::SYS_pwrite64);
        assert_eq!(parse(&line, at), Access::Write(Some((0x2000, 0x1000))));
        let line = format!("{} 0x3 0x7ffd 0x10 0x0 0x0 0x0 0x7ffe 0x7f00", libc::SYS_read);
        assert_eq!(parse(&line, at), Access::Read(Some((100, 16))));
        let line = format!("{} 0x3 0x7ffd 0x2 0x2000 0x0", libc::SYS_pwritev);
        assert_eq!(parse(&line, at), Access::Write(Some((0x2000, 20))));
        let line = format!("{} 0x3 0x7ffd 0x2 0xffffffffffffffff 0x0", libc::SYS_preadv2);
        assert_eq!(parse(&line, at), Access::Read(Some((100, 20))));
        assert_eq!(parse(&format!("{} 0x3 0x0 0x2", libc::SYS_lseek), at), Access::Other);
        assert_eq!(parse("-1 0x7ffe 0x7f00", at), Access::Fault);
        assert_eq!(parse("running", at), Access::Unknown);
        assert_eq!(parse("", at), Access::Unknown);
    }

    #[test]
    fn buffers_are_added_up_in_the_callers_memory() {
        let entry = |length| libc::iovec { iov_base: std::ptr::null_mut(), iov_len: length };
        let array = [entry(5), entry(0), entry(37)];
        let own = std::process::id();
        assert_eq!(vector_length(own, array.as_ptr() as u64, 3), Some(42));
        assert_eq!(vector_length(own, 16, 3), None);
        assert_eq!(vector_length(own, array.as_ptr() as u64, 5000), None);
    }
}
