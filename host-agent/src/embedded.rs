//! A control plane in this process whose program chose what runs its environments: what C, Python and Node open.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use fuse_orchestrator::{ControlPlane, Error, Orchestrator, Problem, Result, model::HostId};
use serde::Serialize;

use crate::{
    LocalVms,
    embed::{HOST, state_in},
};

/// What the host `default` of a control plane in this process is to be: the names of `fuse serve --provider`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ProviderChoice {
    /// VMs of this machine where there can be some, else the stub, with a warning that says why.
    #[default]
    Auto,
    /// VMs of this machine, or an error that says what is missing.
    Local,
    /// The stub: commands run in memory, and nothing is isolated. For trying out and for tests.
    Stub,
}

impl ProviderChoice {
    /// The choice as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Local => "local",
            Self::Stub => "stub",
        }
    }
}

impl fmt::Display for ProviderChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProviderChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = [Self::Auto, Self::Local, Self::Stub].into_iter().find(|choice| choice.as_str() == text);
        known.ok_or_else(|| {
            let text = format!("is auto, local or stub, not {text:?}; a host agent is registered as a host");
            Error::Invalid(vec![Problem::new("provider", text)])
        })
    }
}

/// How [`Embedded::open`] opens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmbeddedOptions {
    /// What the host `default` is to be.
    pub provider: ProviderChoice,
    /// Where the VMs and images of this machine are; none: [`LocalVms::data_dir`].
    pub host_data: Option<PathBuf>,
}

/// What drives the host `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// VMs of this machine.
    Local,
    /// The stub.
    Stub,
    /// The agent of a host, which somebody registered under this name.
    Remote,
}

/// What runs the environments of a control plane in this process, as it was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DefaultProvider {
    /// What drives the host `default`.
    pub name: ProviderKind,
    /// The URL of that host.
    pub url: String,
    /// Why it is the stub; why its VMs cannot be reached now, when they are of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What its program must be told, when it did not get what it would expect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A control plane in this process, and what runs its environments.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use fuse_host_agent::{Embedded, EmbeddedOptions, ProviderChoice, ProviderKind};
///
/// # let folder = tempfile::tempdir()?;
/// let options = EmbeddedOptions { provider: ProviderChoice::Stub, ..EmbeddedOptions::default() };
/// let Embedded { fuse, provider } = Embedded::open(folder.path(), &options).await?;
/// assert_eq!(provider.name, ProviderKind::Stub);
/// fuse.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Embedded {
    /// The control plane.
    pub fuse: Orchestrator,
    /// What its host `default` has.
    pub provider: DefaultProvider,
}

impl Embedded {
    /// A control plane whose state is in `dir`, as [`ControlPlane::open`]; what runs its environments is chosen.
    ///
    /// `auto` never takes a directory with real VMs back to the stub: those are unknown until this machine can run VMs
    /// again, and `why` says what keeps it from that. VMs outlive the process; the next one that opens the directory
    /// takes them over.
    ///
    /// # Errors
    /// As [`ControlPlane::open`]; [`Error::NoProvider`] when `local` was chosen and there can be no VMs, also because
    /// another process has them; [`Error::OtherProvider`] when the environments of the directory need another provider.
    pub async fn open(dir: impl AsRef<Path>, options: &EmbeddedOptions) -> Result<Self> {
        let choice = options.provider;
        let state = state_in(dir.as_ref()).await?;
        let vms = match choice {
            ProviderChoice::Stub => LocalVms::unwanted("the provider stub was asked for"),
            ProviderChoice::Auto | ProviderChoice::Local => {
                let data = options.host_data.clone().unwrap_or_else(LocalVms::data_dir);
                LocalVms::open(&data).await
            }
        };
        if let (ProviderChoice::Local, Err(why)) = (choice, vms.url()) {
            return Err(Error::NoProvider { asked: choice.as_str(), why });
        }
        let plane = vms.plane(state).await?;
        match examined(&plane, choice, &vms) {
            Ok(provider) => Ok(Self { fuse: plane.into(), provider }),
            Err(error) => {
                plane.close().await?;
                Err(error)
            }
        }
    }

    /// One whose state ends with the program, with the stub: for trying out and for tests.
    ///
    /// # Errors
    /// As [`ControlPlane::in_memory`].
    pub async fn in_memory() -> Result<Self> {
        let plane = ControlPlane::in_memory().await?;
        let vms = LocalVms::unwanted("a control plane in memory has the stub");
        let provider = examined(&plane, ProviderChoice::Stub, &vms)?;
        Ok(Self { fuse: plane.into(), provider })
    }
}

