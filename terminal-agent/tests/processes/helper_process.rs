//! The root helper as a process, over its socket, asked by an agent that was taken over, by another user, and by an honest
//! one whose helper is killed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::support::release::{TestRelease, digest, v1, v2};
use crate::support::scene::{PATIENCE, SLOT, Scene};
use bootslot::{BootSlots, BootState};
use fleet_types::{Digest, Slot};
use terminal_agent::adapters::HelperDisks;
use terminal_agent::helper::protocol::{LENGTHS, MAX_BODY, read_answer};
use terminal_agent::model::request::{Order, Request};
use terminal_agent::ports::{Disks, HelperTrouble};
use test_kit::wait_for_blocking;

fn order(release: &TestRelease) -> Order {
    Order { product: "kiosk".parse().unwrap(), manifest: digest(&release.manifest), payload: release.payload.sha256 }
}

fn activate() -> Request {
    Request::Activate(order(&v2()))
}

#[test]
fn helper_asked_to_activate_an_unverified_slot() {
    let mut scene = Scene::new();
    scene.start();
    assert_eq!(scene.ask(&activate(), &[]), "no-metadata", "nothing was accepted");
    scene.accepted();
    let slot = File::options().write(true).open(scene.path("slot-b")).unwrap();
    let at = v2().image.len() as u64 - 1;
    let genuine = *v2().image.last().unwrap();
    slot.write_all_at(&[genuine ^ 1], at).unwrap();
    assert_eq!(scene.ask(&activate(), &[]), "read-back-mismatch");
    slot.write_all_at(&[genuine], at).unwrap();
    let other = Order { payload: Digest::new([6; 32]), ..order(&v2()) };
    assert_eq!(scene.ask(&Request::Activate(other), &[]), "plan-other-digest");
    assert_eq!(scene.ask(&Request::Activate(order(&v1())), &[]), "plan-other-digest");
    scene.assert_untouched();
    assert_eq!(scene.ask(&activate(), &[]), "");
    scene.assert_on_trial();
}

#[test]
fn another_branchs_and_another_terminals_plan() {
    let mut scene = Scene::new();
    scene.start();
    let evidence = scene.evidence(&scene.plan("south", "till-1"));
    assert_eq!(scene.ask(&evidence, &[]), "plan-wrong-branch");
    assert_eq!(scene.ask(&activate(), &[]), "no-metadata");
    let evidence = scene.evidence(&scene.plan("north", "till-2"));
    assert_eq!(scene.ask(&evidence, &[]), "", "a plan of this branch is accepted whomever it names");
    assert_eq!(scene.ask(&activate(), &[]), "plan-not-for-me");
    scene.assert_untouched();
}

#[test]
fn a_foreign_user_is_not_heard() {
    let mut scene = Scene::new();
    let listener = UnixListener::bind(scene.path("socket")).unwrap();
    // As systemd hands a socket over; the agent is another user than this one, be it root.
    scene.spawn(rustix::process::geteuid().as_raw() + 1, Some(listener));
    let evidence = scene.evidence(&scene.plan("north", "till-1"));
    for request in [evidence, activate(), Request::Restart, Request::Write { offset: 0 }, Request::Look] {
        let said = wait_for_blocking("the helper to answer", PATIENCE, || match scene.socket().call(&request, b"x") {
            Err(HelperTrouble::Refused(reason)) => Ok(reason),
            other => Err(format!("{other:?}")),
        });
        assert_eq!(said.code, "foreign-user", "{}", said.text);
        assert!(said.text.contains("Check helper.agent_user"), "{}", said.text);
    }
    scene.assert_untouched();
    assert!(!scene.path("restarted").exists());
}

#[test]
fn garbage_oversized_and_slow_requests() {
    let mut scene = Scene::new();
    scene.start();
    let say = |bytes: &[u8], end: bool| {
        let mut stream = UnixStream::connect(scene.path("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // What is refused by its first bytes is not read to its end.
        let _ = stream.write_all(bytes);
        if end {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        read_answer(&mut stream).unwrap().unwrap_err().code.to_string()
    };
    let framed = |head: &[u8], body: usize| {
        let lengths = [head.len(), body].map(|n| u32::try_from(n).unwrap().to_be_bytes());
        [&lengths.concat(), head].concat()
    };
    assert_eq!(say(&[0xff; 4096], false), "request-too-large");
    assert_eq!(say(&framed(b"{}", MAX_BODY + 1), false), "request-too-large");
    assert_eq!(say(&framed(b"not json", 0), false), "request-malformed");
    assert_eq!(say(&framed(br#"{"ask":"activate","device":"/dev/sda"}"#, 0), false), "request-malformed");
    assert_eq!(say(&framed(br#"{"ask":"look"}"#, 9), true), "request-malformed", "its body never comes");
    assert_eq!(say(b"", true), "request-malformed");
    assert_eq!(say(&[0; LENGTHS - 1], false), "request-too-slow", "it stands still");
    scene.assert_untouched();
    assert_eq!(scene.ask(&Request::Look, &[]), "", "it answers as before");
}

#[test]
fn slots_are_written_through_it_until_one_is_on_trial() {
    let mut scene = Scene::new();
    scene.put("slot-b", b"old").set_len(SLOT).unwrap();
    scene.start();
    scene.accepted();
    assert_eq!(scene.ask(&activate(), &[]), "read-back-mismatch");
    let disks = HelperDisks::new(scene.socket());
    let mut disk = disks.open(Slot::B).unwrap();
    assert_eq!(disk.length().unwrap(), SLOT);
    let image = v2().image;
    disk.write_at(0, &image).unwrap();
    disk.sync().unwrap();
    // More at once than one request takes.
    let mut back = vec![0; 5 << 20];
    disk.drop_caches().unwrap();
    disk.read_at(1, &mut back).unwrap();
    assert_eq!(back[..image.len() - 1], image[1..]);
    assert!(disk.write_at(SLOT, b"x").is_err(), "past the end");
    assert_eq!(scene.ask(&activate(), &[]), "");
    assert_eq!(scene.ask(&Request::Write { offset: 0 }, b"evil"), "boot-not-settled");
    let mut head = [0; 19];
    File::open(scene.path("slot-b")).unwrap().read_exact(&mut head).unwrap();
    assert_eq!(&head, b"IMAGE_VERSION=2.0.0");
    assert!(!scene.path("restarted").exists());
    assert_eq!(scene.ask(&Request::Restart, &[]), "");
    assert!(scene.path("restarted").exists());
}

#[test]
fn killed_in_the_middle_it_is_asked_again() {
    let mut scene = Scene::new();
    scene.start();
    scene.accepted();
    let mut broken = 0;
    for _ in 0..12 {
        let socket = scene.socket();
        let asked = std::thread::spawn(move || socket.call(&activate(), &[]));
        scene.kill();
        let answer = asked.join().unwrap();
        broken += usize::from(matches!(answer, Err(HelperTrouble::Away(_))));
        // Whatever it was doing: the block holds one state or the other.
        let state = scene.block().read().unwrap();
        assert!(state == BootState::settled(Slot::A) || state.trial.is_some(), "{state:?}");
        scene.start();
    }
    assert!(broken > 0, "it was never killed before it answered: this shows nothing");
    assert_eq!(scene.ask(&activate(), &[]), "", "what it accepted, it has kept");
    scene.assert_on_trial();
    assert_eq!(scene.ask(&Request::Settle, &[]), "");
    scene.assert_untouched();
}
