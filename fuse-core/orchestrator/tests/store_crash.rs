//! kill -9 of a real process under load, again and again on the same store: it opens, and everything that was
//! acknowledged is there, whole.
//!
//! `FUSE_CRASH_CYCLES` sets the number of cycles per store (default 50; `make soak` uses 1,000).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]
mod backends;

use backends::server::Server;
use backends::{Backend, Postgres, Sled};
use fuse_orchestrator::store::*;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const WRITERS: u64 = 8;
/// Events that each writer keeps of the log.
const KEEP: u64 = 2_000;

fn cycles() -> u64 {
    std::env::var("FUSE_CRASH_CYCLES")
        .map_or(50, |cycles| cycles.parse().expect("FUSE_CRASH_CYCLES is a number"))
}

/// The process that is killed. It runs only when the tests below start it.
#[test]
fn child_process() {
    let Ok(place) = std::env::var("FUSE_CRASH_CHILD") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = backends::open(&place).await;
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write_forever(store.clone(), writer)));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

/// Counts up: each commit writes the number into two records and one event, and prints it once acknowledged.
async fn write_forever(store: SharedStore, writer: u64) {
    let id = format!("w{writer}");
    let found = loop {
        match store.get(Kind::Environment, &id).await {
            Ok(found) => break found,
            // The database is being restarted.
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (mut n, mut expect) = match found {
        Some(record) => (number(&record.body), Expect::Revision(record.revision)),
        None => (0, Expect::Absent),
    };
    loop {
        n += 1;
        let body = format!("{n} {}", "x".repeat((n * 7_919 % 3_000) as usize));
        let slot = format!("w{writer}-{}", n % 50);
        let event =
            NewEvent { kind: Kind::Environment, id: id.clone(), at_ms: n, body: n.to_string().into() };
        let batch = Batch::new().put(Kind::Environment, &id, expect, body.clone()).event(event);
        let batch = match n % 5 {
            0 => batch.delete(Kind::Task, slot, Expect::Any),
            _ => batch.put(Kind::Task, slot, Expect::Any, body),
        };
        match store.commit(batch).await {
            Ok(made) => expect = Expect::Revision(made.revision),
            // Above all not a conflict: it would mean that a commit was applied and then tried again.
            Err(error) => {
                eprintln!("{id}, {n}: {error}");
                std::process::abort();
            }
        }
        eprintln!("ack {writer} {n}");
        if n.is_multiple_of(500) {
            // The database may be away just now.
            if let Ok(position) = store.position().await {
                let truncated = store.truncate_events(position.last_event.saturating_sub(KEEP)).await;
                truncated.expect("a truncation waits for the database like a commit");
            }
        }
    }
}

fn number(body: &[u8]) -> u64 {
    let text = std::str::from_utf8(body).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// A running child and the acknowledgements that it prints.
struct Victim {
    child: Child,
    acks: mpsc::Receiver<(u64, u64)>,
}

fn start(place: &str) -> Victim {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program)
        .args(["--exact", "child_process", "--nocapture"])
        .env("FUSE_CRASH_CHILD", place)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (out, acks) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let mut words = line.split(' ');
            let numbers = (words.next() == Some("ack")).then(|| (words.next(), words.next()));
            match numbers {
                Some((Some(writer), Some(n))) if n.parse::<u64>().is_ok() => {
                    let _ = out.send((writer.parse().unwrap(), n.parse().unwrap()));
                }
                _ => println!("child: {line}"),
            }
        }
    });
    Victim { child, acks }
}

impl Victim {
    /// Waits for the first acknowledgement.
    fn wait(&self, acked: &mut BTreeMap<u64, u64>) {
        let (writer, n) =
            self.acks.recv_timeout(Duration::from_secs(60)).expect("the child acknowledges something");
        acked.insert(writer, n);
    }

    /// Kills it with signal 9 and collects what it had acknowledged.
    fn kill(mut self, acked: &mut BTreeMap<u64, u64>) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        acked.extend(self.acks.iter());
    }
}

/// Whether the writers still write while their work is checked: then only the store as a whole, read in one
/// moment, and what was acknowledged before can be compared.
#[derive(Clone, Copy)]
enum Run {
    Going(u64),
    Ended(u64),
}

