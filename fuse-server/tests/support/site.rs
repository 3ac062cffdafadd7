//! A live server.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use fuse_orchestrator::{
    provider::{Connector, stub::StubConnector},
    store::SharedStore,
};
use fuse_server::{LocalHost, Origin, Server, Settings, Sources, open_store};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Reply, Stream, request};
use super::postgres;

/// The master token of every server here.
pub const TOKEN: &str = "master-token-of-the-tests";

/// Where the state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Memory,
    Sled,
    Postgres,
}

/// A stub whose faults the test can choose.
#[derive(Debug)]
pub struct Stub(pub Arc<StubConnector>);

impl LocalHost for Stub {
    fn scheme(&self) -> &str {
        "stub"
    }

    fn url(&self) -> Result<String, String> {
        Ok("stub://default".to_owned())
    }

    fn connector(&self) -> Arc<dyn Connector> {
        Arc::clone(&self.0) as Arc<dyn Connector>
    }
}

/// A live server and what it stands on.
pub struct Site {
    pub server: Server,
    pub address: SocketAddr,
    pub stub: Arc<StubConnector>,
    pub token: String,
    pub settings: Vec<(String, String)>,
    _dir: Option<TempDir>,
}

impl Site {
    /// A server on `backend`; none where that is not installed.
    pub async fn start(backend: Backend) -> Option<Self> {
        Self::start_with(backend, &[]).await
    }

    /// The same with more settings, by name.
    pub async fn start_with(backend: Backend, more: &[(&str, &str)]) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut settings = vec![
            ("listen".to_owned(), "127.0.0.1:0".to_owned()),
            ("auth-token".to_owned(), TOKEN.to_owned()),
            ("auth-failures-per-minute".to_owned(), "0".to_owned()),
            ("shutdown-timeout".to_owned(), "5s".to_owned()),
        ];
        match backend {
            Backend::Memory => settings.push(("memory".to_owned(), "true".to_owned())),
            Backend::Sled => settings.push(("data-dir".to_owned(), dir.path().display().to_string())),
            Backend::Postgres => {
                let (_, url) = postgres::shared()?.database();
                settings.push(("database-url".to_owned(), url));
                settings.push(("token-encryption-key".to_owned(), "7e".repeat(32)));
            }
        }
        settings.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Some(Self::open(settings, Arc::default(), Some(dir)).await)
    }

    async fn open(settings: Vec<(String, String)>, stub: Arc<StubConnector>, dir: Option<TempDir>) -> Self {
        let resolved = resolve(&settings);
        let local = Arc::new(Stub(Arc::clone(&stub)));
        let server = Server::start(resolved, Some(local)).await.expect("the server starts");
        let address = server.address();
        let token = settings
            .iter()
            .find(|(name, _)| name == "auth-token")
            .map(|(_, v)| v.clone())
            .unwrap_or_default();
        Self { server, address, stub, token, settings, _dir: dir }
    }

    /// Stops it and starts another on the same state and the same hosts.
    pub async fn restart(self) -> Self {
        let Self { server, stub, settings, _dir, .. } = self;
        server.stop();
        server.wait().await.expect("it closes");
        Self::open(settings, stub, _dir).await
    }

    pub async fn stop(self) {
        self.server.stop();
        self.server.wait().await.expect("it closes");
    }

    /// Stops it; what its state is kept in, open, and the directory of that.
    pub async fn into_store(self) -> (SharedStore, Option<TempDir>) {
        let Self { server, settings, _dir, .. } = self;
        server.stop();
        server.wait().await.expect("it closes");
        (open_store(&resolve(&settings)).await.expect("the store opens"), _dir)
    }

    pub async fn connect(&self) -> Stream {
        Stream::open(self.address).await
    }

    /// Sends a request as the master.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.call_with(method, path, &[], body).await
    }

    /// The same with more headers.
    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let mut all = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "authorization") && !self.token.is_empty() {
            all.push(("authorization", &bearer));
        }
        let body = body.map(|body| body.to_string());
        self.raw(request(method, path, &all, body.as_deref().map(str::as_bytes))).await
    }

    /// Sends bytes and reads an answer.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.connect().await;
        stream.send(bytes).await;
        stream.reply().await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.call("DELETE", path, None).await
    }

    /// A running environment for `task`.
    pub async fn create(&self, task: &str) -> Value {
        self.post("/v1/environments", json!({"task_id": task})).await.expect(201).json()
    }

    /// An API key with these scopes.
    pub async fn key(&self, scopes: &[&str]) -> String {
        let made =
            self.post("/v1/api-keys", json!({"label": "test", "scopes": scopes})).await.expect(201).json();
        made["key"].as_str().expect("a key").to_owned()
    }

    /// Sends a request with other credentials.
    pub async fn call_as(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.call_with(method, path, &[("authorization", &format!("Bearer {token}"))], body).await
    }
}

pub fn resolve(settings: &[(String, String)]) -> Settings {
    let mut sources = Sources::new();
    for (name, value) in settings {
        sources.set(name, value, Origin::Variable).expect("a setting");
    }
    Settings::resolve(&sources, Some(PathBuf::from("/nowhere"))).expect("settings")
}
