//! How a reason is read: an object, or the plain sentence of an older sender.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Params, Reason, ReasonCode};

/// A reason as an object.
#[derive(Deserialize)]
struct Parts {
    code: ReasonCode,
    #[serde(default)]
    params: Params,
    text: String,
}

struct ReasonVisitor;

impl<'de> Visitor<'de> for ReasonVisitor {
    type Value = Reason;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reason with `code` and `text`, or a sentence")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Reason, E> {
        Ok(Reason::new(ReasonCode::Unclassified, text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reason, A::Error> {
        let Parts { code, params, text } = Parts::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Reason { code, params, text: fleet_types::printable(&text) })
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ReasonVisitor)
    }
}
