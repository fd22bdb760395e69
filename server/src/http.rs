//! An HTTP listener with limits: how many connections at once, how long one may be silent, how large a head may be.
//!
//! Many connections that say nothing, or a letter a minute, are the cheapest attack there is (P8, P9).
//! Not here: routes, limits of bodies (whoever reads one), WebSocket connections after their upgrade (`broker`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::HeaderMap;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use listener::{Entrance, Peer, Stream, TrustedProxies, concerns_one_connection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics;
use crate::shutdown::Shutdown;

/// Most bytes of a request's head: a token has at most 8 KiB, browsers send a few more.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Pause after the system had no file descriptor left: trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Proxies write themselves behind the client here.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// How connections come in.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// TLS, PROXY headers.
    pub(crate) entrance: Entrance,
    /// Proxies whose `X-Forwarded-For` counts.
    pub(crate) proxies: Arc<TrustedProxies>,
    /// What they may do.
    pub(crate) limits: Limits,
}

/// What a listener lets happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once. More wait in the system's queue until one of these ends.
    pub(crate) connections_max: usize,
    /// Time for a TLS handshake.
    pub(crate) handshake: Duration,
    /// Time for the head of a request to arrive, the wait for the next request included.
    pub(crate) idle: Duration,
}

/// Serves until it is told to stop, then lets the requests under way end. Each request carries [`ConnectInfo`].
pub(crate) async fn serve(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    door: Door,
    mut stop: Shutdown,
) {
    let door = Arc::new(door);
    let room = Arc::new(Semaphore::new(door.limits.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = stop.requested() => break,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let (router, door, stop) = (router.clone(), Arc::clone(&door), stop.clone());
                tokio::spawn(async move {
                    let counted = metrics::count_connection(name);
                    if let Err(error) = welcome(stream, peer, router, &door, stop).await {
                        tracing::debug!(listener = name, error, "a connection ended early");
                    }
                    drop((counted, permit));
                });
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(listener = name, %error, "cannot accept connections");
                tokio::select! {
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                    () = stop.requested() => break,
                }
            }
        }
    }
    drop(listener);
    // All room is free again once the last connection has ended.
    let all = u32::try_from(door.limits.connections_max).unwrap_or(u32::MAX);
    let _ = room.acquire_many(all).await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Answers are small and somebody waits for each.
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}

/// Its handshake, then its requests. The error is for the log.
async fn welcome(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    door: &Door,
    stop: Shutdown,
) -> Result<(), String> {
    let (stream, peer) = if door.entrance.is_open(peer) {
        (Stream::Plain(stream), Peer { address: peer, secure: false })
    } else {
        let admitted = tokio::time::timeout(door.limits.handshake, door.entrance.admit(stream, peer));
        let admitted = admitted.await.map_err(|_| "no handshake in time".to_owned())?;
        admitted.map_err(|error| error.to_string())?
    };
    let proxies = Arc::clone(&door.proxies);
    let served = serve_connection(stream, peer, proxies, router, door.limits.idle, stop);
    served.await.map_err(|error| error.to_string())
}

/// Who a request comes from: the last one before our own proxies, each of which writes down who it heard it from.
/// Whatever a client claims stands further left.
fn client_of(headers: &HeaderMap, peer: Peer, proxies: &TrustedProxies) -> Peer {
    let mut address = peer.address;
    let chain = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let chain: Vec<&str> = chain.flat_map(|value| value.split(',')).collect();
    for name in chain.into_iter().rev() {
        if !proxies.contains(address.ip()) {
            break;
        }
        let Ok(ip) = name.trim().parse::<IpAddr>() else {
            break;
        };
        address = SocketAddr::new(ip, 0);
    }
    Peer { address, ..peer }
}

/// Serves one connection; when told to stop, only as far as the request under way.
async fn serve_connection(
    stream: Stream,
    peer: Peer,
    proxies: Arc<TrustedProxies>,
    router: Router,
    idle: Duration,
    mut stop: Shutdown,
) -> hyper::Result<()> {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let peer = client_of(request.headers(), peer, &proxies);
        request.extensions_mut().insert(ConnectInfo(peer.address));
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stop.requested() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::{Trigger, channel};
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    /// Only a fault waits that long.
    const DEADLINE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);

    struct Served {
        address: SocketAddr,
        trigger: Trigger,
        task: JoinHandle<()>,
    }

    async fn serve_with(connections_max: usize, idle: Duration) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, stop) = channel();
        let limits = Limits { connections_max, handshake: DAY, idle };
        let door = Door { entrance: Entrance::default(), proxies: Arc::default(), limits };
        let router = Router::new()
            .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }));
        let task = tokio::spawn(serve("test", listener, router, door, stop));
        Served { address, trigger, task }
    }

    /// Asks on an open connection and reads as far as the answer's body.
    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let body = stream.local_addr().unwrap().to_string();
        let mut answer = Vec::new();
        while !answer.ends_with(body.as_bytes()) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed");
        }
        String::from_utf8(answer).unwrap()
    }

    async fn is_closed(stream: &mut TcpStream) -> bool {
        stream.read(&mut [0; 1]).await.map_or(true, |read| read == 0)
    }

    #[tokio::test]
    async fn requests_are_answered_and_know_their_peer() {
        let served = serve_with(2, DAY).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        for _ in 0..2 {
            assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed_about_others() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let of = |peer: &str, chain: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in chain {
                headers.append(FORWARDED_FOR, value.parse().unwrap());
            }
            let peer = Peer { address: peer.parse().unwrap(), secure: true };
            client_of(&headers, peer, &proxies).address.ip().to_string()
        };
        assert_eq!(of("192.0.2.1:5", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(of("10.0.0.1:5", &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1:5", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1:5", &["198.51.100.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1:5", &["198.51.100.1", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1:5", &["203.0.113.9, unknown"]), "10.0.0.1");
    }

    #[tokio::test]
    async fn p8_one_more_than_the_limit_waits_until_another_ends() {
        let served = serve_with(1, DAY).await;
        let mut first = TcpStream::connect(served.address).await.unwrap();
        ask(&mut first).await;
        let mut second = TcpStream::connect(served.address).await.unwrap();
        let waiting = tokio::spawn(async move { ask(&mut second).await });
        // The first is served again and again while the second waits: it has no room.
        for _ in 0..10 {
            ask(&mut first).await;
        }
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200"));
    }

    #[tokio::test(start_paused = true)]
    async fn p9_silence_and_half_a_head_end_the_connection() {
        let served = serve_with(8, DAY).await;
        for said in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"] {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            stream.write_all(said).await.unwrap();
            let ended = tokio::time::timeout(2 * DAY, read_to_end(&mut stream)).await;
            assert!(ended.is_ok(), "{said:?}");
        }
    }

    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut rest = String::new();
        let _ = stream.read_to_string(&mut rest).await;
        rest
    }

    #[tokio::test]
    async fn p9_a_head_without_end_is_refused() {
        let served = serve_with(8, DAY).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));
        // The refusal may come, and the connection end, before all of it is written.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = read_to_end(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn a_stop_ends_idle_connections_and_takes_no_new_ones() {
        let served = serve_with(8, DAY).await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        ask(&mut idle).await;
        served.trigger.stop();
        tokio::time::timeout(DEADLINE, served.task).await.expect("ended").unwrap();
        assert!(is_closed(&mut idle).await);
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
