//! How a lab comes up: networks, daemons, head office, branches, terminals; each waited for by its own sign of life.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleet_types::{BranchName, Digest, ParseHexError, Slot, TerminalRef};
use trust::certificates::Identity;

use crate::api::Api;
use crate::claim::Claim;
use crate::clocks::Clocks;
use crate::error::LabError;
use crate::exec::{Tool, blocking};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::net::Net;
use crate::options::{Happening, LabOptions};
use crate::part::{Part, Place, Role};
use crate::postgres::{Cluster, Postgres};
use crate::process::Processes;
use crate::report::name_of;
use crate::sites::{Site, create_dir, write_secret};
use crate::terminal::{Terminal, supervise};
use crate::vm;
use crate::volumes;

const TOOLS: [&str; 12] = [
    "ip",
    "tc",
    "nft",
    "transmission-daemon",
    "opentracker",
    "grub-editenv",
    "unsquashfs",
    "mksquashfs",
    "setpriv",
    "runuser",
    "cp",
    "chown",
];
/// How a server gets its first admin.
const BOOTSTRAP: [&str; 5] = ["bootstrap", "--name", "lab", "--token-days", "366"];
/// How long one part may take to come up; generous, because a test machine has other work too.
const COMES_UP: Duration = Duration::from_secs(90);

async fn start(options: LabOptions) -> Result<Lab, LabError> {
    check_machine(&options)?;
    let whole = Instant::now();
    let mut lab = lay_out(options).await?;
    let clusters = lab.prepare_disks().await?;
    lab.make_trust().await?;
    lab.load_firewalls().await?;
    lab.start_daemons(&clusters).await?;
    lab.bootstrap(&clusters[0]).await?;
    lab.start_head_office(&clusters[0]).await?;
    for (index, cluster) in clusters.iter().enumerate().skip(1) {
        lab.start_branch(index - 1, cluster).await?;
    }
    // They take the longest: the others come up meanwhile.
    lab.start_vms().await?;
    lab.start_terminals().await?;
    lab.wait_vms().await?;
    lab.options.tell_done("the lab is up", whole);
    Ok(lab)
}

fn check_machine(options: &LabOptions) -> Result<(), LabError> {
    options.check()?;
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let of_vms = vm::TOOLS.into_iter().filter(|_| options.vms > 0);
    for tool in TOOLS.into_iter().chain(of_vms) {
        let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|dir| Path::new(dir).join(tool).exists());
        if !found {
            return Err(LabError::ToolMissing { tool });
        }
    }
    // Before anything is made, so that a forgotten build is told at once.
    for name in ["head-office", "branch-server", "terminal-agent", "terminal-helper", "filial", "lab"] {
        options.program_named(name)?;
    }
    Ok(())
}

/// A process that outlives this one, whatever ends it, by just long enough to remove what was left.
fn undertaker(options: &LabOptions) -> Result<std::process::Child, LabError> {
    let mut command = Tool::new(options.program_named("lab")?).arg("undertaker").into_command();
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|source| LabError::Spawn { command: "lab undertaker".into(), source })
}

/// Networks, folders and names; nothing runs yet.
pub(crate) async fn lay_out(options: LabOptions) -> Result<Lab, LabError> {
    let begun = Instant::now();
    let (claim, undertaker) = {
        let options = options.clone();
        blocking("claim a lab", move || Ok((Claim::take(&options.folder())?, undertaker(&options)?))).await?
    };
    let folder = claim.folder().to_owned();
    let net = Arc::new(Net::new(claim.prefix(), claim.index()));
    let head_office = Site {
        place: Place::HeadOffice,
        number: 0,
        namespace: net.head_office(),
        folder: folder.join("head-office"),
        temp: claim.temp().join("head-office"),
        management: net.management_address(0),
    };
    let mut lab = Lab {
        // Its token comes with the first admin.
        api: Api::new(head_office.operators_url(), String::new(), None)?,
        processes: Processes::new(
            &folder.join("logs"),
            if options.clocks { Some(Clocks::new(&folder.join("clocks"))?) } else { None },
        ),
        branches: branches(&options, &net, &folder, &claim)?,
        terminals: BTreeMap::new(),
        vms: BTreeMap::new(),
        shipped: Mutex::default(),
        strangers: Mutex::default(),
        supervisors: Vec::new(),
        undertaker: Some(undertaker),
        well: false,
        options,
        folder,
        net,
        head_office,
        claim,
    };
    lab.vms = lab.plan_vms()?;
    lab.build_networks().await?;
    lab.options.tell_done("networks: head office, a WAN, branches, terminals", begun);
    Ok(lab)
}

