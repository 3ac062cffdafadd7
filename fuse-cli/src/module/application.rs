//! An application's configuration and the binaries that it names, read from files.

use std::path::{Path, PathBuf};

use fuse_edge::{AppConfig, ModuleDecl};

use super::config;
use crate::outcome::{Failure, Outcome, read};

/// A configuration that the runtime takes, and where it is from.
#[derive(Debug)]
pub(crate) struct ApplicationFile {
    pub(crate) app: AppConfig,
    folder: PathBuf,
}

impl ApplicationFile {
    /// Reads an `app_config.json` or a packed application. All that is wrong with it is in the error.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        let bytes = read(path)?;
        let app = if AppConfig::is_binary(&bytes) {
            AppConfig::from_binary(&bytes).map_err(|e| Failure::refused(path, e))?
        } else {
            from_json(path, bytes)?
        };
        Ok(Self { app, folder: folder_of(path) })
    }

    /// The file of a module. Paths in a configuration are relative to it.
    pub(crate) fn path_of(&self, module: &ModuleDecl) -> PathBuf {
        self.folder.join(&module.binary)
    }

    /// The bytes of a module: those that the packed application carries, else those of its file.
    pub(crate) fn binary(&self, module: &ModuleDecl) -> Outcome<Vec<u8>> {
        match &module.artifact {
            Some(artifact) => Ok(artifact.clone()),
            None => read(&self.path_of(module)),
        }
    }
}

/// The folder that a configuration's paths are relative to.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

fn from_json(path: &Path, bytes: Vec<u8>) -> Outcome<AppConfig> {
    let text = String::from_utf8(bytes).map_err(|_| Failure::refused(path, "it is not UTF-8 text"))?;
    let reviewed = config::review(&text);
    match reviewed.app {
        Some(app) if reviewed.problems.is_empty() => Ok(app),
        _ => {
            let all: Vec<String> =
                reviewed.problems.iter().map(|p| format!("{}: {}", p.path, p.what)).collect();
            Err(Failure::refused(path, all.join("; ")))
        }
    }
}
