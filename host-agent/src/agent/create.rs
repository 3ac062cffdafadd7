//! Create: from a request to a guest whose agent answers.

use std::sync::Arc;

use fuse_orchestrator::model::{OwnerId, Resources, Timestamp, VmName};

use super::{
    HostAgent, Inner,
    link::{new_token, write_token},
    vm::{Vm, VmView, set_forwards},
};
use crate::{
    Error, ErrorKind, NetworkConfig, Result,
    driver::{Disk, DiskFormat, Machine, Nic, Purpose, Saved, Site},
    net::{Lease, TapLease, free_port},
    store::{
        BASE, DISK, INITRD, ImageName, KERNEL, Published, SnapshotKind, SnapshotName, SnapshotRecord,
        VmRecord, VmState,
    },
    system::{Console, blocking, cgroup, clone_file, share_file},
};

/// A VM to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVm {
    /// Its name.
    pub name: VmName,
    /// Whose it is.
    pub owner: Option<OwnerId>,
    /// The environment it is for. Empty: not said.
    pub environment_id: String,
    /// Its size; zeros are the agent's defaults, or those of the snapshot.
    pub resources: Resources,
    /// Its image; none: the agent's default.
    pub image: Option<ImageName>,
    /// The snapshot that it begins with, instead of an image.
    pub seed: Option<SnapshotName>,
}

impl NewVm {
    /// A VM of this name, of the agent's default size and image.
    #[must_use]
    pub fn new(name: VmName) -> Self {
        Self {
            name,
            owner: None,
            environment_id: String::new(),
            resources: Resources::default(),
            image: None,
            seed: None,
        }
    }
}

/// The most processors of a VM.
const VCPUS_MOST: u32 = 32;
/// The most memory of a VM in MiB.
const MEMORY_MOST: u32 = 1024 * 1024;
/// The most disk of a VM in GiB.
const DISK_MOST: u32 = 64 * 1024;
/// The address of a guest in a network inside its VMM, which that VMM gives.
const USER_ADDRESS: &str = "10.0.2.15/24";

/// What a VM begins with.
enum Begin {
    Boot,
    Load(Saved),
}

/// The directory of a VM that is there.
struct LaidOut {
    group: cgroup::Group,
    /// The format of its disk and the arguments of its kernel, when it begins with a snapshot.
    disk: Option<(DiskFormat, String)>,
}

impl HostAgent {
    /// Makes a VM, boots it or lets it go on from a live snapshot, and waits until its agent answers.
    ///
    /// # Errors
    /// Exists, invalid, not found (image or snapshot), corrupt, busy (no slot, no address), VMM, guest. Nothing stays of
    /// the VM then. When the future is dropped, it goes on.
    pub async fn create(&self, new: NewVm) -> Result<VmView> {
        let inner = Arc::clone(&self.inner);
        finish("create", async move { inner.pace.time("create", Box::pin(inner.create(new))).await }).await
    }
}

/// Runs `work` to its end, also when the caller goes away. What it needs for that is not on the stack of its caller: it is
/// much, and embedders call from threads of their own.
pub(super) fn finish<T: Send + 'static>(
    doing: &'static str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    let work = Box::pin(work);
    async move {
        let ended = tokio::spawn(work).await;
        ended
            .unwrap_or_else(|error| Err(Error::system(doing, "a VM", format!("the work broke off: {error}"))))
    }
}

impl Inner {
    async fn create(self: &Arc<Self>, mut new: NewVm) -> Result<VmView> {
        if new.seed.is_none() {
            new.seed = self.warm_start(&new).await?;
        }
        let seed = match &new.seed {
            Some(seed) => {
                let (inner, seed) = (Arc::clone(self), seed.clone());
                Some(blocking("check a snapshot", move || inner.snapshots.verify(&seed)).await?)
            }
            None => None,
        };
        let newest = seed.as_ref().and_then(|chain| chain.last().cloned());
        let resources = self.sized(&new, newest.as_deref())?;
        let vm = self.enter(&new, resources, newest.as_deref())?;
        let _change = vm.change.lock().await;
        let make = async {
            // To its end, also when it is being destroyed: who removes a file that is not there yet leaves it behind.
            let laid = self.lay_out(&vm, newest.as_ref()).await?;
            tokio::select! {
                biased;
                () = vm.doomed() => {
                    Err(Error::new(ErrorKind::Busy, "create", vm.name(), "it is being destroyed"))
                }
                made = Box::pin(self.make(&vm, &new, newest.as_deref(), laid)) => made,
            }
        };
        match make.await {
            Ok(()) => Ok(vm.view(&self.config.public_host)),
            Err(error) => {
                let error = with_console(error, &vm.console());
                if let Err(also) = self.unmake(&vm).await {
                    tracing::error!(vm = %vm.name(), error = %also, "a VM that was not made cannot be removed yet");
                }
                Err(error)
            }
        }
    }

