//! A terminal in a box: real boot block, real files for slots, the agent's own ports as strict fakes.
//!
//! The bootloader is simulated honestly: it reads the block that was written, takes an attempt off, and the slot that
//! it boots says by its own content which version it is.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

pub mod branch;
pub mod disks;
pub mod fakes;
pub mod package;
pub mod release;
pub mod scene;
pub mod swarm;
pub mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bootslot::{BootSlots, BootState, GrubEnv};
use fleet_types::{Slot, UpdateState};
use terminal_agent::agent::Agent;
use terminal_agent::config::agent::Settings;
use terminal_agent::config::inputs::Inputs;
use terminal_agent::memory::journal::Journal;
use terminal_agent::memory::keeper::load;
use terminal_agent::ports::Ports;

#[allow(unused_imports, reason = "each test file uses a part")]
pub use release::TestRelease;
#[allow(unused_imports, reason = "each test file uses a part")]
pub use world::{Port, World};

/// More turns than any update needs.
const MAX_TURNS: usize = 4_000;

pub struct Rig {
    pub world: Arc<World>,
    pub settings: Settings,
    runtime: tokio::runtime::Runtime,
    agent: Option<Agent>,
    /// Every state that was seen, in order, without repetitions.
    pub seen: Vec<&'static str>,
}

/// How the agent's process ends in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// `kill -9`: the machine goes on.
    Process,
    /// The plug is pulled: what was not synced is gone, and the bootloader starts.
    Power,
}

impl Rig {
    /// A terminal that runs `running` in slot A, with a plan that wants `wanted`.
    pub fn new(running: &TestRelease, wanted: &TestRelease) -> Self {
        let world = World::new(running);
        world.offer(wanted);
        let settings = settings(&world);
        GrubEnv::new(world.path("grubenv")).create(&BootState::settled(Slot::A)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { world, settings, runtime, agent: None, seen: Vec::new() }
    }

    pub fn ports(&self) -> Ports {
        fakes::ports(&self.world, &self.settings)
    }

    /// One turn of the agent, started if it does not run. False if a port's kill switch ended it.
    pub fn turn(&mut self) -> bool {
        let world = self.world.clone();
        let pause = catch_unwind(AssertUnwindSafe(|| {
            if self.agent.is_none() {
                self.agent = Some(Agent::new(self.ports(), self.settings.clone()).unwrap());
            }
            let agent = self.agent.as_mut().unwrap();
            self.runtime.block_on(agent.turn())
        }));
        match pause {
            Ok(pause) if !world.kill.tripped() => {
                world.advance(pause.max(Duration::from_millis(1)));
                self.note();
                if world.take_restart() {
                    self.reboot();
                }
                true
            }
            Err(panic) if !world.kill.tripped() => std::panic::resume_unwind(panic),
            _ => {
                self.agent = None;
                false
            }
        }
    }

    /// An admin gives the terminal the branch's join token again.
    pub fn give_token(&self) {
        let token = self.world.lock().branch.join_token(world::JOIN).unwrap();
        test_kit::write_secret(&self.world.path("join-token"), token.expose()).unwrap();
    }

    pub fn look_again(&mut self) {
        self.agent.as_mut().expect("it does not run").look_again();
    }

    fn note(&mut self) {
        let state = self.journal().state.name();
        if self.seen.last() != Some(&state) {
            self.seen.push(state);
        }
    }

    /// What lies on the disk, whatever the agent has in memory.
    pub fn journal(&self) -> Journal {
        load(&self.settings.paths.journal()).unwrap().expect("no journal")
    }

    pub fn state(&self) -> &'static str {
        self.journal().state.name()
    }

    pub fn reason(&self) -> String {
        self.journal().state.reason().map(|r| r.code.to_string()).unwrap_or_default()
    }

    pub fn boot_state(&self) -> BootState {
        GrubEnv::new(self.world.path("grubenv")).read().unwrap()
    }

    /// Ends the agent's process. What it had in memory is gone.
    pub fn cut(&mut self, how: Cut) {
        self.agent = None;
        self.world.kill.disarm();
        if how == Cut::Power || self.world.take_restart() {
            self.reboot();
        }
    }

    /// The machine restarts, the way the bootloader was told.
    pub fn reboot(&mut self) {
        self.agent = None;
        self.world.forget_unsynced();
        let env = GrubEnv::new(self.world.path("grubenv"));
        let (slot, trial) = match env.read() {
            Ok(state) => {
                let (slot, after) = state.boot();
                if after != state {
                    env.write(&after).unwrap();
                }
                (slot, after != state)
            }
            // GRUB's safe default when its block is unusable.
            Err(_) => (Slot::A, false),
        };
        self.world.boot_on_trial(slot, trial);
    }

    /// Turns until the state has this name, or fails with what the journal says.
    pub fn until(&mut self, state: &str) {
        self.until_that(state, |rig| rig.state() == state);
    }

    pub fn until_that(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..MAX_TURNS {
            assert!(self.turn(), "killed");
            if condition(self) {
                return;
            }
        }
        panic!("never came to {what}; seen {:?}; journal {:#?}", self.seen, self.journal());
    }

    /// This many turns.
    pub fn turns(&mut self, number: usize) {
        for _ in 0..number {
            assert!(self.turn(), "killed");
        }
    }

    /// The update succeeded: everything that must hold then.
    pub fn assert_confirmed(&mut self, release: &TestRelease, slot: Slot) {
        self.turns(3);
        assert_eq!(self.state(), "confirmed");
        assert_eq!(self.boot_state(), BootState::settled(slot), "the slot is not the default");
        assert_eq!(self.world.running(), slot);
        assert_eq!(self.world.slot_digest(slot, release.image.len()), release.payload.sha256, "slot content");
        self.world.assert_reported(&[UpdateState::Confirmed]);
    }

    /// The old slot runs, is the default, and nothing is on trial.
    pub fn assert_on_old_slot(&mut self, slot: Slot) {
        self.turns(3);
        assert_eq!(self.world.running(), slot);
        assert_eq!(self.boot_state(), BootState::settled(slot));
    }

    pub fn seen(&self) -> BTreeSet<&'static str> {
        self.seen.iter().copied().collect()
    }
}

fn settings(world: &World) -> Settings {
    let path = |name: &str| world.path(name).display().to_string();
    let text = format!(
        r#"
        [branch]
        url = "https://10.1.0.1:7004"
        join_token_file = "{join}"
        [identity]
        name = "till-1"
        model = "kiosk"
        [trust]
        root = "{root}"
        [paths]
        state_dir = "{state}"
        data_dir = "{data}"
        [slots]
        a = {{ device = "{a}", root = "PARTLABEL=slot-a" }}
        b = {{ device = "{b}", root = "PARTLABEL=slot-b" }}
        [boot]
        grub_environment = "{grubenv}"
        trial_attempts = 2
        [engine]
        download_dir = "{downloads}"
        [timing]
        poll_seconds = 30
        health_poll_seconds = 5
        branch_wait_seconds = 60
        trial_deadline_seconds = 120
        retry_max_seconds = 30
        "#,
        join = path("join-token"),
        root = path("root.json"),
        state = path("state"),
        data = path("data"),
        a = path("slot-a"),
        b = path("slot-b"),
        grubenv = path("grubenv"),
        downloads = path("downloads"),
    );
    let inputs: Inputs = toml::from_str(&text).unwrap();
    Settings::try_from(inputs).unwrap()
}
