//! The command line of QEMU.

use std::path::Path;

use super::User;
use crate::driver::{Disk, DiskFormat, Machine, Nic, Purpose, RateLimit, Site};

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// KVM where this machine's processor has virtualisation and `/dev/kvm` opens, else TCG.
    #[default]
    Auto,
    /// The processor.
    Kvm,
    /// QEMU's interpreter: anywhere, ten to fifty times slower.
    Tcg,
}

impl Accelerator {
    /// What it comes to on this machine.
    #[must_use]
    pub fn resolved(self) -> Self {
        match self {
            Self::Auto if has_virtualisation() && kvm_opens() => Self::Kvm,
            Self::Auto => Self::Tcg,
            given => given,
        }
    }

    /// The name that QEMU knows it by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

fn kvm_opens() -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// `/dev/kvm` can be there without: such a KVM runs no stock kernel.
fn has_virtualisation() -> bool {
    let flags = cpu_field("flags").or_else(|| cpu_field("Features")).unwrap_or_default();
    cfg!(target_arch = "aarch64") || flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
}

fn cpu_field(name: &str) -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// The frequency of this processor's time stamp counter in kHz.
fn tsc_khz() -> u64 {
    let mhz = cpu_field("cpu MHz").and_then(|text| text.parse::<f64>().ok()).unwrap_or(2000.0);
    (mhz * 1000.0).round().clamp(1.0, 1e8) as u64
}

/// The machine: without the timer and the interrupt controller of the first PCs. A kernel that finds ACPI's reduced
/// hardware never sets these up, and a tick of that timer that was pending when it first lets interrupts in arrives
/// as a division error: 9 boots of 12 ended so where it was tried, before they had said a word.
const MACHINE: &str = "microvm,pit=off,pic=off";

/// What QEMU is started with. Paths of the VM are relative to its directory, which is the working directory.
pub(super) fn line(
    program: &Path,
    (accelerator, user): (Accelerator, Option<User>),
    site: &Site,
    machine: &Machine,
    purpose: Purpose,
) -> Vec<String> {
    let mut line = Vec::new();
    if let Some(Nic::Tap { netns, .. }) = &machine.nic {
        line.extend(["ip", "netns", "exec", netns].map(str::to_owned));
    }
    if let Some(User { uid, gid }) = user {
        // In this order: it enters its namespace as root, and opens nothing as root.
        line.extend(["setpriv".to_owned(), format!("--reuid={uid}"), format!("--regid={gid}")]);
        line.push(match kvm_group().filter(|_| accelerator == Accelerator::Kvm) {
            Some(group) => format!("--groups={group}"),
            None => "--clear-groups".to_owned(),
        });
        line.extend(["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"].map(str::to_owned));
    }
    line.push(program.to_string_lossy().into_owned());
    let mut add = |words: &[&str]| line.extend(words.iter().map(|word| (*word).to_owned()));
    add(&["-name", site.name.as_str(), "-M", MACHINE]);
    match accelerator {
        Accelerator::Kvm => add(&["-accel", "kvm", "-cpu", "host"]),
        _ => add(&["-accel", "tcg", "-cpu", "max"]),
    }
    add(&["-m", &machine.memory_mib.to_string(), "-smp", &machine.vcpus.to_string()]);
    add(&["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"]);
    add(&["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    add(&["-chardev", "file,id=console,path=/dev/stdout,append=on", "-serial", "chardev:console"]);
    add(&["-qmp", "unix:qmp.sock,server=on,wait=off"]);
    add(&["-device", "virtio-serial-device"]);
    add(&["-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off"]);
    add(&["-device", &format!("virtserialport,chardev=agent,name={}", fuse_guest_protocol::SERIAL_PORT)]);
    add(&[
        "-object",
        "rng-random,id=entropy,filename=/dev/urandom",
        "-device",
        "virtio-rng-device,rng=entropy",
    ]);
    add(&["-kernel", &relative(&machine.kernel, site)]);
    if let Some(initrd) = &machine.initrd {
        add(&["-initrd", &relative(initrd, site)]);
    }
    add(&["-append", &kernel_line(accelerator, machine)]);
    if let Some(disk) = &machine.disk {
        add(&["-drive", &drive(disk), "-device", "virtio-blk-device,drive=root"]);
    }
    match &machine.nic {
        None => {}
        Some(Nic::Tap { tap, mac, .. }) => {
            add(&["-netdev", &format!("tap,id=n0,ifname={tap},script=no,downscript=no")]);
            add(&["-device", &format!("virtio-net-device,netdev=n0,mac={mac}")]);
        }
        Some(Nic::User { mac, forwards }) => {
            let mut netdev = "user,id=n0,restrict=on".to_owned();
            for (host, guest) in forwards {
                netdev.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
            }
            add(&["-netdev", &netdev, "-device", &format!("virtio-net-device,netdev=n0,mac={mac}")]);
        }
    }
    match purpose {
        Purpose::Boot => add(&["-S"]),
        Purpose::Load => add(&["-S", "-incoming", "defer"]),
    }
    line
}

/// A file of the VM under the name that its working directory has for it.
fn relative(path: &Path, site: &Site) -> String {
    path.strip_prefix(&site.dir).unwrap_or(path).to_string_lossy().into_owned()
}

/// The group that may open `/dev/kvm`, unless that is root's.
fn kvm_group() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/dev/kvm").ok().map(|device| device.gid()).filter(|group| *group != 0)
}

fn drive(disk: &Disk) -> String {
    let format = match disk.format {
        DiskFormat::Raw => "raw",
        DiskFormat::Qcow2 => "qcow2",
    };
    let RateLimit { bytes_per_second, operations_per_second } = disk.limit;
    let mut text = format!("if=none,id=root,file={},format={format},cache=writeback", disk.name);
    if bytes_per_second > 0 {
        text.push_str(&format!(",throttling.bps-total={bytes_per_second}"));
    }
    if operations_per_second > 0 {
        text.push_str(&format!(",throttling.iops-total={operations_per_second}"));
    }
    text
}

fn kernel_line(accelerator: Accelerator, machine: &Machine) -> String {
    let mut line = "console=ttyS0 reboot=t panic=-1 quiet".to_owned();
    if accelerator == Accelerator::Tcg {
        // Nothing in this machine can measure the time stamp counter: an interpreted kernel waits for ever for its
        // first tick unless it is told.
        line.push_str(&format!(" tsc_early_khz={} tsc=reliable", tsc_khz()));
    }
    if !machine.arguments.is_empty() {
        line.push(' ');
        line.push_str(&machine.arguments);
    }
    line
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use fuse_orchestrator::model::VmName;

    use super::*;

    fn example() -> (Site, Machine) {
        let site = Site { name: VmName::new("vm-1").unwrap(), dir: PathBuf::from("/data/vms/vm-1") };
        let machine = Machine {
            vcpus: 2,
            memory_mib: 128,
            kernel: PathBuf::from("/data/images/default/vmlinux"),
            disk: Some(Disk {
                name: "disk".to_owned(),
                format: DiskFormat::Qcow2,
                limit: RateLimit { bytes_per_second: 1000, operations_per_second: 0 },
            }),
            nic: Some(Nic::Tap {
                tap: "tap0".to_owned(),
                netns: "fuse-1".to_owned(),
                mac: "06:00:00:00:00:01".to_owned(),
                limit: RateLimit::default(),
            }),
            ..Machine::default()
        };
        (site, machine)
    }

    #[test]
    fn the_line_is_relative_to_the_vm_and_starts_paused() {
        let (site, machine) = example();
        let line =
            line(Path::new("qemu"), (Accelerator::Tcg, None), &site, &machine, Purpose::Boot).join(" ");
        assert!(
            line.starts_with("ip netns exec fuse-1 qemu -name vm-1 -M microvm,pit=off,pic=off -accel tcg"),
            "{line}"
        );
        assert!(!line.contains("/data/vms"), "{line}");
        for part in ["throttling.bps-total=1000", "tsc_early_khz=", "ifname=tap0", "-sandbox on"] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(line.ends_with(" -S"), "{line}");
    }

    #[test]
    fn another_user_is_taken_after_the_namespace_was_entered() {
        let (site, machine) = example();
        let user = Some(User { uid: 64_000, gid: 64_001 });
        let line =
            line(Path::new("qemu"), (Accelerator::Tcg, user), &site, &machine, Purpose::Boot).join(" ");
        let start = "ip netns exec fuse-1 setpriv --reuid=64000 --regid=64001 --clear-groups --no-new-privs \
                     --bounding-set=-all --inh-caps=-all -- qemu -name vm-1";
        assert!(line.starts_with(start), "{line}");
    }

    #[test]
    fn a_load_has_the_same_devices() {
        let (site, machine) = example();
        let boot = line(Path::new("qemu"), (Accelerator::Kvm, None), &site, &machine, Purpose::Boot);
        let mut load = line(Path::new("qemu"), (Accelerator::Kvm, None), &site, &machine, Purpose::Load);
        assert_eq!(load.split_off(load.len() - 2), ["-incoming", "defer"]);
        assert_eq!(load, boot);
        assert!(!boot.join(" ").contains("tsc_early_khz"));
    }
}
