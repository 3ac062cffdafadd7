//! The guest of the stub: a handful of commands over files in memory. Deterministic.
//!
//! Commands: `echo [-n] …`, `cat FILE…`, `true`, `false`, `sleep SECONDS`, `exit [CODE]`, `sync`, `pwd`, `cd`, `rm FILE…`, `touch FILE…`,
//! `systemctl …`, `pkill …` and, where the file `/usr/bin/podman` is, `podman …` (which succeed), `command -v NAME` (of
//! files in `/usr/bin`), and `sh -c LINE` or `sh -lc LINE` of these, joined by `;`, `&&`, `||`
//! or line ends, with quotes, `> FILE`, `>> FILE` and `2>/dev/null`. Anything else ends with exit code 127, as a
//! shell does. There are no variables, globs, pipes or jobs.

use std::{collections::BTreeMap, time::Duration};

use crate::provider::ExecOutput;

/// Exit code of a command that ran out of time.
pub const TIMED_OUT: i32 = 124;
const NOT_FOUND: i32 = 127;
const SYNTAX: i32 = 2;
const MAX_DEPTH: usize = 8;
/// A guest that has this file has a podman, which does nothing and succeeds.
const PODMAN: &str = "/usr/bin/podman";

/// The files of a guest, by absolute path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A step of a run: what the host must do before the guest goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Wait; then ask again.
    Sleep(Duration),
    /// The command ended.
    Done(ExecOutput),
}

/// A command that runs in a guest, step by step: files are only touched inside [`Run::step`], so nothing is locked
/// while it sleeps.
#[derive(Debug)]
pub struct Run {
    queue: Vec<Item>,
    output: ExecOutput,
    depth: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// A command, and when it runs: always, or only after a success or a failure.
    Command(When, Vec<String>, Option<Redirect>),
    /// Back from a nested shell.
    Leave,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    AfterSuccess,
    AfterFailure,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Redirect {
    path: String,
    append: bool,
}

impl Run {
    /// A run of `argv`.
    #[must_use]
    pub fn new(argv: &[String]) -> Self {
        Self {
            queue: vec![Item::Command(When::Always, argv.to_vec(), None)],
            output: ExecOutput::default(),
            depth: 0,
        }
    }

    /// Goes on until the guest sleeps or the run ends.
    pub fn step(&mut self, files: &mut Files) -> Step {
        // The queue is a stack: its last item is next.
        while let Some(item) = self.queue.pop() {
            let (when, argv, redirect) = match item {
                Item::Leave => {
                    self.depth -= 1;
                    continue;
                }
                Item::Command(when, argv, redirect) => (when, argv, redirect),
            };
            let succeeded = self.output.exit_code == 0;
            let skipped = match when {
                When::Always => false,
                When::AfterSuccess => !succeeded,
                When::AfterFailure => succeeded,
            };
            if skipped {
                continue;
            }
            if let Some(wait) = self.command(&argv, redirect.as_ref(), files) {
                return Step::Sleep(wait);
            }
        }
        Step::Done(std::mem::take(&mut self.output))
    }

    /// Ends the run because its time is over.
    #[must_use]
    pub fn time_out(mut self) -> ExecOutput {
        self.output.exit_code = TIMED_OUT;
        self.output
    }

    fn command(
        &mut self,
        argv: &[String],
        redirect: Option<&Redirect>,
        files: &mut Files,
    ) -> Option<Duration> {
        let (program, arguments) = argv.split_first()?;
        let program = program.rsplit('/').next().unwrap_or(program);
        let mut stdout = Vec::new();
        self.output.exit_code = 0;
        match program {
            "true" | "sync" | "systemctl" | "pkill" | "cd" | ":" => {}
            "false" => self.output.exit_code = 1,
            "pwd" => stdout.extend_from_slice(b"/\n"),
            "echo" => stdout = echo(arguments),
            "cat" => stdout = self.cat(arguments, files),
            "rm" => self.remove(arguments, files),
            "touch" => {
                for path in arguments {
                    files.entry(path.clone()).or_default();
                }
            }
            "command" => stdout = self.find(arguments, files),
            "podman" if files.contains_key(PODMAN) => {}
            "sleep" => return self.sleep(arguments),
            "exit" => self.exit(arguments),
            "sh" | "bash" => self.shell(arguments),
            _ => self.fail(NOT_FOUND, &format!("sh: {program}: not found")),
        }
        match redirect {
            None => self.output.stdout.extend(stdout),
            Some(Redirect { path, append: true }) => files.entry(path.clone()).or_default().extend(stdout),
            Some(Redirect { path, append: false }) => {
                files.insert(path.clone(), stdout);
            }
        }
        None
    }

