//! The composition root: makes every part and hands each the others that it needs. The only file that knows all.
//!
//! Not here: what a part does, the order of a process's life (`serve`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin::Admin;
use crate::config::Config;
use crate::shutdown::{self, Shutdown, Trigger};
use crate::{Failure, keys, web};

/// Bound, not yet accepting.
pub(crate) struct Listeners {
    pub(crate) mqtt: TcpListener,
    pub(crate) http: TcpListener,
    pub(crate) admin: TcpListener,
}

/// Where they are; the port is the real one also where the configuration says 0.
pub(crate) struct Addresses {
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Listeners {
    pub(crate) fn addresses(&self) -> Result<Addresses, Failure> {
        let address = |listener: &TcpListener| {
            listener
                .local_addr()
                .map_err(|e| Failure::Failed(format!("a listener has no address: {e}")))
        };
        Ok(Addresses {
            mqtt: address(&self.mqtt)?,
            http: address(&self.http)?,
            admin: address(&self.admin)?,
        })
    }
}

/// A running server.
pub(crate) struct Server {
    trigger: Trigger,
    tasks: JoinSet<()>,
}

/// Starts everything; when it returns, every listener accepts.
pub(crate) async fn start(
    config: &Config,
    listeners: Listeners,
    metrics: PrometheusHandle,
) -> Result<Server, Failure> {
    let (trigger, stop) = shutdown::channel();
    let mut tasks = JoinSet::new();
    keys::create_folder(&config.data_dir)
        .map_err(|e| Failure::Failed(format!("data_dir {}: {e}", config.data_dir.display())))?;
    let admin = Admin::new(metrics, Arc::new(|| Ok(())), &admin_token(config)?);
    spawn_http(&mut tasks, listeners.admin, admin.router(), stop.clone());
    spawn_http(&mut tasks, listeners.http, web::router(), stop);
    Ok(Server { trigger, tasks })
}

impl Server {
    /// Waits for a part that ends although nobody told it to; does not return while all is well.
    pub(crate) async fn failed(&self) -> Failure {
        std::future::pending().await
    }

    /// Stops accepting, lets requests in flight end, at most `grace`.
    pub(crate) async fn stop(mut self, grace: Duration) {
        self.trigger.stop();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}

/// The admin token, made at first start.
fn admin_token(config: &Config) -> Result<Vec<u8>, Failure> {
    let path = &config.admin.token_file;
    keys::read_or_create(path, keys::new_admin_token)
        .map_err(|e| Failure::Failed(format!("admin token {}: {e}", path.display())))
}

fn spawn_http(tasks: &mut JoinSet<()>, listener: TcpListener, router: axum::Router, mut stop: Shutdown) {
    tasks.spawn(async move {
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { stop.requested().await });
        if let Err(e) = served.await {
            tracing::error!(error = %e, "an http listener ended");
        }
    });
}
