//! Encodes a file and prints one JSON line with the rate, for `make bench`.
//!
//! `cargo run --release -p artifact --example encode_rate -- IMAGE --level 19 --workers 2`

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Instant;

use artifact::{EncodeOptions, FileRange, PayloadId, PayloadSource};
use clap::Parser;
use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

/// Encodes a file as an artifact in a temporary folder and prints how fast that was.
#[derive(Debug, Parser)]
struct Arguments {
    /// The payload.
    file: PathBuf,
    /// The zstd level.
    #[arg(long, default_value_t = artifact::DEFAULT_LEVEL)]
    level: i32,
    /// Segments encoded at once.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Payload bytes a segment.
    #[arg(long, default_value_t = artifact::SEGMENT_SIZE)]
    segment_size: u32,
    /// Where to put work files and the artifact while it runs, instead of the system's temporary folder.
    #[arg(long)]
    folder: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { file, level, workers, segment_size, folder } = Arguments::parse();
    let folder = match folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let mut hasher = Sha256::new();
    let mut input = File::open(&file)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match input.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let source = FileRange::whole(input)?;
    let payload = PayloadId { sha256: Digest::new(hasher.finalize().into()), length: source.length() };
    let options = EncodeOptions { segment_size, level, workers };
    let out = folder.path().join("artifact");
    let started = Instant::now();
    let encoded = artifact::encode(&source, payload, &folder.path().join("work"), &out, &options, &|_| {}, &|| false)?;
    let seconds = started.elapsed().as_secs_f64();
    let line = serde_json::json!({
        "what": "encode",
        "level": level,
        "workers": workers,
        "segment_bytes": segment_size,
        "payload_bytes": payload.length,
        "artifact_bytes": encoded.length,
        "ratio": encoded.length as f64 / payload.length.max(1) as f64,
        "zero_segments": encoded.zero_segments,
        "seconds": seconds,
        "mb_per_s": payload.length as f64 / 1e6 / seconds,
        "sha256": encoded.sha256,
    });
    println!("{line}");
    Ok(())
}
