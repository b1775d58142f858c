//! The signed plan that this terminal follows: considered when offered, kept, restored, and the last word before a slot is
//! activated or a package unpacked.

use fleet_types::Digest;
use trust::planned;
use trust::plans::{Claim, VerifiedPlan};
use trust::{Refusal, Why};
use wire::v1::reports::Reason;
use wire::v1::sync::Sync;
use wire::{Envelope, ReasonCode};

use super::metadata::Metadata;
use super::wanted::PlanInForce;
use crate::config::agent::Settings;
use crate::error::AgentError;
use crate::memory::keeper::Keeper;
use crate::model::package;
use crate::model::reasons::reason;
use crate::model::request::{Evidence, Request};
use crate::model::wanted::Recipient;
use crate::ports::{HelperTrouble, Ports};
use crate::trust::accepted::Accepted;
use crate::trust::believed::Believed;

/// The plan that is followed, and the metadata that proves it.
pub struct Plans {
    metadata: Metadata,
    accepted: Accepted,
    /// The plan that is followed; `None` before one was accepted.
    followed: Option<VerifiedPlan>,
    /// Why the plan that the branch server offers is not followed.
    refused: Option<Reason>,
    /// The root helper has accepted the followed plan, too.
    helper_knows: bool,
    /// The trouble that was logged last, so that the log has it once.
    logged: Option<String>,
}

