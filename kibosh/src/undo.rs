//! How to undo what is not synced.
//!
//! Data that has reached the target's page cache can only be lost by keeping what was there before.
//! For data that is the old content of each block written since the file's last fsync(2), and its
//! old size; for names, each change in order, until its directory is synced. A removed file is not
//! removed but given a hidden name.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::nodes::Node;
use crate::sys::{self, Errno, Sys};

const BLOCK: u64 = 4096;
const HIDDEN: &str = ".kibosh-undo-";
/// What a name's undoing is counted as, in bytes.
const NAME_COST: u64 = 256;

/// Whether a name of the target is one that the undoing keeps, and nobody shall see.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(HIDDEN.as_bytes())
}

#[derive(Default)]
pub struct Undo {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: HashMap<u64, OldFile>,
    names: VecDeque<Change>,
    bytes: u64,
    limit: u64,
    /// There was more to keep than the limit, so nothing can be undone.
    full: bool,
    /// How many rollbacks are promised: meanwhile there is no limit.
    seals: u32,
    hidden_names: u64,
}

/// What a file was at its last sync.
struct OldFile {
    node: Arc<Node>,
    size: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
    /// Its sync failed, so that a later one does not make this durable.
    stuck: bool,
}

type Place = (Arc<Node>, OsString);

enum Change {
    Made(Place),
    /// Under which hidden name of the same directory it is kept.
    Removed(Place, OsString),
    Moved {
        from: Place,
        to: Place,
    },
    Exchanged(Place, Place),
}

impl Change {
    fn directories(&self) -> (&Arc<Node>, &Arc<Node>) {
        match self {
            Change::Made(place) | Change::Removed(place, _) => (&place.0, &place.0),
            Change::Moved { from, to } | Change::Exchanged(from, to) => (&from.0, &to.0),
        }
    }
}

/// Files and names whose content a rollback changed, for the kernel to forget.
#[derive(Default)]
pub struct RolledBack {
    pub files: Vec<Arc<Node>>,
    pub names: Vec<Place>,
}

impl Undo {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_limit(&self, bytes: u64) {
        self.state().limit = bytes;
    }

    /// Bytes kept, and whether that was too much.
    pub fn usage(&self) -> (u64, bool) {
        let state = self.state();
        (state.bytes, state.full)
    }

