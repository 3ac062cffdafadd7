//! The commands that talk to a control plane, run as programs against a live one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod contexts;
mod environments;
mod failures;
mod operators;
mod site;
mod state;

use site::Site;

/// The text with what differs from run to run replaced.
pub(crate) fn steady(text: &str, site: &Site) -> String {
    let mut steady = Vec::new();
    for line in text.replace(&site.url, "URL").lines() {
        let words: Vec<_> = line
            .split(' ')
            .map(|word| {
                let is_age = word.len() <= 4
                    && word.ends_with(['s', 'm'])
                    && word.len() > 1
                    && word[..word.len() - 1].chars().all(|c| c.is_ascii_digit());
                if is_age { "AGE" } else { word }
            })
            .filter(|word| !word.is_empty())
            .collect();
        steady.push(words.join(" "));
    }
    steady.join("\n")
}

#[test]
fn completion_and_the_manual_are_there_for_every_command() {
    let home = tempfile::tempdir().unwrap();
    let run =
        |arguments: &[&str]| site::Done::from(site::bare(home.path()).args(arguments).output().unwrap());
    for shell in ["bash", "zsh", "fish"] {
        let text = run(&["completion", shell]).exits(0).out;
        assert!(text.contains("rotate-token") && text.contains("dead-letter"), "{shell}");
    }
    assert!(run(&["man"]).exits(0).out.contains(".TH fuse 1"));
    let pages = home.path().join("man");
    run(&["man", "--folder", pages.to_str().unwrap()]).exits(0);
    for page in ["fuse.1", "fuse-environment-create.1", "fuse-host-drain.1"] {
        assert!(pages.join(page).is_file(), "{page}");
    }
}
