//! The bodies that are about the service itself.

use serde::{Deserialize, Serialize};

use super::Secret;

/// What `/v1/version` names as the service. Clients insist on it.
pub const SERVICE: &str = "fuse-orchestrator";

/// Body of POST /login.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Login {
    /// The master token.
    #[serde(default)]
    pub token: Secret,
}

/// Answer of GET /v1/version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Version {
    /// Which service this is: [`SERVICE`].
    pub service: String,
    /// Its version.
    pub version: String,
}

/// Answer of GET /health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ServiceHealth))]
pub struct Health {
    /// `ok`.
    pub status: String,
}

impl Default for Health {
    fn default() -> Self {
        Self { status: "ok".to_owned() }
    }
}

/// Answer of GET /ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Readiness {
    /// `ready` or `not_ready`.
    pub status: String,
    /// What was looked at.
    pub checks: Checks,
}

/// What readiness looks at: `ok`, or what is wrong, at most 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Checks {
    /// The store.
    pub state_store: String,
    /// The hosts.
    pub fleet: String,
}

impl Readiness {
    /// The answer for what the two checks found. Long texts are cut to 200 characters.
    #[must_use]
    pub fn of(state_store: Result<(), String>, fleet: Result<(), String>) -> Self {
        let ready = state_store.is_ok() && fleet.is_ok();
        Self {
            status: if ready { "ready" } else { "not_ready" }.to_owned(),
            checks: Checks { state_store: verdict(state_store), fleet: verdict(fleet) },
        }
    }

    /// Whether everything is well.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status == "ready"
    }
}

fn verdict(result: Result<(), String>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(mut why) => {
            if let Some((end, _)) = why.char_indices().nth(200) {
                why.truncate(end);
                why.push_str("…(truncated)");
            }
            why
        }
    }
}
