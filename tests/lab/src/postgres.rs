//! PostgreSQL clusters: one for head office, one a branch, as in life.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use service_kit::users;

use crate::error::LabError;
use crate::exec::{Tool, blocking};
use crate::recipe::{Recipe, write};

/// A cluster of the lab.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// Its folder, outside the source tree: its user must be able to reach it.
    pub(crate) folder: PathBuf,
    /// The role that owns the database.
    pub(crate) user: String,
    /// The role's password.
    pub(crate) password: String,
    /// The database.
    pub(crate) database: String,
}

/// PostgreSQL's programs and its unprivileged user.
#[derive(Debug, Clone)]
pub(crate) struct Postgres {
    bin: PathBuf,
    owner: &'static str,
}

impl Postgres {
    /// The newest installed PostgreSQL; it refuses to run as root.
    pub(crate) fn find() -> Result<Self, LabError> {
        let missing = LabError::ToolMissing { tool: "postgres" };
        let entries = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = entries
            .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin"))))
            .filter(|(_, bin)| bin.join("initdb").exists())
            .collect();
        versions.sort();
        let bin = versions.pop().ok_or(missing)?.1;
        let found = users::find("postgres").map_err(LabError::file("read", users::PASSWD))?;
        let owner = if found.is_some() { "postgres" } else { "nobody" };
        Ok(Self { bin, owner })
    }

    /// Makes one cluster that all others are copied from: initdb is slow, a copy is not.
    pub(crate) async fn template(&self, folder: &Path) -> Result<(), LabError> {
        create_dir(folder)?;
        self.own(folder)?;
        let args =
            ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--auth-host=scram-sha-256"];
        let initdb = self.as_owner(&self.bin.join("initdb")).args(args).arg("--auth-local=peer").arg("--pgdata");
        initdb.arg(folder.join("data")).current_dir(folder).run_async().await.map(drop)
    }

    fn as_owner(&self, program: &Path) -> Tool {
        Tool::new("runuser").args(["-u", self.owner, "--"]).arg(program)
    }

    fn own(&self, folder: &Path) -> Result<(), LabError> {
        Tool::new("chown").args(["-R", self.owner]).arg(folder).run().map(drop)
    }

    /// A cluster from the template, with a role and a database of its own.
    pub(crate) async fn create(&self, template: &Path, folder: &Path, name: &str) -> Result<Cluster, LabError> {
        let cluster = Cluster {
            folder: folder.to_owned(),
            user: name.to_owned(),
            password: hex::encode(rand::random::<[u8; 16]>()),
            database: name.to_owned(),
        };
        let (this, template, made) = (self.clone(), template.to_owned(), cluster.clone());
        blocking("make a cluster", move || this.fill(&template, &made)).await?;
        Ok(cluster)
    }

    fn fill(&self, template: &Path, cluster: &Cluster) -> Result<(), LabError> {
        Tool::new("cp").arg("-a").arg(template).arg(&cluster.folder).run()?;
        let data = cluster.folder.join("data");
        // Password logins over loopback, as a real installation has them.
        let hba = "local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\nlocal all all scram-sha-256\n";
        write(&data.join("pg_hba.conf"), hba)?;
        let settings = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = 5432\nunix_socket_directories = '{}'\nshared_buffers = 24MB\n\
             max_connections = 40\nfsync = off\ndynamic_shared_memory_type = mmap\nmax_wal_size = 64MB\nmin_wal_size = 32MB\n\
             logging_collector = off\n",
            cluster.folder.display()
        );
        append(&data.join("postgresql.conf"), &settings)?;
        // Single-user mode needs no server, so the cluster is ready before it is first started. With -j a statement
        // ends at an empty line.
        let sql = format!(
            "CREATE ROLE \"{0}\" LOGIN PASSWORD '{1}';\n\nCREATE DATABASE \"{2}\" OWNER \"{0}\";\n\n",
            cluster.user, cluster.password, cluster.database
        );
        let script = cluster.folder.join("create.sql");
        write(&script, sql)?;
        self.own(&cluster.folder)?;
        let (server, data, file) = (self.bin.join("postgres"), data.display(), script.display());
        let single = format!("exec '{}' --single -j -D '{data}' postgres <'{file}'", server.display());
        let single = Tool::new("runuser").args(["-u", self.owner, "--", "sh", "-c", &single]);
        single.current_dir(&cluster.folder).run()?;
        std::fs::remove_file(&script).map_err(LabError::file("remove", &script))
    }

    /// How a cluster's server is started in a namespace.
    pub(crate) fn recipe(&self, cluster: &Cluster, namespace: &str) -> Recipe {
        let mut recipe = Recipe::new(namespace, "setpriv")
            .args(["--reuid", self.owner, "--regid", self.owner_group(), "--clear-groups", "--"])
            .args([self.bin.join("postgres").into_os_string(), "-D".into()])
            .args([cluster.folder.join("data")]);
        // "Fast": roll back and end, instead of waiting for every client.
        recipe.end = Signal::INT;
        recipe
    }

    fn owner_group(&self) -> &'static str {
        if self.owner == "postgres" { "postgres" } else { "nogroup" }
    }

    /// Whether a cluster's server answers.
    pub(crate) fn is_ready(&self, cluster: &Cluster) -> bool {
        let ready = Tool::new(self.bin.join("pg_isready")).arg("--quiet").arg("--host").arg(&cluster.folder);
        ready.output().is_ok_and(|o| o.status.success())
    }
}

fn create_dir(path: &Path) -> Result<(), LabError> {
    std::fs::create_dir_all(path).map_err(LabError::file("create", path))
}

fn append(path: &Path, text: &str) -> Result<(), LabError> {
    let mut whole = std::fs::read(path).map_err(LabError::file("read", path))?;
    whole.extend_from_slice(text.as_bytes());
    write(path, whole)
}
