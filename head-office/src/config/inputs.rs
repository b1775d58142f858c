//! What the fragments say: every key is optional, no key is unknown.

use std::path::PathBuf;

use serde::Deserialize;
use service_kit::config::{DatabaseInputs, FolderInputs, MachinesInputs, RequestsInputs};
use service_kit::telemetry::TelemetryInputs;
use swarm::EngineInputs;

/// All sections.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inputs {
    pub(super) operators: Operators,
    pub(super) machines: MachinesInputs,
    pub(super) tls: Tls,
    pub(super) requests: RequestsInputs,
    pub(super) database: DatabaseInputs,
    pub(super) state: FolderInputs,
    pub(super) store: Store,
    pub(super) encoding: Encoding,
    pub(super) engine: EngineInputs,
    pub(super) tracker: Tracker,
    pub(super) plan: Plan,
    pub(super) trust: Trust,
    pub(super) branches: Branches,
    pub(super) uploads: Uploads,
    pub(super) policy: PolicySection,
    pub(super) telemetry: TelemetryInputs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Operators {
    pub listen: Option<String>,
    pub session_idle_minutes: Option<u32>,
    pub session_hours: Option<u32>,
    pub token_days: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub folder: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    pub folder: Option<PathBuf>,
    pub seed_days: Option<u32>,
    pub budget_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Encoding {
    pub level: Option<i32>,
    pub workers: Option<usize>,
    pub segment_bytes: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tracker {
    pub announce_url: Option<String>,
    pub access_list: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub confirm_deadline_seconds: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Plan {
    pub expires_days: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Trust {
    pub metadata: Option<PathBuf>,
    pub keys: Option<PathBuf>,
    pub signing: Option<String>,
    pub expires_days: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Branches {
    pub join_token_hours: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Uploads {
    pub max_bytes: Option<u64>,
    pub reserve_bytes: Option<u64>,
    pub abandon_days: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicySection {
    pub file: Option<PathBuf>,
}
