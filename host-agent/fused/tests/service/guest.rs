//! A running agent.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use fuse_guest_protocol::{
    Token,
    client::{Client, Transport},
};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

pub(crate) const TOKEN: &str = "the-token-of-this-very-vm";
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn token(text: &str) -> Token {
    Token::new(text).unwrap()
}

/// An agent with a directory of its own; ended when dropped.
pub(crate) struct Fused {
    child: Child,
    directory: TempDir,
    port: UnixListener,
    pub(crate) tcp: SocketAddr,
}

impl Fused {
    /// Starts an agent with more options than the usual ones.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_with(options, |_| {})
    }

    /// Starts an agent whose directory `fuse` is filled before.
    pub(crate) fn start_with(options: &[&str], fill: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("fuse")).unwrap();
        fill(&directory.path().join("fuse"));
        let socket = directory.path().join("port");
        let port = UnixListener::bind(&socket).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fused"))
            .args(["--listen", "127.0.0.1:0", "--vsock-port", "off", "--serial"])
            .arg(&socket)
            .arg("--fuse-dir")
            .arg(directory.path().join("fuse"))
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let tcp = address(&mut child);
        Self { child, directory, port, tcp }
    }

    /// A file of the environment.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("fuse").join(name)
    }

    /// A path outside of the environment's files.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// Whether the agent still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The agent's end of the port; it opens the port anew when the last one was closed.
    pub(crate) async fn port(&self) -> UnixStream {
        tokio::time::timeout(LONG, self.port.accept()).await.expect("the agent opens its port").unwrap().0
    }

    /// A connection without hello.
    pub(crate) async fn connect(&self) -> Client {
        let connecting = Client::connect(self.port().await, Transport::Serial);
        tokio::time::timeout(LONG, connecting).await.expect("the agent answers").unwrap()
    }

    /// A connection of the VM's host.
    pub(crate) async fn host(&self) -> Client {
        let client = self.connect().await;
        client.hello(Some(token(TOKEN))).await.unwrap();
        client
    }
}

impl Drop for Fused {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads from the agent's messages where it listens. Later messages are read too, so that it never waits for us.
fn address(child: &mut Child) -> SocketAddr {
    let messages = BufReader::new(child.stderr.take().unwrap());
    let (found, wait) = mpsc::channel();
    std::thread::spawn(move || {
        for line in messages.lines().map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("fused: listening on 127") {
                let _ = found.send(format!("127{address}").parse().unwrap());
            }
        }
    });
    wait.recv_timeout(LONG).expect("the agent listens")
}

/// Waits until `done`.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// Whether a process is there and not a zombie.
pub(crate) fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
