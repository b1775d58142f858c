//! The stable error codes and the body that carries them (RFC 9457, problem details).

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $title:literal;)+) => {
        /// Every reason for which a listener refuses. Stable: programs and people match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            /// All codes, for documentation and tests.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// The code as text, such as `name-taken`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)+ }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)+ }
            }

            /// A short title that does not vary from case to case.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)+ }
            }
        }
    };
}

codes! {
    /// What came is not HTTP/1.1, or says two things about its own length.
    MalformedHttp = "malformed-http", 400, "This is not HTTP";
    /// The request's line and headers are longer, or more, than any listener reads.
    HeaderTooLarge = "header-too-large", 431, "The request's head is too large";
    /// The request did not arrive in time.
    Timeout = "timeout", 408, "The request did not arrive in time";
    /// The body is not JSON.
    NotJson = "not-json", 400, "The body is not JSON";
    /// The body is nested deeper than any message is.
    JsonTooDeep = "json-too-deep", 400, "The JSON is nested too deeply";
    /// The request's body or parameters cannot be read.
    BadRequest = "bad-request", 400, "The request cannot be read";
    /// A field has a value that is not allowed.
    BadField = "bad-field", 422, "A field is not valid";
    /// The body is larger than this route takes.
    TooLarge = "too-large", 413, "The request is too large";
    /// A batch has more reports than one request may bring.
    BatchTooLong = "batch-too-long", 413, "The batch is too long";
    /// No token, or one that nobody issued.
    Unauthenticated = "unauthenticated", 401, "Who are you?";
    /// A name and password that do not belong together, or an operator who may not come in.
    LoginRefused = "login-refused", 401, "The log-in is not accepted";
    /// A password that would cross a network in clear.
    PlainConnection = "plain-connection", 403, "Not over this connection";
    /// A request by cookie that another site may have caused.
    CrossSite = "cross-site", 403, "Another site may have sent this";
    /// The token is for other routes.
    OutOfScope = "out-of-scope", 403, "Outside the token's scope";
    /// Nobody changes the role or access of the own account.
    OwnAccount = "own-account", 409, "Not on your own account";
    /// Nobody could administer head office afterwards.
    LastAdmin = "last-admin", 409, "This is the last admin";
    /// The operator has as many of these as one may.
    TooManyHeld = "too-many-held", 409, "As many as one may have";
    /// The caller's role does not reach this far.
    Forbidden = "forbidden", 403, "Not allowed";
    /// A machine speaks about, or in the name of, another one.
    NotYourself = "not-yourself", 403, "Only about yourself";
    /// No plan of the calling branch names it.
    NotInYourPlan = "not-in-your-plan", 403, "Not in your plan";
    /// A join token, or a key instead of one, that is unknown.
    JoinRefused = "join-refused", 403, "The join token is not accepted";
    /// A join token that another key was enrolled with.
    JoinUsed = "join-used", 403, "The join token was used by another";
    /// A join token whose time is over.
    JoinExpired = "join-expired", 403, "The join token has expired";
    /// A request for a certificate that cannot be used.
    CertificateRequest = "certificate-request", 422, "The certificate request cannot be used";
    /// A certificate that does not hold: out of its time, or not of this fleet.
    CertificateRefused = "certificate-refused", 401, "The certificate does not hold";
    /// A certificate of another branch.
    WrongBranch = "wrong-branch", 403, "The certificate is another branch's";
    /// A name that is known by another key than the caller's.
    OtherKey = "other-key", 403, "Known by another key";
    /// A report says a terminal's state, and the terminal did not sign that with the key by which it is known.
    ReportNotProven = "report-not-proven", 422, "The terminal did not sign this";
    /// An identity that an operator denied.
    IdentityDenied = "identity-denied", 403, "The identity is denied";
    /// Nothing by that name.
    NotFound = "not-found", 404, "Not found";
    /// The route does not take this method.
    MethodNotAllowed = "method-not-allowed", 405, "The method is not allowed here";
    /// A name that already stands for something else.
    NameTaken = "name-taken", 409, "The name is taken";
    /// A move that the state machine does not have.
    WrongState = "wrong-state", 409, "Not in this state";
    /// An upload chunk that does not begin where the file ends.
    OffsetMismatch = "offset-mismatch", 409, "The chunk does not begin where the upload ends";
    /// Another request is writing this upload.
    UploadBusy = "upload-busy", 423, "Another request is writing this upload";
    /// A newer request of the same operator writes this upload.
    UploadTakenOver = "upload-taken-over", 409, "A newer request has taken this upload over";
    /// An upload that was cancelled, or on which nobody worked for too long.
    UploadGone = "upload-gone", 410, "The upload has ended";
    /// An upload chunk with another media type than tus prescribes.
    UnsupportedMediaType = "unsupported-media-type", 415, "The media type is not supported";
    /// A tus version that is not spoken here.
    UnsupportedVersion = "unsupported-version", 412, "The protocol version is not supported";
    /// A branch whose terminals were heard a short while ago.
    BranchInUse = "branch-in-use", 409, "The branch is in use";
    /// The branch that this identity belonged to was removed.
    BranchRemoved = "branch-removed", 403, "The branch was removed";
    /// The release that an assignment names is not published.
    NotPublished = "not-published", 409, "The release is not published";
    /// The release has no payload for any terminal of the branch.
    NothingToInstall = "nothing-to-install", 409, "The release does not fit any terminal there";
    /// A signature that was made against metadata which moved on.
    SignAgain = "sign-again", 409, "Another change came first";
    /// A signature of nobody who holds the product's role.
    UnknownSigner = "unknown-signer", 422, "No release key signed this";
    /// A signature for something else than the archive that was uploaded.
    OtherRelease = "other-release", 422, "This signs another release";
    /// A file of signatures that cannot be used.
    SignatureRefused = "signature-refused", 422, "The signature cannot be used";
    /// Head office cannot publish signed metadata now.
    TrustUnavailable = "trust-unavailable", 503, "Signed metadata cannot be published";
    /// A kit that was made for another branch.
    OtherBranch = "other-branch", 409, "This is for another branch";
    /// A kit whose metadata or plan is refused.
    KitRefused = "kit-refused", 409, "What the kit carries is not accepted";
    /// A file that is not what the plan names.
    NotAsPlanned = "not-as-planned", 422, "This is not what the plan names";
    /// Another request is sending this kit's files.
    KitBusy = "kit-busy", 423, "Another kit is being taken up";
    /// A freeze of the calendar is in force.
    Frozen = "frozen", 409, "A freeze is in force";
    /// An artifact is known but not yet held here.
    NotHeldYet = "not-held-yet", 409, "Not held here yet";
    /// A report whose sequence number is out of order.
    ReportOutOfOrder = "report-out-of-order", 409, "A report is missing before this one";
    /// The branch has as many terminals as it may.
    TooManyTerminals = "too-many-terminals", 429, "The branch has as many terminals as it may";
    /// The caller has as many event streams open as it may.
    TooManyStreams = "too-many-streams", 429, "Too many event streams";
    /// More requests than this caller may make now.
    TooMany = "too-many", 429, "Too many at once";
    /// The disk has no room for this.
    DiskFull = "disk-full", 507, "No room on the disk";
    /// PostgreSQL does not answer.
    DatabaseUnavailable = "database-unavailable", 503, "The database does not answer";
    /// The BitTorrent daemon does not answer.
    EngineUnavailable = "engine-unavailable", 503, "The BitTorrent daemon does not answer";
    /// Starting up or shutting down.
    NotReady = "not-ready", 503, "Not ready";
    /// A defect on our side; the log has it under the request id.
    Internal = "internal", 500, "Something broke on our side";
}

