//! `fuse image`: what VMs on this machine boot from.

use std::path::PathBuf;

use fuse_host_agent::{
    driver::DiskFormat,
    image::{self, Build, Parts},
    store::{ImageName, ImageRecord},
};
use serde::Serialize;

use crate::outcome::{EXIT_CODES, Failure, Outcome, Verdict};
use crate::output::{Report, Table, bytes, print};

const BUILD: &str = "\
Examples:
  fuse image build                                   # kernel, initramfs and a Debian root file system
  fuse image build --minimal --name small            # no root file system: guest agent and busybox alone
  fuse image build --include python3,git --size 4G --name python
  FUSE_MIRROR=/srv/mirror fuse image build           # without a network";
const LIST: &str = "\
Examples:
  fuse image list
  fuse image list --json | jq -r '.images[].name'";
const IMPORT: &str = "\
Examples:
  fuse image import --name mine --kernel vmlinux --rootfs rootfs.ext4 --kernel-args 'root=/dev/vda rw'
  fuse image import --name mine --kernel vmlinux --initrd initramfs.cpio";
const REMOVE: &str = "\
Examples:
  fuse image remove small";

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make an image out of Debian's signed packages; root is not needed
    #[command(after_help = format!("{BUILD}\n\n{EXIT_CODES}"))]
    Build(BuildArgs),
    /// List the images, with their digests
    #[command(after_help = format!("{LIST}\n\n{EXIT_CODES}"))]
    List(Data),
    /// Take a kernel and file systems that are there as an image
    #[command(after_help = format!("{IMPORT}\n\n{EXIT_CODES}"))]
    Import(ImportArgs),
    /// Remove an image; VMs that were made of it go on
    #[command(after_help = format!("{REMOVE}\n\n{EXIT_CODES}"))]
    Remove(RemoveArgs),
}

/// Where the images are.
#[derive(Debug, clap::Args)]
pub(crate) struct Data {
    /// The data directory of the host agent [default: $FUSE_HOST_DATA, else /var/lib/fuse-host-agent]
    #[arg(long)]
    data: Option<PathBuf>,
}

impl Data {
    fn dir(&self) -> PathBuf {
        let named = || std::env::var_os("FUSE_HOST_DATA").map(PathBuf::from);
        self.data.clone().or_else(named).unwrap_or_else(|| PathBuf::from("/var/lib/fuse-host-agent"))
    }
}

/// What `build` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    data: Data,
    /// The image's name
    #[arg(long, default_value = "default", value_parser = name)]
    name: ImageName,
    /// Without a root file system
    #[arg(long)]
    minimal: bool,
    /// The size of the root file system; VMs can have larger disks
    #[arg(long, default_value = "2G")]
    size: String,
    /// Debian packages beside the smallest set
    #[arg(long, value_delimiter = ',')]
    include: Vec<String>,
    /// A directory whose content is copied over the root file system
    #[arg(long)]
    overlay: Option<PathBuf>,
    /// The guest agent [default: fused beside this program, else in PATH]
    #[arg(long)]
    fused: Option<PathBuf>,
    /// Replace an image of this name that has other bytes
    #[arg(long)]
    replace: bool,
}

/// What `import` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    data: Data,
    /// The image's name
    #[arg(long, value_parser = name)]
    name: ImageName,
    /// An uncompressed kernel (vmlinux)
    #[arg(long)]
    kernel: PathBuf,
    /// An initial file system
    #[arg(long)]
    initrd: Option<PathBuf>,
    /// A root file system
    #[arg(long)]
    rootfs: Option<PathBuf>,
    /// The root file system is a qcow2 image, not a raw one
    #[arg(long)]
    qcow2: bool,
    /// What is added to the kernel's command line [default: root=/dev/vda rw, with a root file system]
    #[arg(long)]
    kernel_args: Option<String>,
    /// Replace an image of this name that has other bytes
    #[arg(long)]
    replace: bool,
}

/// What `remove` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    data: Data,
    /// The image's name
    #[arg(value_parser = name)]
    name: ImageName,
}

fn name(text: &str) -> Result<ImageName, String> {
    ImageName::new(text).map_err(|error| error.to_string())
}

/// One image, as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    record: ImageRecord,
    /// Whether the command changed anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
}

impl Report for Shown {
    fn text(&self) -> String {
        let what = if self.changed == Some(false) { "is there already" } else { "is there" };
        format!("Image {} {what}.\n", self.record.name)
    }
}

/// All images.
#[derive(Debug, Serialize)]
struct Images {
    images: Vec<ImageRecord>,
}

impl Report for Images {
    fn text(&self) -> String {
        if self.images.is_empty() {
            return "There are no images; `fuse image build` makes one.\n".to_owned();
        }
        let mut table = Table::new(&["NAME", "ARCH", "FILE", "SIZE>", "SHA-256"]);
        for image in &self.images {
            let files = [Some(&image.kernel), image.initrd.as_ref(), image.rootfs.as_ref()];
            for (index, file) in files.into_iter().flatten().enumerate() {
                let (name, arch) = match index {
                    0 => (image.name.to_string(), image.arch.to_string()),
                    _ => (String::new(), String::new()),
                };
                table.row([name, arch, file.name.clone(), bytes(file.size), file.sha256.to_string()]);
            }
        }
        table.text()
    }
}

/// What was removed.
#[derive(Debug, Serialize)]
struct Removed {
    removed: String,
}

impl Report for Removed {
    fn text(&self) -> String {
        format!("Image {} is removed.\n", self.removed)
    }
}

fn refused(error: fuse_host_agent::Error) -> Failure {
    Failure::Refused { what: error.target.clone(), why: format!("cannot {}: {}", error.doing, error.why) }
}

impl Command {
    /// Does what was asked for.
    pub(crate) fn run(self, json: bool) -> Outcome {
        match self {
            Self::Build(args) => {
                let build = Build {
                    name: args.name,
                    fused: args.fused,
                    minimal: args.minimal,
                    size: args.size,
                    packages: args.include,
                    overlay: args.overlay,
                    mirror: std::env::var_os("FUSE_MIRROR")
                        .filter(|path| !path.is_empty())
                        .map(PathBuf::from),
                    replace: args.replace,
                };
                let made = image::build(&args.data.dir(), &build, |line| eprintln!("{line}"));
                let (record, changed) = made.map_err(refused)?;
                print(&Shown { record, changed: Some(changed) }, json);
            }
            Self::List(data) => print(&Images { images: image::list(&data.dir()).map_err(refused)? }, json),
            Self::Import(args) => {
                let with_rootfs = || if args.rootfs.is_some() { "root=/dev/vda rw" } else { "" }.to_owned();
                let parts = Parts {
                    name: args.name,
                    kernel: args.kernel,
                    initrd: args.initrd,
                    kernel_args: args.kernel_args.unwrap_or_else(with_rootfs),
                    rootfs: args.rootfs,
                    rootfs_format: if args.qcow2 { DiskFormat::Qcow2 } else { DiskFormat::Raw },
                    replace: args.replace,
                };
                let (record, changed) = image::import(&args.data.dir(), &parts).map_err(refused)?;
                print(&Shown { record, changed: Some(changed) }, json);
            }
            Self::Remove(args) => {
                image::remove(&args.data.dir(), &args.name).map_err(refused)?;
                print(&Removed { removed: args.name.to_string() }, json);
            }
        }
        Ok(Verdict::Fine)
    }
}
