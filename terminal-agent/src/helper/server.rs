//! The root helper: the one process that writes slots and boot state and restarts the machine. It trusts the agent, which
//! talks to the network, with nothing: it verifies metadata and plan with a trust store and floors of its own, hashes the
//! slot itself, and only then sets the trial. Nothing in a request names a device, a slot to be written, a number of attempts
//! or a command.
//!
//! `terminal-helper` is this behind a Unix socket ([`serve`]); every request may be repeated.

use std::collections::BTreeMap;
use std::sync::Arc;

use artifact::{ImageDisk, PayloadId, ReadBackError, read_back};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use fleet_types::Slot;
use trust::client::{Body, Client, Fetch, FetchError, Limits};
use trust::plans::Claim;
use trust::{Refusal, Why};
use wire::ReasonCode;
use wire::v1::reports::Reason;

use super::boot::{Boots, Devices, HelperSetup};
use super::protocol::MAX_BODY;
use crate::model::reasons::{of_error, reason};
use crate::model::request::{Answer, Evidence, Order, Request};
use crate::trust::accepted::{Accepted, AcceptedError};
use crate::trust::believed::Believed;

/// The helper.
pub struct Helper {
    boots: Boots,
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
    pub fn open(setup: HelperSetup, devices: Devices) -> Result<Self, HelperError> {
        let mut client =
            Client::open_or_provision(&setup.state.join("trust.json"), &setup.root).map_err(HelperError::Trust)?;
        client.judge_not_before(setup.not_before);
        let accepted = Accepted::open(&setup.state.join("plan.json"))?;
        Ok(Self { boots: Boots::new(setup, devices), believed: Believed::new(client, Limits::default()), accepted })
    }

    /// Does what is asked, or says why not. `body`: what is to be written.
    ///
    /// # Errors
    /// A reason with a stable code: the trust library's, or one of the slots and the bootloader.
    pub async fn answer(&mut self, request: Request, body: &[u8], clock: DateTime<Utc>) -> Result<Answer, Reason> {
        match request {
            Request::Look => return self.boots.look().map(Answer::Boot),
            Request::Length { slot } => {
                let length =
                    self.boots.devices.disks.length(slot).map_err(|e| of_error(ReasonCode::SlotUnavailable, &e))?;
                return Ok(Answer::Length(length));
            }
            Request::Read { offset, length } => return self.read(offset, length).map(Answer::Bytes),
            Request::Accept(evidence) => self.accept(evidence, clock).await?,
            Request::Activate(order) => self.activate(&order, clock)?,
            Request::CheckRunning(order) => self.check_running(&order, clock)?,
            Request::Settle => self.boots.settle()?,
            Request::Confirm => self.boots.confirm()?,
            Request::GiveUp => self.boots.give_up()?,
            Request::Restart => {
                self.boots.has_cause_to_restart()?;
                let restarted = self.boots.devices.power.restart().await;
                restarted.map_err(|e| of_error(ReasonCode::RestartFailed, &e))?;
            }
            Request::Write { offset } => {
                let mut disk = self.disk(self.boots.writable()?)?;
                disk.write_at(offset, body).map_err(|e| of_error(ReasonCode::SlotUnwritable, &e))?;
            }
            Request::Sync => {
                let synced = self.disk(self.boots.running()?.other())?.sync();
                synced.map_err(|e| of_error(ReasonCode::SlotUnwritable, &e))?;
            }
            Request::DropCaches => {
                let dropped = self.disk(self.boots.running()?.other())?.drop_caches();
                dropped.map_err(|e| of_error(ReasonCode::SlotUnreadable, &e))?;
            }
        }
        Ok(Answer::Done)
    }

