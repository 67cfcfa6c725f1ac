//! The two virtual files of the mount's root: `kibosh_control`, and `kibosh_stats` for the curious.
//!
//! A document is taken when its writer closes or syncs the file, so that either call can fail. A
//! handle whose document was refused reads back why.

use std::ffi::OsStr;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;

use crate::abi::{self, ROOT_ID};
use crate::fault::{Document, Refused};
use crate::sys::{self, Errno, Sys};

use super::handles::Handle;
use super::{Answer, Fs, Mode};

/// Larger documents are refused with EFBIG.
const LARGEST_DOCUMENT: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VirtualFile {
    Control,
    Stats,
}

impl VirtualFile {
    const ALL: [(Self, &'static str, u64); 2] = [
        (VirtualFile::Control, "kibosh_control", u64::MAX - 1),
        (VirtualFile::Stats, "kibosh_stats", u64::MAX - 2),
    ];

    pub fn named(name: &OsStr) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| name == *known).map(|(file, ..)| *file)
    }

    pub fn of_node(id: u64) -> Option<Self> {
        Self::ALL.iter().find(|(.., known)| id == *known).map(|(file, ..)| *file)
    }

    fn node(self) -> u64 {
        Self::ALL.iter().find(|(file, ..)| *file == self).map_or(0, |(.., id)| *id)
    }
}

pub struct ControlHandle {
    state: Mutex<State>,
    writable: bool,
}

struct State {
    shown: Vec<u8>,
    written: Vec<u8>,
    /// Written to since it was last taken: a FLUSH without that means nothing.
    dirty: bool,
}

impl ControlHandle {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let state = self.state();
        let from = (offset.min(state.shown.len() as u64)) as usize;
        let end = from.saturating_add(size).min(state.shown.len());
        state.shown[from..end].to_vec()
    }

    pub fn write(&self, offset: u64, data: &[u8]) -> Sys<()> {
        if !self.writable {
            return Err(Errno(libc::EPERM));
        }
        let end = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(data.len()));
        let end = end.filter(|end| *end <= LARGEST_DOCUMENT).ok_or(Errno(libc::EFBIG))?;
        let mut state = self.state();
        if state.written.len() < end {
            state.written.resize(end, b' ');
        }
        state.written[end - data.len()..end].copy_from_slice(data);
        state.dirty = true;
        Ok(())
    }
}

impl Fs {
    pub(super) fn virtual_file(&self, parent: u64, name: &OsStr) -> Option<VirtualFile> {
        VirtualFile::named(name).filter(|_| parent == ROOT_ID)
    }

    fn content(&self, file: VirtualFile) -> Vec<u8> {
        match file {
            VirtualFile::Control => (self.engine.set().to_json().to_string() + "\n").into_bytes(),
            VirtualFile::Stats => (self.stats().to_string() + "\n").into_bytes(),
        }
    }

    fn virtual_attr(&self, file: VirtualFile) -> abi::Attr {
        let mode = match file {
            VirtualFile::Control => self.settings.control_mode,
            VirtualFile::Stats => self.settings.control_mode & 0o444,
        };
        abi::Attr {
            ino: file.node(),
            size: self.content(file).len() as u64,
            mode: libc::S_IFREG | mode,
            nlink: 1,
            uid: sys::own_uid(),
            gid: sys::own_gid(),
            blksize: 4096,
            ..Default::default()
        }
    }

    pub(super) fn virtual_attr_out(&self, file: VirtualFile) -> abi::AttrOut {
        abi::AttrOut { attr: self.virtual_attr(file), ..Default::default() }
    }

    pub(super) fn virtual_entry(&self, file: VirtualFile) -> abi::EntryOut {
        let entry_valid = self.name_timeout().as_secs();
        abi::EntryOut {
            nodeid: file.node(),
            entry_valid,
            attr: self.virtual_attr(file),
            ..Default::default()
        }
    }

    pub(super) fn open_virtual(&self, file: VirtualFile) -> Sys<Answer> {
        let state = State { shown: self.content(file), written: Vec::new(), dirty: false };
        let handle = ControlHandle { state: Mutex::new(state), writable: file == VirtualFile::Control };
        let fh = self.handles.add(Handle::Control(handle));
        Answer::of(&abi::OpenOut { fh, open_flags: abi::FOPEN_DIRECT_IO, backing_id: 0 })
    }

    /// Takes what was written to a handle since the last time.
    pub(super) fn commit(&self, handle: &ControlHandle) -> Sys<()> {
        let written = {
            let mut state = handle.state();
            if !std::mem::take(&mut state.dirty) {
                return Ok(());
            }
            std::mem::take(&mut state.written)
        };
        let result = Document::parse(&written, sys::boottime_ms())
            .map_err(Refused::Problems)
            .and_then(|document| self.change_faults(document));
        let (shown, answer) = match result {
            Ok(generation) => {
                log::info!("faults changed, generation {generation}");
                (self.content(VirtualFile::Control), Ok(()))
            }
            Err(refused) => {
                let (why, errno) = explain(&refused);
                log::error!("faults not changed: {why}");
                (why.to_string().into_bytes(), Err(Errno(errno)))
            }
        };
        handle.state().shown = shown;
        answer
    }

    fn stats(&self) -> serde_json::Value {
        let set = self.engine.set();
        let counted = |fault: &std::sync::Arc<crate::fault::Fault>| {
            let (selected, fired) = fault.counts();
            json!({"fault": fault.spec.json, "selected": selected, "fired": fired, "roomBytes": fault.room()})
        };
        json!({
            "generation": set.generation,
            "mode": match self.settings.mode { Mode::Fast => "fast", Mode::Coherent => "coherent" },
            "pid": std::process::id(),
            "seed": self.settings.seed,
            "requests": self.served.load(Ordering::Relaxed),
            "knownFiles": self.nodes.count(),
            "openHandles": self.handles.len(),
            "undoBytes": self.undo.usage().0,
            "undoFull": self.undo.usage().1,
            "boottimeMs": sys::boottime_ms(),
            "outside": self.outside.holders(),
            "faults": set.faults.iter().map(counted).collect::<Vec<_>>(),
        })
    }
}

/// Why a document was refused, for its writer, and the errno of close(2).
fn explain(refused: &Refused) -> (serde_json::Value, i32) {
    match refused {
        Refused::Problems(problems) => (json!({ "errors": problems }), libc::EINVAL),
        Refused::Stale { in_force } => {
            let message = format!("the set has changed; its generation is {in_force}");
            (json!({"errors": [{"path": "generation", "message": message}]}), libc::ESTALE)
        }
        Refused::NothingLost(errno) => {
            let message = match *errno {
                libc::ENODATA => "nothing was lost: no lose_unsynced fault is in force",
                _ => "nothing was lost: more was not synced than maxBytes",
            };
            (json!({"errors": [{"path": "loseUnsynced", "message": message}]}), *errno)
        }
        Refused::TooMany => {
            (json!({"errors": [{"path": "faults", "message": "too many faults in force"}]}), libc::ENOSPC)
        }
    }
}
