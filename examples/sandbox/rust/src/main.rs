//! The whole life of a sandbox: provision, exec, snapshot, restore, fork, drain, destroy, with its events as they
//! happen.
//!
//! The control plane is embedded: no server, no daemon. Its VMs are those of this machine, in this process; where QEMU or
//! Firecracker and an image are not installed, the stub stands in, which keeps VMs in memory and isolates nothing. The
//! first lines say which it is, and why.
//!
//! usage: sandbox [--make-image] [DIRECTORY OF THE STATE]
//!
//! `--make-image` makes a small image out of Debian packages first, unless there is one: a kernel, the guest agent and
//! busybox, without a disk. Images and VMs are in `$FUSE_HOST_DATA`, else in `/var/lib/fuse-host-agent`.

use std::{error::Error, ffi::OsString, time::Duration};

use fuse_host_agent::{
    LocalVms,
    image::{self, Build},
    store::ImageName,
};
use fuse_orchestrator::{
    Delivery, Orchestrator, Subscription,
    model::{EnvironmentId, EventKind, ForkRequest, ProvisionRequest, SnapshotRequest, Subject, TaskId},
};

type Done = Result<(), Box<dyn Error>>;

/// A guest that is interpreted, on a machine that is busy, comes up late.
const SOON: Duration = Duration::from_secs(300);

/// Counts in memory alone, in a process that a snapshot takes along.
const COUNTER: &str = "echo 'made at boot' > /notes
(i=0; while :; do i=$((i + 1)); echo $i > /run/next; mv /run/next /run/count; sleep 0.1; done) < /dev/null > /dev/null 2>&1 &";

#[tokio::main]
async fn main() -> Done {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let makes_image = arguments.first().is_some_and(|first| first == "--make-image");
    if makes_image {
        arguments.remove(0);
        make_image();
    }
    let temporary = tempfile::tempdir()?;
    let dir = arguments.pop().map_or_else(|| temporary.path().to_owned(), Into::into);

    // These two lines are all that it takes.
    let vms = LocalVms::open(&LocalVms::data_dir()).await;
    let fuse = vms.orchestrator(&dir).await?;

    println!("control plane in {}", dir.display());
    println!("host default: {vms}");
    let printer = tokio::spawn(print_events(fuse.events(fuse.newest_event().await?)));
    live(&fuse, vms.agent().is_some()).await?;
    printer.await?;
    Ok(fuse.close().await?)
}

/// Makes an image, or says why there is none.
fn make_image() {
    let made = ImageName::new("default").and_then(|name| {
        let build = Build {
            name,
            fused: None,
            minimal: true,
            size: "1G".to_owned(),
            packages: Vec::new(),
            overlay: None,
            mirror: std::env::var_os("FUSE_MIRROR").map(Into::into),
            replace: false,
        };
        image::build(&LocalVms::data_dir(), &build, |line| println!("image: {line}"))
    });
    if let Err(error) = made {
        println!("image: none was made: {error}");
    }
}

async fn live(fuse: &Orchestrator, has_memory: bool) -> Done {
    let mut request = ProvisionRequest::new(TaskId::new("demo")?);
    request.spec.resources.cpus = 1;
    request.spec.resources.ram_mb = 256;
    // The stub's guest has files and no processes.
    let script = if has_memory { COUNTER } else { "echo 'made at boot' > /notes" };
    request.startup_script = script.to_owned();
    let accepted = fuse.provision(request).await?;
    let running = fuse.wait_running(&accepted.id, SOON).await?;
    let timings = running.timings;
    println!(
        "{} runs on {} ({} µs to create, {} µs to upload, {} µs for the agent)",
        running.id,
        running.host_id,
        timings.create_us.unwrap_or(0),
        timings.upload_us.unwrap_or(0),
        timings.agent_us.unwrap_or(0),
    );

    show(fuse, &running.id, "cat /notes").await?;
    // With memory and processors: what runs goes on from here.
    let with = SnapshotRequest { live: has_memory, ..SnapshotRequest::default() };
    let before = if has_memory { count(fuse, &running.id).await? } else { 0 };
    let snapshot = fuse.create_snapshot(&running.id, with).await?;
    show(fuse, &running.id, "echo 'changed later' > /notes; cat /notes").await?;
    let later = if has_memory { count_beyond(fuse, &running.id, before + 20).await? } else { 0 };
    fuse.restore_snapshot(&snapshot.id).await?;
    show(fuse, &running.id, "cat /notes").await?;
    if has_memory {
        let back = count_beyond(fuse, &running.id, before).await?;
        println!(
            "    the counter was at {before} at the snapshot, at {later} before the restore, and goes on at {back}"
        );
    }

    let fork = ForkRequest { reuse_snapshot_id: Some(snapshot.id.clone()), ..ForkRequest::default() };
    let fork = fuse.fork(&running.id, fork).await?;
    fuse.wait_running(&fork.id, SOON).await?;
    show(fuse, &fork.id, "echo 'of the fork' >> /notes; cat /notes").await?;
    show(fuse, &running.id, "cat /notes").await?;
    if has_memory {
        // The same process in two memories.
        fuse.exec_shell(&fork.id, "echo 'of the fork' > /run/mark").await?;
        for id in [&fork.id, &running.id] {
            let line = "echo \"$(hostname) counts at $(cat /run/count); mark: $(cat /run/mark 2> /dev/null || echo none)\"";
            show(fuse, id, line).await?;
        }
    }

    fuse.drain(&running.id).await?;
    for id in [&running.id, &fork.id] {
        fuse.destroy(id).await?;
        let ended = fuse.get(id).await?;
        println!("{id} is {} ({})", ended.state, ended.reason);
    }
    fuse.delete_snapshot(&snapshot.id).await?;
    Ok(())
}

/// How far the counter of a guest is.
async fn count(fuse: &Orchestrator, id: &EnvironmentId) -> Result<u64, Box<dyn Error>> {
    let output = fuse.exec_shell(id, "cat /run/count").await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0))
}

/// How far it is when it has gone beyond `least`.
async fn count_beyond(fuse: &Orchestrator, id: &EnvironmentId, least: u64) -> Result<u64, Box<dyn Error>> {
    for _ in 0..600 {
        let now = count(fuse, id).await?;
        if now > least {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{id} does not count beyond {least}").into())
}

async fn show(fuse: &Orchestrator, id: &EnvironmentId, line: &str) -> Done {
    let output = fuse.exec_shell(id, line).await?;
    println!("{id} $ {line}");
    for text in String::from_utf8_lossy(&output.stdout).lines() {
        println!("    {text}");
    }
    if output.exit_code != 0 {
        return Err(format!("{line:?} ended with exit code {}", output.exit_code).into());
    }
    Ok(())
}

/// Prints events until the last one of this story.
async fn print_events(mut events: Subscription) {
    while let Ok(Some(delivery)) = events.next().await {
        match delivery {
            Delivery::Event(event) => {
                let about = match &event.subject {
                    Subject::Environment(id) => id.as_str(),
                    other => other.id(),
                };
                println!("  event {:>3}  {:<20} {about}", event.sequence, event.event.as_str());
                if event.event == EventKind::SnapshotDeleted {
                    return;
                }
            }
            Delivery::Lost { count } => println!("  {count} events were removed before they were read"),
        }
    }
}
