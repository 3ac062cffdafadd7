//! The files that the control plane writes into every guest.

use secrecy::ExposeSecret;

use super::vault::{BootFiles, Vault};
use crate::{
    Error, Result,
    model::{Environment, Manifest, service},
    provider::FileUpload,
    secrets::Credentials,
};

const PRIVATE: u32 = 0o600;

fn private(path: &str, content: impl Into<Vec<u8>>) -> FileUpload {
    FileUpload { path: path.to_owned(), content: content.into(), mode: PRIVATE }
}

/// The files of the credentials: certificate, key, token.
pub(super) fn credential_files(credentials: &Credentials) -> Vec<FileUpload> {
    vec![
        private("/fuse/tls/cert.pem", credentials.certificate()),
        private("/fuse/tls/key.pem", credentials.key().expose_secret()),
        private("/fuse/auth-token", credentials.token().expose_secret()),
    ]
}

/// All files for a boot, in the order in which a later one wins: the agent's, the caller's, the profile's.
pub(super) fn boot_files(environment: &Environment, vault: &Vault) -> Result<Vec<FileUpload>> {
    let mut files = Vec::new();
    if let Some(BootFiles { manifest, env, agent, caller }) = &vault.boot {
        for (path, file) in agent.iter().filter(|(path, _)| !caller.contains_key(*path)).chain(caller) {
            files.push(FileUpload { path: path.clone(), content: file.0.clone(), mode: 0o644 });
        }
        files.push(private("/fuse/manifest.json", manifest.as_str()));
        files.extend(env.as_ref().map(|env| private("/fuse/env", env.as_str())));
        let parsed = Manifest::parse(manifest).map_err(|problem| Error::Invalid(vec![problem]))?;
        if parsed.has_services() {
            let (services, secrets) = (parsed.services(), &vault.secrets);
            files.push(private("/fuse/compose.yaml", service::compose(services, secrets)));
            let variables = service::env_files(services, secrets).into_iter();
            files.extend(variables.map(|(path, text)| private(&path, text)));
        }
    }
    files.push(private("/fuse/secrets.json", vault.secrets_json()?.as_slice()));
    if let Some(healthcheck) = &environment.healthcheck {
        let json = super::record::encode("healthcheck", environment.id.as_str(), healthcheck)?;
        files.push(private("/fuse/healthcheck.json", json));
    }
    files.extend(credential_files(&vault.credentials));
    Ok(files)
}
