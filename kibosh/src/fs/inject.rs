//! Where faults meet requests.
//!
//! Most operations are one request, and its answer is the fault. Reads and writes are decided once
//! for each system call: at the gate where there is one (see `gate`), else as their data passes.

use std::sync::Arc;
use std::time::Duration;

use crate::abi::{self, InHeader, fattr, op};
use crate::fault::{self, Action, Call, Caller, Effect, Fault, Fired, Mangle, Operation, Operations};
use crate::gate::{self, Access};
use crate::nodes::Node;
use crate::pool::{Job, Turn};
use crate::request::{Body, Request};
use crate::sys;
use crate::timer::{Due, Parked, Wakeup};

use super::handles::{File, Handle};
use super::{Fs, control};

pub enum Verdict {
    /// Go on, with the data changed so.
    Proceed(Option<Mangle>),
    Fail(i32),
    /// Go on later.
    Hold(Duration, Arc<Fault>),
}

const PROCEED: Verdict = Verdict::Proceed(None);
const DATA: Operations = Operations::of(&[Operation::Read, Operation::Write, Operation::Lseek]);
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
const SHOW_AFTER: Duration = Duration::from_millis(1);
/// How often it is looked for, each time after twice as long.
const SHOW_TRIES: u32 = 8;

type Faults = Arc<[Arc<Fault>]>;

impl Fs {
    /// Whether the kernel must ask about a file each time it is used.
    pub(super) fn gated(&self, node: &Node) -> bool {
        let concerns = |fault: &Arc<Fault>| fault.spec.select.operations.meets(CACHED);
        node.lost.load(std::sync::atomic::Ordering::Acquire)
            || (self.engine.armed() && node.faults(&self.engine).iter().any(concerns))
    }

