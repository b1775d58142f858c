//! Envelopes and the plans in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use branch_server::sync::accept::Kept;
use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use serde_json::{Value, json};
use wire::{Envelope, PLAN_PAYLOAD_TYPE};

use crate::{Hostile, Reader};

/// What the branch server that reads a plan knows.
pub(crate) struct Here {
    pub(crate) branch: BranchName,
    pub(crate) plan: Kept,
    pub(crate) now: DateTime<Utc>,
}

/// Branch `north`, which follows plan 7.
pub(crate) fn kept() -> Here {
    let Ok(branch) = "north".parse() else { unreachable!("it is a name") };
    let plan = Kept { serial: 7, envelope: seal(&plan_with("/serial", json!(7))) };
    Here { branch, plan, now: DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000) }
}

fn plan() -> Value {
    let digest = |byte: &str| byte.repeat(32);
    json!({
        "format": 1, "branch": "north", "serial": 8,
        "issued": "2024-10-01T00:00:00Z", "expires": "2030-01-01T00:00:00Z",
        "steps": [{
            "terminals": ["till-1"], "product": "kiosk", "version": "1.0.0", "manifest": digest("01"),
            "payload": { "name": "rootfs", "sha256": digest("02"), "length": 1_000_000 },
            "artifact": { "sha256": digest("03"), "length": 500_000, "index_sha256": digest("04"),
                "index_length": 176, "info_hash": "05".repeat(20) },
        }],
        "packages": [],
    })
}

fn plan_with(pointer: &str, value: Value) -> Value {
    let mut plan = plan();
    if let Some(place) = plan.pointer_mut(pointer) {
        *place = value;
    }
    plan
}

fn seal(plan: &Value) -> Envelope {
    sealed(plan.to_string().as_bytes())
}

fn sealed(payload: &[u8]) -> Envelope {
    Envelope { payload_type: PLAN_PAYLOAD_TYPE.into(), payload: STANDARD.encode(payload), signatures: Vec::new() }
}

fn bytes(envelope: &Envelope) -> Vec<u8> {
    serde_json::to_vec(envelope).unwrap_or_default()
}

/// A plan that is taken, as JSON.
pub fn good_plan() -> Vec<u8> {
    plan().to_string().into_bytes()
}

/// The same in its envelope.
pub fn good_envelope() -> Vec<u8> {
    bytes(&seal(&plan()))
}

pub(crate) fn hostile() -> Vec<Hostile> {
    [envelopes(), plans()].concat()
}

fn envelopes() -> Vec<Hostile> {
    let one = |name, code, bytes: Vec<u8>| Hostile::new(Reader::Plan, name, code, bytes);
    let good = seal(&plan());
    let with = |change: fn(&mut Envelope)| {
        let mut envelope = good.clone();
        change(&mut envelope);
        bytes(&envelope)
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let twice =
        format!("{{\"payloadType\":\"a\",\"payloadType\":\"{PLAN_PAYLOAD_TYPE}\",\"payload\":\"\",\"signatures\":[]}}");
    let signature = || wire::Signature { keyid: "k".into(), sig: "AAAA".into() };
    let signed = Envelope { signatures: vec![signature(); 17], ..good.clone() };
    let large = Envelope { payload: "A".repeat((4 << 20) / 3 * 4 + 4), ..good.clone() };
    vec![
        one("envelope-empty", "envelope-form", Vec::new()),
        one("envelope-no-json", "envelope-form", b"<xml/>".to_vec()),
        one("envelope-of-deep-json", "envelope-form", deep.clone().into_bytes()),
        one("envelope-with-deep-json-in-it", "envelope-form", format!("{{\"x\":{deep}}}").into_bytes()),
        one("envelope-with-a-key-twice", "envelope-form", twice.into_bytes()),
        one("envelope-without-signatures", "envelope-form", b"{\"payloadType\":\"a\",\"payload\":\"\"}".to_vec()),
        one("envelope-of-six-megabytes", "envelope-too-long", vec![b' '; 6 << 20]),
        one("envelope-of-another-type", "envelope-type", with(|e| e.payload_type = "text/plain".into())),
        one("envelope-of-a-long-type", "envelope-type", with(|e| e.payload_type = "x".repeat(100_000))),
        one("envelope-payload-no-base64", "envelope-base64", with(|e| e.payload = "*".repeat(8))),
        one("envelope-payload-in-url-base64", "envelope-base64", with(|e| e.payload = "-_-_".into())),
        one("envelope-payload-with-loose-ends", "envelope-base64", with(|e| e.payload = "AB==".into())),
        one("envelope-payload-too-large", "envelope-payload-too-large", bytes(&large)),
        one("envelope-of-many-signatures", "envelope-too-many-signatures", bytes(&signed)),
        one("envelope-payload-no-plan", "envelope-statement", bytes(&sealed(b"[]"))),
        one("envelope-payload-of-deep-json", "envelope-statement", bytes(&sealed(deep.as_bytes()))),
    ]
}

fn plans() -> Vec<Hostile> {
    let one = |name, code, plan: &Value| Hostile::new(Reader::Plan, name, code, bytes(&seal(plan)));
    let with = |name, code, pointer, value: Value| one(name, code, &plan_with(pointer, value));
    let step = plan()["steps"][0].clone();
    let mut other = step.clone();
    other["payload"]["sha256"] = json!("09".repeat(32));
    let mut changed = plan_with("/serial", json!(7));
    changed["steps"] = json!([other]);
    vec![
        with("plan-of-the-future", "plan-format", "/format", json!(2)),
        with("plan-of-another-branch", "plan-wrong-branch", "/branch", json!("south")),
        with("plan-of-a-branch-that-leads-out", "envelope-statement", "/branch", json!("../south")),
        with("plan-older", "plan-older", "/serial", json!(6)),
        one("plan-changed", "plan-changed", &changed),
        with("plan-serial-out-of-range", "plan-unsound", "/serial", json!(u64::MAX)),
        with("plan-serial-negative", "envelope-statement", "/serial", json!(-8)),
        with("plan-expired", "plan-expired", "/expires", json!("2024-10-02T00:00:00Z")),
        with("plan-expires-in-no-time", "envelope-statement", "/expires", json!("tomorrow")),
        with("plan-expires-out-of-range", "envelope-statement", "/expires", json!("+9999999-01-01T00:00:00Z")),
        with("plan-of-many-steps", "plan-unsound", "/steps", json!(vec![&step; 1001])),
        with("plan-of-many-packages", "plan-unsound", "/packages", json!(vec![&step; 1000])),
        with("plan-whose-package-contradicts-a-step", "plan-unsound", "/packages", json!([other])),
        with("plan-that-contradicts-itself", "plan-unsound", "/steps", json!([step, other])),
        with("plan-of-an-exabyte", "plan-unsound", "/steps/0/artifact/length", json!(u64::MAX)),
        with("plan-of-a-huge-index", "plan-unsound", "/steps/0/artifact/index_length", json!(400_000)),
        with("plan-payload-name-that-commands", "plan-unsound", "/steps/0/payload/name", json!("a\u{1b}[2J")),
        with("plan-terminal-out-of-charset", "envelope-statement", "/steps/0/terminals", json!(["till 1"])),
        with("plan-digest-of-no-hex", "envelope-statement", "/steps/0/manifest", json!("zz".repeat(32))),
    ]
}
