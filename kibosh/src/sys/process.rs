//! System calls on processes, their signals, limits, credentials and CPUs, and on mounts.

use std::cell::Cell;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::LazyLock;

use libc::{c_int, c_void};

use super::{Errno, Sys, c_string, check, check_size, owned};

pub fn boottime_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// As many descriptors as the system lets this process have: each known file holds one.
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
        let most = most.and_then(|text| text.trim().parse().ok()).unwrap_or(limit.rlim_max);
        let wish = libc::rlimit { rlim_cur: most, rlim_max: most };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &wish) != 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
    }
    limit.rlim_cur
}

/// Asks to be served before others: whoever uses the mount waits for us.
pub fn raise_priority() -> Sys<()> {
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) }).map(drop)
}

/// Fills `buffer` from another process's memory.
pub fn read_memory(process: u32, address: u64, buffer: &mut [u8]) -> Sys<()> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: buffer.len() };
    let process = libc::pid_t::try_from(process).map_err(|_| Errno(libc::ESRCH))?;
    // SAFETY: the kernel checks the remote address; the local one is the buffer's.
    let read = check_size(unsafe { libc::process_vm_readv(process, &local, 1, &remote, 1, 0) })?;
    if read == buffer.len() { Ok(()) } else { Err(Errno(libc::EFAULT)) }
}

/// CPUs that a thread may run on.
#[derive(Clone)]
pub struct CpuSet(libc::cpu_set_t);

impl CpuSet {
    pub fn one(cpu: usize) -> Self {
        let mut set = Self::none();
        if cpu < libc::CPU_SETSIZE as usize {
            // SAFETY: the index is within the set.
            unsafe { libc::CPU_SET(cpu, &mut set.0) };
        }
        set
    }

    fn none() -> Self {
        // SAFETY: cpu_set_t is an array of bits.
        CpuSet(unsafe { MaybeUninit::zeroed().assume_init() })
    }

    /// Those of the calling thread.
    pub fn allowed() -> Self {
        let mut set = Self::none();
        unsafe { libc::sched_getaffinity(0, size_of_val(&set.0), &mut set.0) };
        set
    }

    pub fn has(&self, cpu: usize) -> bool {
        // SAFETY: the index is within the set.
        cpu < libc::CPU_SETSIZE as usize && unsafe { libc::CPU_ISSET(cpu, &self.0) }
    }

    /// Has the calling thread run on these.
    pub fn apply(&self) -> Sys<()> {
        check(unsafe { libc::sched_setaffinity(0, size_of_val(&self.0), &self.0) }).map(drop)
    }
}

/// Whether a thread of this process waits for something else than a CPU.
pub fn sleeps(thread: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, state)| !state.starts_with(" R"))
}

thread_local! {
    /// The calling thread's umask, once it has one of its own.
    static UMASK: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Gives the calling thread a umask and working directory of its own.
pub fn unshare_fs() -> Sys<()> {
    check(unsafe { libc::unshare(libc::CLONE_FS) })?;
    unsafe { libc::umask(0) };
    UMASK.set(Some(0));
    Ok(())
}

pub fn set_umask(mask: u32) {
    let own = UMASK.get();
    if own != Some(mask) {
        unsafe { libc::umask(mask) };
        UMASK.set(own.map(|_| mask));
    }
}

pub fn own_uid() -> u32 {
    unsafe { libc::geteuid() }
}

pub fn own_gid() -> u32 {
    unsafe { libc::getegid() }
}

pub fn kill(pid: u32, signal: c_int) -> Sys<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno(libc::ESRCH))?;
    if pid <= 1 {
        return Err(Errno(libc::EPERM));
    }
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

pub fn mount(source: &CStr, point: &CStr, kind: &CStr, flags: u64, data: &CStr) -> Sys<()> {
    let data = data.as_ptr().cast();
    check(unsafe { libc::mount(source.as_ptr(), point.as_ptr(), kind.as_ptr(), flags, data) }).map(drop)
}

