//! Pure modules.

use crate::tree::Small;

fn pure(files: &[(&str, &str)]) -> Vec<String> {
    Small::new(files).findings("pure").into_iter().map(|finding| finding.text).collect()
}

#[test]
fn what_makes_a_module_impure_is_found_in_itself() {
    for (text, what) in [
        ("pub async fn f() {}\n", "async fn f"),
        ("pub fn f() { drop(async { 1 }); }\n", "async"),
        ("use std::fs;\npub fn f() { let _ = fs::read(\"x\"); }\n", "std::fs"),
        ("use std::fs::File as Opened;\n", "std::fs::File"),
        ("pub fn f() { tokio::spawn(g()); }\n", "tokio::spawn"),
        ("pub fn f() { let _ = std::time::Instant::now(); }\n", "Instant::now"),
        ("use std::time::SystemTime;\npub fn f() { odd!(SystemTime::now() => 1); }\n", "SystemTime::now"),
        ("pub fn f() { odd!(x => y.await); }\n", "await"),
    ] {
        let found = pure(&[("one/src/pure.rs", text)]);
        assert!(!found.is_empty() && found[0].contains(what), "{text}: {found:?}");
    }
}

#[test]
fn an_impure_module_is_found_through_imports_and_other_crates() {
    let through = pure(&[
        ("one/src/pure.rs", "use crate::middle::Middle;\npub struct P(Middle);\n"),
        ("one/src/middle.rs", "pub struct Middle(crate::last::Last);\n"),
        ("one/src/last.rs", "pub struct Last;\npub async fn act() {}\n"),
    ]);
    assert_eq!(through.len(), 1, "{through:?}");
    assert!(through[0].contains("-> one/src/middle.rs -> one/src/last.rs"), "{}", through[0]);
    let other_crate = pure(&[("one/src/pure.rs", "use two::disk::Disk;\n")]);
    assert_eq!(other_crate.len(), 1, "{other_crate:?}");
    assert!(
        other_crate[0].contains("std::fs::read") && other_crate[0].contains("two/src/disk.rs"),
        "{}",
        other_crate[0]
    );
}

#[test]
fn values_times_and_tests_are_pure() {
    let found = pure(&[(
        "one/src/pure.rs",
        "use two::value::Value;\nuse std::time::{Duration, Instant};\nuse std::net::SocketAddr;\n\
         pub fn late(now: Instant, since: Instant, _: Value, _: SocketAddr) -> bool { now - since > Duration::ZERO }\n\
         #[cfg(test)]\nmod tests { fn f() { let _ = std::fs::read(\"x\"); } }\n",
    )]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_listed_module_that_is_gone_is_found() {
    let small = Small::new(&[("one/src/pure.rs", "")]);
    small.write("one/src/lib.rs", "");
    let found = small.findings("pure");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].text.contains("does not exist"), "{found:?}");
}