impl Plans {
    /// Opens the trust store and the accepted plan.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn open(ports: &Ports, settings: &Settings) -> Result<Self, AgentError> {
        let metadata = Metadata::open(settings, ports.clock.uptime()).map_err(AgentError::Trust)?;
        ports.branch.not_before(metadata.believed.floor());
        let accepted = Accepted::open(&settings.paths.accepted())?;
        let (followed, refused, logged) = (None, None, None);
        Ok(Self { metadata, accepted, followed, refused, helper_knows: false, logged })
    }

    /// What is believed.
    pub const fn believed(&self) -> &Believed {
        &self.metadata.believed
    }

    /// The plan that is followed.
    pub const fn followed(&self) -> Option<&VerifiedPlan> {
        self.followed.as_ref()
    }

    /// Why the plan that the branch server offers is not followed.
    pub const fn refused(&self) -> Option<&Reason> {
        self.refused.as_ref()
    }

    /// What decisions see of the plan.
    pub fn in_force<'a>(&'a self, recipient: Option<&'a Recipient>, ports: &Ports) -> PlanInForce<'a> {
        let time = self.metadata.believed.time(ports.clock.now());
        PlanInForce { plan: self.followed.as_ref(), recipient, refused: self.refused.as_ref(), time }
    }

    /// Logs why there is no new plan, once for each trouble.
    pub fn log_once(&mut self, why: String) {
        if self.logged.as_ref() != Some(&why) {
            tracing::warn!(why, "no new plan from the branch server");
            self.logged = Some(why);
        }
    }

    /// Nothing is known of a plan, because this terminal could not enrol: shown as what is waited for.
    pub fn not_enrolled(&mut self, why: &str) {
        let why = why.trim_end_matches(['.', '?']);
        let text = format!("Not enrolled yet: {why}. Check the clock, the join token and `branch.url`.");
        self.refused = Some(Reason::new(ReasonCode::NotEnrolled, text));
    }

    /// Updates the metadata if there is newer, and follows a plan that is new and proven.
    ///
    /// True if a file did not arrive and may do so soon.
    ///
    /// # Errors
    /// The journal, the trust store or the accepted plan cannot be written.
    pub async fn consider(
        &mut self,
        offer: Sync,
        recipient: Option<&Recipient>,
        ports: &Ports,
        keeper: &mut Keeper,
    ) -> Result<bool, AgentError> {
        let is_followed =
            |e: &Envelope| self.followed.is_some() && self.accepted.envelope().is_some_and(|kept| kept == e);
        let new = offer.plan.filter(|envelope| !is_followed(envelope));
        let fresh = match new.is_some() || self.metadata.is_due(offer.metadata, ports.clock.uptime()) {
            true => self.metadata.update(ports).await,
            false => Ok(()),
        };
        let Some(recipient) = recipient else { return Ok(false) };
        let judged = match (new, fresh) {
            // Without fresh metadata no new plan is accepted; the accepted one stays.
            (_, Err(refusal)) => Err(refusal),
            (None, Ok(())) => Ok(None),
            (Some(envelope), Ok(())) => {
                let (floors, now) = (self.accepted.floors(), ports.clock.now());
                let judged = self.metadata.believed.judge(&envelope, &recipient.branch, floors, now);
                judged.map(|(plan, floors)| Some((plan, floors, envelope)))
            }
        };
        match judged {
            Ok(accepted) => {
                (self.logged, self.refused) = (None, None);
                if let Some((plan, floors, envelope)) = accepted {
                    // If one of these fails, the same plan is considered once more: it is not followed yet.
                    (self.followed, self.helper_knows) = (None, false);
                    self.accepted.replace(envelope, floors)?;
                    self.metadata.believed.raise_floor(plan.plan().issued).map_err(AgentError::Trust)?;
                    ports.branch.not_before(self.metadata.believed.floor());
                    self.follow(plan, recipient, ports, keeper)?;
                }
                self.tell_helper(ports).await;
                Ok(false)
            }
            Err(refusal) => {
                let reason = reason(&refusal);
                self.log_once(format!("{}: {}", reason.code, reason.text));
                self.refused = Some(reason);
                Ok(matches!(refusal.why(), Why::Unfetchable | Why::SlowRetrieval))
            }
        }
    }

    /// Follows the plan that was accepted before this start, unless its key is no longer valid.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn restore(
        &mut self,
        recipient: Option<&Recipient>,
        ports: &Ports,
        keeper: &mut Keeper,
    ) -> Result<(), AgentError> {
        let (Some(envelope), Some(recipient)) = (self.accepted.envelope(), recipient) else { return Ok(()) };
        match self.metadata.believed.restore(envelope, &recipient.branch) {
            Ok(plan) => self.follow(plan, recipient, ports, keeper),
            Err(refusal) => {
                tracing::warn!(code = refusal.code(), reason = refusal.sentence(), "the accepted plan is not followed");
                Ok(())
            }
        }
    }

    /// Records what the plan says of artifacts and packages in the journal.
    fn follow(
        &mut self,
        verified: VerifiedPlan,
        recipient: &Recipient,
        ports: &Ports,
        keeper: &mut Keeper,
    ) -> Result<(), AgentError> {
        let (plan, now) = (verified.plan(), ports.clock.now());
        let named = |artifact: &Digest| planned::entries(plan).any(|s| s.artifacts.contains(artifact));
        let mut artifacts = keeper.journal().artifacts.clone();
        for (artifact, held) in &mut artifacts {
            held.unwanted_since = if named(artifact) { None } else { held.unwanted_since.or(Some(now)) };
        }
        let packages = package::accept(&keeper.journal().packages, plan, recipient);
        let journal = keeper.journal();
        if plan.serial != journal.floor || artifacts != journal.artifacts || packages != journal.packages {
            let serial = plan.serial;
            keeper.change(now, |journal| {
                journal.floor = serial;
                journal.artifacts = artifacts;
                journal.packages = packages;
            })?;
        }
        self.followed = Some(verified);
        Ok(())
    }

    /// Gives the root helper the followed plan while its metadata is fresh.
    ///
    /// It accepts nothing by expired metadata.
    async fn tell_helper(&mut self, ports: &Ports) {
        if self.helper_knows {
            return;
        }
        let Some(evidence) = self.evidence() else { return };
        match ports.helper.ask(Request::Accept(evidence)).await {
            Ok(_) => self.helper_knows = true,
            Err(trouble) => {
                let reason = trouble.reason();
                self.log_once(format!("the root helper: {}: {}", reason.code, reason.text));
                if matches!(trouble, HelperTrouble::Refused(_)) {
                    self.refused = Some(reason);
                }
            }
        }
    }

    /// What the root helper needs to verify the followed plan for itself.
    pub fn evidence(&self) -> Option<Evidence> {
        let plan = self.accepted.envelope()?.clone();
        Some(Evidence { metadata: self.metadata.believed.files(), plan })
    }

    /// Whether this order is valid for this terminal.
    ///
    /// Head office ordered exactly this, and the release keys signed it.
    ///
    /// # Errors
    /// Why not.
    pub fn authorise(&self, recipient: Option<&Recipient>, claim: Claim<'_>, ports: &Ports) -> Result<(), Refusal> {
        let unknown = |what: &str| Refusal::new(Why::NoMetadata, what.to_owned());
        let recipient = recipient.ok_or_else(|| unknown("This terminal is not enrolled at the moment."))?;
        let envelope = self.accepted.envelope().ok_or_else(|| unknown("No signed plan has arrived yet."))?;
        self.metadata.believed.authorise(envelope, &recipient.branch, claim, ports.clock.now()).map(drop)
    }
}
