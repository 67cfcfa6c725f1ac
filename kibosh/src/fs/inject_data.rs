//! Where faults meet reads and writes.
//!
//! They are decided once for each system call: at the gate where there is one (see `gate`), else as
//! their data passes.

use std::sync::atomic::Ordering;

use crate::abi::{self, InHeader};
use crate::fault::{Operation, Operations};
use crate::gate::{self, Access};
use crate::nodes::Node;
use crate::timer::Wakeup;

use super::Fs;
use super::handles::{File, Handle};
use super::inject::{Faults, PROCEED, SHOW_AFTER, Verdict, size_of};

const DATA: Operations = Operations::of(&[Operation::Read, Operation::Write, Operation::Lseek]);

impl Fs {
    /// The kernel asks about an open file before a system call on it.
    pub(super) fn at_gate(&self, head: &InHeader, fh: u64) -> Verdict {
        let Ok(handle) = self.handles.get(fh) else { return PROCEED };
        let Handle::File(file) = &*handle else { return PROCEED };
        let node = &file.node;
        let faults = node.faults(&self.engine);
        if !faults.iter().any(|fault| fault.spec.select.operations.meets(DATA)) {
            return PROCEED;
        }
        self.show_writes(node);
        let size = if file.appends() { size_of(node) } else { 0 };
        let access = match gate::access(head.pid, file.appends(), size) {
            Access::Unknown | Access::Fault if !file.writable() => Access::Read(None),
            Access::Unknown | Access::Fault if file.flags & libc::O_ACCMODE == libc::O_WRONLY => {
                Access::Write(None)
            }
            Access::Copy => Access::Write(None),
            access => access,
        };
        match access {
            Access::Read(span) => self.gate_read(head, node, span, &faults),
            Access::Write(span) if self.fast() => self.gate_write(head, node, span, &faults),
            Access::Write(_) => PROCEED,
            Access::Other | Access::Copy => {
                match self.decide(head, Operation::Lseek, Some(node), None, 0, &faults) {
                    Some(fired) => self.carry_out(fired, head),
                    None => PROCEED,
                }
            }
            Access::Unknown | Access::Fault => match self.gate_write(head, node, None, &faults) {
                Verdict::Proceed(_) => self.gate_read(head, node, None, &faults),
                verdict => verdict,
            },
        }
    }

    fn gate_read(&self, head: &InHeader, node: &Node, span: Option<(u64, u64)>, faults: &Faults) -> Verdict {
        let epoch = self.engine.epoch();
        let fired = self.decide(head, Operation::Read, Some(node), span, 0, faults);
        let verdict = fired.map_or(PROCEED, |fired| self.carry_out(fired, head));
        match verdict {
            Verdict::Proceed(Some(mangle)) => {
                node.writes().plan_read(epoch, head.pid, Some(mangle));
                self.channel.drop_pages(node.id, 0, None);
                PROCEED
            }
            verdict => {
                node.writes().plan_read(epoch, head.pid, None);
                verdict
            }
        }
    }

    fn gate_write(&self, head: &InHeader, node: &Node, span: Option<(u64, u64)>, faults: &Faults) -> Verdict {
        let epoch = self.engine.epoch();
        let growth = node.writes().growth(epoch, span, size_of(node));
        let fired = self.decide(head, Operation::Write, Some(node), span, growth, faults);
        match fired.map_or(PROCEED, |fired| self.carry_out(fired, head)) {
            Verdict::Proceed(mangle) => {
                if mangle.is_some() {
                    self.timer.wake_after(SHOW_AFTER, Wakeup::ShowWrites(node.id, 0));
                }
                node.writes().plan(epoch, span, mangle);
                PROCEED
            }
            Verdict::Hold(delay, fault) => {
                node.writes().plan(epoch, span, None);
                Verdict::Hold(delay, fault)
            }
            verdict => verdict,
        }
    }

    pub(super) fn at_read(&self, head: &InHeader, file: &File, span: (u64, u64)) -> Verdict {
        let node = &file.node;
        let faults = node.faults(&self.engine);
        if !faults.iter().any(|fault| fault.spec.select.operations.has(Operation::Read)) {
            return PROCEED;
        }
        match gate::access(head.pid, false, 0) {
            Access::Read(_) => {
                let decided = node.writes().decided_read(self.engine.epoch(), head.pid);
                if let Some(mangle) = decided {
                    return Verdict::Proceed(mangle);
                }
            }
            // The kernel reads the rest of a page of which a part is being written.
            Access::Write(_) if file.writable() => return PROCEED,
            _ => {}
        }
        node.writes().hide();
        let fired = self.decide(head, Operation::Read, Some(node), Some(span), 0, &faults);
        let verdict = fired.map_or(PROCEED, |fired| self.carry_out(fired, head));
        // What a mapping or a splice has read must be asked for again at its next use; but not while it
        // is held back, or the mapping would find its page gone and ask anew.
        if !matches!(verdict, Verdict::Hold(..)) {
            self.timer.wake_after(SHOW_AFTER, Wakeup::ShowWrites(node.id, 0));
        }
        verdict
    }

    pub(super) fn at_write(&self, head: &InHeader, file: &File, arg: &abi::WriteIn) -> Verdict {
        let (node, span) = (&file.node, (arg.offset, u64::from(arg.size)));
        let faults = node.faults(&self.engine);
        if !faults.iter().any(|fault| fault.spec.select.operations.has(Operation::Write)) {
            return PROCEED;
        }
        let decided = node.writes().decided(self.engine.epoch(), span.0, span.1);
        if let Some(mangle) = decided.filter(|_| self.fast()) {
            return Verdict::Proceed(mangle);
        }
        let growth = (span.0 + span.1).saturating_sub(size_of(node));
        let fired = self.decide(head, Operation::Write, Some(node), Some(span), growth, &faults);
        let verdict = fired.map_or(PROCEED, |fired| self.carry_out(fired, head));
        let written_back = arg.write_flags & abi::WRITE_CACHE != 0;
        match verdict {
            Verdict::Proceed(Some(_)) => {
                node.writes().hide();
                self.timer.wake_after(SHOW_AFTER, Wakeup::ShowWrites(node.id, 0));
                verdict
            }
            // A store to a mapped page that is written back because we asked for it, and wait.
            Verdict::Hold(..) if written_back && node.dropping.load(Ordering::Acquire) > 0 => PROCEED,
            _ => verdict,
        }
    }

    pub(super) fn at_copy(&self, head: &InHeader, arg: &abi::CopyFileRangeIn) -> Verdict {
        let ends = [(Operation::Read, arg.fh_in, arg.off_in), (Operation::Write, arg.fh_out, arg.off_out)];
        for (operation, fh, offset) in ends {
            let Ok(handle) = self.handles.get(fh) else { continue };
            let Handle::File(file) = &*handle else { continue };
            let faults = file.node.faults(&self.engine);
            let growth = (offset + arg.len).saturating_sub(size_of(&file.node));
            let span = Some((offset, arg.len));
            let Some(fired) = self.decide(head, operation, Some(&file.node), span, growth, &faults) else {
                continue;
            };
            match self.carry_out(fired, head) {
                // The data does not pass through here; the caller falls back to reading and writing it.
                Verdict::Proceed(Some(_)) => return Verdict::Fail(libc::EOPNOTSUPP),
                verdict => return verdict,
            }
        }
        PROCEED
    }
}
