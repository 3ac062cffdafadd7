//! Records of the log.

use fuse_runtime::edge::{self, log as core};
use napi_derive::napi;

/// One entry of a runtime's log.
#[napi(object)]
pub struct Record {
    /// Position in the whole log.
    pub sequence: i64,
    /// When, in microseconds of the runtime's clock.
    pub timestamp_us: i64,
    /// The module that it is about: the two halves of its id.
    pub slot: Option<u32>,
    /// The other half.
    pub generation: Option<u32>,
    /// That module's name, while it is loaded.
    pub module: Option<String>,
    /// `debug`, `info` or `fatal`.
    pub level: String,
    /// `module` or `security`.
    pub source: String,
    /// What it says.
    pub text: String,
}

/// The kept records from a sequence number on.
pub(crate) fn since(sequence: u64, rt: &edge::Runtime) -> Vec<Record> {
    let shown = |record: &core::LogRecord| {
        let source = match record.source {
            core::LogSource::Module => "module",
            core::LogSource::Security => "security",
        };
        let raw = record.module.map(edge::ModuleId::to_u64);
        Record {
            sequence: record.sequence.cast_signed(),
            timestamp_us: record.timestamp_us.cast_signed(),
            slot: raw.map(|id| id as u32),
            generation: raw.map(|id| (id >> 32) as u32),
            module: record.module.and_then(|id| rt.module(id).ok().map(|m| m.name.to_owned())),
            level: record.level.name().to_owned(),
            source: source.to_owned(),
            text: record.text.as_str().to_owned(),
        }
    };
    rt.log().read_from(sequence).map(shown).collect()
}