    /// The size of the VM.
    fn sized(&self, new: &NewVm, seed: Option<&SnapshotRecord>) -> Result<Resources> {
        let or = |asked: u32, of_seed: fn(&Resources) -> u32, standard: u32| match (asked, seed) {
            (0, Some(seed)) => of_seed(&seed.resources),
            (0, None) => standard,
            (asked, _) => asked,
        };
        let resources = Resources {
            cpus: or(new.resources.cpus, |r| r.cpus, self.config.default_vcpus),
            ram_mb: or(new.resources.ram_mb, |r| r.ram_mb, self.config.default_memory_mib),
            storage_gb: or(new.resources.storage_gb, |r| r.storage_gb, 0),
        };
        let Resources { cpus, ram_mb, storage_gb } = resources;
        let refuse = |why: String| Err(Error::invalid("create", &new.name, why));
        if !(1..=VCPUS_MOST).contains(&cpus) {
            return refuse(format!("{cpus} processors are not 1 to {VCPUS_MOST}"));
        }
        if !(16..=MEMORY_MOST).contains(&ram_mb) {
            return refuse(format!("{ram_mb} MiB of memory are not 16 to {MEMORY_MOST}"));
        }
        if storage_gb > DISK_MOST {
            return refuse(format!("{storage_gb} GiB of disk are more than {DISK_MOST}"));
        }
        if let Some(seed) = seed {
            let runs = seed.runs_on(self.driver.backend());
            runs.map_err(|why| Error::invalid("create", &new.name, why))?;
            let differs = (cpus, ram_mb) != (seed.resources.cpus, seed.resources.ram_mb);
            if seed.kind == SnapshotKind::Live && differs {
                let Resources { cpus, ram_mb, .. } = seed.resources;
                let id = &seed.id;
                return refuse(format!(
                    "live snapshot {id} has {cpus} processors and {ram_mb} MiB; ask for these"
                ));
            }
        }
        Ok(resources)
    }

    /// Takes the name and a slot.
    fn enter(
        self: &Arc<Self>,
        new: &NewVm,
        resources: Resources,
        seed: Option<&SnapshotRecord>,
    ) -> Result<Arc<Vm>> {
        let image = match (&new.image, seed) {
            (_, Some(seed)) => seed.image.clone(),
            (Some(image), None) => image.to_string(),
            (None, None) => self.config.default_image.clone(),
        };
        let record = VmRecord {
            name: new.name.clone(),
            owner: new.owner.clone(),
            environment_id: new.environment_id.clone(),
            backend: self.driver.backend().to_owned(),
            vmm_version: self.version.clone(),
            resources,
            image,
            machine: Machine::default(),
            state: VmState::Creating,
            process: None,
            net: None,
            published: Vec::new(),
            created_at: Timestamp::from(std::time::SystemTime::now()),
            origin: new.seed.clone(),
            memory_base: None,
            restoring: None,
        };
        let site = Site { name: new.name.clone(), dir: self.vms.dir(&new.name) };
        let vm = Arc::new(Vm::new(site, record));
        let mut table = self.table();
        if table.contains_key(&new.name) {
            let why = "a VM of this name is there";
            return Err(Error::new(ErrorKind::Exists, "create", &new.name, why));
        }
        let most = self.config.max_vms;
        if most > 0 && table.len() >= most as usize {
            let why = format!("this host runs {} VMs, and {most} are the most", table.len());
            return Err(Error::new(ErrorKind::Busy, "create", &new.name, why));
        }
        table.insert(new.name.clone(), Arc::clone(&vm));
        Ok(vm)
    }

