//! The root helper is asked by an agent that was taken over: it activates what was ordered, signed and written, and nothing
//! else.

use crate::support::release::{digest, v1, v2};
use crate::support::{Rig, fakes};
use bootslot::{BootState, Trial};
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, Slot};
use terminal_agent::helper::server::Helper;
use terminal_agent::model::request::{Answer, Evidence, Order, Request};
use trust::client::Client;
use wire::{Envelope, PLAN_PAYLOAD_TYPE};

/// A terminal whose other slot holds 2.0.0, written and read back by the agent, and the helper beside it.
struct Scene {
    rig: Rig,
    helper: Helper,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn new() -> Self {
        let mut rig = Rig::new(&v1(), &v2());
        rig.until("ready");
        let helper = Self::helper(&rig, "its own");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { rig, helper, runtime }
    }

    fn helper(rig: &Rig, folder: &str) -> Helper {
        let setup = fakes::setup(&rig.world, &rig.settings, folder);
        Helper::open(setup, fakes::hands(&rig.world)).unwrap()
    }

    /// What an honest agent has.
    fn evidence(&self) -> Evidence {
        let files = Client::open(&self.rig.settings.paths.trust_store()).unwrap().files();
        let metadata = files.into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect();
        Evidence { metadata, plan: self.rig.world.order() }
    }

    fn now(&self) -> DateTime<Utc> {
        self.rig.world.lock().now
    }

    /// The code of the refusal, empty if there was none.
    fn ask(&mut self, request: Request, now: DateTime<Utc>) -> String {
        let answer = self.runtime.block_on(self.helper.answer(request, b"anything", now));
        answer.map_or_else(|reason| reason.code.to_string(), |_| String::new())
    }

    fn does(&mut self, request: Request) -> String {
        let now = self.now();
        self.ask(request, now)
    }

    fn accept(&mut self, evidence: Evidence) -> String {
        let now = self.now();
        self.ask(Request::Accept(evidence), now)
    }

    fn activate(&mut self) -> String {
        let now = self.now();
        self.ask(Request::Activate(order()), now)
    }

    /// The bootloader was told nothing.
    fn assert_untouched(&self) {
        assert_eq!(self.rig.boot_state(), BootState::settled(Slot::A));
    }
}

fn order() -> Order {
    let release = v2();
    let (product, payload) = ("kiosk".parse().unwrap(), release.payload.sha256);
    Order { product, manifest: digest(&release.manifest), payload }
}

#[test]
fn what_was_ordered_signed_and_written_is_tried() {
    let mut scene = Scene::new();
    assert_eq!(scene.accept(scene.evidence()), "");
    assert_eq!(scene.activate(), "");
    let trial = Some(Trial { slot: Slot::B, left: 2 });
    assert_eq!(scene.rig.boot_state(), BootState { default: Slot::A, trial });
    // Asked again, also after a restart of the helper, it says the same.
    scene.helper = Scene::helper(&scene.rig, "its own");
    assert_eq!(scene.activate(), "");
}

#[test]
fn helper_asked_to_activate_an_unverified_slot() {
    let mut scene = Scene::new();
    assert_eq!(scene.activate(), "no-metadata", "nothing was accepted");
    assert_eq!(scene.accept(scene.evidence()), "");
    // The slot holds something else than was signed, by one byte.
    scene.rig.world.flip_byte(Slot::B, 200_000);
    assert_eq!(scene.activate(), "read-back-mismatch");
    scene.assert_untouched();
    scene.rig.world.flip_byte(Slot::B, 200_000);
    // Something else is asked for than was ordered.
    let now = scene.now();
    let others = [
        Order { payload: Digest::new([6; 32]), ..order() },
        Order { manifest: Digest::new([6; 32]), ..order() },
        Order { product: "tools".parse().unwrap(), ..order() },
    ];
    for (other, code) in others.into_iter().zip(["plan-other-digest", "plan-other-digest", "plan-not-for-me"]) {
        assert_eq!(scene.ask(Request::Activate(other), now), code);
    }
    // The order expired.
    assert_eq!(scene.ask(Request::Activate(order()), now + TimeDelta::days(31)), "plan-expired");
    scene.assert_untouched();
    assert_eq!(scene.activate(), "");
}

#[test]
fn what_the_agent_forges_is_not_accepted() {
    let mut scene = Scene::new();
    let honest = scene.evidence();
    let unsigned = Envelope::unsigned(PLAN_PAYLOAD_TYPE, &scene.rig.world.lock().plan.clone().unwrap()).unwrap();
    assert_eq!(scene.accept(Evidence { plan: unsigned, ..honest.clone() }), "plan-unknown-key");
    let mut altered = honest.clone();
    for text in altered.metadata.values_mut() {
        *text = text.replace(&v2().payload.sha256.to_string(), &"66".repeat(32));
    }
    // One that knows nothing yet: of what is known already no file is read again.
    scene.helper = Scene::helper(&scene.rig, "another");
    assert_eq!(scene.accept(altered), "metadata-digest");
    assert_eq!(scene.accept(Evidence { metadata: Default::default(), ..honest.clone() }), "metadata-unfetchable");
    assert_eq!(scene.activate(), "no-metadata");
    scene.assert_untouched();
    // Its floors are its own: what the agent forgets, it does not.
    assert_eq!(scene.accept(honest.clone()), "");
    scene.rig.world.edit_plan(|plan| plan.serial = 99);
    let older = scene.evidence();
    scene.helper = Scene::helper(&scene.rig, "another");
    assert_eq!(scene.accept(older), "plan-replayed");
    assert_eq!(scene.activate(), "");
}

