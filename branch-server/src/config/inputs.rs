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
    pub(super) requests: RequestsInputs,
    pub(super) database: DatabaseInputs,
    pub(super) state: FolderInputs,
    pub(super) head_office: HeadOffice,
    pub(super) trust: Trust,
    pub(super) terminals: Terminals,
    pub(super) store: Store,
    pub(super) engine: EngineInputs,
    pub(super) tracker: Tracker,
    pub(super) sync: Sync,
    pub(super) relay: Relay,
    pub(super) telemetry: TelemetryInputs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Operators {
    pub listen: Option<String>,
    pub session_idle_minutes: Option<u32>,
    pub session_hours: Option<u32>,
    pub token_days: Option<u32>,
    /// From before this program knew operators: imported once.
    pub tokens_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HeadOffice {
    pub url: Option<String>,
    pub join_token_file: Option<PathBuf>,
    pub request_seconds: Option<f64>,
    pub silence_seconds: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Trust {
    pub root: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Terminals {
    pub join_token_file: Option<PathBuf>,
    pub join_token_days: Option<u32>,
    pub join_token_uses: Option<u32>,
    pub max: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    pub folder: Option<PathBuf>,
    pub budget_bytes: Option<u64>,
    pub retention_hours: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tracker {
    pub lan_announce_url: Option<String>,
    pub access_list: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    #[serde(alias = "confirm_deadline")]
    pub confirm_deadline_seconds: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sync {
    pub poll_seconds: Option<f64>,
    pub pass_seconds: Option<f64>,
    pub retry_seconds: Option<f64>,
    pub retry_max_seconds: Option<f64>,
    pub fetch_at_once: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Relay {
    pub progress_seconds: Option<f64>,
    pub max_waiting: Option<u64>,
}