    /// Makes the directory and the control group of what was entered, and puts the files of its snapshot there.
    async fn lay_out(self: &Arc<Self>, vm: &Arc<Vm>, seed: Option<&Arc<SnapshotRecord>>) -> Result<LaidOut> {
        let (inner, to_begin, origin) = (Arc::clone(self), Arc::clone(vm), seed.cloned());
        blocking("create", move || {
            let record = to_begin.record().clone();
            inner.vms.begin(&record)?;
            let group = inner.make_group(&record)?;
            let disk = origin.map(|origin| inner.place_snapshot(&to_begin.site, &origin)).transpose()?;
            Ok(LaidOut { group, disk })
        })
        .await
    }

    /// Makes what was laid out.
    async fn make(
        self: &Arc<Self>,
        vm: &Arc<Vm>,
        new: &NewVm,
        seed: Option<&SnapshotRecord>,
        LaidOut { group, disk }: LaidOut,
    ) -> Result<()> {
        let disk = match disk {
            None => self.furnish_from_image(vm, new).await?,
            of_seed => of_seed,
        };
        self.connect(vm).await?;
        let begin = match seed.filter(|seed| seed.kind == SnapshotKind::Live) {
            None => {
                write_token(&vm.site.dir, &new_token()?)?;
                Begin::Boot
            }
            Some(seed) => Begin::Load(self.saved(vm, seed).await?),
        };
        let base = seed.filter(|seed| seed.kind == SnapshotKind::Live).map(|seed| seed.id.clone());
        let machine = self.machine(vm, disk);
        {
            // Written with the process: until there is one, a crash ends the VM.
            let mut record = vm.record();
            (record.machine, record.memory_base) = (machine, base);
        }
        match begin {
            Begin::Boot => self.boot(vm, &group).await?,
            Begin::Load(saved) => {
                let held_ms = seed.map_or(0, |seed| seed.held_ms);
                self.go_on(vm, &group, &saved, true, held_ms).await?;
            }
        }
        self.keep(vm, |record| record.state = VmState::Running).await
    }

    /// Puts the files of an image into the VM's directory and makes its disk.
    async fn furnish_from_image(
        self: &Arc<Self>,
        vm: &Arc<Vm>,
        new: &NewVm,
    ) -> Result<Option<(DiskFormat, String)>> {
        let name = match &new.image {
            Some(name) => name.clone(),
            None => ImageName::new(&self.config.default_image)?,
        };
        let (inner, site) = (Arc::clone(self), vm.site.clone());
        let image = blocking("furnish", move || {
            let image = inner.images.open(&name)?;
            let from = inner.images.dir(&name);
            share_file(&from.join(&image.kernel.name), &site.file(KERNEL))?;
            if let Some(initrd) = &image.initrd {
                share_file(&from.join(&initrd.name), &site.file(INITRD))?;
            }
            if let Some(rootfs) = &image.rootfs {
                share_file(&from.join(&rootfs.name), &site.file(BASE))?;
            }
            Ok(image)
        })
        .await?;
        if image.rootfs.is_none() {
            return Ok(Some((DiskFormat::Raw, image.kernel_args)).filter(|(_, args)| !args.is_empty()));
        }
        let size = u64::from(vm.record().resources.storage_gb) << 30;
        let (base, disk) = (vm.site.file(BASE), vm.site.file(DISK));
        self.driver.make_disk(&base, image.rootfs_format, &disk, size).await?;
        if self.driver.abilities().disk == DiskFormat::Raw {
            // A copy needs its original no more.
            let _ = std::fs::remove_file(base);
        }
        Ok(Some((self.driver.abilities().disk, image.kernel_args)))
    }

    /// Puts the files of a snapshot into a VM's directory. Blocks the thread.
    pub(super) fn place_snapshot(&self, site: &Site, seed: &SnapshotRecord) -> Result<(DiskFormat, String)> {
        let from = self.snapshots.dir(&seed.id);
        for name in names_of(seed) {
            let to = site.file(&name);
            let _ = std::fs::remove_file(&to);
            match name.as_str() {
                DISK => clone_file(&from.join(&name), &to, 0o600)?,
                super::link::TOKEN => {
                    let text = std::fs::read(from.join(&name));
                    let text = text.map_err(|error| Error::system("read", from.display(), error))?;
                    crate::system::write_volatile(&to, &text)?;
                }
                _ => share_file(&from.join(&name), &to)?,
            }
        }
        let format = seed.machine.disk.as_ref().map_or(DiskFormat::Raw, |disk| disk.format);
        Ok((format, seed.machine.arguments.clone()))
    }

