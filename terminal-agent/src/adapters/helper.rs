//! The root helper over its Unix socket, and the slots' disks through it: this process opens no device.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use artifact::ImageDisk;
use async_trait::async_trait;
use fleet_types::Slot;
use service_kit::edge::chain;

use crate::helper::protocol::{MAX_BODY, read_answer};
use crate::model::request::{Answer, Request};
use crate::ports::{Disks, HelperTrouble, PortError, RootHelper};

/// The root helper that listens at a path.
#[derive(Debug, Clone)]
pub struct HelperSocket {
    path: PathBuf,
}

impl HelperSocket {
    /// The helper behind this socket.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Asks and waits for the answer. Blocking.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn call(&self, request: &Request, body: &[u8]) -> Result<Answer, HelperTrouble> {
        let away = |e: io::Error| HelperTrouble::Away(format!("{}: {}", self.path.display(), chain(&e)));
        self.exchange(request, body).map_err(away)?.map_err(HelperTrouble::Refused)
    }

    fn exchange(&self, request: &Request, body: &[u8]) -> io::Result<Result<Answer, wire::v1::reports::Reason>> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_write_timeout(Some(request.patience()))?;
        stream.set_read_timeout(Some(request.patience()))?;
        let head = request.head(body.len())?;
        let sent = stream.write_all(&head).and_then(|()| stream.write_all(body));
        // One that refuses without reading says why all the same.
        match (read_answer(&mut stream), sent) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(unsent)) => Err(unsent),
            (Err(unread), Ok(())) => Err(unread),
        }
    }
}

#[async_trait]
impl RootHelper for HelperSocket {
    async fn ask(&self, request: Request) -> Result<Answer, HelperTrouble> {
        let helper = self.clone();
        let asked = tokio::task::spawn_blocking(move || helper.call(&request, &[])).await;
        asked.unwrap_or_else(|e| Err(HelperTrouble::Away(chain(&e))))
    }
}

/// The slots through the root helper.
#[derive(Debug, Clone)]
pub struct HelperDisks(HelperSocket);

impl HelperDisks {
    /// Through this helper.
    pub const fn new(helper: HelperSocket) -> Self {
        Self(helper)
    }
}

impl Disks for HelperDisks {
    fn open(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, PortError> {
        Ok(Box::new(HelperDisk { length: self.length(slot)?, helper: self.0.clone() }))
    }

    fn open_running(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, PortError> {
        Err(PortError::new(format!("only the root helper reads the running slot {slot}")))
    }

    fn length(&self, slot: Slot) -> Result<u64, PortError> {
        match self.0.call(&Request::Length { slot }, &[]) {
            Ok(Answer::Length(bytes)) => Ok(bytes),
            Ok(other) => Err(PortError::new(format!("the root helper answered {other:?} and not a length"))),
            Err(trouble) => Err(PortError::with(format!("cannot determine the length of slot {slot}"), trouble)),
        }
    }
}

/// The slot that does not run: the helper takes no other.
struct HelperDisk {
    helper: HelperSocket,
    length: u64,
}

impl HelperDisk {
    fn call(&self, request: &Request, body: &[u8]) -> io::Result<Answer> {
        self.helper.call(request, body).map_err(io::Error::other)
    }
}

impl ImageDisk for HelperDisk {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for (offset, part) in (offset..).step_by(MAX_BODY).zip(bytes.chunks(MAX_BODY)) {
            self.call(&Request::Write { offset }, part)?;
        }
        Ok(())
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        for (offset, part) in (offset..).step_by(MAX_BODY).zip(buf.chunks_mut(MAX_BODY)) {
            // At most MAX_BODY, which fits.
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            match self.call(&Request::Read { offset, length }, &[])? {
                Answer::Bytes(bytes) if bytes.len() == part.len() => part.copy_from_slice(&bytes),
                _ => return Err(io::Error::other("the root helper answered with another number of bytes")),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.call(&Request::Sync, &[]).map(drop)
    }

    fn drop_caches(&mut self) -> io::Result<()> {
        self.call(&Request::DropCaches, &[]).map(drop)
    }
}
