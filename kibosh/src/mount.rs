//! Mounting and unmounting.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::sys::{self, Errno, Sys};

/// What mount(2) is told besides.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Let other users in.
    pub allow_other: bool,
    /// FUSE's and the kernel's own, such as `ro`, `noatime`, `dev`, `suid`, `fsname=…`.
    pub extra: Vec<String>,
}

impl Options {
    /// The flags of mount(2) that the options stand for, and those left.
    fn split(&self) -> (u64, Vec<&str>) {
        let mut flags = libc::MS_NOSUID | libc::MS_NODEV;
        let mut rest = Vec::new();
        for option in &self.extra {
            match option.as_str() {
                "suid" => flags &= !libc::MS_NOSUID,
                "dev" => flags &= !libc::MS_NODEV,
                "nosuid" | "nodev" | "rw" | "exec" | "default_permissions" => {}
                "ro" => flags |= libc::MS_RDONLY,
                "noexec" => flags |= libc::MS_NOEXEC,
                "noatime" => flags |= libc::MS_NOATIME,
                "sync" => flags |= libc::MS_SYNCHRONOUS,
                "dirsync" => flags |= libc::MS_DIRSYNC,
                "allow_other" => {}
                other if other.starts_with("fsname=") || other.starts_with("subtype=") => {}
                other => rest.push(other),
            }
        }
        (flags, rest)
    }

    fn lets_others_in(&self) -> bool {
        self.allow_other || self.extra.iter().any(|option| option == "allow_other")
    }
}

/// Mounts at `point` and returns the connection to the kernel.
pub fn mount(point: &Path, source: &OsStr, options: &Options) -> io::Result<OwnedFd> {
    if sys::own_uid() != 0 {
        return mount_as_user(point, options);
    }
    mount_as_root(point, source, options).map_err(Errno::into)
}

fn mount_as_root(point: &Path, source: &OsStr, options: &Options) -> Sys<OwnedFd> {
    let device = sys::open(OsStr::new("/dev/fuse"), libc::O_RDWR)?;
    let (flags, rest) = options.split();
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        sys::own_uid(),
        sys::own_gid()
    );
    if options.lets_others_in() {
        data.push_str(",allow_other");
    }
    for option in rest {
        data.push(',');
        data.push_str(option);
    }
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno(libc::EINVAL));
    let (source, target) = (text(source.as_bytes())?, text(point.as_os_str().as_bytes())?);
    sys::mount(&source, &target, c"fuse.kibosh", flags, &text(data.as_bytes())?)?;
    Ok(device)
}

/// Others than root mount through fusermount3, which is set-uid.
fn mount_as_user(point: &Path, options: &Options) -> io::Result<OwnedFd> {
    let (ours, theirs) = sys::raw_socket_pair()?;
    let mut given = vec!["fsname=kibosh".to_string(), "subtype=kibosh".into(), "default_permissions".into()];
    if options.lets_others_in() {
        given.push("allow_other".into());
    }
    given.extend(options.extra.iter().filter(|option| *option != "allow_other").cloned());
    let mut command = Command::new("fusermount3");
    command.arg("-o").arg(given.join(",")).arg("--").arg(point);
    command.env("_FUSE_COMMFD", theirs.as_raw_fd().to_string());
    let done = command.output().map_err(|error| {
        io::Error::new(error.kind(), format!("fusermount3, by which others than root mount: {error}"))
    })?;
    drop(theirs);
    if !done.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).trim().to_string()));
    }
    sys::receive_descriptor(ours.as_fd()).map_err(Errno::into)
}

/// Unmounts. A mount in use is detached instead, which is told by `true`.
pub fn unmount(point: &Path) -> Sys<bool> {
    if sys::own_uid() == 0 {
        return match sys::unmount(point.as_os_str(), 0) {
            Err(Errno(libc::EBUSY)) => sys::unmount(point.as_os_str(), libc::MNT_DETACH).map(|()| true),
            result => result.map(|()| false),
        };
    }
    let unmount = |how: &str| {
        let status = Command::new("fusermount3").args([how, "-u", "--"]).arg(point).status();
        status.map(|status| status.success()).map_err(|_| Errno(libc::ENOENT))
    };
    if unmount("-q")? {
        return Ok(false);
    }
    if unmount("-z")? { Ok(true) } else { Err(Errno(libc::EBUSY)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags_or_are_passed_on() {
        let extra = ["ro", "suid", "max_read=4096", "fsname=x"].map(String::from).to_vec();
        let options = Options { allow_other: false, extra };
        assert_eq!(options.split(), (libc::MS_NODEV | libc::MS_RDONLY, vec!["max_read=4096"]));
    }
}
