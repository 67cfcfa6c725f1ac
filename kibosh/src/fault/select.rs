//! Path, user and process selectors.

use std::fs;

use glob::MatchOptions;

use super::operation::Operation;
use super::spec::Select;

/// Who made a call, as the kernel says; the thread is 0 when it lives in another pid namespace.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller {
    pub uid: u32,
    pub thread: u32,
}

impl Select {
    /// `path` begins with `/`, the root of the mount.
    pub fn selects_path(&self, path: &[u8]) -> bool {
        path.starts_with(self.prefix.as_bytes())
            && path.ends_with(self.suffix.as_bytes())
            && self.glob.as_ref().is_none_or(|glob| {
                let options = MatchOptions {
                    case_sensitive: true,
                    require_literal_separator: true,
                    require_literal_leading_dot: false,
                };
                glob.matches_with(&String::from_utf8_lossy(path), options)
            })
    }

    pub fn selects(&self, operation: Operation, caller: &Caller) -> bool {
        self.operations.has(operation)
            && self.uid.is_none_or(|uid| uid == caller.uid)
            && self.process.as_ref().is_none_or(|name| caller.is_named(name))
    }
}

impl Caller {
    /// The process the calling thread belongs to.
    pub fn process(&self) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.thread)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
        line.trim().parse().ok()
    }

    /// Whether the thread or its process has this name (at most 15 bytes count, as in `ps`).
    fn is_named(&self, name: &str) -> bool {
        let name = &name.as_bytes()[..name.len().min(15)];
        let has =
            |id: u32| fs::read(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.trim_ascii_end() == name);
        self.thread != 0 && (has(self.thread) || self.process().is_some_and(has))
    }
}
