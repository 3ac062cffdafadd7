//! Between the records of the control plane and the JSON of the agent.

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    model::{Arch, Capacity, EnvironmentId, OwnerId, Resources, VmName},
    provider::{
        AgentStart, CreateRequest, ExecOutput, ExecRequest, FileUpload, HostFacts, SnapshotFacts, VmFacts,
        agent_api::{
            AgentCapacity, AgentSnapshot, CreateVm, Exec, ExecAnswer, StartAgent, Upload, Vm, extension,
        },
    },
};

/// Stands for the owner of a VM that carries no tag on a host that keeps them: it is nobody's, so not ours.
const NOBODY: &str = "nobody";

/// What an agent can do beyond the original interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Abilities {
    pub(super) owner: bool,
    pub(super) command: bool,
    pub(super) exec_stream: bool,
    pub(super) logs: bool,
    pub(super) delete_snapshot: bool,
    /// Whether start-agent runs the services of the manifest: the original agent does, ours says so.
    pub(super) services: bool,
}

impl Abilities {
    pub(super) fn of(capacity: &AgentCapacity) -> Self {
        let has = |name: &str| capacity.extensions.iter().any(|extension| extension == name);
        Self {
            owner: has(extension::OWNER),
            command: has(extension::COMMAND),
            exec_stream: has(extension::EXEC_STREAM),
            logs: has(extension::LOGS),
            delete_snapshot: has(extension::DELETE_SNAPSHOT),
            services: capacity.extensions.is_empty() || has(extension::SERVICES),
        }
    }

    /// Of an agent that does not even have the capacity route.
    pub(super) fn original() -> Self {
        Self::of(&AgentCapacity::default())
    }
}

/// Whether a word of an agent can stand among ours: 1 to 32 of a-z 0-9 - _.
fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=32).contains(&word.len()) && word.bytes().all(plain)
}

pub(super) fn host_facts(capacity: &AgentCapacity) -> HostFacts {
    HostFacts {
        capacity: Capacity {
            cpus: capacity.cpus,
            ram_mb: capacity.ram_mb,
            storage_gb: capacity.storage_gb,
            vm_count: capacity.vm_count.unwrap_or(0),
        },
        arch: capacity.arch.as_deref().and_then(|arch| arch.parse::<Arch>().ok()),
        backend: capacity.backend.clone().filter(|backend| is_plain(backend)).unwrap_or_default(),
        keeps_owner: Abilities::of(capacity).owner,
    }
}

pub(super) fn create(request: &CreateRequest) -> CreateVm {
    let size = |number: u32| (number > 0).then_some(number);
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    CreateVm {
        name: request.name.to_string(),
        cpus: size(request.resources.cpus),
        memory_mb: size(request.resources.ram_mb),
        storage_gb: size(request.resources.storage_gb),
        region: text(&request.region),
        image: text(&request.image),
        seed_snapshot: request.seed.clone(),
        owner: Some(request.owner.to_string()),
        environment_id: Some(request.environment_id.to_string()),
    }
}

/// A VM of a list or an answer; none when its name is not one that a control plane gives.
pub(super) fn vm_facts(vm: &Vm, keeps_owner: bool) -> Option<VmFacts> {
    let name = VmName::new(&vm.vm_id).ok()?;
    let tag = vm.owner.as_deref().and_then(|owner| OwnerId::new(owner).ok());
    let nobody = || OwnerId::new(NOBODY).ok().filter(|_| keeps_owner);
    let sizes = (vm.cpus, vm.memory_mb, vm.storage_gb);
    Some(VmFacts {
        name,
        url: vm.url.clone(),
        owner: tag.or_else(nobody),
        environment_id: vm.environment_id.as_deref().and_then(|id| EnvironmentId::new(id).ok()),
        resources: (sizes != (None, None, None)).then(|| Resources {
            cpus: vm.cpus.unwrap_or(0),
            ram_mb: vm.memory_mb.unwrap_or(0),
            storage_gb: vm.storage_gb.unwrap_or(0),
        }),
    })
}

pub(super) fn upload(file: &FileUpload) -> Upload {
    Upload {
        path: file.path.clone(),
        content_b64: BASE64_STANDARD.encode(&file.content),
        mode: Some(file.mode),
    }
}

/// What must not be in an error about an upload: the file, its base64, and its lines.
pub(super) fn secrets_of(file: &FileUpload, sent: &Upload) -> Vec<SecretString> {
    /// More lines than this are no secret that a person wrote.
    const LINES: usize = 1_000;
    let mut secrets = vec![SecretString::from(sent.content_b64.as_str())];
    if let Ok(text) = std::str::from_utf8(&file.content) {
        secrets.push(SecretString::from(text));
        secrets.extend(text.lines().take(LINES).map(SecretString::from));
    }
    secrets
}

pub(super) fn exec(request: &ExecRequest) -> Exec {
    let timeout_ms = u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX);
    Exec { cmd: request.argv.clone(), timeout_ms: Some(timeout_ms) }
}

pub(super) fn exec_output(answer: &ExecAnswer) -> Result<ExecOutput, String> {
    let decode = |name: &str, text: &str| {
        BASE64_STANDARD.decode(text).map_err(|_| format!("{name} of the answer is not base64"))
    };
    Ok(ExecOutput {
        exit_code: answer.exit_code,
        stdout: decode("stdout", &answer.stdout)?,
        stderr: decode("stderr", &answer.stderr)?,
    })
}

pub(super) fn start(start: &AgentStart) -> StartAgent {
    StartAgent {
        manifest_path: "/fuse/manifest.json".to_owned(),
        secrets_path: "/fuse/secrets.json".to_owned(),
        tls_cert_path: Some("/fuse/tls/cert.pem".to_owned()),
        tls_key_path: Some("/fuse/tls/key.pem".to_owned()),
        auth_token: Some(start.auth_token.expose_secret().to_owned()),
        gateway: start.gateway.clone(),
        gateway_token: start.gateway_token.as_ref().map(|token| token.expose_secret().to_owned()),
        download_url: start.download_url.clone(),
        expose: start.expose.clone(),
        command: start.command.clone(),
    }
}

pub(super) fn snapshot_facts(snapshot: AgentSnapshot) -> SnapshotFacts {
    let parse = |text: &str| humantime::parse_rfc3339_weak(text).ok().map(Into::into);
    SnapshotFacts {
        artifact: snapshot.snapshot_id,
        comment: snapshot.comment.unwrap_or_default(),
        created_at: snapshot.created_at.as_deref().and_then(parse),
        digest: snapshot.digest.unwrap_or_default(),
        size_bytes: snapshot.size_bytes.unwrap_or(0),
        live: snapshot.kind.as_deref() == Some("live"),
    }
}
