//! Words in texts for users, in comments, and the first lines of documentation.

use crate::tree::Small;

#[test]
fn texts_for_users_are_read_wherever_they_stand() {
    let small = Small::new(&[
        (
            "one/src/a.rs",
            "/// Nobody reads this but programmers.\nfn f() { say(\"Nobody is here\"); }\n\
             #[derive(Error)]\n#[error(\"nobody came\")]\nstruct E;\nfn g() { println!(\"{} for nobody\", 1); }\n\
             #[cfg(test)]\nmod tests { fn f() { say(\"nobody\"); } }\n",
        ),
        (
            "one/src/b.rs",
            "#[derive(clap::Parser)]\nstruct Arguments {\n    /// What nobody needs.\n    #[arg(long)]\n    x: bool,\n}\n",
        ),
    ]);
    small.write("notes.md", "First paragraph.\n\nA line and\nNobody in it, `make x`.\n");
    small.write("settings.toml", "x = \"nobody\"\n# for nobody\n");
    small.write("run.sh", "user=nobody\necho \"nobody\"\n");
    let mut places = small.places("words");
    places.sort();
    let expected = [
        "notes.md:4",
        "one/src/a.rs:2",
        "one/src/a.rs:4",
        "one/src/a.rs:6",
        "one/src/b.rs:3",
        "run.sh:2",
        "settings.toml:2",
    ];
    assert_eq!(places, expected);
}

#[test]
fn an_excused_text_and_an_exception_pass() {
    let small = Small::new(&[("one/src/a.rs", "fn f() { say(\"run as nobody\"); say(\"NOBODY\"); }\n")]);
    assert_eq!(small.places("words").len(), 1);
    let rules = std::fs::read_to_string(small.path().join("tests/house/house.toml")).unwrap();
    let excuse = "[[excused]]\nfile = \"one/src/a.rs\"\ntext = \"run as nobody\"\nreason = \"a user\"\n";
    small.write("tests/house/house.toml", &format!("{rules}{excuse}"));
    assert_eq!(small.places("words"), Vec::<String>::new());
    small.write("tests/house/house.toml", &format!("{rules}texts_left_out = [{{ path = \"one\", reason = \"r\" }}]\n"));
    assert_eq!(small.places("words"), Vec::<String>::new());
}

#[test]
fn comments_are_read_on_demand() {
    let small = Small::new(&[("one/src/a.rs", "//! A module.\n\n// It is for\n// nobody.\nfn f() {}\n")]);
    assert_eq!(small.places("comments"), ["one/src/a.rs:4"]);
}

#[test]
fn a_long_first_line_of_documentation_is_found() {
    let long = "x".repeat(90);
    let fits = "x".repeat(89);
    let text = format!(
        "/// {long}\nfn f() {{}}\n/// {fits}\n/// {long}\nfn g() {{}}\nstruct S {{\n    /// {long}\n    x: u8,\n}}\n"
    );
    let small = Small::new(&[("one/src/a.rs", &text)]);
    assert_eq!(small.places("summaries"), ["one/src/a.rs:1", "one/src/a.rs:7"]);
}
