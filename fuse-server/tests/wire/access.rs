//! Credentials, cookies, networks, rates.

use fuse_orchestrator::{Delivery, model::EventKind};
use serde_json::json;

use crate::support::{Backend, Site, TOKEN, client::request, run};

crate::on_every_backend!(scopes_say_what_a_key_may_do, refusals_are_in_the_log_of_events);
crate::on_every_backend!(with &[("auth-token", "")]; without_a_token_everything_is_open_until_there_is_a_key);

const ROUTES: [(&str, &str); 12] = [
    ("GET", "/v1/environments"),
    ("POST", "/v1/environments"),
    ("GET", "/v1/environments/fuse-t1"),
    ("POST", "/v1/environments/fuse-t1?action=drain"),
    ("DELETE", "/v1/environments/fuse-t1"),
    ("GET", "/v1/environments/fuse-t1/events"),
    ("GET", "/v1/environments/fuse-t1/attach"),
    ("GET", "/v1/snapshots"),
    ("GET", "/v1/hosts"),
    ("GET", "/v1/api-keys"),
    ("GET", "/v1/events"),
    ("GET", "/v1/openapi.json"),
];

#[test]
fn every_route_wants_credentials() {
    run(async {
        let site = Site::start(Backend::Memory).await.expect("a server");
        for (method, path) in ROUTES {
            let none = site.raw(request(method, path, &[], None)).await;
            assert_eq!(
                none.error(401, "unauthorized"),
                "missing or malformed credentials",
                "{method} {path}"
            );
            let wrong = site.call_as("wrong", method, path, None).await;
            assert_eq!(wrong.error(401, "unauthorized"), "invalid token", "{method} {path}");
            assert!(wrong.header("x-request-id").starts_with("req_"));
        }
        let cookie = format!("fuse_session={TOKEN}");
        for malformed in
            [format!("bearer {TOKEN}"), format!("Bearer  {TOKEN}"), TOKEN.to_owned(), "Bearer ".to_owned()]
        {
            let headers = [("authorization", malformed.as_str()), ("cookie", cookie.as_str())];
            site.raw(request("GET", "/v1/hosts", &headers, None)).await.error(401, "unauthorized");
        }
        site.raw(request("GET", "/v1/hosts", &[("cookie", &cookie)], None)).await.expect(200);
    });
}

