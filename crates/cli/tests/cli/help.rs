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
        (&["terminal", "show", "till-1"], "written BRANCH/NAME"),
        (&["status", "--interval", "0"], "0.1 to 3600"),
        (&["status", "--token", "secret"], "--token"),
        (&["audit", "list", "--before", "x"], "expected the number that the same command without --before prints"),
        (&["incidents", "--before", "x"], "expected the number that"),
        (&["audit", "list", "--limit", "x"], "expected a whole number from 1 to 500"),
        (&["token", "create", "ci", "--days", "99999999999"], "expected a whole number from 1 to 3660"),
        (&["token", "revoke", "nope"], "expected the id of a token: `filial token list` lists them"),
        (&["trust", "propose", "f", "kiosk", "--out", "p"], "the role of product kiosk is product-kiosk"),
        (&["trust", "propose", "f", "Kiosk!", "--out", "p"], "`filial trust inspect` lists them"),
        (&["trust", "propose", "f", "root", "--key", "x", "--out", "p"], "as `filial trust key` prints it"),
    ] {
        let output = filial(dir.path(), args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn help_states_what_is_required_and_what_is_the_default() {
    let dir = tempfile::tempdir().unwrap();
    for (args, says) in [
        (&["token", "create", "--help"][..], "(366 unless changed) [default: 90]"),
        (&["release", "pack", "--help"], "required by head office's default policy"),
        (&["--help"], "`terminal list|deny|allow`"),
    ] {
        let help = stdout(&filial(dir.path(), args));
        let words: Vec<&str> = help.split_whitespace().collect();
        assert!(words.join(" ").contains(says), "{help}");
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

#[test]
fn a_closed_pipe_ends_every_command_quietly_and_a_full_disk_does_not() {
    let dir = super::kit::packed();
    for args in [
        &["--help"][..],
        &["--version"],
        &["release", "pack", "--help"],
        &["completions", "bash"],
        &["release", "inspect", "kiosk-2.4.0.upd"],
        &["release", "validate", "kiosk-2.4.0.upd", "--json"],
        &["torrent", "create", "kiosk-2.4.0.upd"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = super::kit::command(dir.path(), args).stdout(writer).output().unwrap();
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{args:?}");
    }
    let full = std::fs::File::create("/dev/full").unwrap();
    let output = super::kit::command(dir.path(), &["completions", "bash"]).stdout(full).output().unwrap();
    let text = stderr(&output);
    assert!(
        code(&output) == 1 && text.contains("Cannot write to standard output") && text.contains("to do:"),
        "{text}"
    );
    // Standard error may be closed as well.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = super::kit::command(dir.path(), &["release", "inspect", "none.upd"]).stderr(writer).output().unwrap();
    assert_eq!(code(&output), 1);
}

#[test]
fn examples_keep_their_lines_on_a_narrow_screen() {
    let dir = tempfile::tempdir().unwrap();
    let output = super::kit::command(dir.path(), &["release", "pack", "--help"]).env("COLUMNS", "40").output().unwrap();
    let help = stdout(&output);
    assert!(help.contains(EXAMPLE) && !help.contains('\u{a0}'), "{help}");
    let options = help.split("Example:").next().unwrap();
    assert!(options.contains("Fills in sizes and digests of the\n"), "the rest is wrapped: {help}");
}

#[test]
fn empty_environment_variables_count_as_unset() {
    let dir = super::kit::packed();
    for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "HOME", "FILIAL_SERVER", "FILIAL_AT", "FILIAL_AUTHORITY"] {
        let mut command = super::kit::command(dir.path(), &["release", "validate", "kiosk-2.4.0.upd"]);
        let output = command.env(name, "").output().unwrap();
        assert_eq!(code(&output), 0, "{name}: {}", stderr(&output));
    }
    let mut command = super::kit::command(dir.path(), &["logout"]);
    let output =
        command.env("XDG_CONFIG_HOME", "").env("HOME", dir.path()).env("FILIAL_TOKEN_FILE", "").output().unwrap();
    assert!(stderr(&output).contains("not logged in at https://127.0.0.1:7001"), "{}", stderr(&output));
}

const EXAMPLE: &str = include_str!("../../src/args/release.example.toml");

#[test]
fn the_example_of_release_toml_is_the_readmes_and_can_be_released() {
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains(&format!("```toml\n{EXAMPLE}```")), "README.md shows another release.toml");
    let dir = super::kit::source();
    let every: String = EXAMPLE
        .lines()
        .map(|l| l.strip_prefix("# ").filter(|l| l.contains('=')).unwrap_or(l).to_owned() + "\n")
        .collect();
    super::kit::put(&dir.path().join("src/tools/install.sh"), b"#!/bin/sh\n");
    for text in [EXAMPLE, &every] {
        super::kit::put(&dir.path().join("src/release.toml"), text.as_bytes());
        let packed = filial(dir.path(), &["release", "pack", "src"]);
        assert_eq!(code(&packed), 0, "{}", stderr(&packed));
        let judged = filial(dir.path(), &["release", "validate", "kiosk-2.4.0.upd"]);
        assert_eq!(code(&judged), 0, "{}{}", stdout(&judged), stderr(&judged));
        assert!(!stdout(&judged).contains('✗') && !stdout(&judged).contains("! "), "{}", stdout(&judged));
    }
    super::kit::put(&dir.path().join("src/release.toml"), b"product = \"kiosk\"\n");
    let refused = filial(dir.path(), &["release", "pack", "src"]);
    assert!(
        stderr(&refused).contains("`filial release pack --help` shows a complete release.toml"),
        "{}",
        stderr(&refused)
    );
}