pub fn unmount(point: &OsStr, flags: c_int) -> Sys<()> {
    let point = c_string(point)?;
    check(unsafe { libc::umount2(point.as_ptr(), flags) }).map(drop)
}

/// Makes the calling thread, and those it will start, keep termination signals pending.
pub fn block_termination() -> Sys<()> {
    let set = termination_signals();
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(Errno(result)) }
}

/// Waits for a termination signal or for `other` to become readable; the signal, if it was one.
pub fn wait_for_termination(other: BorrowedFd) -> Sys<Option<i32>> {
    let set = termination_signals();
    let signals = owned(unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC) })?;
    let mut polled = [
        libc::pollfd { fd: signals.as_raw_fd(), events: libc::POLLIN, revents: 0 },
        libc::pollfd { fd: other.as_raw_fd(), events: libc::POLLIN, revents: 0 },
    ];
    loop {
        match check(unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) }) {
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
            Ok(_) if polled[0].revents != 0 => {
                let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
                let size = unsafe { libc::read(signals.as_raw_fd(), info.as_mut_ptr().cast(), info.len()) };
                check_size(size)?;
                return Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]])));
            }
            Ok(_) => return Ok(None),
        }
    }
}

fn termination_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills the set before it is used.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Acts as the caller of a request while it makes something, so that the target gives it the owner,
/// group and mode that the caller would get there. Only the calling thread changes.
pub struct ActingAs {
    restore: Option<(u32, u32)>,
}

impl ActingAs {
    /// The daemon's capabilities are kept: the kernel has already checked the caller's permissions.
    pub fn new(uid: u32, gid: u32) -> Self {
        static OWN: LazyLock<(u32, u32)> = LazyLock::new(|| (own_uid(), own_gid()));
        let own = *OWN;
        if own.0 != 0 || (uid, gid) == own {
            return ActingAs { restore: None };
        }
        let capabilities = Capabilities::current();
        unsafe {
            libc::syscall(libc::SYS_setfsgid, gid);
            libc::syscall(libc::SYS_setfsuid, uid);
        }
        if let Some(capabilities) = capabilities {
            capabilities.apply();
        }
        ActingAs { restore: Some(own) }
    }
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.restore {
            unsafe {
                libc::syscall(libc::SYS_setfsuid, uid);
                libc::syscall(libc::SYS_setfsgid, gid);
            }
        }
    }
}

/// The calling thread's capability sets, as capget(2) tells them.
struct Capabilities([u32; 6]);

impl Capabilities {
    const HEADER: [u32; 2] = [0x2008_0522, 0];

    fn current() -> Option<Self> {
        let (mut header, mut sets) = (Self::HEADER, [0u32; 6]);
        let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
        (result == 0).then_some(Capabilities(sets))
    }

    fn apply(&self) {
        let mut header = Self::HEADER;
        unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), self.0.as_ptr()) };
    }
}

pub fn raw_socket_pair() -> Sys<(OwnedFd, OwnedFd)> {
    let mut pair = [0; 2];
    check(unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()) })?;
    // SAFETY: socketpair has just made both descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])) })
}

/// Receives the one descriptor that fusermount3 sends.
pub fn receive_descriptor(socket: BorrowedFd) -> Sys<OwnedFd> {
    let mut byte = [0u8; 1];
    let mut space = [0u64; 8];
    let mut vec = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: msghdr is plain data; the fields set below point to live buffers of the sizes given.
    unsafe {
        let mut message: libc::msghdr = MaybeUninit::zeroed().assume_init();
        message.msg_iov = &mut vec;
        message.msg_iovlen = 1;
        message.msg_control = space.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&space) as _;
        let flags = libc::MSG_CMSG_CLOEXEC;
        let size = check_size(libc::recvmsg(socket.as_raw_fd(), &mut message, flags))?;
        let control = libc::CMSG_FIRSTHDR(&message);
        if size == 0 || control.is_null() || (*control).cmsg_type != libc::SCM_RIGHTS {
            return Err(Errno(libc::EPROTO));
        }
        owned(libc::CMSG_DATA(control).cast::<c_int>().read_unaligned())
    }
}
