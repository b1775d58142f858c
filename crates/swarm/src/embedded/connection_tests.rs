use super::super::net::Places;
use super::*;

/// Content that is the same everywhere.
struct Constant;

impl Storage for Constant {
    fn read_at(&self, _: u64, into: &mut [u8]) -> Result<(), StorageError> {
        into.fill(7);
        Ok(())
    }

    fn read_cached(&self, offset: u64, into: &mut [u8]) -> bool {
        into.fill(7);
        // Both ways are taken.
        (offset / u64::from(BLOCK_LENGTH)).is_multiple_of(2)
    }

    fn write_piece(&self, _: u64, _: &[u8]) -> Result<(), StorageError> {
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn rest(&self) {}

    fn identity(&self) -> Option<[u8; 32]> {
        None
    }
}

struct Pair {
    outbox: Arc<Outbox>,
    notes: mpsc::Receiver<Note>,
    peer: TcpStream,
    places: Arc<Places>,
}

const SHAPE: (u32, u64) = (65_536, 10 << 20);

async fn pair() -> Pair {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, address) = listener.accept().await.unwrap();
    let (sender, notes) = mpsc::channel(64);
    let (outbox, places) = (Arc::new(Outbox::default()), Places::new(1));
    let connection = Connection {
        id: ConnectionId(1),
        shape: Shape::new(SHAPE.0, SHAPE.1).unwrap(),
        outbox: outbox.clone(),
        storage: Arc::new(Constant),
        lanes: Arc::default(),
        clock: Arc::new(Stopwatch::start()),
        notes: sender,
    };
    tokio::spawn(connection.run(stream, places.enter(address.ip()).unwrap()));
    Pair { outbox, notes, peer, places }
}

fn block(index: u32) -> Block {
    Block { piece: index / 4, begin: index % 4 * BLOCK_LENGTH, length: BLOCK_LENGTH }
}

async fn event(notes: &mut mpsc::Receiver<Note>) -> Event {
    match notes.recv().await.unwrap() {
        Note::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn blocks_are_sent_in_order_without_the_cancelled_and_behind_messages() {
    let Pair { outbox, mut notes, mut peer, places } = pair().await;
    for index in 0..4 {
        outbox.upload(block(index)).unwrap();
    }
    outbox.cancel(block(2));
    outbox.cancel(block(9));
    outbox.send(&Message::Have(5)).unwrap();
    let mut decoder = Decoder::new(160, BLOCK_LENGTH);
    let (mut blocks, mut haves) = (Vec::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    while blocks.len() < 3 || haves == 0 {
        let read = peer.read(&mut buffer).await.unwrap();
        decoder.feed(&buffer[..read]);
        while let Some(message) = decoder.next().unwrap() {
            match message {
                Message::Piece { piece, begin, data } => {
                    assert!(data.iter().all(|byte| *byte == 7) && data.len() == BLOCK_LENGTH as usize);
                    blocks.push((piece * 4) + begin / BLOCK_LENGTH);
                }
                Message::Have(5) => haves += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(blocks, [0, 1, 3]);
    for index in [0, 1, 3] {
        assert_eq!(event(&mut notes).await, Event::Sent { connection: ConnectionId(1), block: block(index) });
    }
    peer.write_all(&[0, 0, 0, 0, 0, 0, 0, 1, 2]).await.unwrap();
    let interested = Event::Received { connection: ConnectionId(1), message: Message::Interested };
    assert_eq!(event(&mut notes).await, interested, "signs of life are not passed on");
    assert!(places.enter([127, 0, 0, 2].into()).is_err(), "the place is taken");
    outbox.close();
    assert_eq!(event(&mut notes).await, Event::Closed { connection: ConnectionId(1) });
    assert!(places.enter([127, 0, 0, 2].into()).is_ok());
    assert_eq!(peer.read(&mut buffer).await.unwrap(), 0);
}

#[tokio::test]
async fn a_peer_that_never_reads_costs_a_bounded_queue() {
    let Pair { outbox, peer: _peer, .. } = pair().await;
    let mut queued = 0;
    // The sockets' buffers take some.
    while outbox.send(&Message::Have(1)).is_ok() {
        queued += 1;
        if queued % 10_000 == 0 {
            tokio::task::yield_now().await;
        }
        assert!(queued < 10_000_000, "without bound");
    }
    assert!(outbox.queue().control.capacity() <= 3 * MAX_CONTROL);
    let blocks = (0..u32::MAX).take_while(|index| outbox.upload(block(index % 600)).is_ok()).count();
    assert_eq!(blocks, MAX_UPLOADS);
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection() {
    for wrong in [&[0xff, 0xff, 0xff, 0xff, 1][..], &[0, 0, 0, 5, 4, 0, 0, 0xff, 0xff], &[0, 0, 0, 2, 1, 1]] {
        let Pair { mut notes, mut peer, .. } = pair().await;
        peer.write_all(wrong).await.unwrap();
        assert_eq!(event(&mut notes).await, Event::Closed { connection: ConnectionId(1) });
    }
}
