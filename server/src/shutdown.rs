//! The order to stop: SIGTERM or SIGINT once, seen by everybody who holds a [`Shutdown`]; and SIGHUP, which is none.
//!
//! Not here: what stopping consists of (`wire`).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Becomes true once and stays so.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

/// Gives the order.
#[derive(Debug)]
pub(crate) struct Trigger(watch::Sender<bool>);

/// A new order that nobody has given yet.
pub(crate) fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Gives the order. Giving it again changes nothing.
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Waits for the order; returns at once where it was given. An order that can no longer be given counts as given.
    pub(crate) async fn requested(&mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// Turns SIGTERM and SIGINT into the order. A second signal ends the process at once: somebody is in a hurry.
pub(crate) fn on_signals() -> io::Result<Shutdown> {
    let (trigger, shutdown) = channel();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping");
        trigger.stop();
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("a second signal: not waiting for what is in flight");
        std::process::exit(1);
    });
    Ok(shutdown)
}

/// From now on SIGHUP does not end the process, which it does where nobody catches it: an operator may send it to every
/// server he has. Where there are certificates, those who look after them read them again. Not for the demo: it goes with
/// its terminal.
pub(crate) fn outlive_hangups(has_certificates: bool) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if !has_certificates {
                tracing::info!("SIGHUP: there are no certificates to read again, and nothing else is");
            }
        }
    });
    Ok(())
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_order_reaches_those_who_wait_and_those_who_come_later() {
        let (trigger, shutdown) = channel();
        let mut early = shutdown.clone();
        let waiting = tokio::spawn(async move { early.requested().await });
        trigger.stop();
        waiting.await.unwrap();
        shutdown.clone().requested().await;
    }
}
