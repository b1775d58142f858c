//! The agent and what it believes: metadata through the branch server's mirror, which is trusted with nothing, and the last
//! word before a slot is activated or a package put into its place.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bootslot::BootState;
use futures_util::StreamExt as _;
use service_kit::edge::chain;
use trust::client::{Body, Client, Fetch, FetchError, Limits};
use trust::plans::Claim;
use trust::{Refusal, Why};
use wire::v1::reports::Reason;

use crate::act::{Outcome, of_helper};
use crate::agent::Agent;
use crate::believed::{Believed, reason};
use crate::config::Settings;
use crate::decide::Action;
use crate::helper::{Evidence, Order, Request};
use crate::packages::Package;
use crate::ports::{Branch, HelperTrouble, Ports};
use crate::state::Then;

/// How long metadata is taken for the newest without a hint that there is newer: a timestamp lasts days.
const REFRESH: Duration = Duration::from_secs(6 * 3600);

/// One file may take this many times as long as an answer.
const FILE_FACTOR: u32 = 4;

/// What the agent believes, and when it last asked.
pub(crate) struct Metadata {
    pub(crate) believed: Believed,
    /// When it was last brought up to date, as time since the machine started.
    updated: Option<Duration>,
}

impl Metadata {
    /// Opens the trust store, or begins it with the fleet's root file. Blocking.
    pub(crate) fn open(settings: &Settings, uptime: Duration) -> Result<Self, Refusal> {
        let client = Client::take_up(&settings.paths.trust_store(), &settings.trust_root)?;
        let limits = Limits { deadline: settings.timing.request * FILE_FACTOR, ..Limits::default() };
        // An agent that was only started again asks when the branch server says that there is newer.
        let updated = client.trusted().map(|_| uptime);
        Ok(Self { believed: Believed::new(client, limits), updated })
    }

    /// Whether the branch server is to be asked, which says that it has this version.
    pub(crate) fn is_due(&self, hint: Option<u64>, uptime: Duration) -> bool {
        let newer = hint.is_some_and(|hint| Some(hint) != self.believed.version());
        newer || self.updated.is_none_or(|at| uptime.saturating_sub(at) >= REFRESH)
    }

    /// Fetches and verifies what is new; durable once this returns.
    pub(crate) async fn update(&mut self, ports: &Ports) -> Result<(), Refusal> {
        let updated = self.believed.update(Arc::new(Mirror(ports.branch.clone())), ports.clock.now()).await;
        // Also if it was refused: a newer root that came with it counts.
        ports.branch.not_before(self.believed.floor());
        updated?;
        self.updated = Some(ports.clock.uptime());
        Ok(())
    }
}

impl Agent {
    /// Whether an action that has the bootloader try a slot may be performed: head office ordered exactly this release for
    /// this terminal, its order has not expired, and the release keys signed it. If not, what becomes of the update.
    pub(crate) fn authorise_trial(&self, action: &Action) -> Result<(), Outcome> {
        let Action::WriteBoot(BootState { trial: Some(_), .. }) = action else { return Ok(()) };
        let Some(update) = self.journal().state.update() else {
            return Err(Outcome::Later("a trial without an update: this is a defect".to_owned()));
        };
        let installed = self.ports.host.image_version();
        let installed = installed.map_err(|e| Outcome::bounded("running-version-unknown", chain(&e), Then::Later))?;
        let claim = Claim {
            terminal: &self.settings.identity.name,
            product: &update.product,
            manifest: update.manifest,
            payload: update.payload.sha256,
            installed: Some(&installed),
        };
        self.authorise(claim).map_err(|refusal| {
            let Reason { code, text, .. } = reason(&refusal);
            match refusal.why() {
                // Nothing speaks against it: there is nobody yet whom to ask.
                Why::NoMetadata => Outcome::waits(code.as_str(), text),
                _ => Outcome::fail(code.as_str(), text, Then::NextPlan),
            }
        })
    }

