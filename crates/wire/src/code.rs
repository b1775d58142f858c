//! The stable error codes and the body that carries them (RFC 9457, problem details).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Params;

/// How the `type` of every problem begins.
const TYPE_PREFIX: &str = "urn:filial:";

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $title:literal;)+) => {
        /// Every reason why a listener refuses a request. Stable: programs and people match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Code {
            $($(#[$doc])* $variant,)+
            /// A code that this version does not know; a newer server sends it. [`Problem::code_text`] has its text.
            #[serde(other)]
            Other,
        }

        impl Code {
            /// All known codes, for documentation and tests.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// Returns the code as text, such as `name-taken`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)+ Code::Other => "other" }
            }

            /// Returns the HTTP status of the answer.
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)+ Code::Other => 500 }
            }

            /// Returns a short title that does not vary from case to case.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)+ Code::Other => "Unknown error" }
            }
        }
    };
}

codes! {
    /// The request is not valid HTTP/1.1, or states two different lengths.
    MalformedHttp = "malformed-http", 400, "Not a valid HTTP request";
    /// The request line and headers exceed what any listener reads.
    HeaderTooLarge = "header-too-large", 431, "Request header too large";
    /// The request did not arrive in time.
    Timeout = "timeout", 408, "Request timeout";
    /// The body is not JSON.
    NotJson = "not-json", 400, "Body is not JSON";
    /// The JSON is nested deeper than any message.
    JsonTooDeep = "json-too-deep", 400, "JSON nested too deeply";
    /// The request's body or parameters cannot be parsed.
    BadRequest = "bad-request", 400, "Invalid request";
    /// A field has a value that is not allowed.
    BadField = "bad-field", 422, "Invalid field";
    /// The body exceeds the limit of this route.
    TooLarge = "too-large", 413, "Request too large";
    /// The batch has more reports than one request may carry.
    BatchTooLong = "batch-too-long", 413, "Batch too long";
    /// The request has no token, or one that is not valid.
    Unauthenticated = "unauthenticated", 401, "Authentication required";
    /// Name and password do not match, or the operator is locked.
    LoginRefused = "login-refused", 401, "Log-in refused";
    /// A password would cross the network unencrypted.
    PlainConnection = "plain-connection", 403, "Encrypted connection required";
    /// The request uses a cookie, and another site may have caused it.
    CrossSite = "cross-site", 403, "Cross-site request refused";
    /// The token does not cover this route.
    OutOfScope = "out-of-scope", 403, "Outside the token's scope";
    /// Operators cannot change the role or access of their own account.
    OwnAccount = "own-account", 409, "Not on your own account";
    /// Head office would have no administrator afterwards.
    LastAdmin = "last-admin", 409, "Last administrator";
    /// The operator has reached the limit for this kind of object.
    TooManyHeld = "too-many-held", 409, "Limit reached";
    /// The caller's role does not permit this.
    Forbidden = "forbidden", 403, "Permission denied";
    /// A machine reports about, or in the name of, another one.
    NotYourself = "not-yourself", 403, "Not your own identity";
    /// The calling branch's plan does not name it.
    NotInYourPlan = "not-in-your-plan", 403, "Not in your plan";
    /// The join token, or the key used instead, is not known.
    JoinRefused = "join-refused", 403, "Join token refused";
    /// Another key was enrolled with the join token.
    JoinUsed = "join-used", 403, "Join token already used";
    /// The join token expired.
    JoinExpired = "join-expired", 403, "Join token expired";
    /// The certificate request is not usable.
    CertificateRequest = "certificate-request", 422, "Invalid certificate request";
    /// The certificate is expired, not valid yet, or of another fleet.
    CertificateRefused = "certificate-refused", 401, "Certificate refused";
    /// The certificate belongs to another branch.
    WrongBranch = "wrong-branch", 403, "Certificate of another branch";
    /// The name is registered with another key than the caller's.
    OtherKey = "other-key", 403, "Registered with another key";
    /// A reported terminal state is not signed with the terminal's registered key.
    ReportNotProven = "report-not-proven", 422, "Not signed by the terminal";
    /// A reported terminal state is signed with a key that no operator accepted yet; it counts once one does.
    ReportHeld = "report-held", 409, "Held until the key is accepted";
    /// A reported terminal state was signed before another that is known.
    ReportOld = "report-old", 409, "An old state";
    /// An operator denied this identity.
    IdentityDenied = "identity-denied", 403, "Identity denied";
    /// No object has that name.
    NotFound = "not-found", 404, "Not found";
    /// The listener has no such route; versions before this code answer `not-found`.
    RouteMissing = "route-missing", 404, "No such route";
    /// The route does not support this method.
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed";
    /// The name is used by another object.
    NameTaken = "name-taken", 409, "Name already taken";
    /// The state machine has no such transition.
    WrongState = "wrong-state", 409, "Not possible in this state";
    /// The upload chunk does not begin at the end of the upload.
    OffsetMismatch = "offset-mismatch", 409, "Upload offset mismatch";
    /// Another request is writing this upload.
    UploadBusy = "upload-busy", 423, "Upload in use by another request";
    /// A newer request of the same operator took over this upload.
    UploadTakenOver = "upload-taken-over", 409, "Upload taken over by a newer request";
    /// The upload was cancelled, or was idle for too long.
    UploadGone = "upload-gone", 410, "Upload no longer available";
    /// The upload chunk has another media type than tus requires.
    UnsupportedMediaType = "unsupported-media-type", 415, "Unsupported media type";
    /// The tus version is not supported.
    UnsupportedVersion = "unsupported-version", 412, "Unsupported protocol version";
    /// The branch's terminals were active recently.
    BranchInUse = "branch-in-use", 409, "Branch in use";
    /// The terminal reported within the last day and is not denied.
    TerminalInUse = "terminal-in-use", 409, "Terminal in use";
    /// The branch of this identity was removed.
    BranchRemoved = "branch-removed", 403, "Branch removed";
    /// The assigned release is not published.
    NotPublished = "not-published", 409, "Release not published";
    /// The release has no payload for any terminal of the branch.
    NothingToInstall = "nothing-to-install", 409, "No suitable payload in the release";
    /// The metadata changed since the signature was made.
    SignAgain = "sign-again", 409, "Superseded by another change";
    /// The signing key does not hold the product's role.
    UnknownSigner = "unknown-signer", 422, "Not signed by a release key";
    /// The signature is for another archive than the uploaded one.
    OtherRelease = "other-release", 422, "Signature of another release";
    /// The signature file is not usable.
    SignatureRefused = "signature-refused", 422, "Signature refused";
    /// Head office cannot publish signed metadata at the moment.
    TrustUnavailable = "trust-unavailable", 503, "Metadata signing unavailable";
    /// The kit was made for another branch.
    OtherBranch = "other-branch", 409, "For another branch";
    /// The kit's metadata or plan is refused.
    KitRefused = "kit-refused", 409, "Kit refused";
    /// The file is not the one in the plan.
    NotAsPlanned = "not-as-planned", 422, "Not the planned file";
    /// Another request is importing a kit.
    KitBusy = "kit-busy", 423, "Another kit import is running";
    /// A calendar freeze is in force.
    Frozen = "frozen", 409, "Freeze in force";
    /// The artifact is known here, but not complete yet.
    NotHeldYet = "not-held-yet", 409, "Not available yet";
    /// The report's sequence number is out of order.
    ReportOutOfOrder = "report-out-of-order", 409, "Report out of order";
    /// The report's number is known with other content, or a newer numbering has begun.
    NumberReused = "number-reused", 409, "Report number used twice";
    /// The branch has reached its limit of terminals.
    TooManyTerminals = "too-many-terminals", 429, "Too many terminals";
    /// The caller has reached its limit of open event streams.
    TooManyStreams = "too-many-streams", 429, "Too many event streams";
    /// The caller exceeds its request rate.
    TooMany = "too-many", 429, "Too many requests";
    /// The disk has too little free space.
    DiskFull = "disk-full", 507, "Disk full";
    /// PostgreSQL does not answer.
    DatabaseUnavailable = "database-unavailable", 503, "Database unavailable";
    /// The BitTorrent daemon does not answer.
    EngineUnavailable = "engine-unavailable", 503, "BitTorrent daemon unavailable";
    /// The server is starting up or shutting down.
    NotReady = "not-ready", 503, "Not ready";
    /// An internal error; the log has its cause under the request id.
    Internal = "internal", 500, "Internal error";
}

