//! Links with rates and latencies, and the cores at their ends. Messages cross as encoded bytes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use super::scenes::Scene;
use crate::PieceSet;
use crate::embedded::{
    Action, BLOCK_LENGTH, Block, Closing, ConnectionId, Core, Decoder, Event, Message, Policy, Shape, encode,
};

/// How a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    /// Accepts requests and uploads nothing.
    Mute,
    /// Never says what it has.
    SaysNothing,
    /// Says at once that it has everything, and has nothing.
    Liar,
    /// Says of each piece that it hears of that it has it, and has nothing.
    EagerLiar,
    /// Flips a byte in each block that it sends.
    Poisoned,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Bytes a second.
    pub(super) up: u64,
    pub(super) down: u64,
    /// One way, to anywhere.
    pub(super) latency: Duration,
    pub(super) joins: Duration,
    /// Falls silent without closing anything; the others' connections end 15 seconds later.
    pub(super) dies: Option<Duration>,
    pub(super) leaves: Option<Duration>,
}

impl Node {
    pub(super) const LAN: Self = Self {
        kind: Kind::Normal,
        up: 125_000_000,
        down: 125_000_000,
        latency: Duration::from_micros(250),
        joins: Duration::ZERO,
        dies: None,
        leaves: None,
    };

    /// The time of the last terminal leaves out those that are much slower than the server.
    fn counts(&self) -> bool {
        self.is_healthy() && self.down >= 2_500_000
    }

    fn is_healthy(&self) -> bool {
        matches!(self.kind, Kind::Normal | Kind::SaysNothing) && self.dies.is_none() && self.leaves.is_none()
    }
}

/// Simulated time after which a run counts as stuck.
const LONGEST: Duration = Duration::from_secs(900);
/// The most bytes on the way to one receiver, as a socket's buffers hold them; less where the path is slow.
const IN_FLIGHT: u64 = 512 << 10;
const LEAST_IN_FLIGHT: u64 = 32 << 10;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Join(usize),
    Die(usize),
    Leave(usize),
    Closed { at: usize, peer: usize },
    Bytes { to: usize, from: usize, bytes: Vec<u8> },
    Block { to: usize, from: usize, block: Block },
    Idle(usize),
    Checked { at: usize, piece: u32, bytes: Vec<u8> },
    Tick(usize),
}

/// A node while it runs.
struct Machine {
    node: Node,
    /// Liars have none.
    core: Option<Core>,
    running: bool,
    decoders: BTreeMap<usize, Decoder>,
    queues: BTreeMap<usize, VecDeque<Block>>,
    on_the_way: BTreeMap<usize, u64>,
    open: BTreeMap<usize, BTreeSet<Block>>,
    last_served: usize,
    sending: bool,
    receives_until: Duration,
    done: Option<Duration>,
    first: Option<Duration>,
    /// Bytes sent, by receiver.
    sent: BTreeMap<usize, u64>,
}

pub(super) struct Network<'a> {
    scene: &'a Scene,
    shape: Shape,
    content: Bytes,
    machines: Vec<Machine>,
    links: BTreeSet<(usize, usize)>,
    steps: BinaryHeap<Reverse<(Duration, u64, Step)>>,
    count: u64,
    now: Duration,
    blamed: Vec<(usize, usize, u64)>,
}

/// Everything of a torrent.
pub(super) fn held_all(shape: Shape) -> PieceSet {
    let mut bits = vec![0; shape.pieces().div_ceil(8) as usize];
    (0..shape.pieces()).for_each(|piece| bits[piece as usize / 8] |= 0x80 >> (piece % 8));
    PieceSet::new(bits, u64::from(shape.piece_length()), shape.total()).unwrap()
}

/// What came of a run.
pub(super) struct Outcome {
    healthy: Vec<usize>,
    incomplete: Vec<usize>,
    terminals: usize,
    last: Duration,
    branch_done: Duration,
    first: Duration,
    floor: Duration,
    copies: f64,
    upstream_copies: f64,
    /// By whom, who, and how many bytes.
    pub(super) blamed: Vec<(usize, usize, u64)>,
}