fn branches(
    options: &LabOptions,
    net: &Net,
    folder: &Path,
    claim: &Claim,
) -> Result<Vec<(BranchName, Site)>, LabError> {
    let site = |number: usize| {
        let text = format!("branch-{number}");
        let name: BranchName = text.parse().map_err(|e: fleet_types::NameError| LabError::Options(e.to_string()))?;
        let site = Site {
            place: Place::Branch(name.clone()),
            number,
            namespace: net.branch(number),
            folder: folder.join(&text),
            temp: claim.temp().join(&text),
            management: net.management_address(number),
        };
        Ok((name, site))
    };
    (1..=options.branches).map(site).collect()
}

impl Lab {
    /// Lays out the networks, starts every part, and returns when all branches are enrolled and every terminal has
    /// said what it runs.
    ///
    /// # Errors
    /// Something is missing, cannot be started, or does not get ready in time; everything is removed again.
    pub async fn start(options: LabOptions) -> Result<Self, LabError> {
        Box::pin(start(options)).await
    }

    async fn build_networks(&self) -> Result<(), LabError> {
        let (net, options) = (Arc::clone(&self.net), self.options.clone());
        blocking("build the networks", move || {
            net.build_head_office()?;
            for branch in 1..=options.branches {
                net.build_branch(branch, options.wan, options.lan)?;
                for terminal in 1..=options.terminals {
                    net.build_terminal(branch, terminal)?;
                }
            }
            Ok(())
        })
        .await
    }

    pub(crate) fn sites(&self) -> impl Iterator<Item = &Site> {
        std::iter::once(&self.head_office).chain(self.branches.iter().map(|(_, site)| site))
    }

    /// Databases, head office's first, and every terminal's slots.
    async fn prepare_disks(&mut self) -> Result<Vec<Cluster>, LabError> {
        let begun = Instant::now();
        let machines = self.machines()?;
        self.mount_disks()?;
        let (image, slot_bytes) = (self.options.image.clone(), self.slot_bytes()?);
        let provision = blocking("provision the terminals", move || {
            machines.iter().try_for_each(|m| m.machine.provision(&image, slot_bytes))
        });
        let (clusters, provisioned) = tokio::join!(self.make_clusters(), provision);
        provisioned?;
        let clusters = clusters?;
        self.options
            .tell_done(format!("disks: {} databases, slots of {} MB", clusters.len(), slot_bytes / 1_000_000), begun);
        Ok(clusters)
    }

    /// Limited disks, if they are to be: one a server, one a database, one a terminal's data partition.
    fn mount_disks(&self) -> Result<(), LabError> {
        let Some(sizes) = &self.options.disks else { return Ok(()) };
        let mount = |path: &Path, bytes| volumes::mount(self.claim.prefix(), path, bytes);
        for site in self.sites() {
            mount(&site.disk(), if site.number == 0 { sizes.head_office } else { sizes.branch })?;
            mount(&site.database(), sizes.database)?;
        }
        self.terminals.values().try_for_each(|t| mount(&t.machine.data(), sizes.terminal))
    }

    fn slot_bytes(&self) -> Result<u64, LabError> {
        let image = &self.options.image;
        let length = image.metadata().map_err(LabError::file("look at", image))?.len();
        // Whole MiB, as a partition would have.
        Ok(self.options.slot_bytes.unwrap_or((length + length / 4).next_multiple_of(1 << 20)))
    }

    fn machines(&mut self) -> Result<Vec<Arc<Terminal>>, LabError> {
        for (branch, (name, _)) in (1..).zip(&self.branches) {
            for number in 1..=self.options.terminals {
                let terminal: TerminalRef = format!("{name}/till-{number}")
                    .parse()
                    .map_err(|e: fleet_types::NameError| LabError::Options(e.to_string()))?;
                let folder = self.folder.join(name.as_str()).join(terminal.terminal.as_str());
                let run = self.claim.temp().join(name.as_str()).join(terminal.terminal.as_str());
                let machine = Machine { terminal: terminal.clone(), folder, run };
                let (namespace, address) = (self.net.terminal(branch, number), Net::terminal_address(branch, number));
                let terminal_state = Terminal::new(machine, branch, number, namespace, address);
                self.terminals.insert(terminal, Arc::new(terminal_state));
            }
        }
        Ok(self.terminals.values().cloned().collect())
    }

