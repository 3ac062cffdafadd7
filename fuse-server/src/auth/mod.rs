//! Who calls, from where, and what they may do.

mod address;
mod audit;
mod credentials;
mod limiter;

use std::collections::BTreeSet;

use fuse_orchestrator::secrets::Scope;

pub(crate) use address::{AddressProblem, caller_address, is_allowed};
pub(crate) use audit::Audit;
pub(crate) use credentials::{MasterToken, missing, session_cookie, shown_token};
pub(crate) use limiter::{Limiter, bucket_of};

use crate::answer::{Answer, Failure};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Whoever knows the master token; anybody, while there is neither a token nor a key.
    Master,
    /// The holder of an API key.
    Key {
        /// The name of the key.
        id: String,
        /// What it may do.
        scopes: BTreeSet<Scope>,
    },
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// To look.
    Read,
    /// To change environments and snapshots.
    Write,
    /// To change hosts and to run commands in guests.
    Admin,
    /// To deal with API keys.
    Master,
}

impl Caller {
    /// Whether the caller may do what needs `access`.
    ///
    /// # Errors
    /// 403 for a key without the scope.
    pub(crate) fn check(&self, access: Access) -> Answer<()> {
        let Self::Key { scopes, .. } = self else { return Ok(()) };
        let has = |scope| scopes.contains(&scope) || scopes.contains(&Scope::Admin);
        let (allowed, needs) = match access {
            Access::Read => (has(Scope::Read), "an API key with the scope read"),
            Access::Write => (has(Scope::Write), "an API key with the scope write"),
            Access::Admin => (has(Scope::Admin), "the master token or an API key with the scope admin"),
            Access::Master => (false, "the master token"),
        };
        if allowed { Ok(()) } else { Err(Failure::not_allowed(format!("this request needs {needs}"))) }
    }

    /// A name for logs and limits.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Master => "master",
            Self::Key { id, .. } => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_what_their_scopes_say_and_never_deal_with_keys() {
        let key =
            |scopes: &[Scope]| Caller::Key { id: "ak_1".into(), scopes: scopes.iter().copied().collect() };
        let all = [Access::Read, Access::Write, Access::Admin, Access::Master];
        let may = |caller: &Caller| all.map(|access| caller.check(access).is_ok());
        assert_eq!(may(&Caller::Master), [true; 4]);
        assert_eq!(may(&key(&[])), [false; 4]);
        assert_eq!(may(&key(&[Scope::Read])), [true, false, false, false]);
        assert_eq!(may(&key(&[Scope::Read, Scope::Write])), [true, true, false, false]);
        assert_eq!(may(&key(&[Scope::Admin])), [true, true, true, false]);
        let refused = key(&[Scope::Read]).check(Access::Admin).unwrap_err();
        assert_eq!((refused.status.as_u16(), &*refused.code), (403, "unauthorized"));
    }
}
