//! Import circles: what is one, and what only looks like one.

use crate::tree::Small;

fn circles(files: &[(&str, &str)]) -> Vec<String> {
    Small::new(files).findings("circles").into_iter().map(|finding| finding.text).collect()
}

#[test]
fn files_that_import_each_other_are_a_circle_and_the_names_are_shown() {
    let found = circles(&[
        ("one/src/a.rs", "use crate::b::B;\npub struct A(B);\n"),
        ("one/src/b.rs", "pub struct B;\nfn f(_: &crate::a::A) {}\n"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("one/src/a.rs -> one/src/b.rs: B (line 1)"), "{}", found[0]);
    assert!(found[0].contains("one/src/b.rs -> one/src/a.rs: A (line 2)"), "{}", found[0]);
}

#[test]
fn longer_circles_are_found_and_named_as_a_knot() {
    let found = circles(&[
        ("one/src/a.rs", "pub struct A(crate::b::B);\n"),
        ("one/src/b.rs", "pub struct B(crate::c::C);\n"),
        ("one/src/c.rs", "pub struct C(Box<super::a::A>);\n"),
        ("one/src/d.rs", "pub struct D(crate::a::A);\n"),
    ]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("a knot of 3 files") && !found[0].contains("d.rs"), "{}", found[0]);
    assert!(found[1].contains("one/src/c.rs -> one/src/a.rs: A"), "{}", found[1]);
}

#[test]
fn one_direction_is_no_circle() {
    let found = circles(&[
        ("one/src/a.rs", "use crate::b::{self, B};\npub struct A(B, b::Other);\n"),
        ("one/src/b.rs", "pub struct B;\npub struct Other;\n"),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_facade_ties_the_files_that_define_the_names() {
    let facade = "mod a;\nmod b;\npub use a::A;\npub use b::B;\n";
    let through = circles(&[
        ("one/src/lib.rs", "mod m;\n"),
        ("one/src/m/mod.rs", facade),
        ("one/src/m/a.rs", "use super::B;\npub struct A(B);\n"),
        ("one/src/m/b.rs", "use crate::m::A;\npub struct B(Box<A>);\n"),
    ]);
    assert_eq!(through.len(), 1, "{through:?}");
    assert!(through[0].contains("one/src/m/a.rs -> one/src/m/b.rs"), "{}", through[0]);
    let one_way = circles(&[
        ("one/src/lib.rs", "mod m;\n"),
        ("one/src/m/mod.rs", facade),
        ("one/src/m/a.rs", "use super::B;\npub struct A(B);\n"),
        ("one/src/m/b.rs", "pub struct B;\n"),
    ]);
    assert_eq!(one_way, Vec::<String>::new());
}

#[test]
fn a_parent_that_only_declares_or_reexports_its_child_is_not_tied_to_it() {
    let child = ("one/src/m/child.rs", "use super::Shared;\npub struct Child(Shared);\npub fn make() {}\n");
    let signpost = "mod child;\npub(crate) use child::Child;\npub struct Shared;\n";
    assert_eq!(circles(&[("one/src/lib.rs", "mod m;\n"), ("one/src/m/mod.rs", signpost), child]), Vec::<String>::new());
    for uses in ["fn f(_: Child) {}\n", "fn f() { child::make() }\n", "use child::make as made;\n"] {
        let found =
            circles(&[("one/src/lib.rs", "mod m;\n"), ("one/src/m/mod.rs", &format!("{signpost}{uses}")), child]);
        assert_eq!(found.len(), 1, "{uses}: {found:?}");
    }
}

#[test]
fn globs_macros_attributes_and_aliases_are_followed() {
    let b = ("one/src/b.rs", "pub struct B;\npub mod inner { pub fn go(_: crate::a::A) {} }\n");
    for uses in [
        "use crate::b::*;\npub struct A(B);\n",
        "pub struct A;\nfn f() { println!(\"{}\", crate::b::inner::go(A)); }\n",
        "pub struct A;\nodd! { A => crate::b::B, }\n",
        "pub struct A;\n#[derive(Serialize)]\nstruct S { #[serde(with = \"crate::b::inner\", default = \"crate::b::B::new\")] x: u8 }\n",
        "use crate as top;\npub struct A;\nfn f(_: top::b::B) {}\n",
        "pub struct A;\nfn f() { use super::b::inner as deep; deep::go(A) }\n",
        "pub struct A;\nmod within { fn f(_: super::super::b::B) {} }\n",
    ] {
        let found = circles(&[("one/src/a.rs", uses), b]);
        assert_eq!(found.len(), 1, "{uses}: {found:?}");
    }
}

#[test]
fn an_implementation_in_another_file_ties_the_file_that_calls_it() {
    let split = [
        ("one/src/a.rs", "pub struct A;\nimpl A { fn all(&self) { self.part() } }\n"),
        ("one/src/b.rs", "use crate::a::A;\nimpl A { pub fn part(&self) {} }\n"),
    ];
    let found = circles(&split);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("A::part"), "{}", found[0]);
}

#[test]
fn a_macro_of_the_crate_ties_its_user() {
    let found = circles(&[
        ("one/src/lib.rs", "#[macro_use]\nmod a;\nmod b;\n"),
        ("one/src/a.rs", "macro_rules! twice { ($x:expr) => { $crate::b::two($x) } }\n"),
        ("one/src/b.rs", "pub fn two(x: u8) -> u8 { x }\nfn f() { twice!(1); }\n"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn tests_tie_nothing() {
    let found = circles(&[
        ("one/src/a.rs", "pub struct A(crate::b::B);\n"),
        (
            "one/src/b.rs",
            "pub struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; }\n#[cfg(all(test, unix))]\nuse crate::a::A;\n",
        ),
    ]);
    assert_eq!(found, Vec::<String>::new());
    let without = circles(&[
        ("one/src/a.rs", "pub struct A(crate::b::B);\n"),
        ("one/src/b.rs", "pub struct B;\n#[cfg(not(test))]\nuse crate::a::A;\n"),
    ]);
    assert_eq!(without.len(), 1, "{without:?}");
}

#[test]
fn a_file_named_by_path_is_read() {
    let found = circles(&[
        ("one/src/lib.rs", "mod a;\n#[path = \"elsewhere/b_file.rs\"]\nmod b;\n"),
        ("one/src/a.rs", "pub struct A(crate::b::B);\n"),
        ("one/src/elsewhere/b_file.rs", "pub struct B(Box<crate::a::A>);\n"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_program_and_its_library_are_one_package() {
    let found = circles(&[
        ("one/src/lib.rs", "pub mod a;\n"),
        ("one/src/a.rs", "pub struct A;\n"),
        ("one/src/main.rs", "mod first;\nmod second;\nfn main() {}\n"),
        ("one/src/first.rs", "use one::a::A;\npub struct First(A, crate::second::Second);\n"),
        ("one/src/second.rs", "pub struct Second;\nfn f(_: crate::first::First) {}\n"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(!found[0].contains("a.rs"), "{}", found[0]);
}
