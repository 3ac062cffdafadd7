//! The data of a scenario, as `docs/scenarios.md` describes it. Unknown fields are errors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// One scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in a sentence.
    pub about: String,
    /// Ids of the requirements that it covers.
    pub covers: Vec<String>,
    /// What a runner must be able to do; one that cannot skips the scenario and says so.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// The `application` of the runtime, as in `app_config.json`.
    #[serde(default)]
    pub application: Option<Value>,
    /// Whether the runtime may compile what it loads; default is yes.
    #[serde(default = "yes")]
    pub compile_on_load: bool,
    /// `RuntimeConfig::stack_bytes_max`, when it is not the default.
    #[serde(default)]
    pub stack_bytes_max: Option<u32>,
    /// The modules that steps load, by handle.
    #[serde(default)]
    pub modules: BTreeMap<String, Source>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// An ability of a runner.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// A real quota timer; the clock stays manual.
    QuotaTimer,
    /// Callbacks that can call the runtime that called them.
    Reentry,
    /// Callbacks that can return a value of another type than their signature says.
    WrongTypes,
}

/// A module, and what it is loaded with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The module's text, line by line.
    #[serde(default)]
    pub wat: Vec<String>,
    /// Or a file beside the scenario.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Or bytes, in hexadecimal, that are loaded as they are.
    #[serde(default)]
    pub hex: Option<String>,
    /// Its policy as JSON.
    #[serde(default)]
    pub policy: Option<Value>,
    /// Or as 32 bytes in hexadecimal.
    #[serde(default)]
    pub policy_hex: Option<String>,
    /// How it is compiled, where that is not as the runtime expects.
    #[serde(default)]
    pub compile: Compile,
}

/// Deviations of the compiler's options.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compile {
    /// `wall`, `fuel` or `both`; default is the application's.
    #[serde(default)]
    pub metering: Option<String>,
    /// A target; default is the one that the run is for.
    #[serde(default)]
    pub target: Option<String>,
    /// Whether the artifact carries the portable module; default is no.
    #[serde(default)]
    pub portable: bool,
}

/// One step and what must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// The kind of error that must come back; none means success.
    pub error: Option<String>,
    /// Texts that the error's message must contain.
    pub message: Vec<String>,
    /// How often it is done, each time with the same expectation.
    pub times: u32,
    /// The step as the file has it, for messages.
    pub text: String,
}

impl TryFrom<Map<String, Value>> for Step {
    type Error = String;

    fn try_from(mut map: Map<String, Value>) -> Result<Self, String> {
        let text = Value::Object(map.clone()).to_string();
        let place = |e: serde_json::Error| format!("step {text}: {e}");
        let error = map.remove("error").map(serde_json::from_value).transpose().map_err(place)?;
        let message =
            map.remove("message").map(serde_json::from_value::<Texts>).transpose().map_err(place)?;
        let times = map.remove("times").map(serde_json::from_value).transpose().map_err(place)?;
        map.remove("why");
        let action = serde_json::from_value(Value::Object(map)).map_err(place)?;
        let message = message.map_or_else(Vec::new, |t| t.0);
        Ok(Self { action, error, message, times: times.unwrap_or(1), text })
    }
}

/// One text or several.
#[derive(Clone, Debug, Default)]
pub struct Texts(pub Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match Form::deserialize(deserializer)? {
            Form::One(text) => vec![text],
            Form::Many(texts) => texts,
        }))
    }
}

