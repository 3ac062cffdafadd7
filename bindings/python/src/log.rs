//! Records of the log, and their way into `logging`.

use fuse_runtime::edge::{self, log as core};
use pyo3::prelude::*;

/// One entry of a runtime's log.
#[pyclass(frozen, get_all, module = "fuse_runtime")]
pub(crate) struct LogRecord {
    /// Position in the whole log; it starts at 0 and grows by one with each record.
    pub(crate) sequence: u64,
    /// When, in microseconds of the runtime's clock.
    pub(crate) timestamp_us: u64,
    /// The id of the module that wrote it or that it is about; `None` for a refused load.
    pub(crate) module_id: Option<u64>,
    /// That module's name, while it is loaded.
    pub(crate) module: Option<String>,
    /// `debug`, `info` or `fatal`.
    pub(crate) level: &'static str,
    /// `module`, or `security` for what the runtime itself says.
    pub(crate) source: &'static str,
    /// What it says, at most 127 bytes.
    pub(crate) text: String,
}

impl LogRecord {
    /// A record as Python sees it.
    pub(crate) fn new(record: &core::LogRecord, runtime: &edge::Runtime) -> Self {
        let source = match record.source {
            core::LogSource::Module => "module",
            core::LogSource::Security => "security",
        };
        let name = |id| runtime.module(id).ok().map(|m| m.name.to_owned());
        Self {
            sequence: record.sequence,
            timestamp_us: record.timestamp_us,
            module_id: record.module.map(edge::ModuleId::to_u64),
            module: record.module.and_then(name),
            level: record.level.name(),
            source,
            text: record.text.as_str().to_owned(),
        }
    }

    /// The records from a sequence number on.
    pub(crate) fn since(sequence: u64, runtime: &edge::Runtime) -> Vec<Self> {
        runtime.log().read_from(sequence).map(|record| Self::new(record, runtime)).collect()
    }
}

#[pymethods]
impl LogRecord {
    fn __repr__(&self) -> String {
        let module = self.module.as_deref().map_or_else(|| "None".into(), |name| format!("{name:?}"));
        format!(
            "LogRecord(sequence={}, timestamp_us={}, module={module}, level={:?}, source={:?}, text={:?})",
            self.sequence, self.timestamp_us, self.level, self.source, self.text
        )
    }
}

/// Hands records to the logger that the runtime was made with.
pub(crate) fn emit(py: Python<'_>, logger: &Py<PyAny>, records: Vec<LogRecord>) -> PyResult<()> {
    py.import("fuse_runtime._logging")?.call_method1("emit", (logger, records))?;
    Ok(())
}
