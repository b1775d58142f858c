//! Terminals with real firmware, bootloader, kernel and disk: updates and rollbacks through real restarts.
//! `make vm-images` builds what they boot.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::{PATIENCE, is, quick};
use fleet_types::{Slot, TerminalRef, UpdateState, Version};
use lab::{BootEnv, Lab, LabOptions, Rate, ReleaseSpec, VmBoot, VmOptions, debian_image, image_version};
use wire::v1::fleet::Terminal;

/// The deadline of one update, from assignment to its end. Everything is emulated: never a measure.
const UPDATE: Duration = Duration::from_secs(600);

/// Seconds after its start at which the system ends a trial that the agent did not end. The agent has 40 seconds, and runs
/// some 30 seconds after the start, 60 on a busy machine.
const TRIAL_TIMER: u32 = 130;
const AGENT: &str = "[timing]
poll_seconds = 2.0
event_spread_seconds = 0.1
engine_poll_seconds = 0.5
health_poll_seconds = 1.0
progress_seconds = 1.0
retry_min_seconds = 0.5
retry_max_seconds = 3.0
request_seconds = 10.0
branch_wait_seconds = 30.0
trial_deadline_seconds = 40.0
";
/// Seconds until a trial without a judgement is repeated: beyond a test that looks at the first one.
const RETRY: f32 = 3600.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_updates_through_a_real_restart_and_leaves_a_release_whose_agent_cannot_start() -> anyhow::Result<()>
{
    let lab = lab("vm", "vm-v1", 2).await?;
    let bench = Bench { terminal: lab.vms().remove(0), lab: &lab };
    bench.confirmed("vm-v2", Slot::B).await?;
    // Nothing of the agent runs: the system's own timer ends it.
    bench.rolled_back("vm-v3-broken", Slot::B, "journal", "libreceipt.so.3").await?;
    lab.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_leaves_a_release_whose_init_hangs_and_takes_the_one_that_mends_it() -> anyhow::Result<()> {
    // One attempt, because each costs the watchdog's minute.
    let lab = lab("vm-hang", "vm-v2", 1).await?;
    let bench = Bench { terminal: lab.vms().remove(0), lab: &lab };
    bench.rolled_back("vm-v3-hang", Slot::A, "kernel", "EXT4-fs (").await?;
    bench.confirmed("vm-v3-fixed", Slot::B).await?;
    lab.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of emulation: make vm-test-full"]
async fn a_machine_leaves_a_release_whose_kernel_panics() -> anyhow::Result<()> {
    let lab = lab("vm-panic", "vm-v1", 1).await?;
    let bench = Bench { terminal: lab.vms().remove(0), lab: &lab };
    bench.rolled_back("vm-v3-panic", Slot::A, "kernel", "EXT4-fs (").await?;
    lab.stop().await?;
    Ok(())
}

/// Without a free block on its data partition a machine runs what it runs, says why, and goes on once there is room.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of emulation: make vm-test-full"]
async fn a_full_data_partition_stops_an_update_and_nothing_else() -> anyhow::Result<()> {
    let lab = lab_that_retries("vm-full", "vm-v1", 2, 20.0).await?;
    let bench = Bench { terminal: lab.vms().remove(0), lab: &lab };
    lab.power_cut(&bench.terminal).await?;
    // Halves, until nothing is left: what does not fit takes nothing. Then what ext4 keeps for itself, a fiftieth and at most
    // 4096 blocks, is free again: no program of the machine could take it.
    let take =
        |name: &str, blocks: u64| [format!("write /dev/null {name}"), format!("fallocate {name} 0 {}", blocks - 1)];
    let fill = (0..18).rev().flat_map(|n: u32| take(&format!("filler-{n}"), 1 << n));
    let all = take("ext4s-own", 4096).into_iter().chain(fill).chain(["rm ext4s-own".to_owned()]);
    bench.on_data(&all.collect::<Vec<_>>())?;
    let since = lab.console_length(&bench.terminal)?;
    lab.power_on(&bench.terminal)?;
    lab.console_wait(&bench.terminal, "running slot=A version=1.0.0", since, UPDATE).await?;
    let (version, _) = bench.assign("vm-v2").await?;
    let seen = lab.vm_boots(&bench.terminal)?.len();
    // The room that the agent keeps for itself carries the news.
    let failed = |t: &Terminal| is(t, &version, UpdateState::Failed);
    let told = lab.wait_terminal(&bench.terminal, "to say that it has no room", UPDATE, failed).await?;
    let reason = told.update.as_ref().and_then(|u| u.reason.as_ref()).context("a reason")?;
    println!("{reason:?}");
    ensure!(reason.code == "data-full", "{}", bench.account(&told));
    ensure!(lab.vm_boots(&bench.terminal)?.len() == seen, "it restarted");
    lab.power_cut(&bench.terminal).await?;
    bench.on_data(&(0..18).map(|n| format!("rm filler-{n}")).collect::<Vec<_>>())?;
    lab.power_on(&bench.terminal)?;
    bench.comes_to(&version, Slot::B).await?;
    lab.stop().await?;
    Ok(())
}

/// A flipped bit in a kernel: the running slot is replaced by the other one and rewritten, a slot on trial by the default one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of emulation: make vm-test-full"]
async fn a_flipped_bit_in_a_kernel_costs_a_slot_and_not_the_machine() -> anyhow::Result<()> {
    let lab = lab("vm-flipped", "vm-v1", 2).await?;
    let bench = Bench { terminal: lab.vms().remove(0), lab: &lab };
    bench.confirmed("vm-v2", Slot::B).await?;
    lab.power_cut(&bench.terminal).await?;
    bench.flip_kernel("vm-v2", Slot::B).await?;
    let since = lab.console_length(&bench.terminal)?;
    lab.power_on(&bench.terminal)?;
    lab.console_wait(&bench.terminal, "filial: slot B is damaged", since, UPDATE).await?;
    lab.console_wait(&bench.terminal, "running slot=A version=1.0.0", since, UPDATE).await?;
    lab.wait_terminal(&bench.terminal, "to be on slot A", UPDATE, |t| t.slot == Some(Slot::A)).await?;
    bench.comes_to(&"2.0.0".parse()?, Slot::B).await?;

    let since = lab.console_length(&bench.terminal)?;
    let (version, _) = bench.assign("vm-v3-fixed").await?;
    let set = || lab.read_env(&bench.terminal).is_ok_and(|env| env.trial == Some(Slot::A));
    lab.wait("the trial to be set", UPDATE, async || Ok(set().then_some(()))).await?;
    lab.power_cut(&bench.terminal).await?;
    bench.flip_kernel("vm-v3-fixed", Slot::A).await?;
    lab.power_on(&bench.terminal)?;
    lab.console_wait(&bench.terminal, "filial: slot A is damaged", since, UPDATE).await?;
    let told = lab
        .wait_terminal(&bench.terminal, "to be back on slot B", UPDATE, |t| is(t, &version, UpdateState::RolledBack))
        .await?;
    println!("{:?}", told.update);
    bench.runs(&told, &"2.0.0".parse()?, Slot::B, since)?;
    lab.stop().await?;
    Ok(())
}

/// One branch with one terminal, which is a virtual machine, delivered with `image`.
async fn lab(name: &str, image: &str, trial_attempts: u8) -> anyhow::Result<Lab> {
    lab_that_retries(name, image, trial_attempts, RETRY).await
}

/// The same, where an update is repeated after other seconds.
async fn lab_that_retries(name: &str, image: &str, trial_attempts: u8, retry: f32) -> anyhow::Result<Lab> {
    let begun = Instant::now();
    let vm = VmOptions {
        image: debian_image(image)?,
        agent: format!("{AGENT}\n[retry]\nwait_seconds = {retry:.1}\n"),
        trial_timer_seconds: Some(TRIAL_TIMER),
        trial_attempts,
        ..VmOptions::new()?
    };
    let options = quick(name, vm.image.clone(), 1, 0, 1 << 20)?.with_wan(Rate::mbit(400));
    let lab = Lab::start(LabOptions { vms: 1, vm, encode_level: 1, ..options }).await?;
    println!("up after {:.0} s", begun.elapsed().as_secs_f64());
    Ok(lab)
}

struct Bench<'a> {
    lab: &'a Lab,
    terminal: TerminalRef,
}

impl Bench<'_> {
    /// Brings an image out and assigns it; returns its version, and how long it took to publish.
    async fn assign(&self, image: &str) -> anyhow::Result<(Version, Duration)> {
        let (lab, begun) = (self.lab, Instant::now());
        let image = debian_image(image)?;
        let version = image_version(&image)?;
        let product = lab.options().vm.product.clone();
        let release = lab.publish(&ReleaseSpec::new(&version.to_string(), &image)?.of(&product), PATIENCE).await?;
        let published = begun.elapsed();
        let shipped = lab.shipped_of(&product, &version).context("the lab knows what it shipped")?;
        let payload = release.payloads.first().context("a payload")?;
        ensure!(payload.payload.sha256 == shipped.sha256, "head office has another image: {payload:?}");
        lab.assign_of(&product, &self.terminal.branch, &version).await?;
        Ok((version, published))
    }

    /// Brings an image out and waits until its update is at an end; returns what head office has of it, the boots that
    /// it took, and where the console stood before.
    async fn bring_out(&self, image: &str, end: UpdateState) -> anyhow::Result<(Version, Terminal, Vec<VmBoot>, u64)> {
        let (lab, begun) = (self.lab, Instant::now());
        let (seen, since) = (lab.vm_boots(&self.terminal)?.len(), lab.console_length(&self.terminal)?);
        let (version, published) = self.assign(image).await?;
        let what = format!("{version} to end {end}");
        let told = lab
            .wait_terminal(&self.terminal, &what, UPDATE, |t| {
                t.update.as_ref().is_some_and(|u| u.version == version && u.state.is_end())
            })
            .await?;
        let boots = lab.vm_boots(&self.terminal)?.split_off(seen);
        println!(
            "{version}: published after {:.0} s, ended after {:.0} s more; {boots:?}",
            published.as_secs_f64(),
            (begun.elapsed() - published).as_secs_f64()
        );
        println!("{version}: {:?}", told.update);
        ensure!(is(&told, &version, end), "{}", self.account(&told));
        Ok((version, told, boots, since))
    }

    /// A good image: booted once, on trial, out of the other slot, and confirmed there.
    async fn confirmed(&self, image: &str, slot: Slot) -> anyhow::Result<()> {
        let (version, told, boots, since) = self.bring_out(image, UpdateState::Confirmed).await?;
        let [boot] = boots[..] else { anyhow::bail!("one boot was expected: {}", self.account(&told)) };
        ensure!((boot.slot, boot.trial, boot.started) == (slot, true, true), "{}", self.account(&told));
        self.runs(&told, &version, slot, boot.at.max(since))?;
        self.holds(&version, slot).await
    }

    /// A bad image: tried as often as allowed, left, and its slot's bytes are still those of the release.
    /// Head office shows the last lines of its log: those of `source`, and `word` among them.
    async fn rolled_back(&self, image: &str, slot: Slot, source: &str, word: &str) -> anyhow::Result<()> {
        let by_watchdog = image == "vm-v3-hang";
        let bites = self.watchdog_bites()?;
        let before = self.lab.api().terminal(&self.terminal).await?.version.context("a version")?;
        let (version, told, boots, since) = self.bring_out(image, UpdateState::RolledBack).await?;
        let reason = told.update.as_ref().and_then(|u| u.reason.as_ref()).context("a reason")?;
        ensure!(reason.code == "fell-back", "{}", self.account(&told));
        let evidence = told.update.as_ref().and_then(|u| u.evidence.as_ref()).context("the log of the failed boot")?;
        println!("{version}: {:?}, {:?}: {}", evidence.source, evidence.note, evidence.lines.lines().count());
        ensure!(evidence.source.as_ref().is_some_and(|s| s.as_str() == source), "{}", self.account(&told));
        ensure!(evidence.lines.lines().any(|l| l.contains(word)), "no {word:?} in {}", self.account(&told));
        let (last, tries) = boots.split_last().context("a boot")?;
        ensure!(evidence.slot == slot.other() && evidence.tried as usize == tries.len(), "{}", self.account(&told));
        ensure!((last.slot, last.trial) == (slot, false), "{}", self.account(&told));
        let allowed = usize::from(self.lab.options().vm.trial_attempts);
        let of_trial = |b: &VmBoot| (b.slot, b.trial, b.started) == (slot.other(), true, true);
        ensure!((1..=allowed).contains(&tries.len()) && tries.iter().all(of_trial), "{}", self.account(&told));
        self.runs(&told, &before, slot, last.at.max(since))?;
        let bites = self.watchdog_bites()? - bites;
        ensure!(bites == if by_watchdog { tries.len() } else { 0 }, "{bites} by the watchdog: {}", self.account(&told));
        self.holds(&version, slot.other()).await?;
        self.holds(&before, slot).await
    }

    /// What is assigned is confirmed in the end, in that slot and to the byte.
    async fn comes_to(&self, version: &Version, slot: Slot) -> anyhow::Result<()> {
        let what = format!("to confirm {version}");
        let there = |t: &Terminal| is(t, version, UpdateState::Confirmed) && t.slot == Some(slot);
        let told = self.lab.wait_terminal(&self.terminal, &what, UPDATE, there).await?;
        self.runs(&told, version, slot, 0)?;
        self.holds(version, slot).await
    }

    /// What debugfs does to the data partition of the machine, which is off.
    fn on_data(&self, requests: &[String]) -> anyhow::Result<()> {
        let (disk, place) = (self.lab.vm_disk(&self.terminal)?, self.lab.vm_partition(&self.terminal, "data")?);
        let (whole, part) = (disk.display().to_string(), disk.with_file_name("data.img").display().to_string());
        let (offset, length) = (place.start, place.end - place.start);
        // e2fsck takes no offset into a disk.
        let of_disk = [format!("skip={offset}"), format!("count={length}"), "iflag=skip_bytes,count_bytes".to_owned()];
        dd(&whole, &part, &of_disk)?;
        // The journal of a filesystem that lost its power is played back first, as the kernel would.
        tool("e2fsck", &["-p", &part], &[0, 1])?;
        for request in requests {
            tool("debugfs", &["-w", "-R", request, &part], &[0])?;
        }
        tool("e2fsck", &["-fn", &part], &[0])?;
        dd(&part, &whole, &[format!("seek={offset}"), "oflag=seek_bytes".to_owned(), "conv=notrunc".to_owned()])?;
        Ok(std::fs::remove_file(&part)?)
    }

    /// Flips a byte in the middle of the kernel in a slot of the machine, which is off.
    async fn flip_kernel(&self, image: &str, slot: Slot) -> anyhow::Result<()> {
        let image = debian_image(image)?;
        let kernel = output("unsquashfs", &["-cat", &image.display().to_string(), "boot/vmlinuz"])?;
        let middle = kernel.get(kernel.len() / 2..).and_then(|k| k.get(..256)).context("a kernel")?.to_vec();
        let all = std::fs::read(&image)?;
        let at =
            tokio::task::block_in_place(|| all.windows(256).position(|w| w == middle)).context("the kernel's place")?;
        let place = self.lab.vm_partition(&self.terminal, &format!("slot-{}", slot.to_string().to_lowercase()))?;
        Ok(self.lab.corrupt(&self.lab.vm_disk(&self.terminal)?, place.start + at as u64)?)
    }

    /// How often the watchdog reset the machine so far, as QEMU tells.
    fn watchdog_bites(&self) -> anyhow::Result<usize> {
        let events = self.lab.vm_events(&self.terminal)?;
        Ok(events.iter().filter(|e| e["event"] == "WATCHDOG").count())
    }

    /// What runs, by head office, by the console since then, and by the bootloader's state.
    fn runs(&self, told: &Terminal, version: &Version, slot: Slot, since: u64) -> anyhow::Result<()> {
        ensure!(told.slot == Some(slot) && told.version.as_ref() == Some(version), "{}", self.account(told));
        // The agent takes the slot from the kernel's command line and the version from the mounted root.
        let line = format!("running slot={slot} version={version}");
        let said = self.lab.console_says(&self.terminal, &line, since)?.is_some();
        ensure!(said, "the console does not show {line:?}: {}", self.account(told));
        let env = self.lab.read_env(&self.terminal)?;
        // One that is used up is taken away when the slot is written next.
        ensure!(env.default == slot && (env.trial.is_none() || env.trial_left == 0), "{env:?}: {}", self.account(told));
        ensure!(self.lab.running_slot(&self.terminal)? == slot, "{}", self.account(told));
        ensure!(self.lab.vm_slot_version(&self.terminal, slot)? == *version, "{}", self.account(told));
        Ok(())
    }

    /// A slot holds an image to the byte, by the raw disk.
    async fn holds(&self, version: &Version, slot: Slot) -> anyhow::Result<()> {
        let product = &self.lab.options().vm.product;
        let shipped = self.lab.shipped_of(product, version).context("the lab knows what it shipped")?;
        let found = self.lab.vm_slot_sha256(&self.terminal, slot, shipped.length).await?;
        ensure!(found == shipped.sha256, "slot {slot} holds {found}, {version} is {}", shipped.sha256);
        Ok(())
    }

    /// What explains a failure.
    fn account(&self, told: &Terminal) -> String {
        let console = self.lab.console(&self.terminal).map(|p| p.display().to_string()).unwrap_or_default();
        let tail = self.lab.console_tail(&self.terminal, 40).unwrap_or_else(|e| e.to_string());
        let env: Result<BootEnv, _> = self.lab.read_env(&self.terminal);
        let boots = self.lab.vm_boots(&self.terminal);
        format!("{told:?}\n{env:?}\n{boots:?}\nthe disk lies beside the console {console}, which ends:\n{tail}")
    }
}

/// Runs a tool that must end with one of these codes.
fn tool(program: &str, args: &[&str], codes: &[i32]) -> anyhow::Result<()> {
    let out = command(program, args)?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.code().is_some_and(|c| codes.contains(&c)), "{program} {args:?}: {}: {said}", out.status);
    Ok(())
}

fn dd(from: &str, to: &str, how: &[String]) -> anyhow::Result<()> {
    let (from, to) = (format!("if={from}"), format!("of={to}"));
    let mut args = vec![from.as_str(), to.as_str(), "bs=1M"];
    args.extend(how.iter().map(String::as_str));
    tool("dd", &args, &[0])
}

/// What a tool printed.
fn output(program: &str, args: &[&str]) -> anyhow::Result<Vec<u8>> {
    let out = command(program, args)?;
    ensure!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(out.stdout)
}

#[expect(clippy::disallowed_methods, reason = "tools that look into a disk that is off")]
fn command(program: &str, args: &[&str]) -> anyhow::Result<std::process::Output> {
    std::process::Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))
}
