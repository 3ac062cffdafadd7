//! What the settings mean together. Every problem is reported at once.

use std::{path::PathBuf, time::Duration};

use fuse_orchestrator::{
    Config,
    model::{OwnerId, VmPrefix},
    scheduler::Policy,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Sources, value};
use crate::api::{ApiConfig, RateLimits};
use crate::listener::Deadlines;

/// Where the state is kept.
#[derive(Debug, Clone)]
pub enum State {
    /// In Postgres, at this URL.
    Postgres(SecretString),
    /// In a directory of this machine. `named` says whether somebody chose it.
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Whether somebody chose it, rather than the default.
        named: bool,
    },
    /// In memory.
    Memory,
}

/// Where the key of the secrets in the store comes from.
#[derive(Debug, Clone)]
pub enum Keys {
    /// From the settings.
    Given(SecretString),
    /// From a file with a key on each line, which must be there.
    File(PathBuf),
    /// From a file in the data directory, made when it is not there.
    Directory(PathBuf),
    /// Made anew at each start.
    Ephemeral,
}

/// What the host named `default` is.
#[derive(Debug, Clone)]
pub enum ProviderChoice {
    /// Whatever is there: remote, else local, else the stub.
    Auto,
    /// VMs of this machine.
    Local,
    /// VMs that are only simulated.
    Stub,
    /// A host agent.
    Remote,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The files of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Authorities of client certificates, in PEM. None: clients show none.
    pub client_ca: Option<PathBuf>,
}

/// Settings that cannot be used: every reason, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(pub Vec<String>);

/// All settings, resolved.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host to listen on; empty means all interfaces.
    pub host: String,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// TLS, if any.
    pub tls: Option<TlsFiles>,
    /// What the routes go by.
    pub api: ApiConfig,
    /// Time limits of connections.
    pub deadlines: Deadlines,
    /// Connections at a time.
    pub max_connections: usize,
    /// Time for requests to end when the program is told to.
    pub shutdown_timeout: Duration,
    /// Where the state is kept.
    pub state: State,
    /// Where the key of the secrets comes from.
    pub keys: Keys,
    /// What the host named `default` is.
    pub provider: ProviderChoice,
    /// The host agent of the host named `default`.
    pub agent_url: Option<String>,
    /// Its token.
    pub agent_token: Option<SecretString>,
    /// What the orchestrator goes by.
    pub orchestrator: Config,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines there are.
    pub log_level: String,
    /// What the operator should know, such as a secret that others can see.
    pub warnings: Vec<String>,
}

struct Reader<'a> {
    sources: &'a Sources,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.sources.get(name).map(|text| text.trim().to_owned())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn read<T>(&mut self, name: &str, default: T, read: impl FnOnce(&str) -> Result<T, String>) -> T {
        let Some(text) = self.sources.get(name) else { return default };
        match read(text) {
            Ok(value) => value,
            Err(why) => {
                self.problems.push(format!("{name}: {why}"));
                default
            }
        }
    }

    fn duration(&mut self, name: &str, default: Duration) -> Duration {
        self.read(name, default, value::duration)
    }

    /// A length of time that must not be zero.
    fn some_time(&mut self, name: &str, seconds: u64) -> Duration {
        let given = self.duration(name, Duration::from_secs(seconds));
        if given.is_zero() {
            self.problems.push(format!("{name}: 0 is no time; give at least 1s"));
            return Duration::from_secs(seconds);
        }
        given
    }

    fn switch(&mut self, name: &str) -> bool {
        self.read(name, false, value::switch)
    }

    fn number(&mut self, name: &str, default: usize) -> usize {
        self.read(name, default, |text| {
            text.trim().parse().map_err(|_| format!("{text:?} is not a number of at least 0"))
        })
    }

    /// A secret that may also be in a file.
    fn secret(&mut self, name: &str) -> Option<SecretString> {
        if let Some(text) = self.sources.get(name) {
            return Some(SecretString::from(text.trim()));
        }
        let path = self.path(&format!("{name}-file"))?;
        match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Some(SecretString::from(text.trim())),
            Ok(_) => {
                self.problems.push(format!("{name}-file: {} is empty", path.display()));
                None
            }
            Err(error) => {
                self.problems.push(format!("{name}-file: cannot read {}: {error}", path.display()));
                None
            }
        }
    }
}

