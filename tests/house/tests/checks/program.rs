//! The program: exit codes, JSON, help.

use std::process::{Command, Output};

use crate::tree::Small;

#[allow(clippy::disallowed_methods, reason = "the program under test")]
fn house(small: &Small, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_house"));
    command.arg("--root").arg(small.path()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn exit_codes_tell_clean_findings_and_failure_apart() {
    let small = Small::new(&[("one/src/a.rs", "pub struct A;\n")]);
    let only = ["check", "--only", "circles,clocks,words"];
    assert_eq!(house(&small, &only).status.code(), Some(0));
    small.write("one/src/a.rs", "fn f() { std::time::Instant::now(); }\n");
    let found = house(&small, &only);
    assert_eq!(found.status.code(), Some(1));
    assert!(text(&found.stdout).contains("one/src/a.rs:1: std::time::Instant::now"), "{found:?}");
    assert_eq!(house(&small, &["check", "--only", "circles,clocks", "--skip", "clocks"]).status.code(), Some(0));
    assert_eq!(house(&small, &["check", "--only", "clocks", "--in", "two"]).status.code(), Some(0));
    let unknown = house(&small, &["check", "--only", "nothing"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("house list"), "{unknown:?}");
    small.write("one/src/a.rs", "fn f( {}\n");
    let unreadable = house(&small, &only);
    assert_eq!(unreadable.status.code(), Some(2));
    assert!(text(&unreadable.stderr).contains("one/src/a.rs"), "{unreadable:?}");
}

#[test]
fn findings_are_printed_as_json() {
    let small = Small::new(&[("one/src/a.rs", "fn f() {\n    chrono::Utc::now();\n}\n")]);
    let output = house(&small, &["--json", "check", "--only", "clocks"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["findings"][0]["check"], "clocks");
    assert_eq!(json["findings"][0]["file"], "one/src/a.rs");
    assert_eq!(json["findings"][0]["line"], 2);
}

#[test]
fn imports_of_a_file_are_listed_in_both_directions() {
    let small =
        Small::new(&[("one/src/a.rs", "use crate::b::B;\n"), ("one/src/b.rs", "pub struct B(two::value::Value);\n")]);
    let output = text(&house(&small, &["imports", "one/src/b.rs"]).stdout);
    assert!(output.contains("two/src/value.rs: Value"), "{output}");
    assert!(output.contains("is imported by\n  one/src/a.rs: B"), "{output}");
}

#[test]
fn help_shows_examples_and_the_list_every_check() {
    let small = Small::new(&[]);
    assert!(text(&house(&small, &["--help"]).stdout).contains("house check --only circles,pure"));
    let list = text(&house(&small, &["list"]).stdout);
    assert!(house::checks::ALL.iter().all(|check| list.contains(check.name)), "{list}");
}
