//! What tus requires of every request and answer of the upload routes, those that reach no handler too.

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use wire::v1::paths;

use super::headers::{OVERRIDE, RESUMABLE, version};

/// Takes the method of an upload route from `X-HTTP-Method-Override`, and puts `Tus-Resumable` into every answer.
///
/// # Errors
/// Those of `next`.
pub async fn tus<B: MessageBody>(mut request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    if !is_upload(request.path()) {
        return next.call(request).await;
    }
    if let Some(method) = overridden(&request) {
        // Before the route is chosen: the role and the checks are those of the method that runs.
        request.head_mut().method = method;
    }
    let mut response = next.call(request).await?;
    response.headers_mut().insert(RESUMABLE, version());
    Ok(response)
}

fn is_upload(path: &str) -> bool {
    path.strip_prefix(paths::UPLOADS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The method that a POST stands for. Others are not changed: proxies let GET and POST through, and GET has no body.
fn overridden(request: &ServiceRequest) -> Option<Method> {
    let value = request.headers().get(OVERRIDE).filter(|_| request.method() == Method::POST)?;
    [Method::PATCH, Method::DELETE, Method::HEAD]
        .into_iter()
        .find(|method| value.as_bytes() == method.as_str().as_bytes())
}