/// The slot that is on trial, or was noted to be: nothing in it can be changed between its check and its boot.
#[test]
fn a_slot_on_trial_is_not_written() {
    let mut scene = Scene::new();
    let write = Request::Write { offset: 0 };
    assert_eq!(scene.accept(scene.evidence()), "");
    assert_eq!(scene.activate(), "");
    let before = scene.rig.world.slot_digest(Slot::B, 400_000);
    assert_eq!(scene.does(write.clone()), "boot-not-settled");
    // On trial: neither is the old slot, which is what remains.
    scene.rig.reboot();
    assert_eq!(scene.rig.world.running(), Slot::B);
    assert_eq!(scene.does(write.clone()), "boot-not-settled");
    assert_eq!(scene.rig.world.slot_digest(Slot::B, 400_000), before);
    assert_eq!(scene.does(Request::Confirm), "");
    assert_eq!(scene.does(write), "");
}

#[test]
fn only_a_slot_on_trial_is_confirmed_or_given_up() {
    let mut scene = Scene::new();
    assert_eq!(scene.does(Request::GiveUp), "boot-state-changed", "nothing is on trial");
    assert_eq!(scene.does(Request::Confirm), "", "it is the default: nothing changes");
    scene.assert_untouched();
    assert_eq!(scene.accept(scene.evidence()), "");
    assert_eq!(scene.activate(), "");
    assert_eq!(scene.does(Request::Confirm), "boot-state-changed", "the old slot runs");
    assert_eq!(scene.does(Request::GiveUp), "boot-state-changed");
    scene.rig.reboot();
    assert_eq!(scene.does(Request::Settle), "boot-state-changed", "a trial has to be confirmed");
    assert_eq!(scene.activate(), "read-back-mismatch", "the other slot holds the old release");
    assert_eq!(scene.does(Request::GiveUp), "");
    assert_eq!(scene.does(Request::GiveUp), "", "again");
    assert_eq!(scene.rig.boot_state(), BootState::settled(Slot::A));
    scene.rig.reboot();
    scene.assert_untouched();
}

/// An agent that was taken over could otherwise keep the machine from its work by nothing but restarts.
#[test]
fn a_restart_needs_a_cause() {
    let mut scene = Scene::new();
    assert_eq!(scene.does(Request::Restart), "restart-without-cause");
    assert_eq!(scene.accept(scene.evidence()), "");
    assert_eq!(scene.activate(), "");
    assert_eq!(scene.does(Request::Restart), "", "into the trial");
    scene.rig.reboot();
    assert_eq!(scene.does(Request::Restart), "", "a trial that cannot even be given up");
    assert_eq!(scene.does(Request::GiveUp), "");
    assert_eq!(scene.does(Request::Restart), "", "back");
    scene.rig.reboot();
    assert_eq!(scene.does(Request::Restart), "restart-without-cause");
    // The bootloader went back: the state is not settled, and a restart would change nothing all the same.
    assert_eq!(scene.activate(), "");
    scene.rig.reboot();
    scene.rig.reboot();
    scene.rig.reboot();
    assert_eq!((scene.rig.world.running(), scene.rig.boot_state().trial.map(|t| t.left)), (Slot::A, Some(0)));
    assert_eq!(scene.does(Request::Restart), "restart-without-cause");
}

#[test]
fn a_lost_boot_block_does_not_confirm_a_trial() {
    let mut scene = Scene::new();
    let lose = |scene: &Scene| {
        let block = std::fs::File::options().write(true).open(scene.rig.world.path("grubenv")).unwrap();
        block.set_len(0).unwrap();
    };
    lose(&scene);
    assert_eq!(scene.does(Request::Look), "boot-state-invalid");
    assert_eq!(scene.does(Request::Write { offset: 0 }), "boot-state-invalid");
    assert_eq!(scene.does(Request::Settle), "");
    scene.assert_untouched();
    assert_eq!(scene.accept(scene.evidence()), "");
    assert_eq!(scene.activate(), "");
    scene.rig.reboot();
    // Lost in the trial: the slot that runs has to be confirmed still, and what boots next is the old one.
    lose(&scene);
    assert_eq!(scene.does(Request::Settle), "");
    let spent = Some(Trial { slot: Slot::B, left: 0 });
    assert_eq!(scene.rig.boot_state(), BootState { default: Slot::A, trial: spent });
    assert_eq!(scene.does(Request::Confirm), "");
    assert_eq!(scene.rig.boot_state(), BootState::settled(Slot::B));
    // Confirmed is confirmed, whatever becomes of the block.
    lose(&scene);
    assert_eq!(scene.does(Request::Settle), "");
    assert_eq!(scene.rig.boot_state(), BootState::settled(Slot::B));
}

#[test]
fn only_the_other_slot_is_read_and_no_more_than_is_sensible() {
    let mut scene = Scene::new();
    let now = scene.now();
    let mut read = |offset, length| {
        let answer = scene.helper.answer(Request::Read { offset, length }, &[], now);
        scene.runtime.block_on(answer).map_err(|reason| reason.code.to_string())
    };
    let Answer::Bytes(head) = read(0, 19).unwrap() else { panic!("no bytes") };
    assert_eq!(head, b"IMAGE_VERSION=2.0.0");
    assert_eq!(read(400_000, 1).unwrap_err(), "slot-unreadable");
    assert_eq!(read(0, u32::MAX).unwrap_err(), "request-too-large");
}
