//! Routes of the hub, each with who may use it. Every router is made of these, so there is one list of all doors, and a test
//! that goes from door to door (`lectern-hub routes`).

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, post, put};
use serde::Serialize;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Everybody: it tells nothing of rooms, lessons and people.
    Everybody,
    /// A device, by its account; of what belongs to a device, its own.
    Device,
    /// Who holds a grant for just these bytes.
    Grant,
    /// Who knows an enrolment code.
    Token,
    /// Who is logged in at the console.
    Console,
    /// Who is logged in at the console, and programs on this machine.
    Here,
}

/// One door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// `GET`, `POST` …
    pub method: &'static str,
    /// Its path, with `{names}`.
    pub path: String,
    /// Who may use it.
    pub who: Who,
}

/// Routes below a path.
pub struct Routes<S> {
    below: &'static str,
    router: Router<S>,
    list: Vec<Route>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet. Paths begin after `below`.
    #[must_use]
    pub fn below(below: &'static str) -> Self {
        Self { below, router: Router::new(), list: Vec::new() }
    }

    fn door(mut self, method: &'static str, who: Who, path: &'static str, handler: MethodRouter<S>) -> Self {
        self.list.push(Route { method, path: format!("{}{path}", self.below), who });
        self.router = self.router.route(path, handler);
        self
    }

    /// `GET path`.
    #[must_use]
    pub fn get<T: 'static>(self, who: Who, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.door("GET", who, path, get(handler))
    }

    /// `POST path`.
    #[must_use]
    pub fn post<T: 'static>(self, who: Who, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.door("POST", who, path, post(handler))
    }

    /// `POST path`, with a body of up to so many bytes.
    #[must_use]
    pub fn post_up_to<T: 'static>(
        self,
        most: usize,
        who: Who,
        path: &'static str,
        handler: impl Handler<T, S>,
    ) -> Self {
        self.door("POST", who, path, post(handler).layer(DefaultBodyLimit::max(most)))
    }

    /// `PUT path`.
    #[must_use]
    pub fn put<T: 'static>(self, who: Who, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.door("PUT", who, path, put(handler))
    }

    /// `DELETE path`.
    #[must_use]
    pub fn delete<T: 'static>(self, who: Who, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.door("DELETE", who, path, delete(handler))
    }

    /// Every door.
    #[must_use]
    pub fn list(self) -> Vec<Route> {
        self.list
    }

    /// The router; its paths begin after what they are below.
    pub fn router(self) -> Router<S> {
        self.router
    }
}
