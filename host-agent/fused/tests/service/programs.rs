//! exec and attach.

use std::time::{Duration, Instant};

use fuse_guest_protocol::{
    ErrorCode,
    client::Output,
    verb::{Attach, Exec, ExecResult, LogSource, Logs, Size},
};

use crate::guest::{Fused, LONG, alive, until};

#[tokio::test]
async fn output_errors_and_exit_codes_come_back() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let output = client.exec_collect(&Exec::shell("echo out; echo err >&2; exit 7"), 100).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(output.result, ExecResult { exit_code: 7, signal: None, timed_out: false });

    let killed = client.exec_collect(&Exec::shell("kill -9 $$"), 100).await.unwrap().result;
    assert_eq!((killed.exit_code, killed.signal), (137, Some(9)));

    let mut exec = Exec::argv(["/bin/sh", "-c", "echo $A $PWD \"$0\"", "x y"]);
    exec.env.insert("A".into(), "b".into());
    exec.cwd = Some("/usr".into());
    assert_eq!(client.exec_collect(&exec, 100).await.unwrap().stdout, b"b /usr x y\n");
}

#[tokio::test]
async fn what_cannot_be_started_is_said() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let missing = client.exec_collect(&Exec::argv(["no-such-program"]), 10).await.unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::NotFound));
    assert!(missing.to_string().contains("no-such-program"), "{missing}");
    let nowhere = Exec { cwd: Some("/no/such/place".into()), ..Exec::argv(["true"]) };
    assert!(client.exec_collect(&nowhere, 10).await.unwrap_err().to_string().contains("/no/such/place"));
    let both = Exec { shell: Some("true".into()), ..Exec::argv(["true"]) };
    assert_eq!(client.exec_collect(&both, 10).await.unwrap_err().code(), Some(ErrorCode::Invalid));
    assert_eq!(client.exec_collect(&Exec::default(), 10).await.unwrap_err().code(), Some(ErrorCode::Invalid));
}

#[tokio::test]
async fn input_goes_through_and_is_longer_than_pipes_and_windows() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let mut stream = client.exec(&Exec { stdin: true, ..Exec::argv(["cat"]) }).await.unwrap();
    let text: Vec<u8> = (0..3_000_000_u32).map(|i| (i / 3) as u8).collect();
    let (input, sent) = (stream.input(), text.clone());
    let writer = tokio::spawn(async move {
        input.send(&sent).await.unwrap();
        input.finish().await.unwrap();
    });
    let mut back = Vec::new();
    loop {
        match tokio::time::timeout(LONG, stream.next()).await.unwrap().unwrap() {
            Output::Stdout(bytes) => back.extend(bytes),
            Output::Stderr(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
            Output::Exit(result) => break assert_eq!(result.exit_code, 0),
        }
    }
    writer.await.unwrap();
    assert!(back == text, "{} bytes came back", back.len());
}

#[tokio::test]
async fn a_program_whose_time_is_up_is_killed_with_all_that_it_started() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let line = "sleep 1000 & echo $!; wait";
    let exec = Exec { timeout_ms: 300, ..Exec::shell(line) };
    let output = client.exec_collect(&exec, 100).await.unwrap();
    assert_eq!((output.result.exit_code, output.result.timed_out), (124, true));
    let pid = String::from_utf8(output.stdout).unwrap();
    until("the child is gone", async || !alive(pid.trim())).await;
}

