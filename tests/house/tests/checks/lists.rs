//! Clocks, URL paths, SQL, lengths, the machine's names, README's commands.

use crate::tree::Small;

#[test]
fn reading_the_clock_outside_a_clock_is_found() {
    let small = Small::new(&[
        ("one/src/clock.rs", "pub fn now() -> std::time::Instant { std::time::Instant::now() }\n"),
        (
            "one/src/a.rs",
            "use std::time::Instant;\nfn f() { let _ = Instant::now(); }\nfn g() -> fn() -> Instant { Instant::now }\n",
        ),
        (
            "one/src/b.rs",
            "fn f() {\n    println!(\"{}\", chrono::Utc::now());\n}\n#[cfg(test)]\nmod tests { fn f() { chrono::Utc::now(); } }\n",
        ),
    ]);
    assert_eq!(small.places("clocks"), ["one/src/a.rs:2", "one/src/a.rs:3", "one/src/b.rs:2"]);
}

#[test]
fn a_path_outside_the_list_or_twice_in_it_is_found() {
    let small = Small::new(&[
        (
            "one/src/paths.rs",
            "pub const A: &str = \"/v1/a\";\npub const B: &str = \"/v1/b\";\npub const C: &str = \"/v1/a\";\n",
        ),
        (
            "one/src/a.rs",
            "#[utoipa::path(get, path = \"/v1/a\")]\nfn f() {}\nfn g() { format!(\"/v1/b/{}\", 1); h(\"/v1/\"); }\n",
        ),
        (
            "one/src/b.rs",
            "fn f() { use_it(crate::paths::A); }\n#[cfg(test)]\nmod tests { fn f() { use_it(\"/v1/a\"); } }\n",
        ),
    ]);
    let mut places = small.places("paths");
    places.sort();
    assert_eq!(places, ["one/src/a.rs:1", "one/src/a.rs:3", "one/src/paths.rs:3"]);
}

#[test]
fn an_engine_that_a_program_names_is_found_and_so_is_an_exception_that_is_not_needed() {
    let small = Small::new(&[
        (
            "one/src/a.rs",
            "/// Asks Deluge.\nuse two::value::Value;\n// deluge\nfn f() { say(\"restart deluged\"); }\n\
             fn g() { println!(\"{}\", DelugeEngine); }\n#[cfg(test)]\nmod tests { fn f() { say(\"deluge\"); } }\n",
        ),
        ("one/src/b.rs", "struct DelugeEngine;\nenum Engine {\n    Deluge,\n}\n"),
        (
            "one/src/c.rs",
            "#[derive(clap::Parser)]\nstruct Arguments {\n    /// Where deluge is.\n    #[arg(long)]\n    x: bool,\n}\n",
        ),
        ("one/src/d.rs", "#[derive(Error)]\n#[error(\"restart deluge\")]\nstruct E;\n"),
    ]);
    assert_eq!(small.places("engines"), Vec::<String>::new(), "no engine has a name yet");
    let rules = std::fs::read_to_string(small.path().join("tests/house/house.toml")).unwrap();
    small.write("tests/house/house.toml", &format!("{rules}[engines]\nnames = [\"deluge\"]\n"));
    let expected =
        ["one/src/a.rs:4", "one/src/a.rs:5", "one/src/b.rs:1", "one/src/b.rs:3", "one/src/c.rs:3", "one/src/d.rs:2"];
    assert_eq!(small.places("engines"), expected);
    let places = "places = [{ path = \"one\", reason = \"r\" }, { path = \"two/src\", reason = \"r\" }]\n";
    small.write("tests/house/house.toml", &format!("{rules}[engines]\nnames = [\"deluge\"]\n{places}"));
    let found = small.findings("engines");
    assert!(found.len() == 1 && found[0].text.contains("\"two/src\" names no engine"), "{found:?}");
}

#[test]
fn sql_outside_its_places_is_found() {
    let small = Small::new(&[
        ("one/src/lib.rs", "mod a;\nmod statements;\nmod db;\n"),
        (
            "one/src/a.rs",
            "fn f() { run(\"SELECT 1 FROM t\"); }\nfn g() { say(\"Update the release.\"); say(\"Select a branch.\"); }\nfn h() { run(\"\n  delete from t\"); }\n",
        ),
        ("one/src/statements.rs", "fn f() { run(\"SELECT 1 FROM t\"); }\n"),
        ("one/src/db/mod.rs", "fn f() { run(\"INSERT INTO t VALUES (1)\"); }\n"),
    ]);
    assert_eq!(small.places("sql"), ["one/src/a.rs:1", "one/src/a.rs:3", "one/src/statements.rs:1"]);
    small.write("one/src/statements/mod.rs", "");
}

#[test]
fn a_long_file_is_found_and_tests_may_be_longer() {
    let small = Small::new(&[]);
    small.write("one/src/long.rs", &"\n".repeat(401));
    small.write("one/src/fits.rs", &"\n".repeat(400));
    small.write("one/tests/fits.rs", &"\n".repeat(600));
    small.write("one/tests/long.rs", &"\n".repeat(601));
    small.write("notes.md", &"\n".repeat(1000));
    assert_eq!(small.places("lengths"), ["one/src/long.rs:0", "one/tests/long.rs:0"]);
}

#[test]
fn a_registry_or_a_path_of_a_machine_is_found() {
    let small = Small::new(&[]);
    small.write("a.sh", concat!("cd /tmp\ncurl https://crates.", "io/x\n"));
    small.write("b.toml", concat!("\n# see /root", "/notes\n"));
    assert_eq!(small.places("machine"), ["a.sh:2", "b.toml:2"]);
}

#[test]
fn a_command_in_the_readme_that_does_not_exist_is_found() {
    let small = Small::new(&[]);
    small.write("Makefile", "build: setup\ndemo-once:\n");
    small.write(
        "README.md",
        "```sh\nmake build    # a comment\nmake ARGS=\"--x y\" nothing\n```\nUse `make demo-once` or `make gone X=1`.\n\n```\nmake not-a-shell\n```\n",
    );
    assert_eq!(small.places("readme"), ["README.md:3", "README.md:5"]);
    small.write("README.md", "Call `filial status`.\n");
    let found = small.findings("readme");
    assert!(found.len() == 1 && found[0].text.contains("is not built"), "{found:?}");
}

#[test]
fn a_file_that_a_document_names_and_that_is_gone_is_found() {
    let small = Small::new(&[("one/src/a.rs", "")]);
    small.write(
        "one/README.md",
        "`src/a.rs`, `one/src/a.rs`, `src/gone.rs`\nsee [it](src/a.rs), [that](src/gone.md#part), [web](https://x.y/z)\n\
         `and/or`, `/v1/x`, `one/src/gone.rs:12`, `make x/y`, `target/x`, `src/NAME/x`\n",
    );
    assert_eq!(small.places("links"), ["one/README.md:1", "one/README.md:2", "one/README.md:3"]);
}
