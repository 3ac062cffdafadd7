//! What an agent is told.

use std::{ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    driver::{
        Driver, RateLimit,
        firecracker::{FirecrackerDriver, Jailer},
        qemu::{Accelerator, QemuDriver, User},
    },
    net::EgressPolicy,
};

/// What drives the VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum DriverConfig {
    /// Firecracker.
    Firecracker {
        /// The program.
        program: PathBuf,
        /// The jail. None only for users other than root, or with `unjailed_root`.
        #[serde(default)]
        jailer: Option<Jailer>,
        /// Runs Firecracker as root without a jail.
        #[serde(default)]
        unjailed_root: bool,
    },
    /// QEMU.
    Qemu {
        /// The program.
        program: PathBuf,
        /// What runs the guest's instructions.
        #[serde(default)]
        accelerator: Accelerator,
    },
}

impl DriverConfig {
    /// The driver that this configures. `user` is who QEMU runs as when this process is root.
    ///
    /// # Errors
    /// Invalid.
    pub fn driver(&self, user: User) -> Result<Arc<dyn Driver>> {
        Ok(match self {
            Self::Firecracker { program, jailer, unjailed_root } => {
                Arc::new(FirecrackerDriver::new(program.clone(), jailer.clone(), *unjailed_root)?)
            }
            Self::Qemu { program, accelerator } => {
                Arc::new(QemuDriver::new(program.clone(), *accelerator, user))
            }
        })
    }
}

/// The network of the guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode", deny_unknown_fields)]
pub enum NetworkConfig {
    /// None: the guest agent's channel is all there is.
    None,
    /// Inside the VMM, without root: published ports come in at the loopback, nothing goes out. QEMU only.
    User,
    /// Taps in namespaces. Needs root.
    Tap {
        /// The addresses of all guests.
        pool: Ipv4Net,
        /// Tells the devices of this agent from those of others on the host: 1 to 4 of a-z 0-9.
        tag: String,
        /// What guests may reach.
        #[serde(default)]
        egress: EgressPolicy,
        /// The limit of each guest in each direction.
        #[serde(default)]
        limit: RateLimit,
    },
}

/// What an agent is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept.
    pub data: PathBuf,
    /// What drives the VMs.
    pub driver: DriverConfig,
    /// Who QEMU runs as when this agent is root. 0 means root itself, for those who mean it. Firecracker's jailer has a
    /// user of its own.
    pub vmm_user: User,
    /// The network of the guests.
    pub network: NetworkConfig,
    /// Under which name or address others reach this host.
    pub public_host: String,
    /// The ports of this host for ports of guests: the first and the last.
    pub ports: (u16, u16),
    /// The image of VMs that name none.
    pub default_image: String,
    /// Processors of VMs that ask for none.
    pub default_vcpus: u32,
    /// Memory in MiB of VMs that ask for none.
    pub default_memory_mib: u32,
    /// The most VMs; 0: as many as the host holds.
    pub max_vms: u32,
    /// Seconds that a guest may take until its agent answers.
    pub boot_seconds: u64,
    /// The limit of each disk.
    pub disk_limit: RateLimit,
    /// Whether VMs are put into control groups, where this user may make them.
    pub cgroups: bool,
    /// What the VMM itself may take of memory beside its guest's, in MiB.
    pub vmm_memory_mib: u32,
    /// Whether VMMs note what guests write, for snapshots that hold the difference alone.
    pub track_writes: bool,
}

impl Default for Config {
    fn default() -> Self {
        let program = PathBuf::from("qemu-system-x86_64");
        Self {
            data: PathBuf::from("/var/lib/fuse-host-agent"),
            driver: DriverConfig::Qemu { program, accelerator: Accelerator::Auto },
            vmm_user: User::default(),
            network: NetworkConfig::User,
            public_host: "127.0.0.1".to_owned(),
            ports: (19_550, 29_549),
            default_image: "default".to_owned(),
            default_vcpus: 1,
            default_memory_mib: 512,
            max_vms: 0,
            boot_seconds: 60,
            disk_limit: RateLimit::default(),
            cgroups: true,
            vmm_memory_mib: 256,
            track_writes: true,
        }
    }
}

impl Config {
    pub(crate) fn boot_limit(&self) -> Duration {
        Duration::from_secs(self.boot_seconds.clamp(1, 3600))
    }

    pub(crate) fn port_range(&self) -> RangeInclusive<u16> {
        self.ports.0..=self.ports.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_toml_and_misspelled_fields_are_told() {
        let text = r#"
            data = "/srv/fuse"
            driver = { kind = "firecracker", program = "/usr/bin/firecracker", jailer = { program = "/usr/bin/jailer", uid = 64000, gid = 64000, pid_namespace = true } }
            [network]
            mode = "tap"
            pool = "10.200.0.0/16"
            tag = "a"
            [network.egress]
            rest = "deny"
            allow = [{ cidr = "203.0.113.7/32", ports = [443] }]
        "#;
        let config: Config = toml::from_str(text).unwrap();
        assert!(matches!(config.driver, DriverConfig::Firecracker { jailer: Some(_), .. }));
        let again: Config = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        assert!(toml::from_str::<Config>("max_vm = 3").is_err());
    }
}
