//! Firecracker by hand.

use std::path::{Path, PathBuf};

use fuse_guest_protocol::client::{Client, Transport, connect_vsock};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::hand::{Hand, HandVm, Kind, soon, token};

/// Firecracker, with its own API alone.
#[derive(Debug, Clone)]
pub(crate) struct ByHand {
    program: PathBuf,
    kernel: PathBuf,
}

impl ByHand {
    pub(crate) fn new(program: PathBuf, kernel: PathBuf) -> Self {
        Self { program, kernel }
    }

    async fn start(&self) -> HandVm {
        let arguments = ["--api-sock", "api.sock"].map(str::to_owned);
        let vm = HandVm::start(HandVm::place(), &self.program.to_string_lossy(), &arguments);
        while UnixStream::connect(vm.dir.join("api.sock")).await.is_err() {
            soon().await;
        }
        vm
    }

    async fn ask(&self, vm: &HandVm, method: &str, path: &str, body: &str) {
        let mut stream = UnixStream::connect(vm.dir.join("api.sock")).await.unwrap();
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 512];
        let count = stream.read(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer[..count]);
        assert!(text.starts_with("HTTP/1.1 204"), "{path}: {text}");
    }

    async fn answered(&self, mut vm: HandVm) -> HandVm {
        loop {
            if let Ok(mut stream) = UnixStream::connect(vm.dir.join("agent.sock")).await
                && connect_vsock(&mut stream, fuse_guest_protocol::VSOCK_PORT).await.is_ok()
            {
                let client = Client::connect(stream, Transport::Socket).await.unwrap();
                client.hello(Some(token())).await.unwrap();
                vm.client = Some(client);
                return vm;
            }
            soon().await;
        }
    }
}

impl Hand for ByHand {
    async fn boot(&self) -> HandVm {
        let vm = self.start().await;
        let machine = r#"{"vcpu_count":1,"mem_size_mib":64,"track_dirty_pages":true}"#;
        self.ask(&vm, "PUT", "/machine-config", machine).await;
        let kernel = self.kernel.display();
        let source = format!(r#"{{"kernel_image_path":"{kernel}","boot_args":"console=ttyS0"}}"#);
        self.ask(&vm, "PUT", "/boot-source", &source).await;
        self.ask(&vm, "PUT", "/vsock", r#"{"guest_cid":3,"uds_path":"agent.sock"}"#).await;
        self.ask(&vm, "PUT", "/entropy", "{}").await;
        self.ask(&vm, "PUT", "/actions", r#"{"action_type":"InstanceStart"}"#).await;
        self.answered(vm).await
    }

    async fn save(&self, vm: &HandVm, kind: Kind) -> Vec<&'static str> {
        let (kind, state, memory) = match kind {
            Kind::Full => ("Full", "full.state", "full.memory"),
            Kind::Diff => ("Diff", "diff.state", "diff.memory"),
        };
        for old in [state, memory] {
            let _ = std::fs::remove_file(vm.dir.join(old));
        }
        self.ask(vm, "PATCH", "/vm", r#"{"state":"Paused"}"#).await;
        let body =
            format!(r#"{{"snapshot_type":"{kind}","snapshot_path":"{state}","mem_file_path":"{memory}"}}"#);
        self.ask(vm, "PUT", "/snapshot/create", &body).await;
        self.ask(vm, "PATCH", "/vm", r#"{"state":"Resumed"}"#).await;
        vec![state, memory]
    }

    async fn restore(&self, from: &Path) -> HandVm {
        let vm = self.start().await;
        let (state, memory) = (from.join("full.state"), from.join("full.memory"));
        let body = format!(
            r#"{{"snapshot_path":{state:?},"mem_backend":{{"backend_type":"File","backend_path":{memory:?}}},"enable_diff_snapshots":true,"resume_vm":true}}"#
        );
        self.ask(&vm, "PUT", "/snapshot/load", &body).await;
        self.answered(vm).await
    }
}
