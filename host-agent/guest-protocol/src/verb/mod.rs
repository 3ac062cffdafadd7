//! What a host can ask of a guest.
//!
//! Arguments and answers are JSON objects. Fields that are not known are ignored, and fields that are missing have the
//! defaults below, so that either side may be older than the other.

mod agent;
mod exec;
mod file;
mod machine;
mod workload;

use serde::{Serialize, de::DeserializeOwned};

pub use agent::{
    AgentInfo, Health, HealthRequest, HealthState, Hello, InfoRequest, LogSource, Logs, SetToken,
};
pub use exec::{Attach, Exec, ExecResult, SignalRequest, Size};
pub use file::{Download, FileFacts, Upload};
pub use machine::{
    Freeze, FreezeResult, Network, PowerOff, Renew, RenewResult, SetTime, Shutdown, Sync, SyncResult, Thaw,
    ThawResult, TimeFacts,
};
pub use workload::{
    Drain, DrainResult, StartWorkload, StopWorkload, WorkloadFacts, WorkloadState, WorkloadStatus,
};

/// The verbs. The numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Verb {
    /// Proves with a token that this is the VM's host. Before it, only `hello` and `health` are answered.
    Hello = 1,
    /// Whether the agent lives, and what the health check says.
    Health = 2,
    /// What the agent is and has.
    Info = 3,
    /// Runs a program. INPUT in, OUTPUT and ERROR out.
    Exec = 4,
    /// Writes a file. INPUT in.
    Upload = 5,
    /// Reads a file. OUTPUT out.
    Download = 6,
    /// Runs a program on a terminal. INPUT in, OUTPUT out.
    Attach = 7,
    /// Starts the workload.
    StartWorkload = 8,
    /// Ends the workload.
    StopWorkload = 9,
    /// What the workload does.
    WorkloadStatus = 10,
    /// Tells the workload to finish, and waits for it.
    Drain = 11,
    /// Sets the clock.
    SetTime = 12,
    /// After a restore: new entropy, identity, clock, address and token.
    Renew = 13,
    /// Writes everything that is in memory to the disks.
    Sync = 14,
    /// Reads a log. OUTPUT out.
    Logs = 15,
    /// Ends the machine.
    Shutdown = 16,
    /// Replaces the token of the host's channel.
    SetToken = 17,
    /// Sets the address of an interface.
    Network = 18,
    /// Has every program that the agent has started stand still, before the machine's memory is saved.
    Freeze = 19,
    /// Lets them go on.
    Thaw = 20,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 20] = [
        Self::Hello,
        Self::Health,
        Self::Info,
        Self::Exec,
        Self::Upload,
        Self::Download,
        Self::Attach,
        Self::StartWorkload,
        Self::StopWorkload,
        Self::WorkloadStatus,
        Self::Drain,
        Self::SetTime,
        Self::Renew,
        Self::Sync,
        Self::Logs,
        Self::Shutdown,
        Self::SetToken,
        Self::Network,
        Self::Freeze,
        Self::Thaw,
    ];

    /// The verb with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| *verb as u16 == number)
    }

    /// The verb as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Health => "health",
            Self::Info => "info",
            Self::Exec => "exec",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Attach => "attach",
            Self::StartWorkload => "start_workload",
            Self::StopWorkload => "stop_workload",
            Self::WorkloadStatus => "workload_status",
            Self::Drain => "drain",
            Self::SetTime => "set_time",
            Self::Renew => "renew",
            Self::Sync => "sync",
            Self::Logs => "logs",
            Self::Shutdown => "shutdown",
            Self::SetToken => "set_token",
            Self::Network => "network",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
        }
    }

    /// Whether it is answered before hello.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Hello | Self::Health)
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The arguments of a verb.
pub trait Request: Serialize + DeserializeOwned {
    /// The verb.
    const VERB: Verb;
    /// What a good RESULT holds.
    type Answer: Serialize + DeserializeOwned;
}

/// The answer of a verb that has nothing to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
pub struct Done {}

macro_rules! requests {
    ($($request:ident -> $answer:ty: $verb:ident;)*) => {
        $(impl Request for $request {
            const VERB: Verb = Verb::$verb;
            type Answer = $answer;
        })*
    };
}

requests! {
    Hello -> AgentInfo: Hello;
    HealthRequest -> Health: Health;
    InfoRequest -> AgentInfo: Info;
    Exec -> ExecResult: Exec;
    Upload -> FileFacts: Upload;
    Download -> FileFacts: Download;
    Attach -> ExecResult: Attach;
    StartWorkload -> WorkloadFacts: StartWorkload;
    StopWorkload -> WorkloadFacts: StopWorkload;
    WorkloadStatus -> WorkloadFacts: WorkloadStatus;
    Drain -> DrainResult: Drain;
    SetTime -> TimeFacts: SetTime;
    Renew -> RenewResult: Renew;
    Sync -> SyncResult: Sync;
    Logs -> Done: Logs;
    Shutdown -> Done: Shutdown;
    SetToken -> Done: SetToken;
    Network -> Done: Network;
    Freeze -> FreezeResult: Freeze;
    Thaw -> ThawResult: Thaw;
}

/// Bytes in JSON: standard base64.
pub(crate) mod base64_bytes {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_page_and_unique() {
        for (index, verb) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(verb as usize, index + 1);
            assert_eq!(Verb::from_number(verb as u16), Some(verb));
        }
        assert_eq!(Verb::from_number(0), None);
    }

    #[test]
    fn the_shortest_arguments_of_a_small_guest_are_taken() {
        let exec: Exec = serde_json::from_str(r#"{"argv":["true"]}"#).unwrap();
        assert_eq!(exec, Exec::argv(["true"]));
        let answer: ExecResult = serde_json::from_str(r#"{"exit_code":0}"#).unwrap();
        assert_eq!(answer, ExecResult::default());
        serde_json::from_str::<AgentInfo>("{}").unwrap();
        serde_json::from_str::<Health>("{}").unwrap();
        serde_json::from_str::<FileFacts>("{}").unwrap();
        serde_json::from_str::<RenewResult>("{}").unwrap();
    }

    #[test]
    fn secrets_do_not_show() {
        let token = crate::Token::new("0123456789abcdef").unwrap();
        let mut exec = Exec::shell("true");
        exec.env.insert("KEY".into(), "secret-value".into());
        let shown = format!("{:?} {exec:?}", Hello { token: Some(token) });
        assert!(!shown.contains("0123456789") && !shown.contains("secret-value"), "{shown}");
    }
}
