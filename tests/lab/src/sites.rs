//! What stands where: folders, addresses, and the configuration that a person would write for each program.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use fleet_types::Slot;
use swarm::tracker::{TrackerConf, TrackerRole, render_conf};
use swarm::{DaemonOptions, EngineRole, daemon_arguments, daemon_settings};

use crate::error::LabError;
use crate::machine::Machine;
use crate::net::Net;
use crate::options::LabOptions;
use crate::part::Place;
use crate::postgres::Cluster;
use crate::recipe::{Recipe, write};

/// The user and group id of a terminal's agent; unused on the machine that runs the lab.
const AGENT: u32 = 64_100;
pub(crate) const TRACKER_PORT: u16 = 6969;
/// In bytes.
const LARGE_BLOCK: &str = "262144";
pub(crate) const RPC_USER: &str = "filial";
pub(crate) const RPC_URL: &str = "http://127.0.0.1:9091/transmission/rpc";

/// One of the two kinds of servers: its folders and namespace.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) place: Place,
    /// 0 for head office, the branch's number otherwise.
    pub(crate) number: usize,
    pub(crate) namespace: String,
    /// Configuration, secrets and state.
    pub(crate) folder: PathBuf,
    /// The database and the tracker's list, which other users must reach.
    pub(crate) temp: PathBuf,
    /// Where the lab itself reaches the operators' listener.
    pub(crate) management: Ipv4Addr,
}

pub(crate) fn create_dir(path: &Path) -> Result<(), LabError> {
    std::fs::create_dir_all(path).map_err(LabError::file("create", path))
}

pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), LabError> {
    write(path, text)?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(LabError::file("set the mode of", path))
}

impl Site {
    /// The disk: everything that the site's programs and daemons write, but for the database.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.disk().join("store")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.disk().join("state")
    }

    /// The database's volume.
    pub(crate) fn database(&self) -> PathBuf {
        self.temp.join("database")
    }

    pub(crate) fn operators_port(&self) -> u16 {
        if self.number == 0 { 7001 } else { 7003 }
    }

    pub(crate) fn operators_url(&self) -> String {
        format!("https://{}:{}", self.management, self.operators_port())
    }

    /// The branch server's token for terminals: made by it, copied to terminals by a person.
    pub(crate) fn terminals_join_token(&self) -> PathBuf {
        self.folder.join("terminals-join-token")
    }

    /// Head office's token for this branch, as `filial branch add` printed it.
    pub(crate) fn join_token(&self) -> PathBuf {
        self.folder.join("join-token")
    }

    /// The address that this site's machines (branch servers, terminals) speak to.
    fn machines_address(&self) -> Ipv4Addr {
        if self.number == 0 { Net::head_office_wan_address() } else { Net::branch_lan_address(self.number) }
    }

    pub(crate) fn tracker_folder(&self) -> PathBuf {
        self.temp.join("tracker")
    }

    pub(crate) fn announce_url(&self) -> String {
        format!("http://{}:{TRACKER_PORT}/announce", self.machines_address())
    }

    /// The operator's token in clear, for people who look around.
    pub(crate) fn admin_token(&self) -> PathBuf {
        self.folder.join("admin-token")
    }

    /// transmission-daemon with the settings that the packages ship.
    pub(crate) fn transmission(&self) -> Result<Recipe, LabError> {
        let role = if self.number == 0 { EngineRole::HeadOffice } else { EngineRole::Branch };
        // A branch's daemon is in both swarms, on both of its networks.
        let bind = if self.number == 0 { Net::head_office_wan_address() } else { Ipv4Addr::UNSPECIFIED };
        transmission(&self.namespace, &self.folder, &self.disk(), &self.store(), role, bind)
    }

    /// opentracker with the configuration that the packages ship.
    pub(crate) fn opentracker(&self) -> Result<Recipe, LabError> {
        let folder = self.tracker_folder();
        create_dir(&folder)?;
        let list = folder.join("access-list");
        write(&list, "")?;
        let listen = vec![SocketAddrV4::new(self.machines_address(), TRACKER_PORT)];
        let role = if self.number == 0 { TrackerRole::HeadOffice } else { TrackerRole::Branch };
        let conf = TrackerConf { role, listen, access_list: list, user: "nobody".into() };
        let path = folder.join("opentracker.conf");
        let rendered = render_conf(&conf).map_err(|e| LabError::Content { path: path.clone(), why: e.to_string() })?;
        write(&path, rendered)?;
        Ok(self.opentracker_again())
    }

    /// opentracker with the configuration that it has, and the list that its server wrote since.
    pub(crate) fn opentracker_again(&self) -> Recipe {
        let folder = self.tracker_folder();
        let recipe =
            Recipe::new(&self.namespace, "opentracker").args([Path::new("-f"), &folder.join("opentracker.conf")]);
        Recipe { pid_file: Some(folder.join("opentracker.pid")), ..recipe }
    }

    /// Keys and metadata of the whole lab, as `filial trust init` makes them; head office's.
    pub(crate) fn trust(&self) -> PathBuf {
        self.folder.join("trust")
    }

    /// Head office's configuration.
    pub(crate) fn head_office(&self, cluster: &Cluster, options: &LabOptions) -> Result<Recipe, LabError> {
        let policy = self.folder.join("policy.toml");
        // Images that tests make grow and shrink as they need.
        write(&policy, "[size-growth]\nwarn_above_percent = 100000\n")?;
        let trust = self.trust();
        let own = format!(
            "\n[trust]\nmetadata = {:?}\nkeys = {:?}\nsigning = \"online\"\n\n\
             [policy]\nfile = {policy:?}\n\n[encoding]\nlevel = {}\n\n[tracker]\nannounce_url = {:?}\n{}",
            trust.join("metadata"),
            trust.join("online"),
            options.encode_level,
            self.announce_url(),
            self.tracker_keys()
        );
        let config = self.common(cluster)? + &own;
        self.program("head-office", &config, &options.extra.head_office, options)
    }

    /// A branch server's configuration.
    pub(crate) fn branch_server(&self, cluster: &Cluster, options: &LabOptions) -> Result<Recipe, LabError> {
        let own = format!(
            "\n[head_office]\nurl = \"https://{}:7002\"\njoin_token_file = {:?}\n\n[terminals]\njoin_token_file = {:?}\n\n\
             [trust]\nroot = {:?}\n\n[tracker]\nlan_announce_url = {:?}\n{}",
            Net::head_office_wan_address(),
            self.join_token(),
            self.terminals_join_token(),
            root_of(&self.folder),
            self.announce_url(),
            self.tracker_keys()
        );
        let config = self.common(cluster)? + &own;
        self.program("branch-server", &config, &options.extra.branch_server, options)
    }

    fn tracker_keys(&self) -> String {
        let folder = self.tracker_folder();
        format!("access_list = {:?}\npid_file = {:?}\n", folder.join("access-list"), folder.join("opentracker.pid"))
    }

    /// What both servers' configurations begin with.
    fn common(&self, cluster: &Cluster) -> Result<String, LabError> {
        create_dir(&self.state())?;
        write_secret(&self.folder.join("database-password"), &format!("{}\n", cluster.password))?;
        let url = format!("postgresql://{}@/{}?host={}", cluster.user, cluster.database, cluster.folder.display());
        Ok(format!(
            "[operators]\nlisten = \"{}:{}\"\n\n[machines]\nlisten = \"{}:{}\"\n\n\
             [database]\nurl = {url:?}\npassword_file = {:?}\n\n[state]\nfolder = {:?}\n\n[store]\nfolder = {:?}\n\n{}",
            self.management,
            self.operators_port(),
            self.machines_address(),
            self.operators_port() + 1,
            self.folder.join("database-password"),
            self.state(),
            self.store(),
            engine_section(&self.folder),
        ))
    }

    fn program(&self, name: &str, config: &str, extra: &str, options: &LabOptions) -> Result<Recipe, LabError> {
        program(&self.namespace, &self.folder, options.program_named(name)?, config, extra)
    }
}

