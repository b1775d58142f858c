//! One connection: reads messages, writes what is queued, and ends at its deadlines.
//!
//! A peer that never reads costs at most [`MAX_CONTROL`], the queue of [`MAX_UPLOADS`] blocks and one block: less than 450 kB.
//! Of what a peer sends, one read and one message are held; the torrent's queue holds up the rest in the socket.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_kit::clock::Stopwatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::lanes::Lanes;
use super::net::Place;
use super::storage::{Storage, StorageError};
use super::wire::piece_head;
use super::{BLOCK_LENGTH, Block, ConnectionId, Decoder, Event, Message, Shape, encode};

/// How long a peer may be silent. Others send a sign of life every two minutes.
const SILENCE: Duration = Duration::from_secs(150);
/// How long a write may make no progress.
const STUCK: Duration = Duration::from_secs(60);
/// When a sign of life is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// Most bytes of messages that wait for a peer that does not read.
pub(crate) const MAX_CONTROL: usize = 256 * 1024;
/// Most blocks that wait for a peer.
const MAX_UPLOADS: usize = 4096;
/// Bytes taken from the socket at once.
const READ: usize = 32 * 1024;

/// What a connection tells its torrent.
#[derive(Debug)]
pub(crate) enum Note {
    /// Something for the core.
    Event(Event),
    /// A piece that was held could not be read.
    Unreadable { piece: u32, error: StorageError },
    /// A new connection whose handshakes are done.
    Joined(Box<Joined>),
    /// An address did not answer, or not as a peer of this torrent.
    NotReached { address: SocketAddr, is_self: bool },
}

/// A connection whose handshakes are done.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) peer_id: [u8; 20],
    pub(crate) dialled: bool,
    pub(crate) place: Place,
}

/// The queue towards one peer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    control: Vec<u8>,
    uploads: VecDeque<Block>,
    closed: bool,
}

/// The peer does not read what it is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

enum Next {
    Closed,
    Control(Vec<u8>),
    Upload(u64),
    Nothing,
}

impl Outbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message ahead of the blocks.
    pub(crate) fn send(&self, message: &Message) -> Result<(), Full> {
        let mut queue = self.queue();
        if queue.control.len() > MAX_CONTROL {
            return Err(Full);
        }
        encode(message, &mut queue.control);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Queues a block behind the others.
    pub(crate) fn upload(&self, block: Block) -> Result<(), Full> {
        let mut queue = self.queue();
        if queue.uploads.len() >= MAX_UPLOADS {
            return Err(Full);
        }
        queue.uploads.push_back(block);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Takes a block out of the queue.
    pub(crate) fn cancel(&self, block: Block) {
        let mut queue = self.queue();
        if let Some(at) = queue.uploads.iter().position(|queued| *queued == block) {
            queue.uploads.remove(at);
        }
    }

    /// Ends the connection.
    pub(crate) fn close(&self) {
        self.queue().closed = true;
        self.wake.notify_one();
    }

    fn next(&self) -> Next {
        let mut queue = self.queue();
        match queue.uploads.front() {
            _ if queue.closed => Next::Closed,
            _ if !queue.control.is_empty() => Next::Control(std::mem::take(&mut queue.control)),
            Some(block) => Next::Upload(u64::from(block.length)),
            None => Next::Nothing,
        }
    }

    fn pop(&self) -> Option<Block> {
        self.queue().uploads.pop_front()
    }
}

/// Everything that one connection works with.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) shape: Shape,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) clock: Arc<Stopwatch>,
    pub(crate) notes: mpsc::Sender<Note>,
}

impl Connection {
    /// Serves the connection until one side ends it.
    pub(crate) async fn run(self, mut stream: TcpStream, place: Place) {
        let (reader, writer) = stream.split();
        let ended = tokio::select! {
            ended = self.read(reader) => ended,
            ended = self.write(writer) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(connection = self.id.0, %error, "a connection ended");
        }
        drop((stream, place));
        // A torrent that is gone needs no news.
        let _ = self.tell(Event::Closed { connection: self.id }).await;
    }

