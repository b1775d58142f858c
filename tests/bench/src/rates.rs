//! The second section: ingest, encode and apply, beside the tools that people would use on the same files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use artifact::{EncodeOptions, Encoded, FileRange, PayloadId};
use release::Limits;
use service_kit::Shutdown;

use crate::apply;
use crate::data::{encode, payload_of, write_payload, write_sample};
use crate::exec::{Tool, blocking};
use crate::figure::{Better, Figure, Section, megabytes};
use crate::say::say;
use crate::scratch::{Scratch, write};

/// Short things are measured so often, ours and the peer's in turn; the best counts, because all else is disturbance.
const ROUNDS: usize = 3;
/// The two workers of the encoder.
const WORKERS: usize = 2;
/// Level 19 is slow: a sample will do. zstd begins a second thread only beyond 32 MiB.
const SAMPLE: u64 = 64 << 20;
const MANIFEST: &str = "format = 1\nproduct = \"kiosk\"\nversion = \"2.0.0\"\nnotes = \"For measuring\"\n\n[[payload]]\n\
    name = \"rootfs\"\nkind = \"slot-image\"\ncompatible = [\"kiosk-x86-64\"]\nfile = \"payloads/rootfs.img\"\n";

struct Input {
    folder: PathBuf,
    archive: PathBuf,
    payload: PathBuf,
    sample: PathBuf,
    made_of: String,
}

/// Measures all of it.
///
/// # Errors
/// A tool is missing, or the disk does not hold about a gigabyte.
pub(crate) async fn measure(scratch: &Scratch, shutdown: &Shutdown) -> Result<Section> {
    let folder = scratch.folder("rates")?;
    say("rates: packing an update archive of about 256 MB");
    let input = blocking(move || Input::prepare(folder)).await?;
    let mut figures = ingest(&input).await?;
    let (level_9, encoded) = Box::pin(encode_beside(&input, &input.payload, 9, ROUNDS, shutdown)).await?;
    figures.extend(level_9);
    figures.extend(applying(&input, &encoded).await?);
    let (level_19, _) = Box::pin(encode_beside(&input, &input.sample, 19, 1, shutdown)).await?;
    figures.extend(level_19);
    std::fs::remove_dir_all(&input.folder).context("cannot remove the files of the rates")?;
    let version = crate::exec::run_now("zstd", &["--version"])?;
    Ok(Section {
        title: "Rates: ingest, encode, apply".into(),
        notes: vec![
            format!("data: {}; level 19: its first {} MiB", input.made_of, SAMPLE >> 20),
            format!("peers: coreutils sha256sum, {}", version.trim().trim_matches('*').trim()),
            "ingest: one pass checks structure, paths and digests; encode also hashes, journals and syncs".into(),
            format!(
                "apply also hashes each segment, and syncs with a journal every 8; best of {ROUNDS}, level 19: once"
            ),
        ],
        figures,
    })
}

impl Input {
    fn prepare(folder: PathBuf) -> Result<Self> {
        let source = folder.join("release");
        let payload = source.join("payloads/rootfs.img");
        std::fs::create_dir_all(source.join("payloads")).context("cannot create the release's folder")?;
        write(&source.join("release.toml"), MANIFEST)?;
        let made_of = write_payload(&payload)?;
        let archive = folder.join("kiosk-2.0.0.upd");
        release::pack(&source, &archive, &mut |_, _| ())?;
        let sample = folder.join("sample");
        write_sample(&payload, &sample, SAMPLE)?;
        Ok(Self { folder, archive, payload, sample, made_of })
    }
}

/// The shorter of two times, the first of which may be none yet.
fn best(so_far: Option<f64>, seconds: f64) -> Option<f64> {
    Some(so_far.map_or(seconds, |s| s.min(seconds)))
}

fn length_of(path: &Path) -> Result<u64> {
    Ok(path.metadata().with_context(|| format!("cannot look at {}", path.display()))?.len())
}

fn rate(bytes: u64, seconds: Option<f64>) -> f64 {
    seconds.map_or(0.0, |s| megabytes(bytes) / s)
}

async fn ingest(input: &Input) -> Result<Vec<Figure>> {
    say("rates: ingest beside sha256sum");
    let (mut ours, mut peer) = (None, None);
    for _ in 0..ROUNDS {
        let archive = input.archive.clone();
        ours = best(ours, blocking(move || scan_seconds(&archive)).await?);
        peer = best(peer, Tool::new("sha256sum").arg(&input.archive).seconds().await?);
    }
    let bytes = length_of(&input.archive)?;
    let ours = (rate(bytes, ours), "MB/s");
    Ok(vec![Figure::new("ingest: scan of an update", ours, ("sha256sum", rate(bytes, peer)), Better::Higher)])
}

/// How long the one pass over an archive takes, which must find it in order.
fn scan_seconds(archive: &Path) -> Result<f64> {
    let file = File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    let begun = Instant::now();
    let scan = release::scan(file, &Limits::default(), &mut |_| ())?;
    let seconds = begun.elapsed().as_secs_f64();
    let manifest = scan.manifest().context("the archive's manifest was not read")?;
    let digests = manifest.payloads.iter().all(|p| scan.member_of(p).is_some_and(|m| m.sha256 == p.sha256));
    ensure!(digests, "the scan found another digest than was packed");
    Ok(seconds)
}

