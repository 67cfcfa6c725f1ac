//! Keeping a reader on its caller's CPU.
//!
//! A caller sleeps until it is answered. A reader on the same CPU then costs two switches; on another
//! one, each way wakes a CPU, which takes many times as long where CPUs are virtual. So while one
//! thread makes all the requests, the reader goes where that thread was last; else it is free.

use std::fs;

use crate::sys::CpuSet;

/// Looking up where a thread was costs as much as serving a request.
const LOOK_EVERY: u32 = 128;

#[derive(Default)]
pub struct Follower {
    caller: u32,
    requests: u32,
    several_callers: bool,
    bound_to: Option<usize>,
    /// Where this thread may run at all; none until it is first asked.
    allowed: Option<CpuSet>,
}

impl Follower {
    /// A request has come from a thread, 0 if from none that is known.
    pub fn called_by(&mut self, thread: u32) {
        if thread == 0 {
            return;
        }
        self.several_callers |= thread != self.caller;
        self.caller = thread;
        self.requests += 1;
        if self.requests >= LOOK_EVERY {
            let place = if self.several_callers { None } else { cpu_of(thread) };
            self.go_to(place);
            (self.requests, self.several_callers) = (0, false);
        }
    }

    /// Runs wherever it may again.
    pub fn free(&mut self) {
        self.go_to(None);
    }

    fn go_to(&mut self, place: Option<usize>) {
        if place == self.bound_to {
            return;
        }
        let allowed = self.allowed.get_or_insert_with(CpuSet::allowed);
        let set = match place {
            Some(cpu) if allowed.has(cpu) => CpuSet::one(cpu),
            _ => allowed.clone(),
        };
        match set.apply() {
            Ok(()) => self.bound_to = place,
            Err(errno) => log::debug!("a reader stays where it is: {errno}"),
        }
    }
}

/// The CPU a thread runs on, or ran on last: field 39 of `/proc/TID/stat`, counted after the name.
fn cpu_of(thread: u32) -> Option<usize> {
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(36)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    #[test]
    fn a_single_caller_is_followed_and_several_are_not() {
        let mut follower = Follower::default();
        let own = sys::thread_id();
        (0..=LOOK_EVERY).for_each(|_| follower.called_by(own));
        (0..LOOK_EVERY).for_each(|_| follower.called_by(own));
        let cpu = follower.bound_to.unwrap();
        assert!((0..1024).all(|other| CpuSet::allowed().has(other) == (other == cpu)));
        (0..2 * LOOK_EVERY).for_each(|at| follower.called_by(own + at % 2));
        let before = follower.allowed.unwrap();
        assert!((0..1024).all(|cpu| CpuSet::allowed().has(cpu) == before.has(cpu)));
    }
}
