//! Certificates of the listeners: read at start, and again when their files change, or at SIGHUP. No connection ends by it.
//!
//! Not here: TLS itself (`listener`).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use listener::{Pem, Tls};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{self, Config};
use crate::shutdown::Shutdown;
use crate::{Failure, metrics};

/// How often the files are looked at: three calls to the system, and whoever replaces a certificate watches.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What HTTP clients are offered; browsers that only speak HTTP/2 do not exist.
const HTTP_PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// Certificates in use.
pub(crate) struct Certificates {
    files: config::Tls,
    /// For MQTT. Whatever protocol name a client offers is fine: there is only one here.
    pub(crate) mqtts: Arc<Tls>,
    /// For HTTP.
    pub(crate) http: Arc<Tls>,
    /// As the files were when they were last read.
    seen: Vec<Option<Stamp>>,
}

/// What changes with a file.
type Stamp = (SystemTime, u64);

impl Certificates {
    /// Reads them for the first time.
    ///
    /// # Errors
    /// Naming the key whose file cannot be used.
    pub(crate) fn load(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(files) = config.tls.clone() else {
            return Ok(None);
        };
        let seen = stamps(&files);
        let pem = read(&files).map_err(Failure::Failed)?;
        let refused = |error| Failure::Failed(refusal(&files, &error));
        let mqtts = Arc::new(Tls::new(&pem, &[]).map_err(refused)?);
        let http = Arc::new(Tls::new(&pem, &HTTP_PROTOCOLS).map_err(refused)?);
        Ok(Some(Self { files, mqtts, http, seen }))
    }

    /// Looks after the files until the server stops. What cannot be used is said, and the old certificate stays.
    pub(crate) async fn watch(mut self, mut stop: Shutdown) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("cannot catch SIGHUP; certificates are read again when their files change");
            return self.look_for_ever(ticks, stop).await;
        };
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                _ = hangup.recv() => true,
                () = stop.requested() => return,
            };
            self.look(asked);
        }
    }

    async fn look_for_ever(mut self, mut ticks: tokio::time::Interval, mut stop: Shutdown) {
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look(false),
                () = stop.requested() => return,
            }
        }
    }

    fn look(&mut self, asked: bool) {
        // Before they are read: a file that changes meanwhile is read once more.
        let stamps = stamps(&self.files);
        if stamps == self.seen && !asked {
            return;
        }
        self.seen = stamps;
        let replaced = read(&self.files).and_then(|pem| {
            let refused = |error| refusal(&self.files, &error);
            self.mqtts.replace(&pem).map_err(refused)?;
            self.http.replace(&pem).map_err(refused)
        });
        metrics::count_tls_reload(replaced.is_ok());
        match replaced {
            Ok(()) => tracing::info!("new connections get the new certificate"),
            Err(error) => tracing::error!(%error, "the certificate stays the old one"),
        }
    }
}

fn paths(files: &config::Tls) -> impl Iterator<Item = &Path> {
    let clients = files.clients.as_ref().map(|(file, _)| file.as_path());
    [Some(files.cert_file.as_path()), Some(files.key_file.as_path()), clients].into_iter().flatten()
}

fn stamps(files: &config::Tls) -> Vec<Option<Stamp>> {
    paths(files)
        .map(|path| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        })
        .collect()
}

fn read(files: &config::Tls) -> Result<Pem, String> {
    let file = |key: &str, path: &Path| {
        std::fs::read(path).map_err(|error| format!("tls.{key}: cannot read {}: {error}", path.display()))
    };
    Ok(Pem {
        certificates: file("cert_file", &files.cert_file)?,
        key: file("key_file", &files.key_file)?,
        clients: match &files.clients {
            Some((path, wanted)) => Some((file("client_ca_file", path)?, *wanted)),
            None => None,
        },
    })
}

/// Which file it is about, and what is wrong with it.
fn refusal(files: &config::Tls, error: &listener::TlsError) -> String {
    use listener::TlsError::{Certificates, Clients, Config, Key, Pair};
    let (key, path) = match error {
        Certificates | Config(_) => ("cert_file", &files.cert_file),
        Key | Pair(_) => ("key_file", &files.key_file),
        Clients => ("client_ca_file", files.clients.as_ref().map_or(&files.cert_file, |(path, _)| path)),
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("tls.{key} {}: {error}{cause}", path.display())
}
