//! A head office in the middle of its life, and what a hostile request and its refusal consist of.

use std::net::SocketAddr;

use chrono::TimeDelta;
use head_office::Settings;
use service_kit::Secret;
use service_kit::server::Role;
use test_kit::{BranchKey, RawAnswer, RawRequest, Snapshot, snapshot};
use trust::certificates::JoinToken;
use uuid::Uuid;
use wire::v1::fleet::PlanIssued;
use wire::v1::plan::ArtifactRef;
use wire::{Code, Problem};

use crate::support::tls::try_enrol;
use crate::support::{Branch, Office, published, token_of, tus};

/// When a caller was last heard: every authenticated request may change that.
const PASSING: [&str; 5] = ["last_used", "last_heard", "heard_at", "touched_at", "changed_at"];

/// Which listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    People,
    /// Without a certificate.
    Machines,
    /// With the certificate of branch north.
    North,
    /// With the certificate of branch east.
    East,
}

/// One request and the refusal that it must get.
pub struct Case {
    pub name: &'static str,
    pub to: Side,
    pub request: RawRequest,
    pub code: Code,
    /// What the sentence must name.
    pub says: String,
}

impl Case {
    pub fn new(name: &'static str, to: Side, request: RawRequest, code: Code, says: impl Into<String>) -> Self {
        Self { name, to, request, code, says: says.into() }
    }

    /// The refusal is one: status, code, media type, sentence, remedy, id.
    pub fn judge(&self, answer: &RawAnswer) {
        let (name, text) = (self.name, String::from_utf8_lossy(&answer.body));
        let problem: Problem =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {} {e}: {text}", answer.status));
        assert_eq!(problem.code, self.code, "{name}: {text}");
        assert_eq!((answer.status, problem.status), (self.code.status(), self.code.status()), "{name}: {text}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}: {}", answer.headers);
        assert!(problem.detail.contains(&self.says), "{name}: {:?} is not named: {text}", self.says);
        assert!(problem.detail.len() < 1000 && problem.remedy.len() > 10, "{name}: {text}");
        assert_eq!(answer.header("x-request-id"), problem.request_id.as_deref(), "{name}: {text}");
        assert!(problem.request_id.is_some(), "{name}: {text}");
    }
}

pub struct World {
    pub office: Office,
    /// Branch north, and where plain TCP gets to each [`Side`].
    pub north: Branch,
    doors: [SocketAddr; 4],
    /// Join tokens: used by a branch, of a branch that waited too long.
    pub used: String,
    pub expired: String,
    /// A certificate request of an unknown key.
    pub request: String,
    /// Assigned to north, and published without being assigned.
    pub planned: ArtifactRef,
    pub unplanned: ArtifactRef,
    /// An upload of 1,000 bytes of which 10 came.
    pub upload: Uuid,
}

impl World {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let office = Office::with(change).await;
        let planned = published(&office, "kiosk", "1.0.0", "k1").await;
        let unplanned = published(&office, "kiosk", "2.0.0", "k9").await;
        let expired = office.add_branch("late").await.join_token;
        office.clock.advance(TimeDelta::hours(73));
        let added = office.add_branch("south").await;
        let key = BranchKey::generate().unwrap();
        try_enrol(&office.machine(None), Some(&added.join_token), &key).await.unwrap();
        let north = office.branch("north", "k1", &["till-1"]).await;
        let east = office.branch("east", "k1", &["till-1"]).await;
        let body = serde_json::json!({ "branch": "north", "product": "kiosk", "version": "1.0.0" });
        office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
        let manager = office.as_role(Role::ReleaseManager);
        let upload = tus::create(&manager, 1000).await;
        assert_eq!(tus::patch(&manager, upload, 0, &[7; 10]).await.status(), 204);
        let secret = |token: &str| JoinToken::parse(&Secret::new(token)).unwrap().secret.expose().to_owned();
        let (used, expired) = (secret(&added.join_token), secret(&expired));
        let request = BranchKey::generate().unwrap().request().unwrap();
        let line = office.line();
        let at_machines = |own| line.tunnel(office.machines, own);
        let (of_north, of_east) = (office.leaf(&north), office.leaf(&east));
        let doors = [
            line.tunnel(office.operators, None),
            at_machines(None),
            at_machines(Some(&of_north)),
            at_machines(Some(&of_east)),
        ];
        Self { office, north, doors, used, expired, request, planned, unplanned, upload }
    }

    pub fn address(&self, side: Side) -> SocketAddr {
        self.doors[side as usize]
    }

    pub async fn snapshot(&self) -> Snapshot {
        let folders = [&*self.office.settings.store.folder, &self.office.settings.store.state_folder];
        snapshot(&self.office.database.url(), &PASSING, &folders).await
    }

    /// A case of a person with the role, at the operators' listener.
    #[expect(clippy::too_many_arguments, reason = "a row of a table")]
    pub fn people(
        &self,
        name: &'static str,
        role: Role,
        line: &str,
        headers: &[&str],
        body: impl AsRef<[u8]>,
        code: Code,
        says: impl Into<String>,
    ) -> Case {
        Case::new(name, Side::People, request(Some(token_of(role)), line, headers, body), code, says)
    }

    /// A case of branch north, at the machines' listener.
    pub fn north(
        &self,
        name: &'static str,
        line: &str,
        headers: &[&str],
        body: impl AsRef<[u8]>,
        code: Code,
        says: impl Into<String>,
    ) -> Case {
        Case::new(name, Side::North, request(None, line, headers, body), code, says)
    }
}

pub const JSON: &str = "Content-Type: application/json";

/// A request with a token or none.
pub fn request(token: Option<&str>, line: &str, headers: &[&str], body: impl AsRef<[u8]>) -> RawRequest {
    let token = token.map(|t| format!("Authorization: Bearer {t}"));
    let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).chain(token).collect();
    RawRequest::new(line, &headers, body)
}
