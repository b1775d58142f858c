//! A branch's LAN for the peer, laid out as the lab lays out ours: a server with a bridge, clients on it, the server's
//! uplink shaped, clients among themselves as fast as the machine.

use anyhow::{Context, Result};
use lab::Rate;
use rustix::process::{Pid, Signal, kill_process};

use crate::exec::{Tool, run_now};
use crate::scratch::gone;

/// Namespaces begin with this, the process id and a hyphen.
const PREFIX: &str = "fb";

/// The namespaces of one LAN, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Lan {
    clients: usize,
}

async fn ip(args: &str) -> Result<()> {
    Tool::new("ip").args(args.split_whitespace()).run().await.map(drop)
}

impl Lan {
    /// The server's address.
    pub(crate) const SERVER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 79, 1, 1);

    /// Lays it out.
    pub(crate) async fn build(clients: usize, uplink: Rate) -> Result<Self> {
        anyhow::ensure!(rustix::process::geteuid().is_root(), "network namespaces need root: run it as root");
        // From here on, an error drops it and removes what is there.
        let this = Self { clients };
        let server = this.server();
        namespace(&server).await?;
        ip(&format!("-n {server} link add lan0 type bridge forward_delay 0 mcast_snooping 0")).await?;
        ip(&format!("-n {server} link set lan0 up")).await?;
        ip(&format!("-n {server} addr add {}/24 dev lan0", Self::SERVER)).await?;
        for number in 1..=clients {
            let client = this.client(number);
            namespace(&client).await?;
            ip(&format!("link add eth0 netns {client} type veth peer name c{number} netns {server}")).await?;
            ip(&format!("-n {server} link set c{number} master lan0 up")).await?;
            ip(&format!("-n {client} addr add 10.79.1.{}/24 dev eth0", 10 + number)).await?;
            ip(&format!("-n {client} link set eth0 up")).await?;
        }
        // The same bucket as the lab's.
        let bucket = format!("rate {}bit burst {} latency 100ms", uplink.bits(), uplink.burst());
        let shape = format!("-n {server} qdisc replace dev lan0 root tbf {bucket}");
        Tool::new("tc").args(shape.split_whitespace()).run().await?;
        Ok(this)
    }

    /// The server's namespace.
    pub(crate) fn server(&self) -> String {
        format!("{PREFIX}{}-s", std::process::id())
    }

    /// A client's namespace, numbered from 1.
    pub(crate) fn client(&self, number: usize) -> String {
        format!("{PREFIX}{}-c{number}", std::process::id())
    }

    /// All clients' namespaces.
    pub(crate) fn clients(&self) -> impl Iterator<Item = String> {
        (1..=self.clients).map(|number| self.client(number))
    }

    /// Bytes that the server sent into the LAN so far, as the kernel counts them.
    pub(crate) async fn server_sent(&self) -> Result<u64> {
        let counter = "/sys/class/net/lan0/statistics/tx_bytes";
        let text = Tool::in_namespace(&self.server(), "cat").arg(counter).run().await?;
        text.trim().parse().with_context(|| format!("{counter} holds no number: {text:?}"))
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let mine = format!("{PREFIX}{}-", std::process::id());
        remove(|name| name.starts_with(&mine));
    }
}

async fn namespace(name: &str) -> Result<()> {
    ip(&format!("netns add {name}")).await?;
    ip(&format!("-n {name} link set lo up")).await?;
    // IPv6 only adds chatter to the byte counters.
    let quiet = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    Tool::in_namespace(name, "sh").args(["-c", quiet]).run().await.map(drop)
}

/// Removes the namespaces of runs whose process is gone.
pub(crate) fn remove_left() {
    remove(|name| gone(name, PREFIX).is_some());
}

/// Best effort, and told: a run that cannot remove something must not fail for it.
fn remove(which: impl Fn(&str) -> bool) {
    let list = run_now("ip", &["netns", "list"]).unwrap_or_default();
    for name in list.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| which(name)) {
        let pids = run_now("ip", &["netns", "pids", name]).unwrap_or_default();
        for pid in pids.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            // Gone already if this fails.
            let _ = kill_process(pid, Signal::KILL);
        }
        if let Err(e) = run_now("ip", &["netns", "delete", name]) {
            crate::say::say(format_args!("the namespace {name} is left behind: {e:#}"));
        }
    }
}