/// What a step does.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Compiles a module and loads the artifact.
    Load {
        /// Key in `modules`.
        module: String,
        /// The handle for later steps; default is the key.
        #[serde(rename = "as", default)]
        handle: Option<String>,
        /// Name in the runtime; default is the handle.
        #[serde(default)]
        name: Option<String>,
        /// Damage done to the artifact first.
        #[serde(default)]
        damage: Option<Damage>,
    },
    /// Starts a module.
    Start {
        /// Its handle.
        module: String,
    },
    /// Pauses a module.
    Pause {
        /// Its handle.
        module: String,
    },
    /// Steps a module.
    RunStep {
        /// Its handle.
        module: String,
    },
    /// Unloads a module.
    Unload {
        /// Its handle.
        module: String,
    },
    /// Restarts a module from its artifact.
    RestartModule {
        /// Its handle.
        module: String,
    },
    /// Replaces a module's artifact.
    Update {
        /// Its handle.
        module: String,
        /// Key in `modules` of the new artifact.
        with: String,
        /// Damage done to the artifact first.
        #[serde(default)]
        damage: Option<Damage>,
    },
    /// One tick.
    Tick {
        /// Handles of the modules that must run, in this order.
        #[serde(default)]
        ran: Option<Vec<String>>,
        /// Those of them that must fail, with the kind of error.
        #[serde(default)]
        failed: BTreeMap<String, String>,
    },
    /// Posts an event.
    Post {
        /// Its id.
        event: u32,
        /// Whether the shared handle is used, from another thread.
        #[serde(default)]
        from_thread: bool,
    },
    /// Clears an event in every latch.
    Clear {
        /// Its id.
        event: u32,
    },
    /// Stops the runtime.
    Stop,
    /// Lifts the stop.
    Restart,
    /// Moves the clock.
    Clock {
        /// To this time in µs.
        #[serde(default)]
        set_us: Option<u64>,
        /// Forward by this many µs.
        #[serde(default)]
        advance_us: Option<u64>,
    },
    /// Registers a built-in callback.
    Callback {
        /// The import that it serves.
        function: String,
        /// What it does at each call; the last entry is repeated.
        script: Vec<Answer>,
    },
    /// Registers a group of host functions.
    Group(Group),
    /// Parses an application configuration, makes a new runtime of it and loads its modules; a module's
    /// `binary` is a key in `modules`.
    App {
        /// As JSON.
        #[serde(default)]
        config: Option<Value>,
        /// Or as text, line by line, where JSON values cannot say it.
        #[serde(default)]
        text: Vec<String>,
        /// Whether it goes through the binary form, with the artifacts inside.
        #[serde(default)]
        packed: bool,
        /// Whether it is only parsed.
        #[serde(default)]
        parse_only: bool,
        /// The host groups to register before the modules are loaded.
        #[serde(default)]
        groups: Vec<Group>,
        /// Damage done to the binary form first.
        #[serde(default)]
        damage: Option<Damage>,
    },
    /// Parses a policy and compares its binary form.
    Policy {
        /// As JSON.
        #[serde(default)]
        json: Option<Value>,
        /// As text of JSON, line by line.
        #[serde(default)]
        text: Vec<String>,
        /// Or as binary, in hexadecimal.
        #[serde(default)]
        hex: Option<String>,
        /// The binary form that must come out, in hexadecimal.
        #[serde(default)]
        binary: Option<String>,
        /// The fuel quota that must come out.
        #[serde(default)]
        fuel_quota: Option<u64>,
        /// The priority that must come out.
        #[serde(default)]
        priority: Option<u8>,
    },
    /// Looks at the runtime.
    Check(Box<Check>),
}

/// Damage done to an artifact.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Damage {
    /// Cut to this length.
    Truncate(usize),
    /// Cut by this many bytes.
    Drop(usize),
    /// This bit, counted from the front, is inverted.
    FlipBit(usize),
    /// This bit, counted from the last byte's highest backwards, is inverted.
    FlipBitFromEnd(usize),
    /// This many zero bytes are added.
    Append(usize),
}

/// A group of host functions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its capability bit.
    pub bit: u8,
    /// Its functions.
    pub functions: Vec<Function>,
}

/// One function of a host group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// The import's name.
    pub name: String,
    /// `i32`, `i64`, `f32`, `f64`, `in`, `out`, `inout`.
    #[serde(default)]
    pub params: Vec<String>,
    /// At most one of `i32`, `i64`, `f32`, `f64`.
    #[serde(default)]
    pub results: Vec<String>,
    /// What it does at each call; the last entry is repeated. Empty: returns 0 or nothing.
    #[serde(default)]
    pub script: Vec<Answer>,
}

