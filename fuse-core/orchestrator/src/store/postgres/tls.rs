//! TLS towards the database, as `sslmode` asks for it.
use super::super::{StoreError, StoreResult};
use super::address::{Address, Protection};
use crate::tls::{self, Trust};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use tokio_postgres_rustls::MakeRustlsConnect;

pub(super) fn connector(address: &Address) -> StoreResult<MakeRustlsConnect> {
    let failed = |why: String| StoreError::Unavailable {
        doing: "open",
        on: address.name.clone(),
        why,
        advice: "check `sslmode` and `sslrootcert` in the connection string",
    };
    let roots = || roots(address.root_certificates.as_deref()).map_err(failed);
    let trust = match address.protection {
        Protection::VerifyFull => Trust::Named(roots()?),
        // The certificate must come from there, whatever name it is for.
        Protection::Require if address.root_certificates.is_some() => Trust::Issued(roots()?),
        // Encrypted, but whoever answers is believed, as these modes say.
        _ => Trust::Anybody,
    };
    Ok(MakeRustlsConnect::new(tls::client(trust).map_err(failed)?))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            let unreadable =
                |error| format!("the root certificates in {} cannot be read: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                roots.add(certificate.map_err(unreadable)?).map_err(|error| error.to_string())?;
            }
        }
        None => roots = tls::system_roots(),
    }
    if roots.is_empty() {
        let place = file.map_or_else(|| "the system's store".to_owned(), |path| path.display().to_string());
        return Err(format!("there is no root certificate in {place}"));
    }
    Ok(roots)
}
