//! The parameters of a reason or problem: few, short and printable, also from an untrusted sender.

use std::collections::BTreeMap;
use std::collections::btree_map::Iter;

use serde::{Deserialize, Serialize};

/// Most parameters of one reason or problem.
pub const MAX_PARAMS: usize = 8;

/// Longest name of a parameter, in bytes.
pub const MAX_PARAM_NAME: usize = 32;

/// Longest value of a parameter, in bytes.
pub const MAX_PARAM_VALUE: usize = 512;

/// Named values, ordered by name: at most [`MAX_PARAMS`], each short and printable.
///
/// What exceeds the bounds is dropped while reading: parameters only enrich a text that travels beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, serde_json::Value>", into = "BTreeMap<String, String>")]
pub struct Params(BTreeMap<String, String>);

impl Params {
    /// Returns whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns a parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Iterates over names and values, ordered by name.
    pub fn iter(&self) -> Iter<'_, String, String> {
        self.0.iter()
    }

    /// Sets a parameter; drops it if its name is invalid or there are [`MAX_PARAMS`] others, and cuts its value.
    pub fn insert(&mut self, name: &str, value: &str) {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let known = self.0.contains_key(name);
        if name.is_empty() || name.len() > MAX_PARAM_NAME || !name.bytes().all(inner) {
            return;
        }
        if !known && self.0.len() >= MAX_PARAMS {
            return;
        }
        // Cut first: a hostile value may be long, and replaced characters only become shorter.
        let cut = &value[..value.floor_char_boundary(MAX_PARAM_VALUE)];
        let printable = cut.chars().map(|c| if fleet_types::is_plain(c) || c == '\n' { c } else { ' ' });
        self.0.insert(name.to_owned(), printable.collect());
    }
}

impl From<BTreeMap<String, serde_json::Value>> for Params {
    fn from(read: BTreeMap<String, serde_json::Value>) -> Self {
        let mut params = Self::default();
        for (name, value) in read {
            match value {
                serde_json::Value::String(text) => params.insert(&name, &text),
                value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => {
                    params.insert(&name, &value.to_string());
                }
                _ => {}
            }
        }
        params
    }
}

impl From<Params> for BTreeMap<String, String> {
    fn from(params: Params) -> Self {
        params.0
    }
}
