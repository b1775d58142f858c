//! A trial ends without its agent: `terminal-helper end-trial`, as systemd asks it when the deadline passes. Whatever it
//! answers but 0, systemd restarts the machine.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use crate::support::release::{digest, v2};
use crate::support::scene::Scene;
use bootslot::{BootSlots, BootState, Trial};
use fleet_types::Slot;
use terminal_agent::model::request::{Order, Request};

const ENDED: i32 = 10;
const ON_TRIAL: BootState = BootState { default: Slot::A, trial: Some(Trial { slot: Slot::B, left: 1 }) };
const SPENT: BootState = BootState { default: Slot::A, trial: Some(Trial { slot: Slot::B, left: 0 }) };

/// The new slot was booted, on trial.
fn trial_boot() -> Scene {
    let scene = Scene::new();
    scene.put("cmdline", b"root=PARTLABEL=slot-b filial.trial=1 panic=10\n");
    scene.put("os-release", b"IMAGE_VERSION=2.0.0\n");
    scene.block().write(&ON_TRIAL).unwrap();
    scene
}

/// The exit code, and what was said.
fn end(scene: &Scene) -> (i32, String) {
    let output = scene.end_trial(&[]);
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn state(scene: &Scene) -> BootState {
    scene.block().read().unwrap()
}

#[test]
fn an_unconfirmed_trial_is_over_and_says_so() {
    let scene = trial_boot();
    assert_eq!(end(&scene).0, ENDED);
    assert_eq!(state(&scene), SPENT);
    assert_eq!(state(&scene).boot().0, Slot::A, "the bootloader goes back");
    let note: serde_json::Value =
        serde_json::from_slice(&fs::read(scene.path("state/ended-trial.json")).unwrap()).unwrap();
    assert_eq!(note["slot"], "B");
    assert!(note["text"].as_str().unwrap().contains("not confirmed in time"), "{note}");
    // Asked again it says the same, as JSON too.
    let output = scene.end_trial(&["--json"]);
    assert_eq!(output.status.code(), Some(ENDED));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["outcome"], &said["restart"]), (&"ended".into(), &true.into()));
    assert!(!scene.path("confirmed").exists());
}

#[test]
fn a_confirmed_slot_stays_and_is_marked() {
    let mut scene = trial_boot();
    scene.start();
    assert!(!scene.path("confirmed").exists());
    assert_eq!(scene.ask(&Request::Confirm, &[]), "");
    assert!(scene.path("confirmed").exists(), "terminal-trial.service is not even started");
    // The mark may be lost: the boot state has the last word, and makes it again.
    fs::remove_file(scene.path("confirmed")).unwrap();
    let (code, said) = end(&scene);
    assert_eq!((code, state(&scene)), (0, BootState::settled(Slot::B)), "{said}");
    assert!(scene.path("confirmed").exists());
    assert!(!scene.path("state/ended-trial.json").exists());
}

#[test]
fn a_confirmation_while_the_machine_goes_down_counts() {
    let mut scene = trial_boot();
    scene.start();
    assert_eq!(end(&scene).0, ENDED);
    assert_eq!(scene.ask(&Request::Confirm, &[]), "");
    assert_eq!(state(&scene).boot().0, Slot::B);
    assert_eq!(end(&scene).0, 0);
}

#[test]
fn a_given_up_trial_whose_restart_hangs_is_restarted() {
    let mut scene = trial_boot();
    scene.start();
    assert_eq!(scene.ask(&Request::GiveUp, &[]), "");
    assert_eq!(end(&scene).0, ENDED);
    assert_eq!(state(&scene), BootState::settled(Slot::A));
    // The same state on a boot outside a trial: the bootloader took the other slot for want of the default.
    scene.put("cmdline", b"root=PARTLABEL=slot-b\n");
    assert_eq!(end(&scene).0, 0);
    assert!(!scene.path("confirmed").exists());
}

#[test]
fn the_old_slot_ends_no_trial_of_the_other() {
    let mut scene = Scene::new();
    scene.start();
    scene.accepted();
    let order =
        Order { product: "kiosk".parse().unwrap(), manifest: digest(&v2().manifest), payload: v2().payload.sha256 };
    assert_eq!(scene.ask(&Request::Activate(order), &[]), "");
    assert_eq!(end(&scene).0, 0);
    scene.assert_on_trial();
}

#[test]
fn a_lost_block_ends_a_noted_trial_and_only_that() {
    let scene = trial_boot();
    fs::create_dir_all(scene.path("state")).unwrap();
    scene.put("state/trial.json", b"\"B\"");
    scene.put("grubenv", b"");
    assert_eq!(end(&scene).0, ENDED);
    assert_eq!(state(&scene), SPENT);
    scene.put("grubenv", b"");
    fs::remove_file(scene.path("state/trial.json")).unwrap();
    assert_eq!(end(&scene).0, 0, "it was confirmed: a trial is noted before it is set");
}

/// Each of these leaves only the restart, and the bootloader counts it.
#[test]
fn what_cannot_be_known_is_no_zero() {
    let scene = trial_boot();
    let broken = |name: &str, code: i32| {
        let (kept, now) = (scene.path(name), scene.path("away"));
        fs::rename(&kept, &now).unwrap();
        let (found, said) = end(&scene);
        assert_eq!(found, code, "{name}: {said}");
        fs::rename(&now, &kept).unwrap();
    };
    broken("grubenv", 1);
    broken("cmdline", 1);
    File::create(scene.path("cmdline")).unwrap();
    assert_eq!(end(&scene).0, 1);
    scene.put("cmdline", b"root=/dev/sda9\n");
    assert_eq!(end(&scene).0, 1);
    assert_eq!(state(&scene), ON_TRIAL);
}

/// Who could write them would name the devices, and the command that restarts.
#[test]
fn settings_that_others_can_write_are_refused() {
    let scene = trial_boot();
    assert_eq!(end(&scene).0, ENDED);
    let refused = |text: (i32, String)| assert!(text.0 == 2 && text.1.contains("Give it to root"), "{text:?}");
    fs::set_permissions(scene.path("agent.toml"), Permissions::from_mode(0o646)).unwrap();
    refused(end(&scene));
    fs::set_permissions(scene.path("agent.toml"), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(end(&scene).0, ENDED);
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        chown(scene.path("agent.toml"), Some(1), None).unwrap();
        refused(end(&scene));
    }
}

#[test]
fn it_needs_no_trust_store() {
    let scene = trial_boot();
    fs::create_dir_all(scene.path("state")).unwrap();
    scene.put("state/trust.json", b"garbage");
    scene.put("state/plan.json", b"garbage");
    fs::remove_file(scene.path("root.json")).unwrap();
    assert_eq!(end(&scene).0, ENDED);
}
