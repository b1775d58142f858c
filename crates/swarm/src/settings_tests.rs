//! A configuration becomes an engine, or an error that names the key.

use std::time::Duration;

use super::*;

fn inputs(text: &str) -> EngineInputs {
    toml::from_str(text).unwrap()
}

/// As programs were configured before there was a choice.
const WITHOUT_KIND: &str = "[transmission]\nurl = \"http://127.0.0.1:9091/transmission/rpc\"\nuser = \"filial\"\n\
                            password_file = \"/etc/password\"\n";

#[test]
fn configuration_without_a_kind_keeps_its_engine() {
    let plain = inputs(WITHOUT_KIND).check(EngineRole::Branch).unwrap();
    let named = inputs(&format!("kind = \"transmission\"\n{WITHOUT_KIND}")).check(EngineRole::Branch).unwrap();
    assert_eq!(plain, named);
    let EngineConfig::Transmission(access) = plain;
    assert_eq!((access.user.as_str(), access.timeout), ("filial", Duration::from_secs(15)));
}

#[test]
fn unknown_engines_and_keys_are_refused_by_name() {
    let refused = |text: &str, role| inputs(text).check(role).unwrap_err().to_string();
    for kind in ["embedded", "deluge", ""] {
        let error = refused(&format!("kind = {kind:?}\n{WITHOUT_KIND}"), EngineRole::HeadOffice);
        assert!(error.contains("engine.kind") && error.contains("kind = \"transmission\""), "{error}");
    }
    let error = refused(&format!("download_dir = \"/srv\"\n{WITHOUT_KIND}"), EngineRole::Branch);
    assert!(error.contains("engine.download_dir") && error.contains("store.folder"), "{error}");
    assert!(inputs(&format!("download_dir = \"/srv\"\n{WITHOUT_KIND}")).check(EngineRole::Terminal).is_ok());
    assert!(toml::from_str::<EngineInputs>("transmision = {}").is_err());
}

#[test]
fn the_daemon_is_refused_by_the_key_that_is_wrong() {
    let good = inputs(WITHOUT_KIND).transmission;
    let refused = |inputs: TransmissionInputs| inputs.check(EngineRole::HeadOffice).unwrap_err().to_string();
    assert!(refused(TransmissionInputs { user: None, ..good.clone() }).contains("engine.transmission.user"));
    let relative = TransmissionInputs { password_file: Some("password".into()), ..good };
    assert!(refused(relative).ends_with("password_file = \"/etc/filial/head-office/transmission-password\""));
}

#[test]
fn terminal_needs_no_key_of_the_daemon() {
    let EngineConfig::Transmission(access) = EngineInputs::default().check(EngineRole::Terminal).unwrap();
    assert_eq!(access.url, "http://127.0.0.1:9091/transmission/rpc");
    assert_eq!((access.user.as_str(), access.timeout), ("filial", Duration::from_secs(10)));
    assert_eq!(access.password_file, Path::new("/etc/terminal-agent/rpc-password"));
    for role in [EngineRole::HeadOffice, EngineRole::Branch] {
        let error = EngineInputs::default().check(role).unwrap_err().to_string();
        assert!(error.contains("engine.transmission.url"), "{error}");
    }
}

#[test]
fn secrets_are_read_last_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let mut given = inputs(WITHOUT_KIND);
    given.transmission.password_file = Some(file.clone());
    let config = given.check(EngineRole::Branch).unwrap();
    let error = config.with_secrets().unwrap_err().to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
    #[expect(clippy::disallowed_methods, reason = "a test's file need not be durable")]
    std::fs::write(&file, "hunter2\n").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    let settings = config.with_secrets().unwrap();
    let EngineSettings::Transmission(daemon) = &settings;
    assert_eq!(daemon.password, "hunter2");
    assert!(!format!("{config:?} {settings:?}").contains("hunter2"), "a secret reached the log");
    assert!(settings.open().is_ok());
}
