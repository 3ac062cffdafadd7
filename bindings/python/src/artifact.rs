//! Ahead-of-time artifacts.

use fuse_runtime::edge::artifact::{self as core, CompileOptions, CpuLevel, Target};
use fuse_runtime::edge::{self, Metering, TrapMode};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::fault::{OrRaise, exception};

/// What an artifact is, after its hashes have been checked.
#[pyclass(frozen, get_all, module = "fuse_runtime")]
pub(crate) struct Artifact {
    /// The engine that its code needs, such as `wasmtime-48.0.8/x86_64/v2/0123456789abcdef`.
    identity: String,
    /// What its code runs on.
    target: &'static str,
    /// `wall`, `fuel` or `both`.
    metering: &'static str,
    /// `explicit` or `signals`.
    traps: &'static str,
    /// Size of its code, in bytes.
    code_bytes: usize,
    /// SHA-256 of its code, in hexadecimal.
    code_sha256: String,
    /// The WebAssembly that it carries, if it does.
    portable: Option<Py<PyBytes>>,
}

#[pymethods]
impl Artifact {
    fn __repr__(&self) -> String {
        format!(
            "Artifact(identity={:?}, metering={:?}, traps={:?}, code_bytes={})",
            self.identity, self.metering, self.traps, self.code_bytes
        )
    }
}

fn unknown(py: Python<'_>, what: &str, name: &str, known: &[&str]) -> PyErr {
    let message = format!("`{name}` is no {what}; known are {}", known.join(", "));
    exception(py, edge::ErrorKind::InvalidArg, &message)
}

/// The trap mode of this name.
pub(crate) fn traps_of(py: Python<'_>, name: &str) -> PyResult<TrapMode> {
    let all = [TrapMode::Explicit, TrapMode::Signals];
    all.into_iter()
        .find(|t| t.name() == name)
        .ok_or_else(|| unknown(py, "trap mode", name, &all.map(TrapMode::name)))
}

/// Compiles WebAssembly (binary or text) into an artifact. The interpreter lock is released meanwhile.
///
/// >>> artifact = compile('(module (func (export "module_step")))', target="pulley64")
/// >>> inspect(artifact).target
/// 'pulley64'
#[pyfunction]
#[pyo3(signature = (source, *, target = None, metering = "wall", cpu = "common", traps = "explicit", portable = true))]
pub(crate) fn compile<'py>(
    py: Python<'py>,
    source: Source,
    target: Option<&str>,
    metering: &str,
    cpu: &str,
    traps: &str,
    portable: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let target = match target {
        None => Target::default_here(),
        Some(name) => Target::from_name(name)
            .ok_or_else(|| unknown(py, "target", name, &Target::ALL.map(Target::name)))?,
    };
    let metering = Metering::from_name(metering)
        .ok_or_else(|| unknown(py, "metering", metering, &Metering::ALL.map(Metering::name)))?;
    let cpu = CpuLevel::from_name(cpu)
        .ok_or_else(|| unknown(py, "processor level", cpu, &CpuLevel::ALL.map(CpuLevel::name)))?;
    let options = CompileOptions { metering, target, cpu, traps: traps_of(py, traps)?, portable };
    let compiled = py.detach(|| core::compile(source.bytes(), &options)).or_raise(py)?;
    Ok(PyBytes::new(py, &compiled))
}

/// Checks an artifact's hashes and says what it is.
#[pyfunction]
pub(crate) fn inspect(py: Python<'_>, artifact: &[u8]) -> PyResult<Artifact> {
    let parsed = core::Artifact::parse(artifact)
        .map_err(|e| exception(py, edge::ErrorKind::LoadFailed, &format!("cannot read the artifact: {e}")))?;
    Ok(Artifact {
        identity: parsed.identity.to_string(),
        target: parsed.identity.target.name(),
        metering: parsed.metering.name(),
        traps: parsed.traps.name(),
        code_bytes: parsed.code.bytes.len(),
        code_sha256: parsed.code.sha256.iter().map(|b| format!("{b:02x}")).collect(),
        portable: parsed.portable.map(|p| PyBytes::new(py, p.bytes).unbind()),
    })
}

/// A module as a program has it: bytes, or the text format.
#[derive(FromPyObject)]
pub(crate) enum Source {
    /// The text format.
    Text(String),
    /// An artifact, WebAssembly, or the text format as bytes.
    Bytes(pyo3::pybacked::PyBackedBytes),
}

impl Source {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}
