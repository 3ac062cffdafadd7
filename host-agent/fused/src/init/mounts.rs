//! The file systems that a guest needs before anything else.

use std::fs;

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    mount::{MountFlags, mount},
};

use super::say;

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC).union(MountFlags::NODEV);

/// `/proc`, `/sys`, `/dev` and `/run`, and the console as standard input, output and error.
pub(super) fn base() {
    one("proc", "/proc", "proc", SAFE, c"");
    one("sysfs", "/sys", "sysfs", SAFE, c"");
    one("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, c"mode=0755");
    one("tmpfs", "/run", "tmpfs", MountFlags::NOSUID.union(MountFlags::NODEV), c"mode=0755");
    console();
}

/// What the root file system may bring, or not.
pub(super) fn late() {
    let options = c"gid=5,mode=620,ptmxmode=666";
    one("devpts", "/dev/pts", "devpts", MountFlags::NOSUID.union(MountFlags::NOEXEC), options);
    one("tmpfs", "/dev/shm", "tmpfs", MountFlags::NOSUID.union(MountFlags::NODEV), c"mode=1777");
    one("cgroup2", "/sys/fs/cgroup", "cgroup2", SAFE, c"");
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        // It is there already when the agent was started again by another init.
        let _ = std::os::unix::fs::symlink(target, link);
    }
    for directory in ["/tmp", "/root", "/etc", "/fuse"] {
        let _ = fs::create_dir_all(directory);
    }
}

fn one(source: &str, target: &str, kind: &str, flags: MountFlags, options: &std::ffi::CStr) {
    let _ = fs::create_dir_all(target);
    match mount(source, target, kind, flags, options) {
        // Mounted already.
        Ok(()) | Err(Errno::BUSY) => {}
        Err(error) => say(&format!("mounting {target}: {error}")),
    }
}

fn console() {
    let Ok(console) = open("/dev/console", OFlags::RDWR | OFlags::NOCTTY, Mode::empty()) else { return };
    let _ = rustix::stdio::dup2_stdin(&console);
    let _ = rustix::stdio::dup2_stdout(&console);
    let _ = rustix::stdio::dup2_stderr(&console);
}