/// What the host `default` has become, when that is what was chosen.
fn examined(plane: &ControlPlane, choice: ProviderChoice, vms: &LocalVms) -> Result<DefaultProvider> {
    let url = plane.host(&HostId::new(HOST)?)?.url;
    let name = match url.split_once("://").map_or("", |(scheme, _)| scheme) {
        LocalVms::SCHEME => ProviderKind::Local,
        "stub" | "fc" => ProviderKind::Stub,
        _ => ProviderKind::Remote,
    };
    let asked = choice.as_str();
    let other = |why| Err(Error::OtherProvider { asked, url: url.clone(), why });
    match (choice, name) {
        (ProviderChoice::Local, ProviderKind::Stub) => {
            return other(
                "environments live on it; open it with the provider stub, destroy them, and open it again",
            );
        }
        (ProviderChoice::Stub, ProviderKind::Local) => {
            return other(
                "its environments are real VMs; open it with auto or local, or open another directory",
            );
        }
        (ProviderChoice::Local | ProviderChoice::Stub, ProviderKind::Remote) => {
            return other("somebody registered that agent under this name; open it with auto");
        }
        _ => {}
    }
    let (why, warning) = match (name, vms.url()) {
        (ProviderKind::Remote, _) | (ProviderKind::Local, Ok(_)) => (None, None),
        (ProviderKind::Local, Err(why)) => {
            let warning =
                format!("the VMs of this machine cannot be reached, and their state is unknown: {why}");
            (Some(why), Some(warning))
        }
        (ProviderKind::Stub, Ok(_)) => {
            let why = "environments of the stub live on it; destroy them, and open it again, for real VMs";
            (Some(why.to_owned()), Some(simulated(why)))
        }
        (ProviderKind::Stub, Err(why)) => {
            let warning = (choice == ProviderChoice::Auto).then(|| simulated(&why));
            (Some(why), warning)
        }
    };
    if let Some(warning) = &warning {
        tracing::warn!("{warning}");
    }
    Ok(DefaultProvider { name, url, why, warning })
}

fn simulated(why: &str) -> String {
    format!("environments are only simulated, and isolate nothing: {why}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fuse_orchestrator::{HostRegistration, provider::stub::StubConnector};

    use super::*;

    fn choose(provider: ProviderChoice, data: &Path) -> EmbeddedOptions {
        EmbeddedOptions { provider, host_data: Some(data.to_owned()) }
    }

    #[test]
    fn choices_are_words() {
        for choice in [ProviderChoice::Auto, ProviderChoice::Local, ProviderChoice::Stub] {
            assert_eq!(choice.to_string().parse::<ProviderChoice>().unwrap(), choice);
        }
        for text in ["", "Auto", "remote", "qemu"] {
            let error = text.parse::<ProviderChoice>().unwrap_err().to_string();
            assert!(error.contains("auto, local or stub") && error.contains(text), "{error}");
        }
    }

    #[tokio::test]
    async fn without_vms_auto_is_a_stub_that_says_so_and_local_an_error() {
        let (state, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let error =
            Embedded::open(state.path(), &choose(ProviderChoice::Local, data.path())).await.unwrap_err();
        assert!(
            matches!(&error, Error::NoProvider { why, .. } if why.contains("fuse image build")),
            "{error}"
        );
        // The directory is free again, and as if nothing had been asked.
        let auto = Embedded::open(state.path(), &choose(ProviderChoice::Auto, data.path())).await.unwrap();
        assert_eq!((auto.provider.name, auto.provider.url.as_str()), (ProviderKind::Stub, "stub://default"));
        let warning = auto.provider.warning.clone().unwrap();
        assert!(warning.contains("isolate nothing") && warning.contains("fuse image build"), "{warning}");
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
        auto.fuse.close().await.unwrap();
        drop(auto);
        // Who asks for the stub is told why there is one, and not warned.
        let stub = Embedded::open(state.path(), &choose(ProviderChoice::Stub, data.path())).await.unwrap();
        assert_eq!(stub.provider.why.as_deref(), Some("the provider stub was asked for"));
        assert_eq!(stub.provider.warning, None);
        stub.fuse.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_directory_keeps_what_its_environments_need() {
        let (state, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // As if it had run VMs, when there were some.
        let vms = HostRegistration { url: "local://qemu".to_owned(), ..HostRegistration::default() };
        let then = state_in(state.path()).await.unwrap().connector("local", Arc::new(StubConnector::new()));
        then.default_host(vms).open().await.unwrap().close().await.unwrap();

        // Real VMs are not lost because there can be none at the moment, and never given to the stub.
        let error =
            Embedded::open(state.path(), &choose(ProviderChoice::Stub, data.path())).await.unwrap_err();
        assert!(matches!(&error, Error::OtherProvider { url, .. } if url == "local://qemu"), "{error}");
        let auto = Embedded::open(state.path(), &choose(ProviderChoice::Auto, data.path())).await.unwrap();
        assert_eq!(auto.provider.name, ProviderKind::Local);
        assert!(auto.provider.warning.as_ref().unwrap().contains("cannot be reached"), "{:?}", auto.provider);
        let host = auto.fuse.host(&HostId::new(HOST).unwrap()).await.unwrap();
        assert_eq!(host.url, "local://qemu");
        auto.fuse.close().await.unwrap();
    }
}