impl<'a> Network<'a> {
    pub(super) fn new(scene: &'a Scene) -> Self {
        let shape = Shape::new(scene.piece_length, scene.total).unwrap();
        let mut state = scene.seed | 1;
        let mut content = Vec::with_capacity(scene.total as usize + 8);
        while content.len() < scene.total as usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            content.extend_from_slice(&state.to_be_bytes());
        }
        let mut network = Self {
            scene,
            shape,
            content: content.into(),
            machines: Vec::new(),
            links: BTreeSet::new(),
            steps: BinaryHeap::new(),
            count: 0,
            now: Duration::ZERO,
            blamed: Vec::new(),
        };
        for at in 0..scene.nodes.len() {
            network.add(at);
        }
        network
    }

    fn add(&mut self, at: usize) {
        let (scene, shape) = (self.scene, self.shape);
        let node = scene.nodes[at];
        let complete = Some(at) == scene.head_office() || (at == 0 && !scene.upstream);
        let held = if complete {
            held_all(shape)
        } else {
            PieceSet::new(vec![0; shape.pieces().div_ceil(8) as usize], u64::from(shape.piece_length()), shape.total())
                .unwrap()
        };
        let policy = if at == 0 { Policy::REVEAL } else { Policy::PLAIN };
        let liar = matches!(node.kind, Kind::Liar | Kind::EagerLiar);
        self.machines.push(Machine {
            node,
            core: (!liar).then(|| Core::new(shape, policy, &held, scene.seed.wrapping_add(at as u64))),
            running: false,
            decoders: BTreeMap::new(),
            queues: BTreeMap::new(),
            on_the_way: BTreeMap::new(),
            open: BTreeMap::new(),
            last_served: 0,
            sending: false,
            receives_until: Duration::ZERO,
            done: None,
            first: None,
            sent: BTreeMap::new(),
        });
        let jitter = Duration::from_millis(if scene.terminals().contains(&at) { 3 * at as u64 } else { 0 });
        self.after(node.joins + jitter, Step::Join(at));
        node.dies.into_iter().for_each(|when| self.after(when + jitter, Step::Die(at)));
        node.leaves.into_iter().for_each(|when| self.after(when + jitter, Step::Leave(at)));
    }

    fn after(&mut self, delay: Duration, step: Step) {
        self.count += 1;
        self.steps.push(Reverse((self.now + delay, self.count, step)));
    }

    pub(super) fn run(mut self) -> Outcome {
        while let Some(Reverse((now, _, step))) = self.steps.pop() {
            self.now = now;
            if now > LONGEST || self.is_over() {
                break;
            }
            self.step(step);
        }
        self.outcome()
    }

    fn is_over(&self) -> bool {
        let terminals = self.scene.terminals();
        terminals.into_iter().all(|at| self.machines[at].done.is_some() || !self.machines[at].node.is_healthy())
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Join(at) => self.join(at),
            Step::Die(at) => {
                self.machines[at].running = false;
                for peer in self.neighbours(at) {
                    self.after(Duration::from_secs(15), Step::Closed { at: peer, peer: at });
                }
            }
            Step::Leave(at) => {
                self.machines[at].running = false;
                for peer in self.neighbours(at) {
                    self.unlink(at, peer);
                    self.after(self.latency(at, peer), Step::Closed { at: peer, peer: at });
                }
            }
            Step::Closed { at, peer } => {
                self.unlink(at, peer);
                self.tell(at, Event::Closed { connection: ConnectionId(peer as u64) });
            }
            Step::Bytes { to, from, bytes } => self.deliver(to, from, &bytes),
            Step::Block { to, from, block } => self.arrive(to, from, block),
            Step::Idle(at) => {
                self.machines[at].sending = false;
                self.serve(at);
            }
            Step::Checked { at, piece, bytes } => {
                let begin = self.shape.offset_of(self.shape.block(piece, 0)) as usize;
                let right = bytes[..] == self.content[begin..begin + bytes.len()];
                assert_eq!(bytes.len(), self.shape.length_of(piece) as usize);
                let event = if right { Event::Stored { piece } } else { Event::Mismatched { piece, bytes } };
                self.tell(at, event);
            }
            Step::Tick(at) => {
                self.tell(at, Event::Tick);
                if self.machines[at].running {
                    self.after(Duration::from_millis(10), Step::Tick(at));
                }
            }
        }
    }

    fn latency(&self, a: usize, b: usize) -> Duration {
        self.machines[a].node.latency + self.machines[b].node.latency
    }

    fn neighbours(&self, at: usize) -> Vec<usize> {
        (0..self.machines.len()).filter(|peer| self.links.contains(&(at, *peer))).collect()
    }

    fn unlink(&mut self, a: usize, b: usize) {
        for (at, peer) in [(a, b), (b, a)] {
            self.links.remove(&(at, peer));
            self.machines[at].queues.remove(&peer);
        }
    }

    fn join(&mut self, at: usize) {
        self.machines[at].running = true;
        self.after(Duration::from_millis(10), Step::Tick(at));
        let (terminals, office) = (self.scene.terminals(), self.scene.head_office());
        for peer in 0..self.machines.len() {
            let both = terminals.contains(&at) && terminals.contains(&peer);
            let apart = (both && self.scene.isolated)
                || [at, peer].iter().any(|end| Some(*end) == office) && at != 0 && peer != 0;
            if peer == at || !self.machines[peer].running || apart {
                continue;
            }
            self.links.extend([(at, peer), (peer, at)]);
            for (at, peer) in [(at, peer), (peer, at)] {
                self.machines[at].decoders.insert(peer, Decoder::new(self.shape.pieces(), BLOCK_LENGTH));
                let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, peer as u8), 6881));
                let upstream = at == 0 && Some(peer) == office;
                self.tell(at, Event::Connected { connection: ConnectionId(peer as u64), address, upstream });
                if self.machines[at].node.kind == Kind::Liar {
                    let all = held_all(self.shape);
                    let bits = (0..all.count()).collect::<Vec<_>>();
                    bits.into_iter().for_each(|piece| self.send(at, peer, &Message::Have(piece as u32)));
                }
                if self.machines[at].core.is_none() {
                    self.send(at, peer, &Message::Unchoke);
                    self.send(at, peer, &Message::Interested);
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: &Message) {
        let open = self.machines[from].open.entry(to).or_default();
        match message {
            Message::Request(block) => {
                open.insert(*block);
                assert!(open.len() <= 64, "{from} has {} requests open at {to}", open.len());
            }
            Message::Cancel(block) => drop(open.remove(block)),
            Message::Have(_) | Message::Bitfield(_) if self.machines[from].node.kind == Kind::SaysNothing => return,
            _ => {}
        }
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        self.after(self.latency(from, to), Step::Bytes { to, from, bytes });
    }

    fn deliver(&mut self, to: usize, from: usize, bytes: &[u8]) {
        if !self.machines[to].running || !self.links.contains(&(to, from)) {
            return;
        }
        let split = (self.count as usize).wrapping_mul(7) % (bytes.len() + 1);
        for part in [&bytes[..split], &bytes[split..]] {
            let Some(decoder) = self.machines[to].decoders.get_mut(&from) else { return };
            decoder.feed(part);
            while let Some(message) =
                self.machines[to].decoders.get_mut(&from).and_then(|decoder| decoder.next().unwrap())
            {
                if let (Kind::EagerLiar, Message::Have(piece)) = (self.machines[to].node.kind, &message) {
                    self.send(to, from, &Message::Have(*piece));
                }
                self.tell(to, Event::Received { connection: ConnectionId(from as u64), message });
            }
        }
    }

    fn arrive(&mut self, to: usize, from: usize, block: Block) {
        *self.machines[from].on_the_way.entry(to).or_default() -= u64::from(block.length);
        self.serve(from);
        let begin = self.shape.offset_of(block) as usize;
        let mut data = self.content.slice(begin..begin + block.length as usize);
        if self.machines[from].node.kind == Kind::Poisoned {
            let mut bytes = data.to_vec();
            bytes[0] ^= 1;
            data = bytes.into();
        }
        let now = self.now;
        let receiver = &mut self.machines[to];
        receiver.first.get_or_insert(now);
        receiver.open.entry(from).or_default().remove(&block);
        let mut bytes = Vec::new();
        encode(&Message::Piece { piece: block.piece, begin: block.begin, data }, &mut bytes);
        self.deliver(to, from, &bytes);
    }

    /// Starts the next upload of a node whose uplink is free: its receivers take turns.
    fn serve(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if machine.sending || !machine.running {
            return;
        }
        let room = |to: &usize| {
            let window = (self.scene.nodes[*to].down / 20).clamp(LEAST_IN_FLIGHT, IN_FLIGHT);
            machine.on_the_way.get(to).copied().unwrap_or(0) < window
        };
        let waiting: Vec<usize> =
            machine.queues.iter().filter(|(to, queue)| !queue.is_empty() && room(to)).map(|(to, _)| *to).collect();
        let next = waiting.iter().find(|to| **to > machine.last_served).or(waiting.first()).copied();
        let Some((to, block)) = next.and_then(|to| Some((to, machine.queues.get_mut(&to)?.pop_front()?))) else {
            return;
        };
        let on_wire = u64::from(block.length) + 13;
        let takes = |rate: u64| Duration::from_nanos(on_wire * 1_000_000_000 / rate);
        machine.last_served = to;
        machine.sending = true;
        *machine.on_the_way.entry(to).or_default() += u64::from(block.length);
        *machine.sent.entry(to).or_default() += on_wire;
        let done = takes(machine.node.up);
        let latency = self.latency(at, to);
        let receiver = &mut self.machines[to];
        receiver.receives_until = receiver.receives_until.max(self.now + done + latency) + takes(receiver.node.down);
        let arrives = receiver.receives_until - self.now;
        self.after(arrives, Step::Block { to, from: at, block });
        self.after(done, Step::Idle(at));
        self.tell(at, Event::Sent { connection: ConnectionId(to as u64), block });
    }

    fn tell(&mut self, at: usize, event: Event) {
        let now = self.now;
        let machine = &mut self.machines[at];
        let Some(core) = machine.core.as_mut().filter(|_| machine.running) else { return };
        let actions = core.handle(event, now);
        let most = (16_u64 << 20).max(4 * u64::from(self.shape.piece_length()));
        assert!(core.in_memory() <= most, "{at} holds {} bytes", core.in_memory());
        actions.into_iter().for_each(|action| self.act(at, action));
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Send { connection, message } => self.send(at, connection.0 as usize, &message),
            Action::Upload { connection, block } => {
                let machine = &mut self.machines[at];
                assert!(machine.core.as_ref().unwrap().has(block.piece), "{at} offered what it lacks");
                if machine.node.kind != Kind::Mute {
                    machine.queues.entry(connection.0 as usize).or_default().push_back(block);
                    self.serve(at);
                }
            }
            Action::CancelUpload { connection, block } => {
                let queue = self.machines[at].queues.entry(connection.0 as usize).or_default();
                if let Some(place) = queue.iter().position(|queued| *queued == block) {
                    queue.remove(place);
                }
            }
            Action::Check { piece, bytes } => {
                let takes = Duration::from_micros(1_000 + bytes.len() as u64 / 500);
                self.after(takes, Step::Checked { at, piece, bytes });
            }
            Action::Close { connection, why } => {
                let peer = connection.0 as usize;
                assert!(
                    matches!(why, Closing::Corrupt | Closing::Silent | Closing::AtRest),
                    "{at} closed {peer}: {why}"
                );
                self.unlink(at, peer);
                self.after(self.latency(at, peer), Step::Closed { at: peer, peer: at });
            }
            Action::Blame { connection, bytes, .. } => self.blamed.push((at, connection.0 as usize, bytes)),
            Action::Completed => self.machines[at].done = Some(self.now),
        }
    }

    fn outcome(self) -> Outcome {
        let machines = &self.machines;
        let healthy: Vec<usize> = self.scene.terminals().filter(|at| machines[*at].node.is_healthy()).collect();
        let done = |at: &usize| machines[*at].done;
        let office = self.scene.head_office();
        let rate = office.map_or(machines[0].node.up, |office| machines[office].node.up.min(machines[0].node.up));
        let total = self.scene.total as f64;
        let to = |from: usize, which: &dyn Fn(&usize) -> bool| {
            machines[from].sent.iter().filter(|(to, _)| which(to)).map(|(_, bytes)| *bytes).sum::<u64>() as f64 / total
        };
        Outcome {
            incomplete: healthy.iter().copied().filter(|at| done(at).is_none()).collect(),
            terminals: self.scene.terminals().len(),
            last: healthy.iter().filter(|at| machines[**at].node.counts()).filter_map(done).max().unwrap_or_default(),
            branch_done: machines[0].done.unwrap_or_default(),
            first: healthy.iter().filter_map(|at| machines[*at].first).min().unwrap_or_default(),
            floor: Duration::from_secs_f64(total / rate as f64),
            copies: to(0, &|to| self.scene.terminals().contains(to)),
            upstream_copies: office.map_or(0.0, |office| to(office, &|_| true)),
            healthy,
            blamed: self.blamed,
        }
    }
}

