//! Reading bodies: whole, within a size and a time.

use axum::{
    extract::Request,
    http::{StatusCode, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::{
    answer::{Answer, Failure},
    api::Api,
};

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413 beyond the limit, whether or not the length was told before; 408 when it takes too long; 400 when it breaks off.
pub(crate) async fn bytes(api: &Api, request: Request, limit: usize) -> Answer<Bytes> {
    let told =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if told.is_some_and(|length: u64| length > limit as u64) {
        return Err(Failure::too_large("the request body", limit));
    }
    let read = Limited::new(request.into_body(), limit).collect();
    match tokio::time::timeout(api.config.body_timeout, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Failure::too_large("the request body", limit))
        }
        Ok(Err(_)) => Err(Failure::invalid("the request body broke off")),
        Err(_) => {
            let seconds = api.config.body_timeout.as_secs_f32();
            let message = format!("the request body did not come within {seconds} s");
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "invalid_argument", message))
        }
    }
}

/// Reads a JSON body that must be there.
///
/// # Errors
/// As [`bytes`], and 400 when it is not JSON of the right shape.
pub(crate) async fn json<T: DeserializeOwned>(api: &Api, request: Request, limit: usize) -> Answer<T> {
    parse(&bytes(api, request, limit).await?)
}

/// Parses a JSON body. `null` stands for what was left out.
///
/// # Errors
/// 400 whose message begins with `invalid JSON body:` and repeats nothing of the body.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    // An array would pass as the members of an object in their order.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first != b'{') {
        return Err(Failure::invalid("invalid JSON body: it is not an object"));
    }
    let error = match serde_json::from_slice(body) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if error.is_data() && mentions_null(body) {
        let value: Result<serde_json::Value, _> = serde_json::from_slice(body);
        if let Ok(value) = value
            && let Ok(value) = serde_json::from_value(without_nulls(value))
        {
            return Ok(value);
        }
    }
    Err(Failure::invalid(format!("invalid JSON body: {}", describe(&error))))
}

/// As [`parse`], of a body that may be empty.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_optional<T: DeserializeOwned + Default>(body: &[u8]) -> Answer<T> {
    if body.iter().all(u8::is_ascii_whitespace) { Ok(T::default()) } else { parse(body) }
}

fn mentions_null(body: &[u8]) -> bool {
    body.windows(4).any(|window| window == b"null")
}

fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// What is wrong with the JSON, without the value that was found: it could be a secret.
fn describe(error: &serde_json::Error) -> String {
    let place = format!("at line {} column {}", error.line(), error.column());
    if !error.is_data() {
        let kind = if error.is_eof() { "it ends too early" } else { "it is not JSON" };
        return format!("{kind} {place}");
    }
    let text = error.to_string();
    let expected = text.rfind(", expected ").and_then(|at| text.get(at + 2..));
    let expected = expected.and_then(|tail| tail.rsplit_once(" at line ")).map(|(what, _)| what);
    if let Some(expected) = expected {
        return format!("a value of the wrong kind, {expected}, {place}");
    }
    match text.rsplit_once(" at line ") {
        // Names of members that are missing are ours.
        Some((what, _)) if what.starts_with("missing field") => format!("{what} {place}"),
        _ => format!("a value that cannot be {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fuse_orchestrator::wire::CreateEnvironment;

    fn message(body: &str) -> String {
        parse::<CreateEnvironment>(body.as_bytes()).unwrap_err().message
    }

    #[test]
    fn errors_repeat_nothing_of_the_body() {
        for body in [
            r#"{"spec":"hush-hush"}"#,
            r#"{"secrets":["hush-hush"]}"#,
            r#"{"secrets":{"a":{"hush-hush":1}}}"#,
            r#"{"task_id":"x","secrets":{"a":"hush-hush"}"#,
            r#"{"spec":{"cpus":"hush-hush, expected hush-hush"}}"#,
        ] {
            let text = message(body);
            assert!(text.starts_with("invalid JSON body: ") && !text.contains("hush"), "{text}");
        }
        assert!(message("{\"spec\":{\"cpus\":\"x\"}}").contains("expected i64"));
        assert!(message("").contains("ends too early"));
    }

    #[test]
    fn nulls_are_what_was_left_out() {
        let body = br#"{"task_id":"t","spec":{"region":null},"secrets":null,"files":{"/a":null}}"#;
        let request: CreateEnvironment = parse(body).unwrap();
        assert_eq!(request.task_id, "t");
        assert!(request.files.is_empty());
    }
}