/// Everything acknowledged is there; what is there is whole: record, slot and event of each writer agree.
async fn check(store: &dyn Store, acked: &BTreeMap<u64, u64>, run: Run) {
    let (Run::Going(cycle) | Run::Ended(cycle)) = run;
    let position = verify(store).await.unwrap_or_else(|error| panic!("cycle {cycle}: {error}"));
    for writer in 0..WRITERS {
        let id = format!("w{writer}");
        let record = store.get(Kind::Environment, &id).await.unwrap();
        let n = record.as_ref().map_or(0, |record| number(&record.body));
        let acked = acked.get(&writer).copied().unwrap_or(0);
        assert!(
            n >= acked,
            "cycle {cycle}: writer {writer} was told that {acked} is durable, and {n} is there"
        );
        let Some(record) = record.filter(|_| matches!(run, Run::Ended(_))) else { continue };
        let slot = store.get(Kind::Task, &format!("w{writer}-{}", n % 50)).await.unwrap();
        let slot = slot.map(|slot| (number(&slot.body), slot.revision));
        let expected = (n % 5 != 0).then_some((n, record.revision));
        assert_eq!(slot, expected, "cycle {cycle}: half of a commit of writer {writer}");
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let page = store.events(EventQuery::of(Kind::Environment, &id, after, 1_000)).await.unwrap();
            events.extend(page.events.iter().map(|event| number(&event.body)));
            let Some(last) = page.events.last() else { break };
            after = last.seq;
        }
        assert!(events.windows(2).all(|pair| pair[1] == pair[0] + 1), "cycle {cycle}: a gap in {id}");
        assert!(events.last().is_none_or(|last| *last == n), "cycle {cycle}: {events:?} ends before {n}");
        assert!(!events.is_empty() || position.floor > 0);
    }
}

/// A number below `bound` that looks random and is the same on every run.
fn mix(cycle: u64, bound: u64) -> u64 {
    let mut z = cycle.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 31)) % bound
}

#[tokio::test]
async fn sled_survives_kill_9() {
    let backend = Sled::new();
    let place = format!("sled:{}", backend.path().display());
    let mut acked = BTreeMap::new();
    for cycle in 0..cycles() {
        let victim = start(&place);
        // Every tenth one dies while it starts, the others under load.
        if cycle % 10 != 9 {
            victim.wait(&mut acked);
        }
        std::thread::sleep(Duration::from_millis(mix(cycle, 150)));
        victim.kill(&mut acked);
        check(&*backend.open().await, &acked, Run::Ended(cycle)).await;
    }
    let total: u64 = acked.values().sum();
    println!("{} kills, {total} acknowledged commits, none lost", cycles());
    assert!(total > cycles());
}

#[tokio::test]
async fn postgres_survives_kill_9_of_its_client() {
    let Some(backend) = Postgres::new() else { return };
    let mut acked = BTreeMap::new();
    for cycle in 0..cycles() {
        let victim = start(&backend.url);
        if cycle % 10 != 9 {
            victim.wait(&mut acked);
        }
        std::thread::sleep(Duration::from_millis(mix(cycle, 150)));
        victim.kill(&mut acked);
        check(&*backend.open().await, &acked, Run::Ended(cycle)).await;
    }
    let total: u64 = acked.values().sum();
    println!("{} kills, {total} acknowledged commits, none lost", cycles());
    assert!(total > cycles());
}

/// The server dies at once with all its processes, in the middle of commits. The client waits for it, finds out
/// what became of the commit that was under way, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_survives_crashes_of_the_server() {
    let Some(server) = Server::start(&[]) else { return };
    let url = server.database().1;
    let mut acked = BTreeMap::new();
    let victim = start(&url);
    victim.wait(&mut acked);
    let crashes = cycles().div_ceil(5);
    for cycle in 0..crashes {
        std::thread::sleep(Duration::from_millis(50 + mix(cycle, 200)));
        tokio::task::block_in_place(|| {
            server.crash();
            server.resume();
        });
        // What was acknowledged up to now must be there now; the client meanwhile commits on.
        acked.extend(victim.acks.try_iter());
        let told = acked.clone();
        check(&PostgresStore::open(&url).await.unwrap(), &told, Run::Going(cycle)).await;
        victim.wait(&mut acked);
    }
    victim.kill(&mut acked);
    let store = PostgresStore::open(&url).await.unwrap();
    check(&store, &acked, Run::Ended(crashes)).await;
    let total: u64 = acked.values().sum();
    println!("{crashes} crashes of the server, {total} acknowledged commits, none lost, none twice");
}
