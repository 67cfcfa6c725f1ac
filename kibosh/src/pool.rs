//! The threads that serve requests.
//!
//! Few threads read `/dev/fuse`, on a small machine a single one: it then stays warm on the caller's
//! CPU, which is worth more than parallel reading. A reader serves quick requests itself. Before one
//! that may wait for a disk it gives its place to another thread ([`Turn::may_block`]).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::channel::Channel;
use crate::sys;

/// The most bytes of one read or write request.
pub const MAX_DATA: usize = 1 << 20;
const MOST_THREADS: usize = 128;

/// Work that is no request just read.
pub type Job = Box<dyn FnOnce(&mut Turn) + Send>;

pub type Serve = dyn Fn(&[u8], &mut Turn) + Send + Sync;

pub struct Pool {
    channel: Arc<Channel>,
    readers: AtomicUsize,
    state: Mutex<State>,
    wake: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    reading: usize,
    idle: usize,
    threads: usize,
    jobs: VecDeque<Job>,
    stopping: bool,
}

/// One thread's turn at serving a request.
pub struct Turn<'a> {
    pool: &'a Arc<Pool>,
    serve: &'a Arc<Serve>,
    reads: bool,
    /// Room for the data of a reply.
    pub scratch: &'a mut Vec<u8>,
}

impl Turn<'_> {
    /// Says that what follows may wait; other requests are served meanwhile.
    pub fn may_block(&mut self) {
        if self.reads {
            self.reads = false;
            self.pool.hand_on(self.serve);
        }
    }
}

enum Next {
    Read,
    Run(Job),
    Stop,
}

impl Pool {
    pub fn new(channel: Arc<Channel>, readers: usize) -> Arc<Self> {
        let (state, wake, done) = Default::default();
        Arc::new(Pool { channel, readers: AtomicUsize::new(readers), state, wake, done })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(self: &Arc<Self>, serve: &Arc<Serve>) {
        for _ in 0..self.readers.load(Ordering::Acquire) {
            self.spawn(serve);
        }
    }

    /// Runs a job on a thread that may wait.
    pub fn submit(self: &Arc<Self>, serve: &Arc<Serve>, job: Job) {
        self.state().jobs.push_back(job);
        self.ensure_a_thread(serve);
    }

    /// Reads on while a reader has to wait within a request.
    pub fn meanwhile<T>(self: &Arc<Self>, serve: &Arc<Serve>, wait: impl FnOnce() -> T) -> T {
        self.readers.fetch_add(1, Ordering::AcqRel);
        self.ensure_a_thread(serve);
        let result = wait();
        self.readers.fetch_sub(1, Ordering::AcqRel);
        result
    }

    fn hand_on(self: &Arc<Self>, serve: &Arc<Serve>) {
        self.state().reading -= 1;
        self.ensure_a_thread(serve);
    }

    fn ensure_a_thread(self: &Arc<Self>, serve: &Arc<Serve>) {
        let state = self.state();
        if state.idle > 0 {
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
            if state.reading < self.readers.load(Ordering::Acquire) {
                state.reading += 1;
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
        sys::set_umask(0);
        let mut buffer = vec![0u8; MAX_DATA + 4096];
        let mut scratch = Vec::new();
        loop {
            match self.next() {
                Next::Stop => break,
                Next::Run(job) => job(&mut Turn { pool: self, serve, reads: false, scratch: &mut scratch }),
                Next::Read => self.read_until_handed_on(serve, &mut buffer, &mut scratch),
            }
        }
        self.state().threads -= 1;
        self.done.notify_all();
        self.wake.notify_all();
    }

    fn read_until_handed_on(self: &Arc<Self>, serve: &Arc<Serve>, buffer: &mut [u8], scratch: &mut Vec<u8>) {
        loop {
            match self.channel.receive(buffer) {
                Ok(Some(size)) => {
                    let mut turn = Turn { pool: self, serve, reads: true, scratch };
                    serve(&buffer[..size], &mut turn);
                    if !turn.reads {
                        return;
                    }
                }
                ended => {
                    if let Err(errno) = ended {
                        log::error!("reading requests failed: {errno}");
                    }
                    let mut state = self.state();
                    state.reading -= 1;
                    state.stopping = true;
                    drop(state);
                    self.wake.notify_all();
                    self.done.notify_all();
                    return;
                }
            }
        }
    }

    /// Waits until the mount is gone and every request has been served.
    pub fn wait(&self) {
        let mut state = self.state();
        while !(state.stopping && state.threads == 0) {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
