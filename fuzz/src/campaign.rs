//! So many inputs for one target, all from one seed.

use std::fs::File;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::mutate::{Rng, mutate};
use crate::targets::{Target, of_reader};

/// Seeds longer than this are run once and not mutated, in bytes.
const MAX_SEED: usize = 64 * 1024;

/// How many inputs, and which.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Mutated inputs, besides the seeds themselves.
    pub iterations: u64,
    /// What all inputs follow from.
    pub seed: u64,
    /// Where a failing input is written.
    pub failures: PathBuf,
    /// Write each input before it is run.
    ///
    /// For targets that end the process, which nothing can catch.
    pub keep: bool,
}

/// An input at which a target panicked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The target is at fault.
    #[error("{target} failed at input {number} of seed {seed}: {message}; the input is in {}", path.display())]
    Panicked {
        /// Which target.
        target: &'static str,
        /// The how-manieth input.
        number: u64,
        /// The campaign's seed.
        seed: u64,
        /// What it said.
        message: String,
        /// The input.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where a target's inputs begin.
///
/// Good files, the hostile corpus, and the files under `fuzz/corpus/TARGET`.
///
/// # Errors
/// A file of the folder cannot be read.
pub fn seeds(target: &Target) -> Result<Vec<Vec<u8>>, Failure> {
    let mut seeds: Vec<Vec<u8>> = good(target.name);
    let hostile = hostile::corpus().into_iter().filter(|file| of_reader(file.reader) == target.name);
    seeds.extend(hostile.map(|file| file.bytes));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let failed = |source| Failure::File { path: folder.clone(), source };
    let mut files = match folder.read_dir() {
        Ok(entries) => entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    // Folders are listed in any order; the inputs must not depend on it.
    files.sort();
    for path in files {
        seeds.push(std::fs::read(&path).map_err(|source| Failure::File { path, source })?);
    }
    Ok(seeds)
}

fn good(target: &str) -> Vec<Vec<u8>> {
    let text = |texts: &[&str]| texts.iter().map(|t| t.as_bytes().to_vec()).collect();
    match target {
        "archive" => vec![hostile::good_archive()],
        "manifest" => vec![hostile::good_manifest().into_bytes()],
        "artifact-index" => vec![hostile::good_index()],
        "artifact-frame" => vec![hostile::good_frame()],
        "torrent" | "bencode" => vec![hostile::good_torrent()],
        "envelope" => vec![hostile::good_envelope()],
        "plan" => vec![hostile::good_plan()],
        "env-block" => vec![hostile::good_block()],
        "command-line" => text(&["quiet root=PARTLABEL=slot-a x=\"a b\" -- init", "root=PARTLABEL=slot-b\n"]),
        "event-stream" => text(&["id: 7\nevent: look\ndata: a\ndata: b\r\n\r\n: c\n\ndata:x\n\n", ":\n\n"]),
        "os-release" => text(&["NAME=\"x\"\nIMAGE_VERSION=1.0.0\nIMAGE_VERSION='2.4.0'\n", "# IMAGE_VERSION=1\n"]),
        _ => Vec::new(),
    }
}

impl Campaign {
    /// Runs `target` on its seeds and on so many mutations of them; the number of inputs.
    ///
    /// # Errors
    /// The first input that makes it panic.
    pub fn run(&self, target: &Target) -> Result<u64, Failure> {
        let seeds = seeds(target)?;
        let mut number = 0;
        for seed in &seeds {
            self.one(target, number, seed)?;
            number += 1;
        }
        let small: Vec<&Vec<u8>> = seeds.iter().filter(|seed| seed.len() <= MAX_SEED).collect();
        let mut rng = Rng::new(self.seed, target.name);
        for _ in 0..self.iterations {
            let (from, other) = (rng.below(small.len()), rng.below(small.len()));
            let (Some(from), Some(other)) = (small.get(from), small.get(other)) else { break };
            let input = mutate(&mut rng, from, other, target.words);
            self.one(target, number, &input)?;
            number += 1;
        }
        Ok(number)
    }

    fn one(&self, target: &Target, number: u64, input: &[u8]) -> Result<(), Failure> {
        if self.keep {
            self.write(&format!("{}-last", target.name), input)?;
        }
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) else { return Ok(()) };
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let message = text.unwrap_or("it panicked").chars().take(500).collect();
        let path = self.write(&format!("{}-{}-{number}", target.name, self.seed), input)?;
        Err(Failure::Panicked { target: target.name, number, seed: self.seed, message, path })
    }

    fn write(&self, name: &str, input: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.failures.join(name);
        let written = std::fs::create_dir_all(&self.failures)
            .and_then(|()| File::create(&path))
            .and_then(|mut file| file.write_all(input));
        written.map_err(|source| Failure::File { path: path.clone(), source })?;
        Ok(path)
    }
}
