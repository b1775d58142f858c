//! `terminal-agent run PRODUCT -- COMMAND…` and `terminal-agent packages`, as a scheduler and a person start them.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::package::{entry, of_tar, tar, tools};
use crate::support::release::v1;
use crate::support::{Rig, TestRelease};
use terminal_agent::packages::place::PlaceError;

const DEFAULTS: &str = include_str!("../../dist/terminal-agent.toml");

/// A terminal whose plan names these packages, and the configuration of its command line.
struct Machine {
    rig: Rig,
    config: PathBuf,
}

impl Machine {
    fn new(packages: &[&TestRelease]) -> Self {
        let rig = Rig::new(&v1(), &v1());
        rig.offer_packages(packages);
        let config = rig.world.path("agent.toml");
        let mut text = DEFAULTS.to_owned();
        for (key, folder) in [("state_dir", &rig.settings.paths.state_dir), ("data_dir", &rig.settings.paths.data_dir)]
        {
            let line = DEFAULTS.lines().find(|l| l.starts_with(&format!("#{key} ="))).unwrap();
            text = text.replace(line, &format!("{key} = {folder:?}"));
        }
        std::io::Write::write_all(&mut std::fs::File::create(&config).unwrap(), text.as_bytes()).unwrap();
        Self { rig, config }
    }

    #[expect(clippy::disallowed_methods, reason = "the program itself is tested")]
    fn agent(&self, arguments: &[&str]) -> Output {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_terminal-agent"));
        command.arg("--config").arg(&self.config).args(arguments).output().unwrap()
    }

