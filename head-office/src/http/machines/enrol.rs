//! A branch server asks for its certificate: with its join token, and later by its key alone.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use fleet_types::Digest;
use rustls_pki_types::CertificateDer;
use serde_json::json;
use service_kit::database::{GenericClient, begin, connection};
use service_kit::server::{ApiError, Caller, Via};
use service_kit::token::{self, MAX_TOKEN_LEN};
use trust::Refusal;
use trust::certificates::{certificate_to_pem, request_from_pem, request_key, validity};
use wire::v1::paths;
use wire::v1::sync::{BranchEnrolRequest, BranchEnrolResponse};
use wire::{Code, Problem};

use crate::access::audit::Change;
use crate::app::App;
use crate::db;
use crate::db::branches::IdentityRow;
use crate::http::certificates::{is_denied, was_removed};
use crate::http::errors::ApiResult;

/// The remedy for every join token that is refused.
const ADD_AGAIN: &str = "Ask head office's operator for a new join token: `filial branch add`, after `filial branch remove` if \
    a server enrolled before.";

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
    let (row, via) = match &body.join_token {
        Some(token) => (by_token(&transaction, token, &key, now).await?, Via::JoinToken),
        None => (by_key(&transaction, &key).await?, Via::Certificate),
    };
    if row.denied.is_some() {
        return Err(is_denied(&row.name));
    }
    let branch = row.name.clone();
    let kept = row.certificate.as_deref().filter(|_| row.key == Some(key)).filter(|kept| lasts(kept, now));
    let issued = match kept {
        Some(kept) => CertificateDer::from(kept.to_vec()),
        None => app.tls.issue(&csr, &branch).map_err(unusable)?,
    };
    db::branches::enrol(&transaction, &branch, &key, &issued, now).await?;
    let address = request.peer_addr().map(|peer| peer.ip().to_canonical());
    let caller = Caller::branch(branch.clone()).by(via).asking("POST /v1/enrol", address);
    let change = Change::of(format!("branch {branch}")).after(json!({ "enrolled": true, "key_sha256": key }));
    app.audit.commit(transaction, &caller, change).await?;
    tracing::info!(%branch, key = %key.short(), renewed = row.key.is_some(), "branch enrolled");
    let authority = certificate_to_pem(app.tls.certificate());
    Ok(Json(BranchEnrolResponse { branch, certificate: certificate_to_pem(&issued), authority }))
}

/// Whether a certificate that was issued before is young enough to be the answer again.
fn lasts(certificate: &[u8], now: DateTime<Utc>) -> bool {
    validity(&CertificateDer::from(certificate)).is_ok_and(|(from, until)| now < from + (until - from) / 2)
}

/// The branch whose join token this is, if this key may use it.
async fn by_token<C: GenericClient>(c: &C, text: &str, key: &Digest, now: DateTime<Utc>) -> ApiResult<IdentityRow> {
    let unknown = || ApiError::new(Code::JoinRefused, "The join token is not valid.", ADD_AGAIN);
    if text.len() > MAX_TOKEN_LEN {
        return Err(unknown());
    }
    let row = db::branches::by_join_token(c, &token::hash(text)).await?.ok_or_else(unknown)?;
    if let Some(other) = row.key.filter(|other| other != key) {
        let at = row.enrolled.map(moment).unwrap_or_default();
        let (branch, other) = (&row.name, other.short());
        let detail = format!("The join token of branch {branch} was used on {at} by a server with the key {other}.");
        let remedy = "If that was not this branch's server, the token was stolen: remove the branch at head office and add it \
            again (`filial branch remove`, `filial branch add`).";
        return Err(ApiError::new(Code::JoinUsed, detail, remedy));
    }
    if row.join_token_expires.is_none_or(|expires| expires <= now) {
        let at = row.join_token_expires.map(|at| format!(" on {}", moment(at))).unwrap_or_default();
        return Err(ApiError::new(Code::JoinExpired, format!("The join token expired{at}."), ADD_AGAIN)
            .with("branch", &row.name));
    }
    if let Some(other) = db::branches::by_key(c, key).await?.filter(|other| other.name != row.name) {
        let detail = format!("The key of this request belongs to the server of branch {}.", other.name);
        let remedy = "Each branch needs a separate server. If this server moved to another branch, delete its identity files first.";
        return Err(ApiError::new(Code::CertificateRequest, detail, remedy));
    }
    match db::branches::removed_by_key(c, key).await? {
        Some(removed) if removed.denied => Err(is_denied(&removed.name)),
        _ => Ok(row),
    }
}

/// Formats a time for people.
fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// The branch whose server has this key.
async fn by_key<C: GenericClient>(c: &C, key: &Digest) -> ApiResult<IdentityRow> {
    if let Some(row) = db::branches::by_key(c, key).await? {
        return Ok(row);
    }
    Err(match db::branches::removed_by_key(c, key).await? {
        Some(removed) => was_removed(&removed.name, removed.at),
        None => ApiError::new(Code::JoinRefused, "No branch server has enrolled with this key.", ADD_AGAIN),
    })
}
