//! Names that become directories: checked once, so that none of them leads out of the store.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Whether `name` is a single, plain, visible path component.
fn is_contained(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['.', '-'])
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Takes a name of 1 to 128 of A-Z a-z 0-9 - _ . that does not begin with `.` or `-`.
            ///
            /// # Errors
            /// Invalid.
            pub fn new(name: &str) -> Result<Self> {
                if is_contained(name) {
                    return Ok(Self(name.to_owned()));
                }
                let shown: String = name.chars().take(140).collect();
                let rule = "1 to 128 of A-Z a-z 0-9 - _ . and not . or - first";
                Err(Error::invalid("use", format!(concat!($what, " name {:?}"), shown), rule))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = Error;
            fn from_str(name: &str) -> Result<Self> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(name: String) -> Result<Self> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// The name of a snapshot on this host.
    SnapshotName,
    "snapshot"
);
name!(
    /// The name of an image on this host.
    ImageName,
    "image"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_its_store() {
        for bad in
            ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "-rf", "a\0b", "a\n", "é", &"x".repeat(129)]
        {
            assert!(SnapshotName::new(bad).is_err(), "{bad:?}");
            assert!(serde_json::from_value::<ImageName>(bad.into()).is_err(), "{bad:?}");
        }
        for good in ["snap-1700000000-a1b2c3", "debian_12.4", "X"] {
            assert_eq!(SnapshotName::new(good).unwrap().as_str(), good);
        }
    }
}
