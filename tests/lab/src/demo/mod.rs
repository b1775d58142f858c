//! The demonstration: the whole stack, one release, seen from outside.

mod board;
mod screen;
mod shared;
mod vm;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use lab::{Engine, Glimpse, Happening, Lab, LabOptions, Rate, ReleaseSpec, Report};
use tokio::signal::unix::{SignalKind, signal};

use board::Board;
use screen::Screen;
use shared::{DEADLINE, not_served, program, summary};

/// Options of `lab demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// How many branches.
    #[arg(long, default_value_t = 2)]
    branches: usize,
    /// How many terminals in each branch.
    #[arg(long, default_value_t = 3)]
    terminals: usize,
    /// Rate of each branch's WAN link, both ways.
    #[arg(long, default_value = "50mbit")]
    wan: Rate,
    /// Rate at which a branch server sends into its LAN; as fast as the machine if not given.
    #[arg(long)]
    lan: Option<Rate>,
    /// The BitTorrent engine.
    #[arg(long, default_value = "transmission")]
    engine: Engine,
    /// End when all terminals are confirmed, instead of staying up until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Write the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Compression level of artifacts, 1 to 22. Real ones use 19, which takes some twenty times longer.
    #[arg(long, default_value_t = 9)]
    level: i32,
    /// Name of the run folder under target/lab.
    #[arg(long, default_value = "demo")]
    name: String,
    /// What the terminals start with: a recipe of images/terminal/versions, or an image file.
    #[arg(long, default_value = "v1")]
    from: String,
    /// What they get: a recipe, or an image file.
    #[arg(long, default_value = "v2")]
    to: String,
    /// Add a virtual machine with its own product to the first branch; `make image` builds its disk.
    #[arg(long)]
    vm: bool,
    /// Keep slots, stores and databases when it ends.
    #[arg(long)]
    keep: bool,
    /// One line per event, no colours, nothing redrawn; always so if standard output is not a terminal.
    #[arg(long)]
    plain: bool,
}

pub(crate) fn run(arguments: DemoArguments) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("Cannot start the runtime")?;
    let screen = Arc::new(Screen::new(arguments.plain));
    let done = runtime.block_on(demo(&arguments, &screen));
    screen.settle();
    done
}