#[tokio::test]
async fn a_request_that_is_given_up_kills_its_program() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let mut stream = client.exec(&Exec::shell("echo $$; exec sleep 1000")).await.unwrap();
    let Output::Stdout(pid) = stream.next().await.unwrap() else { panic!("the process names itself") };
    let pid = String::from_utf8(pid).unwrap();
    assert!(alive(pid.trim()));
    drop(stream);
    until("the program is gone", async || !alive(pid.trim())).await;

    let mut stream = client.exec(&Exec::shell("echo $$; exec sleep 1000")).await.unwrap();
    let Output::Stdout(pid) = stream.next().await.unwrap() else { panic!("the process names itself") };
    let pid = String::from_utf8(pid).unwrap();
    drop((stream, client));
    until("the program ends with its connection", async || !alive(pid.trim())).await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_may_stay_and_keeps_nobody_waiting() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let began = Instant::now();
    let output = client.exec_collect(&Exec::shell("sleep 50 & echo $!"), 100).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(40));
    let pid = String::from_utf8(output.stdout).unwrap();
    assert!(alive(pid.trim()));
    client.exec_collect(&Exec::argv(["kill", pid.trim()]), 10).await.unwrap();
}

#[tokio::test]
async fn signals_reach_the_program() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let line = "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.05; done";
    let mut stream = client.exec(&Exec::shell(line)).await.unwrap();
    assert_eq!(stream.next().await.unwrap(), Output::Stdout(b"ready\n".to_vec()));
    stream.signal(10).await.unwrap();
    // The shell may have something to say about its `sleep`, which gets the signal too.
    let mut text = Vec::new();
    let result = loop {
        match stream.next().await.unwrap() {
            Output::Stdout(bytes) => text.extend(bytes),
            Output::Stderr(_) => {}
            Output::Exit(result) => break result,
        }
    };
    assert_eq!((text.as_slice(), result.exit_code), (&b"caught\n"[..], 3));
}

#[tokio::test]
async fn a_long_exec_delays_no_other() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let long = client.exec(&Exec::argv(["sleep", "1000"])).await.unwrap();
    let flood = client.exec(&Exec::shell("yes")).await.unwrap();
    for _ in 0..20 {
        assert_eq!(client.exec_collect(&Exec::argv(["echo", "x"]), 10).await.unwrap().stdout, b"x\n");
    }
    drop((long, flood));
}

#[tokio::test]
async fn output_can_go_to_a_log_too() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let exec = Exec { log: Some(LogSource::Startup), ..Exec::shell("echo one; echo two >&2") };
    client.exec_collect(&exec, 100).await.unwrap();
    let mut log = client.logs(&Logs::of(LogSource::Startup)).await.unwrap();
    let mut text = Vec::new();
    while let Some(bytes) = log.next().await.unwrap() {
        text.extend(bytes);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("one\n") && text.contains("two\n"), "{text}");
}

#[tokio::test]
async fn a_terminal_has_a_size_an_echo_and_an_end() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let attach = Attach {
        argv: ["sh", "-c", "test -t 0 && stty size; read line; stty size; echo got $line; exit 5"]
            .map(Into::into)
            .into(),
        size: Size { rows: 11, cols: 22 },
        ..Attach::default()
    };
    let mut terminal = client.attach(&attach).await.unwrap();
    let keyboard = terminal.input();
    let mut text = String::new();
    let mut typed = false;
    let result = loop {
        match tokio::time::timeout(LONG, terminal.next()).await.unwrap().unwrap() {
            Output::Stdout(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            Output::Stderr(_) => panic!("a terminal has one output"),
            Output::Exit(result) => break result,
        }
        if text.contains("11 22") && !typed {
            typed = true;
            keyboard.resize(Size { rows: 33, cols: 44 }).await.unwrap();
            keyboard.write(b"word\n").await.unwrap();
        }
    };
    assert_eq!(result.exit_code, 5, "{text}");
    assert!(text.contains("33 44") && text.contains("got word"), "{text}");
}

#[tokio::test]
async fn a_terminal_that_is_left_hangs_up() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let argv = ["sh", "-c", "echo $$; exec sleep 1000"].map(Into::into).into();
    let mut terminal = client.attach(&Attach { argv, ..Attach::default() }).await.unwrap();
    let Output::Stdout(pid) = terminal.next().await.unwrap() else { panic!("the process names itself") };
    let pid = String::from_utf8(pid).unwrap();
    drop(terminal);
    until("the program is gone", async || !alive(pid.trim())).await;
}
