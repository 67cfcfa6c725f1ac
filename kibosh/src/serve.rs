//! A mount's life, from mount(2) to the last answer.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::channel::Channel;
use crate::fs::{Fs, Mode, Settings};
use crate::mount::{self, Options};
use crate::nodes::Nodes;
use crate::outside::{Outside, Place};
use crate::pool::Pool;
use crate::sys::{self, Errno};

/// How long an unmounted mount may take to be gone. It is not while another mount namespace has a copy of it.
const UNTIL_GONE: Duration = Duration::from_secs(2);

/// All that a mount is made of.
pub struct Plan {
    pub target: PathBuf,
    pub mountpoint: PathBuf,
    pub coherent: bool,
    pub options: Options,
    pub control_mode: u32,
    pub seed: u64,
    pub log: Option<PathBuf>,
    pub verbose: bool,
}

/// Serves until the mount is gone or a termination signal has come. `ready` is called once the mount
/// can be used.
pub fn serve(plan: Plan, ready: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    start_log(plan.log.as_deref(), plan.verbose)?;
    sys::block_termination()?;
    if let Err(errno) = sys::raise_priority() {
        log::debug!("no higher priority, so a busy machine slows the mount down: {errno}");
    }
    let limit = sys::raise_descriptor_limit();
    let target = sys::open(plan.target.as_os_str(), libc::O_PATH | libc::O_DIRECTORY)
        .map_err(|errno| told("target", &plan.target, errno))?;
    let stat = sys::stat(target.as_fd()).map_err(|errno| told("target", &plan.target, errno))?;
    let outside = Outside::new(Place::of(&plan.target));
    let suspect = if plan.options.extra.is_empty() { "mountpoint" } else { "an option of -o, or mountpoint" };
    let device = mount::mount(&plan.mountpoint, plan.target.as_os_str(), &plan.options)
        .map_err(|error| about(suspect, &plan.mountpoint, error))?;
    log::info!("{} mounted at {}, at most {limit} files", plan.target.display(), plan.mountpoint.display());
    let channel = Arc::new(Channel::new(device));
    let pool = Pool::new(channel.clone());
    let mode = if plan.coherent { Mode::Coherent } else { Mode::Fast };
    let settings = Settings {
        most_descriptors: limit,
        mode,
        control_mode: plan.control_mode,
        seed: plan.seed,
        mountpoint: plan.mountpoint.clone(),
    };
    let fs = Fs::new(settings, channel, pool.clone(), Nodes::new(target, &stat), outside, Box::new(ready));
    fs.start();
    let (ended, end) = sys::raw_socket_pair()?;
    let waiting = pool.clone();
    thread::spawn(move || {
        waiting.wait();
        drop(end);
    });
    if finish(&fs, &plan.mountpoint, &ended)? && !pool.wait_at_most(UNTIL_GONE) {
        log::warn!("another mount namespace has a copy of the mount; its users get ENOTCONN from now on");
    }
    log::info!("unmounted {}", plan.mountpoint.display());
    Ok(())
}

/// Waits for the end and brings it about in good order. False if the mount is still in use: its
/// users get ENOTCONN from now on.
fn finish(fs: &Arc<Fs>, mountpoint: &Path, ended: &OwnedFd) -> io::Result<bool> {
    let signal = sys::wait_for_termination(ended.as_fd())?;
    let mut gone = true;
    if let Some(signal) = signal {
        log::info!("signal {signal}: writing back and unmounting");
        fs.quiesce();
        match mount::unmount(mountpoint) {
            Ok(busy) => {
                gone = !busy;
                if busy {
                    log::warn!("the mount is still in use: its users get ENOTCONN from now on");
                }
            }
            Err(errno) => {
                log::error!("cannot unmount {}: {errno}", mountpoint.display());
                gone = false;
            }
        }
    }
    fs.stop_timer();
    Ok(gone)
}

fn told(what: &str, path: &Path, errno: Errno) -> io::Error {
    about(what, path, errno.into())
}

fn about(what: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

/// A log file shared with nobody, behind a lock: the logger writes from many threads.
struct LogFile(Mutex<std::fs::File>);

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

fn start_log(path: Option<&Path>, verbose: bool) -> io::Result<()> {
    let level = if verbose { log::LevelFilter::Debug } else { log::LevelFilter::Info };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).format_timestamp_millis();
    if let Some(path) = path {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| about("log", path, error))?;
        builder.target(env_logger::Target::Pipe(Box::new(LogFile(Mutex::new(file)))));
    }
    // A second mount of one process keeps the first one's logger.
    drop(builder.try_init());
    Ok(())
}