/// Returns when the process receives SIGINT or SIGTERM.
pub(crate) async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("Cannot wait for signals")?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done.context("Cannot wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

async fn demo(arguments: &DemoArguments, screen: &Arc<Screen>) -> anyhow::Result<()> {
    let lab = tokio::select! {
        done = roll_out(arguments, screen) => done?,
        // Dropping the roll-out drops the lab, which ends and removes everything.
        done = interrupted() => {
            done?;
            anyhow::bail!("Interrupted. Every part was ended and every network removed.");
        }
    };
    if !arguments.once {
        stay(&lab, screen).await?;
    }
    screen.title("Ending every part");
    let folder = lab.folder().display().to_string();
    lab.stop().await?;
    screen.line(&format!("Everything was removed. Logs and configuration: {folder}"));
    Ok(())
}

/// Starts the lab, publishes the release, and verifies every terminal.
async fn roll_out(arguments: &DemoArguments, screen: &Arc<Screen>) -> anyhow::Result<Lab> {
    let (from, to) = images(arguments, screen).await?;
    let version = lab::image_version(&to)?.to_string();
    let lab = Lab::start(options(arguments, screen, from)?).await?;
    announce(&lab, screen, arguments);
    vm::announce(&lab, screen)?;
    screen.title("Invalid join tokens are refused");
    for shut in lab.try_doors().await? {
        screen.done(&format!("{}: {}. {}", shut.tried, shut.code.as_str(), shut.said), None);
    }
    let spec = ReleaseSpec::new(&version, to)?;
    screen.title(&format!("Release {version}: pack, upload, check, publish"));
    let mut board = Board::new(screen, &lab);
    let run = tokio::select! {
        run = lab.roll_out(&spec, DEADLINE, |glimpse: Glimpse<'_>| board.show(&glimpse)) => run?,
        failed = lab::serve(&lab) => return Err(not_served(failed)),
    };
    screen.settle();
    let mut report = lab.report(&run).await?;
    summary(&report, screen, &lab);
    if !lab.vms().is_empty() {
        report.vm = Some(Box::new(vm::roll_out(&lab, screen).await?));
    }
    if let Some(path) = &arguments.report {
        write_report(path, &report)?;
        screen.line(&format!("Report: {}", path.display()));
    }
    Ok(lab)
}

/// The images by name; recipes are built if they are not there.
async fn images(arguments: &DemoArguments, screen: &Screen) -> anyhow::Result<(PathBuf, PathBuf)> {
    screen.title("Images");
    let mut paths = Vec::new();
    for name in [&arguments.from, &arguments.to] {
        let path = if Path::new(name).is_file() {
            PathBuf::from(name)
        } else {
            screen.progress(&[format!("building the image {name} if it is missing")]);
            lab::build_debian_images(&[name.as_str()]).await?.remove(0)
        };
        screen.settle();
        let size = path.metadata().with_context(|| format!("Cannot read {}", path.display()))?.len();
        screen.done(&format!("{name}: version {}, {}", lab::image_version(&path)?, fleet_types::size(size)), None);
        paths.push(path);
    }
    let to = paths.pop().unwrap_or_default();
    Ok((paths.pop().unwrap_or_default(), to))
}

fn options(arguments: &DemoArguments, screen: &Arc<Screen>, image: PathBuf) -> anyhow::Result<LabOptions> {
    let plural = |n: usize, one: &str, many: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {many}") };
    let branches = plural(arguments.branches, "branch", "branches");
    let size = format!("{branches} of {}", plural(arguments.terminals, "terminal", "terminals"));
    screen.title(&format!("Starting head office, {size}, WAN links of {}", arguments.wan));
    let told = Arc::clone(screen);
    Ok(LabOptions {
        wan: arguments.wan,
        lan: arguments.lan,
        engine: arguments.engine,
        encode_level: arguments.level,
        vms: usize::from(arguments.vm),
        keep: arguments.keep,
        listener: Some(Arc::new(move |happening: Happening| match happening {
            Happening::Begins(_) => {}
            Happening::Done(what, took) => told.done(&what, Some(took)),
            Happening::Boot(what) => told.aside(&what),
        })),
        ..LabOptions::new(&arguments.name, image)?.sized(arguments.branches, arguments.terminals)
    })
}

/// How to look around, before anything moves.
fn announce(lab: &Lab, screen: &Screen, arguments: &DemoArguments) {
    screen.title("To look around, in another window");
    screen.line(&format!("{} {} status --watch", program(lab, "filial"), lab.filial_access().join(" ")));
    screen.line(&format!("head office      {}/swagger-ui/", lab.api().base()));
    for branch in lab.branches() {
        if let Ok(api) = lab.branch_api(&branch) {
            screen.line(&format!("{branch:<16} {}/v1/status", api.base()));
        }
    }
    screen.line(&format!("token            {}", lab.admin_token_file().display()));
    screen.line(&format!("logs             {}", lab.folder().join("logs").display()));
    screen.line(&format!("compression      level {} for a quick demo; real artifacts use 19", arguments.level));
}

fn write_report(path: &Path, report: &Report) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report).context("Cannot write the report as JSON")?;
    #[expect(clippy::disallowed_methods, reason = "a report need not survive a crash of the machine")]
    std::fs::write(path, text + "\n").with_context(|| format!("Cannot write the report to {}", path.display()))
}

/// Stays up until Ctrl-C and reports parts that end meanwhile.
async fn stay(lab: &Lab, screen: &Screen) -> anyhow::Result<()> {
    screen.title("Everything stays up until Ctrl-C");
    announce_namespaces(lab, screen);
    let watch = async {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            if let Err(e) = lab.check_parts() {
                screen.bad(&e.to_string());
                return std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        done = interrupted() => done,
        () = watch => Ok(()),
        failed = lab::serve(lab) => Err(not_served(failed)),
    }
}

fn announce_namespaces(lab: &Lab, screen: &Screen) {
    if let Some(terminal) = lab.terminals().first() {
        let place = lab::Place::Terminal(terminal.clone());
        if let Ok(namespace) = lab.namespace(&place) {
            screen.line(&format!("inside {terminal}   ip netns exec {namespace} bash"));
            let name = lab.folder().file_name().unwrap_or_default().to_string_lossy().into_owned();
            screen.line(&format!("break something         {} fault --name {name} --help", program(lab, "lab")));
        }
    }
}
