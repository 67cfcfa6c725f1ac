//! The pass-through file system: one handler for every request of the kernel.

mod attrs;
mod change;
mod control;
mod data;
mod dirs;
mod evict;
mod handles;
mod inject;
mod inject_data;
mod lose;
mod names;
mod pages;
mod piped;
mod trouble;
pub mod writes;
mod xattrs;

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use zerocopy::{Immutable, IntoBytes};

use crate::abi::{self, init};
use crate::channel::Channel;
use crate::fault::Engine;
use crate::nodes::{Node, Nodes};
use crate::outside::Outside;
use crate::pool::{Job, MAX_DATA, Pool, Serve, Turn};
use crate::request::{self, Body, Request};
use crate::sys::{self, Errno, Sys};
use crate::timer::Timer;
use crate::undo::Undo;

use handles::Handles;
use inject::Verdict;

/// How the kernel's caches are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The kernel caches writes, names and attributes as long as it likes. Nothing but the mount may
    /// change the target.
    Fast,
    /// Writes go through, and what is cached is asked for again after half a second.
    Coherent,
}

pub struct Settings {
    pub mode: Mode,
    /// Permission bits of the control file.
    pub control_mode: u32,
    pub seed: u64,
    pub mountpoint: PathBuf,
    /// How many descriptors this process may have.
    pub most_descriptors: u64,
}

pub struct Fs {
    settings: Settings,
    channel: Arc<Channel>,
    nodes: Nodes,
    handles: Handles,
    engine: Engine,
    undo: Undo,
    /// Whether what is not synced must be undoable.
    keeping: AtomicBool,
    timer: Timer,
    pool: Arc<Pool>,
    serve: OnceLock<Arc<Serve>>,
    this: Weak<Fs>,
    /// Held while the set of faults changes.
    changing: Mutex<()>,
    served: AtomicU64,
    /// Evictions under way.
    evicting: AtomicU32,
    /// Threads of ours that use the mount themselves; no fault is meant for them.
    own_threads: Mutex<Vec<u32>>,
    outside: Arc<Outside>,
    told: Mutex<trouble::Told>,
    ready: Box<dyn Fn() + Send + Sync>,
}

/// A handler's answer: nothing but success, some bytes, the first bytes of the turn's scratch, or
/// none at all.
pub enum Answer {
    Done,
    Bytes(Vec<u8>),
    Scratch(usize),
    Silence,
}

impl Answer {
    fn of<T: IntoBytes + Immutable>(value: &T) -> Sys<Self> {
        Ok(Answer::Bytes(value.as_bytes().to_vec()))
    }
}

const LONG: Duration = Duration::from_secs(86_400);
/// Half of what `coherent` promises, so that a name and then its attributes stay within it.
const SHORT: Duration = Duration::from_millis(500);

impl Fs {
    pub fn new(
        settings: Settings,
        channel: Arc<Channel>,
        pool: Arc<Pool>,
        nodes: Nodes,
        outside: Arc<Outside>,
        ready: Box<dyn Fn() + Send + Sync>,
    ) -> Arc<Self> {
        let engine = Engine::new(settings.seed);
        let fs = Arc::new_cyclic(|this| Fs {
            this: this.clone(),
            settings,
            channel,
            nodes,
            handles: Handles::default(),
            engine,
            undo: Undo::default(),
            keeping: AtomicBool::new(false),
            timer: Timer::default(),
            pool,
            serve: OnceLock::new(),
            changing: Mutex::new(()),
            served: AtomicU64::new(0),
            evicting: AtomicU32::new(0),
            own_threads: Mutex::default(),
            outside,
            told: Mutex::default(),
            ready,
        });
        let handler = fs.clone();
        let serve: Arc<Serve> =
            Arc::new(move |bytes: &[u8], turn: &mut Turn| handler.serve_safely(bytes, turn));
        drop(fs.serve.set(serve));
        fs
    }

    pub fn start(self: &Arc<Self>) {
        if let Some(serve) = self.serve.get() {
            self.pool.start(serve);
        }
        self.outside.look();
        let fs = self.clone();
        let timer = std::thread::Builder::new().name("kibosh-timer".into());
        if let Err(error) = timer.spawn(move || fs.timer.run(|due| fs.due(due))) {
            log::error!("no timer, so delays and ends of faults will not work: {error}");
        }
    }

