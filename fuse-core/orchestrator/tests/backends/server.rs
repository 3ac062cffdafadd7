//! A real Postgres server for tests: in a temporary directory, on a socket there and a port of loopback, as an
//! unprivileged user, gone when the test process is.
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// The user of Debian that owns nothing.
const NOBODY: u32 = 65_534;

pub struct Server {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    running: Mutex<Option<Running>>,
    databases: AtomicU32,
}

/// The shell that watches over the server. When its standard input closes, because this process closed it or died,
/// it stops the server.
struct Running {
    watcher: Child,
    _input: ChildStdin,
}

/// The server of this test process, or `None` (said loudly) where Postgres is not installed.
pub fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    SHARED.get_or_init(|| Server::start(&[])).as_ref()
}

fn binaries() -> Option<PathBuf> {
    let named = std::env::var_os("FUSE_PG_BIN").map(PathBuf::from);
    let mut installed: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.filter_map(|v| v.ok().map(|v| v.path().join("bin"))).collect())
        .unwrap_or_default();
    installed.sort();
    named.into_iter().chain(installed.into_iter().rev()).find(|bin| bin.join("initdb").exists())
}

fn is_root() -> bool {
    let probe = Command::new("id").arg("-u").output();
    probe.is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// A command that runs as somebody whom Postgres accepts.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/").env_remove("PGDATA");
    command
}

impl Server {
    /// Makes a cluster, with `settings` (lines of postgresql.conf), and starts it.
    pub fn start(settings: &[&str]) -> Option<Self> {
        Self::start_in(Path::new("/tmp"), settings)
    }

    /// As [`Server::start`], in a directory under `parent`, whose path must be short: the name of a socket is at
    /// most 107 bytes long.
    pub fn start_in(parent: &Path, settings: &[&str]) -> Option<Self> {
        let Some(bin) = binaries() else {
            eprintln!(
                "SKIPPED: no Postgres under /usr/lib/postgresql nor in FUSE_PG_BIN (apt-get install postgresql)"
            );
            return None;
        };
        let dir =
            tempfile::Builder::new().prefix("fpg").tempdir_in(parent).expect("a temporary directory").keep();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("permissions");
        let data = dir.join("data");
        fs::create_dir(&data).expect("a data directory");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("permissions");
        if is_root() {
            eprintln!(
                "note: Postgres refuses to run as root, so the test server runs as user {NOBODY} in {}",
                dir.display()
            );
            chown(&dir, Some(NOBODY), Some(NOBODY)).expect("chown");
            chown(&data, Some(NOBODY), Some(NOBODY)).expect("chown");
        }
        let made = command(&bin.join("initdb"))
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=fuse", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let config = data.join("postgresql.conf");
        let text = fs::read_to_string(&config).expect("postgresql.conf");
        fs::write(&config, format!("{text}\n{}\n", settings.join("\n"))).expect("postgresql.conf");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|probe| probe.local_addr())
            .expect("a free port")
            .port();
        let server = Self { bin, dir, port, running: Mutex::new(None), databases: AtomicU32::new(0) };
        server.resume();
        Some(server)
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts the server, again if need be, and waits until it answers.
    pub fn resume(&self) {
        let script = r#"
            "$1/postgres" -D "$2/data" -p "$3" -k "$2" -c listen_addresses=127.0.0.1 >>"$2/log" 2>&1 &
            server=$!
            cat >/dev/null
            kill -QUIT $server 2>/dev/null
            wait $server
            [ -e "$2/keep" ] || rm -rf "$2"
        "#;
        fs::write(self.dir.join("keep"), b"").expect("a marker");
        let mut watcher = command(Path::new("/bin/sh"))
            .args(["-c", script, "sh"])
            .arg(&self.bin)
            .arg(&self.dir)
            .arg(self.port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the server starts");
        let input = watcher.stdin.take().expect("a pipe");
        *self.running.lock().expect("the server") = Some(Running { watcher, _input: input });
        for _ in 0..600 {
            let ready = command(&self.bin.join("pg_isready")).arg("-q").args(self.place("postgres")).status();
            if ready.is_ok_and(|status| status.success()) {
                // From here on, the end of this process takes the directory with it.
                fs::remove_file(self.dir.join("keep")).expect("the marker");
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        panic!("Postgres does not start in {}:\n{log}", self.dir.display());
    }

    /// Stops the server as a crash does: at once, every process of it, nothing written any more.
    pub fn crash(&self) {
        fs::write(self.dir.join("keep"), b"").expect("a marker");
        if let Some(Running { mut watcher, _input: input }) = self.running.lock().expect("the server").take()
        {
            drop(input);
            watcher.wait().expect("the server ends");
        }
    }

    /// Turns TLS on, with a certificate and a key in PEM.
    pub fn give_certificate(&self, certificate: &str, key: &str) {
        for (from, to) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.data().join(to);
            fs::copy(from, &to).expect("a copy");
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("permissions");
            if is_root() {
                chown(&to, Some(NOBODY), Some(NOBODY)).expect("chown");
            }
        }
        self.sql("postgres", "ALTER SYSTEM SET ssl = on");
        self.sql("postgres", "SELECT pg_reload_conf()");
        for _ in 0..100 {
            if self.sql("postgres", "SHOW ssl") == "on" {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the server does not turn TLS on");
    }

    fn place(&self, database: &str) -> Vec<String> {
        let port = self.port.to_string();
        ["-h", "127.0.0.1", "-p", &port, "-U", "fuse", "-d", database].map(str::to_owned).to_vec()
    }

    /// Runs a statement and returns what `psql` prints.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let output = command(&self.bin.join("psql"))
            .args(["-qAtX", "-v", "ON_ERROR_STOP=1"])
            .args(self.place(database))
            .args(["-c", statement])
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A new, empty database, and its URL.
    pub fn database(&self) -> (String, String) {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        let url = self.url(&name);
        (name, url)
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://fuse@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(running) = self.running.get_mut()
            && let Some(Running { mut watcher, _input: input }) = running.take()
        {
            drop(input);
            let _ = watcher.wait();
        }
    }
}
