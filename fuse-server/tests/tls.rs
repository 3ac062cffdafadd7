//! TLS: encrypted, read again without a restart, and with certificates of clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod support;

use std::{fs, path::Path, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use support::{Backend, Site, client::request, run};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"),
        )
    }

    /// A certificate for `name`, and its key, in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn client(&self, identity: Option<&(String, String)>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.pem().as_bytes()).expect("PEM")).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("an identity")
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

fn write(dir: &Path, (certificate, key): &(String, String)) {
    fs::write(dir.join("cert.pem"), certificate).expect("written");
    fs::write(dir.join("key.pem"), key).expect("written");
}

/// What `/health` answers over TLS as `name`; none when there is no connection.
async fn health(site: &Site, client: &TlsConnector, name: &str) -> Option<String> {
    let tcp = TcpStream::connect(site.address).await.expect("a connection");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut tls = client.connect(name, tcp).await.ok()?;
    tls.write_all(&request("GET", "/health", &[("connection", "close")], None)).await.ok()?;
    let mut text = String::new();
    tls.read_to_string(&mut text).await.ok()?;
    Some(text)
}

async fn start(dir: &Path, more: &[(&str, &str)]) -> Site {
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let mut settings =
        vec![("tls-cert", certificate.to_str().expect("text")), ("tls-key", key.to_str().expect("text"))];
    settings.extend(more);
    Site::start_with(Backend::Memory, &settings).await.expect("a server")
}

#[test]
fn certificates_are_read_again_without_a_restart() {
    run(async {
        let (dir, authority) = (tempfile::tempdir().expect("a directory"), Authority::new());
        write(dir.path(), &authority.issue("one.test"));
        let site = start(dir.path(), &[]).await;
        let client = authority.client(None);
        assert!(health(&site, &client, "one.test").await.expect("an answer").starts_with("HTTP/1.1 200"));
        assert_eq!(health(&site, &client, "two.test").await, None, "not its name");
        let plain = tokio::time::timeout(Duration::from_secs(20), async {
            let mut stream = site.connect().await;
            stream.send(request("GET", "/health", &[], None)).await;
            let mut bytes = Vec::new();
            let _ = stream.io.read_to_end(&mut bytes).await;
            bytes
        });
        assert!(!String::from_utf8_lossy(&plain.await.expect("an end")).contains("200 OK"), "no plain HTTP");

        write(dir.path(), &authority.issue("two.test"));
        site.server.reload().expect("a new certificate");
        assert!(health(&site, &client, "two.test").await.is_some());
        fs::write(dir.path().join("key.pem"), "nonsense").expect("written");
        let error = site.server.reload().expect_err("no key");
        assert!(error.to_string().contains("key.pem"), "{error}");
        assert!(health(&site, &client, "two.test").await.is_some(), "the former one stays");
        // Nobody asks for it: the server looks by itself.
        write(dir.path(), &authority.issue("one.test"));
        for _ in 0..120 {
            if health(&site, &client, "one.test").await.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("the new certificate is not in use");
    });
}

#[test]
fn clients_may_have_to_show_a_certificate() {
    run(async {
        let (dir, authority, stranger) =
            (tempfile::tempdir().expect("a directory"), Authority::new(), Authority::new());
        write(dir.path(), &authority.issue("one.test"));
        let ca = dir.path().join("ca.pem");
        fs::write(&ca, authority.0.pem()).expect("written");
        let site = start(dir.path(), &[("tls-client-ca", ca.to_str().expect("text"))]).await;
        let known = authority.client(Some(&authority.issue("client.test")));
        assert!(health(&site, &known, "one.test").await.is_some_and(|text| text.contains("200 OK")));
        for other in [authority.client(None), authority.client(Some(&stranger.issue("client.test")))] {
            let answer = health(&site, &other, "one.test").await;
            assert!(answer.is_none_or(|text| !text.contains("200 OK")));
        }
    });
}
