//! TCP: HTTP, the guest protocol, TLS, tokens.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use fuse_guest_protocol::{
    ErrorCode,
    client::{Client, Transport},
    verb::Exec,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::guest::{Fused, LONG, TOKEN, token};

const NEXT: &str = "the-next-token-of-the-vm";

/// Status and body of a GET.
async fn get<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    path: &str,
    token: Option<&str>,
) -> (u16, String) {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: guest\r\n{token}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

async fn plain(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

#[tokio::test]
async fn health_is_open_and_info_is_not() {
    let fused = Fused::start_with(&["--vm-id", "vm-7", "--gateway", "http://g"], |fuse| {
        fs::write(fuse.join("auth-token"), TOKEN).unwrap();
        fs::write(fuse.join("manifest.json"), "{ }").unwrap();
        fs::write(fuse.join("secrets.json"), r#"{"A":"1","B":"2"}"#).unwrap();
    });
    let (status, body) = get(plain(fused.tcp).await, "/health", None).await;
    let health: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &health["status"], &health["vm_id"]), (200, &"ok".into(), &"vm-7".into()));
    for bad in [None, Some("wrong"), Some("")] {
        let (status, body) = get(plain(fused.tcp).await, "/v1/info", bad).await;
        assert_eq!((status, body.as_str()), (401, "unauthorized\n"));
    }
    let (status, body) = get(plain(fused.tcp).await, "/v1/info", Some(TOKEN)).await;
    let info: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({
        "vm_id": "vm-7", "manifest_bytes": 3, "secret_count": 2, "gateway": "http://g", "tls": false
    });
    assert_eq!((status, info), (200, expected));
    assert_eq!(get(plain(fused.tcp).await, "/else", Some(TOKEN)).await.0, 404);
}

#[tokio::test]
async fn a_rotated_token_ends_the_old_one() {
    let fused = Fused::start_with(&[], |fuse| fs::write(fuse.join("auth-token"), TOKEN).unwrap());
    let client = Client::connect(plain(fused.tcp).await, Transport::Socket).await.unwrap();
    client.hello(Some(token(TOKEN))).await.unwrap();
    client.exec_collect(&Exec::argv(["true"]), 10).await.unwrap();

    fs::write(fused.file("auth-token"), NEXT).unwrap();
    assert_eq!(get(plain(fused.tcp).await, "/v1/info", Some(TOKEN)).await.0, 401);
    assert_eq!(get(plain(fused.tcp).await, "/v1/info", Some(NEXT)).await.0, 200);
    let error = client.exec_collect(&Exec::argv(["true"]), 10).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unauthorized), "also on a connection that is open: {error}");
}

#[tokio::test]
async fn the_network_cannot_set_the_token() {
    let fused = Fused::start(&[]);
    let client = Client::connect(plain(fused.tcp).await, Transport::Socket).await.unwrap();
    let mut last = None;
    for _ in 0..5 {
        last = Some(client.hello(Some(token(TOKEN))).await.unwrap_err());
    }
    assert!(last.unwrap().is_connection(), "it is closed after some tries");
    assert_eq!(get(plain(fused.tcp).await, "/v1/info", None).await.0, 401, "no token is not an open door");
    // The channel's token is not the network's.
    fused.host().await;
    assert_eq!(get(plain(fused.tcp).await, "/v1/info", Some(TOKEN)).await.0, 401);
}

fn certify(fuse: &Path) -> rustls::pki_types::CertificateDer<'static> {
    let certified = rcgen::generate_simple_self_signed(["guest".to_owned()]).unwrap();
    fs::create_dir_all(fuse.join("tls")).unwrap();
    fs::write(fuse.join("tls/cert.pem"), certified.cert.pem()).unwrap();
    fs::write(fuse.join("tls/key.pem"), certified.signing_key.serialize_pem()).unwrap();
    certified.cert.der().clone()
}

async fn secure(
    address: SocketAddr,
    trusted: &rustls::pki_types::CertificateDer<'static>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = ServerName::try_from("guest").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, plain(address).await).await
}

#[tokio::test]
async fn with_a_certificate_everything_is_tls_and_a_new_one_counts_at_once() {
    let fused = Fused::start_with(&[], |fuse| fs::write(fuse.join("auth-token"), TOKEN).unwrap());
    assert_eq!(get(plain(fused.tcp).await, "/health", None).await.0, 200);

    let first = certify(&fused.file(""));
    let (status, info) = get(secure(fused.tcp, &first).await.unwrap(), "/v1/info", Some(TOKEN)).await;
    assert_eq!(status, 200);
    assert!(info.contains("\"tls\":true"), "{info}");
    let client = Client::connect(secure(fused.tcp, &first).await.unwrap(), Transport::Socket).await.unwrap();
    client.hello(Some(token(TOKEN))).await.unwrap();
    let output = client.exec_collect(&Exec::shell("head -c 1000000 /dev/zero"), usize::MAX).await.unwrap();
    assert_eq!(output.stdout.len(), 1_000_000);

    let mut stream = plain(fused.tcp).await;
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "nothing is said in the clear");

    let second = certify(&fused.file(""));
    assert!(secure(fused.tcp, &first).await.is_err(), "the old certificate is gone");
    assert_eq!(get(secure(fused.tcp, &second).await.unwrap(), "/health", None).await.0, 200);
}