impl Settings {
    /// Resolves `sources`. `default_dir` is the data directory when nobody says.
    ///
    /// # Errors
    /// [`SettingsError`] with every problem.
    pub fn resolve(sources: &Sources, default_dir: Option<PathBuf>) -> Result<Self, SettingsError> {
        let mut reader = Reader { sources, problems: Vec::new() };
        let tls = tls(&mut reader);
        let api = api(&mut reader, tls.is_some());
        let (state, keys) = storage(&mut reader, default_dir);
        let (host, port) = match (sources.get("listen"), &api.auth_token) {
            (None, None) => ("127.0.0.1".to_owned(), 8080),
            (None, Some(_)) => (String::new(), 8080),
            (Some(_), _) => reader.read("listen", (String::new(), 8080), value::listen),
        };
        let deadlines = deadlines(&mut reader);
        let provider = provider(&mut reader);
        let agent_url = reader.text("firecracker-url");
        let agent_token = reader.secret("firecracker-token");
        let orchestrator = orchestrator(&mut reader);
        let max_connections = reader.number("max-connections", 16_384);
        if max_connections == 0 {
            reader.problems.push("max-connections: 0 lets nobody in".to_owned());
        }
        if matches!(provider, ProviderChoice::Remote) && agent_url.is_none() {
            reader.problems.push("provider: remote needs firecracker-url (FIRECRACKER_BASE_URL)".to_owned());
        }
        require_auth(&mut reader, &api, &state, &keys);
        let log_format = reader.read("log-format", LogFormat::Text, |text| match text.trim() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("{other:?} is neither text nor json")),
        });
        let mut warnings = warnings(&reader, &host, &api);
        warnings.extend(without_effect(&mut reader));
        let settings = Self {
            host,
            port,
            tls,
            api,
            deadlines,
            max_connections: max_connections.max(1),
            shutdown_timeout: reader.duration("shutdown-timeout", Duration::from_secs(30)),
            state,
            keys,
            provider,
            agent_url,
            agent_token,
            orchestrator,
            log_format,
            log_level: reader.text("log-level").unwrap_or_else(|| "info".to_owned()),
            warnings,
        };
        if reader.problems.is_empty() { Ok(settings) } else { Err(SettingsError(reader.problems)) }
    }
}

fn tls(reader: &mut Reader<'_>) -> Option<TlsFiles> {
    let (certificate, key) = (reader.path("tls-cert"), reader.path("tls-key"));
    let client_ca = reader.path("tls-client-ca");
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key, client_ca }),
        (None, None) => {
            if client_ca.is_some() {
                reader.problems.push("tls-client-ca: needs tls-cert and tls-key".to_owned());
            }
            None
        }
        (certificate, _) => {
            let (there, missing) =
                if certificate.is_some() { ("tls-cert", "tls-key") } else { ("tls-key", "tls-cert") };
            reader.problems.push(format!("{there} is set and {missing} is not; TLS needs both"));
            None
        }
    }
}

fn api(reader: &mut Reader<'_>, tls: bool) -> ApiConfig {
    let write = reader.duration("write-timeout", Duration::from_secs(60));
    let auth_token = reader.secret("auth-token");
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, ';' | ',' | '"' | '\\');
    if auth_token.as_ref().is_some_and(|token| !token.expose_secret().chars().all(fits)) {
        let text =
            "auth-token: has characters that a header or a cookie cannot carry; use letters and digits";
        reader.problems.push(text.to_owned());
    }
    ApiConfig {
        auth_token,
        allowed: reader.read("allowed-cidrs", Vec::new(), value::networks),
        trusted_proxies: reader.read("trusted-proxies", Vec::new(), value::networks),
        secure_cookies: reader.read("secure-cookies", tls, |text| match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("{other:?} is neither true nor false")),
        }),
        rate: RateLimits {
            per_key: u32::try_from(reader.number("rate-limit-per-key", 0)).unwrap_or(u32::MAX),
            per_address: u32::try_from(reader.number("rate-limit-per-address", 0)).unwrap_or(u32::MAX),
            failures_per_minute: u32::try_from(reader.number("auth-failures-per-minute", 60))
                .unwrap_or(u32::MAX),
        },
        body_timeout: reader.some_time("body-timeout", 15),
        create_wait: write
            .checked_sub(Duration::from_secs(5))
            .filter(|wait| !wait.is_zero())
            .unwrap_or(write),
        stub_compat: reader.switch("stub-compat"),
        agent_download_url: reader.text("agent-download-url"),
        ..ApiConfig::default()
    }
}

fn deadlines(reader: &mut Reader<'_>) -> Deadlines {
    let max_header_bytes = reader.number("max-header-bytes", 65_536);
    if !(8_192..=1_048_576).contains(&max_header_bytes) {
        reader.problems.push(format!("max-header-bytes: {max_header_bytes} is not between 8192 and 1048576"));
    }
    Deadlines {
        header: reader.some_time("read-header-timeout", 5),
        write: reader.some_time("write-timeout", 60),
        idle: reader.some_time("idle-timeout", 120),
        max_header_bytes: max_header_bytes.clamp(8_192, 1_048_576),
        ..Deadlines::default()
    }
}

