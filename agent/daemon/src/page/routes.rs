//! Routes of the local pages. Every router is made of these, so there is one list of all doors, and a test that goes from
//! door to door (`lectern routes`). All of them stand behind [`super::guard`].

use axum::Router;
use axum::handler::Handler;
use axum::routing::{get, post};
use serde::Serialize;

/// One door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Its path, with `{names}`.
    pub path: &'static str,
}

/// Routes.
pub struct Routes<S> {
    router: Router<S>,
    list: Vec<Route>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { router: Router::new(), list: Vec::new() }
    }

    /// `GET path`.
    #[must_use]
    pub fn get<T: 'static>(mut self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.list.push(Route { method: "GET", path });
        self.router = self.router.route(path, get(handler));
        self
    }

    /// `POST path`.
    #[must_use]
    pub fn post<T: 'static>(mut self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.list.push(Route { method: "POST", path });
        self.router = self.router.route(path, post(handler));
        self
    }

    /// Every door.
    #[must_use]
    pub fn list(self) -> Vec<Route> {
        self.list
    }

    /// The router.
    pub fn router(self) -> Router<S> {
        self.router
    }
}
