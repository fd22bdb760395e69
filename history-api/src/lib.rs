//! S1–S4: history, snapshots and commands over HTTP, under `/v1`. What MQTT pushes can be read back here from any
//! point, and what an outbox takes can be posted here with the same effect (P4).
//!
//! | route | file |
//! |---|---|
//! | `GET /v1/sync` | `routes/sync` |
//! | `GET /v1/conversations`, `/{id}`, `/{id}/messages` · `GET /v1/messages/{id}` | `routes/read` |
//! | `POST /v1/messages` · `POST /v1/conversations/{id}/read` | `routes/command` |
//!
//! No cross-origin headers: the web inbox is served from the same origin. Nothing is decided here about who may see
//! what: the token names account and user, the store gives their rows only (P7).
//! Not here: logins, media, administration.

mod auth;
mod config;
mod error;
pub mod metrics;
mod page;
mod routes;

use std::sync::Arc;

use auth_hook::Auth;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get, post};
use schemas::ErrorCode;
use store::Store;

pub use config::{COMMAND_BYTES_MAX, Config};

use error::ApiError;
use routes::{command, read, sync};

/// Where the time comes from: microseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What every route needs.
struct App {
    config: Config,
    store: Arc<dyn Store>,
    auth: Arc<dyn Auth>,
    clock: Clock,
}

/// All routes, absolute (`/v1/…`), to be merged into the router of the listener.
pub fn router(config: Config, store: Arc<dyn Store>, auth: Arc<dyn Auth>, clock: Clock) -> Router {
    metrics::describe();
    let limit = DefaultBodyLimit::max(config.command_bytes_max);
    let app = Arc::new(App { config, store, auth, clock });
    Router::new()
        .route("/v1/sync", get(sync::sync))
        .route("/v1/conversations", get(read::conversations))
        .route("/v1/conversations/{id}", get(read::conversation))
        .route("/v1/conversations/{id}/messages", get(read::messages))
        .route("/v1/conversations/{id}/read", post(command::read_up_to))
        .route("/v1/messages", post(command::send))
        .route("/v1/messages/{id}", get(read::message))
        .route("/v1", any(unknown))
        .route("/v1/", any(unknown))
        .route("/v1/{*rest}", any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .layer(limit)
        .route_layer(from_fn_with_state(Arc::clone(&app), measure))
        .with_state(app)
}

async fn unknown() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such route")
}

async fn wrong_method() -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, "this route does not take this method")
}

async fn measure(State(app): State<Arc<App>>, path: MatchedPath, request: Request, next: Next) -> Response {
    let began = (app.clock)();
    let response = next.run(request).await;
    metrics::observe_request(path.as_str(), response.status(), (app.clock)().saturating_sub(began));
    response
}

#[cfg(test)]
mod tests;
