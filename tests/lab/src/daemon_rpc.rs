//! What a transmission-daemon of the lab says of itself, asked in its own namespace: its RPC listens on loopback.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::LabError;
use crate::exec::Tool;
use crate::lab::Lab;
use crate::part::Place;
use crate::sites::{RPC_URL, RPC_USER};

/// A daemon's RPC.
#[derive(Debug, Clone)]
pub struct DaemonRpc {
    namespace: String,
    password_file: PathBuf,
}

impl DaemonRpc {
    /// The daemon whose configuration lies in `folder`.
    pub(crate) fn new(namespace: &str, folder: &Path) -> Self {
        Self { namespace: namespace.to_owned(), password_file: folder.join("transmission-password") }
    }

    /// Calls a method of the RPC; returns its arguments.
    ///
    /// # Errors
    /// The daemon does not answer, or does not say `success`.
    pub async fn call(&self, method: &str, arguments: Value) -> Result<Value, LabError> {
        let password = std::fs::read_to_string(&self.password_file);
        let password = password.map_err(LabError::file("read", &self.password_file))?;
        let user = format!("{RPC_USER}:{}", password.trim());
        let common = ["-sS", "-m", "20", "--noproxy", "*", "-u", user.as_str()];
        let greeted = Tool::in_namespace(&self.namespace, "curl").args(common).args(["-D", "-", "-o", "/dev/null"]);
        let headers = greeted.arg(RPC_URL).run_async().await?;
        let fail = |why: String| LabError::Api { method: "POST", url: format!("{RPC_URL} ({method})"), why };
        let session = headers.lines().find(|line| line.to_ascii_lowercase().starts_with("x-transmission-session-id:"));
        let session = session.ok_or_else(|| fail(format!("no session id in {headers:?}")))?.trim().to_owned();
        let body = json!({ "method": method, "arguments": arguments }).to_string();
        let call = Tool::in_namespace(&self.namespace, "curl").args(common).args(["-H", &session, "--data", "@-"]);
        let text = call.arg(RPC_URL).run_fed(body).await?;
        let mut answer: Value = serde_json::from_str(&text).map_err(|e| fail(format!("{e} in {text:.200}")))?;
        if answer["result"] != "success" {
            return Err(fail(answer["result"].to_string()));
        }
        Ok(answer["arguments"].take())
    }

    /// These fields of the torrent with this hash, or null if the daemon does not have it.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn torrent(&self, hash: &str, fields: &[&str]) -> Result<Value, LabError> {
        let mut answer = self.call("torrent-get", json!({ "ids": [hash], "fields": fields })).await?;
        Ok(answer["torrents"].get_mut(0).map_or(Value::Null, Value::take))
    }
}

impl Lab {
    /// The RPC of a place's daemon.
    ///
    /// # Errors
    /// The place does not exist.
    pub fn daemon_rpc(&self, place: &Place) -> Result<DaemonRpc, LabError> {
        let folder = match place {
            Place::HeadOffice => &self.head_office.folder,
            Place::Branch(name) => &self.site(name)?.folder,
            Place::Terminal(name) => &self.terminal(name)?.machine.folder,
        };
        Ok(DaemonRpc::new(&self.namespace(place)?, folder))
    }
}
