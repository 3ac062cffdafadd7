//! TLS with the certificate of the environment.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::options::Options;

/// The certificate as it was last read.
#[derive(Default)]
pub(super) struct Certificate {
    read: Mutex<Option<(Stamp, TlsAcceptor)>>,
}

/// When the two files were changed, and their lengths.
type Stamp = [(Option<SystemTime>, u64); 2];

impl Certificate {
    /// What accepts TLS now; read anew when a file has changed.
    pub(super) fn acceptor(&self, options: &Options) -> io::Result<TlsAcceptor> {
        let stamp = [stamp(&options.tls_cert)?, stamp(&options.tls_key)?];
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, acceptor)) = read.as_ref()
            && *at == stamp
        {
            return Ok(acceptor.clone());
        }
        let acceptor = TlsAcceptor::from(Arc::new(config(&options.tls_cert, &options.tls_key)?));
        *read = Some((stamp, acceptor.clone()));
        Ok(acceptor)
    }
}

fn stamp(path: &Path) -> io::Result<(Option<SystemTime>, u64)> {
    let about = fs::metadata(path)?;
    Ok((about.modified().ok(), about.len()))
}

fn config(certificate: &Path, key: &Path) -> io::Result<ServerConfig> {
    let bad = |path: &Path, error: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(certificate, &error))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der))
        .map_err(|error| bad(certificate, &error))
}
