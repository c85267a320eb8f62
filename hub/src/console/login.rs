//! Logging in and out. One administrator, a session cookie, few wrong passwords.

use std::collections::HashMap;
use std::sync::PoisonError;

use askama::Template;
use axum::Form;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use lectern_base::{chance, clock};
use serde::Deserialize;

use super::guard::{COOKIE, token};
use super::{Console, Oops, show};
use crate::door::Peer;
use crate::store::certificates::Came;
use crate::store::people;

/// How long a session holds.
const SESSION_MS: i64 = 12 * 3600 * 1000;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    school: &'a str,
    next: &'a str,
    fault: &'a str,
}

/// The form.
pub async fn page(State(console): State<Console>, Query(query): Query<HashMap<String, String>>) -> Response {
    let next = query.get("next").map_or("/", |n| own_path(n));
    show(&LoginPage { school: &console.school, next, fault: "" })
}

/// Only a path of this console is gone to after logging in.
fn own_path(next: &str) -> &str {
    let ok = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n']);
    if ok { next } else { "/" }
}

/// What the form sends.
#[derive(Deserialize)]
pub struct Entry {
    password: String,
    #[serde(default)]
    next: String,
}

/// Checks the password.
pub async fn enter(
    State(console): State<Console>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Form(entry): Form<Entry>,
) -> Result<Response, Oops> {
    let (now, from) = (clock::wall_ms(), peer.address);
    let next = own_path(&entry.next).to_owned();
    let again = |status: StatusCode, fault: &str| {
        let page = show(&LoginPage { school: &console.school, next: &next, fault });
        (status, page).into_response()
    };
    let attempts = &console.inner.attempts;
    if !attempts.lock().unwrap_or_else(PoisonError::into_inner).begin(from.ip(), now) {
        tracing::warn!(%from, "too many wrong passwords");
        return Ok(again(StatusCode::TOO_MANY_REQUESTS, "密码错得太多，请 5 分钟后再试。"));
    }
    let stored = console.store.read(people::password_hash).await?;
    let permit = console.inner.hashing.acquire().await;
    let fits = tokio::task::spawn_blocking(move || stored.is_some_and(|s| people::fits(&entry.password, &s)))
        .await?;
    drop(permit);
    if !fits {
        tracing::info!(%from, "a wrong password");
        return Ok(again(StatusCode::UNAUTHORIZED, "密码不对，请再试一次。"));
    }
    attempts.lock().unwrap_or_else(PoisonError::into_inner).right(from.ip());
    let token = chance::hex::<32>();
    // A cookie that was given by TLS never leaves by another way.
    let secure = if peer.came == Came::Plain { "" } else { "; Secure" };
    let cookie =
        format!("{COOKIE}={token}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", SESSION_MS / 1000);
    console
        .store
        .write(move |db| people::open_session(db, &token, people::ADMIN, now + SESSION_MS, now))
        .await?;
    tracing::info!(%from, "logged in");
    Ok(with_cookie(Redirect::to(&next).into_response(), &cookie))
}

/// Ends the session.
pub async fn leave(State(console): State<Console>, headers: HeaderMap) -> Result<Response, Oops> {
    if let Some(token) = token(&headers) {
        console.store.write(move |db| people::close_session(db, &token)).await?;
    }
    let gone = format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    Ok(with_cookie(Redirect::to("/login").into_response(), &gone))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logging_in_leads_to_this_console_only() {
        for bad in ["//evil.example", "https://evil.example", "", "/\\evil", "javascript:0"] {
            assert_eq!(own_path(bad), "/");
        }
        assert_eq!(own_path("/lessons/l1"), "/lessons/l1");
    }
}
