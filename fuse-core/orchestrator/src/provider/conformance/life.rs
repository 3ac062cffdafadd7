//! Making, finding, removing.

use std::time::Duration;

use super::{Bench, ensure};
use crate::{
    model::OwnerId,
    provider::{ProviderErrorKind as Kind, VmFacts},
};

pub(super) async fn a_probe_tells_what_the_host_has(bench: &Bench) -> Result<(), String> {
    let facts = bench.ok("probe", bench.provider.probe()).await?;
    let capacity = facts.capacity;
    ensure(capacity.cpus > 0 && capacity.ram_mb > 0 && capacity.storage_gb > 0, || {
        format!("it has {capacity}")
    })?;
    ensure(facts.arch.is_some(), || "it does not say its architecture".to_owned())?;
    ensure(facts.keeps_owner == bench.can.owner, || format!("keeps_owner is {}", facts.keeps_owner))?;
    ensure(!bench.provider.backend().is_empty(), || "its backend has no name".to_owned())
}

/// Whether the host says about a VM what it was made with.
fn same(bench: &Bench, seen: &VmFacts, case: &str) -> Result<(), String> {
    let wanted = bench.request(case);
    ensure(seen.name == wanted.name, || format!("its name is {}", seen.name))?;
    ensure(!seen.url.is_empty(), || "it has no URL".to_owned())?;
    if bench.can.owner {
        ensure(seen.owner == Some(wanted.owner), || format!("its owner is {:?}", seen.owner))?;
        ensure(seen.environment_id == Some(wanted.environment_id), || {
            format!("its environment is {:?}", seen.environment_id)
        })?;
        ensure(seen.resources == Some(wanted.resources), || format!("its size is {:?}", seen.resources))?;
    }
    Ok(())
}

pub(super) async fn a_vm_is_made_found_and_removed(bench: &Bench) -> Result<(), String> {
    let (host, request) = (&bench.provider, bench.request("life"));
    let made = bench.ok("create", host.create(&request)).await?;
    let got = bench.ok("get", host.get(&request.name)).await?;
    ensure(got.name == made.name && got.url == made.url, || format!("{made:?} became {got:?}"))?;
    same(bench, &got, "life")?;
    let listed = bench.ok("list", host.list(&bench.owner, &bench.prefix)).await?;
    let found: Vec<_> = listed.iter().filter(|vm| vm.name == request.name).collect();
    ensure(found.len() == 1, || format!("it is listed {} times", found.len()))?;
    for seen in found {
        same(bench, seen, "life")?;
    }
    bench.ok("destroy", host.destroy(&request.name)).await?;
    bench.fails("get", Kind::NotFound, host.get(&request.name)).await?;
    let listed = bench.ok("list", host.list(&bench.owner, &bench.prefix)).await?;
    ensure(listed.iter().all(|vm| vm.name != request.name), || "it is listed after its end".to_owned())
}

pub(super) async fn a_name_is_taken_once(bench: &Bench) -> Result<(), String> {
    let (host, request) = (&bench.provider, bench.request("twice"));
    bench.ok("create", host.create(&request)).await?;
    bench.fails("a second create", Kind::AlreadyExists, host.create(&request)).await?;
    bench.ok("get", host.get(&request.name)).await?;
    bench.ok("destroy", host.destroy(&request.name)).await
}

pub(super) async fn what_is_not_there_is_not_found(bench: &Bench) -> Result<(), String> {
    let (host, vm) = (&bench.provider, bench.vm("nowhere"));
    bench.fails("get", Kind::NotFound, host.get(&vm)).await?;
    let exec = crate::provider::ExecRequest::shell("true", Duration::from_secs(5));
    bench.fails("exec", Kind::NotFound, host.exec(&vm, &exec)).await?;
    let file = super::guest::file("/tmp/x", b"x");
    bench.fails("upload", Kind::NotFound, host.upload(&vm, &file)).await?;
    bench
        .fails(
            "start agent",
            Kind::NotFound,
            host.start_agent(&vm, &super::guest::agent("a-token-of-nobody")),
        )
        .await?;
    if bench.can.snapshot {
        let ask = crate::provider::SnapshotVmRequest { comment: "none".to_owned(), live: false };
        bench.fails("snapshot", Kind::NotFound, host.snapshot(&vm, &ask)).await?;
        bench.fails("restore", Kind::NotFound, host.restore(&vm, "snap-none")).await?;
    }
    Ok(())
}

