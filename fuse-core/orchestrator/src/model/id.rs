//! Names of things. Each kind of name is a type of its own, checked once when it is made.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A name that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is not valid: {rule}")]
pub struct IdError {
    /// Which kind of name it was meant to be.
    pub what: &'static str,
    /// The refused text, cut to 140 characters.
    pub name: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

fn refuse(what: &'static str, name: &str, rule: &'static str) -> IdError {
    IdError { what, name: name.chars().take(140).collect(), rule }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $check:ident, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes `name` when it follows the rule of this kind of name.
            ///
            /// # Errors
            /// [`IdError`] with the rule that the name breaks.
            pub fn new(name: impl AsRef<str>) -> Result<Self, IdError> {
                let name = name.as_ref();
                if $check(name) { Ok(Self(Arc::from(name))) } else { Err(refuse($what, name, $rule)) }
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

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = IdError;
            fn from_str(name: &str) -> Result<Self, IdError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = IdError;
            fn try_from(name: String) -> Result<Self, IdError> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn printable(name: &str, most: usize) -> bool {
    let length = name.chars().count();
    (1..=most).contains(&length) && !name.chars().any(char::is_control)
}

fn is_task(name: &str) -> bool {
    printable(name, 128) && name.len() <= 224
}

fn is_environment(name: &str) -> bool {
    printable(name, 192) && name.len() <= 248
}

fn is_slug(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_key(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|b| (0x20..0x7f).contains(&b))
}

fn is_vm(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_prefix(name: &str) -> bool {
    (1..=24).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

name!(
    /// The caller's name of the work that an environment does: 1 to 128 characters (at most 224 bytes of UTF-8), no
    /// control characters.
    TaskId, "task id", is_task, "1 to 128 characters and at most 224 bytes, none of them a control character"
);
name!(
    /// The name of an environment: the prefix of its control plane and the task id.
    EnvironmentId, "environment id", is_environment, "1 to 192 characters and at most 248 bytes, none of them a control character"
);
name!(
    /// The name of a host: 1 to 128 of letters, digits, `-`, `_`, `.`.
    HostId, "host id", is_slug, "1 to 128 of A-Z a-z 0-9 - _ ."
);
name!(
    /// The name of a snapshot: 1 to 128 of letters, digits, `-`, `_`, `.`.
    SnapshotId, "snapshot id", is_slug, "1 to 128 of A-Z a-z 0-9 - _ ."
);
name!(
    /// The name of an API key (not the key): 1 to 128 of letters, digits, `-`, `_`, `.`.
    ApiKeyId, "api key id", is_slug, "1 to 128 of A-Z a-z 0-9 - _ ."
);
name!(
    /// The tag that marks a VM as belonging to one control plane.
    OwnerId, "owner id", is_slug, "1 to 128 of A-Z a-z 0-9 - _ ."
);
name!(
    /// What a caller sends to make a repeated request harmless: 1 to 255 printable ASCII characters.
    IdempotencyKey, "idempotency key", is_key, "1 to 255 printable ASCII characters"
);
name!(
    /// The name that a host knows a VM by: 1 to 64 of a-z, 0-9, `-`. Never used twice.
    VmName, "VM name", is_vm, "1 to 64 of a-z 0-9 -"
);
name!(
    /// What the names of all VMs and environments of one control plane begin with: 1 to 24 of a-z, 0-9, `-`.
    VmPrefix, "VM prefix", is_prefix, "1 to 24 of a-z 0-9 -"
);

#[cfg(feature = "conformance")]
impl OwnerId {
    /// A name that is valid as it stands in the source.
    pub(crate) fn named(name: &'static str) -> Self {
        Self(Arc::from(name))
    }
}

#[cfg(feature = "conformance")]
impl EnvironmentId {
    /// A name that is put together from valid parts.
    pub(crate) fn named(name: &str) -> Self {
        Self(Arc::from(name))
    }
}

impl HostId {
    /// A bound below every host id.
    pub(crate) fn first() -> Self {
        Self(Arc::from(""))
    }
}

impl VmPrefix {
    /// The prefix that is used when nothing else is configured.
    #[must_use]
    pub fn standard() -> Self {
        Self(Arc::from("fuse-"))
    }

    /// The environment that works on `task`.
    #[must_use]
    pub fn environment(&self, task: &TaskId) -> EnvironmentId {
        EnvironmentId(Arc::from(format!("{self}{task}")))
    }

    /// The VM of one incarnation of an environment.
    ///
    /// The name is a safe form of the environment's, made unique by a hash over the environment's name and
    /// `incarnation`: a task id that is used again never meets the VM of its predecessor.
    #[must_use]
    pub fn vm(&self, environment: &EnvironmentId, incarnation: &str) -> VmName {
        const LONGEST: usize = 64 - 1 - 16;
        let mut safe = String::with_capacity(64);
        for c in environment.as_str().chars() {
            if safe.len() >= LONGEST {
                break;
            }
            let c = c.to_ascii_lowercase();
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                safe.push(c);
            } else if !safe.ends_with('-') {
                safe.push('-');
            }
        }
        let mut hash = Sha256::new();
        hash.update(environment.as_str());
        hash.update([0]);
        hash.update(incarnation);
        let separator = if safe.ends_with('-') { "" } else { "-" };
        let digest = hash.finalize();
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        VmName(Arc::from(format!("{safe}{separator}{short}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_take_any_printable_text() {
        for good in ["t1", "Task_9", "a b", "日本", &"x".repeat(128)] {
            assert!(TaskId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "\u{0}", &"x".repeat(129)] {
            assert!(TaskId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn vm_names_are_safe_whatever_the_task_is_called() {
        let prefix = VmPrefix::standard();
        for task in ["t1", "UPPER_case", "../../etc", "日本", &"x".repeat(128)] {
            let id = prefix.environment(&TaskId::new(task).unwrap());
            let vm = prefix.vm(&id, "1");
            assert!(VmName::new(vm.as_str()).is_ok(), "{vm}");
            assert!(vm.as_str().starts_with("fuse-"), "{vm}");
        }
    }

    #[test]
    fn vm_names_differ_where_the_safe_forms_agree() {
        let prefix = VmPrefix::standard();
        let lower = prefix.environment(&TaskId::new("a_b").unwrap());
        let upper = prefix.environment(&TaskId::new("A-b").unwrap());
        assert_ne!(prefix.vm(&lower, "1"), prefix.vm(&upper, "1"));
        assert_ne!(prefix.vm(&lower, "1"), prefix.vm(&lower, "2"));
    }

    #[test]
    fn names_from_json_are_checked() {
        assert!(serde_json::from_str::<HostId>("\"h-1\"").is_ok());
        assert!(serde_json::from_str::<HostId>("\"../h\"").is_err());
    }
}
