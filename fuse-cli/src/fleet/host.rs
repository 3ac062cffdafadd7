//! `fuse host …`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use fuse_orchestrator::model::{Arch, Capacity, CertificatePin, HostId};
use fuse_orchestrator::wire::{self, HostList};
use fuse_orchestrator::{HostDrainProgress, HostRegistration, Removal};

use super::{Session, rows, values, watch::Watch};
use crate::outcome::{Outcome, Verdict};
use crate::output;

/// How often the drain of a host is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List hosts
    #[command(after_help = "Examples:\n  fuse host list --watch\n  fuse host list -o json")]
    List {
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one host
    #[command(after_help = "Examples:\n  fuse host get h1")]
    Get {
        /// The host
        id: HostId,
        #[command(flatten)]
        watch: Watch,
    },
    /// Add a host, or register it again
    #[command(
        visible_alias = "register",
        after_help = "\
The token of its agent is taken from --token-file, else from FUSE_HOST_TOKEN.

Examples:
  fuse host add h1 http://192.0.2.7:8090 --token-file token --max-vms 32
  fuse host add h2 https://192.0.2.8:8090 --certificate SHA256 --max-vms 8 --label disk=nvme"
    )]
    Add(Box<Add>),
    /// Let no new environments go to a host
    #[command(after_help = "Examples:\n  fuse host cordon h1")]
    Cordon {
        /// The host
        id: HostId,
    },
    /// Let new environments go to a host again; takes a drain back
    #[command(after_help = "Examples:\n  fuse host uncordon h1")]
    Uncordon {
        /// The host
        id: HostId,
    },
    /// Empty a host: no new environments, and those that it has are drained and destroyed
    #[command(after_help = "Examples:\n  fuse host drain h1\n  fuse host drain h1 --limit 5m --no-wait")]
    Drain {
        /// The host
        id: HostId,
        /// How long the drain of one environment may take until it is destroyed all the same
        #[arg(long, value_name = "TIME", value_parser = values::duration)]
        limit: Option<Duration>,
        /// Do not wait until it is empty
        #[arg(long)]
        no_wait: bool,
    },
    /// Remove a host that has no environments
    #[command(after_help = "Examples:\n  fuse host remove h1 --yes")]
    Remove {
        /// The host
        id: HostId,
        /// Whatever it holds: you vouch that its VMs are gone
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// A host to add.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its name
    id: HostId,
    /// Where its agent is reached
    url: String,
    /// The file that holds the token of its agent; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The SHA-256 of the certificate that its agent must show
    #[arg(long, value_name = "SHA256")]
    certificate: Option<CertificatePin>,
    /// Its region
    #[arg(long, default_value = "")]
    region: String,
    /// What runs its VMs: firecracker or qemu
    #[arg(long, default_value = "")]
    backend: String,
    /// Its labels
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    labels: Vec<(String, String)>,
    /// Its architecture: amd64 or arm64
    #[arg(long)]
    arch: Option<Arch>,
    /// Virtual processors; asked of the host when nothing is said
    #[arg(long, default_value_t = 0)]
    cpus: u32,
    /// Memory in MiB; asked of the host when nothing is said
    #[arg(long, default_value_t = 0)]
    ram_mb: u32,
    /// Disk in GiB; asked of the host when nothing is said
    #[arg(long, default_value_t = 0)]
    storage_gb: u32,
    /// VM slots; needed unless the host has a limit of its own
    #[arg(long, default_value_t = 0)]
    max_vms: u32,
}

impl Command {
    pub(crate) async fn run(self, session: Session) -> Outcome {
        let (fuse, format) = (&session.fuse, session.format);
        match self {
            Self::List { watch } => {
                let look = async || {
                    let (mut items, mut cursor) = (Vec::new(), None::<String>);
                    loop {
                        let page = fuse.hosts(Some(200), cursor.as_deref()).await?;
                        items.extend(page.items);
                        cursor = page.next_cursor;
                        if cursor.is_none() {
                            break;
                        }
                    }
                    let body =
                        HostList { hosts: items.iter().map(wire::Host::from).collect(), next_cursor: None };
                    Ok(format.render(&body, || rows::hosts(&items)))
                };
                return watch.show(look).await;
            }
            Self::Get { id, watch } => {
                let look = async || {
                    let host = fuse.host(&id).await?;
                    Ok(format.render(&wire::Host::from(&host), || rows::host(&host)))
                };
                return watch.show(look).await;
            }
            Self::Add(add) => {
                let (id, registration) = add.registration()?;
                let host = fuse.register_host(&id, registration).await?;
                format.print(&wire::Host::from(&host), || rows::host(&host));
            }
            Self::Cordon { id } => {
                fuse.cordon(&id).await?;
                format.done(&format!("{id} takes no new environments"));
            }
            Self::Uncordon { id } => {
                fuse.uncordon(&id).await?;
                format.done(&format!("{id} takes new environments"));
            }
            Self::Drain { id, limit, no_wait } => return drain(&session, &id, limit, no_wait).await,
            Self::Remove { id, force, yes } => {
                values::confirm(yes, &format!("remove host {id}"))?;
                let removal = if force { Removal::Forced } else { Removal::Empty };
                fuse.remove_host(&id, removal).await?;
                format.done(&format!("{id} is removed"));
            }
        }
        Ok(Verdict::Fine)
    }
}

impl Add {
    fn registration(self) -> Outcome<(HostId, HostRegistration)> {
        let token = match &self.token_file {
            Some(path) => Some(values::secret_file(path)?),
            None => std::env::var("FUSE_HOST_TOKEN").ok().filter(|token| !token.is_empty()).map(Into::into),
        };
        let registration = HostRegistration {
            url: self.url,
            token,
            region: self.region,
            backend: self.backend,
            labels: self.labels.into_iter().collect(),
            arch: self.arch,
            certificate: self.certificate,
            capacity: Capacity {
                cpus: self.cpus,
                ram_mb: self.ram_mb,
                storage_gb: self.storage_gb,
                vm_count: self.max_vms,
            },
        };
        Ok((self.id, registration))
    }
}

async fn drain(session: &Session, id: &HostId, limit: Option<Duration>, no_wait: bool) -> Outcome {
    let (fuse, format) = (&session.fuse, session.format);
    let mut progress = fuse.drain_host(id, limit).await?;
    let tells = format.is_table() && std::io::stderr().is_terminal();
    let bar = if tells { indicatif::ProgressBar::new_spinner() } else { indicatif::ProgressBar::hidden() };
    while !no_wait && !progress.is_finished() {
        bar.set_message(told(id, &progress));
        bar.tick();
        tokio::time::sleep(LOOK).await;
        match fuse.host_drain(id).await? {
            Some(now) => progress = now,
            None => {
                bar.finish_and_clear();
                format.done(&format!("the drain of {id} was taken back"));
                return Ok(Verdict::Problems);
            }
        }
    }
    bar.finish_and_clear();
    format.print(&wire::HostDrain::from(&progress), || {
        format!("{}\n", output::printable(&told(id, &progress)))
    });
    Ok(Verdict::Fine)
}

fn told(id: &HostId, progress: &HostDrainProgress) -> String {
    if progress.is_finished() {
        return format!("{id} is empty");
    }
    let states: Vec<_> = progress.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!("{id} has {} of {} left: {}", progress.left, progress.order.environments, states.join(", "))
}
