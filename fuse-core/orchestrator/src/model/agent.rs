//! What runs in the guest: the agent, its files, its workload, its health.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Problem;

/// The bytes of a file on their way into a guest. JSON shows them as standard base64.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct GuestFile(pub Vec<u8>);

impl std::fmt::Debug for GuestFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GuestFile({} bytes)", self.0.len())
    }
}

impl GuestFile {
    /// The bytes in standard base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(&self.0)
    }

    /// The bytes that `text` is in standard base64.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_base64(text: &str) -> Result<Self, base64::DecodeError> {
        BASE64_STANDARD.decode(text.trim()).map(Self)
    }
}

impl Serialize for GuestFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for GuestFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_base64(&text).map_err(de::Error::custom)
    }
}

/// The agent and the workload of an environment.
///
/// The guest agent (`fused` is the reference one) is always there and carries exec, files, attach and health. The
/// spec says where it comes from, which workload it starts, and how that is told to end.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentSpec {
    /// Files that the agent brings, by absolute path. Written before the files of the caller.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, GuestFile>,
    /// Where the guest fetches the agent from when its image has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_url: Option<String>,
    /// The workload that the agent starts, run with `sh -lc`. None starts nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What a drain runs with `sh -lc`. None uses the standard one, an empty text runs nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_command: Option<String>,
    /// The token that the agent answers to. None makes a fresh one for each environment, which is what you want.
    #[serde(skip_serializing)]
    pub auth_token: Option<SecretString>,
    /// The gateway that the agent calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The token for the gateway.
    #[serde(skip_serializing)]
    pub gateway_token: Option<SecretString>,
}

impl AgentSpec {
    /// The drain command when the spec has none.
    pub const STANDARD_DRAIN: &'static str = "systemctl stop fused 2>/dev/null || pkill -TERM fused";

    /// The command that a drain runs; none when the spec has an empty one.
    #[must_use]
    pub fn drain(&self) -> Option<&str> {
        match self.drain_command.as_deref() {
            None => Some(Self::STANDARD_DRAIN),
            Some(text) if text.trim().is_empty() => None,
            Some(text) => Some(text),
        }
    }

    /// The spec without its secrets and files, as it is kept with the environment.
    #[must_use]
    pub fn kept(&self) -> Self {
        Self {
            files: BTreeMap::new(),
            download_url: self.download_url.clone(),
            command: self.command.clone(),
            drain_command: self.drain_command.clone(),
            auth_token: None,
            gateway: self.gateway.clone(),
            gateway_token: None,
        }
    }
}

/// A guest port to publish.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expose {
    /// The port in the guest, 1 to 65535.
    pub port: u16,
    /// The name to publish it under.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A published guest port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GuestEndpoint {
    /// The name it is published under.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is reached.
    pub url: String,
    /// The port in the guest.
    pub port: u16,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthcheckProbe {
    /// A GET request inside the guest; an answer from 200 to 399 passes.
    Http {
        /// The port, 1 to 65535.
        port: u16,
        /// The path, beginning with `/`.
        #[serde(default = "root")]
        path: String,
    },
    /// A command inside the guest; exit code 0 passes.
    Exec(Vec<String>),
}

fn root() -> String {
    "/".to_owned()
}

/// How the guest agent finds out whether the environment is well. It only reports; nothing is killed for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Healthcheck {
    /// What is asked.
    #[serde(flatten)]
    pub probe: HealthcheckProbe,
    /// Seconds between two checks; 0 means 10.
    #[serde(default)]
    pub interval_seconds: u32,
    /// Seconds that one check may take; 0 means 2.
    #[serde(default)]
    pub timeout_seconds: u32,
    /// Failures in a row until the state is failing; 0 means 3.
    #[serde(default)]
    pub retries: u32,
    /// Seconds after the start in which failures do not count.
    #[serde(default)]
    pub start_period_seconds: u32,
}

impl Healthcheck {
    /// Adds to `problems` what is wrong with the check.
    pub(crate) fn check(&self, problems: &mut Vec<Problem>) {
        match &self.probe {
            HealthcheckProbe::Http { port, path } => {
                if *port == 0 {
                    problems.push(Problem::new("healthcheck.http.port", "0 is not a port; use 1 to 65535"));
                }
                if !path.starts_with('/') {
                    problems.push(Problem::new("healthcheck.http.path", "must begin with /"));
                }
            }
            HealthcheckProbe::Exec(argv) if argv.is_empty() => {
                problems.push(Problem::new("healthcheck.exec", "needs at least a program"));
            }
            HealthcheckProbe::Exec(_) => {}
        }
        if self.interval_seconds > 0 && self.timeout_seconds > self.interval_seconds {
            let text = format!(
                "{} s is longer than the interval of {} s",
                self.timeout_seconds, self.interval_seconds
            );
            problems.push(Problem::new("healthcheck.timeout_seconds", text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_spec_do_not_serialise() {
        let spec = AgentSpec {
            gateway_token: Some("very-secret".into()),
            auth_token: Some("also-secret".into()),
            ..AgentSpec::default()
        };
        let text = format!("{} {spec:?}", serde_json::to_string(&spec).unwrap());
        assert!(!text.contains("secret\""), "{text}");
        assert!(!text.contains("very-secret") && !text.contains("also-secret"), "{text}");
    }

    #[test]
    fn the_empty_drain_command_runs_nothing() {
        let mut spec = AgentSpec::default();
        assert_eq!(spec.drain(), Some(AgentSpec::STANDARD_DRAIN));
        spec.drain_command = Some("  ".into());
        assert_eq!(spec.drain(), None);
    }

    #[test]
    fn healthchecks_have_exactly_one_probe() {
        let both = r#"{"http":{"port":80},"exec":["true"]}"#;
        assert!(serde_json::from_str::<Healthcheck>("{}").is_err());
        let one: Healthcheck = serde_json::from_str(r#"{"http":{"port":80}}"#).unwrap();
        assert_eq!(one.probe, HealthcheckProbe::Http { port: 80, path: "/".into() });
        // serde takes the first of two; the REST layer refuses a body with both.
        assert!(serde_json::from_str::<Healthcheck>(both).is_ok());
    }
}
