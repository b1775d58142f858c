//! Who may import the module that holds all parts of a program.

use crate::tree::Small;

fn small(users: &str, files: &[(&str, &str)]) -> Small {
    let mut all = vec![("one/src/app.rs", "pub struct App;\n")];
    all.extend(files);
    let small = Small::new(&all);
    let rules = std::fs::read_to_string(small.path().join("tests/house/house.toml")).unwrap();
    let list = format!("{rules}[[compositions]]\nmodule = \"one/src/app.rs\"\nusers = {users}\n");
    small.write("tests/house/house.toml", &list);
    small
}

fn found(small: &Small) -> Vec<String> {
    small.findings("compositions").into_iter().map(|finding| format!("{}: {}", finding.file, finding.text)).collect()
}

const START: (&str, &str) = ("one/src/start.rs", "use crate::app::App;\nfn f(_: App) {}\n");

#[test]
fn a_module_of_the_domain_that_takes_all_parts_is_found() {
    for domain in [
        "use crate::app::App;\nfn f(_: &App) {}\n",
        "fn f(_: &crate::app::App) {}\n",
        "use crate::app;\nstruct S { app: std::sync::Arc<app::App> }\n",
        "use crate::again::App;\nfn f(_: &App) {}\n",
    ] {
        let again = ("one/src/again.rs", "pub use crate::app::App;\n");
        let small = small(r#"["one/src/start.rs"]"#, &[START, again, ("one/src/domain.rs", domain)]);
        let found = found(&small);
        assert!(
            found.len() == 1 && found[0].starts_with("one/src/domain.rs: imports App of one/src/app.rs"),
            "{domain}: {found:?}"
        );
    }
}

#[test]
fn what_composes_a_program_and_tests_may_take_all_parts() {
    let domain = ("one/src/domain.rs", "#[cfg(test)]\nmod tests { use crate::app::App; fn f(_: App) {} }\n");
    let small = small(r#"["one/src/start.rs"]"#, &[START, domain]);
    assert_eq!(found(&small), Vec::<String>::new());
}

#[test]
fn a_list_of_compositions_that_is_out_of_date_is_found() {
    let small = small(r#"["one/src/start.rs", "one/src/domain.rs"]"#, &[START, ("one/src/domain.rs", "")]);
    let needless = found(&small);
    assert!(needless.len() == 1 && needless[0].contains("one/src/domain.rs does not import"), "{needless:?}");
    let rules = std::fs::read_to_string(small.path().join("tests/house/house.toml")).unwrap();
    small.write("tests/house/house.toml", &rules.replace("\"one/src/app.rs\"", "\"one/src/gone.rs\""));
    let gone = found(&small);
    assert!(gone.len() == 1 && gone[0].contains("one/src/gone.rs does not exist"), "{gone:?}");
}
