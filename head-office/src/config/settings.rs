//! What holds: checked once, complete.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use access::settings::AccessSettings;
use artifact::EncodeOptions;
use chrono::TimeDelta;
use release::Policy;
use service_kit::config::ConfigError;
use service_kit::config::check::{absolute, address, http_url, seconds, within};
use service_kit::database::DatabaseSettings;
use service_kit::server::Limits;
use service_kit::telemetry::TelemetrySettings;
use swarm::{AccessListSettings, EngineRole, EngineSettings, Reload};

use super::inputs::{Branches, Encoding, Inputs, Operators, Plan, Tls, Tracker, Trust, Uploads};

/// Everything that head office is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where people's programs connect.
    pub operators_listen: SocketAddr,
    /// How long they stay in.
    pub access: AccessSettings,
    /// Where branch servers connect.
    pub machines_listen: SocketAddr,
    /// The certificates of both.
    pub tls: TlsSettings,
    /// What callers of both may take.
    pub limits: Limits,
    /// PostgreSQL.
    pub database: DatabaseSettings,
    /// Folders.
    pub store: StoreSettings,
    /// How artifacts are encoded.
    pub encode: EncodeSettings,
    /// The BitTorrent engine.
    pub engine: EngineSettings,
    /// The tracker.
    pub tracker: TrackerSettings,
    /// Plans.
    pub plan: PlanSettings,
    /// Signed metadata.
    pub trust: TrustSettings,
    /// How long a join token of a branch may be used.
    pub join_token_life: TimeDelta,
    /// Uploads.
    pub uploads: UploadSettings,
    /// The rules' parameters.
    pub policy: Policy,
    /// Logs.
    pub telemetry: TelemetrySettings,
}

/// The certificates of both listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Holds the fleet's authority: its key and certificate. Absolute.
    pub folder: PathBuf,
    /// What browsers are shown, if not the fleet's own certificate.
    pub public: Option<PublicCertificate>,
}

/// A certificate for a public name, as certificate authorities give it: PEM files.
///
/// They are read again every hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicCertificate {
    /// The certificate and those above it. Absolute.
    pub certificate: PathBuf,
    /// Its key, which only the program's user can read. Absolute.
    pub key: PathBuf,
}

/// Folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Holds `uploads/`, `artifacts/` and `work/`, on one file system. Absolute.
    pub folder: PathBuf,
    /// Holds what names this instance.
    pub state_folder: PathBuf,
    /// How long an artifact of a withdrawn release is still seeded.
    ///
    /// It counts from the replacement of the last plan that named the artifact.
    pub seed_for: TimeDelta,
    /// Most bytes that archives and artifacts may take together.
    ///
    /// None is only bounded by the disk.
    pub budget_bytes: Option<u64>,
}

/// How artifacts are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeSettings {
    /// Level, workers, segment size.
    pub options: EncodeOptions,
}

/// The tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerSettings {
    /// What stands in torrents, and where listings are confirmed.
    pub announce_url: String,
    /// The list and how the tracker is told.
    pub access_list: AccessListSettings,
}

/// Plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanSettings {
    /// How long a plan is accepted after it was made. It is replaced at half of that.
    pub life: TimeDelta,
}

/// Signed metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustSettings {
    /// The folder of signed metadata, absolute.
    ///
    /// `filial trust init` made it; head office keeps it from then on.
    pub metadata: PathBuf,
    /// The folder of keys that sign online. Absolute.
    pub keys: PathBuf,
    /// Who signs releases.
    pub signing: Signing,
    /// How long snapshot and timestamp last. They are renewed at half of that.
    pub life: TimeDelta,
}

/// Who signs releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// Head office, as soon as they are approved: for small shops.
    ///
    /// Where it lacks a product's keys, as [`Signing::Offline`].
    Online,
    /// The holders of the release keys, elsewhere; a release waits for their signatures.
    Offline,
}

/// Uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadSettings {
    /// Longest archive in bytes.
    pub max_bytes: u64,
    /// Bytes of the store's disk that uploads leave free.
    pub reserve_bytes: u64,
    /// An upload to which nothing came for so long is given up.
    pub abandon_after: TimeDelta,
}

impl TryFrom<Inputs> for Settings {
    type Error = ConfigError;

