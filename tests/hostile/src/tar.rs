//! Tar archives block by block: whatever is asked for is written.

use sha2::{Digest as _, Sha256};

/// The hardware model that the good archive is for.
pub const MODEL: &str = "kiosk-x86";
/// The good archive's payload in the archive.
pub const IMAGE: &str = "payloads/rootfs.img";
/// Length of that payload in bytes.
const IMAGE_LENGTH: usize = 9000;

/// A tar that grows member by member.
#[derive(Debug, Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// Begins with this manifest.
    pub fn of(manifest: &str) -> Self {
        Self::default().file("release.toml", manifest.as_bytes())
    }

    /// The good archive, not yet closed.
    pub fn good() -> Self {
        Self::of(&good_manifest()).file(IMAGE, &squashfs(IMAGE_LENGTH))
    }

    /// Adds a plain file.
    pub fn file(self, name: &str, body: &[u8]) -> Self {
        self.member(name.as_bytes(), b'0', body)
    }

    /// Adds a member of any kind.
    pub fn member(self, name: &[u8], kind: u8, body: &[u8]) -> Self {
        self.header(name, kind, body.len() as u64).body(body)
    }

    /// Adds a GNU long name.
    pub fn long_name(self, name: &[u8]) -> Self {
        self.member(b"././@LongLink", b'L', name)
    }

    /// Adds a PAX header with one record.
    pub fn pax(self, key: &str, value: &str) -> Self {
        let rest = key.len() + value.len() + 3;
        let digits = if rest + 2 < 100 { 2 } else { (rest + 5).to_string().len() };
        let record = format!("{} {key}={value}\n", rest + digits);
        self.member(b"PaxHeaders/x", b'x', record.as_bytes())
    }

    /// Adds only a header. Names longer than the field are cut.
    pub fn header(mut self, name: &[u8], kind: u8, size: u64) -> Self {
        let mut block = [0; 512];
        let name = &name[..name.len().min(100)];
        block[..name.len()].copy_from_slice(name);
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        if size < 1 << 33 {
            block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        } else {
            block[124] = 0x80;
            block[128..136].copy_from_slice(&size.to_be_bytes());
        }
        block[136..148].copy_from_slice(b"00000000000\0");
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        sum(&mut block);
        self.0.extend_from_slice(&block);
        self
    }

    /// Adds a body and fills up its block.
    pub fn body(mut self, body: &[u8]) -> Self {
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Changes the header at `at` and makes its checksum right again.
    pub fn edit(mut self, at: usize, edit: impl FnOnce(&mut [u8])) -> Self {
        edit(&mut self.0[at..at + 512]);
        sum(&mut self.0[at..at + 512]);
        self
    }

    /// Where the next header will stand.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Closes it with the two empty blocks.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// Writes a header's checksum.
pub(crate) fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Bytes that begin as a squashfs of `length` bytes does.
pub fn squashfs(length: usize) -> Vec<u8> {
    let mut image: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
    image[..96].fill(0);
    image[..4].copy_from_slice(b"hsqs");
    image[28..30].copy_from_slice(&4u16.to_le_bytes());
    image[40..48].copy_from_slice(&(length as u64).to_le_bytes());
    image
}

/// The manifest of a release whose one slot image is `image`.
pub(crate) fn manifest_of(image: &[u8]) -> String {
    let digest: String = Sha256::digest(image).iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "format = 1\nproduct = \"kiosk\"\nversion = \"1.0.0\"\nnotes = \"First.\"\n\n[[payload]]\nname = \"rootfs\"\n\
         kind = \"slot-image\"\ncompatible = [\"{MODEL}\"]\nfile = \"{IMAGE}\"\nsize = {}\nsha256 = \"{digest}\"\n",
        image.len()
    )
}

/// The good archive's manifest.
pub fn good_manifest() -> String {
    manifest_of(&squashfs(IMAGE_LENGTH))
}

/// An archive that passes every rule in a fleet with [`MODEL`].
pub fn good_archive() -> Vec<u8> {
    Tar::good().end()
}