impl Code {
    /// Whether the content is at fault, so that repeating the request cannot help.
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
    /// What detail and remedy were rendered from (an extension member); numbers are in bytes or seconds.
    #[serde(default, skip_serializing_if = "Params::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub params: Params,
    /// The id under which the log has this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// Makes a problem of `code` with its sentence and remedy.
    pub fn new(code: Code, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: format!("{TYPE_PREFIX}{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            remedy: remedy.into(),
            params: Params::default(),
            request_id: None,
        }
    }

    /// Adds a parameter, within the bounds of [`Params::insert`].
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.params.insert(name, &value.to_string());
        self
    }

    /// Returns the code's text as it was sent, also that of a code which this version does not know.
    pub fn code_text(&self) -> &str {
        match self.code {
            Code::Other => self.kind.strip_prefix(TYPE_PREFIX).unwrap_or(Code::Other.as_str()),
            code => code.as_str(),
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

    #[test]
    fn a_problem_of_a_newer_server_is_read_with_its_text_and_code() {
        let json = r#"{"type":"urn:filial:quota-used","title":"Quota used","status":429,"code":"quota-used",
            "detail":"The quota is used up.","remedy":"Wait.","params":{"left":"0"},"instance":"/x"}"#;
        let problem: Problem = serde_json::from_str(json).unwrap();
        assert_eq!((problem.code, problem.code_text(), problem.status), (Code::Other, "quota-used", 429));
        assert_eq!((problem.detail.as_str(), problem.params.get("left")), ("The quota is used up.", Some("0")));
        assert!(!Code::ALL.contains(&Code::Other));
    }

    #[test]
    fn parameters_of_a_problem_are_optional_and_bounded() {
        let plain = Problem::new(Code::DiskFull, "Full.", "Make room.");
        assert!(serde_json::to_value(&plain).unwrap().get("params").is_none());
        let mut problem = plain.clone().with("free", 5).with("Not a name", 1).with("needed", "9".repeat(9000));
        assert_eq!(serde_json::to_value(&problem).unwrap()["params"]["free"], "5");
        assert_eq!(problem.params.len(), 2);
        assert_eq!(problem.code_text(), "disk-full");
        problem.params = Params::default();
        assert_eq!(problem, plain);
    }
}
