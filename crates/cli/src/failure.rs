//! Failures of commands: a sentence, a remedy and an exit code.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use service_kit::client::{ClientError, Distrust};
use service_kit::config::ConfigError;
use service_kit::durable::DurableError;
use service_kit::output::{self, OutputError};
use uuid::Uuid;
use wire::{Code, Problem};

use crate::output::units::size;

/// Exit code: the command failed or was refused.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Exit code: the server cannot be reached.
pub(crate) const EXIT_UNREACHABLE: u8 = 3;
/// Exit code: the checklist rejected the release.
pub(crate) const EXIT_REJECTED: u8 = 4;
/// Exit code: the release awaits an operator's approval or signatures.
pub(crate) const EXIT_WAITING: u8 = 5;
/// Exit code: Ctrl-C (128 + SIGINT).
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// HTTP status of an answer to an unknown path.
const NOT_FOUND: u16 = 404;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(transparent)]
    Pack(#[from] release::PackError),
    #[error(transparent)]
    Trust(#[from] trust::Refusal),
    #[error(transparent)]
    Torrent(#[from] swarm::TorrentError),
    #[error("Cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("Cannot write to {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("Cannot write to standard output")]
    Output(#[source] OutputError),
    #[error("Cannot start the asynchronous runtime")]
    Runtime(#[source] io::Error),
    #[error("Cannot convert the answer to or from JSON")]
    Json(#[source] serde_json::Error),
    /// The token of the file that the options name was refused.
    #[error("The token in {} was refused: {}", .file.display(), .problem.detail)]
    TokenRefused { file: PathBuf, problem: Box<Problem> },
    /// The link dropped more often than retries were allowed.
    #[error("The upload stopped at {} of {}", size(*.done), size(*.total))]
    UploadStopped { done: u64, total: u64, source: Box<Failure> },
    /// The archive is complete at head office, but its state cannot be read any more.
    #[error("The archive is uploaded as {id}, but its checks cannot be followed")]
    WatchStopped { id: Uuid, source: Box<Failure> },
    /// A command's sentence, remedy and exit code.
    #[error("{sentence}")]
    Said { sentence: String, remedy: String, exit: u8 },
}

impl Failure {
    /// A failure that only this command has.
    pub(crate) fn said(sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Said { sentence: sentence.into(), remedy: remedy.into(), exit: EXIT_FAILED }
    }

    /// The checklist rejected a release.
    pub(crate) fn rejected(sentence: impl Into<String>) -> Self {
        let remedy = "Correct what the checklist names, then pack and upload the release again.".to_owned();
        Self::Said { sentence: sentence.into(), remedy, exit: EXIT_REJECTED }
    }

    /// The release needs an operator before it goes on.
    pub(crate) fn waiting(sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Said { sentence: sentence.into(), remedy: remedy.into(), exit: EXIT_WAITING }
    }

    /// The operator pressed Ctrl-C.
    pub(crate) fn interrupted(sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Said { sentence: sentence.into(), remedy: remedy.into(), exit: EXIT_INTERRUPTED }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    /// Names the file of a refused token.
    pub(crate) fn with_token_file(self, file: Option<PathBuf>) -> Self {
        match (self, file) {
            (Self::Client(ClientError::Refused(problem)), Some(file)) if problem.code == Code::Unauthenticated => {
                Self::TokenRefused { file, problem }
            }
            (other, _) => other,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Unreachable { .. } | ClientError::Silent { .. }) => EXIT_UNREACHABLE,
            Self::UploadStopped { source, .. } | Self::WatchStopped { source, .. } => source.exit_code(),
            Self::Said { exit, .. } => *exit,
            // The reader closed the pipe: `filial release list | head` succeeds.
            Self::Output(e) if e.is_closed() => 0,
            _ => EXIT_FAILED,
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Client(ClientError::Refused(problem)) if problem.code == Code::Unauthenticated => {
                "Log in with `filial login NAME`, or name your token file with --token-file or FILIAL_TOKEN_FILE.".to_owned()
            }
            Self::TokenRefused { .. } => {
                "Create another with `filial token create`, or log in with `filial login NAME` and give no token file.".to_owned()
            }
            Self::Client(error) if unresolved(error).is_some() => {
                "Check the spelling of --server or FILIAL_SERVER, and the name service of this machine.".to_owned()
            }
            Self::Client(error) if is_route_missing(error) => {
                "With --at, use the commands that `filial help` names at --at. Otherwise check that filial and the server have \
                 the same version."
                    .to_owned()
            }
            Self::Client(ClientError::Refused(problem)) => problem.remedy.clone(),
            Self::Client(ClientError::Unreachable { .. } | ClientError::Silent { .. }) => {
                "Check that the server runs, or give another address with --server or FILIAL_SERVER.".to_owned()
            }
            Self::Client(ClientError::Distrusted { why: Distrust::OtherServer(_), .. }) => {
                "Give --at BRANCH together with --server, the address of that branch's server; for head office, omit --at."
                    .to_owned()
            }
            Self::Client(ClientError::Distrusted { .. }) => {
                "Check that --server (with --at for a branch server) names the right machine, and that --authority, or the \
                 fingerprint given at login, matches the output of `head-office authority` there. If both are right, another \
                 machine answers at this address."
                    .to_owned()
            }
            Self::UploadStopped { source, .. } if matches!(**source, Self::Client(ClientError::Refused(_))) => {
                format!("{} Then repeat the command: it resumes there.", source.remedy())
            }
            Self::UploadStopped { source, .. } if matches!(**source, Self::Said { .. }) => source.remedy(),
            Self::UploadStopped { .. } => "Repeat the command: it resumes there.".to_owned(),
            Self::WatchStopped { id, .. } => format!("`filial release show {id}` shows where it stands."),
            Self::Read { .. } => "Check that the file exists and that you may read it.".to_owned(),
            Self::Write { .. } => "Check free space and your permissions there.".to_owned(),
            Self::Output(_) => "Check free space and permissions of the file it leads to.".to_owned(),
            Self::Said { remedy, .. } => remedy.clone(),
            Self::Pack(release::PackError::BadManifest { .. } | release::PackError::Manifest { .. }) => {
                "`filial release pack --help` shows a complete release.toml.".to_owned()
            }
            Self::Trust(refusal) => refusal.remedy().to_owned(),
            _ => String::new(),
        }
    }

    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Client(error) if is_route_missing(error) => "This server does not offer this command".to_owned(),
            Self::Client(ClientError::Refused(problem)) => problem.detail.clone(),
            Self::Client(error @ ClientError::Unreachable { url, .. }) => match unresolved(error) {
                Some(host) => format!("The name {host} cannot be resolved"),
                None => format!("{} does not answer", origin(url)),
            },
            Self::Client(ClientError::Distrusted { url, why: Distrust::OtherServer(server) }) => {
                format!("{} is {}, not {}", origin(url), server.identity, server.expected)
            }
            Self::Client(ClientError::Distrusted { url, why: Distrust::Other(why) }) => {
                format!("{} is not trusted: {why}", origin(url))
            }
            other => other.to_string(),
        }
    }

    fn code(&self) -> Option<String> {
        match self {
            Self::Client(e) => e.code().map(|c| c.to_string()),
            Self::TokenRefused { problem, .. } => Some(problem.code.to_string()),
            Self::UploadStopped { source, .. } | Self::WatchStopped { source, .. } => source.code(),
            Self::Trust(refusal) => Some(refusal.code().to_owned()),
            _ => None,
        }
    }

    /// The innermost cause, if it says more than the sentence.
    fn cause(&self) -> Option<String> {
        if let Self::UploadStopped { source, .. } | Self::WatchStopped { source, .. } = self
            && matches!(**source, Self::Client(ClientError::Refused(_)) | Self::Said { .. })
        {
            return Some(source.sentence());
        }
        let innermost = std::iter::successors(self.source(), |error| (*error).source()).last()?;
        Some(innermost.to_string())
    }

    /// Prints the failure on standard error: lines for people, an object with `json`.
    pub(crate) fn report(&self, json: bool) {
        if self.exit_code() == 0 {
            return;
        }
        let (sentence, remedy, code, cause) = (self.sentence(), self.remedy(), self.code(), self.cause());
        if json {
            let object = serde_json::json!({ "error": sentence, "remedy": remedy, "code": code, "cause": cause });
            return output::complain(&format!("{object}\n"));
        }
        let mut told = format!("filial: {sentence}\n");
        let lines = [("cause", cause.unwrap_or_default()), ("to do", remedy), ("code", code.unwrap_or_default())];
        for (label, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
            told.push_str(&format!("  {label:>5}: {text}\n"));
        }
        output::complain(&told);
    }
}

/// Returns whether the server has no such route at all, as opposed to nothing by that name.
///
/// A server that gives no known code with 404 is of another version, or not one of Filial's.
fn is_route_missing(error: &ClientError) -> bool {
    match error {
        ClientError::Refused(problem) => match problem.code {
            Code::RouteMissing => true,
            Code::Other => problem.status == NOT_FOUND,
            _ => false,
        },
        ClientError::Status { status, .. } => *status == NOT_FOUND,
        _ => false,
    }
}

/// The host of a request whose name the system could not resolve.
fn unresolved(error: &ClientError) -> Option<&str> {
    let ClientError::Unreachable { url, source } = error else { return None };
    let mut causes = std::iter::successors(source.source(), |error| (*error).source());
    // The HTTP client's type for it is private.
    let is_unresolved = causes.any(|cause| cause.to_string() == "dns error");
    let host = origin(url).split("://").last().unwrap_or_default();
    is_unresolved.then(|| host.rsplit_once(':').map_or(host, |(name, _)| name))
}

/// The scheme, host and port of an address: the part that the operator gave.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |i| i + 3);
    url[host..].find('/').map_or(url, |i| &url[..host + i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_kit::client::OtherServer;
    use wire::Problem;

    #[test]
    fn a_refusal_says_sentence_remedy_and_code() {
        let problem = Problem::new(Code::NameTaken, "There is a branch north.", "Choose another name.");
        let failure = Failure::from(ClientError::Refused(Box::new(problem)));
        assert_eq!(failure.sentence(), "There is a branch north.");
        assert_eq!(failure.remedy(), "Choose another name.");
        assert_eq!(failure.code().as_deref(), Some("name-taken"));
        assert_eq!(failure.exit_code(), EXIT_FAILED);
    }

    #[test]
    fn a_command_that_the_server_lacks_is_not_told_in_words_of_the_api() {
        let (url, detail) = ("http://a:1/v1/branches".to_owned(), "There is nothing at /v1/branches.");
        let refused = |code, status| {
            let problem = Problem { status, ..Problem::new(code, detail, "See /openapi.json for what there is.") };
            ClientError::Refused(Box::new(problem))
        };
        let status = |status| ClientError::Status { url: url.clone(), status };
        for missing in [refused(Code::RouteMissing, 404), refused(Code::Other, 404), status(404)] {
            let failure = Failure::from(missing);
            let told = format!("{} {}", failure.sentence(), failure.remedy());
            let begin = "This server does not offer this command With --at";
            assert!(told.starts_with(begin) && !told.contains('/'), "{told}");
        }
        for other in [refused(Code::NotFound, 404), refused(Code::Other, 500), status(502)] {
            let sentence = Failure::from(other).sentence();
            assert!(!sentence.starts_with("This server does not offer"), "{sentence}");
        }
    }

    #[test]
    fn another_server_of_the_fleet_is_named_and_needs_another_address() {
        let failure = |why| Failure::from(ClientError::Distrusted { url: "https://a:1/v1/status".to_owned(), why });
        let (identity, expected) = ("branch north".to_owned(), "head office".to_owned());
        let other = failure(Distrust::OtherServer(OtherServer { identity, expected }));
        assert_eq!(other.sentence(), "https://a:1 is branch north, not head office");
        assert!(other.remedy().starts_with("Give --at BRANCH"), "{}", other.remedy());
        let unknown = failure(Distrust::Other("its certificate is refused".to_owned()));
        assert_eq!(unknown.sentence(), "https://a:1 is not trusted: its certificate is refused");
        assert!(unknown.remedy().contains("--authority"), "{}", unknown.remedy());
    }

    #[test]
    fn a_missing_token_is_answered_with_how_to_give_one() {
        let problem = Problem::new(Code::Unauthenticated, "No token.", "Send one.");
        let failure = Failure::from(ClientError::Refused(Box::new(problem)));
        assert!(
            failure.remedy().contains("--token-file") && !failure.remedy().contains("Send one"),
            "{}",
            failure.remedy()
        );
    }

    #[test]
    fn an_upload_that_was_refused_says_why_and_how_it_goes_on() {
        let problem = Problem::new(Code::DiskFull, "The disk is full.", "Free space there.");
        let source = Box::new(Failure::from(ClientError::Refused(Box::new(problem))));
        let failure = Failure::UploadStopped { done: 5, total: 10, source };
        assert_eq!(failure.cause().as_deref(), Some("The disk is full."));
        assert_eq!(failure.remedy(), "Free space there. Then repeat the command: it resumes there.");
        assert_eq!(failure.code().as_deref(), Some("disk-full"));
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        assert_eq!(Failure::Output(OutputError(io::ErrorKind::BrokenPipe.into())).exit_code(), 0);
        assert_eq!(Failure::Output(OutputError(io::ErrorKind::StorageFull.into())).exit_code(), 1);
    }

    #[test]
    fn an_address_is_cut_to_what_was_given() {
        assert_eq!(origin("http://a:1/v1/x?y"), "http://a:1");
        assert_eq!(origin("http://a:1"), "http://a:1");
    }
}