    /// Reads the files that the inputs name. Blocking.
    fn try_from(inputs: Inputs) -> Result<Self, ConfigError> {
        let policy: Policy = match &inputs.policy.file {
            Some(file) => service_kit::config::read_toml(file)?,
            None => Policy::default(),
        };
        policy.check().map_err(|e| ConfigError::bad("policy.file", e.to_string()))?;
        let folder = absolute(inputs.store.folder, "store.folder", "/var/lib/filial/store")?;
        let state_folder = inputs.state.folder.unwrap_or_else(|| folder.clone());
        let state_folder = absolute(Some(state_folder), "state.folder", "/var/lib/filial/head-office")?;
        let seed_days = within(inputs.store.seed_days.unwrap_or(3), 0, 3650, "store.seed_days")?;
        let seed_for = TimeDelta::days(i64::from(seed_days));
        Ok(Self {
            access: access(&inputs.operators)?,
            tls: tls(inputs.tls, &state_folder)?,
            operators_listen: address(inputs.operators.listen, "operators.listen", "127.0.0.1:7001")?,
            limits: inputs.requests.check()?,
            machines_listen: address(inputs.machines.listen, "machines.listen", "0.0.0.0:7002")?,
            database: inputs.database.check("postgresql://filial@/filial?host=/run/postgresql")?,
            store: StoreSettings { folder, state_folder, seed_for, budget_bytes: inputs.store.budget_bytes },
            encode: encode(&inputs.encoding)?,
            engine: inputs.engine.check(EngineRole::HeadOffice)?.with_secrets()?,
            tracker: tracker(inputs.tracker)?,
            plan: plan(&inputs.plan)?,
            trust: trust(inputs.trust)?,
            join_token_life: join_token_life(&inputs.branches)?,
            uploads: uploads(&inputs.uploads, &policy)?,
            policy,
            telemetry: inputs.telemetry.into(),
        })
    }
}

fn access(inputs: &Operators) -> Result<AccessSettings, ConfigError> {
    AccessSettings::check(inputs.session_idle_minutes, inputs.session_hours, inputs.token_days)
}

fn tls(inputs: Tls, state_folder: &Path) -> Result<TlsSettings, ConfigError> {
    let folder = inputs.folder.unwrap_or_else(|| state_folder.join("tls"));
    let (certificate, key) = ("/etc/filial/head-office/public.pem", "/etc/filial/head-office/public-key.pem");
    let public = match (inputs.certificate, inputs.key) {
        (None, None) => None,
        // One of them without the other is said by its name.
        (given, with) => Some(PublicCertificate {
            certificate: absolute(given, "tls.certificate", certificate)?,
            key: absolute(with, "tls.key", key)?,
        }),
    };
    Ok(TlsSettings { folder: absolute(Some(folder), "tls.folder", "/var/lib/filial/head-office/tls")?, public })
}

fn encode(inputs: &Encoding) -> Result<EncodeSettings, ConfigError> {
    let default = EncodeOptions::default();
    let segment_size = inputs.segment_bytes.unwrap_or(default.segment_size);
    let (low, high) = (artifact::MIN_SEGMENT_SIZE, artifact::MAX_SEGMENT_SIZE);
    if !segment_size.is_power_of_two() {
        return Err(ConfigError::bad("encoding.segment_bytes", format!("{segment_size} is not a power of two")));
    }
    Ok(EncodeSettings {
        options: EncodeOptions {
            segment_size: within(segment_size, low, high, "encoding.segment_bytes")?,
            level: within(inputs.level.unwrap_or(default.level), 1, 22, "encoding.level")?,
            workers: within(inputs.workers.unwrap_or(2), 1, 256, "encoding.workers")?,
        },
    })
}

fn tracker(inputs: Tracker) -> Result<TrackerSettings, ConfigError> {
    let (url, list) = ("http://head-office.example:6969/announce", "/var/lib/filial/tracker/access-list");
    let announce_url = http_url(inputs.announce_url, "tracker.announce_url", url)?;
    let access_list = AccessListSettings {
        path: absolute(inputs.access_list, "tracker.access_list", list)?,
        reload: inputs.pid_file.map_or(Reload::Watcher, Reload::PidFile),
        announce_url: announce_url.clone(),
        deadline: seconds(inputs.confirm_deadline_seconds, "tracker.confirm_deadline_seconds", 20.0)?,
    };
    Ok(TrackerSettings { announce_url, access_list })
}

fn plan(inputs: &Plan) -> Result<PlanSettings, ConfigError> {
    let days = within(inputs.expires_days.unwrap_or(30), 1, 3650, "plan.expires_days")?;
    Ok(PlanSettings { life: TimeDelta::days(i64::from(days)) })
}

