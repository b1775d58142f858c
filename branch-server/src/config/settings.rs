//! What holds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use access::settings::AccessSettings;
use chrono::TimeDelta;
use service_kit::config::ConfigError;
use service_kit::config::check::{absolute, address, http_url, https_url, seconds, within};
use service_kit::database::DatabaseSettings;
use service_kit::server::Limits;
use service_kit::telemetry::TelemetrySettings;
use swarm::{AccessListSettings, EngineRole, EngineSettings, Reload};

use super::inputs::{self, Inputs};

/// Everything the program goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The listener for people.
    pub operators: OperatorSettings,
    /// Where terminals come in.
    pub machines_listen: SocketAddr,
    /// What callers of both may take.
    pub limits: Limits,
    /// PostgreSQL.
    pub database: DatabaseSettings,
    /// A folder that only this program reads, for its own identity.
    pub state_folder: PathBuf,
    /// Head office.
    pub head_office: HeadOfficeSettings,
    /// The fleet's root file, with which the trust store is begun at the first start.
    pub trust_root: PathBuf,
    /// The terminals of this branch.
    pub terminals: TerminalSettings,
    /// Artifacts on disk.
    pub store: StoreSettings,
    /// The BitTorrent engine.
    pub engine: EngineSettings,
    /// The branch's tracker.
    pub tracker: TrackerSettings,
    /// How artifacts and plans are kept in step.
    pub sync: SyncSettings,
    /// Reports upwards.
    pub relay: RelaySettings,
    /// The log.
    pub telemetry: TelemetrySettings,
}

/// The listener for people.
#[derive(Debug, Clone)]
pub struct OperatorSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How long operators stay in.
    pub access: AccessSettings,
    /// Token hashes from before this program knew operators: imported once. Absolute.
    pub tokens_file: Option<PathBuf>,
}

/// Head office.
#[derive(Debug, Clone)]
pub struct HeadOfficeSettings {
    /// Its machines' listener, such as `https://head-office.example:7002`.
    pub url: String,
    /// The file with the join token that `filial branch add` printed. Needed only to enrol.
    pub join_token_file: PathBuf,
    /// How long a request may take.
    pub request: Duration,
    /// How long its event stream may be silent; it says that it is alive every 15 s.
    pub silence: Duration,
}

/// The terminals of this branch.
#[derive(Debug, Clone)]
pub struct TerminalSettings {
    /// The file with the token that terminals enrol with; made once this server enrolled, if it is missing.
    pub join_token_file: PathBuf,
    /// How long that token counts.
    pub join_token_life: TimeDelta,
    /// Most terminals that may enrol with one token.
    pub join_token_uses: u64,
    /// Most terminals that may enrol.
    pub max: u64,
}

/// Artifacts on disk.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The folder; the engine writes it, this program reads it and removes from it.
    pub folder: PathBuf,
    /// Most bytes that artifacts may take; none is as much as the disk has.
    pub budget_bytes: Option<u64>,
    /// How long an artifact stays after the last plan stopped naming it.
    pub retention: TimeDelta,
}

/// The branch's tracker.
#[derive(Debug, Clone)]
pub struct TrackerSettings {
    /// Where terminals announce themselves.
    pub lan_announce_url: String,
    /// The file of info hashes that it accepts.
    pub access_list: PathBuf,
    /// How it is told that the file changed.
    pub reload: Reload,
    /// How long to wait until it accepts a new one.
    pub confirm_deadline: Duration,
}

/// How artifacts and plans are kept in step.
#[derive(Debug, Clone)]
pub struct SyncSettings {
    /// How often head office is asked without a call from it.
    pub poll: Duration,
    /// How often the artifacts are looked at.
    pub pass: Duration,
    /// After a failure, the bound of the first wait, and of the longest.
    pub retry: Duration,
    /// See `retry`.
    pub retry_max: Duration,
    /// Most artifacts that arrive at the same time, in the order of the plan.
    pub fetch_at_once: usize,
}

