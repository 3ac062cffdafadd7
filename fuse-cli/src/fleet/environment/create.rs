//! `fuse environment create`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use fuse_orchestrator::model::{
    Arch, Expose, GuestFile, Healthcheck, HealthcheckProbe, HostId, IdempotencyKey, ProvisionRequest,
    SnapshotId, TaskId,
};
use fuse_orchestrator::wire;

use super::boot::Wait;
use crate::fleet::{Session, values};
use crate::outcome::{self, Failure, Outcome};

/// Create an environment, and wait until it runs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fuse environment create --task-id t1 --cpus 2 --ram-mb 2048 --storage-gb 10
  fuse environment create --image debian-12 --command './work' --file work:/root/work --expose 8080:web
  API_TOKEN=… fuse environment create --secret API_TOKEN --startup-script setup.sh
  fuse environment create --from request.json --no-wait")]
pub(crate) struct Create {
    /// The name of the work; a fresh one when nothing is said
    #[arg(long, value_name = "ID")]
    task_id: Option<TaskId>,
    /// Begin with the request in this file: JSON, as the REST API takes it; - is standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Virtual processors
    #[arg(long)]
    cpus: Option<u32>,
    /// Memory in MiB
    #[arg(long)]
    ram_mb: Option<u32>,
    /// Disk in GiB
    #[arg(long)]
    storage_gb: Option<u32>,
    /// A named root filesystem of the host
    #[arg(long)]
    image: Option<String>,
    /// Boot from this snapshot instead of an image
    #[arg(long, value_name = "SNAPSHOT")]
    seed: Option<SnapshotId>,
    /// Only hosts of this region
    #[arg(long)]
    region: Option<String>,
    /// Only hosts of this architecture: amd64 or arm64
    #[arg(long)]
    arch: Option<Arch>,
    /// Only this host
    #[arg(long, value_name = "ID")]
    host: Option<HostId>,
    /// Only hosts that carry this label
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    labels: Vec<(String, String)>,
    /// Destroy it after this time; 2 hours when nothing is said
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    max_runtime: Option<Duration>,
    /// Destroy it when nobody used it for this time
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    idle_timeout: Option<Duration>,
    /// The workload that its agent starts, run with sh -lc
    #[arg(long, value_name = "LINE")]
    command: Option<String>,
    /// What a drain runs, with sh -lc; empty runs nothing
    #[arg(long, value_name = "LINE")]
    drain_command: Option<String>,
    /// Run this file with sh -lc before the agent starts
    #[arg(long, value_name = "FILE")]
    startup_script: Option<PathBuf>,
    /// How long that may take; 30 s when nothing is said
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    startup_timeout: Option<Duration>,
    /// Put a file into the guest
    #[arg(long = "file", value_name = "LOCAL:GUEST")]
    files: Vec<String>,
    /// Give the guest a secret: the value of the variable NAME, or what is in FILE
    #[arg(long = "secret", value_name = "NAME|NAME=@FILE")]
    secrets: Vec<String>,
    /// Publish a port of the guest
    #[arg(long, value_name = "PORT[:NAME]", value_parser = values::port)]
    expose: Vec<(u16, Option<String>)>,
    /// Check its health with a GET request of this port and path, such as 8080/healthz
    #[arg(long, value_name = "PORT/PATH", conflicts_with = "health_exec")]
    health_http: Option<String>,
    /// Check its health with this command line
    #[arg(long, value_name = "LINE")]
    health_exec: Option<String>,
    /// An equal request with the same key gets the environment that the first one made
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<IdempotencyKey>,
    #[command(flatten)]
    wait: Wait,
}

impl Create {
    pub(super) async fn run(mut self, session: &Session) -> Outcome {
        let key = self.idempotency_key.take();
        let wait = std::mem::take(&mut self.wait);
        let request = self.request()?;
        let accepted = match key {
            Some(key) => session.fuse.provision_once(&key, request).await?,
            None => session.fuse.provision(request).await?,
        };
        wait.finish(session, &accepted).await
    }