    /// Gives the VM its addresses and the port of its agent.
    async fn connect(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<()> {
        let lease = match (&self.config.network, &self.networks) {
            (NetworkConfig::Tap { .. }, Some(networks)) => Lease::Tap(networks.attach(vm.name()).await?),
            (NetworkConfig::User, _) => Lease::User { mac: "06:00:0a:00:02:0f".to_owned() },
            _ => return Ok(()),
        };
        vm.record().net = Some(lease.clone());
        let port = self.take_port()?;
        let published = vec![Published { name: None, guest: fuse_guest_protocol::TCP_PORT, host: port }];
        self.keep(vm, |record| record.published = published.clone()).await?;
        if let (Lease::Tap(_), Some(networks)) = (&lease, &self.networks) {
            networks.publish(vm.name(), super::vm::forwards(&published)).await?;
        }
        Ok(())
    }

    /// Takes a free port of this host.
    pub(super) fn take_port(&self) -> Result<u16> {
        let mut used = self.ports();
        let port = free_port(&self.config.port_range(), &used)?;
        used.insert(port);
        Ok(port)
    }

    /// Gives a VM other ports of this host for those that it has.
    async fn take_other_ports(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<()> {
        let mut published = vm.record().published.clone();
        for port in &mut published {
            let other = self.take_port()?;
            self.ports().remove(&port.host);
            port.host = other;
        }
        self.keep(vm, |record| {
            record.published = published;
            set_forwards(&mut record.machine.nic, &record.published);
        })
        .await
    }

    /// The machine of a VM whose files and addresses are there.
    pub(super) fn machine(&self, vm: &Vm, disk: Option<(DiskFormat, String)>) -> Machine {
        let record = vm.record();
        let (format, arguments) = disk.unwrap_or_default();
        // Who it is, from its first program on: host name and machine id.
        let arguments = format!("{arguments} fuse.vm_id={}", record.name);
        let has = |name: &str| vm.site.file(name).exists();
        let mut nic = match (&record.net, &self.config.network) {
            (Some(Lease::Tap(lease)), NetworkConfig::Tap { limit, .. }) => Some(Nic::Tap {
                tap: TapLease::TAP.to_owned(),
                netns: lease.netns.clone(),
                mac: lease.mac.clone(),
                limit: *limit,
            }),
            (Some(Lease::User { mac }), _) => Some(Nic::User { mac: mac.clone(), forwards: Vec::new() }),
            _ => None,
        };
        set_forwards(&mut nic, &record.published);
        Machine {
            vcpus: record.resources.cpus,
            memory_mib: record.resources.ram_mb,
            kernel: vm.site.file(KERNEL),
            initrd: has(INITRD).then(|| vm.site.file(INITRD)),
            arguments,
            disk: has(DISK).then(|| Disk { name: DISK.to_owned(), format, limit: self.config.disk_limit }),
            nic,
            track_writes: self.config.track_writes && self.driver.abilities().diff,
        }
    }

    /// Starts the VMM of a VM: its process is on record and under its limits before the guest runs.
    async fn spawn(self: &Arc<Self>, vm: &Arc<Vm>, group: &cgroup::Group, purpose: Purpose) -> Result<()> {
        let publishes = matches!(vm.record().machine.nic, Some(Nic::User { .. }));
        match self.spawn_once(vm, group, purpose).await {
            // Between the choice of a port and its use another program may have taken it.
            Err(_) if publishes => {
                self.end_process(vm).await?;
                self.take_other_ports(vm).await?;
                self.spawn_once(vm, group, purpose).await
            }
            spawned => spawned,
        }
    }

    async fn spawn_once(
        self: &Arc<Self>,
        vm: &Arc<Vm>,
        group: &cgroup::Group,
        purpose: Purpose,
    ) -> Result<()> {
        let machine = vm.record().machine.clone();
        let process = self.driver.spawn(&vm.site, &machine, purpose, group).await?;
        let kept = self.keep(vm, |record| record.process = Some(process.clone()));
        let (limited, found) = (process.clone(), group.clone());
        let taken = blocking("limit", move || found.take(&limited));
        let ready = self.driver.ready(&vm.site, &process);
        let (kept, taken, ready) = tokio::join!(kept, taken, ready);
        // A VMM that ended cannot be limited either: what it says of its end comes first.
        ready.and(taken).and(kept)
    }

    /// Makes the control group that the VMM of a VM is to be in. Blocks the thread.
    fn make_group(&self, record: &VmRecord) -> Result<cgroup::Group> {
        let Resources { cpus, ram_mb, .. } = record.resources;
        let limits = cgroup::Limits {
            memory: u64::from(ram_mb + self.config.vmm_memory_mib) << 20,
            // The VMM's own thread beside the guest's processors.
            millicpus: u64::from(cpus) * 1000 + 250,
            tasks: 256,
        };
        self.cgroups.make(&self.group(&record.name), limits)
    }

    /// The control group of a VM that there is.
    pub(super) async fn limits(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<cgroup::Group> {
        let (inner, record) = (Arc::clone(self), vm.record().clone());
        blocking("limit", move || inner.make_group(&record)).await
    }

    /// Boots a VM that is furnished, and waits for its agent.
    pub(super) async fn boot(self: &Arc<Self>, vm: &Arc<Vm>, group: &cgroup::Group) -> Result<()> {
        self.spawn(vm, group, Purpose::Boot).await?;
        let machine = vm.record().machine.clone();
        self.driver.configure(&vm.site, &machine).await?;
        self.driver.boot(&vm.site, &machine).await?;
        self.introduce(vm).await
    }

    /// Lets a VM go on from saved memory, as itself (`fresh`: as another one than was saved).
    pub(super) async fn go_on(
        self: &Arc<Self>,
        vm: &Arc<Vm>,
        group: &cgroup::Group,
        saved: &Saved,
        fresh: bool,
        held_ms: u64,
    ) -> Result<()> {
        self.forget_hold(vm);
        let begin = async {
            self.spawn(vm, group, Purpose::Load).await?;
            let machine = vm.record().machine.clone();
            self.driver.load(&vm.site, &machine, saved).await?;
            self.renew(vm, fresh, held_ms).await
        };
        self.turns.take(begin).await
    }

    /// The network that the guest is told.
    pub(super) fn guest_network(&self, vm: &Vm) -> Option<fuse_guest_protocol::verb::Network> {
        use fuse_guest_protocol::verb::Network;
        match vm.record().net.as_ref()? {
            Lease::Tap(lease) => Some(Network {
                address: format!("{}/30", lease.guest),
                gateway: Some(lease.gateway.to_string()),
                mac: Some(lease.mac.clone()),
                ..Network::default()
            }),
            Lease::User { .. } => Some(Network { address: USER_ADDRESS.to_owned(), ..Network::default() }),
        }
    }

    /// The name of the VM's control group, which tells this agent's from those of others.
    pub(super) fn group(&self, vm: &VmName) -> String {
        format!("{}{vm}", self.group_prefix())
    }

    pub(super) fn group_prefix(&self) -> String {
        let digest = crate::store::Sha256Hex::of(self.data.root().as_os_str().as_encoded_bytes()).to_string();
        format!("{}-", digest.get(..8).unwrap_or_default())
    }
}

fn names_of(seed: &SnapshotRecord) -> Vec<String> {
    let wanted = [DISK, BASE, KERNEL, INITRD, super::link::TOKEN];
    seed.files.iter().map(|file| file.name.clone()).filter(|name| wanted.contains(&name.as_str())).collect()
}

/// Adds the end of the console to an error of the guest or its VMM: it often says why.
pub(super) fn with_console(error: Error, console: &Console) -> Error {
    if !matches!(error.kind, ErrorKind::Guest | ErrorKind::Vmm) {
        return error;
    }
    let tail = console.tail(400).unwrap_or_default();
    let text = String::from_utf8_lossy(&tail);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>();
    if lines.is_empty() {
        return error;
    }
    Error { why: format!("{}; its console ends with: {}", error.why, lines.join(" | ")), ..error }
}
