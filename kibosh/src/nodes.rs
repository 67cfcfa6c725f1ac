//! The files the kernel knows, and their names.
//!
//! A node is a file, not a name: hard links share one, and one deleted while open stays. It holds
//! an `O_PATH` descriptor, so it stays reachable whatever happens to its names, on any device.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::abi::ROOT_ID;
use crate::fault::{Engine, Fault};
use crate::fs::writes::Writes;
use crate::sys::{Errno, Sys};

/// What makes a file the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub dev: u64,
    pub ino: u64,
}

impl Key {
    pub fn of(stat: &libc::stat) -> Self {
        Key { dev: stat.st_dev, ino: stat.st_ino }
    }
}

pub struct Node {
    pub id: u64,
    pub key: Key,
    fd: OwnedFd,
    /// Open for reading, left over for whoever opens it next.
    reader: Mutex<Option<Arc<OwnedFd>>>,
    kind: u32,
    names: Mutex<Names>,
    /// Open handles.
    pub open: AtomicU32,
    /// Whether the kernel may hold pages of it.
    pub cached: AtomicBool,
    /// How many threads wait for the kernel to write its pages back and drop them.
    pub dropping: AtomicU32,
    /// Whether it was in use when unsynced writes were lost.
    pub lost: AtomicBool,
    pub writes: Mutex<Writes>,
}

#[derive(Default)]
struct Names {
    /// Directory and name, the newest last. A deleted file keeps its last one.
    links: Vec<(Arc<Node>, OsString)>,
    /// Where one was made that has no name yet.
    made_in: Option<Arc<Node>>,
    matching: Option<(u64, Arc<[Arc<Fault>]>)>,
}

/// More names of one file than this are forgotten, the oldest first.
const MOST_LINKS: usize = 256;
const DEEPEST: usize = 4096;

