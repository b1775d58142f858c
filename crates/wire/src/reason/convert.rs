//! The code of a reason as text and back.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ReasonCode;

impl From<String> for ReasonCode {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for ReasonCode {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&ReasonCode> for ReasonCode {
    fn from(code: &ReasonCode) -> Self {
        code.clone()
    }
}

impl PartialEq<str> for ReasonCode {
    fn eq(&self, text: &str) -> bool {
        self.as_str() == text
    }
}

impl PartialEq<&str> for ReasonCode {
    fn eq(&self, text: &&str) -> bool {
        self.as_str() == *text
    }
}

impl AsRef<str> for ReasonCode {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for ReasonCode {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ReasonCode {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self::from)
    }
}
