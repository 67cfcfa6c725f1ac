//! The Python face: one function that serves a mount until its end.

use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Mutex;

use pyo3::prelude::*;

use crate::mount::Options;
use crate::serve::Plan;

/// Serves `target` at `mountpoint` until it is unmounted or SIGTERM, SIGINT or SIGHUP comes.
///
/// `ready_fd` is closed after a byte is written to it, once the mount can be used. Raises OSError.
#[pyfunction]
#[pyo3(signature = (target, mountpoint, *, coherent, allow_other, options, control_mode, seed, log, verbose, ready_fd))]
#[allow(clippy::too_many_arguments)]
fn serve(
    py: Python<'_>,
    target: PathBuf,
    mountpoint: PathBuf,
    coherent: bool,
    allow_other: bool,
    options: Vec<String>,
    control_mode: u32,
    seed: u64,
    log: Option<PathBuf>,
    verbose: bool,
    ready_fd: RawFd,
) -> PyResult<()> {
    let options = Options { allow_other, extra: options };
    let plan = Plan { target, mountpoint, coherent, options, control_mode, seed, log, verbose };
    let ready = Mutex::new(Some(owned(ready_fd)));
    py.detach(|| {
        crate::serve::serve(plan, move || {
            let file = ready.lock().ok().and_then(|mut file| file.take());
            if let Some(mut file) = file {
                drop(file.write_all(b"."));
            }
        })
    })?;
    Ok(())
}

/// The one `unsafe` here: the caller hands over a descriptor, as the function's contract says.
#[allow(unsafe_code)]
fn owned(fd: RawFd) -> File {
    // SAFETY: the descriptor was made by the calling process for this purpose and is not used by it
    // afterwards.
    File::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(serve, module)?)
}