/// The encoder with two workers beside `zstd` with one thread and with two; the last artifact stays.
async fn encode_beside(
    input: &Input,
    file: &Path,
    level: i32,
    rounds: usize,
    shutdown: &Shutdown,
) -> Result<(Vec<Figure>, PathBuf)> {
    say(format_args!("rates: encode at level {level} beside zstd -{level}"));
    let out = input.folder.join(format!("level-{level}.artifact"));
    let packed = packed_by_zstd(input, level);
    let payload = {
        let file = file.to_owned();
        blocking(move || payload_of(&file)).await?
    };
    let (mut ours, mut one, mut two, mut artifact_bytes) = (None, None, None, 0);
    for _ in 0..rounds {
        let job = Encoding { file: file.to_owned(), payload, level, out: out.clone(), shutdown: shutdown.clone() };
        let (encoded, seconds) = blocking(move || job.run()).await?;
        artifact_bytes = encoded.length;
        ours = best(ours, seconds);
        // Two threads first: what one thread makes is compared in size, and decompressed later.
        two = best(two, zstd(level, Some("-T2"), file, &packed).await?);
        one = best(one, zstd(level, None, file, &packed).await?);
    }
    let rate = |seconds| rate(payload.length, seconds);
    let what = format!("encode: level {level}, {WORKERS} workers");
    let ours = (rate(ours), "MB/s");
    let solid = (format!("zstd -{level}, one stream"), megabytes(length_of(&packed)?));
    let figures = vec![
        Figure::new(&what, ours, (format!("zstd -{level}"), rate(one)), Better::Higher),
        Figure::new(&what, ours, (format!("zstd -{level} -T2"), rate(two)), Better::Higher),
        Figure::new(format!("encoded size: level {level}"), (megabytes(artifact_bytes), "MB"), solid, Better::Lower),
    ];
    Ok((figures, out))
}

fn packed_by_zstd(input: &Input, level: i32) -> PathBuf {
    input.folder.join(format!("level-{level}.zst"))
}

async fn zstd(level: i32, threads: Option<&str>, file: &Path, out: &Path) -> Result<f64> {
    let tool = Tool::new("zstd").args(["-q", "-f"]).arg(format!("-{level}")).args(threads);
    tool.arg(file).arg("-o").arg(out).seconds().await
}

/// One run of the encoder from nothing.
struct Encoding {
    file: PathBuf,
    payload: PayloadId,
    level: i32,
    out: PathBuf,
    shutdown: Shutdown,
}

impl Encoding {
    fn run(self) -> Result<(Encoded, f64)> {
        // An artifact that is there already would be checked and kept.
        let _ = std::fs::remove_file(&self.out);
        let source = FileRange::whole(File::open(&self.file).context("cannot open the payload")?)?;
        let options = EncodeOptions { level: self.level, workers: WORKERS, ..EncodeOptions::default() };
        let work = self.out.with_extension("work");
        let begun = Instant::now();
        let encoded = encode(&source, self.payload, &work, &self.out, &options, &self.shutdown)?;
        Ok((encoded, begun.elapsed().as_secs_f64()))
    }
}

/// Decoding and writing to a slot beside decompressing the same data to a file.
async fn applying(input: &Input, artifact: &Path) -> Result<Vec<Figure>> {
    say("rates: decode and apply beside zstd -d");
    let (packed, out) = (packed_by_zstd(input, 9), input.folder.join("decompressed"));
    let (mut ours, mut peer) = (None, None);
    for _ in 0..ROUNDS {
        let (artifact, folder) = (artifact.to_owned(), input.folder.clone());
        ours = best(ours, blocking(move || apply::seconds(&artifact, &folder)).await?);
        let tool = Tool::new("zstd").args(["-q", "-f", "-d"]).arg(&packed).arg("-o").arg(&out);
        peer = best(peer, tool.seconds().await?);
    }
    let bytes = length_of(&input.payload)?;
    let ours = (rate(bytes, ours), "MB/s");
    Ok(vec![Figure::new("apply: decode, hash, write, sync", ours, ("zstd -d", rate(bytes, peer)), Better::Higher)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_round_counts() {
        assert_eq!([3.0, 2.0, 4.0].into_iter().fold(None, best), Some(2.0));
        assert!((rate(10_000_000, Some(2.0)) - 5.0).abs() < 1e-9);
        assert!(rate(1, None).abs() < 1e-9);
    }

    #[test]
    fn the_manifest_packs_and_scans() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("release");
        std::fs::create_dir_all(source.join("payloads")).unwrap();
        write(&source.join("release.toml"), MANIFEST).unwrap();
        write(&source.join("payloads/rootfs.img"), vec![7; 100_000]).unwrap();
        let archive = folder.path().join("a.upd");
        release::pack(&source, &archive, &mut |_, _| ()).unwrap();
        assert!(scan_seconds(&archive).unwrap() > 0.0);
    }
}
