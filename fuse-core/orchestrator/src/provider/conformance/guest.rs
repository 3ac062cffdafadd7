//! What is done in guests.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;

use super::{Bench, ensure};
use crate::{
    model::{Expose, VmName},
    provider::{
        AgentStart, AttachOutput, AttachRequest, ExecChunk, ExecOutput, ExecRequest, FileUpload, LogSource,
        ProviderErrorKind as Kind,
    },
};

pub(super) fn file(path: &str, content: &[u8]) -> FileUpload {
    FileUpload { path: path.to_owned(), content: content.to_vec(), mode: 0o600 }
}

pub(super) fn agent(token: &str) -> AgentStart {
    AgentStart {
        auth_token: SecretString::from(token),
        command: None,
        download_url: None,
        gateway: None,
        gateway_token: None,
        expose: Vec::new(),
    }
}

/// Runs a line in a guest; it must be done within 30 s.
pub(super) async fn shell(bench: &Bench, vm: &VmName, line: &str) -> Result<ExecOutput, String> {
    let request = ExecRequest::shell(line, Duration::from_secs(30));
    bench.ok(line, bench.provider.exec(vm, &request)).await
}

/// Makes a VM for a case.
pub(super) async fn boot(bench: &Bench, case: &str) -> Result<VmName, String> {
    let request = bench.request(case);
    bench.ok("create", bench.provider.create(&request)).await?;
    Ok(request.name)
}

pub(super) async fn end(bench: &Bench, vm: &VmName) -> Result<(), String> {
    bench.ok("destroy", bench.provider.destroy(vm)).await
}

pub(super) async fn files_arrive_whole_and_replace_older_ones(bench: &Bench) -> Result<(), String> {
    let vm = boot(bench, "files").await?;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for content in [&b"first\n"[..], &bytes, b""] {
        bench.ok("upload", bench.provider.upload(&vm, &file("/fuse/conformance/deep/file", content))).await?;
        let read = shell(bench, &vm, "cat /fuse/conformance/deep/file").await?;
        ensure(read.exit_code == 0 && read.stdout == content, || {
            format!(
                "{} bytes went in and {} came out, exit code {}",
                content.len(),
                read.stdout.len(),
                read.exit_code
            )
        })?;
    }
    end(bench, &vm).await
}

pub(super) async fn commands_end_with_their_code_and_output(bench: &Bench) -> Result<(), String> {
    let vm = boot(bench, "exec").await?;
    for (line, code, stdout) in [
        ("echo hello", 0, "hello\n"),
        ("true && echo 'two  words'", 0, "two  words\n"),
        ("false", 1, ""),
        ("echo before; exit 7", 7, "before\n"),
        ("echo kept > /tmp/kept; cat /tmp/kept", 0, "kept\n"),
    ] {
        let done = shell(bench, &vm, line).await?;
        ensure((done.exit_code, &*done.stdout) == (code, stdout.as_bytes()), || {
            format!("{line:?} ended with {} and {:?}", done.exit_code, String::from_utf8_lossy(&done.stdout))
        })?;
    }
    let done = shell(bench, &vm, "cat /nowhere/at/all").await?;
    ensure(done.exit_code != 0 && !done.stderr.is_empty(), || format!("a failing cat left {done:?}"))?;
    let direct = ExecRequest {
        argv: vec!["echo".to_owned(), "a;b".to_owned(), "$c".to_owned()],
        timeout: Duration::from_secs(30),
    };
    let done = bench.ok("a command without a shell", bench.provider.exec(&vm, &direct)).await?;
    ensure(done.stdout == b"a;b $c\n", || format!("arguments were changed: {done:?}"))?;
    let unknown = ExecRequest { argv: vec!["no-such-program".to_owned()], ..direct };
    let done = bench.ok("an unknown program", bench.provider.exec(&vm, &unknown)).await?;
    ensure(done.exit_code != 0, || "an unknown program ended well".to_owned())?;
    end(bench, &vm).await
}

