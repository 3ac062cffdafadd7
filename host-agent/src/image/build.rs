//! Makes an image out of Debian's packages.
//!
//! What is done is Debian's own tools one after the other (apt, dpkg, mmdebstrap, mke2fs), so it is a script: the same that
//! `fc-install.sh` runs on a bare host. The library carries the scripts, so that a program without their files can build.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Parts, import};
use crate::{
    Error, ErrorKind, Result,
    driver::DiskFormat,
    store::{ImageName, ImageRecord},
};

/// The scripts, and the unit of the guest agent that they install.
const FILES: [(&str, &str); 7] = [
    ("scripts/lib.sh", include_str!("../../scripts/lib.sh")),
    ("scripts/fc-install.sh", include_str!("../../scripts/fc-install.sh")),
    ("scripts/fc-base.sh", include_str!("../../scripts/fc-base.sh")),
    ("scripts/fc-bake-rootfs.sh", include_str!("../../scripts/fc-bake-rootfs.sh")),
    ("scripts/build-initramfs.sh", include_str!("../../scripts/build-initramfs.sh")),
    ("scripts/extract-vmlinux.py", include_str!("../../scripts/extract-vmlinux.py")),
    ("systemd/fused.service", include_str!("../../systemd/fused.service")),
];
/// Lines of a script that an error repeats.
const LAST_LINES: usize = 5;

/// An image to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its name.
    pub name: ImageName,
    /// The guest agent, statically linked. None: `fused` beside the running program, else in `PATH`.
    pub fused: Option<PathBuf>,
    /// Without a root file system: kernel and initramfs with the guest agent and busybox are the whole guest.
    pub minimal: bool,
    /// The size of the root file system, as `mke2fs` takes it, such as `2G`.
    pub size: String,
    /// Packages beside the smallest set.
    pub packages: Vec<String>,
    /// A directory whose content is copied over the root file system.
    pub overlay: Option<PathBuf>,
    /// A directory that has everything that would come from the network (`FUSE_MIRROR`).
    pub mirror: Option<PathBuf>,
    /// Whether an image of that name with other bytes is replaced.
    pub replace: bool,
}

/// Makes an image in a data directory; `progress` gets a line for each step. Steps whose results are there are left out.
/// Returns the record, and whether the image is new. Blocks the thread, for minutes when there is nothing yet.
///
/// # Errors
/// Not found: no guest agent. Invalid: a size or a package that is none. A system error: a tool that is missing or failed.
pub fn build(data: &Path, build: &Build, mut progress: impl FnMut(&str)) -> Result<(ImageRecord, bool)> {
    check(build)?;
    let fused = find_fused(build.fused.as_deref())?;
    let work = data.join("build");
    let scripts = Scripts::unpack(&work)?;
    let mut install = scripts.command("fc-install.sh", data, build);
    install.args(["--no-firecracker", "--fused"]).arg(&fused);
    if build.minimal {
        install.arg("--no-rootfs");
    }
    run(install, &mut progress)?;
    let rootfs = work.join(format!("rootfs-{}.ext4", build.name));
    if !build.minimal {
        let mut bake = scripts.command("fc-bake-rootfs.sh", data, build);
        bake.args(["--no-import", "--name", build.name.as_str(), "--size", &build.size, "--fused"])
            .arg(&fused);
        if let Some(overlay) = &build.overlay {
            bake.arg("--overlay").arg(overlay);
        }
        run(bake, &mut progress)?;
    }
    let parts = Parts {
        name: build.name.clone(),
        kernel: work.join("boot/vmlinux"),
        initrd: Some(work.join("boot/initramfs.cpio")),
        rootfs: (!build.minimal).then_some(rootfs),
        rootfs_format: DiskFormat::Raw,
        kernel_args: if build.minimal { String::new() } else { "root=/dev/vda rw".to_owned() },
        replace: build.replace,
    };
    import(data, &parts)
}

/// Refuses what would become something else on a script's command line.
fn check(build: &Build) -> Result<()> {
    let number = build.size.trim_end_matches(['K', 'M', 'G', 'T']);
    if number.is_empty()
        || number.len() + 1 < build.size.len()
        || !number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Error::invalid(
            "build",
            format!("a root file system of {:?}", build.size),
            "sizes look like 2G",
        ));
    }
    for package in &build.packages {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.:".contains(&byte);
        if !package.bytes().all(plain) || !package.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(Error::invalid(
                "install",
                format!("{package:?}"),
                "this is not the name of a Debian package",
            ));
        }
    }
    Ok(())
}

