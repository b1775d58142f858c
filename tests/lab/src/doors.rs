//! Tries to get in with join tokens that must not open anything, as a stranger would who has curl and what he found.

use std::path::Path;
use std::time::Duration;

use fleet_types::{BranchName, TerminalRef};
use serde::Serialize;
use service_kit::{Clock as _, Secret, SystemClock};
use trust::Refusal;
use trust::certificates::{JoinToken, TlsKey, request_to_pem};
use wire::v1::fleet::{AddBranch, BranchAdded};
use wire::v1::paths;
use wire::v1::sync::{BranchEnrolRequest, EnrolRequest, TerminalFacts};
use wire::{Code, Problem};

use crate::error::LabError;
use crate::lab::Lab;
use crate::net::Net;
use crate::part::Place;
use crate::sites::write_secret;

/// How long the shortest-lived token may take to expire.
const EXPIRES: Duration = Duration::from_secs(30);

/// A door that stayed shut.
#[derive(Debug, Clone)]
pub struct Shut {
    /// What was tried.
    pub tried: &'static str,
    /// Under which code it was refused.
    pub code: Code,
    /// What was said: a cause and the next step.
    pub said: String,
}

impl Lab {
    /// Tries invalid join tokens with a fresh key. From the WAN, those of branches: a used one, one reported stolen, and an
    /// expired one. From inside a branch, those of terminals: another branch's token, and the right token under the name of a
    /// terminal that is already enrolled.
    ///
    /// # Errors
    /// A token was accepted, or refused for another reason than expected.
    pub async fn try_doors(&self) -> Result<Vec<Shut>, LabError> {
        let used = read(&self.site(&self.branches().remove(0))?.join_token())?;
        let mut shut = vec![self.door("a used join token", used, Code::JoinUsed).await?];

        let stolen = self.add_for("stolen", None).await?;
        self.filial(["branch", "remove", "stolen"]).await?;
        shut.push(self.door("a join token reported stolen", stolen.join_token, Code::JoinRefused).await?);

        let late = self.add_for("late", Some(1)).await?;
        self.wait("a join token to expire", EXPIRES, async || {
            Ok((SystemClock.now() > late.join_token_expires).then_some(()))
        })
        .await?;
        shut.push(self.door("an expired join token", late.join_token, Code::JoinExpired).await?);
        self.filial(["branch", "remove", "late"]).await?;
        if let Some(victim) = self.terminals().last() {
            let (own, other) = (self.site(&victim.branch)?, self.site(&self.branches().remove(0))?);
            if own.number != other.number {
                let token = read(&other.terminals_join_token())?;
                let tried = "another branch's join token for terminals";
                shut.push(self.terminals_door(tried, victim, token, Code::JoinRefused).await?);
            }
            let (tried, token) =
                ("a join token under the name of an enrolled terminal", read(&own.terminals_join_token())?);
            shut.push(self.terminals_door(tried, victim, token, Code::OtherKey).await?);
        }
        Ok(shut)
    }

    async fn add_for(&self, name: &str, join_token_seconds: Option<u32>) -> Result<BranchAdded, LabError> {
        let name: BranchName = name.parse().map_err(|e| LabError::Options(format!("{name}: {e}")))?;
        self.api().post(paths::BRANCHES, &AddBranch { name, join_token_seconds }).await
    }

    async fn door(&self, tried: &'static str, token: String, expected: Code) -> Result<Shut, LabError> {
        let url = format!("https://{}:7002{}", Net::head_office_wan_address(), paths::ENROL);
        let request = asks(&token).map(|(join_token, certificate_request)| BranchEnrolRequest {
            join_token: Some(join_token),
            certificate_request,
        });
        self.knock(tried, &Place::Branch(self.branches().remove(0)), &url, request, expected).await
    }

    async fn terminals_door(
        &self,
        tried: &'static str,
        victim: &TerminalRef,
        token: String,
        expected: Code,
    ) -> Result<Shut, LabError> {
        let address = Net::branch_lan_address(self.site(&victim.branch)?.number);
        let facts = TerminalFacts {
            name: victim.terminal.clone(),
            model: self.options().model.clone(),
            slot_bytes: 1 << 30,
            data_bytes: 1 << 30,
            agent_version: "0".to_owned(),
        };
        let request = asks(&token).map(|(join_token, certificate_request)| EnrolRequest {
            join_token: Some(join_token),
            certificate_request,
            terminal: Some(facts),
            certificate: None,
        });
        let url = format!("https://{address}:7004{}", paths::ENROL);
        self.knock(tried, &Place::Terminal(victim.clone()), &url, request, expected).await
    }

    async fn knock(
        &self,
        tried: &'static str,
        from: &Place,
        url: &str,
        request: Result<impl Serialize, Refusal>,
        expected: Code,
    ) -> Result<Shut, LabError> {
        let failed =
            |why: String| LabError::Api { method: "POST", url: url.to_owned(), why: format!("{tried}: {why}") };
        let request = request.map_err(|refusal| failed(refusal.sentence().to_owned()))?;
        let body = serde_json::to_string(&request).map_err(|e| failed(e.to_string()))?;
        let file = self.folder().join("stranger.json");
        write_secret(&file, &body)?;
        let data = format!("@{}", file.display());
        let json = "content-type: application/json";
        // He does not ask who answers.
        let words = ["--silent", "--show-error", "--insecure", "--max-time", "20", "-H", json, "--data", &data, url];
        let answer = self.run_in(from, "curl", &words).await;
        std::fs::remove_file(&file).map_err(LabError::file("remove", &file))?;
        let answer = answer?;
        let problem: Problem =
            serde_json::from_str(&answer).map_err(|_| failed(format!("opened the door: {answer}")))?;
        if problem.code != expected {
            return Err(failed(format!("was refused as {}, not as {}", problem.code.as_str(), expected.as_str())));
        }
        Ok(Shut { tried, code: problem.code, said: format!("{} {}", problem.detail, problem.remedy) })
    }
}

/// What a machine would ask with: the secret part of the token, and a request for a key made just now.
fn asks(token: &str) -> Result<(String, String), Refusal> {
    let token = JoinToken::parse(&Secret::new(token))?;
    Ok((token.secret.expose().to_owned(), request_to_pem(&TlsKey::generate()?.request()?)))
}

fn read(path: &Path) -> Result<String, LabError> {
    std::fs::read_to_string(path).map_err(LabError::file("read", path))
}
