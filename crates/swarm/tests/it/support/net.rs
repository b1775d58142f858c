//! A throw-away network: namespaces on one bridge, with no way out. Needs root.

use std::fs::File;
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Runtime;

const PREFIX: &str = "fsw";
static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// `program`, to be run in a namespace if one is named. `ip netns exec` becomes the program: its pid is the child's.
pub fn command(namespace: Option<&str>, program: &str) -> Command {
    match namespace {
        None => Command::new(program),
        Some(namespace) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace, program]);
            command
        }
    }
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One machine of the network.
pub struct Node {
    pub name: String,
    pub address: Ipv4Addr,
    runtime: Runtime,
}

impl Node {
    fn new(name: String, address: Ipv4Addr) -> Self {
        let path = Path::new("/run/netns").join(&name);
        // A socket belongs to the namespace of the thread that makes it, so tasks run on threads that moved there.
        let enter = move || {
            let namespace = File::open(&path).unwrap();
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network)).unwrap();
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().on_thread_start(enter).build();
        Self { name, address, runtime: runtime.unwrap() }
    }

    /// Runs `future` on this machine.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let task = self.runtime.spawn(future);
        match self.runtime.block_on(task) {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Machines 10.77.0.1 (the hub, with the bridge), 10.77.0.2 and so on.
pub struct Network {
    pub nodes: Vec<Node>,
    names: Vec<String>,
}

impl Network {
    pub fn new(count: u8) -> Self {
        sweep();
        // Tests of one process may each have a network.
        let this = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let name = |n: u8| format!("{PREFIX}{}-{this}-{n}", std::process::id());
        let mut network = Self { nodes: Vec::new(), names: Vec::new() };
        for n in 1..=count {
            let this = name(n);
            ip(&format!("netns add {this}"));
            network.names.push(this.clone());
            ip(&format!("-n {this} link set lo up"));
            let hub = name(1);
            if n == 1 {
                ip(&format!("-n {hub} link add br0 type bridge"));
                ip(&format!("-n {hub} addr add 10.77.0.1/24 dev br0"));
                ip(&format!("-n {hub} link set br0 up"));
            } else {
                ip(&format!("-n {hub} link add v{n} type veth peer name eth0 netns {this}"));
                ip(&format!("-n {hub} link set v{n} master br0 up"));
                ip(&format!("-n {this} addr add 10.77.0.{n}/24 dev eth0"));
                ip(&format!("-n {this} link set eth0 up"));
            }
            network.nodes.push(Node::new(this, Ipv4Addr::new(10, 77, 0, n)));
        }
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// Deletes what a test that was killed left behind: its namespaces carry its process id.
fn sweep() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid.to_owned());
        if owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}