#[test]
fn login_sets_the_cookie_and_logout_takes_it() {
    run(async {
        let site = Site::start(Backend::Memory).await.expect("a server");
        let login = async |body: &str| site.raw(request("POST", "/login", &[], Some(body.as_bytes()))).await;
        let reply = login(&json!({"token": TOKEN}).to_string()).await.expect(204);
        let expected = format!("fuse_session={TOKEN}; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax");
        assert_eq!(reply.header("set-cookie"), expected);
        assert!(reply.body.is_empty());
        assert_eq!(login(r#"{"token":"wrong"}"#).await.error(401, "unauthorized"), "invalid token");
        let key = site.key(&["admin"]).await;
        login(&json!({"token": key}).to_string()).await.error(401, "unauthorized");
        login("{").await.error(400, "invalid_argument");
        let large = json!({"token": "x".repeat(5_000)}).to_string();
        assert!(login(&large).await.error(413, "payload_too_large").contains("4096"));
        let out = site.raw(request("POST", "/logout", &[], None)).await.expect(204);
        assert_eq!(out.header("set-cookie"), "fuse_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");

        let secure =
            Site::start_with(Backend::Memory, &[("secure-cookies", "true")]).await.expect("a server");
        let body = json!({"token": TOKEN}).to_string();
        let reply = secure.raw(request("POST", "/login", &[], Some(body.as_bytes()))).await.expect(204);
        assert!(reply.header("set-cookie").ends_with("; SameSite=Lax; Secure"));
    });
}

async fn without_a_token_everything_is_open_until_there_is_a_key(site: Site) {
    site.raw(request("GET", "/v1/environments", &[], None)).await.expect(200);
    let login = site.raw(request("POST", "/login", &[], Some(br#"{"token":"x"}"#))).await.expect(204);
    assert_eq!(login.header("set-cookie"), "");
    let key = site.key(&["read"]).await;
    site.raw(request("GET", "/v1/environments", &[], None)).await.error(401, "unauthorized");
    site.call_as(&key, "GET", "/v1/environments", None).await.expect(200);
}

#[test]
fn networks_are_checked_everywhere_but_on_health() {
    run(async {
        let site = Site::start_with(Backend::Memory, &[("allowed-cidrs", "192.0.2.0/24,2001:db8::/32")])
            .await
            .expect("a server");
        for (method, path) in
            [("GET", "/v1/hosts"), ("POST", "/login"), ("GET", "/nothing"), ("GET", "/metrics")]
        {
            let reply = site.call(method, path, None).await;
            assert_eq!(reply.error(403, "forbidden"), "source address not in allowlist", "{path}");
        }
        for path in ["/health", "/ready", "/v1/version"] {
            site.get(path).await.expect(200);
        }
        let noted = site.server.orchestrator().newest_durable_event().await.expect("a number");
        let mut events = site.server.orchestrator().events(0);
        let mut kinds = Vec::new();
        while events.position() < noted {
            if let Some(Delivery::Event(event)) = events.next().await.expect("the log") {
                kinds.push(event.event);
            }
        }
        assert!(kinds.contains(&EventKind::IpRejected), "{kinds:?}");
        let here =
            Site::start_with(Backend::Memory, &[("allowed-cidrs", "127.0.0.0/8")]).await.expect("a server");
        here.get("/v1/hosts").await.expect(200);
        here.get("/metrics").await.expect(200);
    });
}

#[test]
fn proxies_are_believed_only_when_trusted() {
    run(async {
        let allowed = ("allowed-cidrs", "203.0.113.0/24");
        let forwarded = [("x-forwarded-for", "203.0.113.7")];
        let distrusting = Site::start_with(Backend::Memory, &[allowed]).await.expect("a server");
        distrusting.call_with("GET", "/v1/hosts", &forwarded, None).await.error(403, "forbidden");
        let trusting = Site::start_with(Backend::Memory, &[allowed, ("trusted-proxies", "127.0.0.1")])
            .await
            .expect("a server");
        trusting.call_with("GET", "/v1/hosts", &forwarded, None).await.expect(200);
        trusting.get("/v1/hosts").await.error(403, "forbidden");
        let forged = [("x-forwarded-for", "203.0.113.7, 198.51.100.1")];
        trusting.call_with("GET", "/v1/hosts", &forged, None).await.error(403, "forbidden");
        let broken = [("x-forwarded-for", "nonsense")];
        let message = trusting.call_with("GET", "/v1/hosts", &broken, None).await.error(403, "forbidden");
        assert_eq!(message, "could not parse remote address");
    });
}

async fn scopes_say_what_a_key_may_do(site: Site) {
    site.create("t1").await;
    let (read, usual, admin) = (site.key(&["read"]).await, site.key(&[]).await, site.key(&["admin"]).await);
    let rows: [(&str, &str, Option<serde_json::Value>, [u16; 3]); 9] = [
        ("GET", "/v1/environments", None, [200, 200, 200]),
        ("GET", "/v1/hosts", None, [200, 200, 200]),
        ("GET", "/v1/dead-letters", None, [200, 200, 200]),
        ("POST", "/v1/environments/fuse-t1?action=exec", Some(json!({"cmd": ["true"]})), [403, 403, 200]),
        ("POST", "/v1/hosts/default?action=cordon", None, [403, 403, 204]),
        ("POST", "/v1/hosts/default?action=uncordon", None, [403, 403, 204]),
        ("POST", "/v1/environments/fuse-t1?action=rotate-token", None, [403, 204, 204]),
        ("GET", "/v1/api-keys", None, [403, 403, 403]),
        ("POST", "/v1/api-keys", None, [403, 403, 403]),
    ];
    for (method, path, body, expected) in rows {
        for (key, expected) in [&read, &usual, &admin].into_iter().zip(expected) {
            let reply = site.call_as(key, method, path, body.clone()).await;
            assert_eq!(reply.status, expected, "{method} {path}: {}", reply.text());
            if expected == 403 {
                reply.error(403, "unauthorized");
            }
        }
    }
}

#[test]
fn rates_are_limited_by_address_by_key_and_by_failure() {
    run(async {
        let site = Site::start_with(Backend::Memory, &[("rate-limit-per-key", "2")]).await.expect("a server");
        let mut refused = 0;
        for _ in 0..12 {
            let reply = site.get("/v1/hosts").await;
            if reply.status == 429 {
                reply.error(429, "rate_limited");
                assert!(reply.header("retry-after").parse::<u64>().expect("seconds") >= 1);
                refused += 1;
            }
        }
        assert!(refused >= 4, "{refused} of 12 were refused");
        let other = site.call_as("wrong", "GET", "/v1/hosts", None).await;
        other.error(401, "unauthorized");

        let site =
            Site::start_with(Backend::Memory, &[("auth-failures-per-minute", "3")]).await.expect("a server");
        for _ in 0..3 {
            site.call_as("wrong", "GET", "/v1/hosts", None).await.error(401, "unauthorized");
        }
        site.call_as("wrong", "GET", "/v1/hosts", None).await.error(429, "rate_limited");
        site.get("/v1/hosts").await.error(429, "rate_limited");
        site.get("/health").await.expect(200);

        let site =
            Site::start_with(Backend::Memory, &[("rate-limit-per-address", "1")]).await.expect("a server");
        let mut statuses = Vec::new();
        for _ in 0..6 {
            statuses.push(site.raw(request("GET", "/nothing", &[], None)).await.status);
        }
        assert!(statuses.contains(&404) && statuses.contains(&429), "{statuses:?}");
    });
}

/// Once for an address in a minute: whoever is refused cannot fill the log.
async fn refusals_are_in_the_log_of_events(site: Site) {
    for _ in 0..5 {
        site.call_as("wrong", "GET", "/v1/hosts", None).await.error(401, "unauthorized");
    }
    let mut told = serde_json::Value::Null;
    for _ in 0..100 {
        told = site.get("/v1/events?subject_kind=address&subject_id=127.0.0.1").await.expect(200).json();
        if told["events"].as_array().is_some_and(|events| !events.is_empty()) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(told["events"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(told["events"][0]["event"], "auth.failed");
    assert_eq!(told["events"][0]["subject"], json!({"kind": "address", "id": "127.0.0.1"}));
    assert!(!told.to_string().contains("wrong"));
}