fn storage(reader: &mut Reader<'_>, default_dir: Option<PathBuf>) -> (State, Keys) {
    let memory = reader.switch("memory");
    let database = reader.secret("database-url");
    let chosen = reader.path("data-dir");
    let named = chosen.is_some();
    if memory && database.is_some() {
        reader
            .problems
            .push("memory and database-url: the state is in one place; give one of them".to_owned());
    }
    let given = reader.text("token-encryption-key").map(|text| Keys::Given(SecretString::from(text)));
    let file = reader.path("token-encryption-key-file").map(Keys::File);
    let key = given.or(file);
    if memory {
        return (State::Memory, key.unwrap_or(Keys::Ephemeral));
    }
    if let Some(url) = database {
        let keys = key.unwrap_or_else(|| {
            reader.problems.push(
                "database-url: Postgres needs token-encryption-key (TOKEN_ENCRYPTION_KEY): 64 hexadecimal digits, \
                 such as `openssl rand -hex 32` prints"
                    .to_owned(),
            );
            Keys::Ephemeral
        });
        return (State::Postgres(url), keys);
    }
    let Some(dir) = chosen.or(default_dir) else {
        reader.problems.push(
            "data-dir: there is no home directory to put one into; set data-dir (FUSE_DATA_DIR), or memory"
                .to_owned(),
        );
        return (State::Memory, Keys::Ephemeral);
    };
    let keys = key.unwrap_or_else(|| Keys::Directory(dir.join("key")));
    (State::Directory { dir, named }, keys)
}

fn provider(reader: &mut Reader<'_>) -> ProviderChoice {
    reader.read("provider", ProviderChoice::Auto, |text| match text.trim() {
        "auto" => Ok(ProviderChoice::Auto),
        "local" => Ok(ProviderChoice::Local),
        "stub" => Ok(ProviderChoice::Stub),
        "remote" => Ok(ProviderChoice::Remote),
        other => Err(format!("{other:?} is none of auto, local, stub, remote")),
    })
}

fn orchestrator(reader: &mut Reader<'_>) -> Config {
    let mut config = Config::default();
    config.prefix = reader.read("vm-prefix", config.prefix, |text| {
        VmPrefix::new(text.trim()).map_err(|error| error.to_string())
    });
    config.owner = reader.read("owner-id", None, |text| {
        OwnerId::new(text.trim()).map(Some).map_err(|error| error.to_string())
    });
    config.policy = reader.read("placement", Policy::Spread, |text| match text.trim() {
        "spread" => Ok(Policy::Spread),
        "binpack" => Ok(Policy::Binpack),
        other => Err(format!("{other:?} is neither spread nor binpack")),
    });
    config.reconcile_period = Some(reader.some_time("reconcile-period", 30));
    config.limits.max_runtime = reader.some_time("max-runtime", 2 * 3_600);
    config.limits.idle_timeout = reader.duration("idle-limit", Duration::ZERO);
    config.limits.drain_limit = reader.some_time("drain-limit", 15 * 60);
    config.script_timeout = reader.some_time("startup-script-timeout", 30);
    config.script_ceiling = reader.some_time("max-startup-script-timeout", 55);
    if config.script_ceiling > Duration::from_secs(600) {
        reader.problems.push("max-startup-script-timeout: more than 10m is not allowed".to_owned());
    }
    if config.script_timeout > config.script_ceiling {
        reader.problems.push("startup-script-timeout: is above max-startup-script-timeout".to_owned());
    }
    let pull = reader.duration("artifact-pull-timeout", Duration::ZERO);
    if !pull.is_zero() {
        config.timeouts.pull = config.timeouts.pull.min(pull);
    }
    config.keep_ended = reader.duration("keep-ended", config.keep_ended);
    config.keep_events = reader.duration("keep-events", config.keep_events);
    config
}

/// Settings of the original's collection of build layers, which is not part of Fuse: deployments that set them start,
/// and are told that nothing comes of them.
fn without_effect(reader: &mut Reader<'_>) -> Vec<String> {
    let said = [
        ("artifact-idle-ttl", !reader.duration("artifact-idle-ttl", Duration::ZERO).is_zero()),
        ("artifact-max-per-tenant", reader.number("artifact-max-per-tenant", 0) != 0),
    ];
    let said = said.into_iter().filter(|(_, is_set)| *is_set);
    let instead = "snapshots stay until they are deleted or their retention ends";
    said.map(|(name, _)| format!("{name} has no effect: {instead}")).collect()
}