    async fn make_clusters(&self) -> Result<Vec<Cluster>, LabError> {
        let postgres = Postgres::find()?;
        let template = self.claim.temp().join("template");
        postgres.template(&template).await?;
        let mut clusters = Vec::new();
        for site in self.sites() {
            create_dir(&site.folder)?;
            create_dir(&site.temp)?;
            let name = if site.number == 0 { "head_office" } else { "branch_server" };
            create_dir(&site.database())?;
            clusters.push(postgres.create(&template, &site.database().join("postgres"), name).await?);
        }
        Ok(clusters)
    }

    async fn start_daemons(&self, clusters: &[Cluster]) -> Result<(), LabError> {
        let begun = Instant::now();
        let postgres = Postgres::find()?;
        for (site, cluster) in self.sites().zip(clusters) {
            let recipe = postgres.recipe(cluster, &site.namespace);
            self.processes.start(&site.place.part(Role::Postgres), recipe)?;
            self.processes.start(&site.place.part(Role::Opentracker), site.opentracker()?)?;
            self.processes.start(&site.place.part(Role::Transmission), site.transmission()?)?;
        }
        self.wait("every database to answer", COMES_UP, async || {
            Ok(clusters.iter().all(|c| postgres.is_ready(c)).then_some(()))
        })
        .await?;
        self.options.tell_done("daemons: PostgreSQL, opentracker, transmission at every site", begun);
        Ok(())
    }

    /// As the person does who sets head office up: by what it is known, and its first admin, with a token.
    async fn bootstrap(&mut self, cluster: &Cluster) -> Result<(), LabError> {
        let recipe = self.head_office.head_office(cluster, &self.options)?;
        let path = self.head_office.admin_token();
        let said = Tool::new(&recipe.program).args(&recipe.args).arg("authority").run_async().await?;
        let bad = |e: ParseHexError| LabError::Content { path: path.clone(), why: format!("{said:?}: {e}") };
        let authority: Digest = said.trim().parse().map_err(bad)?;
        let tool = Tool::new(recipe.program).args(recipe.args).args(BOOTSTRAP);
        tool.arg("--token-file").arg(&path).run_async().await?;
        let token = std::fs::read_to_string(&path).map_err(LabError::file("read", &path))?;
        let known = Some((authority, Identity::HeadOffice));
        self.api = Api::new(self.head_office.operators_url(), token.trim().to_owned(), known)?;
        Ok(())
    }

    async fn start_head_office(&self, cluster: &Cluster) -> Result<(), LabError> {
        let begun = Instant::now();
        self.options.tell(Happening::Begins("head office".into()));
        let recipe = self.head_office.head_office(cluster, &self.options)?;
        self.processes.start(&Part::head_office(), recipe)?;
        self.wait("head office to be ready", COMES_UP, async || self.api.is_ready().await.map(Some)).await?;
        self.options.tell_done(format!("head office: {}", self.api.base()), begun);
        Ok(())
    }

    /// As an operator does it: add the branch, carry its join token to its server, make its first admin, start it.
    async fn start_branch(&self, index: usize, cluster: &Cluster) -> Result<(), LabError> {
        let begun = Instant::now();
        let (name, site) = &self.branches[index];
        let added = self.api.add_branch(name).await?;
        write_secret(&site.join_token(), &format!("{}\n", added.join_token))?;
        let recipe = site.branch_server(cluster, &self.options)?;
        let tool = Tool::new(&recipe.program).args(&recipe.args).args(BOOTSTRAP);
        tool.arg("--token-file").arg(site.admin_token()).run_async().await?;
        self.processes.start(&Part::branch(name), recipe)?;
        self.wait(&format!("{name} to be enrolled and to report its store"), COMES_UP, async || {
            let branches = self.api.branches().await?;
            // Without its store a release that is judged now would wait for approval (`branch-space`).
            let ready = branches.iter().any(|b| b.name == *name && b.enrolled && b.store.is_some());
            Ok((ready && site.terminals_join_token().exists()).then_some(()))
        })
        .await?;
        let told = format!("{name}: join token carried over, enrolled ({})", site.operators_url());
        self.options.tell_done(told, begun);
        Ok(())
    }

