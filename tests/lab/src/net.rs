//! The networks: head office, a WAN, branches with a LAN each, terminals. All in namespaces of the lab's own.
//!
//! ```text
//! host ── 198.18.LAB.0/24, a veth each ──▶ head office, branches (for people and the lab itself)
//! head office 10.77.0.1 ── WAN bridge ══ tbf both ways ══ branch B 10.77.0.(10+B)
//! branch B 10.78.B.1 on its LAN bridge ── terminal T 10.78.B.(10+T): one link, no default route, no forwarding
//!                                      ── virtual machine V 10.78.B.(170+V) by a tap in the branch's namespace
//! ```

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::LabError;
use crate::exec::Tool;
use crate::rate::Rate;

/// Most branches: one byte of an address, and 64 management links a lab.
pub const MAX_BRANCHES: usize = 62;
/// Most terminals in a branch.
pub const MAX_TERMINALS: usize = 150;
/// Most terminals in a branch that are virtual machines.
pub const MAX_VMS: usize = 20;

/// Bytes that passed a branch's interfaces since the lab began, as the kernel counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Received from the WAN.
    pub wan_rx_bytes: u64,
    /// Sent to the WAN.
    pub wan_tx_bytes: u64,
    /// Received by the branch server from its LAN.
    pub lan_rx_bytes: u64,
    /// Sent by the branch server to its LAN; what terminals send each other is not in it.
    pub lan_tx_bytes: u64,
}

/// The laid-out networks. Branches and terminals are numbered from 1.
#[derive(Debug)]
pub(crate) struct Net {
    prefix: String,
    lab: u8,
    /// Held while something is built; true once nothing may be built any more.
    closed: Mutex<bool>,
}

fn ip(args: &str) -> Result<(), LabError> {
    Tool::new("ip").args(args.split_whitespace()).run().map(drop)
}