    /// Something to be done on a thread that may wait.
    fn job(&self, run: impl FnOnce(&Fs) + Send + 'static) -> Job {
        let this = self.this.clone();
        Box::new(move |_| {
            if let Some(fs) = this.upgrade() {
                run(&fs);
            }
        })
    }

    fn fast(&self) -> bool {
        self.settings.mode == Mode::Fast
    }

    /// Serves one request. Should its handler ever panic, the caller gets EIO and the mount lives on.
    fn serve_safely(&self, bytes: &[u8], turn: &mut Turn) {
        let served = catch_unwind(AssertUnwindSafe(|| match turn.piped.take() {
            Some(pipe) => self.serve_piped(bytes, pipe, turn),
            None => self.serve(bytes, turn, false),
        }));
        if served.is_err() {
            log::error!("a request's handler failed; its caller gets EIO");
            if let Some(unique) = request::number(bytes) {
                self.channel.reply_error(unique, libc::EIO);
            }
        }
    }

    /// Serves one request, from its bytes to its answer. One that was `held` back has met its fault.
    fn serve(&self, bytes: &[u8], turn: &mut Turn, held: bool) {
        let mut request = match request::parse(bytes) {
            Ok(request) => request,
            Err(bad) => {
                if bad.errno != libc::ENOSYS {
                    log::warn!("request {}: {}", bad.unique, bad.why);
                }
                if bad.unique != 0 {
                    self.channel.reply_error(bad.unique, bad.errno);
                }
                return;
            }
        };
        if let Body::Write { arg, .. } = &mut request.body {
            self.place(arg);
        }
        self.served.fetch_add(1, Ordering::Relaxed);
        let unique = request.head.unique;
        log::debug!("{:?}", request.head);
        let mangle = match self.inject(&request, held) {
            Verdict::Proceed(mangle) => mangle,
            Verdict::Fail(errno) => return self.channel.reply_error(unique, errno),
            Verdict::Hold(delay, fault) => return self.hold(&request, bytes, delay, fault, turn),
        };
        let answer = self.run(&request, mangle, turn);
        self.answer(&request.head, answer, turn);
    }

    fn answer(&self, head: &abi::InHeader, answer: Sys<Answer>, turn: &mut Turn) {
        let unique = head.unique;
        match answer {
            Ok(Answer::Done) => self.channel.reply(unique, &[]),
            Ok(Answer::Bytes(bytes)) => self.channel.reply(unique, &bytes),
            Ok(Answer::Scratch(size)) => self.channel.reply(unique, &turn.scratch.room()[..size]),
            Ok(Answer::Silence) => {}
            Err(errno) => {
                self.tell_of_trouble(head, errno);
                self.channel.reply_error(unique, errno.0);
            }
        }
    }

    fn run(&self, request: &Request, mangle: Option<crate::fault::Mangle>, turn: &mut Turn) -> Sys<Answer> {
        let head = &request.head;
        match &request.body {
            Body::Init(arg) => self.init(arg),
            Body::Destroy => Ok(Answer::Done),
            Body::Forget { nlookup } => {
                self.nodes.forget(head.nodeid, *nlookup);
                Ok(Answer::Silence)
            }
            Body::BatchForget(list) => {
                list.iter().for_each(|one| self.nodes.forget(one.nodeid, one.nlookup));
                Ok(Answer::Silence)
            }
            Body::Interrupt { unique } => {
                self.timer.interrupt(*unique);
                Ok(Answer::Silence)
            }
            Body::Lookup { name } => self.lookup(head, name),
            Body::Getattr(arg) => self.getattr(head, arg),
            Body::Statx(arg) => self.statx(head, arg),
            Body::Setattr(arg) => self.setattr(head, arg),
            Body::Statfs => self.statfs(head),
            Body::Access { .. } => Err(Errno(libc::ENOSYS)),
            Body::Readlink => Ok(Answer::Bytes(sys::readlink(self.nodes.get(head.nodeid)?.fd())?)),
            Body::Symlink { name, target } => self.symlink(head, name, target),
            Body::Mknod { arg, name } => self.mknod(head, arg, name),
            Body::Mkdir { arg, name } => self.mkdir(head, arg, name),
            Body::Unlink { name } => self.unlink(head, name, 0),
            Body::Rmdir { name } => self.unlink(head, name, libc::AT_REMOVEDIR),
            Body::Rename { newdir, flags, from, to } => self.rename(head, from, *newdir, to, *flags),
            Body::Link { oldnode, name } => self.link(head, *oldnode, name),
            _ => self.run_on_open(request, mangle, turn),
        }
    }