    pub(super) fn entry_timeout(&self, node: &Node) -> Duration {
        let looked_up = |fault: &Arc<Fault>| fault.spec.select.operations.has(Operation::Lookup);
        let faulty =
            self.engine.armed_for(Operation::Lookup) && node.faults(&self.engine).iter().any(looked_up);
        if faulty { Duration::ZERO } else { self.name_timeout() }
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
    pub(super) fn inject(&self, request: &Request, turn: &mut Turn, held: bool) -> Verdict {
        let head = &request.head;
        let exempt = || control::VirtualFile::of_node(head.nodeid).is_some() || self.is_own(head.pid);
        if !self.engine.armed() || held || exempt() {
            return PROCEED;
        }
        match &request.body {
            Body::Getattr(arg) if arg.getattr_flags & abi::GETATTR_FH != 0 => {
                self.at_gate(head, arg.fh, turn)
            }
            Body::Read(arg) => match self.handles.get(arg.fh).as_deref() {
                Ok(Handle::File(file)) => self.at_read(head, file, (arg.offset, arg.size.into()), turn),
                _ => PROCEED,
            },
            Body::Write { arg, .. } => match self.handles.get(arg.fh).as_deref() {
                Ok(Handle::File(file)) => self.at_write(head, file, (arg.offset, arg.size.into()), turn),
                _ => PROCEED,
            },
            Body::CopyFileRange { arg, .. } => self.at_copy(head, arg, turn),
            _ => self.at_operation(request, turn),
        }
    }

    fn at_operation(&self, request: &Request, turn: &mut Turn) -> Verdict {
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
                self.carry_out(fired, head, turn)
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

    fn decide(
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
    fn carry_out(&self, fired: Fired, head: &InHeader, turn: &mut Turn) -> Verdict {
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
            turn.may_block();
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

    /// The kernel asks about an open file before a system call on it.
    fn at_gate(&self, head: &InHeader, fh: u64, turn: &mut Turn) -> Verdict {
        let Ok(handle) = self.handles.get(fh) else { return PROCEED };
        let Handle::File(file) = &*handle else { return PROCEED };
        let node = &file.node;
        let faults = node.faults(&self.engine);
        if !faults.iter().any(|fault| fault.spec.select.operations.meets(DATA)) {
            return PROCEED;
        }
        self.show_writes(node, turn);
        let size = if file.appends() { size_of(node) } else { 0 };
        let access = match gate::access(head.pid, file.appends(), size) {
            Access::Unknown | Access::Fault if !file.writable() => Access::Read(None),
            Access::Unknown | Access::Fault if file.flags & libc::O_ACCMODE == libc::O_WRONLY => {
                Access::Write(None)
            }
            Access::Copy => Access::Write(None),
            access => access,
        };
        match access {
            Access::Read(span) => self.gate_read(head, node, span, &faults, turn),
            Access::Write(span) if self.fast() => self.gate_write(head, node, span, &faults, turn),
            Access::Write(_) => PROCEED,
            Access::Other | Access::Copy => {
                match self.decide(head, Operation::Lseek, Some(node), None, 0, &faults) {
                    Some(fired) => self.carry_out(fired, head, turn),
                    None => PROCEED,
                }
            }
            Access::Unknown | Access::Fault => match self.gate_write(head, node, None, &faults, turn) {
                Verdict::Proceed(_) => self.gate_read(head, node, None, &faults, turn),
                verdict => verdict,
            },
        }
    }

    fn gate_read(
        &self,
        head: &InHeader,
        node: &Node,
        span: Option<(u64, u64)>,
        faults: &Faults,
        turn: &mut Turn,
    ) -> Verdict {
        let epoch = self.engine.epoch();
        let fired = self.decide(head, Operation::Read, Some(node), span, 0, faults);
        let verdict = fired.map_or(PROCEED, |fired| self.carry_out(fired, head, turn));
        match verdict {
            Verdict::Proceed(Some(mangle)) => {
                node.writes().plan_read(epoch, head.pid, Some(mangle));
                turn.may_block();
                self.channel.drop_pages(node.id);
                PROCEED
            }
            verdict => {
                node.writes().plan_read(epoch, head.pid, None);
                verdict
            }
        }
    }

    fn gate_write(
        &self,
        head: &InHeader,
        node: &Node,
        span: Option<(u64, u64)>,
        faults: &Faults,
        turn: &mut Turn,
    ) -> Verdict {
        let epoch = self.engine.epoch();
        let growth = node.writes().growth(epoch, span, size_of(node));
        let fired = self.decide(head, Operation::Write, Some(node), span, growth, faults);
        match fired.map_or(PROCEED, |fired| self.carry_out(fired, head, turn)) {
            Verdict::Proceed(mangle) => {
                if mangle.is_some() {
                    self.timer.wake_after(SHOW_AFTER, Wakeup::ShowWrites(node.id, 0));
                }
                node.writes().plan(epoch, span, mangle);
                PROCEED
            }
            Verdict::Hold(delay, fault) => {
                node.writes().plan(epoch, span, None);
                Verdict::Hold(delay, fault)
            }
            verdict => verdict,
        }
    }

    fn at_read(&self, head: &InHeader, file: &File, span: (u64, u64), turn: &mut Turn) -> Verdict {
        let node = &file.node;
        let faults = node.faults(&self.engine);
        if !faults.iter().any(|fault| fault.spec.select.operations.has(Operation::Read)) {
            return PROCEED;
        }
        match gate::access(head.pid, false, 0) {
            Access::Read(_) => {
                let decided = node.writes().decided_read(self.engine.epoch(), head.pid);
                if let Some(mangle) = decided {
                    return Verdict::Proceed(mangle);
                }
            }
            // The kernel reads the rest of a page of which a part is being written.
            Access::Write(_) if file.writable() => return PROCEED,
            _ => {}
        }
        // What a mapping or a splice has read must be asked for again at its next use.
        self.timer.wake_after(SHOW_AFTER, Wakeup::ShowWrites(node.id, 0));
        node.writes().hide();
        match self.decide(head, Operation::Read, Some(node), Some(span), 0, &faults) {
            Some(fired) => self.carry_out(fired, head, turn),
            None => PROCEED,
        }
    }

    fn at_write(&self, head: &InHeader, file: &File, span: (u64, u64), turn: &mut Turn) -> Verdict {
        let node = &file.node;
        let faults = node.faults(&self.engine);
        if !faults.iter().any(|fault| fault.spec.select.operations.has(Operation::Write)) {
            return PROCEED;
        }
        let decided = node.writes().decided(self.engine.epoch(), span.0, span.1);
        if let Some(mangle) = decided.filter(|_| self.fast()) {
            return Verdict::Proceed(mangle);
        }
        let growth = (span.0 + span.1).saturating_sub(size_of(node));
        let fired = self.decide(head, Operation::Write, Some(node), Some(span), growth, &faults);
        let verdict = fired.map_or(PROCEED, |fired| self.carry_out(fired, head, turn));
        if let Verdict::Proceed(Some(_)) = verdict {
            node.writes().hide();
            self.timer.wake_after(SHOW_AFTER, Wakeup::ShowWrites(node.id, 0));
        }
        verdict
    }

    fn at_copy(&self, head: &InHeader, arg: &abi::CopyFileRangeIn, turn: &mut Turn) -> Verdict {
        let ends = [(Operation::Read, arg.fh_in, arg.off_in), (Operation::Write, arg.fh_out, arg.off_out)];
        for (operation, fh, offset) in ends {
            let Ok(handle) = self.handles.get(fh) else { continue };
            let Handle::File(file) = &*handle else { continue };
            let faults = file.node.faults(&self.engine);
            let growth = (offset + arg.len).saturating_sub(size_of(&file.node));
            let span = Some((offset, arg.len));
            let Some(fired) = self.decide(head, operation, Some(&file.node), span, growth, &faults) else {
                continue;
            };
            match self.carry_out(fired, head, turn) {
                // The data does not pass through here; the caller falls back to reading and writing it.
                Verdict::Proceed(Some(_)) => return Verdict::Fail(libc::EOPNOTSUPP),
                verdict => return verdict,
            }
        }
        PROCEED
    }

    /// Makes what faults did to written data visible through the mount.
    pub(super) fn show_writes(&self, node: &Node, turn: &mut Turn) {
        if node.writes().take_hidden() {
            turn.may_block();
            self.channel.drop_pages(node.id);
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
        let parked = Parked { bytes: bytes.to_vec(), unique: head.unique, thread: head.pid, fault };
        if let Err(parked) = self.timer.park(parked, delay) {
            self.serve(&parked.bytes, turn, true);
        }
    }

    /// What the timer asks for. It runs on the timer's thread and must not wait.
    pub(super) fn due(self: &Arc<Self>, due: Due) {
        let fs = self.clone();
        let job: Job = match due {
            Due::Interrupted { unique } => return self.channel.reply_error(unique, libc::EINTR),
            Due::Serve(parked) => Box::new(move |turn| fs.serve(&parked.bytes, turn, true)),
            Due::Wakeup(Wakeup::LoseUnsynced(at)) => Box::new(move |_| fs.lose_unsynced_at(at)),
            Due::Wakeup(Wakeup::FaultsExpire) => Box::new(move |_| fs.expire_faults()),
            Due::Wakeup(Wakeup::ShowWrites(id, tries)) => Box::new(move |turn| {
                let Ok(node) = fs.nodes.get(id) else { return };
                fs.show_writes(&node, turn);
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

fn size_of(node: &Node) -> u64 {
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
