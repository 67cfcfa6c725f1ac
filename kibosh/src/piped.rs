//! Large writes taken in by reference: the kernel's pages go through a pipe to the file, and nobody reads
//! what they hold.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::abi;
use crate::aligned::Aligned;
use crate::channel::Channel;
use crate::request;
use crate::sys::{self, Errno, Sys};

/// What stands before the data of a WRITE.
pub const BEFORE_DATA: usize = size_of::<abi::InHeader>() + size_of::<abi::WriteIn>();
/// The most bytes in pages that a pipe has room for without privileges, as `/proc/sys/fs/pipe-max-size` says
/// unless changed.
pub const LARGEST_PIPE: usize = 1 << 20;
/// From this size on a WRITE's data is worth two more system calls.
const LARGE: u32 = 128 << 10;

/// Where a thread takes requests in. Large writes come one after the other, so that the one after a large
/// one is awaited with a pipe, and all others by reading.
pub struct Inlet {
    buffer: Aligned,
    pipe: Option<Pipe>,
    streaming: bool,
    most: usize,
}

impl Inlet {
    /// For requests with up to `most` bytes of data.
    pub fn new(most: usize) -> Self {
        Inlet { buffer: Aligned::new(BEFORE_DATA, most), pipe: None, streaming: false, most }
    }

    /// The next request; none when the mount is gone. A large WRITE's data may be in the pipe.
    pub fn receive(&mut self, channel: &Channel) -> Sys<Option<(&[u8], Option<&mut Pipe>)>> {
        self.pipe.take_if(|pipe| pipe.held > 0);
        let pipe = self.pipe.as_mut().filter(|_| self.streaming);
        let Some(size) = channel.receive(self.buffer.room(), pipe)? else { return Ok(None) };
        let bytes = &self.buffer.room()[..size];
        self.streaming = is_large(bytes);
        if self.streaming && self.pipe.is_none() {
            self.pipe = Pipe::new(self.most).inspect_err(|errno| log::debug!("no pipe: {errno}")).ok();
        }
        Ok(Some((bytes, self.pipe.as_mut().filter(|pipe| pipe.held > 0))))
    }
}

/// Whether what was received is a large WRITE, or the beginning of one.
fn is_large(bytes: &[u8]) -> bool {
    request::write_of(bytes).is_some_and(|(_, arg)| arg.size >= LARGE)
}

/// A pipe with room for one request.
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    room: usize,
    /// Bytes of a WRITE's data that nobody has taken out yet.
    held: usize,
}

impl Pipe {
    /// For requests with up to `most` bytes of data. EPERM where pipes may not be as large as that.
    pub fn new(most: usize) -> Sys<Self> {
        let room = BEFORE_DATA + most;
        let (out, into) = sys::pipe(room)?;
        Ok(Pipe { out, into, room, held: 0 })
    }

    /// Takes the next request in; its length in `buffer`, where a large WRITE's data is missing.
    pub fn receive(&mut self, device: BorrowedFd, buffer: &mut [u8]) -> Sys<usize> {
        self.held = sys::splice_to_pipe(device, self.into.as_fd(), self.room)?;
        let before = self.held.min(BEFORE_DATA);
        self.read(&mut buffer[..before])?;
        if self.held == 0 || is_large(&buffer[..before]) {
            return Ok(before);
        }
        let size = before + self.held;
        self.read(buffer.get_mut(before..size).ok_or(Errno(libc::EMSGSIZE))?)?;
        Ok(size)
    }

    /// Reads the data too, which `use_whole` gets behind the request's `beginning`.
    pub fn read_rest(&mut self, beginning: &[u8], use_whole: impl FnOnce(&[u8])) -> Sys<()> {
        let size = beginning.len() + self.held;
        let mut buffer = Aligned::new(BEFORE_DATA, self.held);
        let whole = &mut buffer.room()[..size];
        whole[..beginning.len()].copy_from_slice(beginning);
        self.read(&mut whole[beginning.len()..])?;
        use_whole(whole);
        Ok(())
    }

    /// Fills `buffer` with what comes next.
    fn read(&mut self, mut buffer: &mut [u8]) -> Sys<()> {
        while !buffer.is_empty() {
            match sys::read(self.out.as_fd(), buffer) {
                Ok(0) => return Err(Errno(libc::EIO)),
                Ok(size) => {
                    self.held = self.held.saturating_sub(size);
                    buffer = &mut buffer[size..];
                }
                Err(Errno(libc::EINTR)) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Writes all that is held to a file at `at`, or as much as there was room for.
    pub fn write_to(&mut self, file: BorrowedFd, at: u64) -> Sys<usize> {
        let mut done = 0;
        while self.held > 0 {
            match sys::splice_to_file(self.out.as_fd(), file, at + done as u64, self.held) {
                Ok(0) => break,
                Ok(size) => (self.held, done) = (self.held.saturating_sub(size), done + size),
                Err(Errno(libc::EINTR)) => {}
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use zerocopy::IntoBytes;

    fn unnamed() -> File {
        let fd = sys::open_tmpfile(
            sys::open(std::env::temp_dir().as_os_str(), libc::O_PATH).unwrap().as_fd(),
            libc::O_RDWR,
            0o600,
        );
        fd.unwrap().into()
    }

    /// A file that is read as the kernel's device would be.
    fn device(size: usize) -> (File, Vec<u8>) {
        let arg = abi::WriteIn { size: size as u32, ..Default::default() };
        let len = (BEFORE_DATA + size) as u32;
        let head = abi::InHeader { len, opcode: abi::op::WRITE, unique: 1, ..Default::default() };
        let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let request = [head.as_bytes(), arg.as_bytes(), &data].concat();
        let mut file = unnamed();
        file.write_all(&request).unwrap();
        file.rewind().unwrap();
        (file, request)
    }

    #[test]
    fn a_small_write_is_read_whole() {
        let mut buffer = vec![0; 1 << 20];
        let (file, request) = device(LARGE as usize - 1);
        let mut pipe = Pipe::new(LARGE as usize).unwrap();
        let size = pipe.receive(file.as_fd(), &mut buffer).unwrap();
        assert!(buffer[..size] == request && pipe.held == 0);
    }

    #[test]
    fn a_large_one_s_data_goes_to_its_file_or_is_read_after_all() {
        let mut buffer = vec![0; 1 << 20];
        let mut pipe = Pipe::new(LARGEST_PIPE - 4096).unwrap();
        let (file, request) = device(LARGE as usize + 1);
        assert_eq!(pipe.receive(file.as_fd(), &mut buffer), Ok(BEFORE_DATA));
        let mut target = unnamed();
        assert_eq!(pipe.write_to(target.as_fd(), 3), Ok(LARGE as usize + 1));
        let mut found = Vec::new();
        target.read_to_end(&mut found).unwrap();
        assert!(found[3..] == request[BEFORE_DATA..] && pipe.held == 0);

        let (file, request) = device(LARGE as usize + 1);
        assert_eq!(pipe.receive(file.as_fd(), &mut buffer), Ok(BEFORE_DATA));
        let read = pipe.read_rest(&buffer[..BEFORE_DATA], |whole| assert!(whole == request));
        assert!(read.is_ok() && pipe.held == 0);
    }
}
