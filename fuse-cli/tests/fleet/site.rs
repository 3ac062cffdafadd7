//! A live control plane in this process, and the program `fuse` beside it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fuse_orchestrator::provider::stub::StubConnector;
use fuse_orchestrator::{ControlPlane, HostRegistration, secrets::SecretString};
use fuse_server::{ApiConfig, Listener, router};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// The master token.
pub(crate) const TOKEN: &str = "the-master-token-of-the-cli-tests";

/// A control plane on a free port, whose host is a stub, and a home for the user of `fuse`.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) home: TempDir,
    pub(crate) plane: ControlPlane,
    /// Hosts whose faults a test can choose; the one that environments go to is `default`.
    pub(crate) stub: Arc<StubConnector>,
    runtime: Runtime,
    stop: CancellationToken,
}

/// What a command did.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// Checks the exit code.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.out, self.err))
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("fuse prints text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Site {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let stop = CancellationToken::new();
        let stub = Arc::new(StubConnector::new());
        let (plane, url) = runtime.block_on(async {
            let host = HostRegistration { url: "stub://default".to_owned(), ..HostRegistration::default() };
            let builder = ControlPlane::builder().connector("stub", stub.clone()).default_host(host);
            let plane = builder.open().await.unwrap();
            let config = ApiConfig { auth_token: Some(SecretString::from(TOKEN)), ..ApiConfig::default() };
            let listener = Listener::bind("127.0.0.1", 0, 1_000).await.unwrap();
            let url = format!("http://{}", listener.address().unwrap());
            tokio::spawn(listener.serve(router(plane.clone(), config), stop.clone(), Duration::from_secs(1)));
            (plane, url)
        });
        Self { url, home: tempfile::tempdir().unwrap(), plane, stub, runtime, stop }
    }

    /// The program, for this control plane.
    pub(crate) fn command(&self) -> Command {
        let mut command = bare(self.home.path());
        command.env("FUSE_URL", &self.url).env("FUSE_TOKEN", TOKEN);
        command
    }

    /// Runs `fuse` with these words, split at spaces.
    pub(crate) fn fuse(&self, words: &str) -> Done {
        self.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        self.command().args(arguments).output().unwrap().into()
    }

    /// Does something with the control plane itself.
    pub(crate) fn plane<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Runs `fuse` with these words on a terminal, which `script` makes, and types `keys`. None where there is no
    /// `script`.
    pub(crate) fn on_a_terminal(&self, words: &str, keys: &str) -> Option<Done> {
        let program = self.command().get_program().to_owned();
        let line = format!("{} {words}", program.display());
        let mut script = Command::new("script");
        script.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.home.path()).env("TERM", "xterm");
        script.env("FUSE_URL", &self.url).env("FUSE_TOKEN", TOKEN).args(["-qec", &line, "/dev/null"]);
        let child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            eprintln!("there is no `script` here to make a terminal");
            return None;
        };
        // Kept open until the program has ended: its end would be the end of the terminal.
        let mut keyboard = child.stdin.take().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        drop(keyboard);
        Some(done.into())
    }

    /// A running environment.
    pub(crate) fn create(&self, task: &str) -> String {
        let made = self.run(&["environment", "create", "--task-id", task, "-o", "json"]).exits(0).json();
        made["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
        let plane = self.plane.clone();
        let _ = self.runtime.block_on(async move { plane.close().await });
    }
}

/// The program, with nothing of this user's environment.
pub(crate) fn bare(home: &Path) -> Command {
    let program = std::env::var_os("FUSE_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_fuse").into());
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}