/// The root that a machine with this folder is provisioned with.
pub(crate) fn root_of(folder: &Path) -> PathBuf {
    folder.join("root.json")
}

/// A program with its configuration: the lab's file, and over it what a test adds.
fn program(namespace: &str, folder: &Path, path: PathBuf, config: &str, extra: &str) -> Result<Recipe, LabError> {
    let (file, over) = (folder.join("config.toml"), folder.join("extra.toml"));
    write(&file, config)?;
    write(&over, extra)?;
    let args = [Path::new("--config"), &file, Path::new("--config"), &over];
    // As the units are to set it: glibc keeps what was freed once, in up to sixteen arenas, unless large blocks are given
    // back at once (mallopt(3)).
    Ok(Recipe::new(namespace, path).args(args).env("MALLOC_MMAP_THRESHOLD_", LARGE_BLOCK))
}

fn engine_section(folder: &Path) -> String {
    let password = folder.join("transmission-password");
    format!("[engine.transmission]\nurl = {RPC_URL:?}\nuser = {RPC_USER:?}\npassword_file = {password:?}\n")
}

/// transmission-daemon with the settings that the packages ship, bound to its machine's address.
pub(crate) fn transmission(
    namespace: &str,
    folder: &Path,
    disk: &Path,
    downloads: &Path,
    role: EngineRole,
    bind_address: Ipv4Addr,
) -> Result<Recipe, LabError> {
    let config = disk.join("transmission");
    create_dir(&config)?;
    create_dir(downloads)?;
    let rpc_password = hex::encode(rand::random::<[u8; 16]>());
    write_secret(&folder.join("transmission-password"), &format!("{rpc_password}\n"))?;
    let options = DaemonOptions {
        rpc_user: RPC_USER.into(),
        rpc_password,
        bind_address,
        download_dir: downloads.to_owned(),
        ..DaemonOptions::default()
    };
    let settings = daemon_settings(role, &options);
    let settings = format!("{settings:#}\n");
    // Not swarm's own writer: it looks for a running daemon on loopback, and ours is another namespace's.
    write_secret(&config.join("settings.json"), &settings)?;
    let recipe = Recipe::new(namespace, "transmission-daemon").args(daemon_arguments(role));
    Ok(recipe.args([Path::new("--foreground"), Path::new("--config-dir"), config.as_path()]))
}

