//! Who uses files of the target past the mount, and so meets no fault.
//!
//! Told from `/proc` alone: nothing is opened or looked up that might hang. A file is the target's if
//! it lies, on the target's device, below the target's place there, whatever the process's namespace
//! calls it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The most processes that are told of.
const MOST_TOLD: usize = 16;
/// For so long what was found is taken for what is.
const FRESH: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_millis(200);

/// A process that has a file of the target open or mapped, not through the mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    pub pid: u32,
    pub process: String,
    pub path: String,
}

/// Looks for holders on a thread of its own, which a hung process may hold up, and keeps what it found.
pub struct Outside {
    target: Option<Place>,
    state: Mutex<State>,
    looked: Condvar,
}

#[derive(Default)]
struct State {
    at: Option<Instant>,
    looking: bool,
    holders: Vec<Holder>,
}

impl Outside {
    pub fn new(target: Option<Place>) -> Arc<Self> {
        Arc::new(Outside { target, state: Mutex::default(), looked: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks anew unless that was done a moment ago. New holders are told in the log.
    pub fn look(self: &Arc<Self>) {
        let mut state = self.state();
        if state.looking || state.at.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        let outside = self.clone();
        let looking = thread::Builder::new().name("kibosh-outside".into());
        state.looking = looking.spawn(move || outside.look_now()).is_ok();
    }

    fn look_now(&self) {
        let found = self.target.as_ref().map(Place::holders).unwrap_or_default();
        let mut state = self.state();
        for holder in found.iter().filter(|holder| !state.holders.contains(holder)) {
            let Holder { pid, process, path } = holder;
            log::warn!("{process} ({pid}) uses {path} past the mount: it meets no fault");
        }
        *state = State { at: Some(Instant::now()), looking: false, holders: found };
        self.looked.notify_all();
    }

    /// The holders of now, or those found before if it takes too long.
    pub fn holders(self: &Arc<Self>) -> Vec<Holder> {
        self.look();
        let looking = |state: &mut State| state.looking;
        let waited = self.looked.wait_timeout_while(self.state(), PATIENCE, looking);
        waited.unwrap_or_else(PoisonError::into_inner).0.holders.clone()
    }
}

/// A line of `/proc/PID/mountinfo`.
struct MountLine {
    id: u64,
    device: String,
    root: PathBuf,
    point: PathBuf,
}

/// A directory as its file system knows it.
#[derive(Debug, Clone)]
pub struct Place {
    device: String,
    path: PathBuf,
}

impl Place {
    /// Where a directory is that this process sees at `path`. To be asked before anything is mounted
    /// over it.
    pub fn of(path: &Path) -> Option<Self> {
        let path = fs::canonicalize(path).ok()?;
        let mounts = mounts_of("self")?;
        let within = |mount: &&MountLine| path.starts_with(&mount.point);
        let mount =
            mounts.iter().filter(within).max_by_key(|mount| (mount.point.as_os_str().len(), mount.id))?;
        Some(Place { device: mount.device.clone(), path: mount.on_device(&path)? })
    }

    /// Other processes that hold files of this directory, a few of them.
    pub fn holders(&self) -> Vec<Holder> {
        let own = std::process::id();
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        let mut mounts: HashMap<PathBuf, Vec<MountLine>> = HashMap::new();
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let held = pids.filter(|pid| *pid != own).filter_map(|pid: u32| {
            let namespace = fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()?;
            let known = mounts.entry(namespace);
            let mounts = known.or_insert_with(|| mounts_of(&pid.to_string()).unwrap_or_default());
            let path = self.open_in(pid, mounts).or_else(|| self.mapped_in(pid, mounts))?;
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Some(Holder { pid, process: comm.trim_end().into(), path: path.display().to_string() })
        });
        held.take(MOST_TOLD).collect()
    }

    fn open_in(&self, pid: u32, mounts: &[MountLine]) -> Option<PathBuf> {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        descriptors.flatten().find_map(|entry| {
            let path = fs::read_link(entry.path()).ok().filter(|path| path.is_absolute())?;
            let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_str()?);
            let info = fs::read_to_string(info).ok()?;
            let id: u64 = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()?;
            let mount = mounts.iter().find(|mount: &&MountLine| mount.id == id)?;
            self.has(mount, &path).then_some(path)
        })
    }

    fn mapped_in(&self, pid: u32, mounts: &[MountLine]) -> Option<PathBuf> {
        let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
        maps.split(|byte| *byte == b'\n').find_map(|line| {
            let at = line.iter().position(|byte| *byte == b'/')?;
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(&line[at..]));
            // A mapping's device is that of its file, as the mount's is; both write it in their own way.
            let device = device_of_map(line)?;
            let mount =
                mounts.iter().find(|mount| mount.device == device && path.starts_with(&mount.point))?;
            self.has(mount, &path).then_some(path)
        })
    }

    fn has(&self, mount: &MountLine, path: &Path) -> bool {
        mount.device == self.device
            && mount.on_device(path).is_some_and(|place| place.starts_with(&self.path))
    }
}

impl MountLine {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let id = words.next()?.parse().ok()?;
        let device = words.nth(1)?.to_owned();
        let (root, point) = (words.next()?, words.next()?);
        Some(MountLine { id, device, root: unescaped(root), point: unescaped(point) })
    }

    /// Where the file system has what is at `path` in the mount's namespace.
    fn on_device(&self, path: &Path) -> Option<PathBuf> {
        Some(self.root.join(path.strip_prefix(&self.point).ok()?))
    }
}

fn mounts_of(process: &str) -> Option<Vec<MountLine>> {
    let lines = fs::read_to_string(format!("/proc/{process}/mountinfo")).ok()?;
    Some(lines.lines().filter_map(MountLine::parse).collect())
}

/// `MAJOR:MINOR` as mountinfo has it, from a line of maps, where it is hexadecimal.
fn device_of_map(line: &[u8]) -> Option<String> {
    let device = std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(3)?;
    let (major, minor) = device.split_once(':')?;
    Some(format!("{}:{}", u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?))
}

/// Spaces and such are written as `\040`.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_says_where_its_files_are_on_their_device() {
        let line = "36 35 98:0 /srv/a\\040b /mnt rw,noatime master:1 - ext3 /dev/root rw";
        let mount = MountLine::parse(line).unwrap();
        assert_eq!((mount.id, mount.device.as_str()), (36, "98:0"));
        assert_eq!(mount.on_device(Path::new("/mnt/x")), Some("/srv/a b/x".into()));
        assert_eq!(mount.on_device(Path::new("/other/x")), None);
        let target = Place { device: "98:0".into(), path: "/srv".into() };
        assert!(target.has(&mount, Path::new("/mnt/x")));
        assert!(!Place { path: "/srv/c".into(), ..target }.has(&mount, Path::new("/mnt/x")));
    }

    #[test]
    fn a_mapping_names_its_device() {
        let line = b"7f00-7f01 r--p 00000000 fe:10 1234    /usr/lib/libc.so";
        assert_eq!(device_of_map(line), Some("254:16".into()));
        assert_eq!(device_of_map(b"7f00-7f01 r--p"), None);
    }
}