    fn run_on_open(
        &self,
        request: &Request,
        mangle: Option<crate::fault::Mangle>,
        turn: &mut Turn,
    ) -> Sys<Answer> {
        let head = &request.head;
        match &request.body {
            Body::Open(arg) => self.open(head, arg),
            Body::Create { arg, name } => self.create(head, arg, name),
            Body::Tmpfile { arg } => self.tmpfile(head, arg),
            Body::Read(arg) => self.read(arg, mangle, turn),
            Body::Write { arg, data } => self.write(arg, data, mangle),
            Body::Flush(arg) => self.flush(arg),
            Body::Fsync(arg) => self.fsync(arg),
            Body::Release(arg) | Body::Releasedir(arg) => self.release(arg.fh),
            Body::Opendir(_) => self.opendir(head),
            Body::Readdir { arg, plus } => self.readdir(arg, *plus),
            Body::Fsyncdir(arg) => self.fsyncdir(arg),
            Body::Fallocate(arg) => self.fallocate(arg),
            Body::Lseek(arg) => self.lseek(arg),
            Body::CopyFileRange { arg, wide } => self.copy_file_range(arg, *wide),
            Body::Syncfs => sys::syncfs(sys::reopen(self.nodes.root().fd(), libc::O_RDONLY)?.as_fd())
                .map(|()| Answer::Done),
            Body::Setxattr { arg, name, value } => self.setxattr(head, arg, name, value),
            Body::Getxattr { size, name } => self.getxattr(head, name, *size),
            Body::Listxattr { size } => self.listxattr(head, *size),
            Body::Removexattr { name } => self.removexattr(head, name),
            _ => Err(Errno(libc::ENOSYS)),
        }
    }

    fn init(&self, arg: &abi::InitIn) -> Sys<Answer> {
        if arg.major != abi::MAJOR || arg.minor < abi::OLDEST_MINOR {
            log::error!("the kernel speaks FUSE {}.{}; 7.33 (Linux 5.11) is needed", arg.major, arg.minor);
            return Err(Errno(libc::EPROTO));
        }
        let mut wish = init::ASYNC_READ
            | init::ATOMIC_O_TRUNC
            | init::BIG_WRITES
            | init::DONT_MASK
            | init::AUTO_INVAL_DATA
            | init::DO_READDIRPLUS
            | init::READDIRPLUS_AUTO
            | init::ASYNC_DIO
            | init::PARALLEL_DIROPS
            | init::POSIX_ACL
            | init::MAX_PAGES
            | init::HANDLE_KILLPRIV_V2
            | init::SETXATTR_EXT
            | init::INIT_EXT;
        if self.fast() {
            wish |= init::WRITEBACK_CACHE | init::CACHE_SYMLINKS;
        }
        let missing = wish & !arg.flags & !init::INIT_EXT;
        if missing != 0 {
            log::warn!("the kernel lacks features {missing:#x}");
        }
        let out = abi::InitOut {
            major: abi::MAJOR,
            minor: abi::MINOR.min(arg.minor),
            max_readahead: arg.max_readahead,
            flags: wish & arg.flags,
            max_background: 64,
            congestion_threshold: 48,
            max_write: MAX_DATA as u32,
            time_gran: 1,
            max_pages: (MAX_DATA / 4096) as u16,
            ..Default::default()
        };
        (self.ready)();
        Answer::of(&out)
    }

    /// How long the kernel may use a name without asking.
    fn name_timeout(&self) -> Duration {
        if self.fast() { LONG } else { SHORT }
    }

    /// How long it may use a file's attributes. Not at all where a fault may be felt: that is the gate.
    fn attr_timeout(&self, node: &Node) -> Duration {
        if self.gated(node) {
            Duration::ZERO
        } else if self.fast() {
            LONG
        } else {
            SHORT
        }
    }
}