pub(super) async fn destroy_is_idempotent(bench: &Bench) -> Result<(), String> {
    let (host, request) = (&bench.provider, bench.request("gone"));
    bench.ok("destroy of what never was", host.destroy(&request.name)).await?;
    bench.ok("create", host.create(&request)).await?;
    bench.ok("destroy", host.destroy(&request.name)).await?;
    bench.ok("a second destroy", host.destroy(&request.name)).await
}

pub(super) async fn lists_are_complete_and_know_whose_a_vm_is(bench: &Bench) -> Result<(), String> {
    let host = &bench.provider;
    let mine = bench.request("mine");
    let mut theirs = bench.request("theirs");
    theirs.owner = OwnerId::named("somebody-else");
    bench.ok("create", host.create(&mine)).await?;
    bench.ok("create", host.create(&theirs)).await?;
    let listed = bench.ok("list", host.list(&bench.owner, &bench.prefix)).await?;
    let of = |name| listed.iter().find(|vm| vm.name == name);
    ensure(of(mine.name.clone()).is_some(), || "a VM of this owner is not listed".to_owned())?;
    match of(theirs.name.clone()) {
        // A host without tags cannot tell them apart.
        None => ensure(bench.can.owner, || "a VM under the prefix is not listed".to_owned())?,
        Some(vm) if bench.can.owner => {
            ensure(vm.owner.as_ref() == Some(&theirs.owner), || {
                format!("another's VM is listed as of {:?}", vm.owner)
            })?;
        }
        Some(_) => {}
    }
    let of_them = bench.ok("list", host.list(&theirs.owner, &bench.prefix)).await?;
    ensure(of_them.iter().any(|vm| vm.name == theirs.name), || {
        "the other owner does not see theirs".to_owned()
    })?;
    bench.ok("destroy", host.destroy(&mine.name)).await?;
    bench.ok("destroy", host.destroy(&theirs.name)).await
}

pub(super) async fn vms_are_made_side_by_side(bench: &Bench) -> Result<(), String> {
    let host = &bench.provider;
    let requests = ["side-a", "side-b", "side-c"].map(|case| bench.request(case));
    let [a, b, c] = &requests;
    let all = async { tokio::join!(host.create(a), host.create(b), host.create(c)) };
    let (a, b, c) = bench.wait("three creates", all).await?;
    for made in [a, b, c] {
        made.map_err(|error| error.to_string())?;
    }
    let listed = bench.ok("list", host.list(&bench.owner, &bench.prefix)).await?;
    for request in &requests {
        ensure(listed.iter().any(|vm| vm.name == request.name), || {
            format!("{} is not listed", request.name)
        })?;
        bench.ok("destroy", host.destroy(&request.name)).await?;
    }
    Ok(())
}

pub(super) async fn a_dropped_create_leaves_something_that_can_be_destroyed(
    bench: &Bench,
) -> Result<(), String> {
    let (host, request) = (&bench.provider, bench.request("dropped"));
    // The answer is lost at once; the verb may happen all the same.
    let _ = tokio::time::timeout(Duration::from_millis(5), host.create(&request)).await;
    let mut calm = 0;
    // Whatever is on its way comes to its end; then nothing comes back.
    while calm < 3 {
        bench.ok("destroy", host.destroy(&request.name)).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let gone = matches!(host.get(&request.name).await, Err(error) if error.kind == Kind::NotFound);
        calm = if gone { calm + 1 } else { 0 };
    }
    Ok(())
}