    fn fail(&mut self, code: i32, message: &str) {
        self.output.exit_code = code;
        self.output.stderr.extend_from_slice(message.as_bytes());
        self.output.stderr.push(b'\n');
    }

    fn cat(&mut self, paths: &[String], files: &Files) -> Vec<u8> {
        let mut all = Vec::new();
        for path in paths {
            match files.get(path) {
                Some(content) => all.extend_from_slice(content),
                None => self.fail(1, &format!("cat: {path}: No such file or directory")),
            }
        }
        all
    }

    fn remove(&mut self, arguments: &[String], files: &mut Files) {
        let force = arguments.iter().any(|argument| argument == "-f");
        for path in arguments.iter().filter(|argument| !argument.starts_with('-')) {
            if files.remove(path).is_none() && !force {
                self.fail(1, &format!("rm: {path}: No such file or directory"));
            }
        }
    }

    /// `command -v PROGRAM`: programs that a caller put into `/usr/bin` are there.
    fn find(&mut self, arguments: &[String], files: &Files) -> Vec<u8> {
        let path = arguments.last().map(|name| format!("/usr/bin/{name}"));
        match path.filter(|path| files.contains_key(path)) {
            Some(path) => format!("{path}\n").into_bytes(),
            None => {
                self.output.exit_code = 1;
                Vec::new()
            }
        }
    }

    fn sleep(&mut self, arguments: &[String]) -> Option<Duration> {
        let seconds = arguments.first().and_then(|text| text.parse::<f64>().ok());
        let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        if wait.is_none() {
            self.fail(1, "sleep: needs a number of seconds");
        }
        wait
    }

    fn exit(&mut self, arguments: &[String]) {
        self.output.exit_code = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(0);
        while let Some(item) = self.queue.pop() {
            if item == Item::Leave {
                self.depth -= 1;
                break;
            }
        }
    }

    fn shell(&mut self, arguments: &[String]) {
        let line = match arguments {
            [flag, line, ..] if matches!(flag.as_str(), "-c" | "-lc" | "-ec") => line,
            _ => return self.fail(SYNTAX, "sh: needs -c LINE or -lc LINE"),
        };
        if self.depth >= MAX_DEPTH {
            return self.fail(SYNTAX, "sh: nested too deeply");
        }
        match parse(line) {
            Ok(commands) => {
                self.depth += 1;
                self.queue.push(Item::Leave);
                self.queue.extend(commands.into_iter().rev());
            }
            Err(why) => self.fail(SYNTAX, &format!("sh: {why}")),
        }
    }
}

fn echo(arguments: &[String]) -> Vec<u8> {
    let (words, end) = match arguments {
        [flag, rest @ ..] if flag == "-n" => (rest, ""),
        all => (all, "\n"),
    };
    let mut text = words.join(" ");
    text.push_str(end);
    text.into_bytes()
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Then(When),
    Out { append: bool },
    DropErrors,
}

/// Splits a line into words and operators.
fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let operator = match c {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        None => return Err(format!("no closing {c}")),
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' => word.extend(characters.next()),
                        Some(other) => word.push(other),
                    }
                }
                continue;
            }
            '\\' => {
                word.get_or_insert_default().extend(characters.next());
                continue;
            }
            ';' | '\n' => Some(Token::Then(When::Always)),
            '&' if characters.next_if_eq(&'&').is_some() => Some(Token::Then(When::AfterSuccess)),
            '|' if characters.next_if_eq(&'|').is_some() => Some(Token::Then(When::AfterFailure)),
            '|' | '&' | '<' | '`' | '$' => return Err(format!("{c} is beyond the stub's shell")),
            '>' if word.as_deref() == Some("2") => {
                word = None;
                Some(Token::DropErrors)
            }
            '>' => Some(Token::Out { append: characters.next_if_eq(&'>').is_some() }),
            ' ' | '\t' | '\r' => None,
            other => {
                word.get_or_insert_default().push(other);
                continue;
            }
        };
        tokens.extend(word.take().map(Token::Word));
        tokens.extend(operator);
    }
    tokens.extend(word.map(Token::Word));
    Ok(tokens)
}

