//! The firewall rules of opentracker-conf/, loaded at every place of the lab as Ansible and the packages load them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use swarm::DaemonOptions;
use swarm::tracker::{ConfError, render_peer_firewall, render_tracker_firewall};

use crate::error::LabError;
use crate::exec::{Tool, blocking};
use crate::lab::Lab;
use crate::net::Net;
use crate::recipe::write;
use crate::sites::{Site, TRACKER_PORT};
use crate::terminal::Terminal;

impl Site {
    /// Lets only this site's machines announce, and exchange pieces only with the networks that are its own.
    pub(crate) fn load_firewall(&self) -> Result<(), LabError> {
        let wan = (Net::head_office_wan_address(), 24);
        let lan = (Net::branch_lan_address(self.number), 24);
        let head_office = (Net::head_office_wan_address(), 32);
        let (sources, peers) =
            if self.number == 0 { (vec![wan], vec![wan]) } else { (vec![lan], vec![lan, head_office]) };
        load(&self.namespace, &self.folder.join("tracker.nft"), render_tracker_firewall(TRACKER_PORT, &sources))?;
        load_peers(&self.namespace, &self.folder, &peers)
    }
}

impl Lab {
    /// Loads the rules of every site and terminal, before any daemon listens.
    pub(crate) async fn load_firewalls(&self) -> Result<(), LabError> {
        let sites: Vec<Site> = self.sites().cloned().collect();
        let terminals: Vec<Arc<Terminal>> = self.terminals.values().cloned().collect();
        blocking("load the firewalls", move || {
            sites.iter().try_for_each(Site::load_firewall)?;
            terminals.iter().try_for_each(|t| load_terminal_firewall(&t.namespace, &t.machine.folder, t.branch))
        })
        .await
    }
}

/// Lets a terminal exchange pieces with its branch's LAN only.
fn load_terminal_firewall(namespace: &str, folder: &Path, branch: usize) -> Result<(), LabError> {
    load_peers(namespace, folder, &[(Net::branch_lan_address(branch), 24)])
}

fn load_peers(namespace: &str, folder: &Path, peers: &[(Ipv4Addr, u8)]) -> Result<(), LabError> {
    load(namespace, &folder.join("peers.nft"), render_peer_firewall(DaemonOptions::default().peer_port, peers))
}

fn load(namespace: &str, file: &Path, rules: Result<String, ConfError>) -> Result<(), LabError> {
    let rules = rules.map_err(|e| LabError::Content { path: file.to_owned(), why: e.to_string() })?;
    write(file, rules)?;
    Tool::in_namespace(namespace, "nft").arg("-f").arg(file).run().map(drop)
}
