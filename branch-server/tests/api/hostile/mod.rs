//! Malicious requests from within the branch. Each is refused with its own code, a sentence that names what is wrong and a
//! remedy; afterwards every table and every file is as before.

mod cases;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use chrono::TimeDelta;
use service_kit::{Clock, SystemClock};
use test_kit::{RawAnswer, RawRequest, Snapshot, TlsTunnel, snapshot};
use trust::certificates::TlsKey;
use wire::v1::plan::Plan;
use wire::{Code, Problem};

use crate::fixture::Fixture;
use crate::support::{Branch, Options};

/// One request and the refusal that it must get.
struct Case {
    name: &'static str,
    to: SocketAddr,
    request: RawRequest,
    code: Code,
    /// What the sentence must name.
    says: String,
}

/// A branch with as many terminals as it may have and a plan of which nothing is here yet.
struct World {
    branch: Branch,
    planned: Fixture,
    /// Where plain TCP gets to people's listener, to the machines' without a certificate, and there as till-1.
    people: SocketAddr,
    machines: SocketAddr,
    till: SocketAddr,
    /// A request for a certificate, of a key that nobody knows and of till-1's.
    request: String,
    request_of_till: String,
}

impl World {
    async fn start(options: Options) -> Self {
        let branch = Branch::start(options).await;
        let planned = Fixture::new(1);
        let (issued, name) = (SystemClock.now(), "north".parse().unwrap());
        let steps = vec![planned.step.clone()];
        let plan = Plan {
            format: 1,
            branch: name,
            serial: 7,
            issued,
            expires: issued + TimeDelta::days(30),
            steps,
            packages: Vec::new(),
            audit: None,
        };
        branch.head_office.offer(&plan);
        branch.app.poll.once().await.unwrap();
        let till = branch.enrol("till-1").await;
        for n in 2..=5 {
            branch.enrol(&format!("till-{n}")).await;
        }
        let door = |to, own| TlsTunnel::start(to, branch.tls(own)).unwrap().address();
        let (people, machines) = (door(branch.operators, None), door(branch.machines, None));
        let till = door(branch.machines, Some(&till.leaf));
        let request = |key: TlsKey| crate::support::enrolment(None, "", &key).certificate_request;
        let (request, request_of_till) = (request(TlsKey::generate().unwrap()), request(branch.key("till-1")));
        Self { branch, planned, people, machines, till, request, request_of_till }
    }

    async fn snapshot(&self) -> Snapshot {
        let settings = &self.branch.app.settings;
        snapshot(
            self.branch.database_url().as_str(),
            &["last_heard", "last_used", "asked", "asked_key_sha256"],
            &[&settings.store.folder, &settings.state_folder],
        )
        .await
    }

    /// Sends the cases one after the other and compares before and after; the codes that came back.
    async fn run(&self, cases: Vec<Case>) -> BTreeSet<&'static str> {
        let mut codes = BTreeSet::new();
        let mut before = self.snapshot().await;
        for case in cases {
            case.judge(&case.request.send(case.to).await);
            codes.insert(case.code.as_str());
            let after = self.snapshot().await;
            assert_eq!(before, after, "{} left something behind", case.name);
            before = after;
        }
        codes
    }
}

impl Case {
    fn judge(&self, answer: &RawAnswer) {
        let (name, text) = (self.name, String::from_utf8_lossy(&answer.body));
        let problem: Problem =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {} {e}: {text}", answer.status));
        assert_eq!(problem.code, self.code, "{name}: {text}");
        assert_eq!((answer.status, problem.status), (self.code.status(), self.code.status()), "{name}: {text}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}: {}", answer.headers);
        assert!(problem.detail.contains(&self.says), "{name}: {:?} is not named: {text}", self.says);
        assert!(problem.detail.len() < 1000 && problem.remedy.len() > 10, "{name}: {text}");
        assert!(problem.request_id.is_some(), "{name}: {text}");
        assert_eq!(answer.header("x-request-id"), problem.request_id.as_deref(), "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_hostile_requests_and_more_change_nothing() {
    let world = World::start(Options::default()).await;
    let cases = cases::all(&world);
    let count = cases.len();
    let codes = world.run(cases).await;
    println!("{count} hostile requests at the branch server, {} codes: {codes:?}", codes.len());
    assert!(count >= 20, "{count}");
    assert!(codes.len() >= 14, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_is_given_up() {
    let world = World::start(Options { request_seconds: 2.0, ..Options::default() }).await;
    let half = ["Content-Length: 1000", cases::JSON];
    let to = world.machines;
    let case = |name, request, says: &str| Case { name, to, request, code: Code::Timeout, says: says.to_owned() };
    let slow = vec![
        case("half a body", cases::request(None, "POST /v1/enrol", &half, "{"), "body did not arrive in time"),
        case("half a head", RawRequest::bytes("GET /v1/sync HTTP/1.1\r\nHo"), "head of the request did not arrive"),
    ];
    world.run(slow).await;
}
