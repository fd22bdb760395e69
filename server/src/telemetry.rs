//! Logs on standard error, metrics for `/metrics`: the process-wide subscribers, set once.
//!
//! Not here: the metrics themselves (`metrics.rs` of each crate), serving them (`admin`).

use std::io::IsTerminal;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::Failure;
use crate::config::{Log, LogFormat};

/// From a commit in memory (100 µs) to a customer's phone that was off (a minute); about 2.5 steps a decade.
const SECONDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];
/// Rows and events: from one to the largest commit group, in powers of two.
const COUNTS: [f64; 14] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];
/// Bytes: from a PUBACK to the largest packet, in powers of four.
const BYTES: [f64; 12] = [
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
];
/// How often samples are moved into their buckets, so that their queue stays short where nobody scrapes (P8).
const UPKEEP: Duration = Duration::from_secs(5);

/// What libraries say at `info` is of use to their makers; `log.level` can still ask for it by name.
const QUIET: &str = "fjall=warn,lsm_tree=warn,rumqttd=warn";

/// Starts logging.
pub(crate) fn init_logs(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::builder()
        .parse(format!("{QUIET},{}", log.level))
        .map_err(|e| Failure::Usage(format!("log.level: {e}")))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    }
    .map_err(|e| Failure::Failed(format!("cannot start logging: {e}")))
}

/// Starts metrics. To be called once per process, inside its runtime.
pub(crate) fn init_metrics() -> Result<PrometheusHandle, Failure> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)
        .map_err(|e| Failure::Failed(format!("cannot start metrics: {e}")))?;
    describe();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

fn recorder() -> Result<metrics_exporter_prometheus::PrometheusRecorder, Failure> {
    let mut builder = PrometheusBuilder::new();
    for (suffix, buckets) in
        [("_seconds", &SECONDS[..]), ("_rows", &COUNTS[..]), ("_events", &COUNTS[..]), ("_bytes", &BYTES[..])]
    {
        builder = builder
            .set_buckets_for_metric(Matcher::Suffix(suffix.to_owned()), buckets)
            .map_err(|e| Failure::Failed(format!("cannot start metrics: {e}")))?;
    }
    Ok(builder.build_recorder())
}

/// What the metrics mean that no part describes when it starts.
fn describe() {
    auth_hook::metrics::describe();
    broker::describe_metrics();
    store::metrics::describe();
    crate::metrics::describe();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_rows_and_bytes_have_buckets_and_not_quantiles() {
        let recorder = recorder().unwrap();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("inboxd_store_commit_seconds").record(0.0003);
            metrics::histogram!("inboxd_store_commit_rows").record(3.0);
            metrics::histogram!("inboxd_broker_packet_bytes").record(100.0);
        });
        let text = handle.render();
        for line in [
            "inboxd_store_commit_seconds_bucket{le=\"0.0005\"} 1",
            "inboxd_store_commit_rows_bucket{le=\"4\"} 1",
            "inboxd_broker_packet_bytes_bucket{le=\"256\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("quantile"), "{text}");
    }
}
