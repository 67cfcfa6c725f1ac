//! The operations a fault can name, and sets of them.

/// What a process asks of a file system, under the name of its system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    Lookup,
    Open,
    Create,
    Read,
    Write,
    Fsync,
    Close,
    Rename,
    Unlink,
    Mkdir,
    Rmdir,
    Readdir,
    Getattr,
    Setattr,
    Truncate,
    Fallocate,
    Link,
    Symlink,
    Mknod,
    Readlink,
    Statfs,
    Getxattr,
    Setxattr,
    Listxattr,
    Removexattr,
    Lseek,
}

use Operation::*;

const NAMES: [(&str, Operation); 26] = [
    ("lookup", Lookup),
    ("open", Open),
    ("create", Create),
    ("read", Read),
    ("write", Write),
    ("fsync", Fsync),
    ("close", Close),
    ("rename", Rename),
    ("unlink", Unlink),
    ("mkdir", Mkdir),
    ("rmdir", Rmdir),
    ("readdir", Readdir),
    ("getattr", Getattr),
    ("setattr", Setattr),
    ("truncate", Truncate),
    ("fallocate", Fallocate),
    ("link", Link),
    ("symlink", Symlink),
    ("mknod", Mknod),
    ("readlink", Readlink),
    ("statfs", Statfs),
    ("getxattr", Getxattr),
    ("setxattr", Setxattr),
    ("listxattr", Listxattr),
    ("removexattr", Removexattr),
    ("lseek", Lseek),
];

impl Operation {
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, operation)| *operation)
    }

    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operations(u32);

impl Operations {
    pub const NONE: Self = Operations(0);

    pub const fn of(operations: &[Operation]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < operations.len() {
            set |= 1 << operations[at] as u8;
            at += 1;
        }
        Operations(set)
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    pub const fn from_bits(bits: u32) -> Self {
        Operations(bits)
    }

    pub fn insert(&mut self, operation: Operation) {
        self.0 |= 1 << operation as u8;
    }

    pub fn has(self, operation: Operation) -> bool {
        self.0 & (1 << operation as u8) != 0
    }

    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn union(self, other: Self) -> Self {
        Operations(self.0 | other.0)
    }
}
