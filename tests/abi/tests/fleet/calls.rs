//! Calls through a driver.

use std::path::Path;

use fuse_conformance::host::to_hex;

#[path = "../player/driver.rs"]
mod driver;

use driver::{Driver, Reply};

use super::Server;
use super::step::Outcome;

/// In which of their forms calls are made.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// They wait.
    Now,
    /// They tell a completion.
    Later,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Later => "later",
        }
    }
}

/// Where the control plane is.
#[derive(Clone, Copy)]
pub(crate) enum Reach<'a> {
    /// In the driver.
    Inside,
    /// Behind the REST API.
    Server(&'a Server),
}

/// Why a call failed.
pub(crate) struct Refusal {
    /// The code of the REST API, as the status of the call says it.
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What a call came to.
pub(super) struct Answer(Outcome);

impl Answer {
    pub(super) fn outcome(self) -> Outcome {
        self.0
    }

    /// The answer of what must not fail.
    pub(super) fn good(self) -> Result<String, String> {
        self.0.map_err(|error| format!("failed with {}: {}", error.code, error.message))
    }
}

/// The good answer of what must not fail.
pub(super) trait Good {
    fn good(self) -> Result<String, String>;
}

impl Good for Outcome {
    fn good(self) -> Result<String, String> {
        Answer(self).good()
    }
}

pub(super) struct Calls(Driver);

impl Calls {
    pub(super) fn start(program: &Path, form: Form) -> Result<Self, String> {
        let mut driver = Driver::start(program)?;
        match form {
            Form::Now => Ok(Self(driver)),
            Form::Later => driver.call("later")?.words().map(|_| Self(driver)),
        }
    }

    /// Makes a call; none is NULL.
    pub(super) fn make(&mut self, name: &str, args: &[Option<&str>]) -> Result<Answer, String> {
        let mut line = name.to_owned();
        for arg in args {
            let word = match arg {
                None => ".".into(),
                Some("") => "-".into(),
                Some(text) => to_hex(text.as_bytes()),
            };
            line = format!("{line} {word}");
        }
        match self.0.call(&line)? {
            Reply::Ok(words) => {
                driver::unhex(words.first().map_or("", String::as_str)).map(|text| Answer(Ok(text)))
            }
            Reply::Err { kind, text } => refusal(&kind, &text).map(|refusal| Answer(Err(refusal))),
        }
    }

    /// Closes the orchestrator, and lets the driver end.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.make("close", &[])?.good()?;
        self.0.end()
    }
}

/// The code that a status stands for. A body of the REST API must say the same.
fn refusal(kind: &str, text: &str) -> Result<Refusal, String> {
    let code = match kind {
        "InvalidArg" => "invalid_argument",
        "NotFound" => "not_found",
        "14" => "conflict",
        "15" => "unauthorized",
        "16" => "unavailable",
        "17" => "unimplemented",
        "18" => "payload_too_large",
        "19" => "internal",
        other => other,
    };
    let (code, mut message) = (code.to_owned(), text.to_owned());
    if let Ok(body) = serde_json::from_str::<fuse_orchestrator::wire::ErrorBody>(text) {
        if body.error.code != code {
            return Err(format!("the status says {code}, the body {text}"));
        }
        message = body.error.message;
    }
    Ok(Refusal { code, message })
}
