//! A fault as its JSON says it. `docs/kibosh.md` describes every field for users.
//!
//! Upstream's six types have upstream's fields and meanings (confluentinc/kibosh, `fault.c`).

use glob::Pattern;
use serde_json::{Map, Value, json};

use super::fields::{Fields, Problem};
use super::operation::{Operation, Operations};

/// The most faults that can be in force at once.
pub const MAX_FAULTS: usize = 1024;

#[derive(Debug, Clone, PartialEq)]
pub struct FaultSpec {
    pub effect: Effect,
    pub select: Select,
    pub when: When,
    /// What happens besides, at the same moment.
    pub then: Then,
    pub owner: Option<String>,
    pub id: Option<String>,
    /// The object as it was written, but with `untilBoottimeMs` in the place of `durationMs`.
    pub json: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Error {
        code: i32,
    },
    Delay(Delay),
    Bandwidth {
        bytes_per_sec: u64,
    },
    Corrupt {
        mode: CorruptMode,
        fraction: f64,
        count: i64,
    },
    Torn {
        unit: u64,
        survive: Survive,
    },
    BitFlip {
        block_size: u64,
        bits: u32,
        fraction: f64,
    },
    DiskFull {
        bytes: u64,
    },
    /// fsync(2) fails once for each file; the file's unsynced writes count as lost from then on.
    FsyncOnce {
        code: i32,
    },
    /// Keeps the undoing of what is not synced, see `undo`.
    LoseUnsynced {
        fraction: f64,
        max_bytes: u64,
        at_boottime_ms: Option<u64>,
    },
    /// Nothing by itself: only `then` happens.
    Crash,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Delay {
    pub delay_ms: f64,
    pub jitter_ms: f64,
    pub distribution: Distribution,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    Constant,
    Uniform,
    Normal,
    Exponential,
    Pareto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorruptMode {
    Zero = 1000,
    Random = 1001,
    ZeroTail = 1100,
    RandomTail = 1101,
    Drop = 1200,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survive {
    First,
    Last,
    Random,
    None,
}

/// Which calls a fault is about. Everything must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    pub operations: Operations,
    pub prefix: String,
    pub suffix: String,
    pub glob: Option<Pattern>,
    pub uid: Option<u32>,
    pub process: Option<String>,
}

/// At which of the selected calls it fires, and until when.
#[derive(Debug, Clone, PartialEq)]
pub struct When {
    /// The chance that a selected call is met; one not met goes on to the next fault.
    pub fraction: f64,
    /// The first selected call to fire at, from 1.
    pub nth: u64,
    /// How many calls it fires at; none: without limit.
    pub count: Option<u64>,
    pub until_boottime_ms: Option<u64>,
    pub seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Then {
    pub kill: bool,
    pub lose_unsynced: bool,
}

const READ: Operations = Operations::of(&[Operation::Read]);
const WRITE: Operations = Operations::of(&[Operation::Write]);
const FSYNC: Operations = Operations::of(&[Operation::Fsync]);
const GROWTH: Operations = Operations::of(&[
    Operation::Write,
    Operation::Create,
    Operation::Mkdir,
    Operation::Mknod,
    Operation::Symlink,
    Operation::Truncate,
    Operation::Fallocate,
    Operation::Statfs,
]);

impl FaultSpec {
    /// Reads one fault; every problem found is added to `problems` under `path`.
    pub fn parse(value: &Value, path: &str, now_ms: u64, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let kind = fields.text("type").or_else(|| fields.missing("type"))?;
        let (effect, operations) = parse_effect(&kind, &mut fields)?;
        let select = Select {
            operations,
            prefix: fields.text("prefix").unwrap_or_else(|| "/".into()),
            suffix: fields.text("suffix").unwrap_or_default(),
            glob: fields.glob("glob"),
            uid: fields.integer("uid", 0, u32::MAX.into()).map(|uid| uid as u32),
            process: fields.text("process"),
        };
        let then = parse_then(&mut fields);
        let when = parse_when(&effect, &mut fields, now_ms);
        let (owner, id) = (fields.text("owner"), fields.text("id"));
        if effect == Effect::Crash && then == Then::default() {
            fields.problem::<()>("then", "a crash needs \"kill\" or \"lose_unsynced\" here");
        }
        let mut json = fields.finish()?;
        json.remove("durationMs");
        if let Some(until) = when.until_boottime_ms {
            json.insert("untilBoottimeMs".into(), json!(until));
        }
        Some(FaultSpec { effect, select, when, then, owner, id, json })
    }

    pub fn json_text(&self) -> String {
        Value::Object(self.json.clone()).to_string()
    }

    /// Whether the data that a read or write carries is changed.
    pub fn mangles(&self) -> bool {
        matches!(self.effect, Effect::Corrupt { .. } | Effect::Torn { .. } | Effect::BitFlip { .. })
    }
}

fn parse_effect(kind: &str, fields: &mut Fields) -> Option<(Effect, Operations)> {
    Some(match kind {
        "unreadable" => (parse_error(fields), READ),
        "unwritable" => (parse_error(fields), WRITE),
        "read_delay" => (parse_delay(fields), READ),
        "write_delay" => (parse_delay(fields), WRITE),
        "read_corrupt" => (parse_corrupt(fields), READ),
        "write_corrupt" => (parse_corrupt(fields), WRITE),
        "error" => (parse_error(fields), parse_operations(fields, Operations::NONE)),
        "delay" => (parse_delay(fields), parse_operations(fields, Operations::NONE)),
        "crash" => (Effect::Crash, parse_operations(fields, Operations::NONE)),
        "bandwidth" => {
            let bytes_per_sec = fields.needed_integer("bytesPerSec", 1, 1 << 50);
            let operations = parse_operations(fields, READ.union(WRITE));
            if operations.union(READ).union(WRITE) != READ.union(WRITE) {
                fields.problem::<()>("operations", "only \"read\" and \"write\" have a bandwidth");
            }
            (Effect::Bandwidth { bytes_per_sec }, operations)
        }
        "torn_write" => (parse_torn(fields), WRITE),
        "bit_flip" => (parse_bit_flip(fields), READ),
        "disk_full" => (Effect::DiskFull { bytes: fields.integer("bytes", 0, 1 << 62).unwrap_or(0) }, GROWTH),
        "fsync_once" => {
            let code = fields.errno("code").unwrap_or(libc::EIO);
            (Effect::FsyncOnce { code }, FSYNC)
        }
        "lose_unsynced" => (parse_lose(fields), Operations::NONE),
        _ => {
            let known = KINDS.join(", ");
            return fields.problem("type", &format!("unknown type \"{kind}\"; known are {known}"));
        }
    })
}

const KINDS: [&str; 15] = [
    "unreadable",
    "unwritable",
    "read_delay",
    "write_delay",
    "read_corrupt",
    "write_corrupt",
    "error",
    "delay",
    "bandwidth",
    "torn_write",
    "bit_flip",
    "disk_full",
    "fsync_once",
    "lose_unsynced",
    "crash",
];

fn parse_error(fields: &mut Fields) -> Effect {
    let code = fields.errno("code");
    Effect::Error { code: code.or_else(|| fields.missing("code")).unwrap_or(libc::EIO) }
}

fn parse_delay(fields: &mut Fields) -> Effect {
    const LONGEST_MS: f64 = 86_400_000.0;
    let delay_ms = fields.number("delay_ms", 0.0, LONGEST_MS);
    let delay_ms = delay_ms.or_else(|| fields.missing("delay_ms")).unwrap_or(0.0);
    let jitter_ms = fields.number("jitterMs", 0.0, LONGEST_MS).unwrap_or(0.0);
    let given = fields.text("distribution");
    let unsaid = if jitter_ms > 0.0 { "uniform" } else { "constant" };
    let distribution = match given.as_deref().unwrap_or(unsaid) {
        "constant" => Distribution::Constant,
        "uniform" => Distribution::Uniform,
        "normal" => Distribution::Normal,
        "exponential" => Distribution::Exponential,
        "pareto" => Distribution::Pareto,
        _ => fields
            .problem("distribution", "is constant, uniform, normal, exponential or pareto")
            .unwrap_or(Distribution::Constant),
    };
    Effect::Delay(Delay { delay_ms, jitter_ms, distribution })
}

fn parse_corrupt(fields: &mut Fields) -> Effect {
    let mode = match fields.integer("mode", 0, 9999) {
        Some(1000) => CorruptMode::Zero,
        Some(1001) => CorruptMode::Random,
        Some(1100) => CorruptMode::ZeroTail,
        Some(1101) => CorruptMode::RandomTail,
        Some(1200) => CorruptMode::Drop,
        _ => fields.problem("mode", "is 1000, 1001, 1100, 1101 or 1200").unwrap_or(CorruptMode::Zero),
    };
    let fraction = fields.fraction();
    let count = fields.signed("count").unwrap_or(-1);
    Effect::Corrupt { mode, fraction, count }
}

fn parse_torn(fields: &mut Fields) -> Effect {
    let unit = fields.integer("unit", 1, 1 << 30).unwrap_or(512);
    let survive = match fields.text("survive").as_deref().unwrap_or("first") {
        "first" => Survive::First,
        "last" => Survive::Last,
        "random" => Survive::Random,
        "none" => Survive::None,
        _ => fields.problem("survive", "is first, last, random or none").unwrap_or(Survive::First),
    };
    Effect::Torn { unit, survive }
}

fn parse_bit_flip(fields: &mut Fields) -> Effect {
    let block_size = fields.integer("blockSize", 1, 1 << 30).unwrap_or(4096);
    let bits = fields.integer("bits", 1, 1 << 16).unwrap_or(1) as u32;
    Effect::BitFlip { block_size, bits, fraction: fields.fraction() }
}

fn parse_lose(fields: &mut Fields) -> Effect {
    Effect::LoseUnsynced {
        fraction: fields.fraction(),
        max_bytes: fields.integer("maxBytes", 4096, 1 << 40).unwrap_or(256 << 20),
        at_boottime_ms: fields.integer("atBoottimeMs", 0, i64::MAX as u64),
    }
}

fn parse_operations(fields: &mut Fields, default: Operations) -> Operations {
    let Some(names) = fields.texts("operations") else {
        if default == Operations::NONE {
            fields.missing::<()>("operations");
        }
        return default;
    };
    let mut operations = Operations::NONE;
    for name in &names {
        match Operation::named(name) {
            Some(operation) => operations.insert(operation),
            None => {
                let known: Vec<_> = Operation::names().collect();
                let why = format!("unknown operation \"{name}\"; known are {}", known.join(", "));
                fields.problem::<()>("operations", &why);
            }
        }
    }
    if names.is_empty() {
        fields.problem::<()>("operations", "is empty, so the fault would never fire");
    }
    operations
}

fn parse_when(effect: &Effect, fields: &mut Fields, now_ms: u64) -> When {
    let own_fraction =
        matches!(effect, Effect::Corrupt { .. } | Effect::BitFlip { .. } | Effect::LoseUnsynced { .. });
    let fraction = if own_fraction { 1.0 } else { fields.fraction() };
    let nth = fields.integer("nth", 1, u64::MAX >> 1);
    let count = match effect {
        Effect::Corrupt { .. } => None,
        _ => fields.signed("count").and_then(|count| u64::try_from(count).ok()),
    };
    let count = if nth.is_some() { count.or(Some(1)) } else { count };
    let duration = fields.integer("durationMs", 1, u64::MAX >> 2);
    let until = fields.integer("untilBoottimeMs", 1, u64::MAX >> 1);
    if duration.is_some() && until.is_some() {
        fields.problem::<()>("durationMs", "cannot stand beside untilBoottimeMs");
    }
    let until_boottime_ms = until.or(duration.map(|duration| now_ms.saturating_add(duration)));
    When {
        fraction,
        nth: nth.unwrap_or(1),
        count,
        until_boottime_ms,
        seed: fields.integer("seed", 0, u64::MAX),
    }
}

fn parse_then(fields: &mut Fields) -> Then {
    let mut then = Then::default();
    for name in fields.texts("then").unwrap_or_default() {
        match name.as_str() {
            "kill" => then.kill = true,
            "lose_unsynced" => then.lose_unsynced = true,
            _ => drop(fields.problem::<()>("then", "holds \"kill\", \"lose_unsynced\" or both")),
        }
    }
    then
}
