//! Contexts: which control plane is asked.

use std::os::unix::fs::PermissionsExt as _;

use crate::site::{Done, Site, TOKEN, bare};

#[test]
fn contexts_are_made_used_and_forgotten() {
    let site = Site::start();
    let run = |words: &[&str]| Done::from(bare(site.home.path()).args(words).output().unwrap());
    assert!(run(&["context", "list"]).exits(0).out.contains("no contexts"));

    let mut connect = bare(site.home.path());
    connect.env("FUSE_TOKEN", TOKEN).args(["connect", &site.url, "--name", "one"]);
    let connected = Done::from(connect.output().unwrap()).exits(0);
    assert!(connected.out.contains("one") && !connected.out.contains(TOKEN), "{}", connected.out);
    let file = site.home.path().join(".config/fuse/contexts.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&file).unwrap().contains(TOKEN));

    // The context has the token: no variable is needed.
    run(&["host", "list"]).exits(0);
    let token = site.home.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    run(&["connect", &site.url, "--name", "two", "--token-file", token.to_str().unwrap()]).exits(0);
    let current = run(&["context", "current", "-o", "json"]).exits(0).json();
    assert_eq!(
        (current["url"].as_str(), current["origin"].as_str()),
        (Some(&*site.url), Some("current context two"))
    );
    run(&["context", "use", "one"]).exits(0);
    let list = run(&["context", "list", "-o", "json"]).exits(0);
    assert!(!list.out.contains(TOKEN), "{}", list.out);
    let names: Vec<_> = list.json()["contexts"].as_array().unwrap().clone();
    assert_eq!((names.len(), names[0]["current"].as_bool()), (2, Some(true)));
    run(&["host", "list", "--context", "two"]).exits(0);
    run(&["host", "list", "--context", "three"]).exits(4);
    run(&["context", "remove", "one"]).exits(0);
    run(&["context", "remove", "two"]).exits(0);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(TOKEN));
}

/// The order in which it is decided who is asked.
#[test]
fn the_nearest_word_decides_which_control_plane_is_asked() {
    let site = Site::start();
    for name in ["one", "two", "three"] {
        let mut connect = bare(site.home.path());
        connect.env("FUSE_TOKEN", TOKEN).args(["connect", &site.url, "--name", name]);
        Done::from(connect.output().unwrap()).exits(0);
    }
    let origin = |variables: &[(&str, &str)], words: &[&str]| {
        let mut current = bare(site.home.path());
        current.envs(variables.iter().copied()).args(["context", "current", "-o", "json"]).args(words);
        Done::from(current.output().unwrap()).exits(0).json()["origin"].as_str().unwrap().to_owned()
    };
    let (url, context) = (("FUSE_URL", "http://127.0.0.1:9"), ("FUSE_CONTEXT", "two"));
    assert!(origin(&[], &[]).contains("three"));
    assert!(origin(&[context], &[]).contains("two"));
    assert!(origin(&[context, url], &[]).contains("FUSE_URL"));
    assert!(origin(&[context, url], &["--context", "one"]).contains("one"));
    // A context that is gone is no reason to ask somebody else.
    let mut gone = bare(site.home.path());
    gone.env("FUSE_CONTEXT", "gone").args(["environment", "list"]);
    Done::from(gone.output().unwrap()).exits(4);
}

#[test]
fn a_wrong_token_or_another_service_makes_no_context() {
    let site = Site::start();
    let mut connect = bare(site.home.path());
    connect.env("FUSE_TOKEN", "wrong-token").args(["connect", &site.url]);
    let refused = Done::from(connect.output().unwrap()).exits(7);
    assert!(!refused.err.contains("wrong-token"), "{}", refused.err);
    assert!(!site.home.path().join(".config/fuse/contexts.toml").exists());
    let unverified =
        bare(site.home.path()).args(["connect", "http://127.0.0.1:9", "--no-verify"]).output().unwrap();
    Done::from(unverified).exits(0);
}

#[test]
fn a_damaged_file_is_told_without_its_secrets() {
    let site = Site::start();
    let folder = site.home.path().join(".config/fuse");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("contexts.toml"), format!("current = \"a\"\ntoken = {TOKEN}\n")).unwrap();
    let refused = Done::from(bare(site.home.path()).args(["context", "list"]).output().unwrap()).exits(4);
    assert!(refused.err.contains("contexts.toml") && !refused.err.contains(TOKEN), "{}", refused.err);
}
