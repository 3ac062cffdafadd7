//! Hosts, keys, letters, figures.

use crate::site::{Done, Site, bare};

#[test]
fn hosts() {
    let site = Site::start();
    let added = site
        .fuse("host add h2 stub://h2 --max-vms 4 --cpus 4 --ram-mb 4096 --storage-gb 40 --label disk=nvme");
    assert!(added.exits(0).out.contains("disk=nvme"));
    let list = site.fuse("host list").exits(0).out;
    assert!(list.contains("default") && list.contains("h2") && list.contains("0/4096"), "{list}");
    site.fuse("host cordon h2").exits(0);
    assert!(site.fuse("host get h2").exits(0).out.contains("cordoned"));
    site.fuse("host uncordon h2").exits(0);

    site.run(&["environment", "create", "--task-id", "t1", "--host", "h2"]).exits(0);
    let refused = site.fuse("host remove h2 --yes").exits(6);
    assert!(refused.err.contains("next: empty it first with `fuse host drain h2`"), "{}", refused.err);
    let drained = site.fuse("host drain h2 -o json").exits(0).json();
    assert_eq!((drained["left"].as_u64(), drained["environments"].as_u64()), (Some(0), Some(1)));
    assert!(drained["finished_at"].is_string());
    assert_eq!(site.fuse("environment get fuse-t1 -o json").exits(0).json()["state"], "destroyed");
    site.fuse("host remove h2 --yes").exits(0);
    site.fuse("host get h2").exits(5);
}

#[test]
fn the_token_of_a_host_is_not_on_the_command_line_and_not_shown() {
    let site = Site::start();
    let mut add = site.command();
    add.env("FUSE_HOST_TOKEN", "host-secret-9").args([
        "host",
        "add",
        "h3",
        "stub://h3",
        "--max-vms",
        "1",
        "-o",
        "json",
    ]);
    let added = Done::from(add.output().unwrap()).exits(0);
    assert!(!added.out.contains("host-secret") && !added.err.contains("host-secret"));
    assert!(!site.fuse("host get h3 -o json").exits(0).out.contains("host-secret"));
}

#[test]
fn keys_open_what_their_scopes_say() {
    let site = Site::start();
    let made = site.fuse("api-key create --label ci --scope read -o json").exits(0).json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let with_key = |words: &str| {
        let mut command = bare(site.home.path());
        command.env("FUSE_URL", &site.url).env("FUSE_TOKEN", key).args(words.split(' '));
        Done::from(command.output().unwrap())
    };
    with_key("environment list").exits(0);
    let refused = with_key("environment create --task-id t1").exits(7);
    assert!(refused.err.contains("next: give a token"), "{}", refused.err);
    assert!(!refused.err.contains(key));
    let list = site.fuse("api-key list").exits(0).out;
    assert!(
        list.contains("ci") && list.contains("read") && list.contains("active") && !list.contains(key),
        "{list}"
    );
    site.run(&["api-key", "revoke", id]).exits(0);
    with_key("environment list").exits(7);
    assert!(site.fuse("apikey list").exits(0).out.contains("revoked"));
}

#[test]
fn status_metrics_and_letters() {
    let site = Site::start();
    site.create("t1");
    let status = site.fuse("status -o json").exits(0).json();
    assert_eq!(
        (status["ready"].as_bool(), status["environments"]["running"].as_u64()),
        (Some(true), Some(1))
    );
    let text = site.fuse("status").exits(0).out;
    assert!(text.contains("1 running") && text.contains(&site.url), "{text}");
    assert!(site.fuse("metrics").exits(0).out.contains("orchestrator_http_requests_total"));
    let samples = site.fuse("metrics -o json").exits(0).json();
    assert!(samples["samples"].as_array().unwrap().len() > 10);
    assert_eq!(site.fuse("dead-letter list").exits(0).out, "no dead letters\n");
    site.fuse("dead-letter retry destroy:fuse-t9").exits(5);
}
