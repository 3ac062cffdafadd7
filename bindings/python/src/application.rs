//! Applications: what the runtime is allowed, and which modules run under which policies.

use fuse_runtime::edge;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::fault::OrRaise;
use crate::policy::{Policy, json};

/// What concerns the whole runtime. The fields are those of `application` in `app_config.json`, read by the same strict
/// parser: `name`, `description`, `max_modules`, `memory_pool_bytes`, `log_pool_bytes`, `metering` (`wall`, `fuel`, `both`),
/// `hal_groups`, `custom_groups`, `events`.
///
/// >>> Application(name="camera", max_modules=4, events={"FRAME": 3}).events
/// {'FRAME': 3}
#[pyclass(frozen, eq, module = "fuse_runtime")]
#[derive(Clone, PartialEq)]
pub(crate) struct Application(pub(crate) edge::Application);

/// An application that is given as an `Application`, as a mapping of its fields, or not at all.
pub(crate) fn application_of(application: Option<&Bound<'_, PyAny>>) -> PyResult<edge::Application> {
    let Some(application) = application else { return Ok(edge::Application::default()) };
    if let Ok(application) = application.cast::<Application>() {
        return Ok(application.get().0.clone());
    }
    if let Ok(config) = application.cast::<AppConfig>() {
        return Ok(config.get().0.application.clone());
    }
    let fields = PyDict::new(application.py());
    fields.update(application.cast()?)?;
    parse(&fields)
}

fn parse(fields: &Bound<'_, PyDict>) -> PyResult<edge::Application> {
    let py = fields.py();
    let fields = fields.copy()?;
    if !fields.contains("name")? {
        fields.set_item("name", "python")?;
    }
    let whole = PyDict::new(py);
    whole.set_item("application", fields)?;
    Ok(edge::AppConfig::from_json(&json(whole.as_any())?).or_raise(py)?.application)
}

#[pymethods]
impl Application {
    #[new]
    #[pyo3(signature = (**fields))]
    fn new(py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let none = PyDict::new(py);
        parse(fields.unwrap_or(&none)).map(Self)
    }

    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Free text.
    #[getter]
    fn description(&self) -> &str {
        &self.0.description
    }

    /// Most modules at a time.
    #[getter]
    fn max_modules(&self) -> u32 {
        self.0.max_modules
    }

    /// Most bytes of linear memory of all modules together; 0 = unlimited.
    #[getter]
    fn memory_pool_bytes(&self) -> u64 {
        self.0.memory_pool_bytes
    }

    /// Bytes for the log.
    #[getter]
    fn log_pool_bytes(&self) -> u64 {
        self.0.log_pool_bytes
    }

    /// How quotas are metered: `wall`, `fuel` or `both`.
    #[getter]
    fn metering(&self) -> &'static str {
        self.0.metering.name()
    }

    /// The capabilities that policies may ask for, as a mask: built-in groups and the host's own.
    #[getter]
    fn capabilities(&self) -> u32 {
        self.0.capabilities().bits()
    }

    /// Event ids by name.
    #[getter]
    fn events<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let events = PyDict::new(py);
        for (name, id) in &self.0.events {
            events.set_item(name, id.get())?;
        }
        Ok(events)
    }

    fn __repr__(&self) -> String {
        let a = &self.0;
        format!(
            "Application(name={:?}, max_modules={}, metering={:?})",
            a.name,
            a.max_modules,
            a.metering.name()
        )
    }
}

/// One module of an application.
#[pyclass(frozen, eq, module = "fuse_runtime")]
#[derive(Clone, PartialEq)]
pub(crate) struct ModuleDecl(edge::ModuleDecl);

#[pymethods]
impl ModuleDecl {
    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Where its artifact is, relative to the configuration.
    #[getter]
    fn binary(&self) -> &str {
        &self.0.binary
    }

    /// What it may do.
    #[getter]
    fn policy(&self) -> Policy {
        Policy(self.0.policy.clone())
    }

    /// The artifact itself, when the configuration carries it.
    #[getter]
    fn artifact<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.artifact.as_deref().map(|bytes| PyBytes::new(py, bytes))
    }

    fn __repr__(&self) -> String {
        format!("ModuleDecl(name={:?}, binary={:?})", self.0.name, self.0.binary)
    }
}

/// An application with its modules: one reviewable file.
#[pyclass(frozen, eq, module = "fuse_runtime")]
#[derive(Clone, PartialEq)]
pub(crate) struct AppConfig(pub(crate) edge::AppConfig);

#[pymethods]
impl AppConfig {
    /// Reads `app_config.json`. What is wrong is named with its JSON path.
    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        edge::AppConfig::from_json(text).map(Self).or_raise(py)
    }

    /// Reads a packed application; its hashes are checked first.
    #[staticmethod]
    fn from_binary(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        edge::AppConfig::from_binary(data).map(Self).or_raise(py)
    }

    /// Packs the application, with the artifacts that it carries.
    fn to_binary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.0.to_binary().or_raise(py)?))
    }

    /// A configuration that carries these artifacts, by the names of the modules.
    fn with_artifacts(&self, artifacts: std::collections::HashMap<String, Vec<u8>>) -> Self {
        let mut config = self.0.clone();
        for module in &mut config.modules {
            if let Some(artifact) = artifacts.get(&module.name) {
                module.artifact = Some(artifact.clone());
            }
        }
        Self(config)
    }

    /// What concerns the runtime.
    #[getter]
    fn application(&self) -> Application {
        Application(self.0.application.clone())
    }

    /// The modules, in load order.
    #[getter]
    fn modules(&self) -> Vec<ModuleDecl> {
        self.0.modules.iter().cloned().map(ModuleDecl).collect()
    }

    fn __repr__(&self) -> String {
        format!("AppConfig(name={:?}, modules={})", self.0.application.name, self.0.modules.len())
    }
}

impl From<edge::ModuleDecl> for ModuleDecl {
    fn from(decl: edge::ModuleDecl) -> Self {
        Self(decl)
    }
}