    async fn start_terminals(&mut self) -> Result<(), LabError> {
        let begun = Instant::now();
        for terminal in self.terminals.values() {
            let site = &self.branches[terminal.branch - 1].1;
            let url = format!("https://{}:7004", Net::branch_lan_address(site.number));
            terminal.first_start(&self.processes, &site.terminals_join_token(), &url, &self.options).await?;
            let (terminal, processes) = (Arc::clone(terminal), self.processes.clone());
            self.supervisors.push(tokio::spawn(supervise(terminal, processes, self.options.listener.clone())));
        }
        let first = self.terminals.values().find_map(|t| t.boots().pop()?.version.ok());
        if let Some(version) = first {
            self.remember(&version, &self.options.image).await?;
        }
        self.wait("every terminal to say what it runs", COMES_UP, async || {
            let terminals = self.api.terminals().await?;
            let said = terminals.iter().filter(|t| t.version.is_some() && t.slot == Some(Slot::A));
            Ok((said.filter(|t| self.terminals.contains_key(&name_of(t))).count() == self.terminals.len())
                .then_some(()))
        })
        .await?;
        self.options.tell_done(format!("terminals: {} enrolled, running slot A", self.terminals.len()), begun);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{SmallImage, small_image};
    use crate::process::PartState;

    /// Networks and daemons, without our own programs: routes, shaping, counters, and that nothing is left.
    #[tokio::test(flavor = "multi_thread")]
    async fn networks_and_daemons_come_up_and_go() {
        let temp = tempfile::tempdir().unwrap();
        let image = small_image(temp.path(), &SmallImage::new("1.0.0")).unwrap();
        let options = LabOptions::new("unit-daemons", image).unwrap().sized(1, 1);
        let mut lab = lay_out(options).await.unwrap();
        let prefix = lab.claim.prefix().to_owned();
        let clusters = lab.prepare_disks().await.unwrap();
        lab.start_daemons(&clusters).await.unwrap();

        let till = Place::Terminal("branch-1/till-1".parse().unwrap());
        let branch = Place::Branch("branch-1".parse().unwrap());
        let connect = |to: String| ["-c".to_owned(), format!("exec 3<>/dev/tcp/{to}")];
        let reach = async |from: &Place, to: &str| {
            let [flag, script] = connect(to.to_owned());
            lab.run_in(from, "bash", &[&flag, &script]).await
        };
        let tracker = format!("{}/6969", Net::head_office_wan_address());
        lab.wait("the trackers to listen", COMES_UP, async || {
            let local = format!("{}/6969", Net::branch_lan_address(1));
            Ok((reach(&branch, &tracker).await.is_ok() && reach(&till, &local).await.is_ok()).then_some(()))
        })
        .await
        .unwrap();
        let refused = reach(&till, &tracker).await.unwrap_err().to_string();
        assert!(refused.contains("unreachable"), "a terminal got to head office: {refused}");

        let name = "branch-1".parse().unwrap();
        let before = lab.counters(&name).unwrap();
        reach(&branch, &tracker).await.unwrap();
        assert!(lab.counters(&name).unwrap().wan_tx_bytes > before.wan_tx_bytes);
        lab.cut_wan(&name).unwrap();
        assert!(lab.run_in(&branch, "cat", &["/sys/class/net/wan0/carrier"]).await.unwrap().starts_with('0'));
        lab.restore_wan(&name).unwrap();

        let database = branch.part(Role::Postgres);
        lab.kill(&database).await.unwrap();
        assert_eq!(lab.state(&database).unwrap(), PartState::Killed);
        lab.start_part(&database).unwrap();
        let postgres = Postgres::find().unwrap();
        lab.wait("the database to answer again", COMES_UP, async || Ok(postgres.is_ready(&clusters[1]).then_some(())))
            .await
            .unwrap();
        lab.stop().await.unwrap();
        let left = Tool::new("ip").args(["netns", "list"]).run().unwrap();
        assert!(!left.contains(&format!("{prefix}-")), "{left}");
    }
}