/// What a callback does when it is called.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The number that it returns.
    #[serde(rename = "return", default)]
    pub value: Option<serde_json::Number>,
    /// It returns the time of the clock.
    #[serde(default)]
    pub clock: bool,
    /// It returns a number of another type than the signature says.
    #[serde(default)]
    pub return_wrong_type: bool,
    /// Bytes, in hexadecimal, that it writes to the first writable buffer, as many as fit.
    #[serde(default)]
    pub bytes: Option<String>,
    /// A claim of the camera to have written this many bytes, whatever it wrote.
    #[serde(default)]
    pub claim: Option<usize>,
    /// The code that it fails with.
    #[serde(default)]
    pub fail: Option<i32>,
    /// It moves the clock by this first.
    #[serde(default)]
    pub advance_us: u64,
    /// It posts these events.
    #[serde(default)]
    pub post: Vec<u32>,
    /// It works for this many real microseconds.
    #[serde(default)]
    pub spin_us: u64,
    /// It tries this call on the runtime that is calling it (runners with the ability `reentry`); the error
    /// kind that it gets must be WrongState.
    #[serde(default)]
    pub reenter: Option<String>,
}

/// What must be true of the runtime. Absent fields are not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// State by handle.
    #[serde(default)]
    pub states: BTreeMap<String, String>,
    /// All log records since the last check of the log.
    #[serde(default)]
    pub log: Option<Vec<LogEntry>>,
    /// How many records of modules were overwritten.
    #[serde(default)]
    pub lost: Option<u64>,
    /// How many security records were overwritten.
    #[serde(default)]
    pub lost_security: Option<u64>,
    /// Calls of callbacks since the last check that names the function, with their arguments.
    #[serde(default)]
    pub calls: BTreeMap<String, Vec<Vec<Value>>>,
    /// Statistics by handle.
    #[serde(default)]
    pub stats: BTreeMap<String, BTreeMap<String, Bound>>,
    /// Latched events by handle, as a mask.
    #[serde(default)]
    pub latch: BTreeMap<String, u32>,
    /// Texts in the description of why a module failed, by handle; null: it has not failed.
    #[serde(default)]
    pub failure: BTreeMap<String, Option<Texts>>,
    /// How long until a module is due, in µs; null: for ever.
    #[serde(default, deserialize_with = "present")]
    pub next_deadline_us: Option<Option<u64>>,
    /// How many modules are loaded.
    #[serde(default)]
    pub loaded: Option<usize>,
    /// Handles that must name a module by the given name.
    #[serde(default)]
    pub named: BTreeMap<String, String>,
}

const fn yes() -> bool {
    true
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A number, or a range.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Bound {
    /// Exactly this.
    Exact(u64),
    /// Between these, both included.
    Range {
        /// The least.
        #[serde(default)]
        min: Option<u64>,
        /// The most.
        #[serde(default)]
        max: Option<u64>,
    },
}

impl Bound {
    /// Whether the number fits.
    #[must_use]
    pub fn admits(self, n: u64) -> bool {
        match self {
            Self::Exact(exact) => n == exact,
            Self::Range { min, max } => min.is_none_or(|m| n >= m) && max.is_none_or(|m| n <= m),
        }
    }
}

/// One log record that must be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// Who it is from or about; null: no module.
    pub module: Option<String>,
    /// `debug`, `info` or `fatal`.
    pub level: String,
    /// `module` or `security`.
    pub source: String,
    /// The whole text.
    #[serde(default)]
    pub text: Option<String>,
    /// Texts in it.
    #[serde(default)]
    pub contains: Option<Texts>,
    /// The time in µs.
    #[serde(default)]
    pub at_us: Option<u64>,
}

impl Damage {
    /// The artifact, damaged.
    #[must_use]
    pub fn apply(self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Truncate(len) => bytes.truncate(len),
            Self::Drop(count) => bytes.truncate(bytes.len().saturating_sub(count)),
            Self::Append(count) => bytes.resize(bytes.len() + count, 0),
            Self::FlipBit(bit) => {
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::FlipBitFromEnd(bit) => {
                if let Some(byte) = bytes.iter_mut().rev().nth(bit / 8) {
                    *byte ^= 0x80 >> (bit % 8);
                }
            }
        }
        bytes
    }
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a scenario.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{} is not a scenario: {e}", path.display()))
    }

    /// The scenario files of a folder, in order of name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
        let place = |e: std::io::Error| format!("cannot list {}: {e}", folder.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(place)? {
            let path = entry.map_err(place)?.path();
            if path.extension().is_some_and(|e| e == "json") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}