/// With `require-auth`, nothing may be missing; one message names everything that is.
fn require_auth(reader: &mut Reader<'_>, api: &ApiConfig, state: &State, keys: &Keys) {
    if !reader.switch("require-auth") {
        return;
    }
    let mut missing = Vec::new();
    if api.auth_token.is_none() {
        missing.push("ORCH_AUTH_TOKEN");
    }
    if !matches!(keys, Keys::Given(_) | Keys::File(_)) {
        missing.push("TOKEN_ENCRYPTION_KEY");
    }
    if !matches!(state, State::Postgres(_) | State::Directory { named: true, .. }) {
        missing.push("DATABASE_URL or FUSE_DATA_DIR");
    }
    if !missing.is_empty() {
        reader.problems.push(format!("require-auth (ORCH_REQUIRE_AUTH=true) needs {}", missing.join(", ")));
    }
}

fn warnings(reader: &Reader<'_>, host: &str, api: &ApiConfig) -> Vec<String> {
    let mut warnings: Vec<String> = reader
        .sources
        .exposed()
        .map(|name| format!("{name} was given as a flag, which every user of this machine can read; use its variable or file"))
        .collect();
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if api.auth_token.is_none() && !loopback {
        warnings.push(
            "there is no auth token, and the address is not loopback: whoever reaches it may do everything; set ORCH_AUTH_TOKEN"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::Origin;
    use super::*;

    fn resolve(values: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let mut sources = Sources::new();
        for (name, value) in values {
            sources.set(name, value, Origin::Variable).unwrap();
        }
        Settings::resolve(&sources, Some(PathBuf::from("/var/lib/fuse")))
    }

    #[test]
    fn nothing_configured_is_loopback_and_a_directory() {
        let settings = resolve(&[]).unwrap();
        assert_eq!((settings.host.as_str(), settings.port), ("127.0.0.1", 8080));
        assert!(matches!(settings.state, State::Directory { named: false, .. }));
        assert!(settings.warnings.is_empty());
    }

    #[test]
    fn a_token_opens_all_interfaces() {
        assert_eq!(resolve(&[("auth-token", "t")]).unwrap().host, "");
        let open = resolve(&[("listen", ":8080")]).unwrap();
        assert!(open.warnings.iter().any(|line| line.contains("no auth token")));
    }

    #[test]
    fn required_auth_names_everything_that_is_missing() {
        let SettingsError(problems) = resolve(&[("require-auth", "true")]).unwrap_err();
        let text = problems.join("\n");
        for name in ["ORCH_AUTH_TOKEN", "TOKEN_ENCRYPTION_KEY", "DATABASE_URL"] {
            assert!(text.contains(name), "{text}");
        }
        let key = "00".repeat(32);
        let good = [
            ("require-auth", "true"),
            ("auth-token", "t"),
            ("token-encryption-key", key.as_str()),
            ("data-dir", "/srv/fuse"),
        ];
        resolve(&good).unwrap();
        assert!(resolve(&good[..3]).is_err());
    }

    #[test]
    fn half_of_tls_and_postgres_without_a_key_do_not_start() {
        assert!(resolve(&[("tls-cert", "/c")]).is_err());
        assert!(resolve(&[("tls-key", "/k")]).is_err());
        let error = resolve(&[("database-url", "postgres://u:hush@h/d")]).unwrap_err();
        assert!(error.to_string().contains("TOKEN_ENCRYPTION_KEY") && !error.to_string().contains("hush"));
    }

    #[test]
    fn a_token_that_no_header_can_carry_does_not_start() {
        for bad in ["has space", "semi;colon", "häßlich"] {
            let error = resolve(&[("auth-token", bad)]).unwrap_err().to_string();
            assert!(error.contains("auth-token") && !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_setting_that_does_nothing_says_so() {
        let set = [("artifact-idle-ttl", "1h"), ("artifact-max-per-tenant", "3")];
        let warnings = resolve(&set).unwrap().warnings;
        for ((name, _), warning) in set.iter().zip(&warnings) {
            assert!(warning.starts_with(&format!("{name} has no effect")), "{warning}");
        }
        assert_eq!(warnings.len(), set.len());
        let pull = |text| resolve(&[("artifact-pull-timeout", text)]).unwrap().orchestrator.timeouts.pull;
        assert_eq!([pull("30"), pull("0"), pull("1h")].map(|time| time.as_secs()), [30, 600, 600]);
        let off = [("artifact-pull-timeout", "30"), ("artifact-max-per-tenant", "0")];
        assert!(resolve(&off).unwrap().warnings.is_empty());
        assert!(resolve(&[("artifact-idle-ttl", "soon")]).is_err());
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let SettingsError(problems) = resolve(&[
            ("listen", "nonsense"),
            ("allowed-cidrs", "10.0.0.0/99"),
            ("secure-cookies", "perhaps"),
            ("write-timeout", "soon"),
        ])
        .unwrap_err();
        assert!(problems.len() >= 4, "{problems:?}");
    }
}