impl Code {
    /// Whether what was sent is at fault, so that it is refused however often it is sent again.
    pub const fn is_about_content(self) -> bool {
        matches!(
            self,
            Self::BadRequest
                | Self::BadField
                | Self::NotJson
                | Self::JsonTooDeep
                | Self::TooLarge
                | Self::BatchTooLong
                | Self::NotYourself
                | Self::ReportNotProven
                | Self::TooManyTerminals
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A refusal: RFC 9457 problem details with a stable code, one sentence and what to do next.
///
/// Its media type is `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:filial:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's title.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// The stable code.
    pub code: Code,
    /// One sentence: what is wrong with this very request.
    pub detail: String,
    /// What to do about it.
    pub remedy: String,
    /// The id under which the log has this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem of `code` with its sentence and remedy.
    pub fn new(code: Code, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:filial:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            remedy: remedy.into(),
            request_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_their_json_is_their_text() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} stands twice");
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
            assert!((400..600).contains(&code.status()));
        }
    }

    #[test]
    fn a_problem_has_the_members_of_rfc_9457() {
        let p = Problem::new(Code::NameTaken, "There is a branch north already.", "Choose another name.");
        let json = serde_json::to_value(p).unwrap();
        assert_eq!(json["type"], "urn:filial:name-taken");
        assert_eq!(json["status"], 409);
        assert_eq!(json["code"], "name-taken");
    }
}
