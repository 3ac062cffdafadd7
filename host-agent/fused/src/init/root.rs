//! From the initramfs to the root file system.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    mount::{MountFlags, mount, mount_move},
    process::{chdir, chroot},
};

use super::{flag, parameter};

const NEW: &str = "/newroot";
/// How long the kernel may take to find the disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is tried when the command line names no kind.
const KINDS: [&str; 4] = ["ext4", "squashfs", "xfs", "btrfs"];

/// Goes to the root file system that the command line names; `false` when it names none.
pub(super) fn switch() -> io::Result<bool> {
    let Some(device) = parameter("root").filter(|device| device.starts_with("/dev/")) else {
        return Ok(false);
    };
    await_device(&device)?;
    fs::create_dir_all(NEW)?;
    mount_root(&device)?;
    for directory in ["/dev", "/proc", "/sys", "/run"] {
        let target = format!("{NEW}{directory}");
        let _ = fs::create_dir(&target);
        mount_move(directory, &*target).map_err(|error| context(&format!("moving {directory}"), &error))?;
    }
    // What the initramfs holds is memory that nobody will use again; the running program stays until it ends.
    for directory in ["/lib", "/bin"] {
        let _ = fs::remove_dir_all(directory);
    }
    chdir(NEW)?;
    mount_move(".", "/").map_err(|error| context("moving the root", &error))?;
    chroot(".")?;
    chdir("/")?;
    Ok(true)
}

fn await_device(device: &str) -> io::Result<()> {
    let began = Instant::now();
    while !Path::new(device).exists() {
        if began.elapsed() > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no {device}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn mount_root(device: &str) -> io::Result<()> {
    let flags = if flag("ro") { MountFlags::RDONLY } else { MountFlags::NOATIME };
    let named = parameter("rootfstype");
    let kinds = named.as_deref().map_or_else(|| KINDS.to_vec(), |kind| vec![kind]);
    let mut last = io::Error::from(io::ErrorKind::Unsupported);
    for kind in kinds {
        match mount(device, NEW, kind, flags, c"") {
            Ok(()) => return Ok(()),
            Err(error) => last = context(&format!("mounting {device} as {kind}"), &error),
        }
    }
    Err(last)
}

fn context(what: &str, error: &rustix::io::Errno) -> io::Error {
    let error = io::Error::from(*error);
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