/// Reports upwards.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// The shortest time between two reports of one artifact's progress.
    pub progress: Duration,
    /// Most reports that wait for head office; beyond it terminals keep theirs.
    pub max_waiting: u64,
}

impl Settings {
    /// The tracker's settings as its access list takes them.
    pub fn access_list(&self) -> AccessListSettings {
        AccessListSettings {
            path: self.tracker.access_list.clone(),
            reload: self.tracker.reload.clone(),
            announce_url: self.tracker.lan_announce_url.clone(),
            deadline: self.tracker.confirm_deadline,
        }
    }

    /// The trust store: what this server believes, and how far it came.
    pub fn trust_store(&self) -> PathBuf {
        self.state_folder.join("trust.json")
    }
}

fn tracker(inputs: inputs::Tracker) -> Result<TrackerSettings, ConfigError> {
    let (url, list) = ("http://192.168.10.2:6969/announce", "/var/lib/filial/tracker/access-list");
    Ok(TrackerSettings {
        lan_announce_url: http_url(inputs.lan_announce_url, "tracker.lan_announce_url", url)?,
        access_list: absolute(inputs.access_list, "tracker.access_list", list)?,
        reload: inputs.pid_file.map_or(Reload::Watcher, Reload::PidFile),
        confirm_deadline: seconds(inputs.confirm_deadline_seconds, "tracker.confirm_deadline_seconds", 20.0)?,
    })
}

fn tokens_file(given: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    let example = "/etc/filial/branch-server/tokens.toml";
    given.map(|path| absolute(Some(path), "operators.tokens_file", example)).transpose()
}

fn sync(inputs: inputs::Sync) -> Result<SyncSettings, ConfigError> {
    Ok(SyncSettings {
        poll: seconds(inputs.poll_seconds, "sync.poll_seconds", 60.0)?,
        pass: seconds(inputs.pass_seconds, "sync.pass_seconds", 2.0)?,
        retry: seconds(inputs.retry_seconds, "sync.retry_seconds", 2.0)?,
        retry_max: seconds(inputs.retry_max_seconds, "sync.retry_max_seconds", 30.0)?,
        fetch_at_once: within(inputs.fetch_at_once.unwrap_or(2), 1, 1000, "sync.fetch_at_once")?,
    })
}

impl Settings {
    /// Files with secrets that are read while the server runs, so that they may come after its start.
    pub const fn secret_files(&self) -> [&PathBuf; 2] {
        [&self.head_office.join_token_file, &self.terminals.join_token_file]
    }
}

impl TryFrom<Inputs> for Settings {
    type Error = ConfigError;

