//! Why a request failed.

use std::time::Duration;

use wire::{Code, Problem};

use super::distrust::{Distrust, reason};

/// Why a request brought no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base address is not valid.
    #[error("{given:?} is not an address such as {scheme}://head-office:7002")]
    BadAddress {
        /// What was given.
        given: String,
        /// `http` or `https`.
        scheme: &'static str,
    },
    /// TLS cannot be used at all.
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
    /// The HTTP client could not be set up.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
    /// The service did not answer, or the connection broke.
    #[error("{url} does not answer: check that the service runs and the network leads there")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The other end did not prove its identity, or did not accept what this end presented.
    #[error("{url} is not trusted: {why}")]
    Distrusted {
        /// What was asked.
        url: String,
        /// Why.
        why: Distrust,
    },
    /// The service refused, and said why.
    #[error("{}: {} {}", .0.title, .0.detail, .0.remedy)]
    Refused(Box<Problem>),
    /// The service refused without a problem body (a proxy, or something that is not ours).
    #[error("{url} answered {status} without saying why: is this the right address?")]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is larger than it may be.
    #[error("{url} answered with more than {max} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The bound in bytes.
        max: usize,
    },
    /// The answer is not what was asked for.
    #[error("{url} answered with something else than expected: are both programs of compatible versions?")]
    BadAnswer {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// An event stream was silent for too long.
    #[error("{url} has been silent for {} s", .idle.as_secs())]
    Silent {
        /// What was asked.
        url: String,
        /// For how long.
        idle: Duration,
    },
}

impl ClientError {
    /// Makes the error of a request that got no answer.
    pub(super) fn of_transport(url: String, source: reqwest::Error) -> Self {
        match reason(&source) {
            Some(why) => Self::Distrusted { url, why },
            None => Self::Unreachable { url, source },
        }
    }

    /// The stable code of a refusal, if there is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(problem) => Some(problem.code),
            _ => None,
        }
    }

    /// Returns whether the same request may succeed later without a change.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Refused(problem) => problem.status >= 500 || problem.status == 423 || problem.status == 429,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }
}
