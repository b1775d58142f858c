//! What a lab is to look like, and what it tells while it comes up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fleet_types::{ModelName, ProductName};

use crate::error::LabError;
use crate::images::source_root;
use crate::net::{MAX_BRANCHES, MAX_TERMINALS};
use crate::rate::Rate;
use crate::vm::VmOptions;
use crate::volumes::DiskSizes;

/// Which BitTorrent engine the programs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// transmission-daemon, one a machine.
    #[default]
    Transmission,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad("transmission")
    }
}

impl std::str::FromStr for Engine {
    type Err = LabError;

    fn from_str(s: &str) -> Result<Self, LabError> {
        match s {
            "transmission" => Ok(Self::Transmission),
            other => Err(LabError::Options(format!("there is no engine {other:?}: the one there is, is transmission"))),
        }
    }
}

/// What a lab tells while it comes up.
#[derive(Debug, Clone)]
pub enum Happening {
    /// Something begins.
    Begins(String),
    /// Something is done, after so long.
    Done(String, Duration),
    /// A terminal's bootloader chose a slot; none of its systems started if the version is missing.
    Boot(String),
}

/// Hears what happens.
pub type Listener = Arc<dyn Fn(Happening) + Send + Sync>;

/// Further configuration, laid over the lab's own as a second TOML fragment.
#[derive(Debug, Clone, Default)]
pub struct ExtraConfig {
    /// For head-office.
    pub head_office: String,
    /// For every branch-server.
    pub branch_server: String,
    /// For every terminal-agent.
    pub terminal_agent: String,
}

/// What a lab is to look like. [`LabOptions::new`] gives the demo's; change what a test needs.
#[derive(Clone)]
pub struct LabOptions {
    /// Its run folder is `target/lab/NAME`, or with a number behind it while another lab runs there.
    pub name: String,
    /// The image in slot A of every terminal.
    pub image: PathBuf,
    /// How many branches.
    pub branches: usize,
    /// How many terminals in each.
    pub terminals: usize,
    /// Every branch's WAN link, both ways.
    pub wan: Rate,
    /// What a branch server can send into its LAN; as fast as the machine if not said.
    pub lan: Option<Rate>,
    /// The BitTorrent engine.
    pub engine: Engine,
    /// The level at which head office compresses artifacts. 9 is some twenty times quicker than a real one's 19.
    pub encode_level: i32,
    /// The size of a slot in bytes; the image and a quarter, if not said.
    pub slot_bytes: Option<u64>,
    /// The terminals' hardware model.
    pub model: ModelName,
    /// The product that they run.
    pub product: ProductName,
    /// Further products that have releases.
    pub more_products: Vec<ProductName>,
    /// How many terminals of the first branch are virtual machines, beside the others: `vm-1`, `vm-2` …
    pub vms: usize,
    /// What those are like.
    pub vm: VmOptions,
    /// Laid over the programs' configuration.
    pub extra: ExtraConfig,
    /// Where the programs are; beside the lab's own executable if not said.
    pub programs: Option<PathBuf>,
    /// Disks of limited size, which can be filled; as large as the machine's if not said.
    pub disks: Option<DiskSizes>,
    /// Clocks that can be set.
    pub clocks: bool,
    /// Keep slots, stores and databases when the lab ends. Logs and configuration always stay.
    pub keep: bool,
    /// Hears what happens.
    pub listener: Option<Listener>,
}

impl std::fmt::Debug for LabOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LabOptions")
            .field("name", &self.name)
            .field("branches", &self.branches)
            .field("terminals", &self.terminals)
            .field("wan", &self.wan)
            .field("lan", &self.lan)
            .finish_non_exhaustive()
    }
}

impl LabOptions {
    /// Two branches of three terminals behind 50 Mbit/s, with `image` in their slots A.
    ///
    /// # Errors
    /// Never in practice: the built-in names are valid.
    pub fn new(name: &str, image: impl Into<PathBuf>) -> Result<Self, LabError> {
        let named = |e: fleet_types::NameError| LabError::Options(e.to_string());
        Ok(Self {
            name: name.to_owned(),
            image: image.into(),
            branches: 2,
            terminals: 3,
            wan: Rate::mbit(50),
            lan: None,
            engine: Engine::default(),
            encode_level: 9,
            slot_bytes: None,
            model: "kiosk-x86-64".parse().map_err(named)?,
            product: "kiosk".parse().map_err(named)?,
            more_products: vec!["tools".parse().map_err(named)?],
            vms: 0,
            vm: VmOptions::new()?,
            extra: ExtraConfig::default(),
            programs: None,
            disks: None,
            clocks: false,
            keep: false,
            listener: None,
        })
    }

    /// So many branches of so many terminals.
    #[must_use]
    pub fn sized(self, branches: usize, terminals: usize) -> Self {
        Self { branches, terminals, ..self }
    }

    /// With this WAN rate.
    #[must_use]
    pub fn with_wan(self, wan: Rate) -> Self {
        Self { wan, ..self }
    }

    /// The run folder that is asked for.
    pub fn folder(&self) -> PathBuf {
        source_root().join("target/lab").join(&self.name)
    }

    pub(crate) fn check(&self) -> Result<(), LabError> {
        let in_bounds = (1..=MAX_BRANCHES).contains(&self.branches) && (0..=MAX_TERMINALS).contains(&self.terminals);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !in_bounds {
            let most = format!("1 to {MAX_BRANCHES} branches and at most {MAX_TERMINALS} terminals in each");
            return Err(LabError::Options(format!("a lab has {most}")));
        }
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            return Err(LabError::Options(format!("a lab's name is letters, digits, - and _; not {:?}", self.name)));
        }
        if !self.image.exists() {
            return Err(LabError::ImageMissing { path: self.image.clone() });
        }
        crate::vm::check(self.vms, &self.vm)
    }

    pub(crate) fn tell(&self, happening: Happening) {
        if let Some(listener) = &self.listener {
            listener(happening);
        }
    }

    pub(crate) fn tell_done(&self, what: impl Into<String>, since: std::time::Instant) {
        self.tell(Happening::Done(what.into(), since.elapsed()));
    }

    /// The executable of one of our programs.
    pub(crate) fn program_named(&self, name: &str) -> Result<PathBuf, LabError> {
        let folder = match &self.programs {
            Some(folder) => folder.clone(),
            None => own_folder()?,
        };
        let path = folder.join(name);
        if path.is_file() { Ok(path) } else { Err(LabError::ProgramMissing { path }) }
    }
}

/// Where the running executable was built to; tests lie one folder deeper.
fn own_folder() -> Result<PathBuf, LabError> {
    let own = std::env::current_exe().map_err(LabError::file("find", "the lab's own executable"))?;
    let folder = own.parent().unwrap_or(&own);
    let above = folder.parent().filter(|_| folder.file_name().is_some_and(|n| n == "deps"));
    Ok(above.unwrap_or(folder).to_owned())
}
