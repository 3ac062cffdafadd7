//! TLS as a client: whom it believes.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};

use crate::model::CertificatePin;

/// Whom a client believes.
#[derive(Debug)]
#[cfg_attr(
    not(all(feature = "connect", feature = "postgres", feature = "remote")),
    allow(dead_code, reason = "each user has its own")
)]
pub(crate) enum Trust {
    /// Whom these authorities vouch for, under the name that was dialled.
    Named(RootCertStore),
    /// Whom these authorities vouch for, whatever the name.
    Issued(RootCertStore),
    /// The holder of this very certificate.
    Pinned(CertificatePin),
    /// Whoever answers. Encrypted, not authenticated.
    Anybody,
}

/// The authorities that the system trusts. Some systems carry certificates that no longer parse; the others count.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// A certificate with its chain, and its key: what a client shows when it is asked who it is.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The configuration of a client that believes `trust` and does not say who it is.
///
/// # Errors
/// Why not, in words: there is no authority.
#[cfg_attr(
    not(any(feature = "postgres", feature = "remote")),
    allow(dead_code, reason = "they are its users")
)]
pub(crate) fn client(trust: Trust) -> Result<ClientConfig, String> {
    client_as(trust, None)
}

/// The configuration of a client that believes `trust`, and that shows `identity` when it is asked.
///
/// # Errors
/// Why not, in words: there is no authority; the key does not fit the certificate.
pub(crate) fn client_as(trust: Trust, identity: Option<Identity>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let chain = |roots: RootCertStore| {
        WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())
    };
    let rule = match trust {
        Trust::Named(roots) => Rule::Named(chain(roots)?),
        Trust::Issued(roots) => Rule::Issued(chain(roots)?),
        Trust::Pinned(pin) => Rule::Pinned(pin),
        Trust::Anybody => Rule::Anybody,
    };
    let verifier = Verifier { rule, algorithms: provider.signature_verification_algorithms };
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match identity {
        None => Ok(client.with_no_client_auth()),
        Some((chain, key)) => client
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("the certificate of the client cannot be used: {error}")),
    }
}

#[derive(Debug)]
enum Rule {
    Named(Arc<WebPkiServerVerifier>),
    Issued(Arc<WebPkiServerVerifier>),
    Pinned(CertificatePin),
    Anybody,
}

/// Checks certificates by its rule, and always that the peer holds the key of the one that it shows.
#[derive(Debug)]
struct Verifier {
    rule: Rule,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by = |chain: &WebPkiServerVerifier| {
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        match &self.rule {
            Rule::Anybody => Ok(ServerCertVerified::assertion()),
            Rule::Pinned(pin) if pin.fits(end_entity) => Ok(ServerCertVerified::assertion()),
            Rule::Pinned(_) => {
                let shown = CertificatePin::of(end_entity);
                Err(Error::General(format!("the certificate is {shown:?}, which is not the pinned one")))
            }
            Rule::Named(chain) => by(chain),
            Rule::Issued(chain) => match by(chain) {
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                verified => verified,
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
