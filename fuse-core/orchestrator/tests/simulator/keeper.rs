//! Secrets that cost nothing and come from the seed. What they protect is tested elsewhere.

use std::sync::Mutex;

use fuse_orchestrator::{
    SecretKeeper,
    model::{Timestamp, VmName},
    secrets::{Credentials, SecretError, SecretString, Zeroizing},
    store::Kind,
};

use crate::rng::Rng;

#[derive(Debug)]
pub struct SimKeeper(Mutex<Rng>);

impl SimKeeper {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Rng::new(seed)))
    }
}

impl SecretKeeper for SimKeeper {
    fn credentials(
        &self,
        _: &VmName,
        _: Option<&SecretString>,
        now: Timestamp,
    ) -> Result<Credentials, SecretError> {
        let token = self.0.lock().unwrap().next();
        let made = now.as_micros() / 1_000;
        let json = format!(
            r#"{{"token":"{token:064x}","certificate":"","key":"","made_ms":{made},"expires_ms":{}}}"#,
            made + 90 * 86_400_000
        );
        Credentials::from_bytes(json.as_bytes())
    }

    fn seal(&self, _: Kind, _: &str, plain: &[u8]) -> Result<Vec<u8>, SecretError> {
        Ok(plain.to_vec())
    }

    fn open(&self, _: Kind, _: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        Ok(Zeroizing::new(sealed.to_vec()))
    }

    fn random(&self, buffer: &mut [u8]) -> Result<(), SecretError> {
        let mut rng = self.0.lock().unwrap();
        for byte in buffer {
            *byte = rng.next() as u8;
        }
        Ok(())
    }
}