impl Node {
    fn new(id: u64, fd: OwnedFd, stat: &libc::stat) -> Self {
        Node {
            id,
            key: Key::of(stat),
            fd,
            reader: Mutex::default(),
            kind: stat.st_mode & libc::S_IFMT,
            names: Mutex::default(),
            open: AtomicU32::new(0),
            cached: AtomicBool::new(false),
            dropping: AtomicU32::new(0),
            lost: AtomicBool::new(false),
            writes: Mutex::default(),
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub fn is_directory(&self) -> bool {
        self.kind == libc::S_IFDIR
    }

    pub fn is_regular(&self) -> bool {
        self.kind == libc::S_IFREG
    }

    pub fn writes(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add_name(&self, parent: &Arc<Node>, name: &OsStr) {
        let mut names = self.names();
        if names.links.last().is_some_and(|(dir, known)| Arc::ptr_eq(dir, parent) && known == name) {
            return;
        }
        names
            .links
            .retain(|(dir, known)| !(self.is_directory() || Arc::ptr_eq(dir, parent) && known == name));
        if names.links.len() >= MOST_LINKS {
            names.links.remove(0);
        }
        names.links.push((parent.clone(), name.to_owned()));
        names.made_in = None;
        names.matching = None;
    }

    /// It was made in `parent` with `O_TMPFILE`: until it has a name, its path is the directory's with a slash.
    pub fn made_without_name(&self, parent: &Arc<Node>) {
        let mut names = self.names();
        names.made_in = Some(parent.clone());
        names.matching = None;
    }

    pub fn remove_name(&self, parent: &Arc<Node>, name: &OsStr) {
        let mut names = self.names();
        if names.links.len() > 1 {
            names.links.retain(|(dir, known)| !(Arc::ptr_eq(dir, parent) && known == name));
            names.matching = None;
        }
    }

    pub fn last_link(&self) -> Option<(Arc<Node>, OsString)> {
        self.names().links.last().cloned()
    }

    pub fn links(&self) -> Vec<(Arc<Node>, OsString)> {
        self.names().links.clone()
    }

    /// Every path by which it is known, from the mount's root.
    pub fn paths(&self) -> Vec<Vec<u8>> {
        if self.id == ROOT_ID {
            return vec![b"/".to_vec()];
        }
        let (links, made_in) = {
            let names = self.names();
            (names.links.clone(), names.made_in.clone())
        };
        let unnamed = made_in.map(|parent| parent.path_of(OsStr::new("")));
        links.iter().map(|(parent, name)| parent.path_of(name)).chain(unnamed).collect()
    }

    /// The path of a name in this directory.
    pub fn path_of(&self, name: &OsStr) -> Vec<u8> {
        let mut parts = vec![name.to_owned()];
        let mut above = self.names().links.last().cloned();
        while let Some((parent, name)) = above {
            parts.push(name);
            above = if parts.len() < DEEPEST { parent.names().links.last().cloned() } else { None };
        }
        let mut path = Vec::new();
        for part in parts.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(part.as_bytes());
        }
        path
    }

    /// The faults in force for its names, in order.
    pub fn faults(&self, engine: &Engine) -> Arc<[Arc<Fault>]> {
        let epoch = engine.epoch();
        if let Some((known, faults)) = &self.names().matching {
            if *known == epoch {
                return faults.clone();
            }
        }
        let faults = engine.matching(&self.paths());
        self.names().matching = Some((epoch, faults.clone()));
        faults
    }
}

struct Entry {
    node: Arc<Node>,
    lookups: u64,
}

struct Table {
    by_id: HashMap<u64, Entry>,
    by_key: HashMap<Key, u64>,
    next_id: u64,
    devices: Vec<u64>,
}

pub struct Nodes {
    root: Arc<Node>,
    table: Mutex<Table>,
    any_linked: AtomicBool,
}

impl Nodes {
    pub fn new(root: OwnedFd, stat: &libc::stat) -> Self {
        let root = Arc::new(Node::new(ROOT_ID, root, stat));
        let mut by_id = HashMap::new();
        by_id.insert(ROOT_ID, Entry { node: root.clone(), lookups: 1 });
        let by_key = HashMap::from([(root.key, ROOT_ID)]);
        let table = Table { by_id, by_key, next_id: ROOT_ID + 1, devices: vec![root.key.dev] };
        Nodes { root, table: Mutex::new(table), any_linked: AtomicBool::new(false) }
    }

    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, id: u64) -> Sys<Arc<Node>> {
        if id == ROOT_ID {
            return Ok(self.root.clone());
        }
        self.table().by_id.get(&id).map(|entry| entry.node.clone()).ok_or(Errno(libc::ESTALE))
    }

    pub fn find(&self, key: Key) -> Option<Arc<Node>> {
        let table = self.table();
        let id = table.by_key.get(&key)?;
        table.by_id.get(id).map(|entry| entry.node.clone())
    }

    /// Whether a file was ever known that has several names.
    pub fn any_linked(&self) -> bool {
        self.any_linked.load(Ordering::Relaxed)
    }

    /// The node of an open file, which the kernel will know once more.
    pub fn adopt(&self, fd: OwnedFd, stat: &libc::stat) -> Arc<Node> {
        if stat.st_nlink > 1 && stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
            self.any_linked.store(true, Ordering::Relaxed);
        }
        let mut guard = self.table();
        let table = &mut *guard;
        let key = Key::of(stat);
        if let Some(entry) = table.by_key.get(&key).and_then(|id| table.by_id.get_mut(id)) {
            entry.lookups += 1;
            let node = entry.node.clone();
            drop(guard);
            return node;
        }
        let id = table.next_id;
        table.next_id += 1;
        let node = Arc::new(Node::new(id, fd, stat));
        table.by_key.insert(key, id);
        table.by_id.insert(id, Entry { node: node.clone(), lookups: 1 });
        node
    }

    /// The kernel forgets some of its lookups of a node.
    pub fn forget(&self, id: u64, lookups: u64) {
        let mut table = self.table();
        let Some(entry) = table.by_id.get_mut(&id).filter(|_| id != ROOT_ID) else { return };
        entry.lookups = entry.lookups.saturating_sub(lookups);
        if entry.lookups == 0 {
            let gone = table.by_id.remove(&id);
            if let Some(key) = gone.as_ref().map(|entry| entry.node.key) {
                if table.by_key.get(&key) == Some(&id) {
                    table.by_key.remove(&key);
                }
            }
            drop(table);
        }
    }

