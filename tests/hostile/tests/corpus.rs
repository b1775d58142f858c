//! Each reader by itself: every file of the corpus is refused, under the code that stands beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader};

use hostile::{
    ManyMembers, Reader, archives, corpus, good_archive, good_block, good_envelope, good_frame, good_index,
    good_torrent,
};
use release::{Facts, Flaw, Limits, Policy, evaluate, scan};

#[test]
fn every_hostile_file_is_refused_under_its_own_code() {
    let (mut wrong, mut codes) = (Vec::new(), BTreeMap::<_, BTreeSet<_>>::new());
    for file in corpus() {
        let refusals = file.reader.refusals(&file.bytes);
        println!("{:<12} {:<45} {:<30} {:>9} bytes", file.reader, file.name, file.code, file.bytes.len());
        if refusals.iter().any(|code| code == file.code) {
            codes.entry(file.reader).or_default().insert(file.code);
        } else {
            wrong.push(format!("{} {}: {} expected, {refusals:?} found", file.reader, file.name, file.code));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let all: BTreeSet<_> = codes.values().flatten().collect();
    println!(
        "{} files, {} codes: {:?}",
        corpus().len(),
        all.len(),
        codes.iter().map(|(r, c)| (r, c.len())).collect::<Vec<_>>()
    );
    assert!(archives().len() >= 60 && codes[&Reader::Archive].len() >= 30 && all.len() >= 60, "the corpus shrank");
}

#[test]
fn names_are_unique_and_codes_are_in_kebab_case() {
    let mut names = BTreeSet::new();
    for file in corpus() {
        assert!(names.insert(file.name), "{} is there twice", file.name);
        let kebab = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        assert!(file.code.bytes().all(kebab) && file.name.bytes().all(kebab), "{}: {}", file.name, file.code);
    }
}

#[test]
fn what_the_hostile_files_are_made_from_is_taken() {
    // Otherwise all of them might be refused for a reason of their common origin.
    for (reader, bytes) in [
        (Reader::Archive, good_archive()),
        (Reader::Index, good_index()),
        (Reader::Frame, good_frame()),
        (Reader::Torrent, good_torrent()),
        (Reader::Plan, good_envelope()),
        (Reader::Block, good_block()),
        (Reader::CommandLine, b"root=PARTLABEL=slot-b".to_vec()),
    ] {
        assert_eq!(reader.refusals(&bytes), Vec::<String>::new(), "{reader}");
    }
}

#[test]
fn every_refusal_of_an_archive_has_a_cause_and_a_remedy() {
    for file in archives() {
        let found = scan(&file.bytes[..], &Limits::default(), &mut |_| {}).unwrap();
        for finding in evaluate(&found, &Facts::unknown(), &Policy::default()).findings {
            let passes = finding.verdict == wire::v1::releases::Verdict::Pass;
            assert_eq!(finding.remedy.is_empty(), passes, "{}: {finding:?}", file.name);
            let fails = finding.verdict == wire::v1::releases::Verdict::Fail;
            assert_eq!(finding.code.is_some(), fails, "{}: {finding:?}", file.name);
            assert!(!finding.cause.is_empty() && finding.cause.len() < 1000, "{}: {finding:?}", file.name);
            assert!(!finding.cause.chars().any(char::is_control), "{}: {finding:?}", file.name);
        }
    }
}

#[test]
fn a_million_members_are_given_up_at_the_bound() {
    let mut all = ManyMembers::new(1_000_000);
    let length = all.length();
    let found = scan(&mut all, &Limits::default(), &mut |_| {}).unwrap();
    assert!(found.flaws.contains(&Flaw::TooManyMembers { limit: 1000 }), "{:?}", found.flaws);
    assert!(found.length < 1 << 20 && length > 512_000_000, "read {} of {length}", found.length);
    // The stream itself is a whole tar of the length that it states.
    let few = ManyMembers::new(900);
    let (length, found) = (few.length(), scan(BufReader::new(few), &Limits::default(), &mut |_| {}).unwrap());
    assert!(found.complete && found.length == length, "{found:?}");
    assert_eq!(found.members.len(), 901);
    assert_eq!(io::copy(&mut ManyMembers::new(10), &mut io::sink()).unwrap(), ManyMembers::new(10).length());
}
