//! Which fault meets a call, and what it does to it. No system calls are made here.

mod document;
pub mod errno;
mod fields;
mod mangle;
mod operation;
mod select;
mod spec;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub use document::{Change, Document, Refused};
pub use fields::Problem;
pub use mangle::Mangle;
pub use operation::{Operation, Operations};
pub use select::Caller;
pub use spec::{CorruptMode, Delay, Distribution, Effect, FaultSpec, MAX_FAULTS, Survive, Then};

/// A fault in force: what it is, and how often it has met a call.
#[derive(Debug)]
pub struct Fault {
    pub spec: FaultSpec,
    seed: u64,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    random: fastrand::Rng,
    selected: u64,
    fired: u64,
    /// Buffers left before a corrupt fault drops everything; negative: without limit.
    corruptions: i64,
    disk_used: u64,
    failed_once: HashSet<u64>,
    link_free_at: Option<Instant>,
}

/// What a call is about, as far as faults care.
pub struct Call<'a> {
    pub operation: Operation,
    pub caller: Caller,
    /// The file's node, 0 where there is none yet.
    pub node: u64,
    /// Offset and length of the data, if known.
    pub span: Option<(u64, u64)>,
    /// By how many bytes the call makes the file longer.
    pub growth: u64,
    /// The faults whose path selectors match, in order.
    pub faults: &'a [Arc<Fault>],
}

/// What a fault does to the call it met.
#[derive(Debug, Clone)]
pub enum Action {
    Fail(i32),
    Delay(Duration),
    Mangle(Mangle),
    /// Only `then`.
    Nothing,
}

#[derive(Debug, Clone)]
pub struct Fired {
    pub fault: Arc<Fault>,
    pub action: Action,
}

impl Fault {
    pub fn new(spec: FaultSpec, seed: u64) -> Self {
        let seed = spec.when.seed.unwrap_or(seed);
        let corruptions = match spec.effect {
            Effect::Corrupt { count, .. } => count,
            _ => -1,
        };
        let progress = Progress {
            random: fastrand::Rng::with_seed(seed),
            selected: 0,
            fired: 0,
            corruptions,
            disk_used: 0,
            failed_once: HashSet::new(),
            link_free_at: None,
        };
        Fault { spec, seed, progress: Mutex::new(progress) }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls were selected, and at how many it fired.
    pub fn counts(&self) -> (u64, u64) {
        let progress = self.progress();
        (progress.selected, progress.fired)
    }

    /// A number from 0 up to, but not, 1, which is always the same for the same fault and number.
    pub fn chance_of(&self, number: u64) -> f64 {
        mangle::chance(self.seed, number)
    }

    /// Bytes that still fit, for `disk_full`.
    pub fn room(&self) -> Option<u64> {
        match self.spec.effect {
            Effect::DiskFull { bytes } => Some(bytes.saturating_sub(self.progress().disk_used)),
            _ => None,
        }
    }

    fn meets(&self, call: &Call) -> Option<Action> {
        if !self.spec.select.selects(call.operation, &call.caller) {
            return None;
        }
        let progress = &mut *self.progress();
        let when = &self.spec.when;
        if !self.concerns(call, progress) || (when.fraction < 1.0 && progress.random.f64() >= when.fraction) {
            return None;
        }
        progress.selected += 1;
        let exhausted = when.count.is_some_and(|count| progress.fired >= count);
        if progress.selected < when.nth || exhausted {
            return None;
        }
        progress.fired += 1;
        Some(self.action(call, progress))
    }

    /// Whether the effect has anything to do with this call; a call that fits on the disk is booked.
    fn concerns(&self, call: &Call, progress: &mut Progress) -> bool {
        match self.spec.effect {
            Effect::LoseUnsynced { .. } => false,
            Effect::DiskFull { bytes } => match call.operation {
                Operation::Statfs => false,
                Operation::Write | Operation::Truncate | Operation::Fallocate => {
                    let fits = progress.disk_used.saturating_add(call.growth) <= bytes;
                    if fits {
                        progress.disk_used += call.growth;
                    }
                    !fits
                }
                _ => progress.disk_used >= bytes,
            },
            Effect::FsyncOnce { .. } => progress.failed_once.insert(call.node),
            _ => true,
        }
    }

    fn action(&self, call: &Call, progress: &mut Progress) -> Action {
        match &self.spec.effect {
            Effect::Error { code } | Effect::FsyncOnce { code } => Action::Fail(*code),
            Effect::DiskFull { .. } => Action::Fail(libc::ENOSPC),
            Effect::Delay(delay) => Action::Delay(delay.sample(&mut progress.random)),
            Effect::Bandwidth { bytes_per_sec } => {
                let bytes = call.span.map_or(0, |(_, length)| length);
                Action::Delay(progress.transmit(bytes, *bytes_per_sec))
            }
            Effect::Corrupt { mode, fraction, .. } => {
                let (mode, fraction) = match progress.corruptions {
                    0 => (CorruptMode::Drop, 1.0),
                    _ => (*mode, *fraction),
                };
                progress.corruptions -= i64::from(progress.corruptions > 0);
                let seed = progress.random.u64(..);
                Action::Mangle(Mangle::corrupt(mode, fraction, seed, call.span))
            }
            Effect::Torn { unit, survive } => {
                Action::Mangle(Mangle::torn(*unit, *survive, progress.random.u64(..), call.span))
            }
            Effect::BitFlip { block_size, bits, fraction } => {
                Action::Mangle(Mangle::flip(*block_size, *bits, *fraction, self.seed ^ call.node))
            }
            Effect::LoseUnsynced { .. } | Effect::Crash => Action::Nothing,
        }
    }
}

impl Progress {
    /// How long these bytes take on a line of this rate, behind those already on it.
    fn transmit(&mut self, bytes: u64, bytes_per_sec: u64) -> Duration {
        let now = Instant::now();
        let start = self.link_free_at.map_or(now, |free| free.max(now));
        let end = start + Duration::from_secs_f64(bytes as f64 / bytes_per_sec as f64);
        self.link_free_at = Some(end);
        end - now
    }
}

impl Delay {
    fn sample(&self, random: &mut fastrand::Rng) -> Duration {
        let (mean, jitter) = (self.delay_ms, self.jitter_ms);
        let unit = random.f64();
        let milliseconds = match self.distribution {
            Distribution::Constant => mean,
            Distribution::Uniform => mean + (2.0 * unit - 1.0) * jitter,
            Distribution::Normal => {
                let angle = std::f64::consts::TAU * random.f64();
                mean + jitter * (-2.0 * (1.0 - unit).ln()).sqrt() * angle.cos()
            }
            Distribution::Exponential => -mean * (1.0 - unit).ln(),
            // Shape 3, scaled to the mean: heavy-tailed, with a finite variance.
            Distribution::Pareto => mean * (2.0 / 3.0) * (1.0 - unit).powf(-1.0 / 3.0),
        };
        Duration::from_secs_f64(milliseconds.clamp(0.0, 86_400_000.0) / 1000.0)
    }
}

/// The faults in force, as one immutable value.
#[derive(Debug, Default)]
pub struct FaultSet {
    /// Counts the changes of the set.
    pub generation: u64,
    pub faults: Vec<Arc<Fault>>,
}

impl FaultSet {
    pub fn operations(&self) -> Operations {
        let sets = self.faults.iter().map(|fault| fault.spec.select.operations);
        sets.fold(Operations::NONE, Operations::union)
    }

    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.faults.iter().filter_map(|fault| fault.spec.when.until_boottime_ms).min()
    }
}