    fn request(self) -> Outcome<ProvisionRequest> {
        let mut request = match &self.from {
            Some(path) => from_file(path, self.task_id)?,
            None => ProvisionRequest::new(self.task_id.map_or_else(fresh_task, Ok)?),
        };
        let spec = &mut request.spec;
        spec.resources.cpus = self.cpus.unwrap_or(spec.resources.cpus);
        spec.resources.ram_mb = self.ram_mb.unwrap_or(spec.resources.ram_mb);
        spec.resources.storage_gb = self.storage_gb.unwrap_or(spec.resources.storage_gb);
        spec.image = self.image.unwrap_or(std::mem::take(&mut spec.image));
        spec.region = self.region.unwrap_or(std::mem::take(&mut spec.region));
        spec.arch = self.arch.or(spec.arch);
        spec.host_id = self.host.or(spec.host_id.take());
        spec.labels.extend(self.labels);
        spec.max_runtime_seconds = self.max_runtime.map_or(spec.max_runtime_seconds, |time| time.as_secs());
        spec.idle_timeout_seconds =
            self.idle_timeout.map_or(spec.idle_timeout_seconds, |time| time.as_secs());
        request.seed_snapshot_id = self.seed.or(request.seed_snapshot_id);
        request.agent.command = self.command.or(request.agent.command);
        request.agent.drain_command = self.drain_command.or(request.agent.drain_command);
        if let Some(path) = &self.startup_script {
            request.startup_script = String::from_utf8(outcome::read(path)?)
                .map_err(|_| Failure::refused(path, "is not text, and a script is"))?;
        }
        if let Some(time) = self.startup_timeout {
            request.startup_script_timeout_seconds = time.as_secs();
        }
        for file in &self.files {
            let (local, guest) = file
                .rsplit_once(':')
                .filter(|(local, guest)| !local.is_empty() && guest.starts_with('/'))
                .ok_or_else(|| Failure::Usage(format!("--file {file} is not LOCAL:/PATH/IN/GUEST")))?;
            request.files.insert(guest.to_owned(), GuestFile(outcome::read(local.as_ref())?));
        }
        for secret in &self.secrets {
            let (name, value) = values::secret(secret)?;
            request.secrets.insert(name, value);
        }
        request.expose.extend(self.expose.into_iter().map(|(port, name)| Expose { port, name }));
        let probe = probe(self.health_http.as_deref(), self.health_exec)?;
        request.healthcheck = probe.or(request.healthcheck);
        Ok(request)
    }
}

/// A name for work that nobody named.
fn fresh_task() -> Outcome<TaskId> {
    let bytes = random()?;
    TaskId::new(format!("task-{}", crate::output::hex(&bytes)))
        .map_err(|error| Failure::Usage(error.to_string()))
}

/// Random bytes of the system.
fn random() -> Outcome<[u8; 6]> {
    use std::io::Read as _;
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 6];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(Failure::io("read", path))?;
    Ok(bytes)
}

/// The request in a file, of another task when one is named.
fn from_file(path: &Path, task: Option<TaskId>) -> Outcome<ProvisionRequest> {
    let text = if path.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut text).map_err(Failure::io("read", path))?;
        text
    } else {
        outcome::read(path)?
    };
    let mut body: wire::CreateEnvironment =
        serde_json::from_slice(&text).map_err(|error| Failure::refused(path, error))?;
    match task {
        Some(task) => body.task_id = task.to_string(),
        None if body.task_id.is_empty() => body.task_id = fresh_task()?.to_string(),
        None => {}
    }
    body.request().map_err(|error| Failure::refused(path, error))
}

fn probe(http: Option<&str>, exec: Option<String>) -> Outcome<Option<Healthcheck>> {
    let probe = match (http, exec) {
        (Some(http), _) => {
            let (port, path) = http.split_once('/').unwrap_or((http, ""));
            let port = port.parse().map_err(|_| {
                Failure::Usage(format!("--health-http {http} is not PORT/PATH, such as 8080/healthz"))
            })?;
            HealthcheckProbe::Http { port, path: format!("/{path}") }
        }
        (None, Some(line)) => HealthcheckProbe::Exec(vec!["sh".to_owned(), "-lc".to_owned(), line]),
        (None, None) => return Ok(None),
    };
    Ok(Some(Healthcheck {
        probe,
        interval_seconds: 0,
        timeout_seconds: 0,
        retries: 0,
        start_period_seconds: 0,
    }))
}
