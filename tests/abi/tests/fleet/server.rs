//! The program `fuse serve --memory`, for what is connected to it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server with one stub host, for as long as it is held.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Server {
    /// Starts the program `fuse` and waits until it listens.
    pub(crate) fn start(fuse: &Path) -> Result<Self, String> {
        let token = format!("token-of-the-test-{}", std::process::id());
        let cannot = |e: std::io::Error| format!("cannot run {}: {e}", fuse.display());
        let mut child = Command::new(fuse)
            .args(["serve", "--memory", "--listen", "127.0.0.1:0"])
            .env("ORCH_AUTH_TOKEN", &token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let mut said = BufReader::new(child.stderr.take().ok_or("the server has no output")?);
        let (mut all, mut line) = (String::new(), String::new());
        let url = loop {
            line.clear();
            if said.read_line(&mut line).map_err(cannot)? == 0 {
                return Err(format!("the server did not start:\n{all}"));
            }
            all.push_str(&line);
            if let Some((_, rest)) = line.split_once("listening on http://") {
                let address = rest.split([' ', ',', '\n']).next().unwrap_or_default();
                break format!("http://{address}");
            }
        };
        // What it goes on to say is read, so that it never waits for a reader.
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        Ok(Self { child, url, token })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