fn find_fused(named: Option<&Path>) -> Result<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join("fused")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = match named {
        Some(named) => vec![named.to_owned()],
        None => beside
            .into_iter()
            .chain(std::env::split_paths(&path).map(|directory| directory.join("fused")))
            .collect(),
    };
    places.retain(|place| place.is_file());
    let place = places.into_iter().next().ok_or_else(|| {
        let what = named.map_or_else(|| "fused".to_owned(), |named| named.display().to_string());
        let why = "there is no guest agent; host-agent/scripts/build-fused.sh builds one, `--fused` names it";
        Error::new(ErrorKind::NotFound, "find", what, why)
    })?;
    place.canonicalize().map_err(|error| Error::system("find", place.display(), error))
}

/// The scripts in a directory of their own, removed when dropped.
struct Scripts(PathBuf);

impl Scripts {
    fn unpack(work: &Path) -> Result<Self> {
        let scripts = Self(work.join(format!(".scripts-{}", std::process::id())));
        for (name, text) in FILES {
            let file = scripts.0.join(name);
            let fail = |error| Error::system("write", file.display(), error);
            if let Some(directory) = file.parent() {
                crate::store::new_dir(directory)?;
            }
            fs::write(&file, text).map_err(fail)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).map_err(fail)?;
        }
        Ok(scripts)
    }

    fn command(&self, script: &str, data: &Path, build: &Build) -> Command {
        let mut command = Command::new("bash");
        command.arg(self.0.join("scripts").join(script));
        command.env("FUSE_ROOT", "").env("FUSE_DATA", data).env("FC_DIR", data.join("build"));
        command.env("FUSE_MIRROR", build.mirror.as_deref().unwrap_or_else(|| Path::new("")));
        if !build.packages.is_empty() {
            command.env("FC_ROOTFS_PACKAGES", build.packages.join(","));
        }
        command
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a script; its messages go to `progress`, and its last ones into the error.
fn run(mut command: Command, progress: &mut impl FnMut(&str)) -> Result<()> {
    let script = command.get_args().next().map(|script| Path::new(script).to_owned()).unwrap_or_default();
    let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fail = |why: String| Error::system("run", &name, why);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| fail(error.to_string()))?;
    let mut last = Vec::new();
    for line in child
        .stderr
        .take()
        .map(BufReader::new)
        .into_iter()
        .flat_map(|pipe| pipe.lines().map_while(|line| line.ok()))
    {
        progress(line.strip_prefix("fuse: ").unwrap_or(&line));
        last.push(line);
        if last.len() > LAST_LINES {
            last.remove(0);
        }
    }
    let status = child.wait().map_err(|error| fail(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(fail(format!("{status}: {}", last.join(" · ")))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> Build {
        Build {
            name: ImageName::new("small").unwrap(),
            fused: None,
            minimal: true,
            size: "1G".to_owned(),
            packages: Vec::new(),
            overlay: None,
            mirror: None,
            replace: false,
        }
    }

    #[test]
    fn what_is_no_size_and_no_package_reaches_no_script() {
        for size in ["", "G", "1GG", "-1", "1G; rm -rf /", "1.5G"] {
            assert_eq!(
                check(&Build { size: size.into(), ..minimal() }).unwrap_err().kind,
                ErrorKind::Invalid,
                "{size:?}"
            );
        }
        for package in ["", "-y", "a b", "A", "x;y", "../x"] {
            let packages = vec![package.to_owned()];
            assert!(check(&Build { packages, ..minimal() }).is_err(), "{package:?}");
        }
        check(&Build {
            packages: vec!["g++".into(), "libc6:amd64".into()],
            size: "512M".into(),
            ..minimal()
        })
        .unwrap();
    }

    #[test]
    fn a_guest_agent_that_is_not_there_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let without = Build { fused: Some(dir.path().join("none")), ..minimal() };
        let error = build(dir.path(), &without, |_| {}).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.to_string().contains("build-fused.sh"), "{error}");
    }

    #[test]
    fn an_empty_mirror_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let fused = dir.path().join("fused");
        fs::write(&fused, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&fused, fs::Permissions::from_mode(0o755)).unwrap();
        let mirror = dir.path().join("mirror");
        let empty = Build { fused: Some(fused), mirror: Some(mirror.clone()), ..minimal() };
        let error = build(&dir.path().join("data"), &empty, |_| {}).unwrap_err();
        assert!(error.to_string().contains(mirror.to_str().unwrap()), "{error}");
    }
}
