//! The whole life of a sandbox: provision, exec, snapshot, restore, fork, drain, destroy, with its events as they
//! happen.
//!
//! The control plane is embedded: its state is in a directory (the first argument, else a temporary one), and
//! without a registered host it runs on the stub, which keeps VMs in memory and isolates nothing.

use std::{error::Error, time::Duration};

use fuse_orchestrator::{
    Delivery, Orchestrator, Subscription,
    model::{EnvironmentId, EventKind, ForkRequest, ProvisionRequest, SnapshotRequest, Subject, TaskId},
};

const SOON: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or_else(|| temporary.path().to_owned(), Into::into);
    let fuse = Orchestrator::open(&dir).await?;
    println!("control plane in {}, host default: stub (VMs in memory, no isolation)", dir.display());

    let printer = tokio::spawn(print_events(fuse.events(fuse.newest_event().await?)));
    live(&fuse).await?;
    printer.await?;
    Ok(fuse.close().await?)
}

async fn live(fuse: &Orchestrator) -> Result<(), Box<dyn Error>> {
    let mut request = ProvisionRequest::new(TaskId::new("demo")?);
    request.spec.resources.cpus = 1;
    request.spec.resources.ram_mb = 256;
    request.startup_script = "echo 'made at boot' > /notes".to_owned();
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
    let snapshot = fuse.create_snapshot(&running.id, SnapshotRequest::default()).await?;
    show(fuse, &running.id, "echo 'changed later' > /notes; cat /notes").await?;
    fuse.restore_snapshot(&snapshot.id).await?;
    show(fuse, &running.id, "cat /notes").await?;

    let fork = ForkRequest { reuse_snapshot_id: Some(snapshot.id.clone()), ..ForkRequest::default() };
    let fork = fuse.fork(&running.id, fork).await?;
    fuse.wait_running(&fork.id, SOON).await?;
    show(fuse, &fork.id, "echo 'of the fork' >> /notes; cat /notes").await?;
    show(fuse, &running.id, "cat /notes").await?;

    fuse.drain(&running.id).await?;
    for id in [&running.id, &fork.id] {
        fuse.destroy(id).await?;
        let ended = fuse.get(id).await?;
        println!("{id} is {} ({})", ended.state, ended.reason);
    }
    fuse.delete_snapshot(&snapshot.id).await?;
    Ok(())
}

async fn show(fuse: &Orchestrator, id: &EnvironmentId, line: &str) -> Result<(), Box<dyn Error>> {
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
