//! Everything that can be set: one row a setting, from which the flags, the variables, the file and the page in
//! the documents come.

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name: the flag `--name`, and the key of the file.
    pub name: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// What it is when nobody says; shown to people.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// What its value looks like.
    pub kind: ValueKind,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text.
    Text,
    /// A secret: never shown, and better not given as a flag.
    Secret,
    /// `true` or `false`; as a flag it needs no value.
    Switch,
    /// A length of time: `30s`, `5m`, `1h30m`, `250ms`, or seconds as a number.
    Duration,
    /// A number, not negative.
    Number,
}

const fn setting(
    name: &'static str,
    variable: &'static str,
    kind: ValueKind,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { name, variable, default, help, kind }
}

use ValueKind::{Duration, Number, Secret, Switch, Text};

/// Every setting, in the order in which people read about them.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    // Where it listens.
    setting("listen", "ORCH_LISTEN", Text, "127.0.0.1:8080; :8080 with an auth token", "address to listen on; an empty host means all interfaces"),
    setting("tls-cert", "ORCH_TLS_CERT", Text, "", "PEM file of the certificate chain; with tls-key turns TLS on, and is read again when it changes"),
    setting("tls-key", "ORCH_TLS_KEY", Text, "", "PEM file of the certificate's private key"),
    setting("tls-client-ca", "ORCH_TLS_CLIENT_CA", Text, "", "PEM file of authorities; clients must then show a certificate of theirs"),
    // Who may call.
    setting("auth-token", "ORCH_AUTH_TOKEN", Secret, "", "the master token"),
    setting("auth-token-file", "ORCH_AUTH_TOKEN_FILE", Text, "", "file that holds the master token"),
    setting("require-auth", "ORCH_REQUIRE_AUTH", Switch, "false", "refuse to start without a master token, a key for secrets and a durable store named on purpose"),
    setting("allowed-cidrs", "ORCH_ALLOWED_CIDRS", Text, "", "addresses that may call, separated by commas; empty: all"),
    setting("trusted-proxies", "ORCH_TRUSTED_PROXIES", Text, "", "proxies whose X-Forwarded-For is believed, separated by commas"),
    setting("secure-cookies", "ORCH_SECURE_COOKIES", Text, "follows TLS", "true or false: whether the login cookie is for HTTPS only"),
    setting("rate-limit-per-key", "ORCH_RATE_LIMIT_PER_KEY", Number, "0 (no limit)", "requests a second that one caller may make"),
    setting("rate-limit-per-address", "ORCH_RATE_LIMIT_PER_ADDRESS", Number, "0 (no limit)", "requests a second that one address may make"),
    setting("auth-failures-per-minute", "ORCH_AUTH_FAILURES_PER_MINUTE", Number, "60", "wrong credentials a minute that one address may show; 0: no limit"),
    // What it keeps, and where.
    setting("data-dir", "FUSE_DATA_DIR", Text, "fuse in the XDG data directory", "directory of the embedded store and of the key file"),
    setting("database-url", "DATABASE_URL", Secret, "", "Postgres to keep the state in, instead of the data directory"),
    setting("memory", "FUSE_MEMORY", Switch, "false", "keep the state in memory: it ends with the program"),
    setting("token-encryption-key", "TOKEN_ENCRYPTION_KEY", Secret, "a key file in the data directory", "key of the secrets in the store: 64 hexadecimal digits; several, newest first, separated by commas"),
    setting("token-encryption-key-file", "TOKEN_ENCRYPTION_KEY_FILE", Text, "", "file of such keys, one a line"),
    setting("keep-ended", "FUSE_KEEP_ENDED", Duration, "24h", "how long environments that ended stay readable"),
    setting("keep-events", "FUSE_KEEP_EVENTS", Duration, "168h", "how long events stay readable"),
    // What it drives.
    setting("provider", "FUSE_PROVIDER", Text, "auto", "auto, local, stub or remote: what the host named default is"),
    setting("firecracker-url", "FIRECRACKER_BASE_URL", Text, "", "URL of the host agent of the host named default"),
    setting("firecracker-token", "FIRECRACKER_TOKEN", Secret, "", "token of that host agent"),
    setting("vm-prefix", "ORCH_VM_PREFIX", Text, "fuse-", "what the names of environments and VMs begin with"),
    setting("owner-id", "FUSE_OWNER_ID", Text, "made once and kept", "who we are to hosts; needed with memory to find our VMs again after a restart"),
    setting("agent-download-url", "AGENT_DOWNLOAD_URL", Text, "", "where guests fetch the guest agent when their image has none"),
    setting("placement", "FUSE_PLACEMENT", Text, "spread", "spread or binpack"),
    setting("reconcile-period", "FUSE_RECONCILE_PERIOD", Duration, "30s", "time between two looks at a host"),
    setting("max-runtime", "FUSE_MAX_RUNTIME", Duration, "2h", "how long an environment runs when its request does not say"),
    setting("idle-limit", "FUSE_IDLE_LIMIT", Duration, "0s (none)", "how long an environment may be unused when its request does not say"),
    setting("drain-limit", "FUSE_DRAIN_LIMIT", Duration, "15m", "how long an environment may drain"),
    setting("startup-script-timeout", "ORCH_STARTUP_SCRIPT_TIMEOUT", Duration, "30s", "time of a startup script when its request does not say"),
    setting("max-startup-script-timeout", "ORCH_MAX_STARTUP_SCRIPT_TIMEOUT", Duration, "55s", "the most that a request may ask for its startup script; at most 10m"),
    setting("artifact-pull-timeout", "ORCH_ARTIFACT_PULL_TIMEOUT_SECONDS", Duration, "10m", "time for the bytes of a snapshot to move to another host, at most 10m"),
    setting("artifact-idle-ttl", "ORCH_ARTIFACT_IDLE_TTL_SECONDS", Duration, "0s", "no effect (warned of when set): snapshots stay until deleted or their retention ends"),
    setting("artifact-max-per-tenant", "ORCH_ARTIFACT_MAX_PER_TENANT", Number, "0", "no effect (warned of when set): as artifact-idle-ttl"),
    setting("stub-compat", "FUSE_STUB_COMPAT", Switch, "false", "answer exec and attach of stub hosts with 501, as the original stub does"),
    // How requests are limited.
    setting("read-header-timeout", "ORCH_READ_HEADER_TIMEOUT", Duration, "5s", "time for the header of a request"),
    setting("body-timeout", "ORCH_BODY_TIMEOUT", Duration, "15s", "time for the body of a request"),
    setting("write-timeout", "ORCH_WRITE_TIMEOUT", Duration, "60s", "time that a client may take nothing of its answer; a create is answered 5s before it"),
    setting("idle-timeout", "ORCH_IDLE_TIMEOUT", Duration, "120s", "time that a connection may be idle"),
    setting("max-header-bytes", "ORCH_MAX_HEADER_BYTES", Number, "65536", "size of the header of a request, 8192 to 1048576"),
    setting("max-connections", "ORCH_MAX_CONNECTIONS", Number, "16384", "connections at a time; more wait to be accepted"),
    setting("shutdown-timeout", "ORCH_SHUTDOWN_TIMEOUT_SECONDS", Duration, "30s", "time for requests to end when the program is told to"),
    // What it says.
    setting("log-format", "FUSE_LOG_FORMAT", Text, "text", "text or json"),
    setting("log-level", "FUSE_LOG", Text, "info", "error, warn, info, debug, trace, or a filter such as info,fuse_server=debug"),
];

/// The setting called `name`.
#[must_use]
pub(super) fn named(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setting that nobody reads would be taken in silence.
    #[test]
    fn every_setting_is_read() {
        let code = include_str!("resolve.rs");
        for setting in SETTINGS {
            let of_secret = setting.name.strip_suffix("-file").is_some_and(|secret| named(secret).is_some());
            assert!(of_secret || code.contains(&format!("\"{}\"", setting.name)), "{}", setting.name);
        }
    }

    #[test]
    fn names_and_variables_are_unique() {
        for (index, one) in SETTINGS.iter().enumerate() {
            for other in SETTINGS.iter().skip(index + 1) {
                assert_ne!(one.name, other.name);
                assert_ne!(one.variable, other.variable);
            }
        }
    }
}
