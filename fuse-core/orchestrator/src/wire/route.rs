//! The routes, the actions and the headers of the REST API.
//!
//! A `{}` in a path stands for a name, percent-encoded.

/// `Authorization: Bearer <token>`; with it the cookie is not looked at.
pub const BEARER: &str = "Bearer ";
/// The cookie of the login.
pub const COOKIE: &str = "fuse_session";
/// The request's name: taken from the caller when it is 1 to 128 of `A-Z a-z 0-9 _ -`, else made, and echoed.
pub const REQUEST_ID: &str = "x-request-id";
/// An equal key with an equal body gets the first answer, on every POST: 1 to 255 printable ASCII characters.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Where a stream of events is taken up: the id of the last frame that was read.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// `Prefer: respond-async` on a create answers 202 with a `Location` as soon as the environment is accepted.
pub const RESPOND_ASYNC: &str = "respond-async";

/// GET.
pub const HEALTH: &str = "/health";
/// GET.
pub const READY: &str = "/ready";
/// GET; text.
pub const METRICS: &str = "/metrics";
/// GET.
pub const VERSION: &str = "/v1/version";
/// POST.
pub const LOGIN: &str = "/login";
/// POST.
pub const LOGOUT: &str = "/logout";
/// GET, POST.
pub const ENVIRONMENTS: &str = "/v1/environments";
/// GET, POST with an action, DELETE.
pub const ENVIRONMENT: &str = "/v1/environments/{}";
/// GET; a stream.
pub const ENVIRONMENT_EVENTS: &str = "/v1/environments/{}/events";
/// GET with an upgrade.
pub const ENVIRONMENT_ATTACH: &str = "/v1/environments/{}/attach";
/// GET; text, or a stream of text with `follow=true`.
pub const ENVIRONMENT_LOGS: &str = "/v1/environments/{}/logs";
/// PUT; the body is the file, at most 48 MiB; 204.
pub const ENVIRONMENT_FILES: &str = "/v1/environments/{}/files";
/// POST.
pub const ENVIRONMENT_SNAPSHOTS: &str = "/v1/environments/{}/snapshots";
/// GET.
pub const SNAPSHOTS: &str = "/v1/snapshots";
/// GET.
pub const SNAPSHOTS_RESOLVE: &str = "/v1/snapshots/resolve";
/// GET, POST with an action, DELETE.
pub const SNAPSHOT: &str = "/v1/snapshots/{}";
/// GET, POST.
pub const HOSTS: &str = "/v1/hosts";
/// GET, POST with an action, DELETE; `force=true` removes a host whatever it holds.
pub const HOST: &str = "/v1/hosts/{}";
/// GET: how the emptying of a host goes; 404 when nobody asked for it.
pub const HOST_DRAIN: &str = "/v1/hosts/{}/drain";
/// GET, POST.
pub const API_KEYS: &str = "/v1/api-keys";
/// DELETE.
pub const API_KEY: &str = "/v1/api-keys/{}";
/// GET; a stream when the caller accepts `text/event-stream`, else a list.
pub const EVENTS: &str = "/v1/events";
/// GET.
pub const DEAD_LETTERS: &str = "/v1/dead-letters";
/// POST with an action.
pub const DEAD_LETTER: &str = "/v1/dead-letters/{}";

/// On an environment: tells it to end its work; answers with the environment. On a host: empties it; answers with how
/// that goes.
pub const DRAIN: &str = "drain";
/// On an environment: new credentials; 204.
pub const ROTATE_TOKEN: &str = "rotate-token";
/// On an environment: 201 with the new one.
pub const FORK: &str = "fork";
/// On an environment: runs a command.
pub const EXEC: &str = "exec";
/// On a snapshot: sets its environment back to it; 204.
pub const RESTORE: &str = "restore";
/// On a host: no new environments; 204.
pub const CORDON: &str = "cordon";
/// On a host: new environments again; 204.
pub const UNCORDON: &str = "uncordon";
/// On a dead letter: tries again now; 204.
pub const RETRY: &str = "retry";
/// On a dead letter: takes it away; 204.
pub const DISMISS: &str = "dismiss";

/// The largest body of a login, in bytes.
pub const LOGIN_BYTES: usize = 4 * 1024;
/// The largest body of a create and of an exec, in bytes.
pub const LARGE_BYTES: usize = 1024 * 1024;
/// The largest body of every other request, in bytes; an uploaded file has its own limit.
pub const BODY_BYTES: usize = 64 * 1024;

/// Whether a caller's request id is taken as it is.
#[must_use]
pub fn is_request_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// `path` with `name` in place of its `{}`, percent-encoded.
#[must_use]
pub fn with_name(path: &str, name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            byte => {
                encoded.push('%');
                encoded.push_str(&format!("{byte:02X}"));
            }
        }
    }
    path.replacen("{}", &encoded, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_are_encoded() {
        assert_eq!(
            with_name(ENVIRONMENT_LOGS, "fuse-a/b ü?"),
            "/v1/environments/fuse-a%2Fb%20%C3%BC%3F/logs"
        );
    }

    #[test]
    fn request_ids_are_short_and_plain() {
        assert!(is_request_id("req_1-A"));
        for bad in ["", "a b", "a\n", "ü", &"x".repeat(129)] {
            assert!(!is_request_id(bad), "{bad:?}");
        }
    }
}