impl Outcome {
    pub(super) fn healthy_complete(&self) -> bool {
        self.incomplete.is_empty()
    }

    pub(super) fn all_complete(&self) -> bool {
        self.healthy_complete() && self.healthy.len() == self.terminals
    }

    pub(super) fn factor(&self) -> f64 {
        self.last.as_secs_f64() / self.floor.as_secs_f64()
    }

    pub(super) fn copies(&self) -> f64 {
        self.copies
    }

    pub(super) fn upstream_copies(&self) -> f64 {
        self.upstream_copies
    }

    pub(super) fn first_byte(&self) -> Duration {
        self.first
    }

    pub(super) fn last(&self) -> Duration {
        self.last
    }

    pub(super) fn branch_done(&self) -> Duration {
        self.branch_done
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "last terminal {:.2} s = {:.3} of the floor, ", self.last.as_secs_f64(), self.factor())?;
        write!(f, "{:.3} copies, first byte {:.3} s", self.copies, self.first.as_secs_f64())?;
        if !self.branch_done.is_zero() {
            write!(f, ", branch {:.2} s", self.branch_done.as_secs_f64())?;
        }
        if !self.incomplete.is_empty() {
            write!(f, ", incomplete: {:?} of {:?}", self.incomplete, self.healthy)?;
        }
        Ok(())
    }
}
