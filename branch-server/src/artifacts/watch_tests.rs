//! Scenarios of a look: the record and the engine's answer go in, readable steps come out.

use super::*;

const LENGTH: u64 = 1000;

fn has(have_bytes: u64) -> Answer {
    let complete = have_bytes == LENGTH;
    Answer { have_bytes, complete, running: true, announces_here: true, ..Answer::default() }
}

fn look(stage: Stage, answer: Option<&Answer>) -> Look<'_> {
    Look { stage, length: LENGTH, recorded_bytes: 0, mismatches: 0, verified: false, since_added: None, answer }
}

fn verbs(look: Look<'_>) -> Vec<String> {
    let verb = |step: &Step| match step {
        Step::Note { have_bytes, complete, trouble } => {
            let trouble = trouble.as_ref().map_or_else(|| "fine".to_owned(), |t| t.reason().code.to_string());
            format!("note {have_bytes}{} {trouble}", if *complete { " complete" } else { "" })
        }
        other => format!("{other:?}").to_lowercase(),
    };
    after_look(look).iter().map(verb).collect()
}

#[test]
fn torrents_that_are_gone_or_being_verified_are_left_alone() {
    let verifying = Answer { verifying: true, running: false, ..has(0) };
    for stage in [Stage::Listed, Stage::Held] {
        assert!(verbs(look(stage, None)).is_empty());
        assert!(verbs(look(stage, Some(&verifying))).is_empty());
    }
}

#[test]
fn arriving_artifact_is_guarded_and_its_progress_recorded() {
    assert_eq!(verbs(look(Stage::Listed, Some(&has(400)))), ["guard", "note 400 fine"]);
}

#[test]
fn complete_artifact_is_checked_once_and_then_served() {
    assert_eq!(verbs(look(Stage::Listed, Some(&has(LENGTH)))), ["check"]);
    assert_eq!(verbs(look(Stage::Held, Some(&has(LENGTH)))), ["settle", "serve", "note 1000 complete fine"]);
}

#[test]
fn stopped_torrent_is_resumed_before_anything_else() {
    for (stage, have, rest) in [
        (Stage::Listed, 400, &["guard", "note 400 fine"][..]),
        (Stage::Listed, LENGTH, &["check"]),
        (Stage::Held, LENGTH, &["settle", "serve", "note 1000 complete fine"]),
    ] {
        let stopped = Answer { running: false, ..has(have) };
        let elsewhere = Answer { announces_here: false, ..has(have) };
        for answer in [&stopped, &elsewhere] {
            assert_eq!(verbs(look(stage, Some(answer))), [&["resume"][..], rest].concat(), "{stage:?} {answer:?}");
        }
    }
}

#[test]
fn torrent_with_other_trackers_is_added_again_but_not_at_every_look() {
    let elsewhere = Answer { announces_here: false, ..has(LENGTH) };
    let resumed = |minutes: i64| {
        let since_added = Some(TimeDelta::minutes(minutes));
        verbs(Look { since_added, ..look(Stage::Held, Some(&elsewhere)) }).contains(&"resume".to_owned())
    };
    assert_eq!([0, 9, 10, 600].map(resumed), [false, false, true, true]);
    // The clock was set back since.
    assert_eq!([-9, -10].map(resumed), [false, true]);
    let stopped = Answer { running: false, ..elsewhere.clone() };
    let look = Look { since_added: Some(TimeDelta::zero()), ..look(Stage::Held, Some(&stopped)) };
    assert_eq!(verbs(look)[0], "resume", "one that stands still is started all the same");
}

#[test]
fn engine_that_forgot_what_it_had_verifies_before_it_fetches_twice() {
    let answer = has(100);
    let forgot = |recorded_bytes: u64| Look { recorded_bytes, ..look(Stage::Listed, Some(&answer)) };
    assert_eq!(verbs(forgot(202)), ["verify"]);
    assert_eq!(verbs(forgot(201)), ["guard", "note 100 fine"], "less than half of it is missing");
    assert_eq!(verbs(Look { verified: true, ..forgot(202) }), ["guard", "note 100 fine"], "only once");
}

#[test]
fn held_artifact_that_lost_data_is_verified_first_and_then_fetched_as_damaged() {
    let answer = has(999);
    let lost = look(Stage::Held, Some(&answer));
    assert_eq!(verbs(lost), ["verify"]);
    assert_eq!(verbs(Look { verified: true, ..lost }), ["guard", "damaged", "note 999 damaged-on-disk"]);
}

#[test]
fn trouble_is_shown_in_the_order_in_which_it_helps() {
    let silent = Answer { trouble: Some("no route to tracker".into()), ..has(400) };
    let flowing = Answer { rate_down: 1, ..silent.clone() };
    let after = |answer, mismatches| verbs(Look { mismatches, ..look(Stage::Listed, Some(answer)) });
    assert_eq!(after(&silent, 0), ["guard", "note 400 engine-trouble"]);
    assert_eq!(after(&silent, 2), ["guard", "note 400 engine-trouble"]);
    assert_eq!(after(&flowing, 0), ["guard", "note 400 fine"], "bytes arrive, so the tracker does not matter");
    assert_eq!(after(&flowing, 2), ["guard", "note 400 not-as-planned"]);
}

#[test]
fn every_second_mismatch_drops_the_file_with_a_longer_backoff() {
    let (planned, other, retry) = (Digest::new([1; 32]), Digest::new([2; 32]), Duration::from_secs(2));
    assert_eq!(after_hash(planned, planned, 0, retry), Verdict::Hold);
    let verdict = |times| match after_hash(planned, other, times, retry) {
        Verdict::Hold => "hold".to_owned(),
        Verdict::VerifyAgain { backoff, .. } => format!("verify after {}", backoff.as_secs()),
        Verdict::FetchAgain { backoff, .. } => format!("fetch after {}", backoff.as_secs()),
    };
    let verdicts: Vec<String> = (1..=6).map(verdict).collect();
    assert_eq!(
        verdicts,
        ["verify after 5", "fetch after 30", "verify after 5", "fetch after 60", "verify after 5", "fetch after 120"]
    );
    assert_eq!(verdict(200), "fetch after 3600");
}
