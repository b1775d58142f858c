//! Help and usage.

use super::kit::{code, filial, stderr, stdout};

fn check(path: &str, command: &clap::Command) {
    let mut command = command.clone();
    let help = command.render_long_help().to_string();
    assert!(help.contains("Example:\n  filial "), "`{path} --help` has no example:\n{help}");
    let example = help.split("Example:\n").nth(1).unwrap();
    assert!(path == "filial" || example.contains(path), "the example of `{path}` shows another command:\n{example}");
    assert!(command.get_about().is_some(), "{path} does not say what it is for");
    for sub in command.get_subcommands() {
        check(&format!("{path} {}", sub.get_name()), sub);
    }
}

#[test]
fn every_command_has_an_example_in_its_help() {
    let command = filial::command();
    command.clone().debug_assert();
    check("filial", &command);
    assert_eq!(command.get_subcommands().count(), 17);
}

#[test]
fn the_examples_are_commands_that_are_understood() {
    fn walk(command: &clap::Command, seen: &mut usize) {
        let help = command.clone().render_long_help().to_string();
        let lines = help.split("Example:\n").nth(1).unwrap().lines();
        for line in lines.filter_map(|l| l.strip_prefix("  ")) {
            for one in line.split(" && ").map(|l| l.split(" | ").next().unwrap()) {
                // A quoted word counts as one, whatever is in it.
                let one =
                    one.split('"').enumerate().map(|(i, s)| if i % 2 == 1 { "quoted" } else { s }).collect::<String>();
                // A group's example may name one of its commands; each is a whole line.
                let parsed = filial::command().try_get_matches_from(one.split_whitespace());
                assert!(parsed.is_ok(), "{one}: {}", parsed.unwrap_err());
                *seen += 1;
            }
        }
        command.get_subcommands().for_each(|sub| walk(sub, seen));
    }
    let mut seen = 0;
    walk(&filial::command(), &mut seen);
    assert!(seen > 20, "{seen}");
}

#[test]
fn exit_codes_are_documented() {
    let dir = tempfile::tempdir().unwrap();
    let help = stdout(&filial(dir.path(), &["--help"]));
    for line in [
        "0  done",
        "1  the command failed",
        "2  the command line",
        "3  the server cannot",
        "4  the checklist rejected",
        "5  the release awaits",
        "130  interrupted",
    ] {
        assert!(help.contains(line), "{help}");
    }
}

#[test]
fn wrong_arguments_exit_2_and_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    for (args, says) in [
        (&["relaese"][..], "relaese"),
        (&["release", "pack"], "SOURCE"),
        (&["assign", "North!", "kiosk", "2.4.0"], "branch name"),
        (&["assign", "north", "kiosk", "2.4"], "semantic version"),
        (&["terminal", "show", "till-1"], "terminal name"),
        (&["status", "--interval", "0"], "0.1 to 3600"),
        (&["status", "--token", "secret"], "--token"),
    ] {
        let output = filial(dir.path(), args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a file that stands in the way is a plain file")]
fn every_command_has_a_manual_page() {
    fn pages(command: &clap::Command, prefix: &str, found: &mut Vec<String>) {
        let name =
            if prefix.is_empty() { command.get_name().to_owned() } else { format!("{prefix}-{}", command.get_name()) };
        for sub in command.get_subcommands() {
            pages(sub, &name, found);
        }
        found.push(name);
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man1");
    assert_eq!(code(&filial(dir.path(), &["man", folder.to_str().unwrap()])), 0);
    let mut expected = Vec::new();
    pages(&filial::command(), "", &mut expected);
    assert!(expected.len() > 20, "{expected:?}");
    for name in expected {
        let page = std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(page.contains(".TH") && page.contains(".SH SYNOPSIS") && page.contains("Example:"), "{name}:\n{page}");
    }
    let taken = dir.path().join("taken");
    std::fs::write(&taken, "").unwrap();
    let refused = filial(dir.path(), &["man", taken.to_str().unwrap()]);
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("taken"), "{}", stderr(&refused));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the shell that reads the script is a process")]
fn completions_are_a_script_that_the_shell_reads() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(stdout(&filial(dir.path(), &["completions", shell])).contains("filial"), "{shell}");
    }
    let script = dir.path().join("filial.bash");
    std::fs::write(&script, stdout(&filial(dir.path(), &["completions", "bash"]))).unwrap();
    let complete = format!(
        ". {} && COMP_WORDS=(filial rel) COMP_CWORD=1 && _filial filial rel filial && echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let output = std::process::Command::new("bash").args(["--norc", "-c", &complete]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "release",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(code(&filial(dir.path(), &["completions", "tcsh"])), 2);
}
