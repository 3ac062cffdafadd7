//! A machine under QEMU.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fuse_guest_protocol::{
    Token,
    client::{Client, Transport},
    verb::{PowerOff, Shutdown},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::{sleep, timeout},
};

pub(crate) const TOKEN: &str = "the-token-of-the-machine";
/// Without KVM, on two busy processors, a boot can take long.
pub(crate) const LONG: Duration = Duration::from_secs(120);

pub(crate) fn token(text: &str) -> Token {
    Token::new(text).unwrap()
}

/// A machine; ended when dropped.
pub(crate) struct Machine {
    what: String,
    child: Child,
    directory: TempDir,
    guest: PathBuf,
    began: Instant,
    answered: Option<Duration>,
}

impl Machine {
    /// Boots a machine; none where that cannot be done, which is said.
    pub(crate) async fn boot() -> Option<Self> {
        let guest = Self::guest()?;
        Some(Self::start("boot", &guest, "", &[]))
    }

    /// Boots a machine from a disk; none where that cannot be done, which is said.
    pub(crate) async fn boot_from(disk: &Path) -> Option<Self> {
        let guest = Self::guest()?;
        let drive = format!("file={},format=raw,if=none,id=d0", disk.display());
        let more = ["-drive", &drive, "-device", "virtio-blk-device,drive=d0"];
        Some(Self::start("boot from a disk", &guest, "root=/dev/vda rw", &more))
    }

    fn guest() -> Option<PathBuf> {
        let Some(guest) = std::env::var_os("FUSE_TEST_GUEST").map(PathBuf::from) else {
            return skipped("FUSE_TEST_GUEST names no directory with vmlinux and initramfs.cpio");
        };
        if Command::new("qemu-system-x86_64").arg("--version").stdout(Stdio::null()).status().is_err() {
            return skipped("qemu-system-x86_64 is not installed");
        }
        Some(guest)
    }

    fn start(what: &str, guest: &Path, append: &str, more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let append = format!(
            "console=ttyS0 reboot=t panic=-1 quiet tsc_early_khz={} tsc=reliable fuse.vm_id=test-vm {append}",
            khz()
        );
        let console = std::fs::File::create(directory.path().join("console")).unwrap();
        let child = Command::new("qemu-system-x86_64")
            .current_dir(directory.path())
            .args(["-M", "microvm,pit=off,pic=off", "-accel", "tcg", "-cpu", "max", "-m", "128", "-smp", "1"])
            .args(["-nodefaults", "-no-user-config", "-nographic", "-serial", "stdio", "-no-reboot"])
            .arg("-kernel")
            .arg(guest.join("vmlinux"))
            .arg("-initrd")
            .arg(guest.join("initramfs.cpio"))
            .args(["-append", &append])
            .args(["-qmp", "unix:qmp.sock,server=on,wait=off", "-device", "virtio-serial-device"])
            .args(["-chardev", "socket,id=c0,path=agent.sock,server=on,wait=off"])
            .args(["-device", "virtserialport,chardev=c0,name=agent.0"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .unwrap();
        let began = Instant::now();
        Self { what: what.to_owned(), child, directory, guest: guest.to_owned(), began, answered: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn console(&self) -> String {
        let text = std::fs::read(self.path("console")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    async fn socket(&self, name: &str) -> UnixStream {
        let began = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(self.path(name)).await {
                return stream;
            }
            assert!(began.elapsed() < LONG, "QEMU does not listen: {}", self.console());
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// A connection over the machine's serial port. It may be asked for before the guest has booted.
    pub(crate) async fn connect(&mut self) -> Client {
        let connecting = async { Client::connect(self.socket("agent.sock").await, Transport::Serial).await };
        match timeout(LONG, connecting).await {
            Ok(client) => {
                self.answered.get_or_insert(self.began.elapsed());
                client.unwrap()
            }
            Err(_) => panic!("the guest does not answer: {}", self.console()),
        }
    }

    /// How long the first answer took.
    pub(crate) fn figures(&self) -> String {
        format!(
            "{}: QEMU microvm, TCG, 128 MiB: {:?} from exec to the agent's answer",
            self.what,
            self.answered.unwrap()
        )
    }

    /// Stops the machine and writes its memory to the file `memory`.
    pub(crate) async fn snapshot(&mut self) {
        let mut qmp = Qmp::open(self.socket("qmp.sock").await).await;
        qmp.ask(r#"{"execute":"stop"}"#).await;
        qmp.ask(r#"{"execute":"migrate","arguments":{"uri":"file:memory"}}"#).await;
        loop {
            let status = qmp.ask(r#"{"execute":"query-migrate"}"#).await;
            match status["return"]["status"].as_str() {
                Some("completed") => break,
                Some("failed") => panic!("{status}"),
                _ => sleep(Duration::from_millis(5)).await,
            }
        }
        qmp.tell(r#"{"execute":"quit"}"#).await;
        self.child.wait().unwrap();
    }

    /// Another machine, from this one's snapshot.
    pub(crate) async fn clone_from_snapshot(&self, what: &str) -> Self {
        let clone = Self::start(what, &self.guest, "", &["-incoming", "defer"]);
        let mut qmp = Qmp::open(clone.socket("qmp.sock").await).await;
        let memory = self.path("memory");
        qmp.ask(&format!(
            r#"{{"execute":"migrate-incoming","arguments":{{"uri":"file:{}"}}}}"#,
            memory.display()
        ))
        .await;
        loop {
            let status = qmp.ask(r#"{"execute":"query-status"}"#).await;
            match status["return"]["status"].as_str() {
                Some("inmigrate") => sleep(Duration::from_millis(5)).await,
                _ => break,
            }
        }
        qmp.ask(r#"{"execute":"cont"}"#).await;
        clone
    }

    /// Has the guest end the machine, and sees that it does.
    pub(crate) async fn ends_by(&mut self, client: Client, mode: PowerOff) {
        client.call(&Shutdown { mode, grace_ms: 100 }).await.unwrap();
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < LONG, "the machine goes on: {}", self.console());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says why a test did not run. A run that must not skip (FUSE_TEST_STRICT=1) fails instead.
pub(crate) fn skipped<T>(why: &str) -> Option<T> {
    assert!(std::env::var_os("FUSE_TEST_STRICT").is_none(), "skipped: {why}");
    println!("skipped: {why}");
    None
}

/// QEMU's own protocol.
struct Qmp(BufReader<UnixStream>);

impl Qmp {
    async fn open(stream: UnixStream) -> Self {
        let mut qmp = Self(BufReader::new(stream));
        qmp.ask(r#"{"execute":"qmp_capabilities"}"#).await;
        qmp
    }

    async fn tell(&mut self, command: &str) {
        self.0.get_mut().write_all(command.as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, command: &str) -> serde_json::Value {
        self.tell(command).await;
        loop {
            let mut line = String::new();
            timeout(LONG, self.0.read_line(&mut line)).await.unwrap().unwrap();
            let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(answer["error"].is_null(), "{command}: {answer}");
            if !answer["return"].is_null() {
                return answer;
            }
        }
    }
}

/// The frequency of this machine's time stamp counter; without it, one boot in three hangs under TCG.
fn khz() -> u64 {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let line =
        info.lines().find_map(|line| line.strip_prefix("cpu MHz")).and_then(|rest| rest.split(':').nth(1));
    line.map_or(2_000_000, |mhz| (mhz.trim().parse::<f64>().unwrap() * 1000.0) as u64)
}
