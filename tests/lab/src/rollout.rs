//! A whole release: packed, uploaded, published, assigned, and followed until every terminal is confirmed.

use std::path::Path;
use std::time::Duration;

use fleet_types::{ProductName, ReleaseState, UpdateState, Version};
use wire::v1::fleet::Branch;
use wire::v1::releases::Release;
use wire::v1::status::Status;

use crate::error::LabError;
use crate::lab::Lab;
use crate::releases::ReleaseSpec;
use crate::report::{BranchFigures, Run};
use crate::waiting::terminal_line;

/// What can be seen of a release on its way.
#[derive(Debug)]
pub enum Glimpse<'a> {
    /// The archive is packed and on its way up.
    Packed,
    /// At head office, until it is published.
    Publishing(&'a Release),
    /// On its way to the terminals.
    Moving {
        /// Head office's picture.
        status: &'a Status,
        /// Bytes at the branches' interfaces so far.
        figures: &'a [BranchFigures],
        /// The artifact's length.
        artifact_bytes: u64,
        /// Times so far.
        run: &'a Run,
    },
}

impl Lab {
    /// Brings a release out to every branch, and waits until every terminal of its product is confirmed on it; `look` sees every step.
    ///
    /// # Errors
    /// The release is rejected, a terminal's update ends otherwise, a part ends, or `deadline` passes (it counts for
    /// publishing and for the way to the terminals, each).
    pub async fn roll_out(
        &self,
        spec: &ReleaseSpec,
        deadline: Duration,
        mut look: impl FnMut(Glimpse<'_>),
    ) -> Result<Run, LabError> {
        let product = self.product_of(spec).clone();
        let mut run = self.begin_of(&product, &spec.version).await?;
        let archive = self.pack(spec).await?;
        self.remember_of(&product, &spec.version, &spec.image).await?;
        look(Glimpse::Packed);
        self.filial([Path::new("release"), Path::new("upload"), Path::new("--no-wait"), &archive]).await?;
        let release = self.follow_publishing(&product, &spec.version, deadline, &mut look).await?;
        run.published();
        let artifact_bytes = release.payloads.iter().filter_map(|p| Some(p.artifact.as_ref()?.length)).sum();
        run.assigned();
        for branch in self.branches_of(&product) {
            self.assign_of(&product, &branch, &spec.version).await?;
        }
        self.follow_terminals(&mut run, deadline, artifact_bytes, &mut look).await?;
        Ok(run)
    }

    /// Waits until a release is published.
    ///
    /// # Errors
    /// It was rejected (with the checklist), or the deadline passed.
    pub async fn wait_published(&self, version: &Version, deadline: Duration) -> Result<Release, LabError> {
        self.follow_publishing(&self.options.product, version, deadline, &mut |_| ()).await
    }

    /// Packs, uploads and waits until it is published.
    ///
    /// # Errors
    /// As [`Lab::pack_and_upload`] and [`Lab::wait_published`].
    pub async fn publish(&self, spec: &ReleaseSpec, deadline: Duration) -> Result<Release, LabError> {
        self.pack_and_upload(spec).await?;
        self.follow_publishing(self.product_of(spec), &spec.version, deadline, &mut |_| ()).await
    }

    async fn follow_publishing(
        &self,
        product: &ProductName,
        version: &Version,
        deadline: Duration,
        look: &mut impl FnMut(Glimpse<'_>),
    ) -> Result<Release, LabError> {
        let what = format!("release {version} to be published");
        self.wait(&what, deadline, async || {
            let Some(release) = self.api.release(product, version).await? else { return Ok(None) };
            look(Glimpse::Publishing(&release));
            match release.state {
                ReleaseState::Published => Ok(Some(release)),
                ReleaseState::Rejected | ReleaseState::Withdrawn | ReleaseState::AwaitingSignature => {
                    Err(self.rejected(&what, &release).await)
                }
                _ => Ok(None),
            }
        })
        .await
    }

    async fn follow_terminals(
        &self,
        run: &mut Run,
        deadline: Duration,
        artifact_bytes: u64,
        look: &mut impl FnMut(Glimpse<'_>),
    ) -> Result<(), LabError> {
        let version = run.version().clone();
        let product = run.product().clone();
        let (branches, members) = (self.branches_of(run.product()), run.members().len());
        let what = format!("every terminal to be confirmed on {version}");
        self.wait(&what, deadline, async || {
            let status = self.api.status().await?;
            let has_all =
                |b: &Branch| b.artifacts.iter().any(|a| a.product == product && a.version == version && a.complete);
            if status.branches.iter().filter(|b| branches.contains(&b.name)).all(has_all) {
                run.branches_complete();
            }
            let ours = |u: &&wire::v1::fleet::TerminalUpdate| u.product == product && u.version == version;
            let of = |t: &wire::v1::fleet::Terminal| t.update.as_ref().filter(ours).map(|u| u.state);
            let confirmed = status.terminals.iter().filter(|t| of(t) == Some(UpdateState::Confirmed)).count();
            if confirmed == members {
                run.all_confirmed();
            }
            let figures = self.branch_figures(run, artifact_bytes)?;
            look(Glimpse::Moving { status: &status, figures: &figures, artifact_bytes, run });
            let bad = |t: &&wire::v1::fleet::Terminal| {
                of(t).is_some_and(|state| state.is_end() && state != UpdateState::Confirmed)
            };
            if let Some(terminal) = status.terminals.iter().find(bad) {
                let (why, state) = (terminal_line(terminal), self.describe().await);
                return Err(LabError::Hopeless { what: what.clone(), why, state });
            }
            Ok((confirmed == members).then_some(()))
        })
        .await
    }
}
