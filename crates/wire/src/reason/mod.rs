//! Why something ended or waits: a stable code, its parameters and the sentence they render to.

mod code;
mod columns;
mod convert;
mod params;
mod read;
mod template;

use serde::Serialize;

pub use code::{OtherCode, ReasonCode};
pub use columns::{all_from_columns, from_columns};
pub use params::{MAX_PARAM_NAME, MAX_PARAM_VALUE, MAX_PARAMS, Params};

/// Longest `reason` text in bytes that any listener accepts; the sender cuts longer ones.
pub const MAX_REASON_LEN: usize = 1024;

/// Returns `text` cut to [`MAX_REASON_LEN`] bytes at a character boundary.
pub fn clip_reason(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_REASON_LEN)]
}

/// Returns `text` as one printable line of at most [`MAX_REASON_LEN`] bytes: control characters become spaces.
///
/// A reason's text comes from commands, disks and other machines, and ends on screens and in logs.
fn cleaned(text: &str) -> String {
    // Cut first: a hostile text may be long, and replaced characters only become shorter.
    fleet_types::printable(clip_reason(text))
}

/// The parameter that stands for the whole sentence when a code has no template, or some of its parameters are missing.
const CAUSE: &str = "cause";

/// Why an update, a package or a plan ended or waits: a stable code, parameters and one sentence.
///
/// The sentence is rendered from the code's template, here and nowhere else. A sender renders it too and sends it, for
/// receivers that do not know the code. Where one is read, a plain string is accepted too: an older sender's sentence, with
/// the code [`ReasonCode::Unclassified`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
pub struct Reason {
    /// Stable, such as `unhealthy`, `fell-back`, `slot-too-small`; a newer sender may use further ones.
    #[schema(value_type = String)]
    pub code: ReasonCode,
    /// What the sentence is rendered from, such as `free` and `needed`; numbers are in bytes or seconds.
    #[serde(skip_serializing_if = "Params::is_empty")]
    #[schema(required = false, value_type = std::collections::BTreeMap<String, String>)]
    pub params: Params,
    /// The sentence for people, as the sender rendered it: cause and next step.
    pub text: String,
}

impl Reason {
    /// Makes a reason with the sender's own text, cut to [`MAX_REASON_LEN`] and printable, and no parameters.
    pub fn new(code: impl Into<ReasonCode>, text: impl AsRef<str>) -> Self {
        Self { code: code.into(), params: Params::default(), text: cleaned(text.as_ref()) }
    }

    /// Begins a reason whose text is rendered from the code's template; add the parameters by [`Reason::with`].
    ///
    /// ```
    /// # use wire::{Reason, ReasonCode};
    /// let full = Reason::of(ReasonCode::DataFull).with("free", 1 << 20).with("needed", 3 << 20);
    /// assert_eq!(full.text, "The data partition has 1.0 MiB free, but 3.0 MiB are needed. Free up space on it.");
    /// ```
    pub fn of(code: ReasonCode) -> Self {
        let mut reason = Self { code, params: Params::default(), text: String::new() };
        reason.render();
        reason
    }

    /// Sets a parameter and renders the text again. A `cause` replaces the text wherever the template cannot be filled.
    ///
    /// A parameter beyond [`MAX_PARAMS`] or with an invalid name is dropped; a long value is cut to [`MAX_PARAM_VALUE`].
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let value = value.to_string();
        if name == CAUSE && self.code.template().is_none() {
            // The text says all of it: it need not travel twice.
            self.text = cleaned(&value);
            return self;
        }
        self.params.insert(name, &value);
        self.render();
        self
    }

    /// Returns the sentence to show: rendered here if this program knows the code and has all it needs, else the sender's.
    pub fn sentence(&self) -> String {
        match self.rendered() {
            Some(own) => own,
            None if self.text.is_empty() => {
                fleet_types::printable(self.params.get(CAUSE).unwrap_or(self.code.as_str()))
            }
            None => self.text.clone(),
        }
    }

    /// Returns whether both have the same code and sentence. Parameters that do not show in the sentence are ignored.
    pub fn reads_as(&self, other: &Self) -> bool {
        self.code == other.code && self.text == other.text
    }

    fn render(&mut self) {
        let text = self.rendered().or_else(|| self.params.get(CAUSE).map(str::to_owned));
        let text = text.unwrap_or_else(|| self.code.as_str().to_owned());
        self.text = cleaned(&text);
    }

    fn rendered(&self) -> Option<String> {
        template::fill(self.code.template()?, &self.params).map(|text| fleet_types::printable(&text))
    }
}

/// Returns the sentences of some reasons, one after the other.
pub fn sentences(reasons: &[Reason]) -> String {
    reasons.iter().map(Reason::sentence).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
