//! Puts networks into the kernel and takes them out again, with `ip` and `nft`.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fuse_orchestrator::model::VmName;
use ipnet::Ipv4Net;

use super::{AddressPool, EgressPolicy, Guest, TapLease, rules};
use crate::{Error, Result, system::run};

/// The networks of all VMs of an agent.
#[derive(Debug)]
pub struct Networks {
    policy: EgressPolicy,
    state: Mutex<State>,
    /// Held while rules go into the kernel, so that the newest state is what stays there.
    apply: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    pool: AddressPool,
    guests: BTreeMap<VmName, Guest>,
    revision: u64,
    applied: u64,
}

impl Networks {
    /// Networks over `pool` under `policy`.
    ///
    /// # Errors
    /// Invalid when a list of the policy is too long.
    pub fn new(pool: AddressPool, policy: EgressPolicy) -> Result<Self> {
        if policy.allow.len() > EgressPolicy::LONGEST || policy.deny.len() > EgressPolicy::LONGEST {
            let why = format!("a list has more than {} entries", EgressPolicy::LONGEST);
            return Err(Error::invalid("use", "the egress policy", why));
        }
        let state = State { pool, guests: BTreeMap::new(), revision: 1, applied: 0 };
        Ok(Self { policy, state: Mutex::new(state), apply: tokio::sync::Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares this host: removes the namespaces of VMs that are not among `known`, lets packets through, and puts the
    /// rules in.
    ///
    /// # Errors
    /// System.
    pub async fn start(&self, known: &[(VmName, Guest)]) -> Result<()> {
        let prefix = {
            let mut state = self.state();
            for (vm, guest) in known {
                state.pool.adopt(&guest.lease);
                state.guests.insert(vm.clone(), guest.clone());
            }
            state.pool.netns_prefix()
        };
        let listed = run("ip", &["netns", "list"], &[]).await?;
        for name in String::from_utf8_lossy(&listed).lines().filter_map(|line| line.split(' ').next()) {
            let ours = known.iter().any(|(_, guest)| guest.lease.netns == name);
            if name.starts_with(&prefix) && !ours {
                tracing::info!(netns = name, "removing a network namespace that a crash left behind");
                run("ip", &["netns", "delete", name], &[]).await?;
            }
        }
        let forward = std::path::Path::new("/proc/sys/net/ipv4/ip_forward");
        std::fs::write(forward, "1").map_err(|error| Error::system("set", forward.display(), error))?;
        self.put_in().await
    }

    /// Takes addresses for a VM and makes its namespace, devices and rules.
    ///
    /// # Errors
    /// Busy, system. Nothing stays of it then.
    pub async fn attach(&self, vm: &VmName) -> Result<TapLease> {
        let lease = {
            let mut state = self.state();
            let lease = state.pool.take()?;
            state.guests.insert(vm.clone(), Guest { lease: lease.clone(), published: Vec::new() });
            state.revision += 1;
            lease
        };
        let made = async {
            make_devices(&lease).await?;
            self.put_in().await
        };
        match made.await {
            Ok(()) => Ok(lease),
            Err(error) => {
                self.detach(vm, &lease).await?;
                Err(error)
            }
        }
    }

    /// Removes everything of a VM. Idempotent.
    ///
    /// # Errors
    /// System.
    pub async fn detach(&self, vm: &VmName, lease: &TapLease) -> Result<()> {
        let there = std::path::Path::new("/var/run/netns").join(&lease.netns).exists();
        if there {
            run("ip", &["netns", "delete", &lease.netns], &[]).await?;
        }
        // The pair goes with its namespace, a moment later.
        if std::path::Path::new("/sys/class/net").join(&lease.veth).exists() {
            let _ = run("ip", &["link", "delete", &lease.veth], &[]).await;
        }
        {
            let mut state = self.state();
            if state.guests.remove(vm).is_some() {
                state.pool.give_back(lease);
                state.revision += 1;
            }
        }
        self.put_in().await
    }

    /// Publishes these ports of a VM (of the host, of the guest), and no others.
    ///
    /// # Errors
    /// System.
    pub async fn publish(&self, vm: &VmName, ports: Vec<(u16, u16)>) -> Result<()> {
        {
            let mut state = self.state();
            if let Some(guest) = state.guests.get_mut(vm) {
                guest.published = ports;
                state.revision += 1;
            }
        }
        self.put_in().await
    }

    /// Removes the rules from the kernel.
    ///
    /// # Errors
    /// System.
    pub async fn clear(&self) -> Result<()> {
        let text = rules::removal(&self.state().pool);
        run("nft", &["-f", "-"], text.as_bytes()).await.map(drop)
    }

    /// Puts the rules of now into the kernel. Changes that come while others are at it share one turn.
    async fn put_in(&self) -> Result<()> {
        let wanted = self.state().revision;
        let _turn = self.apply.lock().await;
        if self.state().applied >= wanted {
            return Ok(());
        }
        let host = host_networks().await?;
        let (text, revision) = {
            let state = self.state();
            let guests: Vec<Guest> = state.guests.values().cloned().collect();
            (rules::ruleset(&state.pool, &self.policy, &host, &guests), state.revision)
        };
        run("nft", &["-f", "-"], text.as_bytes()).await?;
        self.state().applied = revision;
        Ok(())
    }
}

/// The networks that this host is in.
async fn host_networks() -> Result<Vec<Ipv4Net>> {
    let output = run("ip", &["-json", "-4", "address"], &[]).await?;
    let links: serde_json::Value = serde_json::from_slice(&output)
        .map_err(|error| Error::system("read", "the addresses of this host", error))?;
    let mut nets = Vec::new();
    let infos = links.as_array().into_iter().flatten().filter_map(|link| link.get("addr_info")?.as_array());
    for info in infos.flatten() {
        let address = info.get("local").and_then(|local| local.as_str()?.parse::<IpAddr>().ok());
        let length = info.get("prefixlen").and_then(serde_json::Value::as_u64);
        if let (Some(IpAddr::V4(address)), Some(length)) = (address, length) {
            nets.extend(
                Ipv4Net::new(address, u8::try_from(length).unwrap_or(32)).ok().map(|net| net.trunc()),
            );
        }
    }
    Ok(nets)
}

/// Makes the namespace and the devices of a VM.
async fn make_devices(lease: &TapLease) -> Result<()> {
    let TapLease { netns, veth, gateway, outside, inside, .. } = lease;
    let guests = Ipv4Net::new(lease.guest, 30).map(|net| net.trunc());
    let guests = guests.map_err(|error| Error::system("make", netns, error))?;
    run("ip", &["netns", "add", netns], &[]).await?;
    let host = format!(
        "link add {veth} type veth peer name eth0 netns {netns}\n\
         addr add {outside}/30 dev {veth}\n\
         link set {veth} up\n\
         route replace {guests} via {inside}\n"
    );
    run("ip", &["-batch", "-"], host.as_bytes()).await?;
    let tap = TapLease::TAP;
    let space = format!(
        "link set lo up\n\
         addr add {inside}/30 dev eth0\n\
         link set eth0 up\n\
         tuntap add {tap} mode tap\n\
         addr add {gateway}/30 dev {tap}\n\
         link set {tap} up\n\
         route add default via {outside}\n"
    );
    run("ip", &["-n", netns, "-batch", "-"], space.as_bytes()).await?;
    let routed = "echo 1 > /proc/sys/net/ipv4/ip_forward; \
                  echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null || :";
    run("ip", &["netns", "exec", netns, "sh", "-c", routed], &[]).await?;
    // Published ports are reached from this host's loopback too.
    let local = format!("/proc/sys/net/ipv4/conf/{veth}/route_localnet");
    std::fs::write(&local, "1").map_err(|error| Error::system("set", local, error))
}
