//! What the caller of a request is doing.
//!
//! When a file's attributes have expired, the kernel asks for them with the file's handle before
//! each read(2) and write(2), and before a seek to the end. The answer becomes the call's own, so it
//! is where faults are felt; `/proc/TID/syscall` tells which call it is.

use std::fs;
use std::thread;
use std::time::Duration;

/// How often a running thread is looked at; some, such as those of io_uring, never sleep for us.
const MOST_LOOKS: u32 = 64;

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
    settled(thread).map_or(Access::Unknown, |line| parse(&line, &position))
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

fn parse(line: &str, position: &dyn Fn(u64) -> Option<u64>) -> Access {
    let mut words = line.split_ascii_whitespace();
    let Some(Ok(number)) = words.next().map(str::parse::<i64>) else { return Access::Unknown };
    if number < 0 {
        return Access::Fault;
    }
    let mut arguments = [0u64; 6];
    for (argument, word) in arguments.iter_mut().zip(words) {
        *argument = u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap_or(0);
    }
    let [descriptor, _, length, offset, ..] = arguments;
    let streamed = || position(descriptor).map(|at| (at, length));
    match number {
        libc::SYS_read => Access::Read(streamed()),
        libc::SYS_pread64 => Access::Read(Some((offset, length))),
        libc::SYS_readv | libc::SYS_preadv | libc::SYS_preadv2 => Access::Read(None),
        libc::SYS_write => Access::Write(streamed()),
        libc::SYS_pwrite64 => Access::Write(Some((offset, length))),
        libc::SYS_writev | libc::SYS_pwritev | libc::SYS_pwritev2 => Access::Write(None),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_says_what_is_being_done() {
        let at = |_| Some(100);
        let line = format!("{} 0x3 0x7ffd 0x1000 0x2000 0x0 0x0 0x7ffe 0x7f00", libc::SYS_pwrite64);
        assert_eq!(parse(&line, &at), Access::Write(Some((0x2000, 0x1000))));
        let line = format!("{} 0x3 0x7ffd 0x10 0x0 0x0 0x0 0x7ffe 0x7f00", libc::SYS_read);
        assert_eq!(parse(&line, &at), Access::Read(Some((100, 16))));
        assert_eq!(parse(&format!("{} 0x3 0x0 0x2", libc::SYS_lseek), &at), Access::Other);
        assert_eq!(parse("-1 0x7ffe 0x7f00", &at), Access::Fault);
        assert_eq!(parse("running", &at), Access::Unknown);
        assert_eq!(parse("", &at), Access::Unknown);
    }
}
