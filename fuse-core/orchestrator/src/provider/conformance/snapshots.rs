//! Snapshots, forks, and what boots from them.

use std::time::Duration;

use super::{
    Bench, ensure,
    guest::{boot, end, shell},
};
use crate::{
    model::VmName,
    provider::{ForkVmRequest, ProviderErrorKind as Kind, SnapshotFacts, SnapshotVmRequest},
};

async fn take(bench: &Bench, vm: &VmName, comment: &str) -> Result<SnapshotFacts, String> {
    let ask = SnapshotVmRequest { comment: comment.to_owned(), live: false };
    let facts = bench.ok("snapshot", bench.provider.snapshot(vm, &ask)).await?;
    ensure(!facts.artifact.is_empty(), || "the host has no name for it".to_owned())?;
    ensure(facts.comment == comment, || format!("its comment became {:?}", facts.comment))?;
    Ok(facts)
}

/// Writes a file and lets it reach the disk.
async fn write(bench: &Bench, vm: &VmName, text: &str) -> Result<(), String> {
    let done = shell(bench, vm, &format!("echo {text} > /conformance; sync")).await?;
    ensure(done.exit_code == 0, || format!("a file could not be written: {done:?}"))
}

async fn read(bench: &Bench, vm: &VmName) -> Result<String, String> {
    let done = shell(bench, vm, "cat /conformance").await?;
    Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
}

async fn refuses(bench: &Bench, case: &str) -> Result<(), String> {
    let vm = boot(bench, case).await?;
    let ask = SnapshotVmRequest { comment: String::new(), live: false };
    bench.fails("snapshot", Kind::Unsupported, bench.provider.snapshot(&vm, &ask)).await?;
    end(bench, &vm).await
}

/// Deletes a snapshot where the host can.
async fn tidy(bench: &Bench, vm: &VmName, artifact: &str) -> Result<(), String> {
    if bench.can.delete_snapshot {
        bench.ok("delete snapshot", bench.provider.delete_snapshot(vm, artifact)).await?;
    }
    Ok(())
}

pub(super) async fn a_vm_is_set_back_to_a_snapshot(bench: &Bench) -> Result<(), String> {
    if !bench.can.snapshot {
        return refuses(bench, "back").await;
    }
    let vm = boot(bench, "back").await?;
    write(bench, &vm, "before").await?;
    let snapshot = take(bench, &vm, "snap-back then").await?;
    write(bench, &vm, "after").await?;
    bench.ok("restore", bench.provider.restore(&vm, &snapshot.artifact)).await?;
    let text = read(bench, &vm).await?;
    ensure(text == "before", || format!("after the restore the file says {text:?}"))?;
    bench.fails("restore of nothing", Kind::NotFound, bench.provider.restore(&vm, "snap-none")).await?;
    tidy(bench, &vm, &snapshot.artifact).await?;
    end(bench, &vm).await
}

pub(super) async fn snapshots_are_listed_in_order_and_outlive_their_vm(bench: &Bench) -> Result<(), String> {
    if !bench.can.snapshot {
        return Ok(());
    }
    let vm = boot(bench, "kept").await?;
    let none = bench.ok("snapshots", bench.provider.snapshots(&vm)).await?;
    ensure(none.is_empty(), || format!("a new VM has {none:?}"))?;
    let mut made = Vec::new();
    for comment in ["snap-1 first", "snap-2 second"] {
        made.push(take(bench, &vm, comment).await?);
        // Some hosts know the time in seconds alone.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    end(bench, &vm).await?;
    let listed = bench.ok("snapshots", bench.provider.snapshots(&vm)).await?;
    let told = |all: &[SnapshotFacts]| -> Vec<_> {
        all.iter().map(|facts| (facts.artifact.clone(), facts.comment.clone())).collect()
    };
    ensure(told(&listed) == told(&made), || format!("{made:?} are listed as {listed:?}"))?;
    for facts in made {
        tidy(bench, &vm, &facts.artifact).await?;
    }
    Ok(())
}

pub(super) async fn deleting_a_snapshot_is_idempotent(bench: &Bench) -> Result<(), String> {
    if !bench.can.snapshot {
        return Ok(());
    }
    let vm = boot(bench, "rid").await?;
    let snapshot = take(bench, &vm, "snap-rid").await?;
    let delete = || bench.provider.delete_snapshot(&vm, &snapshot.artifact);
    if !bench.can.delete_snapshot {
        bench.fails("delete snapshot", Kind::Unsupported, delete()).await?;
        return end(bench, &vm).await;
    }
    bench.ok("delete snapshot", delete()).await?;
    bench.ok("delete it again", delete()).await?;
    let left = bench.ok("snapshots", bench.provider.snapshots(&vm)).await?;
    ensure(left.is_empty(), || format!("{left:?} are left"))?;
    bench.fails("restore", Kind::NotFound, bench.provider.restore(&vm, &snapshot.artifact)).await?;
    end(bench, &vm).await?;
    bench.ok("delete it when its VM is gone", delete()).await
}

pub(super) async fn a_fork_begins_with_the_disk_of_its_source(bench: &Bench) -> Result<(), String> {
    if !bench.can.fork {
        return Ok(());
    }
    let source = boot(bench, "source").await?;
    write(bench, &source, "shared").await?;
    let snapshot = take(bench, &source, "snap-fork").await?;
    let request = ForkVmRequest {
        source: source.clone(),
        artifact: snapshot.artifact.clone(),
        create: bench.request("forked"),
    };
    let forked = bench.ok("fork", bench.provider.fork(&request)).await?;
    ensure(forked.name == request.create.name, || format!("the fork is called {}", forked.name))?;
    bench.fails("fork again", Kind::AlreadyExists, bench.provider.fork(&request)).await?;
    write(bench, &source, "changed").await?;
    let text = read(bench, &forked.name).await?;
    ensure(text == "shared", || format!("the fork has {text:?}"))?;
    let missing = ForkVmRequest {
        artifact: "snap-none".to_owned(),
        create: bench.request("forked-of-nothing"),
        ..request
    };
    bench.fails("fork of nothing", Kind::NotFound, bench.provider.fork(&missing)).await?;
    end(bench, &forked.name).await?;
    tidy(bench, &source, &snapshot.artifact).await?;
    end(bench, &source).await
}

pub(super) async fn a_vm_boots_from_a_snapshot(bench: &Bench) -> Result<(), String> {
    if !bench.can.fork {
        return Ok(());
    }
    let source = boot(bench, "seed").await?;
    write(bench, &source, "seeded").await?;
    let snapshot = take(bench, &source, "snap-seed").await?;
    end(bench, &source).await?;
    let mut request = bench.request("seeded");
    request.seed = Some(snapshot.artifact.clone());
    let made = bench.ok("create", bench.provider.create(&request)).await?;
    let text = read(bench, &made.name).await?;
    ensure(text == "seeded", || format!("the new VM has {text:?}"))?;
    end(bench, &made.name).await?;
    let mut missing = bench.request("seeded-of-nothing");
    missing.seed = Some("snap-none".to_owned());
    bench.fails("create from nothing", Kind::Refused, bench.provider.create(&missing)).await?;
    bench.ok("destroy", bench.provider.destroy(&missing.name)).await?;
    tidy(bench, &source, &snapshot.artifact).await
}
