//! Reading a JSON object field by field, noting every problem with its path.

use glob::Pattern;
use serde_json::{Map, Value};

/// What is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    pub path: String,
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

const LONGEST_TEXT: usize = 4096;

pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: &'a str,
    known: Vec<&'static str>,
    problems: &'a mut Vec<Problem>,
    before: usize,
}

impl<'a> Fields<'a> {
    pub fn of(value: &'a Value, path: &'a str, problems: &'a mut Vec<Problem>) -> Option<Self> {
        let Some(object) = value.as_object() else {
            problems.push(Problem { path: path.into(), message: "is not an object".into() });
            return None;
        };
        let before = problems.len();
        Some(Fields { object, path, known: Vec::new(), problems, before })
    }

    /// Notes a problem. Returns nothing, so that a parser can end with it.
    pub fn problem<T>(&mut self, field: &str, message: &str) -> Option<T> {
        let path = if self.path.is_empty() { field.into() } else { format!("{}.{field}", self.path) };
        self.problems.push(Problem { path, message: message.into() });
        None
    }

    pub fn missing<T>(&mut self, field: &str) -> Option<T> {
        let noted = self.object.contains_key(field);
        if noted { None } else { self.problem(field, "is missing") }
    }

    fn value(&mut self, field: &'static str) -> Option<&'a Value> {
        self.known.push(field);
        self.object.get(field).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, field: &'static str) -> Option<String> {
        match self.value(field)? {
            Value::String(text) if text.len() <= LONGEST_TEXT => Some(text.clone()),
            Value::String(_) => self.problem(field, "is longer than 4096 bytes"),
            _ => self.problem(field, "is not a string"),
        }
    }

    pub fn any(&mut self, field: &'static str) -> Option<&'a Value> {
        self.value(field)
    }

    /// A boolean; false where it is not said.
    pub fn flag(&mut self, field: &'static str) -> bool {
        match self.value(field) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => self.problem(field, "is neither true nor false").unwrap_or(false),
        }
    }

    pub fn texts(&mut self, field: &'static str) -> Option<Vec<String>> {
        let value = self.value(field)?;
        let texts = match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        texts.or_else(|| self.problem(field, "is not a list of strings"))
    }

    pub fn integer(&mut self, field: &'static str, least: u64, most: u64) -> Option<u64> {
        let value = self.value(field)?;
        match value.as_u64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Some(number),
            None => self.problem(field, &format!("is not an integer from {least} to {most}")),
        }
    }

    pub fn needed_integer(&mut self, field: &'static str, least: u64, most: u64) -> u64 {
        self.integer(field, least, most).or_else(|| self.missing(field)).unwrap_or(least)
    }

    pub fn signed(&mut self, field: &'static str) -> Option<i64> {
        let value = self.value(field)?;
        value.as_i64().or_else(|| self.problem(field, "is not an integer"))
    }

    pub fn number(&mut self, field: &'static str, least: f64, most: f64) -> Option<f64> {
        let value = self.value(field)?;
        match value.as_f64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Some(number),
            None => self.problem(field, &format!("is not a number from {least} to {most}")),
        }
    }

    /// `fraction`, from 0 to 1; all where it is not said.
    pub fn fraction(&mut self) -> f64 {
        self.number("fraction", 0.0, 1.0).unwrap_or(1.0)
    }

    /// An errno as a number (upstream takes it with either sign) or by its name, such as `"EIO"`.
    pub fn errno(&mut self, field: &'static str) -> Option<i32> {
        let value = self.value(field)?;
        let code = match value {
            Value::String(name) => super::errno::named(name),
            _ => value.as_i64().and_then(|code| i32::try_from(code.unsigned_abs()).ok()),
        };
        match code.filter(|code| (1..=511).contains(code)) {
            Some(code) => Some(code),
            None => self.problem(field, "is not an errno: a number from 1 to 511 or a name such as \"EIO\""),
        }
    }

    pub fn glob(&mut self, field: &'static str) -> Option<Pattern> {
        let text = self.text(field)?;
        match Pattern::new(&text) {
            Ok(pattern) => Some(pattern),
            Err(error) => self.problem(field, &format!("is not a pattern: {error}")),
        }
    }

    /// The object, if there was no problem with it; fields nobody asked for are one.
    pub fn finish(mut self) -> Option<Map<String, Value>> {
        let unknown: Vec<_> = self.object.keys().filter(|key| !self.known.contains(&key.as_str())).collect();
        for key in unknown {
            self.problem::<()>(key, "is not a field of this type");
        }
        (self.problems.len() == self.before).then(|| self.object.clone())
    }
}