    /// Fills in defaults, checks values and reads the files with secrets. Blocking.
    fn try_from(inputs: Inputs) -> Result<Self, ConfigError> {
        let Inputs { operators, machines, state, head_office, terminals, store, relay, .. } = inputs;
        Ok(Self {
            operators: OperatorSettings {
                listen: address(operators.listen, "operators.listen", "127.0.0.1:7003")?,
                access: AccessSettings::check(
                    operators.session_idle_minutes,
                    operators.session_hours,
                    operators.token_days,
                )?,
                tokens_file: tokens_file(operators.tokens_file)?,
            },
            limits: inputs.requests.check()?,
            machines_listen: address(machines.listen, "machines.listen", "192.168.10.2:7004")?,
            database: inputs.database.check("postgresql://filial-branch@/filial_branch?host=/run/postgresql")?,
            state_folder: absolute(state.folder, "state.folder", "/var/lib/filial/branch-server")?,
            head_office: HeadOfficeSettings {
                url: https_url(head_office.url, "head_office.url", "https://head-office.example:7002")?,
                join_token_file: absolute(
                    head_office.join_token_file,
                    "head_office.join_token_file",
                    "/etc/filial/branch-server/join-token",
                )?,
                request: seconds(head_office.request_seconds, "head_office.request_seconds", 60.0)?,
                silence: seconds(head_office.silence_seconds, "head_office.silence_seconds", 50.0)?,
            },
            trust_root: absolute(inputs.trust.root, "trust.root", "/etc/filial/root.json")?,
            terminals: TerminalSettings {
                join_token_file: absolute(
                    terminals.join_token_file,
                    "terminals.join_token_file",
                    "/etc/filial/branch-server/terminals-join-token",
                )?,
                join_token_life: TimeDelta::days(
                    within(terminals.join_token_days.unwrap_or(365), 1, 36_500, "terminals.join_token_days")?.into(),
                ),
                join_token_uses: within(
                    terminals.join_token_uses.unwrap_or(1_000),
                    1,
                    1_000_000,
                    "terminals.join_token_uses",
                )?
                .into(),
                max: terminals.max.unwrap_or(10_000),
            },
            store: StoreSettings {
                folder: absolute(store.folder, "store.folder", "/var/lib/filial/store")?,
                budget_bytes: store.budget_bytes,
                retention: TimeDelta::hours(
                    within(store.retention_hours.unwrap_or(72), 0, 87_600, "store.retention_hours")?.into(),
                ),
            },
            engine: inputs.engine.check(EngineRole::Branch)?.with_secrets()?,
            tracker: tracker(inputs.tracker)?,
            sync: sync(inputs.sync)?,
            relay: RelaySettings {
                progress: seconds(relay.progress_seconds, "relay.progress_seconds", 3.0)?,
                max_waiting: relay.max_waiting.unwrap_or(200_000).max(1),
            },
            telemetry: inputs.telemetry.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// The example with its password file moved to one that exists.
    fn example(edit: impl Fn(&str) -> String) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("password");
        test_kit::write_secret(&secret, "hunter2\n").unwrap();
        let text = super::super::EXAMPLE
            .replace("/etc/filial/branch-server/transmission-password", &secret.display().to_string());
        let file = dir.path().join("branch-server.toml");
        std::fs::File::create(&file).unwrap().write_all(edit(&text).as_bytes()).unwrap();
        let inputs: Inputs = service_kit::config::load_with("branch-server", &[file], []).map_err(|e| {
            let source = std::error::Error::source(&e).map(ToString::to_string).unwrap_or_default();
            format!("{e}: {source}")
        })?;
        Settings::try_from(inputs).map_err(|e| e.to_string())
    }

    #[test]
    fn the_example_of_the_help_works() {
        let settings = example(str::to_owned).unwrap();
        assert_eq!(settings.store.retention, TimeDelta::days(3));
        let EngineSettings::Transmission(daemon) = &settings.engine;
        assert_eq!(daemon.password, "hunter2");
        assert_eq!(settings.tracker.reload, Reload::Watcher);
        assert!(!format!("{settings:?}").contains("hunter2"), "a secret reached the log");
    }

    #[test]
    fn a_missing_setting_is_named_with_an_example() {
        for key in
            ["listen = \"127.0.0.1:7003\"", "folder = \"/var/lib/filial/store\"", "root.json", "lan_announce_url"]
        {
            let error = example(|text| text.lines().filter(|l| !l.contains(key)).map(|l| format!("{l}\n")).collect());
            assert!(error.as_ref().unwrap_err().contains("it is missing; write for example"), "{key}: {error:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_key() {
        for (from, to, key) in [
            ("poll_seconds = 60", "poll_seconds = 0", "sync.poll_seconds"),
            ("token_days = 366", "token_days = 0", "operators.token_days"),
            ("127.0.0.1:7003", "everywhere", "operators.listen"),
            ("http://192.168.10.2:6969/announce", "udp://x", "tracker.lan_announce_url"),
            ("https://head-office", "http://head-office", "head_office.url"),
            ("\"/var/lib/filial/store\"", "\"store\"", "store.folder"),
            ("poll_seconds", "pol_seconds", "pol_seconds"),
        ] {
            let error = example(|text| text.replace(from, to)).unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}
