//! Reasons as they are shown and reported: one sentence for people, what is technical in the parameter `detail`.

use std::error::Error;
use std::fmt::Display;

use trust::Refusal;
use wire::ReasonCode;
use wire::v1::reports::Reason;

/// The parameter with the technical causes. Bounded like every parameter; logs show it.
pub const DETAIL: &str = "detail";

/// A refusal as it is shown and reported: the library's code, what is wrong, and what to do.
pub fn reason(refusal: &Refusal) -> Reason {
    Reason::new(refusal.code(), format!("{} {}", refusal.sentence(), refusal.remedy()))
}

/// A failure as it is shown and reported.
///
/// A sentence with cause and next step, and the technical cause.
pub fn failed(code: impl Into<ReasonCode>, sentence: impl Display, detail: impl Display) -> Reason {
    // The sentence last: a parameter that is set after it renders the text again.
    Reason::of(code.into()).with(DETAIL, detail).with("cause", sentence)
}

/// An error as it is shown and reported.
///
/// What it says itself is the sentence, what lies behind it the technical cause.
pub fn of_error(code: impl Into<ReasonCode>, error: &(dyn Error + 'static)) -> Reason {
    let (mut behind, mut next) = (Vec::new(), error.source());
    while let Some(cause) = next {
        behind.push(cause.to_string());
        next = cause.source();
    }
    let sentence = sentence(&error.to_string());
    match behind.is_empty() {
        true => Reason::new(code, sentence),
        false => failed(code, sentence, behind.join(": ")),
    }
}

/// The BitTorrent daemon does not answer; its error with all causes.
pub fn engine_unavailable(error: impl Display) -> Reason {
    let sentence = "The BitTorrent daemon does not answer. Check that it runs and that `[engine]` names its address and \
                    password.";
    failed(ReasonCode::EngineUnavailable, sentence, error)
}

/// What the BitTorrent daemon or a tracker complains of.
pub fn transfer_trouble(says: &str) -> Reason {
    let text = sentence(&format!("the BitTorrent daemon reports: {says}"));
    Reason::new(ReasonCode::TransferTrouble, format!("{text} It is tried again."))
}

/// The root helper does not answer.
pub fn helper_unreachable(detail: impl Display) -> Reason {
    let sentence = "The root helper does not answer. Check its log and `helper.socket`.";
    failed(ReasonCode::HelperUnreachable, sentence, detail)
}

/// The slot that runs is not known.
pub fn running_slot_unknown(detail: impl Display) -> Reason {
    let sentence = "The running slot cannot be determined. Compare the kernel command line with `[slots]`.";
    failed(ReasonCode::RunningSlotUnknown, sentence, detail)
}

/// The kernel's boot id is not known.
pub fn boot_id_unknown(detail: impl Display) -> Reason {
    failed(ReasonCode::BootIdUnknown, "The kernel's boot id cannot be read. Check `paths.boot_id`.", detail)
}

/// The free space of the data partition is not known.
pub fn data_unavailable(error: &(dyn Error + 'static)) -> Reason {
    let sentence = "The free space of the data partition cannot be read. Check that the partition is mounted.";
    failed(ReasonCode::DataUnavailable, sentence, error)
}

/// A file on the data partition cannot be written.
pub fn data_unwritable(detail: impl Display) -> Reason {
    let sentence = "A file on the data partition cannot be written. Check its free space, its owner and the disk.";
    failed(ReasonCode::DataUnwritable, sentence, detail)
}

/// The reason for which something was given up after `attempts`.
pub fn given_up(last: &Reason, attempts: u32) -> Reason {
    continued(last, &format!("Given up after {attempts} attempts."))
}

/// The same reason with another sentence after its own.
pub fn continued(first: &Reason, next: &str) -> Reason {
    let text = format!("{} {next}", sentence(&first.text));
    match first.params.get(DETAIL).filter(|detail| !detail.is_empty()) {
        Some(detail) => failed(first.code.clone(), text, detail),
        None => Reason::new(&first.code, text),
    }
}

/// The text of an error in sentence case, with a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    // A path, a name or a number stays as it is.
    let word = text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    let first = letters.next().filter(|_| word.len() > 1).map(|c| c.to_uppercase().to_string());
    let text = first.map_or_else(|| text.to_owned(), |first| first + letters.as_str());
    if text.ends_with(['.', '!', '?']) { text } else { text + "." }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write {path}: check the free space")]
    struct Outer {
        path: String,
        source: std::io::Error,
    }

    fn outer(cause: &str) -> Outer {
        Outer { path: "/data/x".into(), source: std::io::Error::other(cause.to_owned()) }
    }

    #[test]
    fn an_error_becomes_its_own_sentence_and_its_causes_the_detail() {
        let reason = of_error(ReasonCode::DataUnwritable, &outer("no space left on device"));
        assert_eq!(reason.text, "Cannot write /data/x: check the free space.");
        assert_eq!(reason.params.get(DETAIL), Some("no space left on device"));
        let alone = of_error(ReasonCode::DataUnwritable, &std::io::Error::other("already a sentence."));
        assert_eq!((alone.text.as_str(), alone.params.len()), ("Already a sentence.", 0));
        assert_eq!(of_error(ReasonCode::Failed, &std::io::Error::other("/x is empty")).text, "/x is empty.");
    }

    #[test]
    fn the_detail_is_bounded_and_never_becomes_the_sentence() {
        let reason = of_error(ReasonCode::DataUnwritable, &outer(&"x".repeat(5_000)));
        assert_eq!(reason.params.get(DETAIL).map(str::len), Some(wire::reason::MAX_PARAM_VALUE));
        let text = serde_json::to_string(&reason).unwrap();
        let read: Reason = serde_json::from_str(&text).unwrap();
        assert_eq!(read.sentence(), "Cannot write /data/x: check the free space.", "as head office shows it");
        // A code with a template whose parameters are not known.
        let small = failed(ReasonCode::SlotTooSmall, "Slot B is too small. Assign a smaller release.", "9 < 10");
        let read: Reason = serde_json::from_str(&serde_json::to_string(&small).unwrap()).unwrap();
        assert_eq!(read.sentence(), "Slot B is too small. Assign a smaller release.");
    }

    #[test]
    fn what_was_given_up_says_so_after_its_sentence_and_keeps_the_detail() {
        let last = of_error(ReasonCode::DataUnwritable, &outer("no space left on device"));
        let ended = given_up(&last, 3);
        assert_eq!(ended.text, "Cannot write /data/x: check the free space. Given up after 3 attempts.");
        assert_eq!((ended.code, ended.params), (last.code, last.params));
        let templated = Reason::of(ReasonCode::ManifestRefused).with("found", "1").with("planned", "2");
        let ended = given_up(&templated, 3).sentence();
        assert!(ended.ends_with("but the plan names 2. Given up after 3 attempts."), "{ended}");
    }
}
