//! The root helper is asked by an agent that was taken over: it activates what was ordered, signed and written, and nothing
//! else.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod support;

use bootslot::{BootState, SlotRoots, Trial};
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, Slot};
use support::Rig;
use support::release::{digest, v1, v2};
use terminal_agent::helper::{Evidence, Hands, Helper, Order, Request, Setup};
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
        let helper = Self::helper(&rig, "helper");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { rig, helper, runtime }
    }

    fn helper(rig: &Rig, folder: &str) -> Helper {
        let (ports, state) = (rig.ports(), rig.world.path(folder));
        std::fs::create_dir_all(&state).unwrap();
        let setup = Setup {
            state,
            root: rig.settings.trust_root.clone(),
            branch: "north".parse().unwrap(),
            terminal: "till-1".parse().unwrap(),
            slots: SlotRoots { a: "PARTLABEL=slot-a".into(), b: "PARTLABEL=slot-b".into() },
            attempts: 2,
        };
        Helper::open(setup, Hands { disks: ports.disks, boot: ports.boot, host: ports.host }).unwrap()
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
        let answer = self.runtime.block_on(self.helper.answer(request, now));
        answer.map_or_else(|reason| reason.code, |()| String::new())
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
    scene.helper = Scene::helper(&scene.rig, "helper");
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
    // The order is over.
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