/// The commands of a line.
fn parse(line: &str) -> Result<Vec<Item>, String> {
    let mut commands = Vec::new();
    let (mut when, mut argv, mut redirect) = (When::Always, Vec::new(), None);
    let mut tokens = tokens(line)?.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word) => argv.push(word),
            Token::Out { append } => match tokens.next() {
                Some(Token::Word(path)) => redirect = Some(Redirect { path, append }),
                _ => return Err("> needs a file".to_owned()),
            },
            Token::DropErrors => match tokens.next() {
                Some(Token::Word(path)) if path == "/dev/null" => {}
                _ => return Err("2> goes to /dev/null only".to_owned()),
            },
            Token::Then(next) => {
                if !argv.is_empty() || redirect.is_some() {
                    commands.push(Item::Command(when, std::mem::take(&mut argv), redirect.take()));
                }
                when = next;
            }
        }
    }
    if !argv.is_empty() {
        commands.push(Item::Command(when, argv, redirect));
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(files: &mut Files, line: &str) -> (i32, String, String) {
        let argv = ["sh", "-lc", line].map(str::to_owned);
        let mut run = Run::new(&argv);
        loop {
            if let Step::Done(output) = run.step(files) {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                return (output.exit_code, text(output.stdout), text(output.stderr));
            }
        }
    }

    #[test]
    fn the_shell_runs_what_it_promises() {
        let mut files = Files::new();
        for (line, code, stdout) in [
            ("echo hello", 0, "hello\n"),
            ("echo -n 'a  b' \"c\"", 0, "a  b c"),
            ("true && echo yes || echo no", 0, "yes\n"),
            ("false && echo yes || echo no", 0, "no\n"),
            ("false; echo after", 0, "after\n"),
            ("echo one\nfalse", 1, "one\n"),
            ("exit 3; echo never", 3, ""),
            ("sh -c 'exit 4'; echo on", 0, "on\n"),
            ("echo x > /a; echo y >> /a; cat /a", 0, "x\ny\n"),
            ("systemctl stop fused 2>/dev/null || pkill -TERM fused", 0, ""),
            ("", 0, ""),
            ("nonsense", 127, ""),
            ("cat /none", 1, ""),
            ("echo $HOME", 2, ""),
            ("echo 'open", 2, ""),
        ] {
            let (got, out, err) = run(&mut files, line);
            assert_eq!((got, out.as_str()), (code, stdout), "{line:?}: {err}");
        }
        assert_eq!(files.get("/a").unwrap(), b"x\ny\n");
    }

    #[test]
    fn nesting_has_an_end() {
        let mut line = "echo deep".to_owned();
        for _ in 0..20 {
            line = format!("sh -c \"{}\"", line.replace('\\', "\\\\").replace('"', "\\\""));
            if line.len() > 100_000 {
                break;
            }
        }
        assert_eq!(run(&mut Files::new(), &line).0, SYNTAX);
    }

    #[test]
    fn sleep_is_the_hosts_to_wait_for() {
        let argv = ["sh", "-c", "sleep 0.5 && echo done"].map(str::to_owned);
        let mut run = Run::new(&argv);
        let mut files = Files::new();
        assert_eq!(run.step(&mut files), Step::Sleep(Duration::from_millis(500)));
        assert!(matches!(run.step(&mut files), Step::Done(output) if output.stdout == b"done\n"));
    }
}