    /// The files known longest that nobody has open, for the kernel to forget.
    pub fn idle(&self, most: usize) -> Vec<Arc<Node>> {
        let table = self.table();
        let idle = |node: &&Arc<Node>| node.open.load(Ordering::Relaxed) == 0 && node.id != ROOT_ID;
        let mut idle: Vec<_> = table.by_id.values().map(|entry| &entry.node).filter(idle).cloned().collect();
        idle.sort_unstable_by_key(|node| node.id);
        idle.truncate(most);
        idle
    }

    /// From now on the file is another one to the kernel: what it cached of this one, such as its
    /// size, cannot be corrected otherwise.
    pub fn renew(&self, node: &Node) {
        let mut table = self.table();
        if table.by_key.get(&node.key) == Some(&node.id) {
            table.by_key.remove(&node.key);
        }
    }

    pub fn count(&self) -> usize {
        self.table().by_id.len()
    }

    pub fn all(&self) -> Vec<Arc<Node>> {
        self.table().by_id.values().map(|entry| entry.node.clone()).collect()
    }

    /// An inode number that no two files of the mount share, however many devices the target spans.
    pub fn visible_ino(&self, key: Key) -> u64 {
        if key.dev == self.root.key.dev {
            return key.ino;
        }
        let mut table = self.table();
        let known = table.devices.iter().position(|dev| *dev == key.dev);
        let index = known.unwrap_or_else(|| {
            table.devices.push(key.dev);
            table.devices.len() - 1
        });
        key.ino ^ ((index as u64) << 48)
    }
}

impl Node {
    pub fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.cached.store(true, Ordering::Relaxed);
    }

    pub fn take_reader(&self) -> Option<Arc<OwnedFd>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn keep_reader(&self, fd: Arc<OwnedFd>) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(fd);
    }

    pub fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    fn open(path: &str) -> (OwnedFd, libc::stat) {
        let fd = sys::open(OsStr::new(path), libc::O_PATH).unwrap();
        let stat = sys::stat(fd.as_fd()).unwrap();
        (fd, stat)
    }

    fn table() -> Nodes {
        let (fd, stat) = open("/");
        Nodes::new(fd, &stat)
    }

    fn adopt(nodes: &Nodes, path: &str) -> Arc<Node> {
        let (fd, stat) = open(path);
        nodes.adopt(fd, &stat)
    }

    #[test]
    fn a_node_lives_as_long_as_the_kernel_knows_it() {
        let nodes = table();
        let first = adopt(&nodes, "/usr");
        assert_eq!(adopt(&nodes, "/usr").id, first.id);
        nodes.forget(first.id, 1);
        assert!(nodes.get(first.id).is_ok());
        nodes.forget(first.id, 1);
        assert_eq!(nodes.get(first.id).err(), Some(Errno(libc::ESTALE)));
        assert_ne!(adopt(&nodes, "/usr").id, first.id);
    }

    #[test]
    fn paths_follow_renamed_directories() {
        let nodes = table();
        let (dir, file) = (adopt(&nodes, "/usr"), adopt(&nodes, "/proc/self/status"));
        dir.add_name(nodes.root(), OsStr::new("old"));
        file.add_name(&dir, OsStr::new("f"));
        assert_eq!(file.paths(), [b"/old/f"]);
        dir.add_name(nodes.root(), OsStr::new("new"));
        assert_eq!(file.paths(), [b"/new/f"]);
    }

    #[test]
    fn a_file_without_a_name_is_its_directory_s_until_it_has_one() {
        let nodes = table();
        let (dir, file) = (adopt(&nodes, "/usr"), adopt(&nodes, "/proc/self/status"));
        dir.add_name(nodes.root(), OsStr::new("wal"));
        file.made_without_name(&dir);
        assert_eq!(file.paths(), [b"/wal/"]);
        file.add_name(nodes.root(), OsStr::new("f"));
        assert_eq!(file.paths(), [b"/f"]);
    }

    #[test]
    fn a_linked_file_has_all_its_names_and_a_deleted_one_its_last() {
        let nodes = table();
        let file = adopt(&nodes, "/proc/self/status");
        file.add_name(nodes.root(), OsStr::new("a"));
        file.add_name(nodes.root(), OsStr::new("b"));
        assert_eq!(file.paths(), [b"/a", b"/b"]);
        file.remove_name(nodes.root(), OsStr::new("a"));
        file.remove_name(nodes.root(), OsStr::new("b"));
        assert_eq!(file.paths(), [b"/b"]);
    }
}
