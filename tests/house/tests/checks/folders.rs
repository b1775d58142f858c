//! Import circles between the top-level modules of a program, and the list of tolerated arrows.

use crate::tree::Small;

/// Modules `a` and `b` that import each other, though no two files do.
const CIRCLE: [(&str, &str); 5] = [
    ("one/src/lib.rs", "mod a;\nmod b;\n"),
    ("one/src/a/mod.rs", "mod user;\npub mod used;\n"),
    ("one/src/a/user.rs", "use crate::b::B;\npub struct User(B);\n"),
    ("one/src/a/used.rs", "pub struct Used;\n"),
    ("one/src/b.rs", "use crate::a::used::Used;\npub struct B(Used);\n"),
];

fn found(small: &Small) -> Vec<String> {
    small.findings("folders").into_iter().map(|finding| finding.text).collect()
}

fn tolerate(small: &Small, arrows: &[(&str, &str, &str)]) {
    let path = small.path().join("tests/house/house.toml");
    let mut rules = std::fs::read_to_string(path).unwrap();
    for (program, from, to) in arrows {
        rules += &format!("[[arrows]]\nprogram = {program:?}\nfrom = {from:?}\nto = {to:?}\nreason = \"r\"\n");
    }
    small.write("tests/house/house.toml", &rules);
}

#[test]
fn modules_that_import_each_other_are_found_though_no_files_do() {
    let small = Small::new(&CIRCLE);
    assert_eq!(small.places("circles"), Vec::<String>::new());
    let found = found(&small);
    assert_eq!(found.len(), 1, "{found:?}");
    for line in
        ["a -> b", "one/src/a/user.rs:1: B of one/src/b.rs", "b -> a", "one/src/b.rs:1: Used of one/src/a/used.rs"]
    {
        assert!(found[0].contains(line), "{line}: {}", found[0]);
    }
}

#[test]
fn longer_circles_are_found() {
    let small = Small::new(&[
        ("one/src/lib.rs", "mod a;\nmod b;\nmod c;\n"),
        ("one/src/a/mod.rs", "pub mod x;\npub mod y;\n"),
        ("one/src/a/x.rs", "pub struct X(crate::b::B);\n"),
        ("one/src/a/y.rs", "pub struct Y;\n"),
        ("one/src/b.rs", "pub struct B(crate::c::C);\n"),
        ("one/src/c.rs", "pub struct C(crate::a::y::Y);\n"),
    ]);
    let found = found(&small);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(["a -> b", "b -> c", "c -> a"].iter().all(|arrow| found[0].contains(arrow)), "{}", found[0]);
}

#[test]
fn one_direction_roots_and_other_packages_are_no_circle() {
    let small = Small::new(&[
        ("one/src/lib.rs", "pub mod a;\npub mod b;\npub struct Shared;\nfn f(_: a::A, _: b::B) {}\n"),
        ("one/src/main.rs", "use one::a::A;\nfn main() {}\nfn f(_: A) {}\n"),
        ("one/src/a.rs", "use two::value::Value;\npub struct A(crate::b::B, Value);\n"),
        ("one/src/b.rs", "pub struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; }\n"),
    ]);
    assert_eq!(found(&small), Vec::<String>::new());
}

#[test]
fn a_tolerated_arrow_passes_only_while_it_closes_a_circle() {
    let small = Small::new(&CIRCLE);
    tolerate(&small, &[("one/src", "b", "a")]);
    assert_eq!(found(&small), Vec::<String>::new());
    small.write("one/src/a/user.rs", "pub struct User;\n");
    let open = found(&small);
    assert!(open.len() == 1 && open[0].contains("b -> a closes no circle any more"), "{open:?}");
    small.write("one/src/b.rs", "pub struct B;\n");
    let gone = found(&small);
    assert!(gone.len() == 1 && gone[0].contains("no import leads there any more"), "{gone:?}");
}

#[test]
fn a_circle_is_tolerated_by_one_arrow_and_not_by_both() {
    let small = Small::new(&CIRCLE);
    tolerate(&small, &[("one/src", "b", "a"), ("one/src", "a", "b")]);
    let found = found(&small);
    assert!(found.len() == 2 && found.iter().all(|text| text.contains("closes no circle")), "{found:?}");
}

#[test]
fn a_list_that_names_what_does_not_exist_is_found() {
    let small = Small::new(&CIRCLE);
    tolerate(&small, &[("one/src", "b", "a"), ("two/src", "b", "a"), ("one/src", "b", "misspelt")]);
    let named = found(&small);
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(named.iter().any(|text| text.contains("two/src is not a listed program")), "{named:?}");
    assert!(named.iter().any(|text| text.contains("b -> misspelt: no import leads there")), "{named:?}");
    let rules = std::fs::read_to_string(small.path().join("tests/house/house.toml")).unwrap();
    small.write("tests/house/house.toml", &rules.replace("[\"one/src\"]", "[\"one/src\", \"gone/src\"]"));
    assert!(found(&small).iter().any(|text| text.contains("program gone/src does not exist")));
}