    /// The exit code, and all that was said.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let out = self.agent(&[&["run"], arguments].concat());
        let said = [out.stdout, out.stderr].concat();
        (out.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    fn asked(&self) -> bool {
        std::fs::remove_file(self.rig.settings.paths.go_on()).is_ok()
    }
}

#[test]
fn a_command_runs_in_a_complete_package_and_its_exit_code_is_passed_on() {
    let mut machine = Machine::new(&[&tools("1.0.0")]);
    machine.rig.until_complete("1.0.0");
    assert_eq!(machine.run(&["tools", "--", "./bin/tool"]).0, 3);
    assert_eq!(machine.run(&["tools", "--", "true"]), (0, String::new()));
    let script = "pwd; echo $FILIAL_PACKAGE $FILIAL_PRODUCT $FILIAL_VERSION; cat version; echo $*";
    let (code, said) = machine.run(&["tools", "--verify", "--", "sh", "-c", script, "sh", "--quiet", "-x"]);
    let tree = machine.rig.place("1.0.0").tree().canonicalize().unwrap().display().to_string();
    assert_eq!((code, said), (0, format!("{tree}\n{tree} tools 1.0.0\ntools 1.0.0\n--quiet -x\n")));
    assert_eq!(machine.run(&["tools", "--", "sh", "-c", "kill -9 $$"]).0, 128 + 9);
    let (code, said) = machine.run(&["tools", "--", "./no-such-program"]);
    assert!(code == 1 && said.contains("cannot run ./no-such-program"), "{code} {said}");
    assert!(!machine.asked(), "nothing is to be asked for");
}

/// What lies in its folders is the agent's user's: by root it would be that user's way to become root.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test gives a folder away")]
fn started_by_root_a_package_runs_as_the_agents_user() {
    const AGENT: &str = "64001";
    if !rustix::process::geteuid().is_root() {
        return test_kit::skip("only root can become another user");
    }
    let mut machine = Machine::new(&[&tools("1.0.0")]);
    machine.rig.until_complete("1.0.0");
    assert_eq!(machine.run(&["tools", "--", "id", "-u"]), (0, "0\n".to_owned()), "what is root's stays root's");
    let world = machine.config.parent().unwrap();
    let given = std::process::Command::new("chown").args(["-R", AGENT]).arg(world).status().unwrap();
    assert!(given.success());
    // A link that would have root write elsewhere.
    let (elsewhere, go_on) = (tempfile::tempdir().unwrap(), machine.rig.settings.paths.go_on());
    let target = elsewhere.path().join("roots");
    test_kit::write_secret(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, &go_on).unwrap();
    assert_eq!(machine.run(&["tools", "--", "id", "-u"]), (0, format!("{AGENT}\n")));
    // Root has put the folder on another disk.
    let (state, moved) = (machine.rig.settings.paths.state_dir.clone(), world.join("moved"));
    std::fs::rename(&state, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &state).unwrap();
    assert_eq!(machine.run(&["tools", "--", "id", "-u"]), (0, format!("{AGENT}\n")));
    std::fs::remove_file(machine.rig.place("1.0.0").tree().with_extension("complete")).unwrap();
    assert_eq!(machine.run(&["tools", "--", "true"]).0, 75);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn what_is_not_complete_is_exit_75_and_asks_the_service_to_go_on() {
    let mut machine = Machine::new(&[&tools("1.0.0")]);
    let (code, said) = machine.run(&["tools", "--", "true"]);
    assert!(code == 75 && said.contains("has not run here yet"), "{code} {said}");
    machine.rig.world.lock().branch_up = false;
    machine.rig.turns(2);
    let (code, said) = machine.run(&["tools", "--", "true"]);
    assert!(code == 75 && said.contains("has not sent a plan"), "{code} {said}");
    machine.rig.world.lock().branch_up = true;
    machine.rig.world.lock().pieces_a_look = 0;
    machine.rig.until_that("fetching", |rig| rig.package("1.0.0").is_some_and(|p| p.prepared));
    assert!(machine.asked());
    let (code, said) = machine.run(&["tools", "--", "touch", "/nonexistent/it-ran"]);
    let total = tools("1.0.0").artifact.length;
    assert!(
        code == 75 && said.contains(&format!("tools/1.0.0/tools is not complete yet, 0 of {total} bytes")),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    assert!(machine.asked(), "the service was not asked to go on");
}

#[test]
fn a_product_that_no_plan_names_is_exit_69() {
    let mut machine = Machine::new(&[&tools("1.0.0")]);
    machine.rig.until_complete("1.0.0");
    for wrong in [&["games", "--", "true"][..], &["tools", "--version", "9.0.0", "--", "true"]] {
        let (code, said) = machine.run(wrong);
        assert!(code == 69 && said.contains("Assign a release that has one"), "{wrong:?}: {code} {said}");
    }
    // The slot's product is not a package.
    assert_eq!(machine.run(&["kiosk", "--", "true"]).0, 69);
}

#[test]
fn wrong_arguments_are_exit_2() {
    let machine = Machine::new(&[&tools("1.0.0")]);
    for wrong in [&["tools"][..], &["--", "true"], &["--verify"], &["Tools!", "--", "true"], &["tools", "true"]] {
        assert_eq!(machine.run(wrong).0, 2, "{wrong:?}");
    }
}

#[test]
fn of_several_packages_one_has_to_be_named() {
    let (one, two) = (tools("1.0.0"), of_tar("1.0.1", tar(&[("version", b'0', 0o644, b"fonts\n")])));
    let mut machine = Machine::new(&[&one]);
    let mut fonts = two.clone();
    let manifest = String::from_utf8(two.manifest.clone()).unwrap().replace("name = \"tools\"", "name = \"fonts\"");
    fonts.manifest = manifest.into_bytes();
    fonts.payload.name = "fonts".into();
    machine.rig.world.lock().releases.push(fonts.clone());
    machine.rig.world.edit_plan(|plan| {
        plan.serial += 1;
        plan.packages.push(entry(&fonts));
    });
    machine.rig.until_that("both", |rig| rig.journal().packages.values().filter(|p| p.complete).count() == 2);
    let (code, said) = machine.run(&["tools", "--", "cat", "version"]);
    assert!(code == 2 && said.contains("--name: tools, fonts"), "{code} {said}");
    assert_eq!(machine.run(&["tools", "--name", "fonts", "--", "cat", "version"]), (0, "fonts\n".to_owned()));
    assert_eq!(machine.run(&["tools", "--version", "1.0.0", "--", "cat", "version"]), (0, "tools 1.0.0\n".to_owned()));
}

#[test]
fn a_package_that_was_changed_is_found_by_verify_and_one_without_its_record_always() {
    let mut machine = Machine::new(&[&tools("1.0.0")]);
    machine.rig.until_complete("1.0.0");
    let place = machine.rig.place("1.0.0");
    let strange = place.tree().join("strange");
    std::fs::File::create(&strange).unwrap();
    let (code, said) = machine.run(&["tools", "--verify", "--", "true"]);
    assert!(code == 75 && said.contains("was changed after it was unpacked"), "{code} {said}");
    assert_eq!(machine.run(&["tools", "--", "true"]).0, 0);
    std::fs::remove_file(strange).unwrap();
    assert_eq!(machine.run(&["tools", "--verify", "--", "true"]).0, 0);
    std::fs::remove_file(place.tree().with_extension("complete")).unwrap();
    assert_eq!(machine.run(&["tools", "--", "true"]).0, 75);
    machine.rig.until_that("noticed", |rig| !rig.is_complete("1.0.0"));
    machine.rig.until_complete("1.0.0");
    assert_eq!(machine.run(&["tools", "--", "true"]).0, 0);
}

#[test]
fn packages_are_listed_for_people_and_programs() {
    let mut machine = Machine::new(&[&tools("1.0.0")]);
    machine.rig.until_complete("1.0.0");
    let out = machine.agent(&["packages", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let total = tools("1.0.0").artifact.length;
    assert_eq!((&json[0]["product"], &json[0]["state"]), (&"tools".into(), &"complete".into()));
    assert_eq!((&json[0]["have_bytes"], &json[0]["total_bytes"]), (&total.into(), &total.into()));
    assert!(Path::new(json[0]["folder"].as_str().unwrap()).join("bin/tool").exists());
    let text = String::from_utf8(machine.agent(&["packages"]).stdout).unwrap();
    assert!(text.contains("complete") && text.contains(&format!("{total} of {total}")), "{text}");
}

#[test]
fn the_help_of_both_shows_an_example() {
    let machine = Machine::new(&[]);
    for command in ["run", "packages"] {
        let help = String::from_utf8(machine.agent(&[command, "--help"]).stdout).unwrap();
        assert!(help.contains(&format!("Example:\n  terminal-agent {command}")), "{help}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program itself is tested")]
fn who_asks_it_to_end_asks_the_command() {
    use std::io::BufRead;
    let mut machine = Machine::new(&[&tools("1.0.0")]);
    machine.rig.until_complete("1.0.0");
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_terminal-agent"))
        .arg("--config")
        .arg(&machine.config)
        .args(["run", "tools", "--", "sh", "-c", script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // Meanwhile it is held: the package is not removed under it.
    assert!(matches!(machine.rig.place("1.0.0").clear(), Err(PlaceError::Held)));
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(5));
    assert!(machine.rig.place("1.0.0").clear().is_ok());
}