    /// Keeps the blocks that a change of `length` bytes at `offset` will overwrite, and the size.
    pub fn keep_data(&self, node: &Arc<Node>, offset: u64, length: u64) -> Sys<()> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.full {
            return Ok(());
        }
        let size = sys::stat(node.fd())?.st_size as u64;
        let file = sys::reopen(node.fd(), libc::O_RDONLY)?;
        let (mut added, limit) = (0, state.limit_now());
        let old = state.files.entry(node.id).or_insert_with(|| OldFile::new(node, size));
        let end = offset.saturating_add(length).min(old.size).min(size);
        for block in offset / BLOCK..end.div_ceil(BLOCK) {
            if let std::collections::btree_map::Entry::Vacant(place) = old.blocks.entry(block) {
                let mut content = vec![0; BLOCK.min(size - block * BLOCK) as usize];
                let found = sys::pread(file.as_fd(), &mut content, block * BLOCK)?;
                content.truncate(found);
                added += BLOCK;
                place.insert(content);
                if state.bytes + added > limit {
                    break;
                }
            }
        }
        state.charge(added);
        Ok(())
    }

    /// A file that was not there before.
    pub fn keep_new_file(&self, node: &Arc<Node>) {
        let mut state = self.state();
        if !state.full {
            state.files.entry(node.id).or_insert_with(|| OldFile::new(node, 0));
        }
    }

    pub fn made(&self, dir: &Arc<Node>, name: &OsStr) {
        self.keep(Change::Made((dir.clone(), name.to_owned())));
    }

    pub fn moved(&self, from: Place, to: Place, exchanged: bool) {
        self.keep(if exchanged { Change::Exchanged(from, to) } else { Change::Moved { from, to } });
    }

    fn keep(&self, change: Change) {
        let mut state = self.state();
        if !state.full {
            state.names.push_back(change);
            state.charge(NAME_COST);
        }
    }

    /// Removes a name by hiding it. A directory must look empty.
    pub fn remove(&self, dir: &Arc<Node>, name: &OsStr, directory: bool) -> Sys<()> {
        let found = sys::open_at(dir.fd(), name, libc::O_PATH, 0)?;
        let is_directory = sys::stat(found.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
        match (directory, is_directory) {
            (true, false) => return Err(Errno(libc::ENOTDIR)),
            (false, true) => return Err(Errno(libc::EISDIR)),
            (true, true) if !looks_empty(dir, name)? => return Err(Errno(libc::ENOTEMPTY)),
            _ => {}
        }
        let hidden = self.hidden_name();
        sys::rename_at(dir.fd(), name, dir.fd(), &hidden, libc::RENAME_NOREPLACE)?;
        self.keep(Change::Removed((dir.clone(), name.to_owned()), hidden));
        Ok(())
    }

    /// Moves a file over another one, which is kept under a hidden name.
    pub fn replace(&self, from: Place, to: Place) -> Sys<()> {
        sys::rename_at(from.0.fd(), &from.1, to.0.fd(), &to.1, libc::RENAME_EXCHANGE)?;
        let hidden = self.hidden_name();
        sys::rename_at(from.0.fd(), &from.1, to.0.fd(), &hidden, libc::RENAME_NOREPLACE)?;
        self.keep(Change::Removed(to.clone(), hidden));
        self.keep(Change::Moved { from, to });
        Ok(())
    }

    fn hidden_name(&self) -> OsString {
        let mut state = self.state();
        state.hidden_names += 1;
        format!("{HIDDEN}{}-{}", std::process::id(), state.hidden_names).into()
    }

    /// Syncs a file's data with `sync`; what was there before it began is durable if it succeeds.
    pub fn syncing(&self, node: &Node, sync: impl FnOnce() -> Sys<()>) -> Sys<()> {
        let before = self.state().take_unless_stuck(node.id);
        let result = sync();
        if let (Err(_), Some(mut before)) = (&result, before) {
            let mut state = self.state();
            if let Some(since) = state.files.remove(&node.id) {
                for (block, old) in since.blocks {
                    before.blocks.entry(block).or_insert(old);
                }
            }
            state.files.insert(node.id, before);
        }
        self.state().recount();
        result
    }

    /// A file's sync has failed: what it held is not durable, and no later sync makes it so.
    pub fn sync_failed(&self, node: &Node) {
        if let Some(old) = self.state().files.get_mut(&node.id) {
            old.stuck = true;
        }
    }

    /// A directory was synced: the changes of its names are durable.
    pub fn directory_synced(&self, dir: &Arc<Node>) {
        let mut state = self.state();
        let mut removed = Vec::new();
        state.names.retain(|change| {
            let (first, second) = change.directories();
            let durable = Arc::ptr_eq(first, dir) || Arc::ptr_eq(second, dir);
            if let (true, Change::Removed(place, hidden)) = (durable, change) {
                removed.push((place.0.clone(), hidden.clone()));
            }
            !durable
        });
        state.recount();
        drop(state);
        removed.iter().for_each(|(dir, hidden)| purge(dir, hidden));
    }

    /// Gives up: everything stays as it is.
    pub fn forget(&self) {
        let mut state = self.state();
        let names = std::mem::take(&mut state.names);
        state.files.clear();
        (state.bytes, state.full) = (0, false);
        drop(state);
        for change in names {
            if let Change::Removed(place, hidden) = change {
                purge(&place.0, &hidden);
            }
        }
    }

    /// Promises that what is kept can be undone. ENOSPC if there was more than could be kept.
    pub fn seal(&self) -> Sys<Sealed<'_>> {
        let mut state = self.state();
        if state.full {
            return Err(Errno(libc::ENOSPC));
        }
        state.seals += 1;
        Ok(Sealed(self))
    }
}

/// The promise of a rollback.
pub struct Sealed<'a>(&'a Undo);

impl Sealed<'_> {
    /// Undoes what is not durable, for the files and directories that `loses` names.
    pub fn roll_back(self, loses: impl Fn(&Node) -> bool) -> RolledBack {
        let mut state = self.0.state();
        let (files, names) = (std::mem::take(&mut state.files), std::mem::take(&mut state.names));
        state.bytes = 0;
        drop(state);
        let mut done = RolledBack::default();
        for change in names.into_iter().rev() {
            let (first, second) = change.directories();
            if loses(first) || loses(second) {
                undo_name(change, &mut done);
            } else if let Change::Removed(place, hidden) = change {
                purge(&place.0, &hidden);
            }
        }
        for old in files.into_values().filter(|old| loses(&old.node)) {
            if let Err(errno) = old.restore() {
                log::error!("a file's unsynced writes could not be undone: {errno}");
            }
            done.files.push(old.node);
        }
        done
    }
}

