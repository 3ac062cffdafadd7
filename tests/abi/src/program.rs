//! Programs in C and C++ that are linked with the library as it was just built.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::repository;

/// Where `libfuse.so` and `libfuse.a` of this build are, with a link of the name that programs look for.
///
/// # Errors
/// When the library is not there, or the link cannot be made.
pub fn library() -> Result<PathBuf, String> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let folder = me.parent().ok_or("the test has no folder")?.to_owned();
    let library = folder.join("libfuse.so");
    if !library.exists() {
        return Err(format!("{} is not there: build the workspace", library.display()));
    }
    let link = folder.join("libfuse-runtime.so.1");
    match std::os::unix::fs::symlink("libfuse.so", &link) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(format!("cannot make {}: {e}", link.display()))
        }
        _ => Ok(folder),
    }
}

/// The program `fuse` of this build.
///
/// # Errors
/// When it is not there.
pub fn fuse() -> Result<PathBuf, String> {
    let folder = library()?;
    let fuse = folder.parent().ok_or("the library has no folder")?.join("fuse");
    if fuse.exists() {
        Ok(fuse)
    } else {
        Err(format!("{} is not there: `cargo test --workspace` builds it", fuse.display()))
    }
}

/// What a program is built with.
#[derive(Clone, Debug)]
pub struct Build {
    compiler: String,
    flags: Vec<String>,
    sources: Vec<PathBuf>,
    include: PathBuf,
    is_static: bool,
    other: Option<PathBuf>,
}

impl Build {
    /// A program in C11 with every warning an error.
    #[must_use]
    pub fn c() -> Self {
        Self::new("cc", "-std=c11")
    }

    /// A program in C++17 with every warning an error.
    #[must_use]
    pub fn cpp() -> Self {
        Self::new("c++", "-std=c++17")
    }

    fn new(compiler: &str, standard: &str) -> Self {
        let flags = [standard, "-g", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];
        Self {
            compiler: compiler.into(),
            flags: flags.map(Into::into).into(),
            sources: Vec::new(),
            include: repository().join("include"),
            is_static: false,
            other: None,
        }
    }

    /// With another compiler.
    #[must_use]
    pub fn compiler(mut self, compiler: &str) -> Self {
        self.compiler = compiler.into();
        self
    }

    /// With another folder of headers.
    #[must_use]
    pub fn include(mut self, folder: impl Into<PathBuf>) -> Self {
        self.include = folder.into();
        self
    }

    /// With further flags.
    #[must_use]
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|f| (*f).to_owned()));
        self
    }

    /// With `libfuse.a`.
    #[must_use]
    pub fn linked_statically(mut self) -> Self {
        self.is_static = true;
        self
    }

    /// With another library than libfuse, which has what libfuse has.
    #[must_use]
    pub fn linked_with(mut self, library: impl Into<PathBuf>) -> Self {
        self.other = Some(library.into());
        self
    }

    /// With a source file.
    #[must_use]
    pub fn source(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources.push(path.into());
        self
    }

    /// Builds the program.
    ///
    /// # Errors
    /// What the compiler said.
    pub fn to(&self, program: &Path) -> Result<PathBuf, String> {
        let library = library()?;
        if let Some(folder) = program.parent() {
            std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        let mut command = Command::new(&self.compiler);
        command.args(&self.flags).arg("-I").arg(&self.include).arg("-o").arg(program).args(&self.sources);
        if let Some(other) = &self.other {
            command.arg(other);
            let folder = other.parent().unwrap_or(Path::new("."));
            command.arg(format!("-Wl,-rpath,{}", folder.display()));
        } else if self.is_static {
            command.arg(library.join("libfuse.a"));
        } else {
            command.arg("-L").arg(&library).arg("-lfuse");
            command.arg(format!("-Wl,-rpath,{}", library.display()));
        }
        command.args(["-lpthread", "-lm", "-ldl"]);
        let output = command.output().map_err(|e| format!("cannot run {}: {e}", self.compiler))?;
        if output.status.success() {
            Ok(program.to_owned())
        } else {
            Err(format!("{command:?}\n{}", text(&output)))
        }
    }
}

/// What a program wrote.
#[must_use]
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a program to its end.
///
/// # Errors
/// What it wrote, when it failed.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if output.status.success() {
        Ok(text(&output))
    } else {
        Err(format!("{command:?}: {}\n{}", output.status, text(&output)))
    }
}
