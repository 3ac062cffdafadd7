//! The cookie for browsers.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Response, StatusCode, header},
};
use fuse_orchestrator::wire::{ErrorBody, Login, route};

use crate::{
    answer::{Answer, Failure, empty},
    api::Api,
    auth::session_cookie,
    body,
    layers::address_of,
};

#[utoipa::path(post, path = "/login", tag = "service", request_body = Login,
    responses((status = 204, description = "Logged in: the cookie is set. Without a master token there is nothing to log in to, and no cookie."),
              (status = 400, description = "The body is not what it should be.", body = ErrorBody),
              (status = 401, description = "The token is not the master token.", body = ErrorBody),
              (status = 403, description = "The address is not in the list of allowed networks.", body = ErrorBody),
              (status = 408, description = "The body took too long.", body = ErrorBody),
              (status = 413, description = "The body is larger than 4 KiB.", body = ErrorBody),
              (status = 429, description = "Too many requests.", body = ErrorBody)))]
/// Exchanges the master token for a cookie. API keys are not taken.
pub(super) async fn login(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let address = address_of(&request);
    let login: Login = body::json(&api, request, route::LOGIN_BYTES).await?;
    let Some(master) = &api.master else { return Ok(empty(StatusCode::NO_CONTENT)) };
    api.check_failures(address)?;
    if !master.matches(&login.token.0) {
        api.note_failure(address);
        return Err(Failure::unauthorized("invalid token"));
    }
    let cookie = session_cookie(Some(&login.token.0), api.config.secure_cookies)
        .ok_or_else(|| Failure::internal("the master token has characters that a cookie cannot carry"))?;
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

#[utoipa::path(post, path = "/logout", tag = "service",
    responses((status = 204, description = "The cookie is gone."),
              (status = 403, description = "The address is not in the list of allowed networks.", body = ErrorBody),
              (status = 429, description = "Too many requests.", body = ErrorBody)))]
/// Takes the cookie away.
pub(super) async fn logout(State(api): State<Arc<Api>>) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    if let Some(cookie) = session_cookie(None, api.config.secure_cookies) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
