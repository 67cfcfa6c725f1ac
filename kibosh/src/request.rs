//! From the bytes of one read(2) of `/dev/fuse` to a typed request. Nothing in them is trusted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::abi::{self, InHeader, op};

/// One request of the kernel, borrowed from the buffer it was read into.
#[derive(Debug)]
pub struct Request<'a> {
    pub head: InHeader,
    pub body: Body<'a>,
}

#[derive(Debug)]
pub enum Body<'a> {
    Init(abi::InitIn),
    Destroy,
    Lookup { name: &'a OsStr },
    Forget { nlookup: u64 },
    BatchForget(Vec<abi::ForgetOne>),
    Getattr(abi::GetattrIn),
    Statx(abi::StatxIn),
    Setattr(abi::SetattrIn),
    Readlink,
    Symlink { name: &'a OsStr, target: &'a OsStr },
    Mknod { arg: abi::MknodIn, name: &'a OsStr },
    Mkdir { arg: abi::MkdirIn, name: &'a OsStr },
    Unlink { name: &'a OsStr },
    Rmdir { name: &'a OsStr },
    Rename { newdir: u64, flags: u32, from: &'a OsStr, to: &'a OsStr },
    Link { oldnode: u64, name: &'a OsStr },
    Open(abi::OpenIn),
    Create { arg: abi::CreateIn, name: &'a OsStr },
    Tmpfile { arg: abi::CreateIn },
    Read(abi::ReadIn),
    Write { arg: abi::WriteIn, data: &'a [u8] },
    Statfs,
    Release(abi::ReleaseIn),
    Fsync(abi::FsyncIn),
    Flush(abi::FlushIn),
    Setxattr { arg: abi::SetxattrIn, name: &'a OsStr, value: &'a [u8] },
    Getxattr { size: u32, name: &'a OsStr },
    Listxattr { size: u32 },
    Removexattr { name: &'a OsStr },
    Opendir(abi::OpenIn),
    Readdir { arg: abi::ReadIn, plus: bool },
    Releasedir(abi::ReleaseIn),
    Fsyncdir(abi::FsyncIn),
    Access { mask: u32 },
    Interrupt { unique: u64 },
    Fallocate(abi::FallocateIn),
    Lseek(abi::LseekIn),
    CopyFileRange { arg: abi::CopyFileRangeIn, wide: bool },
    Syncfs,
}

/// Why bytes are no request. `unique` is 0 when there is nobody to answer.
#[derive(Debug, PartialEq, Eq)]
pub struct BadRequest {
    pub unique: u64,
    pub errno: i32,
    pub why: &'static str,
}

/// Parses one request. An unknown operation is `ENOSYS`, anything malformed `EINVAL`.
pub fn parse(bytes: &[u8]) -> Result<Request<'_>, BadRequest> {
    let bad = |unique, errno, why| BadRequest { unique, errno, why };
    let (head, rest) = InHeader::read_from_prefix(bytes).map_err(|_| bad(0, libc::EINVAL, "short header"))?;
    if head.len as usize != bytes.len() {
        return Err(bad(head.unique, libc::EINVAL, "length field differs from what was read"));
    }
    let extensions = usize::from(head.total_extlen) * 8;
    let Some(size) = rest.len().checked_sub(extensions) else {
        return Err(bad(head.unique, libc::EINVAL, "extensions longer than the request"));
    };
    let mut args = Args { rest: &rest[..size] };
    match body(head.opcode, &mut args) {
        Ok(Some(body)) => Ok(Request { head, body }),
        Ok(None) => Err(bad(head.unique, libc::ENOSYS, "unknown operation")),
        Err(why) => Err(bad(head.unique, libc::EINVAL, why)),
    }
}

/// The arguments of a WRITE, whether its data is there or not.
pub fn write_of(bytes: &[u8]) -> Option<(InHeader, abi::WriteIn)> {
    let (head, rest) = InHeader::read_from_prefix(bytes).ok()?;
    let (arg, _) = abi::WriteIn::read_from_prefix(rest).ok().filter(|_| head.opcode == op::WRITE)?;
    let size = size_of::<InHeader>() + size_of::<abi::WriteIn>() + arg.size as usize;
    (head.len as usize == size).then_some((head, arg))
}

/// The number by which a request is answered; none if nobody waits for that.
pub fn number(bytes: &[u8]) -> Option<u64> {
    InHeader::read_from_prefix(bytes).ok().map(|(head, _)| head.unique).filter(|unique| *unique != 0)
}

/// The thread that made a request, 0 if none is known.
pub fn caller(bytes: &[u8]) -> u32 {
    InHeader::read_from_prefix(bytes).map_or(0, |(head, _)| head.pid)
}

type Parsed<T> = Result<T, &'static str>;

fn body<'a>(opcode: u32, args: &mut Args<'a>) -> Parsed<Option<Body<'a>>> {
    Ok(Some(match opcode {
        op::INIT => Body::Init(args.init()?),
        op::DESTROY => Body::Destroy,
        op::FORGET => Body::Forget { nlookup: args.take::<abi::ForgetIn>()?.nlookup },
        op::BATCH_FORGET => Body::BatchForget(args.forgets()?),
        op::INTERRUPT => Body::Interrupt { unique: args.take::<abi::InterruptIn>()?.unique },
        op::STATFS => Body::Statfs,
        op::SYNCFS => Body::Syncfs,
        op::GETATTR => Body::Getattr(args.take()?),
        op::STATX => Body::Statx(args.take()?),
        op::SETATTR => Body::Setattr(args.take()?),
        op::ACCESS => Body::Access { mask: args.take::<abi::AccessIn>()?.mask },
        op::SETXATTR => {
            let arg: abi::SetxattrIn = args.take()?;
            Body::Setxattr { arg, name: args.name()?, value: args.data(arg.size)? }
        }
        op::GETXATTR => Body::Getxattr { size: args.take::<abi::GetxattrIn>()?.size, name: args.name()? },
        op::LISTXATTR => Body::Listxattr { size: args.take::<abi::GetxattrIn>()?.size },
        op::REMOVEXATTR => Body::Removexattr { name: args.name()? },
        _ => match names_body(opcode, args)? {
            Some(body) => body,
            None => return file_body(opcode, args),
        },
    }))
}

fn names_body<'a>(opcode: u32, args: &mut Args<'a>) -> Parsed<Option<Body<'a>>> {
    Ok(Some(match opcode {
        op::LOOKUP => Body::Lookup { name: args.name()? },
        op::READLINK => Body::Readlink,
        op::SYMLINK => Body::Symlink { name: args.name()?, target: args.name()? },
        op::MKNOD => Body::Mknod { arg: args.take()?, name: args.name()? },
        op::MKDIR => Body::Mkdir { arg: args.take()?, name: args.name()? },
        op::UNLINK => Body::Unlink { name: args.name()? },
        op::RMDIR => Body::Rmdir { name: args.name()? },
        op::RENAME => {
            let arg: abi::RenameIn = args.take()?;
            Body::Rename { newdir: arg.newdir, flags: 0, from: args.name()?, to: args.name()? }
        }
        op::RENAME2 => {
            let arg: abi::Rename2In = args.take()?;
            Body::Rename { newdir: arg.newdir, flags: arg.flags, from: args.name()?, to: args.name()? }
        }
        op::LINK => Body::Link { oldnode: args.take::<abi::LinkIn>()?.oldnodeid, name: args.name()? },
        op::CREATE => Body::Create { arg: args.take()?, name: args.name()? },
        op::TMPFILE => Body::Tmpfile { arg: args.take()? },
        _ => return Ok(None),
    }))
}

fn file_body<'a>(opcode: u32, args: &mut Args<'a>) -> Parsed<Option<Body<'a>>> {
    Ok(Some(match opcode {
        op::OPEN => Body::Open(args.take()?),
        op::READ => Body::Read(args.take()?),
        op::WRITE => {
            let arg: abi::WriteIn = args.take()?;
            Body::Write { arg, data: args.data(arg.size)? }
        }
        op::RELEASE => Body::Release(args.take()?),
        op::FSYNC => Body::Fsync(args.take()?),
        op::FLUSH => Body::Flush(args.take()?),
        op::OPENDIR => Body::Opendir(args.take()?),
        op::READDIR => Body::Readdir { arg: args.take()?, plus: false },
        op::READDIRPLUS => Body::Readdir { arg: args.take()?, plus: true },
        op::RELEASEDIR => Body::Releasedir(args.take()?),
        op::FSYNCDIR => Body::Fsyncdir(args.take()?),
        op::FALLOCATE => Body::Fallocate(args.take()?),
        op::LSEEK => Body::Lseek(args.take()?),
        op::COPY_FILE_RANGE => Body::CopyFileRange { arg: args.take()?, wide: false },
        op::COPY_FILE_RANGE_64 => Body::CopyFileRange { arg: args.take()?, wide: true },
        _ => return Ok(None),
    }))
}

/// The not yet consumed arguments of a request.
struct Args<'a> {
    rest: &'a [u8],
}

impl<'a> Args<'a> {
    fn take<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Parsed<T> {
        let (value, rest) = T::read_from_prefix(self.rest).map_err(|_| "short arguments")?;
        self.rest = rest;
        Ok(value)
    }

    /// INIT of an old kernel is shorter than ours; what it lacks is zero.
    fn init(&mut self) -> Parsed<abi::InitIn> {
        let mut whole = [0u8; size_of::<abi::InitIn>()];
        let known = self.rest.len().min(whole.len());
        if known < 16 {
            return Err("short INIT");
        }
        whole[..known].copy_from_slice(&self.rest[..known]);
        abi::InitIn::read_from_bytes(&whole).map_err(|_| "short INIT")
    }

    fn name(&mut self) -> Parsed<&'a OsStr> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or("name without its end")?;
        let name = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(OsStr::from_bytes(name))
    }

    fn data(&mut self, size: u32) -> Parsed<&'a [u8]> {
        self.rest.get(..size as usize).ok_or("less data than announced")
    }

    fn forgets(&mut self) -> Parsed<Vec<abi::ForgetOne>> {
        let count = self.take::<abi::BatchForgetIn>()?.count as usize;
        if count > self.rest.len() / size_of::<abi::ForgetOne>() {
            return Err("fewer forgets than announced");
        }
        (0..count).map(|_| self.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    pub(crate) fn bytes_of(opcode: u32, args: &[u8]) -> Vec<u8> {
        let len = (size_of::<InHeader>() + args.len()) as u32;
        let head = InHeader { len, opcode, unique: 7, nodeid: 1, ..Default::default() };
        [head.as_bytes(), args].concat()
    }

    #[test]
    fn a_rename_carries_both_names() {
        let arg = abi::Rename2In { newdir: 9, flags: 1, padding: 0 };
        let bytes = bytes_of(op::RENAME2, &[arg.as_bytes(), b"from\0to\0"].concat());
        match parse(&bytes).map(|request| format!("{:?}", request.body)) {
            Ok(text) => assert_eq!(text, "Rename { newdir: 9, flags: 1, from: \"from\", to: \"to\" }"),
            Err(bad) => panic!("{bad:?}"),
        }
    }

    #[test]
    fn every_truncation_is_an_error_and_never_a_panic() {
        let arg = abi::WriteIn { size: 5, ..Default::default() };
        let whole = bytes_of(op::WRITE, &[arg.as_bytes(), b"hello"].concat());
        assert!(parse(&whole).is_ok());
        for end in 0..whole.len() {
            let mut cut = whole[..end].to_vec();
            assert!(parse(&cut).is_err(), "length {end}");
            if cut.len() >= 4 {
                cut[..4].copy_from_slice(&(end as u32).to_ne_bytes());
                assert!(parse(&cut).is_err(), "length {end} with a matching length field");
            }
        }
    }

    #[test]
    fn an_unknown_operation_is_enosys() {
        let bytes = bytes_of(4000, b"");
        assert_eq!(parse(&bytes).map_err(|bad| bad.errno).err(), Some(libc::ENOSYS));
    }

    #[test]
    fn forgets_cannot_claim_more_than_they_bring() {
        let arg = abi::BatchForgetIn { count: u32::MAX, dummy: 0 };
        assert!(parse(&bytes_of(op::BATCH_FORGET, arg.as_bytes())).is_err());
    }
}