impl Drop for Sealed<'_> {
    fn drop(&mut self) {
        self.0.state().seals -= 1;
    }
}

impl State {
    fn charge(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes > self.limit_now() {
            log::error!("more than {} bytes are not synced: they can no longer be lost", self.limit);
            self.full = true;
            self.files.clear();
        }
    }

    fn limit_now(&self) -> u64 {
        if self.seals > 0 { u64::MAX } else { self.limit }
    }

    fn take_unless_stuck(&mut self, id: u64) -> Option<OldFile> {
        let stuck = self.files.get(&id).is_none_or(|old| old.stuck);
        if stuck { None } else { self.files.remove(&id) }
    }

    fn recount(&mut self) {
        let blocks: usize = self.files.values().map(|old| old.blocks.len()).sum();
        self.bytes = blocks as u64 * BLOCK + self.names.len() as u64 * NAME_COST;
    }
}

impl OldFile {
    fn new(node: &Arc<Node>, size: u64) -> Self {
        OldFile { node: node.clone(), size, blocks: BTreeMap::new(), stuck: false }
    }

    fn restore(&self) -> Sys<()> {
        let file = sys::reopen(self.node.fd(), libc::O_WRONLY)?;
        for (block, content) in &self.blocks {
            sys::pwrite(file.as_fd(), content, block * BLOCK)?;
        }
        sys::ftruncate(file.as_fd(), self.size)
    }
}

fn undo_name(change: Change, done: &mut RolledBack) {
    let result = match &change {
        Change::Made((dir, name)) => unmake(dir, name),
        Change::Removed((dir, name), hidden) => {
            sys::rename_at(dir.fd(), hidden, dir.fd(), name, libc::RENAME_NOREPLACE)
        }
        Change::Moved { from, to } => {
            sys::rename_at(to.0.fd(), &to.1, from.0.fd(), &from.1, libc::RENAME_NOREPLACE)
        }
        Change::Exchanged(first, second) => {
            sys::rename_at(first.0.fd(), &first.1, second.0.fd(), &second.1, libc::RENAME_EXCHANGE)
        }
    };
    if let Err(errno) = result {
        log::error!("a name's change could not be undone: {errno}");
    }
    match change {
        Change::Made(place) | Change::Removed(place, _) => done.names.push(place),
        Change::Moved { from, to } | Change::Exchanged(from, to) => done.names.extend([from, to]),
    }
}

/// Removes what was made; what is in a directory by now was made later still, or elsewhere and moved
/// in, and has gone before.
fn unmake(dir: &Node, name: &OsStr) -> Sys<()> {
    match sys::unlink_at(dir.fd(), name, 0) {
        Err(Errno(libc::EISDIR)) => sys::unlink_at(dir.fd(), name, libc::AT_REMOVEDIR),
        result => result,
    }
}

fn looks_empty(dir: &Node, name: &OsStr) -> Sys<bool> {
    let listed = sys::open_at(dir.fd(), name, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    loop {
        let entries = sys::read_dir(listed.as_fd())?;
        if entries.is_empty() {
            return Ok(true);
        }
        let visible = |name: &[u8]| name != b"." && name != b".." && !is_hidden(OsStr::from_bytes(name));
        if entries.iter().any(|entry| visible(&entry.name)) {
            return Ok(false);
        }
    }
}

/// Removes what only had a hidden name left, hidden names within it included.
fn purge(dir: &Node, hidden: &OsStr) {
    let result = match sys::unlink_at(dir.fd(), hidden, 0) {
        Err(Errno(libc::EISDIR)) => {
            let inner = sys::open_at(dir.fd(), hidden, libc::O_RDONLY | libc::O_DIRECTORY, 0);
            inner
                .and_then(|inner| purge_hidden(inner.as_fd()))
                .and_then(|()| sys::unlink_at(dir.fd(), hidden, libc::AT_REMOVEDIR))
        }
        result => result,
    };
    if let Err(errno) = result {
        log::warn!("{} stays in the target: {errno}", hidden.to_string_lossy());
    }
}

/// Removes the hidden files of a directory, as a daemon that was killed has left them.
pub fn purge_hidden(dir: std::os::fd::BorrowedFd) -> Sys<()> {
    sys::seek_dir(dir, 0)?;
    loop {
        let entries = sys::read_dir(dir)?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            let name = OsStr::from_bytes(&entry.name);
            if is_hidden(name) {
                sys::unlink_at(dir, name, 0).or_else(|_| sys::unlink_at(dir, name, libc::AT_REMOVEDIR))?;
            }
        }
    }
}
