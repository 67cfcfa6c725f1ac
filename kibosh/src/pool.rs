//! The threads that serve requests.
//!
//! One thread reads `/dev/fuse` and serves what it has read: as long as it is quick, a second one would
//! only be woken cold, on another CPU. When it is held up, by a disk perhaps, a watchman adds another,
//! and as many stay as were needed in the last second. One that only waits for a CPU is not held up:
//! another would wait for the same.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::aligned::Aligned;
use crate::channel::Channel;
use crate::follow::Follower;
use crate::piped::{Inlet, LARGEST_PIPE, Pipe};
use crate::request;
use crate::sys;

/// The most bytes of one read or write request: as many pages as the pipe that anyone may have has room for,
/// but one for what stands before.
pub const MAX_DATA: usize = LARGEST_PIPE - 4096;
const MOST_THREADS: usize = 128;
/// The most readers that wait for requests at the same time.
const MOST_FREE: usize = 8;
/// How long no reader may be there, and nothing answered, before one is added.
const HELD_UP: Duration = Duration::from_millis(1);
/// How many looks of the watchman that find a free reader end his watch.
const QUIET_LOOKS: u32 = 16;
/// How long a reader that was needed is kept.
const KEPT: Duration = Duration::from_secs(1);

/// Work that is no request just read.
pub type Job = Box<dyn FnOnce(&mut Turn) + Send>;

pub type Serve = dyn Fn(&[u8], &mut Turn) + Send + Sync;

pub struct Pool {
    channel: Arc<Channel>,
    /// How many readers there are when none is held up.
    readers: AtomicUsize,
    /// Readers that wait for a request.
    free: AtomicUsize,
    answered: AtomicU64,
    watched: AtomicBool,
    state: Mutex<State>,
    wake: Condvar,
    watch: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// Threads that read and serve.
    serving: Vec<u32>,
    /// The watchman has called a reader that has not come yet.
    called: bool,
    idle: usize,
    threads: usize,
    jobs: VecDeque<Job>,
    stopping: bool,
}

impl State {
    fn in_use(&self) -> bool {
        !self.stopping || self.threads > 0
    }
}

/// One thread's turn at serving a request.
pub struct Turn<'a> {
    /// Room for the data of a READ's reply.
    pub scratch: &'a mut Aligned,
    /// What holds the data of a WRITE of which only the beginning was read.
    pub piped: Option<&'a mut Pipe>,
}

enum Next {
    Read,
    Run(Job),
    Stop,
}

/// Should a job ever panic, its thread goes on with the next.
fn run_safely(job: Job, turn: &mut Turn) {
    if catch_unwind(AssertUnwindSafe(|| job(turn))).is_err() {
        log::error!("a job failed; whoever waits for its answer is not told");
    }
}

impl Pool {
    pub fn new(channel: Arc<Channel>) -> Arc<Self> {
        let (state, free, answered, watched) = Default::default();
        let (wake, watch, done) = Default::default();
        let readers = AtomicUsize::new(1);
        Arc::new(Pool { channel, readers, free, answered, watched, state, wake, watch, done })
    }

    fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(self: &Arc<Self>, serve: &Arc<Serve>) {
        self.spawn(serve);
        let (pool, serve) = (self.clone(), serve.clone());
        let watchman = thread::Builder::new().name("kibosh-watch".into());
        if let Err(error) = watchman.spawn(move || pool.keep_watch(&serve)) {
            log::error!("no watchman, so two slow requests may hold up all others: {error}");
        }
    }

    /// Runs a job on a thread that may wait.
    pub fn submit(self: &Arc<Self>, serve: &Arc<Serve>, job: Job) {
        self.state().jobs.push_back(job);
        self.ensure_a_thread(serve);
    }

    fn ensure_a_thread(self: &Arc<Self>, serve: &Arc<Serve>) {
        let state = self.state();
        let wanted = state.jobs.len() + usize::from(state.called);
        if state.idle >= wanted {
            drop(state);
            self.wake.notify_one();
        } else if state.threads < MOST_THREADS {
            drop(state);
            self.spawn(serve);
        }
    }

    fn spawn(self: &Arc<Self>, serve: &Arc<Serve>) {
        self.state().threads += 1;
        let (pool, serve) = (self.clone(), serve.clone());
        let thread = thread::Builder::new().name("kibosh".into()).stack_size(1 << 20);
        if let Err(error) = thread.spawn(move || pool.work(&serve)) {
            log::error!("cannot start a thread: {error}");
            self.state().threads -= 1;
        }
    }

