//! What happens later: delayed requests and ends of faults. No thread ever sleeps in a request.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::fault::Fault;

/// How often the caller of an interrupted request is looked at: it may be killed after all.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const MOST_MISSED: u32 = 5;
/// The most requests held at once; one more is served at once.
const MOST_PARKED: usize = 65_536;

/// A request that waits, with all that is needed to serve it then.
pub struct Parked {
    pub bytes: Vec<u8>,
    pub unique: u64,
    /// The calling thread, 0 if unknown.
    pub thread: u32,
    pub fault: Arc<Fault>,
    /// What it reads to the kernel's cache or writes back from there. The kernel cannot drop these pages until
    /// it is answered.
    pub pages: Option<Pages>,
}

/// A part of a file, from `start` up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    pub node: u64,
    pub start: u64,
    pub end: u64,
}

/// What the timer asks of its owner. It must not wait.
pub enum Due {
    Serve(Parked),
    Interrupted { unique: u64 },
    Wakeup(Wakeup),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wakeup {
    FaultsExpire,
    /// At this time of CLOCK_BOOTTIME, in milliseconds.
    LoseUnsynced(u64),
    /// A node, and how often it has been tried.
    ShowWrites(u64, u32),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Request(u64),
    /// The request, and how often it has been looked for in vain.
    LookAt(u64, u32),
    Wakeup(Wakeup),
}

#[derive(Default)]
struct State {
    events: BinaryHeap<Reverse<(Instant, Event)>>,
    parked: HashMap<u64, Parked>,
    stopping: bool,
}

#[derive(Default)]
pub struct Timer {
    state: Mutex<State>,
    wake: Condvar,
}

impl Timer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a request back. It is given back when there are too many, or the end has come.
    pub fn park(&self, parked: Parked, delay: Duration) -> Result<(), Parked> {
        let mut state = self.state();
        if state.stopping || state.parked.len() >= MOST_PARKED {
            return Err(parked);
        }
        let unique = parked.unique;
        state.events.push(Reverse((Instant::now() + delay, Event::Request(unique))));
        state.parked.insert(unique, parked);
        self.wake.notify_one();
        Ok(())
    }

    pub fn wake_after(&self, delay: Duration, wakeup: Wakeup) {
        self.state().events.push(Reverse((Instant::now() + delay, Event::Wakeup(wakeup))));
        self.wake.notify_one();
    }

    /// A signal has come for the caller of a request. Only a deadly one ends it.
    pub fn interrupt(&self, unique: u64) {
        self.state().events.push(Reverse((Instant::now(), Event::LookAt(unique, 0))));
        self.wake.notify_one();
    }

    /// What the kernel cannot drop of a node's pages, by start, while these faults are in force.
    pub fn kept_pages(&self, node: u64, in_force: &[Arc<Fault>]) -> Vec<Pages> {
        let state = self.state();
        let stays = |parked: &&Parked| in_force.iter().any(|fault| Arc::ptr_eq(fault, &parked.fault));
        let pages = state.parked.values().filter(stays).filter_map(|parked| parked.pages);
        let mut pages: Vec<_> = pages.filter(|pages| pages.node == node).collect();
        pages.sort_unstable_by_key(|pages| pages.start);
        pages
    }

    /// Lets requests go that wait because of a fault no longer in force.
    pub fn release(&self, in_force: &[Arc<Fault>]) {
        let mut state = self.state();
        let gone = |parked: &&Parked| !in_force.iter().any(|fault| Arc::ptr_eq(fault, &parked.fault));
        let released: Vec<_> = state.parked.values().filter(gone).map(|parked| parked.unique).collect();
        let now = Instant::now();
        state.events.extend(released.into_iter().map(|unique| Reverse((now, Event::Request(unique)))));
        self.wake.notify_one();
    }

