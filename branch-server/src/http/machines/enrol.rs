//! `POST /v1/enrol`

use actix_web::web::{Data, Json};
use service_kit::server::ApiError;
use wire::v1::paths;
use wire::v1::sync::{EnrolRequest, EnrolResponse};

use crate::app::App;
use crate::terminals::enrol::not_enrolled;

/// Certify a terminal's key.
///
/// With the branch's join token for a new name, or one that is registered with this key: repeated requests get the same
/// answer, so that an answer may be lost. A name that is registered with another key stays with it until an admin allows
/// the new key. Without a token a registered key gets a new certificate, also after the last one expired.
#[utoipa::path(post, path = paths::ENROL, tag = "machines", request_body = EnrolRequest, responses(
    (status = 200, description = "The certificate", body = EnrolResponse),
    (status = 403, description = "`join-refused`, `join-expired`: the join token, or the key instead of one; `other-key`: the \
        name is registered with another; `identity-denied`", body = wire::Problem),
    (status = 422, description = "`bad-field`: facts are missing or out of range; `certificate-request`", body = wire::Problem),
    (status = 429, description = "`too-many-terminals`, as its settings allow; `too-many`: too many refused tries", body = wire::Problem),
    (status = 503, description = "`not-ready`: this branch server has not enrolled itself", body = wire::Problem),
))]
pub async fn enrol(app: Data<App>, body: Json<EnrolRequest>) -> Result<Json<EnrolResponse>, ApiError> {
    let identity = app.head_office.identity().ok_or_else(not_enrolled)?;
    app.enrolment.enrol(&identity, body.into_inner()).await.map(Json)
}
