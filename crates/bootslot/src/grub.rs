//! The `grub` backend: its environment block, overwritten in place.
//!
//! grub-editenv truncates the file when it writes, so a power cut can leave it empty. Here the 1024 bytes are
//! overwritten where they lie (GRUB itself reads them by block list) and synced before the call returns.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fleet_types::Slot;

use crate::block::Block;
use crate::error::{BLOCK_SIZE, BlockError, BootError};
use crate::marks::{Stored, Verified};
use crate::slots::BootSlots;
use crate::state::BootState;

/// GRUB's environment block in a file, usually on the EFI system partition.
///
/// Variables: `filial_default` (`A` or `B`), `filial_trial` (`A`, `B` or empty), `filial_trial_left` (0 to 9; without a trial the
/// marks of [`Verified`]). A second block beside it, with a `2` after its name, holds default and marks for the
/// case that the first one becomes unusable.
#[derive(Debug, Clone)]
pub struct GrubEnv {
    /// The file.
    pub path: PathBuf,
}

impl GrubEnv {
    /// The block at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Sets `state` in a block that has none, and creates the block if it is missing.
    ///
    /// Variables of other programs stay, also those that are still readable in a damaged block.
    ///
    /// # Errors
    /// The block has a state, other variables leave no room for ours, or the file cannot be read or written.
    pub fn create(&self, state: &BootState) -> Result<(), BootError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&self.path);
        let file = file.map_err(|source| BootError::Open { path: self.path.clone(), source })?;
        file.lock().map_err(|source| BootError::Lock { path: self.path.clone(), source })?;
        let bytes = self.bytes(&file)?;
        let mut block = match Block::parse(&bytes) {
            Ok(block) if block.stored().is_ok() => return Err(BootError::AlreadyValid { path: self.path.clone() }),
            Ok(block) => block,
            Err(_) => Block::salvage(&bytes),
        };
        block.set(&(*state).into());
        self.store(&file, &block)?;
        // A longer leftover would not be a block either.
        finish(&file, &self.path).map_err(|source| BootError::Write { path: self.path.clone(), source })
    }

    /// The second block's file.
    pub fn copy(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("2");
        name.into()
    }

    /// Writes the second block, which holds nothing but ours; it is made if it is missing.
    fn store_copy(&self, stored: &Stored) -> Result<(), BootError> {
        let path = self.copy();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|source| BootError::Open { path: path.clone(), source })?;
        let mut block = Block::fresh();
        block.set(stored);
        let bytes = block.to_bytes().ok_or_else(|| BootError::NoRoom { path: path.clone() })?;
        let written = file.write_all_at(&bytes, 0).and_then(|()| finish(&file, &path));
        written.map_err(|source| BootError::Write { path, source })
    }

    fn open(&self, write: bool) -> Result<File, BootError> {
        let file = OpenOptions::new().read(true).write(write).open(&self.path);
        let file = file.map_err(|source| BootError::Open { path: self.path.clone(), source })?;
        let locked = if write { file.lock() } else { file.lock_shared() };
        locked.map_err(|source| BootError::Lock { path: self.path.clone(), source })?;
        Ok(file)
    }

    fn bytes(&self, file: &File) -> Result<Vec<u8>, BootError> {
        let mut bytes = Vec::with_capacity(BLOCK_SIZE + 1);
        let mut limited = file.take(BLOCK_SIZE as u64 + 1);
        limited.read_to_end(&mut bytes).map_err(|source| BootError::Read { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    fn load(&self, file: &File) -> Result<Block, BootError> {
        Block::parse(&self.bytes(file)?).map_err(|e| self.unusable(e))
    }

    fn store(&self, file: &File, block: &Block) -> Result<(), BootError> {
        let bytes = block.to_bytes().ok_or_else(|| BootError::NoRoom { path: self.path.clone() })?;
        let written = file.write_all_at(&bytes, 0).and_then(|()| file.sync_all());
        written.map_err(|source| BootError::Write { path: self.path.clone(), source })
    }

    fn unusable(&self, source: BlockError) -> BootError {
        BootError::Block { path: self.path.clone(), source }
    }

    /// Whether the block is missing altogether.
    pub fn is_missing(&self) -> bool {
        matches!(self.path.metadata(), Err(e) if e.kind() == ErrorKind::NotFound)
    }
}

/// Cuts a block's file to its length, and syncs it and its folder.
fn finish(file: &File, path: &Path) -> std::io::Result<()> {
    file.set_len(BLOCK_SIZE as u64)?;
    file.sync_all()?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

impl BootSlots for GrubEnv {
    fn read(&self) -> Result<BootState, BootError> {
        self.read_marked().map(|stored| stored.state)
    }

    fn write(&self, state: &BootState) -> Result<(), BootError> {
        let file = self.open(true)?;
        let mut block = self.load(&file)?;
        block.stored().map_err(|e| self.unusable(e))?;
        block.set(&(*state).into());
        self.store(&file, &block)
    }

    fn create(&self, state: &BootState) -> Result<(), BootError> {
        GrubEnv::create(self, state)
    }

    fn keeps_marks(&self) -> bool {
        true
    }

    fn read_marked(&self) -> Result<Stored, BootError> {
        let file = self.open(false)?;
        self.load(&file)?.stored().map_err(|e| self.unusable(e))
    }

    fn mark(&self, default: Slot, verified: Verified) -> Result<(), BootError> {
        let file = self.open(true)?;
        let mut block = self.load(&file)?;
        block.stored().map_err(|e| self.unusable(e))?;
        let stored = Stored::settled(default, verified);
        // The second one first: it counts only where the first is unusable.
        self.store_copy(&stored)?;
        block.set(&stored);
        self.store(&file, &block)
    }
}
