//! Text that goes over the wire and nowhere else.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// A secret in a body. It serialises as its text, which is what a body is for; its `Debug` shows nothing, and it is
/// wiped when it is dropped.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = Password))]
pub struct Secret(pub SecretString);

impl Secret {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.expose_secret().is_empty()
    }

    /// The secret; none when it is empty.
    #[must_use]
    pub fn some(self) -> Option<SecretString> {
        (!self.is_empty()).then_some(self.0)
    }
}

impl From<SecretString> for Secret {
    fn from(secret: SecretString) -> Self {
        Self(secret)
    }
}

impl From<Option<SecretString>> for Secret {
    fn from(secret: Option<SecretString>) -> Self {
        secret.map(Self).unwrap_or_default()
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}