    async fn tell(&self, event: Event) -> io::Result<()> {
        self.notes.send(Note::Event(event)).await.map_err(|_| io::Error::other("the torrent is gone"))
    }

    async fn read(&self, mut socket: ReadHalf<'_>) -> io::Result<()> {
        let mut decoder = Decoder::new(self.shape.pieces(), BLOCK_LENGTH);
        let mut buffer = vec![0; READ];
        loop {
            let read = timeout(SILENCE, socket.read(&mut buffer)).await.map_err(|_| silent("nothing arrived"))??;
            if read == 0 {
                return Ok(());
            }
            decoder.feed(buffer.get(..read).unwrap_or_default());
            while let Some(message) = decoder.next().map_err(io::Error::other)? {
                let bytes = match &message {
                    Message::Piece { data, .. } => data.len() as u64,
                    Message::KeepAlive => continue,
                    _ => 0,
                };
                self.tell(Event::Received { connection: self.id, message }).await?;
                if bytes > 0 {
                    self.lanes.down.pass(bytes, &self.clock).await;
                }
            }
        }
    }

    async fn write(&self, mut socket: WriteHalf<'_>) -> io::Result<()> {
        loop {
            match self.outbox.next() {
                Next::Closed => return Ok(()),
                Next::Control(bytes) => write_all(&mut socket, &bytes).await?,
                Next::Nothing => {
                    if timeout(KEEP_ALIVE, self.outbox.wake.notified()).await.is_err() {
                        write_all(&mut socket, &[0; 4]).await?;
                    }
                }
                Next::Upload(length) => {
                    if !self.turn(&mut socket, length).await? {
                        return Ok(());
                    }
                    // It may have been cancelled meanwhile.
                    if let Some(block) = self.outbox.pop() {
                        self.upload(&mut socket, block).await?;
                    }
                }
            }
        }
    }

    /// Waits until the rate allows `length` bytes; messages do not wait. False if the connection is to end.
    async fn turn(&self, socket: &mut WriteHalf<'_>, length: u64) -> io::Result<bool> {
        let pass = self.lanes.up.pass(length, &self.clock);
        tokio::pin!(pass);
        loop {
            tokio::select! {
                biased;
                () = &mut pass => return Ok(true),
                () = self.outbox.wake.notified() => match self.outbox.next() {
                    Next::Closed => return Ok(false),
                    Next::Control(bytes) => write_all(socket, &bytes).await?,
                    Next::Upload(_) | Next::Nothing => {}
                },
            }
        }
    }

    async fn upload(&self, socket: &mut WriteHalf<'_>, block: Block) -> io::Result<()> {
        match self.load(block).await? {
            Ok(bytes) => write_all(socket, &bytes).await?,
            Err(error) => {
                let _ = self.notes.send(Note::Unreadable { piece: block.piece, error }).await;
                return Err(io::Error::other("a piece cannot be read"));
            }
        }
        self.tell(Event::Sent { connection: self.id, block }).await
    }

    /// Reads a block as it goes over the wire: from the page cache at once, from the disk on the blocking pool.
    async fn load(&self, block: Block) -> io::Result<Result<Vec<u8>, StorageError>> {
        let head = piece_head(block.piece, block.begin, block.length as usize);
        let mut bytes = vec![0; head.len() + block.length as usize];
        let (front, content) = bytes.split_at_mut(head.len());
        front.copy_from_slice(&head);
        let offset = self.shape.offset_of(block);
        if self.storage.read_cached(offset, content) {
            return Ok(Ok(bytes));
        }
        let storage = self.storage.clone();
        let read = move || {
            let (_, content) = bytes.split_at_mut(head.len());
            storage.read_at(offset, content).map(|()| bytes)
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)
    }
}

fn silent(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// Writes everything, however long it takes, as long as something moves.
async fn write_all(socket: &mut WriteHalf<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(STUCK, socket.write(bytes)).await.map_err(|_| silent("the peer reads nothing"))??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
