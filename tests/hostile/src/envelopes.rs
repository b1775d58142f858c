//! Envelopes and the plans in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use serde_json::{Value, json};
use service_kit::Secret;
use trust::plans::{Expected, Floors, verify};
use trust::{KeySet, SigningKey};
use wire::{Envelope, PLAN_PAYLOAD_TYPE, Signature};

use crate::case::{Hostile, Reader};

/// What the branch server that reads a plan knows.
pub(crate) struct Here {
    pub(crate) branch: BranchName,
    pub(crate) keys: KeySet,
    pub(crate) floors: Floors,
    pub(crate) now: DateTime<Utc>,
}

/// What the private part of the plan key of these files is made of.
///
/// They are the same in every run.
const SEED: [u8; 32] = [7; 32];

/// An ed25519 key in PKCS#8, version 1, before its 32 bytes (RFC 8410).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

fn key() -> SigningKey {
    let text = STANDARD.encode([PKCS8.as_slice(), &SEED].concat());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    let Ok(key) = SigningKey::from_pem(&Secret::new(pem)) else { unreachable!("it is a key") };
    key
}

/// Branch `north`, which follows plan 7.
pub(crate) fn here() -> Here {
    let Ok(branch) = "north".parse() else { unreachable!("it is a name") };
    let (keys, now) = (KeySet::one(key().public()), DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000));
    let mut floors = Floors::default();
    let kept = bytes(&seal(&plan_with("/serial", json!(7))));
    let Ok(kept) = verify(&kept, Expected { keys: &keys, branch: &branch, now, floors: &floors }) else {
        unreachable!("it is a plan")
    };
    floors.raise(&kept, &keys);
    Here { branch, keys, floors, now }
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

/// Signed by the genuine plan key, whatever it is: so it is the content that is refused.
fn sealed(payload: &[u8]) -> Envelope {
    let (key, message) = (key(), Envelope::pre_authentication_encoding(PLAN_PAYLOAD_TYPE, payload));
    let signature = Signature { keyid: key.public().id().to_string(), sig: STANDARD.encode(key.sign(&message)) };
    Envelope { payload_type: PLAN_PAYLOAD_TYPE.into(), payload: STANDARD.encode(payload), signatures: vec![signature] }
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
    let signature = || Signature { keyid: "k".into(), sig: "AAAA".into() };
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
        one("envelope-of-another-type", "plan-form", with(|e| e.payload_type = "text/plain".into())),
        one("envelope-of-a-long-type", "plan-form", with(|e| e.payload_type = "x".repeat(100_000))),
        one("envelope-payload-no-base64", "plan-form", with(|e| e.payload = "*".repeat(8))),
        one("envelope-payload-in-url-base64", "plan-form", with(|e| e.payload = "-_-_".into())),
        one("envelope-payload-with-loose-ends", "plan-form", with(|e| e.payload = "AB==".into())),
        one("envelope-payload-too-large", "plan-form", bytes(&large)),
        one("envelope-of-many-signatures", "plan-form", bytes(&signed)),
        one("envelope-unsigned", "plan-unknown-key", with(|e| e.signatures.clear())),
        one("envelope-signed-by-a-stranger", "plan-unknown-key", with(|e| e.signatures[0].keyid = "ab".repeat(32))),
        one("envelope-whose-signature-is-no-base64", "plan-bad-signature", with(|e| e.signatures[0].sig = "*".into())),
        one("envelope-with-another-plan-in-it", "plan-bad-signature", with(|e| e.payload = seal(&json!({})).payload)),
        one("envelope-payload-no-plan", "plan-form", bytes(&sealed(b"[]"))),
        one("envelope-payload-of-deep-json", "plan-form", bytes(&sealed(deep.as_bytes()))),
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
        with("plan-of-a-later-format", "plan-form", "/format", json!(2)),
        with("plan-of-another-branch", "plan-wrong-branch", "/branch", json!("south")),
        with("plan-of-a-branch-that-leads-out", "plan-form", "/branch", json!("../south")),
        with("plan-older", "plan-replayed", "/serial", json!(6)),
        one("plan-changed", "plan-replayed", &changed),
        with("plan-serial-out-of-range", "plan-unsound", "/serial", json!(u64::MAX)),
        with("plan-serial-negative", "plan-form", "/serial", json!(-8)),
        with("plan-expired", "plan-expired", "/expires", json!("2024-10-02T00:00:00Z")),
        with("plan-from-the-future", "plan-from-the-future", "/issued", json!("2026-01-01T00:00:00Z")),
        with("plan-that-expired-before-it-was-issued", "plan-contradiction", "/expires", json!("2024-09-01T00:00:00Z")),
        with("plan-expires-in-no-time", "plan-form", "/expires", json!("tomorrow")),
        with("plan-expires-out-of-range", "plan-form", "/expires", json!("+9999999-01-01T00:00:00Z")),
        with("plan-of-many-steps", "plan-unsound", "/steps", json!(vec![&step; 1001])),
        with("plan-of-many-packages", "plan-unsound", "/packages", json!(vec![&step; 1000])),
        with("plan-whose-package-contradicts-a-step", "plan-unsound", "/packages", json!([other])),
        with("plan-that-contradicts-itself", "plan-unsound", "/steps", json!([step, other])),
        with("plan-of-an-exabyte", "plan-unsound", "/steps/0/artifact/length", json!(u64::MAX)),
        with("plan-of-a-huge-index", "plan-unsound", "/steps/0/artifact/index_length", json!(400_000)),
        with("plan-payload-name-that-commands", "plan-unsound", "/steps/0/payload/name", json!("a\u{1b}[2J")),
        with("plan-terminal-out-of-charset", "plan-form", "/steps/0/terminals", json!(["till 1"])),
        with("plan-digest-of-no-hex", "plan-form", "/steps/0/manifest", json!("zz".repeat(32))),
    ]
}