    /// Has the root helper set the trial. It believes nothing that is said here: it gets what it needs to see for itself.
    pub(crate) async fn ask_for_trial(&mut self) -> Outcome {
        let Some((update, evidence)) = self.journal().state.update().cloned().zip(self.evidence()) else {
            return Outcome::Later("a trial without an update or a plan: this is a defect".to_owned());
        };
        let order = Order { product: update.product, manifest: update.manifest, payload: update.payload.sha256 };
        for request in [Request::Accept(evidence), Request::Activate(order)] {
            if let Err(trouble) = self.ports.helper.ask(request).await {
                return not_tried(&trouble);
            }
        }
        Outcome::Done
    }

    /// Gives the root helper the plan that is followed, while its metadata is fresh: once that has expired, it accepts
    /// nothing.
    pub(crate) async fn tell_helper(&mut self) {
        if self.session.helper_knows {
            return;
        }
        let Some(evidence) = self.evidence() else { return };
        match self.ports.helper.ask(Request::Accept(evidence)).await {
            Ok(_) => self.session.helper_knows = true,
            Err(trouble) => {
                let reason = trouble.reason();
                self.say_once(format!("the root helper: {}: {}", reason.code, reason.text));
                if matches!(trouble, HelperTrouble::Refused(_)) {
                    self.session.plan_refused = Some(reason);
                }
            }
        }
    }

    fn evidence(&self) -> Option<Evidence> {
        let plan = self.accepted.envelope()?.clone();
        Some(Evidence { metadata: self.metadata.believed.files(), plan })
    }

    /// The same for a package. A plan's `downgrade` says nothing of packages.
    pub(crate) fn authorise_package(&self, package: &Package) -> Result<(), Reason> {
        let claim = Claim {
            terminal: &self.settings.identity.name,
            product: &package.product,
            manifest: package.manifest,
            payload: package.payload.sha256,
            installed: None,
        };
        self.authorise(claim).map_err(|refusal| reason(&refusal))
    }

    fn authorise(&self, claim: Claim<'_>) -> Result<(), Refusal> {
        let unknown = |what: &str| Refusal::new(Why::NoMetadata, what.to_owned());
        let me = self.talk.me().ok_or_else(|| unknown("This terminal is not enrolled at the moment."))?;
        let envelope = self.accepted.envelope().ok_or_else(|| unknown("No signed plan has come here yet."))?;
        self.metadata.believed.authorise(envelope, &me.branch, claim, self.ports.clock.now()).map(drop)
    }
}

/// What it means for the update that the root helper did not set the trial.
fn not_tried(trouble: &HelperTrouble) -> Outcome {
    let HelperTrouble::Refused(Reason { code, text, .. }) = trouble else { return of_helper(trouble) };
    match code.as_str() {
        // It was away when the plan came, and waits for fresh metadata.
        code @ ("no-metadata" | "metadata-expired") => Outcome::waits(code, text),
        code @ "read-back-mismatch" => Outcome::fail(code, text, Then::Blame),
        // A disk, a file or the boot block: it may work next time.
        code if ["slot-", "boot-", "running-", "cmdline-", "helper-", "request-", "trust-stor"]
            .iter()
            .any(|p| code.starts_with(p)) =>
        {
            Outcome::bounded(code, text, Then::Later)
        }
        code => Outcome::fail(code, text, Then::NextPlan),
    }
}

/// The branch server as a source of metadata files; who asks bounds length and time.
struct Mirror(Arc<dyn Branch>);

#[async_trait]
impl Fetch for Mirror {
    async fn fetch(&self, name: &str) -> Result<Option<Body>, FetchError> {
        let found = self.0.metadata(name).await.map_err(|e| FetchError(chain(&e)))?;
        Ok(found.map(|bytes| Box::pin(bytes.map(|chunk| chunk.map_err(|e| FetchError(chain(&e))))) as Body))
    }
}
