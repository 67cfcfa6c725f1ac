//! Where faults meet requests.
//!
//! Most operations are one request, and its answer is the fault. Reads and writes are more, see
//! `inject_data`.

use std::sync::Arc;
use std::time::Duration;

use crate::abi::{self, InHeader, fattr, op};
use crate::fault::{self, Action, Call, Caller, Effect, Fault, Fired, Mangle, Operation, Operations};
use crate::nodes::Node;
use crate::pool::{Job, Turn};
use crate::request::{Body, Request};
use crate::sys;
use crate::timer::{Due, Pages, Parked, Wakeup};

use super::handles::Handle;
use super::{Fs, control};

pub enum Verdict {
    /// Go on, with the data changed so.
    Proceed(Option<Mangle>),
    Fail(i32),
    /// Go on later.
    Hold(Duration, Arc<Fault>),
}

pub(super) const PROCEED: Verdict = Verdict::Proceed(None);
/// Operations that the kernel would answer from its cache.
const CACHED: Operations = Operations::of(&[
    Operation::Read,
    Operation::Write,
    Operation::Lseek,
    Operation::Getattr,
    Operation::Readdir,
    Operation::Readlink,
]);
/// A write decided at the gate is copied to the cache right after; then it can be shown.
pub(super) const SHOW_AFTER: Duration = Duration::from_millis(1);
/// How often it is looked for, each time after twice as long.
const SHOW_TRIES: u32 = 8;

pub(super) type Faults = Arc<[Arc<Fault>]>;

impl Fs {
    /// Whether the kernel must ask about a file each time it is used.
    pub(super) fn gated(&self, node: &Node) -> bool {
        let concerns = |fault: &Arc<Fault>| fault.spec.select.operations.meets(CACHED);
        node.lost.load(std::sync::atomic::Ordering::Acquire)
            || (self.engine.armed() && node.faults(&self.engine).iter().any(concerns))
    }

    /// Whether a fault may do something at an operation on a file.
    pub(super) fn meets(&self, node: &Node, operation: Operation) -> bool {
        let concerns = |fault: &Arc<Fault>| fault.spec.select.operations.has(operation);
        self.engine.armed_for(operation) && node.faults(&self.engine).iter().any(concerns)
    }

    pub(super) fn entry_timeout(&self, node: &Node) -> Duration {
        if self.meets(node, Operation::Lookup) { Duration::ZERO } else { self.name_timeout() }
    }

    /// Whether even the absence of a name has to be asked for each time.
    pub(super) fn hides_absence(&self, parent: &Node, name: &std::ffi::OsStr) -> bool {
        self.engine.armed_for(Operation::Lookup) && !self.engine.matching(&[parent.path_of(name)]).is_empty()
    }

    /// What `disk_full` leaves of the room: free blocks, and those for everybody.
    pub(super) fn visible_room(&self, node: &Node, found: &libc::statvfs) -> (u64, u64) {
        let faults = if self.engine.armed() { node.faults(&self.engine) } else { Arc::new([]) };
        let room = faults.iter().filter_map(|fault| fault.room()).min();
        let blocks = room.map_or(u64::MAX, |bytes| bytes / (found.f_frsize.max(1)));
        (found.f_bfree.min(blocks), found.f_bavail.min(blocks))
    }

    /// What the faults in force do to a request. One `held` back has met its fault already.
    pub(super) fn inject(&self, request: &Request, held: bool) -> Verdict {
        let head = &request.head;
        let exempt = || control::VirtualFile::of_node(head.nodeid).is_some() || self.is_own(head.pid);
        if !self.engine.armed() || held || exempt() {
            return PROCEED;
        }
        match &request.body {
            Body::Getattr(arg) if arg.getattr_flags & abi::GETATTR_FH != 0 => self.at_gate(head, arg.fh),
            Body::Read(arg) => match self.handles.get(arg.fh).as_deref() {
                Ok(Handle::File(file)) => self.at_read(head, file, (arg.offset, arg.size.into())),
                _ => PROCEED,
            },
            Body::Write { arg, .. } => match self.handles.get(arg.fh).as_deref() {
                Ok(Handle::File(file)) => self.at_write(head, file, arg),
                _ => PROCEED,
            },
            Body::CopyFileRange { arg, .. } => self.at_copy(head, arg),
            _ => self.at_operation(request),
        }
    }

