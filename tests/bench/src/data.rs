//! The data that is measured with: real images where they were built, otherwise generated ones.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use artifact::{EncodeOptions, Encoded, FileRange, PayloadId};
use fleet_types::Digest;
use rand::{Rng, SeedableRng, rngs::StdRng};
use service_kit::Shutdown;
use sha2::{Digest as _, Sha256};

/// The images that are put one after the other; together about 256 MB.
const IMAGES: [&str; 2] = ["v1", "v2"];
/// What is generated if there are none.
const GENERATED: u64 = 256 << 20;
const BLOCK: usize = 64 << 10;

/// Writes a payload to `path`; returns in words what it is made of.
///
/// # Errors
/// An image cannot be read, or the payload not written.
pub(crate) fn write_payload(path: &Path) -> Result<String> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let images: Vec<_> = IMAGES.iter().filter_map(|name| lab::debian_image(name).ok()).collect();
    if images.len() < IMAGES.len() {
        generate(BufWriter::new(file), GENERATED).with_context(|| format!("cannot write {}", path.display()))?;
        return Ok("generated: a third each of words, noise and zeros, because `make images` was not run".into());
    }
    let mut file = file;
    for image in &images {
        let mut source = File::open(image).with_context(|| format!("cannot open {}", image.display()))?;
        io::copy(&mut source, &mut file).with_context(|| format!("cannot copy {}", image.display()))?;
    }
    Ok(format!("Debian root filesystems {} as uncompressed squashfs", IMAGES.join(" and ")))
}

/// Words, noise and zeros in turn; the same for the same length.
fn generate(mut out: impl Write, length: u64) -> io::Result<()> {
    let mut random = StdRng::seed_from_u64(1);
    let words: Vec<[u8; 7]> =
        (0..4096).map(|_| std::array::from_fn(|_| b'a' + (random.next_u32() % 26) as u8)).collect();
    let mut block = Vec::with_capacity(BLOCK + 8);
    for number in 0..length.div_ceil(BLOCK as u64) {
        block.clear();
        match number % 3 {
            0 => {
                while block.len() < BLOCK {
                    block.extend_from_slice(&words[random.next_u32() as usize % words.len()]);
                    block.push(b' ');
                }
            }
            1 => {
                block.resize(BLOCK, 0);
                random.fill_bytes(&mut block);
            }
            _ => block.resize(BLOCK, 0),
        }
        let left = length - number * BLOCK as u64;
        out.write_all(&block[..BLOCK.min(usize::try_from(left).unwrap_or(BLOCK))])?;
    }
    out.flush()
}

/// The first bytes of a file as one of its own; returns its length.
///
/// # Errors
/// Either file cannot be used.
pub(crate) fn write_sample(from: &Path, to: &Path, length: u64) -> Result<u64> {
    let source = File::open(from).with_context(|| format!("cannot open {}", from.display()))?;
    let mut sample = File::create(to).with_context(|| format!("cannot create {}", to.display()))?;
    io::copy(&mut source.take(length), &mut sample).with_context(|| format!("cannot write {}", to.display()))
}

/// SHA-256 of a file.
///
/// # Errors
/// It cannot be read.
pub(crate) fn sha256_of(path: &Path) -> Result<Digest> {
    Ok(payload_of(path)?.sha256)
}

/// A file as a payload: its digest and length.
///
/// # Errors
/// It cannot be read.
pub(crate) fn payload_of(path: &Path) -> Result<PayloadId> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let (mut hasher, mut buffer, mut length) = (Sha256::new(), vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))? {
            0 => return Ok(PayloadId { sha256: Digest::new(hasher.finalize().into()), length }),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

/// [`artifact::encode`] without progress, given up when the bench is stopped.
///
/// # Errors
/// As that.
pub(crate) fn encode(
    source: &FileRange,
    payload: PayloadId,
    work: &Path,
    out: &Path,
    options: &EncodeOptions,
    shutdown: &Shutdown,
) -> Result<Encoded> {
    let stopping = || shutdown.is_stopping();
    Ok(artifact::encode(source, payload, work, out, options, &|_| (), &stopping)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_data_has_its_length_and_is_the_same_again() {
        let make = |length| {
            let mut data = Vec::new();
            generate(&mut data, length).unwrap();
            data
        };
        let (one, again) = (make(BLOCK as u64 * 3 + 100), make(BLOCK as u64 * 3 + 100));
        assert_eq!(one.len(), BLOCK * 3 + 100);
        assert_eq!(one, again);
        assert!(one[..BLOCK].is_ascii() && one[2 * BLOCK..3 * BLOCK].iter().all(|b| *b == 0));
    }
}