fn trust(inputs: Trust) -> Result<TrustSettings, ConfigError> {
    let signing = match inputs.signing.as_deref() {
        None | Some("offline") => Signing::Offline,
        Some("online") => Signing::Online,
        Some(other) => {
            return Err(ConfigError::bad("trust.signing", format!("{other:?} is invalid; use online or offline")));
        }
    };
    // Clients keep what they have for so long when head office is away; longer, and a stolen key serves longer.
    let days = within(inputs.expires_days.unwrap_or(7), 1, 90, "trust.expires_days")?;
    Ok(TrustSettings {
        metadata: absolute(inputs.metadata, "trust.metadata", "/var/lib/filial/trust/metadata")?,
        keys: absolute(inputs.keys, "trust.keys", "/etc/filial/head-office/keys")?,
        signing,
        life: TimeDelta::days(i64::from(days)),
    })
}

fn join_token_life(inputs: &Branches) -> Result<TimeDelta, ConfigError> {
    let hours = within(inputs.join_token_hours.unwrap_or(14 * 24), 1, 8760, "branches.join_token_hours")?;
    Ok(TimeDelta::hours(i64::from(hours)))
}

fn uploads(inputs: &Uploads, policy: &Policy) -> Result<UploadSettings, ConfigError> {
    let most = inputs.max_bytes.unwrap_or(policy.archive_shape.max_archive_bytes);
    let days = within(inputs.abandon_days.unwrap_or(7), 1, 365, "uploads.abandon_days")?;
    Ok(UploadSettings {
        // What the rules would refuse anyway need not arrive.
        max_bytes: within(most, 1024, i64::MAX as u64, "uploads.max_bytes")?
            .min(policy.archive_shape.max_archive_bytes),
        reserve_bytes: inputs.reserve_bytes.unwrap_or(1 << 30),
        abandon_after: TimeDelta::days(i64::from(days)),
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "test files need not be durable")]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;

    fn settings(text: &str) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            test_kit::write_secret(&path, text).unwrap();
            path.display().to_string()
        };
        let text = text.replace("/etc/filial/head-office/transmission-password", &file("password", "secret\n"));
        let config = dir.path().join("config.toml");
        std::fs::write(&config, text).unwrap();
        Settings::try_from(service_kit::config::load_with::<Inputs>("head-office", &[config], [])?)
    }

    #[test]
    fn the_example_is_a_configuration() {
        let settings = settings(EXAMPLE).unwrap();
        assert_eq!(settings.operators_listen.port(), 7001);
        assert_eq!(settings.encode.options.level, 19);
        assert_eq!(settings.tracker.access_list.reload, Reload::Watcher);
        let EngineSettings::Transmission(daemon) = &settings.engine;
        assert_eq!(daemon.password, "secret");
    }

    #[test]
    fn the_example_of_a_policy_is_one_and_shows_every_rule() {
        let text = include_str!("../../policy.example.toml");
        let policy = Policy::parse(text).unwrap();
        for rule in release::RULES {
            assert!(text.contains(rule.id), "{} is not explained", rule.id);
        }
        // Apart from what the file itself calls an example it is the default.
        let Policy { freeze_calendar, external, models, .. } = Policy::default();
        let external = release::ExternalPolicy { command: policy.external.command.clone(), ..external };
        let periods = policy.freeze_calendar.periods.clone();
        let freeze_calendar = release::FreezeCalendarPolicy { periods, ..freeze_calendar };
        assert!(models.is_empty() && policy.models.len() == 1);
        let models = policy.models.clone();
        assert_eq!(policy, Policy { freeze_calendar, external, models, ..Policy::default() });
    }

    #[test]
    fn a_missing_setting_is_named_with_an_example() {
        let error = settings(&EXAMPLE.replace("listen = \"127.0.0.1:7001\"", "")).unwrap_err().to_string();
        assert!(error.contains("operators.listen") && error.contains("127.0.0.1:7001"), "{error}");
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_name() {
        for (from, to, key) in [
            ("level = 19", "level = 23", "encoding.level"),
            ("session_hours = 12", "session_hours = 0", "operators.session_hours"),
            ("expires_days = 30", "expires_days = 0", "plan.expires_days"),
            ("\"/var/lib/filial/store\"", "\"store\"", "store.folder"),
            ("signing = \"offline\"", "signing = \"maybe\"", "trust.signing"),
            ("\"/etc/filial/head-office/keys\"", "\"keys\"", "trust.keys"),
            ("expires_days = 7", "expires_days = 0", "trust.expires_days"),
            ("# certificate = ", "certificate = ", "tls.key"),
            ("join_token_hours = 336", "join_token_hours = 0", "branches.join_token_hours"),
            ("confirm_deadline_seconds = 20", "confirm_deadline_seconds = -1", "tracker.confirm_deadline_seconds"),
        ] {
            let error = settings(&EXAMPLE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
