//! The program as people start it.

use std::path::Path;
use std::process::Output;

use crate::support::Rig;
use crate::support::release::{v1, v2};
use terminal_agent::config::agent::{BootSetting, Settings};
use terminal_agent::config::inputs::Inputs;

const DEFAULTS: &str = include_str!("../../dist/terminal-agent.toml");

#[expect(clippy::disallowed_methods, reason = "the program itself is tested")]
fn agent(arguments: &[&str], config: &Path) -> Output {
    let program = env!("CARGO_BIN_EXE_terminal-agent");
    std::process::Command::new(program).arg("--config").arg(config).args(arguments).output().unwrap()
}

#[test]
fn the_default_configuration_can_be_used_as_it_is_and_with_every_key_set() {
    let every = DEFAULTS.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
        _ => line,
    });
    let every = every.collect::<Vec<_>>().join("\n");
    let used = |text: &str| {
        let inputs: Inputs = toml::from_str(text).unwrap();
        Settings::try_from(inputs).unwrap()
    };
    // A key that is shown commented out shows its default.
    assert_eq!(format!("{:#?}", used(DEFAULTS)), format!("{:#?}", used(&every)));
    assert!(
        every.lines().filter(|l| !l.starts_with('#')).count()
            > DEFAULTS.lines().filter(|l| !l.starts_with('#')).count() + 20
    );
}

#[test]
fn each_boot_backend_has_its_keys() {
    let with = |boot: &str| {
        let text = DEFAULTS.replace("grub_environment =", &format!("{boot}\n#grub_environment ="));
        let inputs: Inputs = toml::from_str(&text).unwrap();
        Settings::try_from(inputs).map(|s| s.boot).map_err(|e| e.to_string())
    };
    let uboot = |config: &str| BootSetting::UBoot {
        config: config.into(),
        defaults: "/etc/u-boot-initial-env".into(),
        tools: "/usr/bin".into(),
    };
    assert_eq!(with("backend = \"uboot\""), Ok(uboot("/etc/fw_env.config")));
    assert_eq!(with("backend = \"uboot\"\nuboot_config = \"/x\""), Ok(uboot("/x")));
    let custom = |marks| BootSetting::Custom { program: "/p".into(), arguments: vec!["a".into()], marks };
    let command = "backend = \"custom\"\ncustom_command = [\"/p\", \"a\"]";
    assert_eq!(with(command), Ok(custom(false)));
    assert_eq!(with(&format!("{command}\ncustom_marks = true")), Ok(custom(true)));
    for (boot, key) in [
        ("backend = \"grub\"", "boot.grub_environment"),
        ("backend = \"custom\"", "boot.custom_command"),
        ("backend = \"custom\"\ncustom_command = []", "boot.custom_command"),
        ("backend = \"custom\"\ncustom_command = [\"p\"]", "boot.custom_command"),
        ("backend = \"uboot\"\nuboot_tools = \"bin\"", "boot.uboot_tools"),
    ] {
        let error = with(boot).unwrap_err();
        assert!(error.contains(key), "{boot}: {error}");
    }
}

#[test]
fn check_config_says_what_is_wrong_and_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("agent.toml");
    std::fs::File::create(&config).unwrap();
    let out = agent(&["check-config"], &config);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && said.contains("branch.url: it is missing; write for example"), "{said}");
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/terminal-agent.toml");
    let out = agent(&["check-config"], &default);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let early = DEFAULTS.replace("#not_before = \"1970-", "not_before = \"2999-");
    test_kit::write_secret(&config, early).unwrap();
    let out = agent(&["check-config"], &config);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && said.contains("trust.not_before: 2999-01-01 00:00:00 UTC has not come yet"),
        "{said}"
    );
    // A secret that other users of the machine can read.
    for (key, usual) in [
        ("join_token_file", "/var/lib/terminal-agent/join-token"),
        ("password_file", "/etc/terminal-agent/rpc-password"),
    ] {
        let secret = dir.path().join(key);
        test_kit::write_secret(&secret, "s3cret").unwrap();
        let line = format!("#{key} = \"{usual}\"");
        assert!(DEFAULTS.contains(&line));
        test_kit::write_secret(&config, DEFAULTS.replace(&line, &format!("{key} = {secret:?}"))).unwrap();
        let out = agent(&["check-config"], &config);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let out = agent(&["check-config"], &config);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let remedy = format!("chmod 600 {}", secret.display());
        assert!(out.status.code() == Some(2) && said.contains("(mode 644)") && said.contains(&remedy), "{said}");
    }
}

#[test]
fn status_shows_the_journal() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    let over = tempfile::tempdir().unwrap();
    let config = over.path().join("agent.toml");
    let state_dir = rig.settings.paths.state_dir.display();
    let text = format!("{DEFAULTS}\n")
        .replace("#state_dir = \"/var/lib/terminal-agent\"", &format!("state_dir = \"{state_dir}\""));
    std::io::Write::write_all(&mut std::fs::File::create(&config).unwrap(), text.as_bytes()).unwrap();
    let out = agent(&["status", "--json"], &config);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&json["state"], &json["version"], &json["target"]),
        (&"confirmed".into(), &"2.0.0".into(), &"B".into())
    );
    let out = agent(&["status"], &config);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("confirmed since") && text.contains("kiosk 2.0.0 into slot B"), "{text}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the programs themselves are tested")]
fn both_programs_explain_themselves_on_narrow_screens_and_into_closed_pipes() {
    let agent = env!("CARGO_BIN_EXE_terminal-agent");
    let narrow = std::process::Command::new(agent).arg("--help").env("COLUMNS", "40").output().unwrap();
    let help = String::from_utf8(narrow.stdout).unwrap();
    assert!(help.contains(DEFAULTS.trim_end()), "a wrapped comment is not TOML: {help}");
    for program in [agent, env!("CARGO_BIN_EXE_terminal-helper")] {
        for arguments in [&["completions", "bash"][..], &["--help"], &["--version"]] {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = std::process::Command::new(program).args(arguments).stdout(writer).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{program} {arguments:?}: {output:?}");
        }
    }
}