/// Holds the set in force and answers which fault meets a call.
pub struct Engine {
    set: RwLock<Arc<FaultSet>>,
    armed: AtomicBool,
    operations: AtomicU32,
    epoch: AtomicU64,
    seed: u64,
    made: AtomicU64,
}

impl Engine {
    pub fn new(seed: u64) -> Self {
        Engine {
            set: RwLock::default(),
            armed: AtomicBool::new(false),
            operations: AtomicU32::new(0),
            epoch: AtomicU64::new(1),
            seed,
            made: AtomicU64::new(0),
        }
    }

    /// Whether any fault is in force: the one thing a healthy call asks.
    pub fn armed(&self) -> bool {
        self.armed.load(Ordering::Acquire)
    }

    /// Whether any fault in force is about this operation.
    pub fn armed_for(&self, operation: Operation) -> bool {
        self.armed() && Operations::from_bits(self.operations.load(Ordering::Acquire)).has(operation)
    }

    pub fn set(&self) -> Arc<FaultSet> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes whenever what was once found out about a path's faults may no longer hold.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Says that paths have changed, as when a directory is renamed.
    pub fn paths_changed(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    pub fn make(&self, spec: FaultSpec) -> Arc<Fault> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        Arc::new(Fault::new(spec, mangle::mix(self.seed, number)))
    }

    pub fn install(&self, set: FaultSet) {
        let armed = !set.faults.is_empty();
        self.operations.store(set.operations().bits(), Ordering::Release);
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.armed.store(armed, Ordering::Release);
    }

    /// The faults whose path selectors match any of these names of one file, in order.
    pub fn matching(&self, paths: &[Vec<u8>]) -> Arc<[Arc<Fault>]> {
        let set = self.set();
        let selected = |fault: &&Arc<Fault>| paths.iter().any(|path| fault.spec.select.selects_path(path));
        set.faults.iter().filter(selected).cloned().collect()
    }
}

/// The first fault that meets the call, as upstream.
pub fn decide(call: &Call) -> Option<Fired> {
    call.faults.iter().find_map(|fault| {
        let action = fault.meets(call)?;
        Some(Fired { fault: fault.clone(), action })
    })
}

#[cfg(test)]
mod tests;
