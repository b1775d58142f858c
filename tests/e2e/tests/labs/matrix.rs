//! The kill matrix: every process is killed in every phase of a release; each row is one rollout.
//!
//! Which process a row kills where follows from a seed that stands in the output and in the record. `make test` runs four
//! rows with a seed from the commit's hash, `make e2e-full` all eleven with a new one. `FILIAL_KILL_SEED=… make e2e`
//! repeats a run.

use anyhow::{Context as _, ensure};
use e2e::phases::{Director, Phase};
use e2e::table::{Cell, Outcome, PROCESSES, Seed, record};
use e2e::{Images, PATIENCE, all_confirmed, promise, quick, version};
use fleet_types::{Digest, Slot, TerminalRef};
use lab::{Lab, Part, Place, Rate, ReleaseSpec};

/// 9 segments: enough for a middle of everything.
const NOISE: usize = 36_000_000;
/// The most copies over the WAN: a killed daemon of a branch loses what it had not written yet.
const ONE_COPY: f64 = 1.6;

macro_rules! row {
    ($(#[$more:meta])? $name:ident, $number:literal) => {
        #[tokio::test(flavor = "multi_thread")]
        $(#[$more])?
        async fn $name() -> anyhow::Result<()> {
            row($number).await
        }
    };
}

// The seed decides which processes a row kills where, so that four rows of eleven are a third of the cells by chance.
row!(row_0, 0);
row!(row_1, 1);
row!(row_2, 2);
row!(row_3, 3);
row!(
    #[ignore = "the rest of the matrix: make e2e-full"]
    row_4,
    4
);
row!(
    #[ignore = "the rest of the matrix: make e2e-full"]
    row_5,
    5
);
row!(
    #[ignore = "the rest of the matrix: make e2e-full"]
    row_6,
    6
);
row!(
    #[ignore = "the rest of the matrix: make e2e-full"]
    row_7,
    7
);
row!(
    #[ignore = "the rest of the matrix: make e2e-full"]
    row_8,
    8
);
row!(
    #[ignore = "the rest of the matrix: make e2e-full"]
    row_9,
    9
);
row!(
    #[ignore = "the rest of the matrix: make e2e-full"]
    row_10,
    10
);

async fn row(number: usize) -> anyhow::Result<()> {
    let seed = Seed::of_this_run()?;
    println!("row {number} of {seed}");
    let images = Images::new()?;
    let mut options = quick(&format!("matrix-{number}"), images.healthy("1.0.0", 100_000)?, 1, 1, 64 << 20)?;
    options.wan = Rate::mbit(30);
    options.encode_level = 12;
    let lab = Lab::start(options).await?;
    let mut cells = Vec::new();
    let done = Box::pin(roll_out(&lab, seed.row(number), images.healthy("2.0.0", NOISE)?, &mut cells)).await;
    for cell in &cells {
        println!("  {:<12} {:<28} {}", cell.phase, cell.process, cell.evidence);
    }
    record(seed, number, &cells, done.as_ref().ok())?;
    let outcome = done.with_context(|| format!("row {number} of {seed}"))?;
    println!("  {outcome:?}");
    ensure!(cells.len() == Phase::ALL.len(), "{} phases of {}", cells.len(), Phase::ALL.len());
    lab.stop().await?;
    Ok(())
}

async fn roll_out(
    lab: &Lab,
    plan: Vec<(Phase, &'static str)>,
    image: std::path::PathBuf,
    cells: &mut Vec<Cell>,
) -> anyhow::Result<Outcome> {
    let (terminal, version) = (lab.terminals().remove(0), version("2.0.0"));
    let parts: Vec<String> = lab.parts().iter().map(ToString::to_string).collect();
    ensure!(parts.len() == PROCESSES.len() && PROCESSES.iter().all(|p| parts.iter().any(|q| q == p)), "{parts:?}");
    let spec = ReleaseSpec { version: version.clone(), ..ReleaseSpec::new("2.0.0", image)? };
    let archive = lab.pack(&spec).await?;
    lab.remember(&version, &spec.image).await?;
    let before = lab.counters(&terminal.branch)?.wan_rx_bytes;
    let mut director = Director::new(lab, terminal.clone(), version.clone(), Slot::B);
    let (publishing, moving) = plan.split_at(Phase::PUBLISHING.end);

    // The operator's program gets no help: it must survive what happens to head office.
    let upload = async {
        Ok(lab.filial(["release".as_ref(), "upload".as_ref(), "--no-wait".as_ref(), archive.as_os_str()]).await?)
    };
    let kills = through(&mut director, publishing, cells);
    let published = async {
        tokio::try_join!(upload, kills)?;
        Ok(lab.wait_published(&version, PATIENCE).await?)
    };
    let (release, judged) = promise::throughout(lab, published).await?;
    lab.assign_all(&version).await?;
    through(&mut director, moving, cells).await?;
    all_confirmed(lab, "2.0.0").await?;

    let artifact = release.payloads[0].artifact.as_ref().context("published without an artifact")?;
    right_bytes(lab, &terminal).await?;
    ensure!(promise::holds(lab).await? >= 2, "the promise of publishing could not be judged at the end");
    nothing_left(lab, &terminal, &artifact.sha256).await?;
    let wan_ratio = (lab.counters(&terminal.branch)?.wan_rx_bytes - before) as f64 / artifact.length as f64;
    ensure!(wan_ratio < ONE_COPY, "{wan_ratio:.2} copies went over the WAN");
    lab.check_parts()?;
    Ok(Outcome { wan_ratio, judged })
}

/// Kills one process in each phase.
async fn through(
    director: &mut Director<'_>,
    plan: &[(Phase, &'static str)],
    cells: &mut Vec<Cell>,
) -> anyhow::Result<()> {
    for (at, (phase, process)) in plan.iter().enumerate() {
        let victim: Part = process.parse()?;
        let evidence = director.catch(*phase).await?;
        director.strike(*phase, &victim).await?;
        cells.push(Cell { phase: *phase, process, evidence });
        director.go_on(*phase, &victim, plan.get(at + 1).map(|(next, _)| *next)).await?;
    }
    Ok(())
}

/// What the terminal runs is the image, by the lab's own reading.
async fn right_bytes(lab: &Lab, terminal: &TerminalRef) -> anyhow::Result<()> {
    ensure!(lab.running_slot(terminal)? == Slot::B, "slot A runs");
    let env = lab.read_env(terminal)?;
    ensure!((env.default, env.trial) == (Slot::B, None), "{env:?}");
    let shipped = lab.shipped(&version("2.0.0")).context("the lab has not seen the image")?;
    let found = lab.slot_sha256(terminal, Slot::B, shipped.length).await?;
    ensure!(found == shipped.sha256, "slot B holds {found}, the image is {}", shipped.sha256);
    Ok(())
}

/// Every store holds the artifact and nothing else, in the end.
async fn nothing_left(lab: &Lab, terminal: &TerminalRef, artifact: &Digest) -> anyhow::Result<()> {
    let name = format!("{artifact}.seg");
    let (office, branch) = (lab.store(None)?, lab.store(Some(&terminal.branch))?);
    let data = lab.data_path(terminal)?;
    let lists = [lab.access_list(&Place::HeadOffice)?, lab.access_list(&Place::Branch(terminal.branch.clone()))?];
    let folders = [lab.folder().join("head-office/state"), data.join("agent"), data.join("work")];
    lab.wait("the stores to be tidy", PATIENCE, async || {
        let mut left = Vec::new();
        for store in [&office, &branch, &data.join("downloads")] {
            left.extend(files(store).into_iter().filter(|f| !f.ends_with(&name) && !f.contains("/state/")));
        }
        for folder in folders.iter().map(std::path::PathBuf::as_path).chain(lists.iter().filter_map(|l| l.parent())) {
            left.extend(files(folder).into_iter().filter(|f| f.rsplit('/').next().is_some_and(|n| n.starts_with('.'))));
        }
        if left.is_empty() {
            return Ok(Some(()));
        }
        Err(lab::LabError::Differs(left))
    })
    .await?;
    Ok(())
}

/// Every file below a folder.
fn files(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found
}