/// A terminal's daemon.
pub(crate) fn terminal_transmission(machine: &Machine, namespace: &str, address: Ipv4Addr) -> Result<Recipe, LabError> {
    transmission(namespace, &machine.folder, &machine.data(), &machine.downloads(), EngineRole::Terminal, address)
}

/// A terminal's agent, with the configuration that a person who sets terminals up would write.
pub(crate) fn agent(
    machine: &Machine,
    namespace: &str,
    branch_join_token: &Path,
    branch_url: &str,
    options: &LabOptions,
) -> Result<Recipe, LabError> {
    let folder = machine.folder.as_path();
    // The token is carried over from the branch server by hand.
    let token = std::fs::read_to_string(branch_join_token).map_err(LabError::file("read", branch_join_token))?;
    let join_token = folder.join("join-token");
    write_secret(&join_token, &token)?;
    let config = format!(
        "[branch]\nurl = {branch_url:?}\njoin_token_file = {join_token:?}\n\n\
         [trust]\nroot = {:?}\n\n\
         [identity]\nname = {:?}\nmodel = {:?}\n\n\
         [paths]\nstate_dir = {:?}\ndata_dir = {:?}\nhealth_dir = {:?}\nos_release = {:?}\nkernel_command_line = {:?}\n\
         boot_id = {:?}\n\n\
         [slots.a]\ndevice = {:?}\nroot = \"PARTLABEL=slot-a\"\n\n[slots.b]\ndevice = {:?}\nroot = \"PARTLABEL=slot-b\"\n\n\
         [boot]\ngrub_environment = {:?}\n\n\
         [power]\nreboot_command = [\"touch\", {:?}]\n\n\
         [helper]\nbranch = {:?}\nsocket = {:?}\nstate_dir = {:?}\nagent_user = \"{AGENT}\"\n\n\
         # The units of the lab's own machine say nothing about a terminal.\n[health]\nfailed_units = false\n\n\
         [engine]\ndownload_dir = {:?}\n\n{}",
        root_of(folder),
        machine.terminal.terminal.as_str(),
        options.model.as_str(),
        machine.data().join("agent"),
        machine.data().join("work"),
        machine.root().join("etc/terminal-agent/health.d"),
        machine.root().join("etc/os-release"),
        machine.command_line(),
        machine.boot_id(),
        machine.slot(Slot::A),
        machine.slot(Slot::B),
        machine.env_block(),
        machine.restart_wish(),
        machine.terminal.branch.as_str(),
        machine.helper_socket(),
        machine.data().join("helper"),
        machine.downloads(),
        engine_section(folder),
    );
    let program_path = options.program_named("terminal-agent")?;
    // Health checks look at the running system: here, at what is unpacked of the slot.
    let recipe = program(namespace, folder, program_path, &config, &options.extra.terminal_agent)?;
    let user = as_agent(&[recipe.program.as_path(), folder]);
    machine.belongs_to(AGENT).map_err(LabError::file("give to the agent's user", folder))?;
    Ok(Recipe { user, ..recipe.env("FILIAL_ROOT", machine.root()) })
}

/// A terminal's root helper, which reads the agent's configuration.
pub(crate) fn helper(machine: &Machine, agent: &Recipe, options: &LabOptions) -> Result<Recipe, LabError> {
    let program = options.program_named("terminal-helper")?;
    let recipe = Recipe::new(agent.namespace.clone(), program).args(agent.args.clone());
    create_dir(&machine.run)?;
    Ok(recipe.env("MALLOC_MMAP_THRESHOLD_", LARGE_BLOCK))
}

/// The words that run a program as the agent's user. Where a folder above what it reads is closed to other users, it may read
/// past that all the same; it may never write.
fn as_agent(reads: &[&Path]) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let open = |path: &&Path| path.ancestors().all(|p| p.metadata().is_ok_and(|m| m.permissions().mode() & 0o001 != 0));
    let ids = format!("--reuid {AGENT} --regid {AGENT} --clear-groups");
    let past = "--inh-caps +dac_read_search --ambient-caps +dac_read_search";
    let words = if reads.iter().all(open) { format!("setpriv {ids}") } else { format!("setpriv {ids} {past}") };
    words.split(' ').map(str::to_owned).collect()
}
