//! `inboxd serve`: configuration, telemetry, listeners, ready line, work, stop.
//!
//! Not here: what is behind the listeners (`wire`).

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::config::{AuthKeys, Config};
use crate::wire::Addresses;
use crate::{Failure, cli, open_files, shutdown, telemetry, wire};

pub(crate) fn run(config: Option<PathBuf>) -> Result<(), Failure> {
    let config = cli::load(config)?;
    let runtime = prepare(&config)?;
    let result = runtime.block_on(async {
        shutdown::outlive_hangups(config.tls.is_some()).map_err(cannot_catch)?;
        until_stopped(&config, |_| Ok(String::new())).await
    });
    finish(runtime, &config);
    result
}

/// What has to stand before anything runs: logs, TLS provider, threads.
pub(crate) fn prepare(config: &Config) -> Result<Runtime, Failure> {
    if let AuthKeys::Jwks(_) = config.auth {
        let what = "auth.jwks_url: this build cannot fetch keys yet; use hs256_secret_file, or neither";
        return Err(Failure::Usage(what.to_owned()));
    }
    telemetry::init_logs(&config.log)?;
    open_files::raise(config.mqtt.connections_max.saturating_add(config.listen.http_connections_max));
    // Every TLS connection of this process, in and out, uses this provider.
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| Failure::Failed("another TLS provider is installed".to_owned()))?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Failed(format!("cannot start threads: {e}")))
}

/// Ends the threads. What is stuck in a blocking call must not hold the process beyond its grace.
pub(crate) fn finish(runtime: Runtime, config: &Config) {
    runtime.shutdown_timeout(Duration::from_millis(config.mqtt.shutdown_grace_ms));
}

/// Runs a server until it is told to stop. `after_ready` is called when every listener accepts, and gives what is to
/// be printed below the ready line.
pub(crate) async fn until_stopped(
    config: &Config,
    after_ready: impl FnOnce(&Addresses) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let mut stop = shutdown::on_signals().map_err(cannot_catch)?;
    let metrics = telemetry::init_metrics()?;
    let mut server = wire::start(config, metrics).await?;
    let addresses = server.addresses();
    warn_of_plain_listeners(config, addresses);
    print_ready(addresses, &after_ready(addresses)?);
    tracing::info!(mqtt = %addresses.mqtt, http = %addresses.http, admin = %addresses.admin, "ready");
    tokio::select! {
        () = stop.requested() => {}
        failure = server.failed() => return Err(failure),
    }
    server.stop(Duration::from_millis(config.mqtt.shutdown_grace_ms)).await;
    tracing::info!("stopped");
    Ok(())
}

fn cannot_catch(error: std::io::Error) -> Failure {
    Failure::Failed(format!("cannot catch signals: {error}"))
}

fn warn_of_plain_listeners(config: &Config, addresses: &Addresses) {
    let proxied = !config.listen.trusted_proxies.is_empty();
    let plain = [
        ("mqtt", addresses.mqtt, addresses.mqtts.is_none()),
        ("http", addresses.http, !config.listen.http_tls),
    ];
    for (listener, address, is_plain) in plain {
        if is_plain && !proxied && !address.ip().is_loopback() {
            tracing::warn!(
                listener,
                %address,
                "this listener is not encrypted and other machines can reach it: tokens and messages can be read on the way; configure [tls], or name the proxy in front of it in listen.trusted_proxies"
            );
        }
    }
    if !addresses.admin.ip().is_loopback() {
        tracing::warn!(address = %addresses.admin, "other machines can reach the admin listener: its metrics are open to them");
    }
}

/// The first thing on standard output, when every listener accepts. Whoever started us may wait for it, or not.
fn print_ready(addresses: &Addresses, more: &str) {
    let mut out = std::io::stdout().lock();
    let Addresses { mqtt, mqtts, http, admin } = addresses;
    let mqtts = mqtts.map(|mqtts| format!(" mqtts={mqtts}")).unwrap_or_default();
    let _ = writeln!(out, "inboxd ready mqtt={mqtt} http={http} admin={admin}{mqtts}")
        .and_then(|()| out.write_all(more.as_bytes()))
        .and_then(|()| out.flush());
}
