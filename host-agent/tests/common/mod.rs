//! What the tests of VMs share: finding what they need, and saying so when it is not there.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use fuse_guest_protocol::{client::ExecOutput, verb::Exec};
use fuse_host_agent::{
    Config, DriverConfig, NetworkConfig,
    agent::{HostAgent, NewVm},
    driver::DiskFormat,
    store::{FileRecord, ImageName, ImageRecord},
};
use fuse_orchestrator::model::{Arch, Resources, VmName};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Whether this host can make KVM machines, so that Firecracker starts.
pub(crate) fn kvm() -> Result<(), String> {
    static KVM: OnceLock<Result<(), String>> = OnceLock::new();
    KVM.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let source = "#include <fcntl.h>\n#include <sys/ioctl.h>\n#include <linux/kvm.h>\n\
            int main(){int k=open(\"/dev/kvm\",O_RDWR);if(k<0)return 1;return ioctl(k,KVM_CREATE_VM,0)<0?2:0;}";
        std::fs::write(dir.path().join("k.c"), source).unwrap();
        let built = Command::new("cc").args(["-o", "k", "k.c"]).current_dir(dir.path()).status();
        if !built.is_ok_and(|status| status.success()) {
            return Err("cc does not work".to_owned());
        }
        match Command::new(dir.path().join("k")).status().unwrap().code() {
            Some(0) => Ok(()),
            Some(1) => Err("/dev/kvm does not open".to_owned()),
            _ => Err("KVM_CREATE_VM fails".to_owned()),
        }
    })
    .clone()
}

/// Firecracker and its jailer, where this host can run them; else why not.
pub(crate) fn firecracker() -> Result<(PathBuf, PathBuf), String> {
    kvm()?;
    let dir = std::env::var_os("FUSE_TEST_FIRECRACKER")
        .map_or_else(|| root().join("target/tools/firecracker"), PathBuf::from);
    let (program, jailer) = (dir.join("firecracker"), dir.join("jailer"));
    if program.exists() {
        Ok((program, jailer))
    } else {
        Err(format!("{} is not there; tests/setup.sh test gets it", program.display()))
    }
}

/// The guest without an operating system, built once.
pub(crate) fn bare_guest() -> &'static Path {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    GUEST.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap().keep();
        let line = "-O1 -ffreestanding -fno-stack-protector -fno-pic -no-pie -mgeneral-regs-only -mno-red-zone -fno-builtin \
                    -fcf-protection=none -nostdlib -static -w -Wl,-Ttext=0x400000,--build-id=none,-N,-z,noexecstack";
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/guest.c");
        let built = Command::new("cc").args(line.split_whitespace()).arg(source).arg("-o").arg(dir.join("guest.elf")).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        dir.join("guest.elf")
    })
}

/// A static program that joins its input and output to a vsock port.
pub(crate) fn vsock_cat() -> PathBuf {
    let dir = tempfile::tempdir().unwrap().keep();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/vsock-cat.c");
    let built = Command::new("cc")
        .args(["-O1", "-static", "-o"])
        .arg(dir.join("vsock-cat"))
        .arg(source)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    dir.join("vsock-cat")
}

/// Says why a test did not run. A run that must not skip (FUSE_TEST_STRICT=1) fails instead.
pub(crate) fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("FUSE_TEST_STRICT").is_none(), "{test} was skipped: {why}");
    eprintln!("skipped {test}: {why}");
}

/// Imports an image of this kernel.
pub(crate) fn import_kernel(agent: &HostAgent, kernel: &Path) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(kernel, dir.path().join("vmlinux")).unwrap();
    let record = ImageRecord {
        name: ImageName::new("default").unwrap(),
        arch: Arch::Amd64,
        kernel: FileRecord::of(dir.path(), "vmlinux").unwrap(),
        initrd: None,
        rootfs: None,
        rootfs_format: DiskFormat::Raw,
        kernel_args: String::new(),
    };
    agent.images().import(&record, dir.path()).unwrap();
}

pub(crate) fn config(data: &Path, driver: DriverConfig) -> Config {
    Config {
        data: data.to_owned(),
        driver,
        network: NetworkConfig::None,
        default_memory_mib: 64,
        boot_seconds: 120,
        ..Config::default()
    }
}

pub(crate) fn name(text: &str) -> VmName {
    VmName::new(text).unwrap()
}

pub(crate) fn small(text: &str) -> NewVm {
    NewVm { resources: Resources { cpus: 1, ram_mb: 64, storage_gb: 0 }, ..NewVm::new(name(text)) }
}

/// Runs a command line and gives what it wrote.
pub(crate) async fn sh(agent: &HostAgent, vm: &str, line: &str) -> String {
    let output = run(agent, vm, line).await;
    assert_eq!(output.result.exit_code, 0, "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) async fn run(agent: &HostAgent, vm: &str, line: &str) -> ExecOutput {
    let exec = Exec { timeout_ms: 60_000, ..Exec::argv(["sh", "-lc", line]) };
    agent.exec(&name(vm), &exec).await.unwrap()
}

/// Waits until `condition` holds, at most a minute.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within a minute: {what}");
}

/// Kernel and initramfs of a real guest, where there are any; else why not.
pub(crate) fn linux_guest() -> Result<PathBuf, String> {
    let dir = std::env::var_os("FUSE_TEST_GUEST").map_or_else(|| root().join("target/guest"), PathBuf::from);
    if !dir.join("vmlinux").exists() || !dir.join("initramfs.cpio").exists() {
        let why = "has no vmlinux and initramfs.cpio; host-agent/scripts/build-initramfs.sh makes them, and FUSE_TEST_GUEST \
                   names another directory";
        return Err(format!("{} {why}", dir.display()));
    }
    Ok(dir)
}

/// QEMU and what its guest needs, where they are; else why not.
pub(crate) fn qemu() -> Result<PathBuf, String> {
    for program in ["qemu-system-x86_64", "qemu-img", "mke2fs", "busybox"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            return Err(format!("{program} is not installed; tests/setup.sh test installs it"));
        }
    }
    linux_guest()
}

/// Makes the image `default`: the kernel and initramfs of `guest`, and a root file system with busybox.
pub(crate) fn import_linux(agent: &HostAgent, guest: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::copy(guest.join("vmlinux"), at("vmlinux")).unwrap();
    std::fs::copy(guest.join("initramfs.cpio"), at("initrd")).unwrap();
    let script = "set -e; mkdir -p r/bin r/sbin r/etc r/tmp r/root r/dev r/proc r/sys r/run r/usr/bin; \
        cp \"$(command -v busybox)\" r/bin/busybox; \
        for a in $(r/bin/busybox --list); do [ $a = busybox ] || ln -sf busybox r/bin/$a; done; \
        printf 'root:x:0:0:root:/root:/bin/sh\\n' > r/etc/passwd; printf 'root:x:0:\\n' > r/etc/group; \
        PATH=$PATH:/usr/sbin:/sbin; mke2fs -q -t ext4 -d r -L root rootfs 48M";
    let made = Command::new("sh").args(["-c", script]).current_dir(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let record = ImageRecord {
        name: ImageName::new("default").unwrap(),
        arch: Arch::Amd64,
        kernel: FileRecord::of(dir.path(), "vmlinux").unwrap(),
        initrd: Some(FileRecord::of(dir.path(), "initrd").unwrap()),
        rootfs: Some(FileRecord::of(dir.path(), "rootfs").unwrap()),
        rootfs_format: DiskFormat::Raw,
        kernel_args: "root=/dev/vda".to_owned(),
    };
    agent.images().import(&record, dir.path()).unwrap();
}
