//! The kit for a branch without a link: what its branch server would have fetched, in one answer, and its reports back.

use std::collections::BTreeMap;

use access::audit::Change;
use actix_web::web::{Data, Json, Path};
use fleet_types::BranchName;
use serde_json::json;
use service_kit::database::{Connection, connection};
use service_kit::server::{ApiError, Caller, Missing};
use wire::v1::kit::{Blob, CarriedArtifact, KIT_FORMAT, Kit, MAX_KIT};
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch};
use wire::{Code, Problem};

use crate::app::App;
use crate::db;
use crate::db::plans::PlanRow;
use crate::fleet::carried::kind;
use crate::http::errors::ApiResult;
use crate::rollout::tick;
use crate::store::index;

/// What a branch server without a link needs to follow its newest plan.
///
/// The artifacts' files are at `/v1/artifacts/{sha256}`. Its metadata expires with the timestamp role.
#[utoipa::path(get, path = paths::BRANCH_KIT, tag = "branches", params(("branch" = BranchName, Path)), responses(
    (status = 200, description = "The kit", body = Kit),
    (status = 404, description = "No such branch", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The plan names more than a kit takes", body = Problem, content_type = "application/problem+json"),
))]
pub async fn kit(app: Data<App>, branch: Path<BranchName>) -> ApiResult<Json<Kit>> {
    let branch = branch.into_inner();
    let client = connection(&app.pool).await?;
    if db::branches::find(&client, &branch).await?.is_none() {
        return Err(ApiError::not_found(Missing::Branch, &branch));
    }
    let newest = tick::newest(&client, &branch, app.clock.now(), &app.issuer, &app.replan).await?;
    let mut kit = Kit {
        format: KIT_FORMAT,
        branch,
        made_at: app.clock.now(),
        plan: None,
        // After the plan: what it names is signed by then.
        metadata: app.trust.files().into_iter().map(|(name, bytes)| (name, Blob(bytes.to_vec()))).collect(),
        artifacts: Vec::new(),
        manifests: BTreeMap::new(),
    };
    if let Some(newest) = newest {
        kit.plan = db::plans::envelope(&client, &kit.branch, newest.serial).await?;
        describe(&app, &client, &newest, &mut kit).await?;
    }
    Ok(Json(kit))
}

/// Adds index, torrent and manifest of what the plan names and is published.
async fn describe(app: &App, client: &Connection, plan: &PlanRow, kit: &mut Kit) -> ApiResult<()> {
    let mut bytes = kit.metadata.values().map(|file| file.0.len()).sum::<usize>();
    for step in plan.entries() {
        let digest = step.artifact.sha256;
        if kit.artifacts.iter().all(|known| known.artifact != digest)
            && let Some(artifact) = db::artifacts::find_published(client, &digest).await?
        {
            let index = index::read(&app.store, &artifact).await.map_err(ApiError::internal)?;
            let index = Blob(index.ok_or_else(|| ApiError::not_found(Missing::Other("published artifact"), &digest))?);
            let torrent = app.seeder.wan_torrent(client, &digest).await?;
            let torrent =
                Blob(torrent.ok_or_else(|| ApiError::not_found(Missing::Other("torrent of artifact"), &digest))?);
            bytes += index.0.len() + torrent.0.len();
            kit.artifacts.push(CarriedArtifact { artifact: digest, length: artifact.length, index, torrent });
        }
        if !kit.manifests.contains_key(&step.manifest)
            && let Some(manifest) = db::releases::manifest(client, &step.manifest).await?
        {
            bytes += manifest.len();
            kit.manifests.insert(step.manifest, Blob(manifest));
        }
        // Base64 makes four bytes of three.
        if bytes / 3 * 4 > MAX_KIT - MAX_KIT / 8 {
            let detail = format!("The plan of branch {} names more than the {MAX_KIT} bytes of a kit.", kit.branch);
            return Err(ApiError::new(Code::TooLarge, detail, "Unassign what the branch does not need."));
        }
    }
    Ok(())
}

/// Reports that were carried from a branch by hand.
///
/// Numbered as over the link: each counts once, whichever way it came. Denials of terminals, numbers that were used twice and a
/// new numbering count only from an admin; how far the branch's audit reaches is passed over from others.
#[utoipa::path(post, path = paths::BRANCH_REPORTS, tag = "branches", params(("branch" = BranchName, Path)),
    request_body = Batch, responses(
    (status = 200, description = "Up to where everything is stored", body = Acknowledged),
    (status = 403, description = "Only an admin may bring them", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such branch", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "`report-out-of-order`: earlier ones are missing; `number-reused`: other reports are known under their \
        numbers", body = Problem, content_type = "application/problem+json"),
))]
pub async fn take_reports(
    app: Data<App>,
    caller: Caller,
    branch: Path<BranchName>,
    body: Json<Batch>,
) -> ApiResult<Json<Acknowledged>> {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for numbered in &body.reports {
        *kinds.entry(kind(&numbered.report)).or_default() += 1;
    }
    let after = json!({ "reports": body.reports.len(), "epoch": body.epoch, "carried": true, "kinds": kinds });
    let change = Change::of(format!("branch {branch}")).after(after);
    Ok(Json(app.intake.take(&branch, body.into_inner(), Some((&caller, change))).await?))
}