    async fn accept(&mut self, evidence: Evidence, clock: DateTime<Utc>) -> Result<(), Reason> {
        let known = self.accepted.envelope() == Some(&evidence.plan);
        if known && self.believed.holds(&evidence.metadata) {
            return Ok(());
        }
        let source = Arc::new(AgentFiles(evidence.metadata));
        let updated = self.believed.update(source, clock).await;
        if known {
            // It was accepted while its metadata was fresh. What is newer is welcome: a release may have been withdrawn.
            return Ok(());
        }
        updated.map_err(|r| reason(&r))?;
        let judged = self.believed.judge(&evidence.plan, &self.boots.setup.branch, self.accepted.floors(), clock);
        let (plan, floors) = judged.map_err(|r| reason(&r))?;
        let kept = self.accepted.replace(evidence.plan, floors);
        kept.map_err(|e| of_error(ReasonCode::HelperStorage, &e))?;
        tracing::info!(serial = plan.plan().serial, "plan accepted");
        self.believed.raise_floor(plan.plan().issued).map_err(|r| reason(&r))
    }

    fn activate(&self, order: &Order, clock: DateTime<Utc>) -> Result<(), Reason> {
        let running = self.boots.running()?;
        // The digest and length that the release keys signed, not what the caller claims the slot holds.
        let payload = self.ordered(order, clock)?;
        self.check_slot(running.other(), &payload)?;
        self.boots.start_trial(running)?;
        tracing::info!(slot = %running.other(), payload = %payload.sha256, "on trial");
        Ok(())
    }

    fn check_running(&self, order: &Order, clock: DateTime<Utc>) -> Result<(), Reason> {
        let (running, payload) = (self.boots.running()?, self.ordered(order, clock)?);
        let disk = self.boots.devices.disks.open_running(running);
        let mut disk = disk.map_err(|e| of_error(ReasonCode::SlotUnavailable, &e))?;
        read_back(disk.as_mut(), &payload, &mut |_| {}).map_err(|error| match error {
            ReadBackError::Mismatch { .. } | ReadBackError::DeviceTooSmall(_) => {
                of_error(ReasonCode::ReadBackMismatch, &error)
            }
            error => of_error(ReasonCode::SlotUnreadable, &error),
        })
    }

    /// What head office ordered for this terminal and the release keys signed, if it is this.
    fn ordered(&self, order: &Order, clock: DateTime<Utc>) -> Result<PayloadId, Reason> {
        let installed = self.boots.devices.host.image_version();
        let installed = installed.map_err(|e| of_error(ReasonCode::RunningVersionUnknown, &e))?;
        let claim = Claim {
            terminal: &self.boots.setup.terminal,
            product: &order.product,
            manifest: order.manifest,
            payload: order.payload,
            installed: Some(&installed),
        };
        let none = || Refusal::new(Why::NoMetadata, "The root helper has accepted no plan yet.");
        let signed = self.accepted.envelope().ok_or_else(none);
        let signed = signed.and_then(|plan| self.believed.authorise(plan, &self.boots.setup.branch, claim, clock));
        let signed = signed.map_err(|r| reason(&r))?;
        Ok(PayloadId { sha256: signed.sha256, length: signed.length })
    }

    fn disk(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, Reason> {
        self.boots.devices.disks.open(slot).map_err(|e| of_error(ReasonCode::SlotUnavailable, &e))
    }

    fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Reason> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_BODY {
            let text = format!("The request asks for {length} bytes; one answer has at most {MAX_BODY}.");
            return Err(Reason::new(ReasonCode::RequestTooLarge, text));
        }
        let mut bytes = vec![0; length];
        let read = self.disk(self.boots.running()?.other())?.read_at(offset, &mut bytes);
        read.map_err(|e| of_error(ReasonCode::SlotUnreadable, &e))?;
        Ok(bytes)
    }

    fn check_slot(&self, slot: Slot, payload: &PayloadId) -> Result<(), Reason> {
        let mut disk = self.disk(slot)?;
        disk.sync().map_err(|e| of_error(ReasonCode::SlotUnreadable, &e))?;
        read_back(disk.as_mut(), payload, &mut |_| {}).map_err(|error| match error {
            ReadBackError::Mismatch { .. } => of_error(ReasonCode::ReadBackMismatch, &error),
            error => of_error(ReasonCode::SlotUnreadable, &error),
        })
    }
}

/// The agent's files, which are verified like any mirror's.
struct AgentFiles(BTreeMap<String, String>);

#[async_trait]
impl Fetch for AgentFiles {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let file = self.0.get(name).cloned();
        Ok(file.map(|text| Box::pin(futures_util::stream::iter([Ok(text.into())])) as Body))
    }
}