pub(super) async fn a_command_that_runs_out_of_time_ends_with_124(bench: &Bench) -> Result<(), String> {
    let vm = boot(bench, "late").await?;
    let request = ExecRequest::shell("sleep 45", Duration::from_secs(1));
    let done = bench.ok("exec", bench.provider.exec(&vm, &request)).await?;
    ensure(done.exit_code == 124, || format!("it ended with {}", done.exit_code))?;
    let after = shell(bench, &vm, "echo alive").await?;
    ensure(after.stdout == b"alive\n", || "the guest takes no command any more".to_owned())?;
    end(bench, &vm).await
}

pub(super) async fn a_long_command_delays_no_other_verb(bench: &Bench) -> Result<(), String> {
    let vm = boot(bench, "long").await?;
    let (host, name) = (Arc::clone(&bench.provider), vm.clone());
    let long = tokio::spawn(async move {
        let request = ExecRequest::shell("sleep 600", Duration::from_secs(600));
        host.exec(&name, &request).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let beside = shell(bench, &vm, "echo beside").await?;
    ensure(beside.stdout == b"beside\n", || format!("a command beside it left {beside:?}"))?;
    bench.ok("get", bench.provider.get(&vm)).await?;
    end(bench, &vm).await?;
    ensure(!long.is_finished() || long.await.is_ok(), || "the long command broke the provider".to_owned())
}

pub(super) async fn output_comes_as_a_stream(bench: &Bench) -> Result<(), String> {
    let vm = boot(bench, "stream").await?;
    let line = "echo one; cat /nowhere/at/all; echo two; exit 3";
    let request = ExecRequest::shell(line, Duration::from_secs(30));
    let mut stream = bench.ok("exec", bench.provider.exec_stream(&vm, &request)).await?;
    let (mut stdout, mut stderr, mut code) = (Vec::new(), Vec::new(), None);
    while let Some(chunk) = bench.wait("the next piece", stream.output.recv()).await? {
        ensure(code.is_none(), || format!("{chunk:?} comes after the end"))?;
        match chunk {
            ExecChunk::Stdout(bytes) => stdout.extend(bytes),
            ExecChunk::Stderr(bytes) => stderr.extend(bytes),
            ExecChunk::Exit(exit) => code = Some(exit),
        }
    }
    ensure(code == Some(3), || format!("it ended with {code:?}"))?;
    ensure(stdout == b"one\ntwo\n", || format!("stdout is {:?}", String::from_utf8_lossy(&stdout)))?;
    ensure(!stderr.is_empty(), || "stderr is empty".to_owned())?;
    let nowhere = bench.vm("stream-nowhere");
    let missing = bench.provider.exec_stream(&nowhere, &request);
    bench.fails("exec in nothing", Kind::NotFound, missing).await?;
    end(bench, &vm).await
}

pub(super) async fn the_agent_starts_and_starts_anew(bench: &Bench) -> Result<(), String> {
    let vm = boot(bench, "agent").await?;
    for (path, content) in [
        ("/fuse/manifest.json", r#"{"version":"1","machine":{"workspace":"/workspace"},"services":{}}"#),
        ("/fuse/secrets.json", "{}"),
    ] {
        bench.ok("upload", bench.provider.upload(&vm, &file(path, content.as_bytes()))).await?;
    }
    let mut start = agent("first-token-of-the-agent");
    start.command = Some("echo started > /tmp/workload".to_owned());
    start.expose = vec![Expose { port: 8080, name: Some("web".to_owned()) }];
    let endpoints = bench.ok("start agent", bench.provider.start_agent(&vm, &start)).await?;
    ensure(endpoints.len() == 1 && endpoints.iter().all(|e| e.port == 8080 && !e.url.is_empty()), || {
        format!("its endpoints are {endpoints:?}")
    })?;
    let starts = bench.provider.starts_workloads().await;
    ensure(starts == bench.can.workload, || format!("starts_workloads is {starts}"))?;
    start.auth_token = SecretString::from("second-token-of-the-agent");
    bench.ok("start agent again", bench.provider.start_agent(&vm, &start)).await?;
    end(bench, &vm).await
}

pub(super) async fn a_terminal_shows_what_a_program_prints(bench: &Bench) -> Result<(), String> {
    let vm = boot(bench, "tty").await?;
    let argv = ["sh", "-lc", "echo shown; exit 5"].map(str::to_owned).to_vec();
    let request = AttachRequest { argv, rows: 24, cols: 80 };
    if !bench.can.attach {
        bench.fails("attach", Kind::Unsupported, bench.provider.attach(&vm, &request)).await?;
        return end(bench, &vm).await;
    }
    let mut session = bench.ok("attach", bench.provider.attach(&vm, &request)).await?;
    let (mut shown, mut code) = (Vec::new(), None);
    while let Some(item) = bench.wait("the terminal", session.output.recv()).await? {
        match item {
            AttachOutput::Stdout(bytes) => shown.extend(bytes),
            AttachOutput::Exit(exit) => code = Some(exit),
        }
    }
    let text = String::from_utf8_lossy(&shown);
    ensure(text.contains("shown"), || format!("it shows {text:?}"))?;
    ensure(code == Some(5), || format!("it ended with {code:?}"))?;
    bench
        .fails("attach to nothing", Kind::NotFound, bench.provider.attach(&bench.vm("tty-nowhere"), &request))
        .await?;
    end(bench, &vm).await
}

pub(super) async fn logs_are_read_and_followed(bench: &Bench) -> Result<(), String> {
    let vm = boot(bench, "logs").await?;
    let (host, source) = (&bench.provider, LogSource::Console);
    if !bench.can.logs {
        bench.fails("logs", Kind::Unsupported, host.logs(&vm, source, 1_000)).await?;
        return end(bench, &vm).await;
    }
    let text = bench.ok("logs", host.logs(&vm, source, 65_536)).await?;
    ensure(!text.is_empty(), || "the console is empty after a boot".to_owned())?;
    let tail = bench.ok("logs", host.logs(&vm, source, 5)).await?;
    ensure(tail.len() <= 5, || format!("5 bytes were asked for and {} came", tail.len()))?;
    let first = bench.ok("read log", host.read_log(&vm, source, 0, 4)).await?;
    ensure(first.bytes.len() <= 4, || format!("4 bytes were asked for and {} came", first.bytes.len()))?;
    let next = bench.ok("read log", host.read_log(&vm, source, first.end(), 4)).await?;
    ensure(next.start == first.end(), || format!("after {} it goes on at {}", first.end(), next.start))?;
    let end_of_log = bench.ok("read log", host.read_log(&vm, source, u64::MAX / 2, 4)).await?;
    ensure(end_of_log.bytes.is_empty(), || "there is something beyond the end".to_owned())?;
    for source in LogSource::ALL {
        bench.ok(source.as_str(), host.logs(&vm, source, 1_000)).await?;
    }
    let nowhere = bench.vm("logs-nowhere");
    bench.fails("logs of nothing", Kind::NotFound, host.logs(&nowhere, source, 1_000)).await?;
    end(bench, &vm).await
}

pub(super) async fn errors_hold_no_secrets(bench: &Bench) -> Result<(), String> {
    let nowhere = bench.vm("secrets-nowhere");
    let secret = "correct-horse-battery-staple";
    let upload = bench.provider.upload(&nowhere, &file("/fuse/secrets.json", secret.as_bytes())).await;
    let start = bench.provider.start_agent(&nowhere, &agent(secret)).await;
    for error in [upload.err(), start.err()] {
        let error = error.ok_or_else(|| "a VM that is not there took a secret".to_owned())?;
        let text = format!("{error} {error:?}");
        ensure(!text.contains(secret), || "an error repeats a secret".to_owned())?;
    }
    let text = format!("{:?} {:?}", agent(secret), bench.provider);
    ensure(!text.contains(secret), || "a debug print repeats a secret".to_owned())
}