    /// Lets everything go and ends [`Timer::run`].
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        let now = Instant::now();
        let all: Vec<_> = state.parked.keys().copied().collect();
        state.events.extend(all.into_iter().map(|unique| Reverse((now, Event::Request(unique)))));
        self.wake.notify_one();
    }

    pub fn run(&self, due: impl Fn(Due)) {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let next = state.events.peek().map(|Reverse((at, _))| *at);
            match next {
                Some(at) if at <= now => {
                    let event = state.events.pop();
                    if let Some(action) = event.and_then(|Reverse((_, event))| state.take(event, now)) {
                        drop(state);
                        due(action);
                        state = self.state();
                    }
                }
                _ if state.stopping && state.parked.is_empty() => return,
                Some(at) => {
                    let waited = self.wake.wait_timeout(state, at - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl State {
    fn take(&mut self, event: Event, now: Instant) -> Option<Due> {
        match event {
            Event::Wakeup(wakeup) => Some(Due::Wakeup(wakeup)),
            Event::Request(unique) => self.parked.remove(&unique).map(Due::Serve),
            Event::LookAt(unique, missed) => {
                let Some(parked) = self.parked.get(&unique) else {
                    self.look_again(now, unique, missed + 1);
                    return None;
                };
                if parked.thread == 0 || is_dying(parked.thread) {
                    self.parked.remove(&unique);
                    return Some(Due::Interrupted { unique });
                }
                self.look_again(now, unique, 0);
                None
            }
        }
    }

    /// A request not held may be about to be: its interrupt was read by another thread.
    fn look_again(&mut self, now: Instant, unique: u64, missed: u32) {
        if missed < MOST_MISSED {
            self.events.push(Reverse((now + LOOK_AGAIN, Event::LookAt(unique, missed))));
        }
    }
}

/// Whether SIGKILL is pending for a thread; the kernel turns every deadly signal into it.
fn is_dying(thread: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{thread}/status")) else { return true };
    let pending = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    };
    (pending("SigPnd:") | pending("ShdPnd:")) & (1 << (libc::SIGKILL - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Document, Engine, FaultSet};
    use std::sync::mpsc;

    fn fault() -> Arc<Fault> {
        let json = br#"{"faults":[{"type":"read_delay","delay_ms":5}]}"#;
        let set = FaultSet::default().changed(Document::parse(json, 0).unwrap(), &Engine::new(1)).unwrap();
        set.faults[0].clone()
    }

    fn parked(unique: u64, thread: u32) -> Parked {
        Parked { bytes: vec![], unique, thread, fault: fault(), pages: None }
    }

    fn running() -> (Arc<Timer>, mpsc::Receiver<u64>) {
        let (timer, (send, receive)) = (Arc::new(Timer::default()), mpsc::channel());
        let runner = timer.clone();
        std::thread::spawn(move || {
            runner.run(|due| {
                let unique = match due {
                    Due::Serve(parked) => parked.unique,
                    Due::Interrupted { unique } => unique + 1000,
                    Due::Wakeup(_) => 0,
                };
                send.send(unique).unwrap();
            });
        });
        (timer, receive)
    }

    #[test]
    fn requests_come_back_in_the_order_of_their_ends() {
        let (timer, due) = running();
        for (unique, delay) in [(1, 60), (2, 5), (3, 30)] {
            assert!(timer.park(parked(unique, 0), Duration::from_millis(delay)).is_ok());
        }
        assert_eq!(due.iter().take(3).collect::<Vec<_>>(), [2, 3, 1]);
    }

    #[test]
    fn a_dead_callers_request_ends_and_a_living_ones_goes_on() {
        let (timer, due) = running();
        let hour = Duration::from_secs(3600);
        assert!(timer.park(parked(1, std::process::id()), hour).is_ok());
        assert!(timer.park(parked(2, u32::MAX >> 1), hour).is_ok());
        timer.interrupt(1);
        timer.interrupt(2);
        assert_eq!(due.recv().unwrap(), 1002);
        timer.stop();
        assert_eq!(due.recv().unwrap(), 1);
    }

    #[test]
    fn a_fault_that_is_gone_releases_its_requests() {
        let (timer, due) = running();
        assert!(timer.park(parked(7, 0), Duration::from_secs(3600)).is_ok());
        timer.release(&[]);
        assert_eq!(due.recv().unwrap(), 7);
    }
}
