//! One error of every listener: problem+json with a stable code.

use std::error::Error as StdError;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use wire::v1::shape::ShapeError;
use wire::{Code, Problem};

use super::Role;
use crate::edge;

tokio::task_local! {
    /// The id of the request being answered, so that a refusal can carry it.
    pub(super) static REQUEST_ID: String;
}

/// A kind of object that a request named and that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A branch.
    Branch,
    /// A terminal.
    Terminal,
    /// An operator.
    Operator,
    /// An operator's token.
    Token,
    /// A release.
    Release,
    /// An assignment of a product to a branch.
    Assignment,
    /// An upload.
    Upload,
    /// An object that no command lists.
    Other(&'static str),
}

impl Missing {
    fn remedy(self) -> String {
        match self {
            Self::Branch | Self::Terminal | Self::Operator | Self::Token | Self::Release => {
                format!("Check the name: `filial {self} list` shows what there is.")
            }
            Self::Assignment => "Check the names: `filial branch show NAME` lists the branch's assignments.".to_owned(),
            Self::Upload => "Check the id: `filial release list` shows unfinished uploads.".to_owned(),
            Self::Other(_) => "Check the name; the list shows what there is.".to_owned(),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Branch => "branch",
            Self::Terminal => "terminal",
            Self::Operator => "operator",
            Self::Token => "token",
            Self::Release => "release",
            Self::Assignment => "assignment",
            Self::Upload => "upload",
            Self::Other(kind) => kind,
        })
    }
}

/// A refusal, and for the log its cause.
pub struct ApiError {
    problem: Box<Problem>,
    headers: Vec<(HeaderName, HeaderValue)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ApiError {
    /// A refusal with its sentence and remedy.
    pub fn new(code: Code, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(code, detail, remedy)), headers: Vec::new(), source: None }
    }

    /// The caller's role does not reach.
    pub fn forbidden(held: Role, needed: Role) -> Self {
        Self::new(
            Code::Forbidden,
            format!("This needs the role {}, the caller has {}.", needed.as_str(), held.as_str()),
            "Use a token with that role.",
        )
    }

    /// Nothing of this kind has that name.
    pub fn not_found(kind: Missing, name: &dyn fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("There is no {kind} {name}."), kind.remedy())
    }

    /// A field has a value that is not allowed.
    pub fn bad_field(field: &str, why: impl fmt::Display) -> Self {
        let why = why.to_string();
        let detail = format!("{field}: {}.", why.trim_end_matches('.'));
        Self::new(Code::BadField, detail, format!("Correct {field} and send the request again."))
    }

    /// A defect on our side, with its cause for the log; the caller learns only the request id.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let detail = "The request could not be carried out because of a defect or a broken part here.";
        let remedy = "Look for the request id in the server's log.";
        Self::new(Code::Internal, detail, remedy).because(source)
    }

    /// PostgreSQL does not answer.
    pub fn database_unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let detail = "PostgreSQL does not answer.";
        Self::new(Code::DatabaseUnavailable, detail, "Try again; if it stays, check that PostgreSQL runs.")
            .because(source)
    }

    /// Adds a parameter of detail or remedy to the body, such as `free` with a number of bytes.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.problem.params.insert(name, &value.to_string());
        self
    }

    /// Adds the cause, for the log only.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.problem.code
    }

    /// The body.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    fn log(&self) {
        let Some(source) = &self.source else { return };
        let chain = edge::chain(&**source);
        if self.problem.status >= 500 {
            tracing::error!(code = %self.problem.code, cause = %chain, "request failed");
        } else {
            tracing::debug!(code = %self.problem.code, cause = %chain, "request refused");
        }
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiError").field("problem", &self.problem).field("source", &self.source).finish()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem.code, self.problem.detail)
    }
}

impl StdError for ApiError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|s| &**s as &(dyn StdError + 'static))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        self.log();
        let mut problem = self.problem.clone();
        problem.request_id = REQUEST_ID.try_with(Clone::clone).ok();
        if let (Code::Internal, Some(id)) = (&problem.code, &problem.request_id) {
            problem.remedy = format!("Look for request {id} in the server's log.");
        }
        let mut response = HttpResponse::build(self.status_code());
        for (name, value) in &self.headers {
            response.insert_header((name.clone(), value.clone()));
        }
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        response.content_type("application/problem+json").body(body)
    }
}

impl From<ShapeError> for ApiError {
    fn from(error: ShapeError) -> Self {
        match error {
            ShapeError::TooLong(count) => {
                Self::new(Code::BatchTooLong, format!("{error}."), "Send them in several batches.")
                    .with("reports", count)
            }
            ShapeError::Field { field, why } => Self::bad_field(field, why),
        }
    }
}

#[cfg(feature = "database")]
impl From<crate::database::DatabaseError> for ApiError {
    fn from(error: crate::database::DatabaseError) -> Self {
        if error.is_unavailable() { Self::database_unavailable(error) } else { Self::internal(error) }
    }
}