fn octet(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

impl Net {
    pub(crate) fn new(prefix: &str, lab: u8) -> Self {
        Self { prefix: prefix.to_owned(), lab, closed: Mutex::new(false) }
    }

    fn open(&self) -> Result<MutexGuard<'_, bool>, LabError> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed { Err(LabError::Options("the lab is ending".into())) } else { Ok(closed) }
    }

    /// Waits for what is being built and lets nothing more be built, so that what is removed stays removed.
    pub(crate) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Head office's namespace.
    pub(crate) fn head_office(&self) -> String {
        format!("{}-ho", self.prefix)
    }

    /// The namespace that holds the WAN's bridge.
    pub(crate) fn wan(&self) -> String {
        format!("{}-wan", self.prefix)
    }

    /// A branch's namespace.
    pub(crate) fn branch(&self, branch: usize) -> String {
        format!("{}-b{branch}", self.prefix)
    }

    /// A terminal's namespace.
    pub(crate) fn terminal(&self, branch: usize, terminal: usize) -> String {
        format!("{}-b{branch}t{terminal}", self.prefix)
    }

    /// A stranger's namespace on a branch's LAN.
    pub(crate) fn stranger(&self, branch: usize, number: usize) -> String {
        format!("{}-b{branch}x{number}", self.prefix)
    }

    pub(crate) fn head_office_wan_address() -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 1)
    }

    pub(crate) fn branch_wan_address(branch: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, octet(10 + branch))
    }

    pub(crate) fn branch_lan_address(branch: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, octet(branch), 1)
    }

    pub(crate) fn terminal_address(branch: usize, terminal: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, octet(branch), octet(10 + terminal))
    }

    pub(crate) fn stranger_address(branch: usize, number: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, octet(branch), octet(200 + number))
    }

    pub(crate) fn vm_address(branch: usize, number: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, octet(branch), octet(170 + number))
    }

    /// A virtual machine's hardware address, from the range that QEMU's makers set apart.
    pub(crate) fn vm_hardware_address(&self, branch: usize, number: usize) -> String {
        format!("52:54:00:{:02x}:{:02x}:{:02x}", self.lab, octet(branch), octet(number))
    }

    /// A virtual machine's port on its branch's LAN bridge.
    pub(crate) fn vm_port(number: usize) -> String {
        format!("v{number}")
    }

    /// Where the host finds head office (node 0) or a branch (its number). A lab has 256 addresses of the range
    /// that RFC 2544 sets apart for tests, a link has four.
    pub(crate) fn management_address(&self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.lab, octet(4 * node + 2))
    }

    fn namespace(name: &str) -> Result<(), LabError> {
        ip(&format!("netns add {name}"))?;
        ip(&format!("-n {name} link set lo up"))?;
        // IPv6 only adds chatter to the byte counters; forwarding would make routers of branches.
        let quiet = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; \
             echo 0 > /proc/sys/net/ipv6/conf/lo/disable_ipv6; echo 0 > /proc/sys/net/ipv4/ip_forward";
        Tool::in_namespace(name, "sh").args(["-c", quiet]).run().map(drop)
    }

    fn bridge(namespace: &str, name: &str) -> Result<(), LabError> {
        ip(&format!("-n {namespace} link add {name} type bridge forward_delay 0 mcast_snooping 0"))?;
        ip(&format!("-n {namespace} link set {name} up"))
    }

    /// A cable from a device of one namespace to a port of another's bridge.
    fn cable(from: &str, device: &str, address: &str, to: &str, port: &str, bridge: &str) -> Result<(), LabError> {
        ip(&format!("link add {device} netns {from} type veth peer name {port} netns {to}"))?;
        ip(&format!("-n {to} link set {port} master {bridge} up"))?;
        ip(&format!("-n {from} addr add {address} dev {device}"))?;
        ip(&format!("-n {from} link set {device} up"))
    }

    /// Sends packets as a real line carries them. Between namespaces the kernel hands over up to 64 KiB under one
    /// header, and the byte counters would leave out some 5 % that a real WAN carries.
    fn real_packets(namespace: &str, device: &str) -> Result<(), LabError> {
        ip(&format!("-n {namespace} link set {device} gso_max_segs 1"))
    }

    /// A cable from the host into a namespace, so that people can look around.
    fn management(&self, node: usize, namespace: &str) -> Result<(), LabError> {
        let last = 4 * node;
        let [a, b, c, _] = self.management_address(node).octets();
        ip(&format!("link add {namespace} type veth peer name host0 netns {namespace}"))?;
        ip(&format!("addr add {a}.{b}.{c}.{}/30 dev {namespace}", last + 1))?;
        ip(&format!("link set {namespace} up"))?;
        ip(&format!("-n {namespace} addr add {a}.{b}.{c}.{}/30 dev host0", last + 2))?;
        ip(&format!("-n {namespace} link set host0 up"))
    }

    /// Head office and the WAN.
    pub(crate) fn build_head_office(&self) -> Result<(), LabError> {
        let _open = self.open()?;
        let (ho, wan) = (self.head_office(), self.wan());
        Self::namespace(&wan)?;
        Self::bridge(&wan, "br0")?;
        Self::namespace(&ho)?;
        let address = format!("{}/24", Self::head_office_wan_address());
        Self::cable(&ho, "wan0", &address, &wan, "ho", "br0")?;
        Self::real_packets(&ho, "wan0")?;
        self.management(0, &ho)
    }

    /// A branch on the WAN, and its LAN.
    pub(crate) fn build_branch(&self, branch: usize, wan: Rate, lan: Option<Rate>) -> Result<(), LabError> {
        let _open = self.open()?;
        let name = self.branch(branch);
        Self::namespace(&name)?;
        let address = format!("{}/24", Self::branch_wan_address(branch));
        Self::cable(&name, "wan0", &address, &self.wan(), &format!("b{branch}"), "br0")?;
        Self::real_packets(&name, "wan0")?;
        Self::bridge(&name, "lan0")?;
        ip(&format!("-n {name} addr add {}/24 dev lan0", Self::branch_lan_address(branch)))?;
        self.management(branch, &name)?;
        self.set_wan_rate(branch, wan)?;
        lan.map_or(Ok(()), |rate| self.set_lan_rate(branch, rate))
    }

    /// A terminal on its branch's LAN.
    pub(crate) fn build_terminal(&self, branch: usize, terminal: usize) -> Result<(), LabError> {
        let _open = self.open()?;
        let name = self.terminal(branch, terminal);
        Self::namespace(&name)?;
        let address = format!("{}/24", Self::terminal_address(branch, terminal));
        Self::cable(&name, "eth0", &address, &self.branch(branch), &format!("t{terminal}"), "lan0")
    }

    /// A tap on a branch's LAN, for a virtual machine that runs in the branch's namespace. It goes with the namespace.
    pub(crate) fn build_vm(&self, branch: usize, number: usize) -> Result<(), LabError> {
        let _open = self.open()?;
        let (name, port) = (self.branch(branch), Self::vm_port(number));
        ip(&format!("-n {name} tuntap add dev {port} mode tap"))?;
        ip(&format!("-n {name} link set {port} master lan0 up"))
    }

    /// Adds a foreign machine to a branch's LAN.
    pub(crate) fn build_stranger(&self, branch: usize, number: usize) -> Result<(), LabError> {
        let _open = self.open()?;
        let name = self.stranger(branch, number);
        Self::namespace(&name)?;
        let address = format!("{}/24", Self::stranger_address(branch, number));
        Self::cable(&name, "eth0", &address, &self.branch(branch), &format!("x{number}"), "lan0")
    }

    /// Shapes a branch's WAN link, both ways.
    pub(crate) fn set_wan_rate(&self, branch: usize, rate: Rate) -> Result<(), LabError> {
        shape(&self.branch(branch), "wan0", rate)?;
        shape(&self.wan(), &format!("b{branch}"), rate)
    }

    /// Shapes what the branch server sends into its LAN. Terminals among themselves are as fast as the machine.
    pub(crate) fn set_lan_rate(&self, branch: usize, rate: Rate) -> Result<(), LabError> {
        shape(&self.branch(branch), "lan0", rate)
    }

    /// Pulls or plugs a branch's WAN cable.
    pub(crate) fn plug_wan(&self, branch: usize, plugged: bool) -> Result<(), LabError> {
        plug(&self.wan(), &format!("b{branch}"), plugged)
    }

    /// Pulls or plugs a terminal's cable.
    pub(crate) fn plug_terminal(&self, branch: usize, terminal: usize, plugged: bool) -> Result<(), LabError> {
        plug(&self.branch(branch), &format!("t{terminal}"), plugged)
    }

    /// Pulls or plugs a virtual machine's cable. The guest sees no difference: the tap is down, not its own link.
    pub(crate) fn plug_vm(&self, branch: usize, number: usize, plugged: bool) -> Result<(), LabError> {
        plug(&self.branch(branch), &Self::vm_port(number), plugged)
    }

    /// The byte counters of a branch's interfaces.
    pub(crate) fn counters(&self, branch: usize) -> Result<Counters, LabError> {
        let file = |device: &str, what: &str| format!("/sys/class/net/{device}/statistics/{what}_bytes");
        let files = [file("wan0", "rx"), file("wan0", "tx"), file("lan0", "rx"), file("lan0", "tx")];
        let text = Tool::in_namespace(&self.branch(branch), "cat").args(&files).run()?;
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let [wan_rx_bytes, wan_tx_bytes, lan_rx_bytes, lan_tx_bytes] = numbers[..] else {
            return Err(LabError::Content { path: files[0].clone().into(), why: format!("no counters in {text:?}") });
        };
        Ok(Counters { wan_rx_bytes, wan_tx_bytes, lan_rx_bytes, lan_tx_bytes })
    }
}

fn shape(namespace: &str, device: &str, rate: Rate) -> Result<(), LabError> {
    let tbf = format!(
        "-n {namespace} qdisc replace dev {device} root tbf rate {}bit burst {} latency 100ms",
        rate.bits(),
        rate.burst()
    );
    Tool::new("tc").args(tbf.split_whitespace()).run().map(drop)
}

fn plug(namespace: &str, port: &str, plugged: bool) -> Result<(), LabError> {
    ip(&format!("-n {namespace} link set {port} {}", if plugged { "up" } else { "down" }))
}
