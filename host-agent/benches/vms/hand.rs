//! What both VMMs have in common when they are driven by hand.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use fuse_guest_protocol::{Token, client::Client, verb::Renew};
use fuse_host_agent::{store::FileRecord, system::Process};
use tokio::process::{Child, Command};

/// What memory is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Full,
    Diff,
}

/// A VMM that is driven with its own API, without an agent of this project.
pub(crate) trait Hand: Clone + Send + Sync + 'static {
    /// Boots a VM and waits for its agent's answer.
    fn boot(&self) -> impl Future<Output = HandVm> + Send;
    /// Saves a VM into its directory and lets it go on; the names of the files.
    fn save(&self, vm: &HandVm, kind: Kind) -> impl Future<Output = Vec<&'static str>> + Send;
    /// Makes a VM that goes on where the one in `from` was saved, and waits for its agent's answer. It is the same as the
    /// one that was saved then: in name, machine id, random numbers, and time.
    fn restore(&self, from: &Path) -> impl Future<Output = HandVm> + Send;
}

/// A VM that runs; ended when dropped.
pub(crate) struct HandVm {
    pub(crate) dir: PathBuf,
    pub(crate) client: Option<Client>,
    child: Child,
}

impl HandVm {
    /// Starts a VMM in `dir`.
    pub(crate) fn start(dir: PathBuf, program: &str, arguments: &[String]) -> Self {
        let console = std::fs::File::create(dir.join("console.log")).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { dir, client: None, child }
    }

    /// A directory for a VM to be.
    pub(crate) fn place() -> PathBuf {
        tempfile::tempdir().unwrap().keep()
    }

    /// Resident memory, and the part of it that is its own.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let process = self.child.id().and_then(|pid| Process::of(i32::try_from(pid).unwrap()));
        process.map_or((0, 0), |process| process.memory())
    }

    /// Makes files that were saved durable with their names, and keeps their digests beside them, as
    /// `sha256sum FILES > SHA256SUMS` and `sync FILES SHA256SUMS .` do.
    pub(crate) async fn seal(&self, names: Vec<&'static str>) {
        let dir = self.dir.clone();
        let sealed = tokio::task::spawn_blocking(move || {
            let digest = |name: &&str| format!("{}  {name}\n", FileRecord::of(&dir, name).unwrap().sha256);
            let sums: String = names.iter().map(digest).collect();
            std::fs::write(dir.join("SHA256SUMS"), sums).unwrap();
            for name in names.into_iter().chain(["SHA256SUMS", "."]) {
                std::fs::File::open(dir.join(name)).unwrap().sync_all().unwrap();
            }
        });
        sealed.await.unwrap();
    }

    /// Makes a VM that was restored one of its own, as the agent has the guest do it too.
    pub(crate) async fn renew(&self) {
        let mut entropy = vec![0; 64];
        getrandom::fill(&mut entropy).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let renew = Renew {
            entropy,
            unix_ns: Some(i64::try_from(now.as_nanos()).unwrap()),
            vm_id: Some("vm-2".to_owned()),
            machine_id: true,
            network: None,
            token: Some(token()),
        };
        self.client.as_ref().unwrap().call(&renew).await.unwrap();
    }

    /// Ends its VMM; what was saved of it stays.
    pub(crate) async fn stop(mut self) -> Self {
        let _ = self.child.kill().await;
        self.client = None;
        self
    }

    /// Ends it and waits until it is gone.
    pub(crate) async fn end(mut self) {
        let _ = self.child.kill().await;
    }
}

impl Drop for HandVm {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The token of all guests here: as long as the agent's, for a guest that is interpreted takes a while for each byte.
pub(crate) fn token() -> Token {
    Token::new(&"5eed".repeat(16)).unwrap()
}

/// A pause between two looks.
pub(crate) async fn soon() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
