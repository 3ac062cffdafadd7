//! The configuration for whoever configures nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Config, DriverConfig, Error, ErrorKind, NetworkConfig, Result,
    driver::{firecracker::Jailer, qemu::Accelerator},
    net::EgressPolicy,
    store::{ImageName, ImageStore},
};

/// VM slots for each processor of this machine.
const VMS_A_PROCESSOR: usize = 4;
/// The user of jailed VMMs when nothing else is configured.
const JAILED_USER: u32 = 64_000;

impl Config {
    /// What works on this machine: Firecracker where KVM does and it is installed (as root, with its jailer and taps),
    /// else QEMU with a network of its own. The image `default` must be in `data`. At most four VMs for each processor.
    ///
    /// # Errors
    /// Not found: no image, or no VMM; with what to do about it.
    pub fn suggested(data: &Path) -> Result<Self> {
        let image = ImageName::new(&Self::default().default_image)?;
        // Nothing is made here: whoever only asks what there is leaves no trace.
        ImageStore::new(data.join("images"), Arc::default()).open(&image)?;
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let max_vms = u32::try_from(processors.saturating_mul(VMS_A_PROCESSOR)).unwrap_or(u32::MAX);
        let base = Self { data: data.to_owned(), max_vms, ..Self::default() };
        let is_root = rustix::process::geteuid().is_root();
        let firecracker = in_path("firecracker").filter(|_| Accelerator::Auto.resolved() == Accelerator::Kvm);
        if let Some(program) = firecracker {
            match (is_root, in_path("jailer")) {
                (true, Some(jailer)) => {
                    let uid = JAILED_USER;
                    let jailer = Some(Jailer { program: jailer, uid, gid: uid, pid_namespace: true });
                    let driver = DriverConfig::Firecracker { program, jailer, unjailed_root: false };
                    return Ok(Self { driver, network: taps(), ..base });
                }
                (false, _) => {
                    let driver = DriverConfig::Firecracker { program, jailer: None, unjailed_root: false };
                    return Ok(Self { driver, network: NetworkConfig::None, ..base });
                }
                (true, None) => {}
            }
        }
        let name = if cfg!(target_arch = "aarch64") { "qemu-system-aarch64" } else { "qemu-system-x86_64" };
        let Some(program) = in_path(name) else {
            let why = format!(
                "neither Firecracker (with KVM, and as root its jailer) nor QEMU is installed; install one of them, \
                 such as Debian's qemu-system-x86 or qemu-system-arm, so that {name} is in the PATH"
            );
            return Err(Error::new(ErrorKind::NotFound, "run", "VMs on this machine", why));
        };
        let driver = DriverConfig::Qemu { program, accelerator: Accelerator::Auto };
        Ok(Self { driver, network: NetworkConfig::User, ..base })
    }
}

fn taps() -> NetworkConfig {
    NetworkConfig::Tap {
        pool: ipnet::Ipv4Net::new_assert([10, 200, 0, 0].into(), 16),
        tag: "l".to_owned(),
        egress: EgressPolicy::default(),
        limit: crate::driver::RateLimit::default(),
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|place| place.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_image_it_says_what_makes_one() {
        let data = tempfile::tempdir().unwrap();
        let error = Config::suggested(data.path()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.to_string().contains("fuse image build"), "{error}");
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0, "asking leaves a trace");
    }
}