    fn at_operation(&self, request: &Request) -> Verdict {
        let Some(operation) = operation_of(&request.body) else { return PROCEED };
        if !self.engine.armed_for(operation) {
            return PROCEED;
        }
        let head = &request.head;
        let faults = self.faults_of(request);
        let node = self.nodes.get(head.nodeid).ok();
        let (span, growth) = match (&request.body, &node) {
            (Body::Fallocate(arg), Some(node)) => {
                (None, (arg.offset + arg.length).saturating_sub(size_of(node)))
            }
            (Body::Setattr(arg), Some(node)) => (None, arg.size.saturating_sub(size_of(node))),
            _ => (None, 0),
        };
        match self.decide(head, operation, node.as_deref(), span, growth, &faults) {
            Some(fired) => {
                self.sync_was_failed(node.as_deref(), &fired);
                self.carry_out(fired, head)
            }
            None => PROCEED,
        }
    }

    /// The faults for a request's path or paths.
    fn faults_of(&self, request: &Request) -> Faults {
        let child = |id, name: &std::ffi::OsStr| self.nodes.get(id).ok().map(|dir| dir.path_of(name));
        let id = request.head.nodeid;
        let paths: Vec<_> = match &request.body {
            Body::Rename { newdir, from, to, .. } => {
                [child(id, from), child(*newdir, to)].into_iter().flatten().collect()
            }
            Body::Lookup { name }
            | Body::Symlink { name, .. }
            | Body::Mknod { name, .. }
            | Body::Mkdir { name, .. }
            | Body::Unlink { name }
            | Body::Rmdir { name }
            | Body::Link { name, .. }
            | Body::Create { name, .. } => child(id, name).into_iter().collect(),
            _ => {
                return self
                    .nodes
                    .get(id)
                    .map_or_else(|_| Arc::new([]) as Faults, |node| node.faults(&self.engine));
            }
        };
        self.engine.matching(&paths)
    }

    pub(super) fn decide(
        &self,
        head: &InHeader,
        operation: Operation,
        node: Option<&Node>,
        span: Option<(u64, u64)>,
        growth: u64,
        faults: &[Arc<Fault>],
    ) -> Option<Fired> {
        let caller = Caller { uid: head.uid, thread: head.pid };
        let node = node.map_or(0, |node| node.id);
        fault::decide(&Call { operation, caller, node, span, growth, faults })
    }

    /// Does what a fault does besides, and says how its call goes on.
    pub(super) fn carry_out(&self, fired: Fired, head: &InHeader) -> Verdict {
        let then = fired.fault.spec.then;
        if then.kill {
            let caller = Caller { uid: head.uid, thread: head.pid };
            let process = caller.process().unwrap_or(0);
            log::info!("killing process {process} at a fault's firing");
            if let Err(errno) = sys::kill(process, libc::SIGKILL) {
                log::warn!("cannot kill process {process}: {errno}");
            }
        }
        if then.lose_unsynced {
            self.lose_unsynced_within(head.opcode);
        }
        log::info!(
            "fault {} met request {} of thread {}",
            fired.fault.spec.json_text(),
            head.opcode,
            head.pid
        );
        match fired.action {
            Action::Fail(errno) => Verdict::Fail(errno),
            Action::Delay(delay) => Verdict::Hold(delay, fired.fault),
            Action::Mangle(mangle) => Verdict::Proceed(Some(mangle)),
            Action::Nothing => Verdict::Fail(if then.lose_unsynced { libc::EIO } else { libc::EINTR }),
        }
    }

    /// Loses unsynced writes while a request is being served.
    fn lose_unsynced_within(&self, opcode: u32) {
        let Ok(names) = self.lose_unsynced() else { return };
        let no_directory_is_locked =
            [op::FSYNC, op::READ, op::WRITE, op::FLUSH, op::GETATTR, op::FALLOCATE].contains(&opcode);
        match self.serve.get() {
            Some(serve) if !no_directory_is_locked => {
                let job = move |fs: &Fs| fs.forget_names(&names);
                self.pool.submit(serve, self.job(job));
            }
            _ => self.forget_names(&names),
        }
    }

