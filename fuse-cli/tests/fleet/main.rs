//! The commands that talk to a control plane, run as programs against a live one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod codes;
mod contexts;
mod environments;
mod failures;
mod formats;
mod operators;
mod site;
mod state;
mod watching;

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
fn the_manual_has_a_page_for_every_command() {
    let home = tempfile::tempdir().unwrap();
    let run =
        |arguments: &[&str]| site::Done::from(site::bare(home.path()).args(arguments).output().unwrap());
    assert!(run(&["man"]).exits(0).out.contains(".TH fuse 1"));
    let pages = home.path().join("man");
    run(&["man", "--folder", pages.to_str().unwrap()]).exits(0);
    for page in ["fuse.1", "fuse-environment-create.1", "fuse-host-drain.1"] {
        assert!(pages.join(page).is_file(), "{page}");
    }
    // Each command that the help of a group names has a page, which says what it does.
    for group in ["environment", "host", "snapshot", "context", "api-key", "dead-letter"] {
        let help = run(&[group, "--help"]).exits(0).out;
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names = commands.map_while(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
        let mut seen = 0;
        for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            let page = std::fs::read_to_string(pages.join(format!("fuse-{group}-{name}.1"))).unwrap();
            assert!(page.contains(".SH DESCRIPTION"), "{group} {name}");
            seen += 1;
        }
        assert!(seen >= 3, "{group}: {help}");
    }
}

/// What a shell is given completes a command in it.
#[test]
fn a_shell_completes_commands() {
    let home = tempfile::tempdir().unwrap();
    let script = |shell: &str| {
        site::Done::from(site::bare(home.path()).args(["completion", shell]).output().unwrap()).exits(0).out
    };
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let text = script(shell);
        assert!(text.contains("rotate-token") && text.contains("dead-letter"), "{shell}");
    }
    let file = home.path().join("fuse.bash");
    std::fs::write(&file, script("bash")).unwrap();
    let line = "source \"$1\"; COMP_WORDS=(fuse environment rot); COMP_CWORD=2; _fuse fuse rot environment; \
                echo \"${COMPREPLY[*]}\"";
    let mut bash = std::process::Command::new("bash");
    let done = site::Done::from(bash.args(["-c", line, "bash"]).arg(&file).output().unwrap()).exits(0);
    assert_eq!(done.out, "rotate-token\n", "{}", done.err);
}
