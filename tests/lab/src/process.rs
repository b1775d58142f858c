//! The lab's long-lived processes: started in their namespace with a log each, ended by process id.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;

use crate::clocks::Clocks;
use crate::error::LabError;
use crate::exec::{Tool, tail_file};
use crate::part::Part;
use crate::proc::Identity;
use crate::recipe::{Recipe, write};

/// How long a part may take to end when it is asked to.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// What became of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartState {
    /// It runs.
    Running,
    /// It runs, but was told to stand still.
    Stopped,
    /// The lab ended it.
    Killed,
    /// It ended unexpectedly.
    Ended(String),
}

impl std::fmt::Display for PartState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Running => f.pad("running"),
            Self::Stopped => f.pad("stopped"),
            Self::Killed => f.pad("ended by the lab"),
            Self::Ended(status) => f.pad(&format!("ended unexpectedly ({status})")),
        }
    }
}

#[derive(Debug)]
struct Process {
    recipe: Recipe,
    identity: Identity,
    log: PathBuf,
    /// The lab is ending it: its end is no surprise.
    ending: bool,
    stopped: bool,
    /// Its end, should it come, is not judged yet by what follows it.
    followed: bool,
    /// None while it runs.
    ended: watch::Receiver<Option<String>>,
}

/// All of a lab's processes.
#[derive(Debug, Clone)]
pub(crate) struct Processes {
    logs: PathBuf,
    /// The places' clocks, if they can be set.
    clocks: Option<Clocks>,
    all: Arc<Mutex<All>>,
}

#[derive(Debug, Default)]
struct All {
    parts: BTreeMap<Part, Process>,
    /// Nothing may be started any more.
    closed: bool,
}

impl Processes {
    pub(crate) fn new(logs: &Path, clocks: Option<Clocks>) -> Self {
        Self { logs: logs.to_owned(), clocks, all: Arc::default() }
    }

    /// The places' clocks.
    pub(crate) fn clocks(&self) -> Result<&Clocks, LabError> {
        let fixed = || LabError::Options("this lab's clocks cannot be set: start it with `clocks`".into());
        self.clocks.as_ref().ok_or_else(fixed)
    }

    /// Lets nothing more be started, so that what is ended stays ended.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // A panic while holding it leaves a map that is still right.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a part, unless it runs. Its log is appended to, so that restarts stay in one file.
    pub(crate) fn start(&self, part: &Part, recipe: Recipe) -> Result<(), LabError> {
        self.launch(part, recipe, false)
    }

    /// Starts a part that ended by itself, and none that the lab ended.
    pub(crate) fn begin_again(&self, part: &Part, recipe: Recipe) -> Result<(), LabError> {
        self.launch(part, recipe, true)
    }

    fn launch(&self, part: &Part, recipe: Recipe, again: bool) -> Result<(), LabError> {
        let log = self.logs.join(part.log_name());
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let file = file.map_err(LabError::file("open", &log))?;
        let second = file.try_clone().map_err(LabError::file("open", &log))?;
        let clocked = match &self.clocks {
            Some(clocks) => clocks.wrap(part, &recipe)?,
            None => None,
        };
        let mut tool = match clocked {
            None => {
                let mut words = recipe.user.iter().map(OsString::from).chain([recipe.program.clone().into_os_string()]);
                let first = words.next().unwrap_or_default();
                Tool::in_namespace(&recipe.namespace, first).args(words).args(&recipe.args)
            }
            Some((words, environment)) => {
                let tool = Tool::in_namespace(&recipe.namespace, "sh").args(words);
                environment.into_iter().fold(tool, |tool, (key, value)| tool.env(key, value))
            }
        };
        for (key, value) in &recipe.env {
            tool = tool.env(key, value);
        }
        let mut command = tokio::process::Command::from(tool.into_command());
        // A group of its own: Ctrl-C at the terminal reaches the lab alone, which then ends the parts in order.
        command.stdout(Stdio::from(file)).stderr(Stdio::from(second)).process_group(0);
        let mut all = self.lock();
        if all.closed {
            return Err(LabError::Options("the lab is ending".into()));
        }
        let before = all.parts.get(part);
        // Two that want it to run (a fault that is lifted, a terminal that comes up) get one process.
        if before.is_some_and(|p| p.ended.borrow().is_none()) || (again && before.is_some_and(|p| p.ending)) {
            return Ok(());
        }
        let spawn = |source| LabError::Spawn { command: recipe.program.display().to_string(), source };
        let mut child = command.spawn().map_err(spawn)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let identity = pid.and_then(Identity::of).ok_or_else(|| LabError::NotRunning(part.to_string()))?;
        if let Some(path) = &recipe.pid_file {
            write(path, format!("{}\n", identity.pid))?;
        }
        let (said, ended) = watch::channel(None);
        tokio::spawn(async move {
            let status = child.wait().await.map_or_else(|e| e.to_string(), |s| s.to_string());
            said.send_replace(Some(status));
        });
        let followed = recipe.followed;
        let process = Process { recipe, identity, log, ending: false, stopped: false, followed, ended };
        all.parts.insert(part.clone(), process);
        Ok(())
    }

    /// Starts a part again as it was started before.
    pub(crate) fn start_again(&self, part: &Part) -> Result<(), LabError> {
        let recipe = self.recipe(part)?;
        if self.state(part)? == PartState::Running {
            return Ok(());
        }
        self.start(part, recipe)
    }