    fn next(&self) -> Next {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Next::Run(job);
            }
            if state.stopping {
                return Next::Stop;
            }
            if state.serving.len() < self.readers() || state.called {
                state.called = false;
                state.serving.push(sys::thread_id());
                return Next::Read;
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn work(self: &Arc<Self>, serve: &Arc<Serve>) {
        if let Err(errno) = sys::unshare_fs() {
            log::warn!("a thread has no umask of its own: {errno}");
        }
        let mut inlet = Inlet::new(MAX_DATA);
        let mut scratch = Aligned::new(0, MAX_DATA);
        let mut follower = Follower::default();
        loop {
            match self.next() {
                Next::Stop => break,
                Next::Run(job) => run_safely(job, &mut Turn { scratch: &mut scratch, piped: None }),
                Next::Read => self.read_while_needed(serve, &mut inlet, &mut scratch, &mut follower),
            }
        }
        self.state().threads -= 1;
        self.done.notify_all();
        self.wake.notify_all();
    }

    fn read_while_needed(
        &self,
        serve: &Arc<Serve>,
        inlet: &mut Inlet,
        scratch: &mut Aligned,
        follower: &mut Follower,
    ) {
        while self.free.load(Ordering::Relaxed) < self.readers() {
            self.free.fetch_add(1, Ordering::SeqCst);
            let received = inlet.receive(&self.channel);
            if self.free.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.call_the_watchman();
            }
            match received {
                Ok(Some((bytes, piped))) => {
                    follower.called_by(request::caller(bytes));
                    if piped.is_some() {
                        // Written back while its writer goes on writing.
                        follower.free();
                    }
                    serve(bytes, &mut Turn { scratch, piped });
                }
                ended => {
                    if let Err(errno) = ended {
                        log::error!("reading requests failed: {errno}");
                    }
                    self.stop();
                    break;
                }
            }
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
        follower.free();
        let own = sys::thread_id();
        self.state().serving.retain(|thread| *thread != own);
    }

    fn stop(&self) {
        self.state().stopping = true;
        self.wake.notify_all();
        self.watch.notify_all();
        self.done.notify_all();
    }

    fn call_the_watchman(&self) {
        if !self.watched.swap(true, Ordering::SeqCst) {
            drop(self.state());
            self.watch.notify_one();
        }
    }

    /// Adds a reader whenever none has been free for a while and nothing was answered meanwhile.
    fn keep_watch(self: &Arc<Self>, serve: &Arc<Serve>) {
        let mut quiet = 0;
        let mut needed_at = Instant::now();
        let mut state = self.state();
        while !state.stopping {
            if !self.watched.load(Ordering::SeqCst) {
                state = self.watch.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let before = self.answered.load(Ordering::Relaxed);
            let waited = self.watch.wait_timeout(state, HELD_UP);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            quiet = if self.has_free_reader() { quiet + 1 } else { 0 };
            if self.is_held_up(&state, before) {
                needed_at = Instant::now();
                self.readers.store((self.readers() + 1).min(MOST_FREE), Ordering::Relaxed);
                state.called = true;
                drop(state);
                self.ensure_a_thread(serve);
                state = self.state();
            } else if self.readers() > 1 && needed_at.elapsed() > KEPT {
                self.readers.store(1, Ordering::Relaxed);
            } else if quiet >= QUIET_LOOKS && self.readers() == 1 {
                self.stop_watching();
            }
        }
    }

    fn stop_watching(&self) {
        self.watched.store(false, Ordering::SeqCst);
        if !self.has_free_reader() {
            self.watched.store(true, Ordering::SeqCst);
        }
    }

    fn has_free_reader(&self) -> bool {
        self.free.load(Ordering::SeqCst) > 0
    }

    /// Whether all readers sleep over requests, and have answered none since `before`.
    fn is_held_up(&self, state: &State, before: u64) -> bool {
        let stuck = || !self.has_free_reader() && self.answered.load(Ordering::SeqCst) == before;
        // Looking at a thread takes as long as a request, so it may be over by then.
        stuck() && state.serving.iter().all(|thread| sys::sleeps(*thread)) && stuck()
    }

    /// Waits until the mount is gone and every request has been served.
    pub fn wait(&self) {
        drop(self.done.wait_while(self.state(), |state| state.in_use()));
    }

    /// The same, but not for ever; false if the mount was not gone by then.
    pub fn wait_at_most(&self, timeout: Duration) -> bool {
        let waited = self.done.wait_timeout_while(self.state(), timeout, |state| state.in_use());
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
