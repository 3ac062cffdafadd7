//! QEMU by hand: with the very command line that the agent starts it with, so that the machines are the same.

use std::path::{Path, PathBuf};

use fuse_guest_protocol::{
    client::{Client, Transport},
    verb::{Freeze, Thaw},
};
use fuse_host_agent::agent::{HostAgent, NewVm};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

use crate::{
    common::name,
    hand::{Hand, HandVm, Kind, soon, token},
};

/// The files of an image, by the names that the command line has for them.
const FILES: [(&str, &str); 3] = [("kernel", "vmlinux"), ("initrd", "initrd"), ("base", "rootfs")];
const STATE: &str = "state";

/// QEMU, with its monitor alone.
#[derive(Debug, Clone)]
pub(crate) struct ByHand {
    image: PathBuf,
    line: Vec<String>,
}

/// A connection to a monitor.
struct Qmp(BufReader<UnixStream>);

impl Qmp {
    async fn open(vm: &HandVm) -> Self {
        let stream = loop {
            match UnixStream::connect(vm.dir.join("qmp.sock")).await {
                Ok(stream) => break stream,
                Err(_) => soon().await,
            }
        };
        let mut qmp = Self(BufReader::new(stream));
        qmp.line().await;
        qmp.run("qmp_capabilities", json!({})).await;
        qmp
    }

    async fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn run(&mut self, command: &str, arguments: Value) -> Value {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.0.get_mut().write_all(line.as_bytes()).await.unwrap();
        loop {
            let mut answer = self.line().await;
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(value) = answer.get_mut("return") {
                return value.take();
            }
        }
    }

    async fn migrated(&mut self) {
        loop {
            let answer = self.run("query-migrate", json!({})).await;
            match answer["status"].as_str() {
                Some("completed") => return,
                Some("failed") => panic!("{answer}"),
                _ => soon().await,
            }
        }
    }
}

impl ByHand {
    /// Learns the command line from a VM of the agent.
    pub(crate) async fn of(agent: &HostAgent) -> Self {
        let view = agent.create(NewVm::new(name("model"))).await.unwrap();
        let line = std::fs::read(format!("/proc/{}/cmdline", view.pid.unwrap())).unwrap();
        let place = std::fs::read_link(format!("/proc/{}/cwd", view.pid.unwrap())).unwrap();
        agent.destroy(&view.name).await.unwrap();
        // Paths below the VM become those below a directory of ours, which has files of the same names.
        let below = format!("{}/", place.display());
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        let words = words.map(|word| String::from_utf8_lossy(word).replace(&below, ""));
        let image = agent.images().dir(&fuse_host_agent::store::ImageName::new("default").unwrap());
        Self { image, line: words.collect() }
    }

    async fn start(&self, disk: Option<&Path>, more: &[&str]) -> HandVm {
        let dir = HandVm::place();
        for (ours, of_image) in FILES {
            std::os::unix::fs::symlink(self.image.join(of_image), dir.join(ours)).unwrap();
        }
        match disk {
            Some(disk) => drop(tokio::fs::copy(disk, dir.join("disk")).await.unwrap()),
            None => {
                let made = tokio::process::Command::new("qemu-img")
                    .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base", "disk"])
                    .current_dir(&dir)
                    .status();
                assert!(made.await.unwrap().success());
            }
        }
        let (program, arguments) = self.line.split_first().unwrap();
        let arguments: Vec<String> =
            arguments.iter().cloned().chain(more.iter().map(|word| (*word).to_owned())).collect();
        HandVm::start(dir, program, &arguments)
    }

    async fn answered(&self, mut vm: HandVm) -> HandVm {
        let stream = UnixStream::connect(vm.dir.join("agent.sock")).await.unwrap();
        let client = Client::connect(stream, Transport::Serial).await.unwrap();
        client.hello(Some(token())).await.unwrap();
        vm.client = Some(client);
        vm
    }
}

impl Hand for ByHand {
    async fn boot(&self) -> HandVm {
        let vm = self.start(None, &[]).await;
        Qmp::open(&vm).await.run("cont", json!({})).await;
        self.answered(vm).await
    }

    async fn save(&self, vm: &HandVm, _: Kind) -> Vec<&'static str> {
        // No program is to run in a clone before that is renewed.
        let client = vm.client.as_ref().unwrap();
        client.call(&Freeze { limit_ms: 600_000 }).await.unwrap();
        let mut qmp = Qmp::open(vm).await;
        qmp.run("stop", json!({})).await;
        qmp.run("migrate-set-parameters", json!({ "max-bandwidth": 1_u64 << 40 })).await;
        qmp.run("migrate", json!({ "uri": format!("file:{STATE}") })).await;
        qmp.migrated().await;
        tokio::fs::copy(vm.dir.join("disk"), vm.dir.join("saved")).await.unwrap();
        qmp.run("cont", json!({})).await;
        client.call(&Thaw {}).await.unwrap();
        vec![STATE, "saved"]
    }

    async fn restore(&self, from: &Path) -> HandVm {
        let vm = self.start(Some(&from.join("saved")), &["-incoming", "defer"]).await;
        let mut qmp = Qmp::open(&vm).await;
        let uri = format!("file:{}", from.join(STATE).display());
        qmp.run("migrate-incoming", json!({ "uri": uri })).await;
        qmp.migrated().await;
        qmp.run("cont", json!({})).await;
        drop(qmp);
        self.answered(vm).await
    }
}