    /// Puts a request aside. Where that is impossible it is served at once.
    pub(super) fn hold(
        &self,
        request: &Request,
        bytes: &[u8],
        delay: Duration,
        fault: Arc<Fault>,
        turn: &mut Turn,
    ) {
        let head = &request.head;
        let span = match &request.body {
            Body::Read(arg) if arg.flags as i32 & libc::O_DIRECT == 0 => Some((arg.offset, arg.size)),
            Body::Write { arg, .. } if arg.write_flags & abi::WRITE_CACHE != 0 => {
                Some((arg.offset, arg.size))
            }
            _ => None,
        };
        let pages = |(start, size)| Pages { node: head.nodeid, start, end: start + u64::from(size) };
        let (bytes, pages) = (bytes.to_vec(), span.map(pages));
        let parked = Parked { bytes, unique: head.unique, thread: head.pid, fault, pages };
        if let Err(parked) = self.timer.park(parked, delay) {
            self.serve(&parked.bytes, turn, true);
        }
    }

    /// What the timer asks for. It runs on the timer's thread and must not wait.
    pub(super) fn due(self: &Arc<Self>, due: Due) {
        let fs = self.clone();
        let job: Job = match due {
            Due::Interrupted { unique } => return self.channel.reply_error(unique, libc::EINTR),
            Due::Serve(parked) => Box::new(move |turn| {
                fs.serve(&parked.bytes, turn, true);
                if let Some(pages) = parked.pages {
                    fs.timer.wake_after(SHOW_AFTER, Wakeup::ShowWrites(pages.node, 0));
                }
            }),
            Due::Wakeup(Wakeup::LoseUnsynced(at)) => Box::new(move |_| fs.lose_unsynced_at(at)),
            Due::Wakeup(Wakeup::FaultsExpire) => Box::new(move |_| fs.expire_faults()),
            Due::Wakeup(Wakeup::ShowWrites(id, tries)) => Box::new(move |_| {
                let Ok(node) = fs.nodes.get(id) else { return };
                fs.show_writes(&node);
                if node.writes().expects_data() && tries < SHOW_TRIES {
                    fs.timer.wake_after(SHOW_AFTER * (2 << tries), Wakeup::ShowWrites(id, tries + 1));
                }
            }),
        };
        if let Some(serve) = self.serve.get() {
            self.pool.submit(serve, job);
        }
    }
}

pub(super) fn size_of(node: &Node) -> u64 {
    sys::stat(node.fd()).map_or(0, |stat| stat.st_size as u64)
}

fn operation_of(body: &Body) -> Option<Operation> {
    Some(match body {
        Body::Lookup { .. } => Operation::Lookup,
        Body::Getattr(_) | Body::Statx(_) => Operation::Getattr,
        Body::Setattr(arg) if arg.valid & fattr::SIZE != 0 => Operation::Truncate,
        Body::Setattr(_) => Operation::Setattr,
        Body::Readlink => Operation::Readlink,
        Body::Symlink { .. } => Operation::Symlink,
        Body::Mknod { .. } => Operation::Mknod,
        Body::Mkdir { .. } => Operation::Mkdir,
        Body::Unlink { .. } => Operation::Unlink,
        Body::Rmdir { .. } => Operation::Rmdir,
        Body::Rename { .. } => Operation::Rename,
        Body::Link { .. } => Operation::Link,
        Body::Open(_) | Body::Opendir(_) => Operation::Open,
        Body::Create { .. } | Body::Tmpfile { .. } => Operation::Create,
        Body::Flush(_) => Operation::Close,
        Body::Fsync(_) | Body::Fsyncdir(_) => Operation::Fsync,
        Body::Readdir { .. } => Operation::Readdir,
        Body::Statfs => Operation::Statfs,
        Body::Fallocate(_) => Operation::Fallocate,
        Body::Lseek(_) => Operation::Lseek,
        Body::Setxattr { .. } => Operation::Setxattr,
        Body::Getxattr { .. } => Operation::Getxattr,
        Body::Listxattr { .. } => Operation::Listxattr,
        Body::Removexattr { .. } => Operation::Removexattr,
        _ => return None,
    })
}

/// Whether a fault's end leaves pages behind that the file never held.
pub(super) fn leaves_pages(fault: &Fault) -> bool {
    fault.spec.mangles() || matches!(fault.spec.effect, Effect::Error { .. })
}
