//! The example does what it says: on the stub, and on real VMs where there can be some.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use fuse_host_agent::{
    LocalVms,
    driver::DiskFormat,
    image::{Parts, import},
    store::ImageName,
};
use fuse_orchestrator::model::HostId;

/// Runs the example with the images of `data`.
fn run(data: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sandbox")).env("FUSE_HOST_DATA", data).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn check_story(text: &str) {
    let said: Vec<_> = text.lines().filter(|line| !line.starts_with("  event")).map(str::trim).collect();
    let notes: Vec<_> =
        said.iter().filter(|line| ["made at boot", "changed later", "of the fork"].contains(line)).collect();
    assert_eq!(
        notes,
        [
            &"made at boot",
            &"changed later",
            &"made at boot",
            &"made at boot",
            &"of the fork",
            &"made at boot"
        ],
        "{text}"
    );
    assert_eq!(said.iter().filter(|line| line.contains("is destroyed")).count(), 2, "{text}");
    for event in
        ["vm.running", "snapshot.created", "snapshot.restored", "vm.forked", "vm.drained", "vm.removed"]
    {
        assert!(text.contains(event), "{event} is missing in\n{text}");
    }
}

#[test]
fn it_lives_its_whole_life() {
    let nothing = tempfile::tempdir().unwrap();
    let text = run(nothing.path());
    check_story(&text);
    // Loud, with the reason and what helps.
    assert!(text.contains("host default: the STUB") && text.contains("fuse image build"), "{text}");
}

/// The kernel and initramfs of a guest, and QEMU; else why they are not there.
fn guest() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let dir = std::env::var_os("FUSE_TEST_GUEST").map_or_else(|| root.join("target/guest"), PathBuf::from);
    let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
    match (qemu.is_ok_and(|output| output.status.success()), dir.join("vmlinux").exists()) {
        (true, true) => Ok(dir),
        (false, _) => Err("qemu-system-x86_64 is not installed".to_owned()),
        (true, false) => Err(format!("{} has no vmlinux", dir.display())),
    }
}

#[test]
fn it_lives_its_whole_life_on_real_vms() {
    let guest = match guest() {
        Ok(guest) => guest,
        Err(why) => {
            assert!(std::env::var_os("FUSE_TEST_STRICT").is_none(), "skipped: {why}");
            eprintln!("skipped the sandbox on real VMs: {why}");
            return;
        }
    };
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sandbox-vms");
    let _ = std::fs::remove_dir_all(&data);
    let parts = Parts {
        name: ImageName::new("default").unwrap(),
        kernel: guest.join("vmlinux"),
        initrd: Some(guest.join("initramfs.cpio")),
        rootfs: None,
        rootfs_format: DiskFormat::Raw,
        kernel_args: String::new(),
        replace: true,
    };
    import(&data, &parts).unwrap();
    let text = run(&data);
    check_story(&text);
    assert!(text.contains("host default: real VMs of"), "{text}");
    // Memory came back to where it was: beyond the snapshot, and short of what it had reached before the restore.
    let counted = text.lines().find(|line| line.contains("the counter was at")).unwrap();
    let numbers: Vec<u64> =
        counted.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    let [before, later, back] = numbers[..] else { panic!("{counted}") };
    assert!(before < back && before + 20 < later, "{counted}");
    // The clones are two machines.
    let names: Vec<_> = text.lines().filter(|line| line.contains(" counts at ")).map(str::trim).collect();
    let told: Vec<_> = names.iter().filter(|line| !line.contains('$')).collect();
    assert_eq!(told.len(), 2, "{text}");
    assert!(told[0].ends_with("mark: of the fork") && told[1].ends_with("mark: none"), "{told:?}");
    assert_ne!(told[0].split(' ').next(), told[1].split(' ').next(), "{told:?}");
    // Nothing is left on the machine.
    for kept in ["vms", "snapshots"] {
        let left = std::fs::read_dir(data.join(kept)).unwrap().count();
        assert_eq!(left, 0, "{kept}");
    }
}

/// A directory that was used with the stub moves to real VMs when there are some.
#[tokio::test]
async fn a_stub_gives_way_to_real_vms() {
    let guest = match guest() {
        Ok(guest) => guest,
        Err(why) => return eprintln!("skipped a stub that gives way to real VMs: {why}"),
    };
    let (state, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let none = LocalVms::open(data.path()).await;
    assert!(none.to_string().contains("STUB") && none.agent().is_none(), "{none}");
    let fuse = none.orchestrator(state.path()).await.unwrap();
    let host = HostId::new("default").unwrap();
    assert_eq!(fuse.host(&host).await.unwrap().backend, "stub");
    fuse.close().await.unwrap();
    drop(fuse);

    let parts = Parts {
        name: ImageName::new("default").unwrap(),
        kernel: guest.join("vmlinux"),
        initrd: Some(guest.join("initramfs.cpio")),
        rootfs: None,
        rootfs_format: DiskFormat::Raw,
        kernel_args: String::new(),
        replace: true,
    };
    import(data.path(), &parts).unwrap();
    let vms = LocalVms::open(data.path()).await;
    let fuse = vms.orchestrator(state.path()).await.unwrap();
    let found = fuse.host(&host).await.unwrap();
    assert!(found.url.starts_with("local://") && found.capacity.vm_count > 0, "{found:?}");
    fuse.close().await.unwrap();
}
