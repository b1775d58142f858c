//! What the root helper does, the one process that will tell the bootloader to try a slot. It trusts the agent, which talks
//! to the network, with nothing: it verifies metadata and plan with a trust store and floors of its own, hashes the slot
//! itself, and only then sets the trial. Nothing in a request names a device, a length or a number of attempts.
//!
//! No program runs it yet: the agent still writes slots and boot state with rights of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use artifact::{PayloadId, ReadBackError, read_back};
use async_trait::async_trait;
use bootslot::{BootSlots, SlotRoots, running_slot};
use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, ProductName, Slot, TerminalName};
use serde::{Deserialize, Serialize};
use service_kit::edge::chain;
use trust::client::{Body, Client, Fetch, FetchError, Limits};
use trust::plans::Claim;
use trust::{Refusal, Why};
use wire::Envelope;
use wire::v1::reports::Reason;

use crate::accepted::{Accepted, AcceptedError};
use crate::believed::{Believed, reason};
use crate::ports::{Disks, Host};

/// What the agent may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Accept this plan, by this metadata. Asked as soon as the agent accepted it, while the metadata is fresh.
    Accept(Evidence),
    /// Have the bootloader try the slot that does not run, which holds this.
    Activate(Order),
}

/// Why a plan is to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The files of the agent's trust store by name.
    pub metadata: BTreeMap<String, String>,
    /// The plan as head office signed it.
    pub plan: Envelope,
}

/// What is to be tried. That it was ordered is looked up in the plan; that the slot holds it is read from the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The product.
    pub product: ProductName,
    /// SHA-256 of `release.toml`.
    pub manifest: Digest,
    /// SHA-256 of the payload.
    pub payload: Digest,
}

/// What the helper knows by itself.
#[derive(Debug, Clone)]
pub struct Setup {
    /// A folder that only the helper writes.
    pub state: PathBuf,
    /// The fleet's root file.
    pub root: PathBuf,
    /// This terminal's branch.
    pub branch: BranchName,
    /// This terminal.
    pub terminal: TerminalName,
    /// What the kernel's command line says of each slot.
    pub slots: SlotRoots,
    /// Boots that the bootloader gives a trial.
    pub attempts: u8,
}

/// What the helper acts through: devices and the running system, no network.
pub struct Hands {
    /// The slots' disks.
    pub disks: Arc<dyn Disks>,
    /// The bootloader's state.
    pub boot: Arc<dyn BootSlots>,
    /// What runs on this machine.
    pub host: Arc<dyn Host>,
}

/// The helper.
pub struct Helper {
    setup: Setup,
    hands: Hands,
    believed: Believed,
    accepted: Accepted,
}

/// Why the helper cannot work at all.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// Its trust store.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    Trust(Refusal),
    /// Its floors.
    #[error(transparent)]
    Accepted(#[from] AcceptedError),
}

impl Helper {
    /// Takes up its own trust store and floors. Blocking.
    ///
    /// # Errors
    /// They cannot be used, or begun.
    pub fn open(setup: Setup, hands: Hands) -> Result<Self, HelperError> {
        let client = Client::take_up(&setup.state.join("trust.json"), &setup.root).map_err(HelperError::Trust)?;
        let accepted = Accepted::open(&setup.state.join("plan.json"))?;
        Ok(Self { setup, hands, believed: Believed::new(client, Limits::default()), accepted })
    }

    /// Does what is asked, or says why not.
    ///
    /// # Errors
    /// A reason with a stable code: the trust library's, or one of the slot and the bootloader.
    pub async fn answer(&mut self, request: Request, clock: DateTime<Utc>) -> Result<(), Reason> {
        match request {
            Request::Accept(evidence) => self.accept(evidence, clock).await,
            Request::Activate(order) => self.activate(&order, clock),
        }
    }

    async fn accept(&mut self, evidence: Evidence, clock: DateTime<Utc>) -> Result<(), Reason> {
        if self.accepted.envelope() == Some(&evidence.plan) {
            return Ok(());
        }
        let source = Arc::new(Files(evidence.metadata));
        self.believed.update(source, clock).await.map_err(|r| reason(&r))?;
        let judged = self.believed.judge(&evidence.plan, &self.setup.branch, self.accepted.floors(), clock);
        let (plan, floors) = judged.map_err(|r| reason(&r))?;
        let kept = self.accepted.replace(evidence.plan, floors);
        kept.map_err(|e| Reason::new("helper-storage", chain(&e)))?;
        self.believed.raise_floor(plan.plan().issued).map_err(|r| reason(&r))
    }

    fn activate(&self, order: &Order, clock: DateTime<Utc>) -> Result<(), Reason> {
        let Hands { disks, boot, host } = &self.hands;
        let line = host.kernel_command_line().map_err(|e| Reason::new("running-slot-unknown", chain(&e)))?;
        let running = running_slot(&line, &self.setup.slots).map_err(|e| Reason::new(e.code(), chain(&e)))?;
        let installed = host.image_version().map_err(|e| Reason::new("running-version-unknown", chain(&e)))?;
        let claim = Claim {
            terminal: &self.setup.terminal,
            product: &order.product,
            manifest: order.manifest,
            payload: order.payload,
            installed: Some(&installed),
        };
        let none = || Refusal::new(Why::NoMetadata, "The root helper has accepted no plan yet.");
        let signed = self.accepted.envelope().ok_or_else(none);
        let signed = signed.and_then(|plan| self.believed.authorise(plan, &self.setup.branch, claim, clock));
        let signed = signed.map_err(|r| reason(&r))?;
        // The digest and length that the release keys signed, and not what anybody says that the slot holds.
        self.check_slot(&**disks, running.other(), PayloadId { sha256: signed.sha256, length: signed.length })?;
        let unwritable = |text: String| Reason::new("boot-state-unwritable", text);
        let before = boot.read().map_err(|e| Reason::new("boot-state-unreadable", chain(&e)))?;
        let trial = before.adopt(running).and_then(|b| b.start_trial(running.other(), self.setup.attempts));
        let trial = trial.map_err(|e| Reason::new("boot-state-changed", e.to_string()))?;
        boot.write(&trial).map_err(|e| unwritable(chain(&e)))?;
        match boot.read() {
            Ok(kept) if kept == trial => Ok(()),
            Ok(kept) => Err(unwritable(format!("the boot state was written as {trial:?} and reads as {kept:?}"))),
            Err(error) => Err(unwritable(chain(&error))),
        }
    }

    fn check_slot(&self, disks: &dyn Disks, slot: Slot, payload: PayloadId) -> Result<(), Reason> {
        let mut disk = disks.open(slot).map_err(|e| Reason::new("slot-unavailable", chain(&e)))?;
        disk.sync().map_err(|e| Reason::new("slot-unreadable", chain(&e)))?;
        read_back(disk.as_mut(), &payload, &mut |_| {}).map_err(|error| match error {
            ReadBackError::Mismatch { .. } => Reason::new("read-back-mismatch", chain(&error)),
            error => Reason::new("slot-unreadable", chain(&error)),
        })
    }
}

/// The agent's files, which are verified like any mirror's.
struct Files(BTreeMap<String, String>);

#[async_trait]
impl Fetch for Files {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let file = self.0.get(name).cloned();
        Ok(file.map(|text| Box::pin(futures_util::stream::iter([Ok(text.into())])) as Body))
    }
}
