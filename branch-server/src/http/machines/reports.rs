//! `POST /v1/reports`

use actix_web::web::{Data, Json, Payload};
use actix_web::{FromRequest as _, HttpRequest};
use service_kit::server::{ApiError, Caller, PeerCertificates};
use trust::certificates::certificate_signer;
use wire::Code;
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch};

use crate::app::App;
use crate::reports::proofs::Sender;

/// Take a terminal's reports.
///
/// Numbered from 1 within an epoch; repeat them until they are acknowledged, each counts once. States must be signed with the key of
/// the certificate; others are named in the answer as `report-not-proven` and do not count.
#[utoipa::path(post, path = paths::REPORTS, tag = "machines", request_body = Batch, responses(
    (status = 200, description = "Stored durably up to here", body = Acknowledged),
    (status = 401, description = "`unauthenticated`", body = wire::Problem),
    (status = 403, description = "`not-yourself`: about another terminal", body = wire::Problem),
    (status = 409, description = "`report-out-of-order`: one is missing before these; `number-reused`: other reports are known under \
        their numbers", body = wire::Problem),
    (status = 413, description = "`batch-too-long`: more than 200 reports", body = wire::Problem),
    (status = 422, description = "`bad-field`", body = wire::Problem),
    (status = 429, description = "`too-many`: head office was away for too long, or this terminal sends too much", body = wire::Problem),
))]
pub async fn reports(
    app: Data<App>,
    request: HttpRequest,
    caller: Caller,
    body: Payload,
) -> Result<Json<Acknowledged>, actix_web::Error> {
    let terminal = caller.terminal_name()?;
    // Before its body is read: two hundred reports take longer to parse than to refuse.
    app.intake.admit(terminal).await?;
    let body = Json::<Batch>::from_request(&request, &mut body.into_inner()).await?;
    // The certificate that the caller was known by.
    let presented = request.conn_data::<PeerCertificates>().and_then(|presented| presented.0.first());
    let key = presented.map_or(Ok(None), certificate_signer);
    let key = key.map_err(|refusal| ApiError::new(Code::CertificateRefused, refusal.sentence(), refusal.remedy()))?;
    let sender = Sender { branch: caller.branch_name()?, terminal, key };
    Ok(Json(app.intake.store(sender, &body).await?))
}
