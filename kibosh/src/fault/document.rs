//! The control file's JSON: one document is one change of the set, made whole or not at all.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::{Fields, Problem};
use super::spec::{FaultSpec, MAX_FAULTS};
use super::{Engine, Fault, FaultSet};

/// What a written document asks for.
#[derive(Debug, PartialEq)]
pub struct Document {
    pub change: Option<Change>,
    /// The generation that the writer has seen; another one in force refuses the change.
    pub generation: Option<u64>,
    /// Do it after the change: roll back what was not synced.
    pub lose_unsynced: bool,
}

#[derive(Debug, PartialEq)]
pub enum Change {
    /// Upstream's: these faults, and no others.
    All(Vec<FaultSpec>),
    /// These faults of one owner; everybody else's stay as they are.
    Owner(String, Vec<FaultSpec>),
}

#[derive(Debug, PartialEq)]
pub enum Refused {
    /// Something is wrong with the document.
    Problems(Vec<Problem>),
    /// The set has changed since the writer read it.
    Stale { in_force: u64 },
    /// Too many faults.
    TooMany,
    /// Nothing could be lost, for the reason of this errno.
    NothingLost(i32),
}

impl Document {
    pub fn parse(bytes: &[u8], now_ms: u64) -> Result<Self, Vec<Problem>> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            vec![Problem { path: String::new(), message: format!("is not JSON: {error}") }]
        })?;
        let mut problems = Vec::new();
        let document = Self::read(&value, now_ms, &mut problems);
        match document {
            Some(document) if problems.is_empty() => Ok(document),
            _ => Err(problems),
        }
    }

    fn read(value: &Value, now_ms: u64, problems: &mut Vec<Problem>) -> Option<Self> {
        let faults = read_faults(value, now_ms, problems);
        let mut fields = Fields::of(value, "", problems)?;
        let owner = fields.text("owner");
        let generation = fields.integer("generation", 0, u64::MAX);
        let list = fields.any("faults").is_some();
        let lose_unsynced = fields.flag("loseUnsynced");
        if !list && (!lose_unsynced || owner.is_some()) {
            fields.problem::<()>("faults", "is missing");
        }
        fields.finish()?;
        let change = match owner {
            _ if !list => None,
            None => Some(Change::All(faults)),
            Some(owner) => Some(Change::Owner(owner.clone(), adopt(faults, &owner, problems))),
        };
        Some(Document { change, generation, lose_unsynced })
    }
}

fn read_faults(value: &Value, now_ms: u64, problems: &mut Vec<Problem>) -> Vec<FaultSpec> {
    let problem = |message: &str| Problem { path: "faults".into(), message: message.into() };
    match value.get("faults") {
        None => Vec::new(),
        Some(Value::Array(list)) if list.len() > MAX_FAULTS => {
            problems.push(problem(&format!("holds more than {MAX_FAULTS}")));
            Vec::new()
        }
        Some(Value::Array(list)) => {
            let numbered = list.iter().enumerate();
            let parse = |(at, item)| FaultSpec::parse(item, &format!("faults[{at}]"), now_ms, problems);
            numbered.filter_map(parse).collect()
        }
        Some(_) => {
            problems.push(problem("is not a list"));
            Vec::new()
        }
    }
}

/// Marks faults as the owner's; one that names another owner is a problem.
fn adopt(mut faults: Vec<FaultSpec>, owner: &str, problems: &mut Vec<Problem>) -> Vec<FaultSpec> {
    for (at, fault) in faults.iter_mut().enumerate() {
        if fault.owner.as_ref().is_some_and(|named| named != owner) {
            let path = format!("faults[{at}].owner");
            problems.push(Problem { path, message: format!("differs from the document's \"{owner}\"") });
        }
        fault.owner = Some(owner.into());
        fault.json.insert("owner".into(), json!(owner));
    }
    faults
}

impl FaultSet {
    /// As the control file shows it.
    pub fn to_json(&self) -> Value {
        let faults: Vec<_> = self.faults.iter().map(|fault| &fault.spec.json).collect();
        json!({ "faults": faults })
    }

    /// The set after a document's change. A fault that was there before keeps its progress.
    pub fn changed(&self, document: Document, engine: &Engine) -> Result<FaultSet, Refused> {
        if document.generation.is_some_and(|seen| seen != self.generation) {
            return Err(Refused::Stale { in_force: self.generation });
        }
        let faults = match document.change {
            None => self.faults.clone(),
            Some(Change::All(specs)) => self.keep_or_make(specs, engine),
            Some(Change::Owner(owner, specs)) => {
                let mut own = self.keep_or_make(specs, engine).into_iter();
                let mut faults = Vec::new();
                for fault in &self.faults {
                    if fault.spec.owner.as_ref() != Some(&owner) {
                        faults.push(fault.clone());
                    } else {
                        faults.extend(own.next());
                    }
                }
                faults.extend(own);
                faults
            }
        };
        if faults.len() > MAX_FAULTS {
            return Err(Refused::TooMany);
        }
        Ok(FaultSet { generation: self.generation + 1, faults })
    }

    fn keep_or_make(&self, specs: Vec<FaultSpec>, engine: &Engine) -> Vec<Arc<Fault>> {
        let mut old = self.faults.clone();
        let mut keep_or_make = |spec: FaultSpec| match old.iter().position(|fault| fault.spec == spec) {
            Some(at) => old.remove(at),
            None => engine.make(spec),
        };
        specs.into_iter().map(&mut keep_or_make).collect()
    }

    /// The set without what has expired at this time.
    pub fn unexpired(&self, now_ms: u64) -> FaultSet {
        let lasts =
            |fault: &&Arc<Fault>| fault.spec.when.until_boottime_ms.is_none_or(|until| until > now_ms);
        let faults = self.faults.iter().filter(lasts).cloned().collect();
        FaultSet { generation: self.generation + 1, faults }
    }
}