    /// How a part was started.
    pub(crate) fn recipe(&self, part: &Part) -> Result<Recipe, LabError> {
        self.with(part, |p| p.recipe.clone())
    }

    fn with<T>(&self, part: &Part, f: impl FnOnce(&mut Process) -> T) -> Result<T, LabError> {
        self.lock().parts.get_mut(part).map(f).ok_or_else(|| LabError::NoSuchPart(part.to_string()))
    }

    /// Whether a part runs; what begins again in a moment does not.
    pub(crate) fn has_ended(&self, part: &Part) -> Result<bool, LabError> {
        self.with(part, |p| p.ended.borrow().is_some())
    }

    /// Waits until a part ended, by whomever.
    pub(crate) async fn ended(&self, part: &Part) -> Result<(), LabError> {
        let mut ended = self.with(part, |p| p.ended.clone())?;
        // An error means that it is gone already.
        let _ = ended.wait_for(Option::is_some).await;
        Ok(())
    }

    /// A part that ended does not begin again by itself: its end counts.
    pub(crate) fn stays_ended(&self, part: &Part) -> Result<(), LabError> {
        self.with(part, |p| p.followed &= p.ended.borrow().is_none())
    }

    /// Ends a part and what it started: asked to, waited for, and after `patience` killed.
    pub(crate) async fn end(&self, part: &Part, patience: Duration) -> Result<(), LabError> {
        let (identity, signal, ended) = self.with(part, |p| {
            p.ending = true;
            (p.identity, p.recipe.end, p.ended.clone())
        })?;
        if ended.borrow().is_some() {
            return Ok(());
        }
        identity.signal(Signal::CONT);
        identity.signal(signal);
        let mut watched = ended.clone();
        if tokio::time::timeout(patience, watched.wait_for(Option::is_some)).await.is_err() {
            self.kill(part).await?;
        }
        Ok(())
    }

    /// Kills a part and what it started (as a service manager does), and waits until it is gone.
    pub(crate) async fn kill(&self, part: &Part) -> Result<(), LabError> {
        let (identity, mut ended) = self.with(part, |p| {
            p.ending = true;
            (p.identity, p.ended.clone())
        })?;
        let tree = identity.tree();
        for process in &tree {
            process.signal(Signal::KILL);
        }
        // The task that waits for it cannot outlive the kill by much; an error means that it is gone already.
        let _ = ended.wait_for(Option::is_some).await;
        // What it started is gone a moment later: a database does not start while an old backend has its memory.
        while tree.iter().any(|p| p.is_alive()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Stops or continues a part and what it started.
    pub(crate) fn stop(&self, part: &Part, stopped: bool) -> Result<(), LabError> {
        let identity = self.with(part, |p| {
            p.stopped = stopped;
            p.identity
        })?;
        let signal = if stopped { Signal::STOP } else { Signal::CONT };
        let sent = identity.tree().into_iter().filter(|p| p.signal(signal)).count();
        if sent == 0 { Err(LabError::NotRunning(part.to_string())) } else { Ok(()) }
    }

    pub(crate) fn signal(&self, part: &Part, signal: Signal) -> Result<(), LabError> {
        let identity = self.with(part, |p| p.identity)?;
        if identity.signal(signal) { Ok(()) } else { Err(LabError::NotRunning(part.to_string())) }
    }

    pub(crate) fn pid(&self, part: &Part) -> Result<i32, LabError> {
        self.with(part, |p| p.identity.pid)
    }

    pub(crate) fn state(&self, part: &Part) -> Result<PartState, LabError> {
        self.with(part, |p| p.state())
    }

    pub(crate) fn log(&self, part: &Part) -> Result<PathBuf, LabError> {
        self.with(part, |p| p.log.clone())
    }

    /// Whether the end of this part, should it come, is the lab's doing. What ended already stays as it is.
    pub(crate) fn excuse(&self, part: &Part, excused: bool) -> Result<(), LabError> {
        self.with(part, |p| {
            if p.ended.borrow().is_none() {
                p.ending = excused;
            }
        })
    }

    /// Every part that was ever started.
    pub(crate) fn parts(&self) -> Vec<Part> {
        self.lock().parts.keys().cloned().collect()
    }

    /// An error if some part ended without being told to.
    pub(crate) fn check(&self) -> Result<(), LabError> {
        for (part, process) in self.lock().parts.iter() {
            if let PartState::Ended(status) = process.state() {
                let (log, tail) = (process.log.clone(), tail_file(&process.log, 15));
                return Err(LabError::Ended { part: part.to_string(), status, log, tail });
            }
        }
        Ok(())
    }

    /// One line a part: state and log.
    pub(crate) fn describe(&self) -> String {
        let line = |(part, p): (&Part, &Process)| format!("  {part:<32} {:<18} {}", p.state(), p.log.display());
        self.lock().parts.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Process {
    fn state(&self) -> PartState {
        match self.ended.borrow().as_ref() {
            Some(_) if self.ending => PartState::Killed,
            Some(_) if self.followed => PartState::Running,
            Some(status) => PartState::Ended(status.clone()),
            None if self.stopped => PartState::Stopped,
            None => PartState::Running,
        }
    }
}
