//! A branch server asks for its certificate: with its join token, and later by its key alone.

use access::audit::Change;
use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde_json::json;
use service_kit::database::{begin, connection};
use service_kit::server::{ApiError, Caller, Via};
use trust::Refusal;
use trust::certificates::{certificate_to_pem, request_from_pem, request_key};
use wire::v1::paths;
use wire::v1::sync::{BranchEnrolRequest, BranchEnrolResponse};
use wire::{Code, Problem};

use crate::app::App;
use crate::db;
use crate::fleet::enrolment;
use crate::http::errors::ApiResult;

/// Certifies a branch server's key.
///
/// The same key with the same join token within its time gets the same answer again, so that an answer may be lost; a
/// key that enrolled gets a new certificate without a token when the one it has ages, also after that expired.
#[utoipa::path(post, path = paths::ENROL, tag = "identity", request_body = BranchEnrolRequest, responses(
    (status = 200, description = "The certificate", body = BranchEnrolResponse),
    (status = 401, description = "The join token or the key is not valid", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The identity is denied", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The request for a certificate is invalid", body = Problem, content_type = "application/problem+json"),
))]
pub async fn enrol(
    app: Data<App>,
    request: HttpRequest,
    body: Json<BranchEnrolRequest>,
) -> ApiResult<Json<BranchEnrolResponse>> {
    let unusable = |r: Refusal| ApiError::new(Code::CertificateRequest, r.sentence(), r.remedy());
    let csr = request_from_pem(&body.certificate_request).map_err(unusable)?;
    let key = request_key(&csr).map_err(unusable)?;
    let now = app.clock.now();
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let via = if body.join_token.is_some() { Via::JoinToken } else { Via::Certificate };
    let row = enrolment::admit(&transaction, body.join_token.as_deref(), &key, now).await?;
    let branch = row.name.clone();
    let answer = |certificate: &_| {
        let authority = certificate_to_pem(app.tls.certificate());
        Json(BranchEnrolResponse { branch: branch.clone(), certificate: certificate_to_pem(certificate), authority })
    };
    if let Some(kept) = enrolment::kept(&row, &key, now) {
        // The answer was lost, or somebody asks again and again: nothing changes, and nothing is written.
        return Ok(answer(&kept));
    }
    let issued = app.tls.issue(&csr, &branch).map_err(unusable)?;
    db::branches::enrol(&transaction, &branch, &key, &issued, now).await?;
    let address = service_kit::server::address_of(&request);
    let caller = Caller::branch(branch.clone()).by(via).asking("POST /v1/enrol", address);
    let change = Change::of(format!("branch {branch}")).after(json!({ "enrolled": true, "key_sha256": key }));
    app.audit.commit(transaction, &caller, change).await?;
    app.holders.follow(&client).await;
    tracing::info!(%branch, key = %key.short(), renewed = row.key.is_some(), "branch enrolled");
    Ok(answer(&issued))
}
