//! Layer `prometheus`: a real Prometheus scrapes the release binary, finds every metric of the contract and
//! evaluates the alert rules. promtool reads files; only this shows that names and labels meet.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::context::{Context, tool};
use crate::deploy::dashboards;
use crate::layer::{Layer, Outcome};

pub(crate) const LAYER: Layer = Layer { name: "prometheus", run };

/// Enough for a start, a scrape (1 s) and an evaluation (1 s) on a machine that is busy with other builds.
const DEADLINE: Duration = Duration::from_secs(60);
/// Of each log, on failure.
const LOG_LINES: usize = 15;
/// Between two looks at Prometheus.
const POLL: Duration = Duration::from_millis(250);
/// No answer of Prometheus here is longer than a few KiB; this ends a hang.
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);
/// The target in deploy/prometheus/prometheus.yml, replaced by the port of this run.
const SHIPPED_TARGET: &str = "localhost:9464";

fn run(context: &Context) -> Outcome {
    let binary = context.release_binary();
    if !binary.is_file() {
        return Outcome::Skipped(format!("{} is not built", binary.display()));
    }
    if tool(&["prometheus"]).is_none() {
        return Outcome::Skipped("prometheus is not installed".into());
    }
    let folder = context.target.join(format!("prometheus-{}", std::process::id()));
    let result = fs::create_dir_all(&folder)
        .map_err(|e| format!("cannot make {}: {e}", folder.display()))
        .and_then(|()| scrape(context, &binary, &folder));
    if result.is_err() {
        show_logs(&folder);
    }
    let _ = fs::remove_dir_all(&folder);
    result.into()
}

fn scrape(context: &Context, binary: &Path, folder: &Path) -> Result<(), String> {
    let (_inboxd, admin) = start_inboxd(binary, folder)?;
    let (_prometheus, address) = start_prometheus(context, folder, admin)?;
    let (_, wanted) = dashboards::known_metrics(&context.root).ok_or("no document lists the metrics")?;
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    within_deadline(|| every_metric_is_there(address, &wanted))?;
    within_deadline(|| rules_are_well(address))
}

/// Asks again until it holds; the last reason why not, if it never does.
fn within_deadline(holds: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let end = Instant::now() + DEADLINE;
    loop {
        match holds() {
            Err(_) if Instant::now() < end => std::thread::park_timeout(POLL),
            result => return result,
        }
    }
}

/// The folder goes away, so what the two processes said last is shown before.
fn show_logs(folder: &Path) {
    for name in ["inboxd.log", "prometheus.log"] {
        let log = fs::read_to_string(folder.join(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
            println!("  {name}: {line}");
        }
    }
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The demo on free ports; its ready line names the admin listener.
fn start_inboxd(binary: &Path, folder: &Path) -> Result<(Running, SocketAddr), String> {
    let mut command = Command::new(binary);
    command.args(["demo", "--data-dir"]).arg(folder.join("inboxd"));
    for listener in ["MQTT", "HTTP", "ADMIN"] {
        command.env(format!("INBOXD_LISTEN__{listener}"), "127.0.0.1:0");
    }
    let log = fs::File::create(folder.join("inboxd.log")).map_err(|e| format!("no log file: {e}"))?;
    command.stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
    let output = child.stdout.take().ok_or("inboxd has no standard output")?;
    let running = Running(child);
    let line = first_line(output)?;
    let admin = admin_address(&line).ok_or(format!("no admin address in {line:?}"))?;
    Ok((running, admin))
}

/// The rest is read too and thrown away: a program whose standard output is closed may not survive its next line.
fn first_line(output: impl Read + Send + 'static) -> Result<String, String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let _ = sender.send(lines.next());
        lines.for_each(drop);
    });
    match receiver.recv_timeout(DEADLINE) {
        Ok(Some(line)) => Ok(line),
        Ok(None) => Err("inboxd ended before it was ready".into()),
        Err(_) => Err(format!("inboxd was not ready within {} s", DEADLINE.as_secs())),
    }
}

/// From `inboxd ready mqtt=… http=… admin=127.0.0.1:9464`.
fn admin_address(ready: &str) -> Option<SocketAddr> {
    ready.split_whitespace().find_map(|word| word.strip_prefix("admin="))?.parse().ok()
}

/// Prometheus with the shipped configuration, but our ports, our paths and a quicker pulse.
fn start_prometheus(
    context: &Context,
    folder: &Path,
    target: SocketAddr,
) -> Result<(Running, SocketAddr), String> {
    let shipped = context.root.join("deploy/prometheus");
    let text =
        fs::read_to_string(shipped.join("prometheus.yml")).map_err(|e| format!("prometheus.yml: {e}"))?;
    if !text.contains(SHIPPED_TARGET) {
        return Err(format!("deploy/prometheus/prometheus.yml has no target {SHIPPED_TARGET}"));
    }
    let rules = shipped.join("alerts.yaml");
    let text = text
        .replace(SHIPPED_TARGET, &target.to_string())
        .replace("alerts.yaml", &rules.to_string_lossy())
        .replace("_interval: 15s", "_interval: 1s");
    let config = folder.join("prometheus.yml");
    fs::write(&config, text).map_err(|e| format!("cannot write {}: {e}", config.display()))?;
    let address = free_address().map_err(|e| format!("no free port: {e}"))?;
    let log = fs::File::create(folder.join("prometheus.log")).map_err(|e| format!("no log file: {e}"))?;
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|e| format!("cannot start prometheus: {e}"))?;
    Ok((Running(child), address))
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Prometheus has a series of each of `wanted`.
fn every_metric_is_there(address: SocketAddr, wanted: &[&str]) -> Result<(), String> {
    let answer = get(address, "/api/v1/label/__name__/values")?;
    let stored: Vec<&str> =
        answer["data"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_stored =
        |name: &str| stored.contains(&name) || stored.contains(&format!("{name}_bucket").as_str());
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !is_stored(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("never scraped: {}", missing.join(", "))) }
}

/// Every rule was evaluated, without an error.
fn rules_are_well(address: SocketAddr) -> Result<(), String> {
    let answer = get(address, "/api/v1/rules")?;
    let groups = answer["data"]["groups"].as_array().into_iter().flatten();
    let rules: Vec<&Value> = groups.flat_map(|g| g["rules"].as_array().into_iter().flatten()).collect();
    if rules.is_empty() {
        return Err("prometheus has loaded no rules".into());
    }
    match rules.iter().find(|rule| rule["health"] != "ok") {
        Some(rule) => Err(format!("rule {} is {}: {}", rule["name"], rule["health"], rule["lastError"])),
        None => Ok(()),
    }
}

/// HTTP/1.0, so that the answer ends with the connection and is not in chunks.
fn get(address: SocketAddr, path: &str) -> Result<Value, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, HTTP_TIMEOUT)?;
        stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let answer = ask().map_err(|e| format!("prometheus does not answer {path}: {e}"))?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or(format!("no body in the answer to {path}"))?;
    serde_json::from_str(body).map_err(|e| format!("the answer to {path} is no JSON: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_the_admin_listener() {
        let line = "inboxd ready mqtt=127.0.0.1:1883 http=127.0.0.1:8080 admin=127.0.0.1:9464\n";
        assert_eq!(admin_address(line), "127.0.0.1:9464".parse().ok());
        assert_eq!(admin_address("Error: port in use"), None);
    }
}
