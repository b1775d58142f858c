//! The project's own list of phrases finds its examples.

use std::path::Path;

use house::rules::Rules;

#[test]
fn every_phrase_finds_its_examples_and_passes_the_others() {
    let rules = Rules::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert!(!rules.words.is_empty());
    for word in &rules.words {
        assert!(!word.finds.is_empty(), "{} has no example", word.pattern);
        for text in &word.finds {
            assert!(word.find(text).is_some(), "{} does not find {text:?}", word.pattern);
        }
        for text in &word.passes {
            assert!(word.find(text).is_none(), "{} finds {text:?}", word.pattern);
        }
    }
}

/// The left column of the style guide's table: each must be found by some phrase.
#[test]
fn the_style_guide_s_examples_are_all_found() {
    let rules = Rules::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    for text in [
        "Nobody said by what the server at … is known.",
        "The time of the join token is over.",
        "Nobody was given this token.",
        "Nobody is known here by this certificate.",
        "is no number of a report",
        "Whoever it is to run as, it becomes before",
        "Files that are none, or were cut, are passed over",
        "An address that is none does not become one by waiting.",
        "Makes it visible that and why it waits. One that rests has its trouble already.",
        "How far the job is, beyond what the release's payloads already tell.",
        "What `judge` says at the later time; if that is that a certificate's time is over, what it says at the clock's.",
        "Who are you?",
        "As many as one may have",
        "Only about yourself",
    ] {
        assert!(rules.words.iter().any(|word| word.find(text).is_some()), "no phrase finds {text:?}");
    }
    for text in [
        "No trusted authority is configured for head-office:7002.",
        "The join token expired on 30 Nov 01:43 UTC.",
        "The token is not valid.",
        "This certificate is not registered here.",
        "is not a valid report number",
        "Drops to the target user first.",
        "Invalid or truncated files are skipped.",
        "Invalid addresses are not retried.",
        "Records why it waits; an artifact in backoff already shows its error.",
        "Progress that the payload rows do not record.",
        "Judges at the later of clock and floor; if only expiry fails, judges again at clock time.",
        "Authentication required",
        "Limit reached",
        "Not your own identity",
    ] {
        assert!(rules.words.iter().all(|word| word.find(text).is_none()), "a phrase finds {text:?}");
    }
}
