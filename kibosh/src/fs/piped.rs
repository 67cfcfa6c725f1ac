//! Large writes whose data nobody has read.

use std::sync::atomic::Ordering;

use crate::abi;
use crate::fault::Operation;
use crate::piped::Pipe;
use crate::pool::Turn;
use crate::request;
use crate::sys::Sys;

use super::handles::{File, Handle};
use super::{Answer, Fs};

impl Fs {
    /// Serves a WRITE of which only the beginning was read. Its data goes straight to the file, unless a
    /// fault may want to see it.
    pub(super) fn serve_piped(&self, beginning: &[u8], pipe: &mut Pipe, turn: &mut Turn) {
        if let Some((head, mut arg)) = request::write_of(beginning) {
            self.place(&mut arg);
            if let Some(Handle::File(file)) = self.handles.get(arg.fh).ok().as_deref() {
                if self.leaves_writes_alone(file) {
                    self.served.fetch_add(1, Ordering::Relaxed);
                    return self.answer(&head, self.write_piped(file, &arg, pipe), turn);
                }
            }
        }
        if let Err(errno) = pipe.read_rest(beginning, |whole| self.serve(whole, turn, false)) {
            self.channel.reply_error(request::number(beginning).unwrap_or(0), errno.0);
        }
    }

    /// Whether nothing is done to what is written to a file. `O_DIRECT` needs data that begins where a page
    /// does.
    fn leaves_writes_alone(&self, file: &File) -> bool {
        file.uncached().is_none() && !self.meets(&file.node, Operation::Write)
    }

    fn write_piped(&self, file: &File, arg: &abi::WriteIn, pipe: &mut Pipe) -> Sys<Answer> {
        self.write_file(file, arg, |fd| pipe.write_to(fd, arg.offset))
    }
}
