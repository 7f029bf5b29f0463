//! Listening for HTTP, and whom a listener answers.
//!
//! A listener on a loopback address is for the programs of this machine. A web page in a browser of this machine is none of them:
//! a name that its owner points at 127.0.0.1 (DNS rebinding) and a request across origins are both turned away.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tracing::{debug, info, warn};

use crate::lifecycle::Stop;

/// The first pause before an address is tried again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// It has not tried yet.
    Starting,
    /// It listens here; the port is the real one where port 0 was asked for.
    Open(SocketAddr),
    /// It could not, and tries again: why.
    Shut(String),
}

/// Listens until the stop, and tries again for ever where it cannot. Each change of the door is told.
///
/// After the stop it takes no more connections, and returns when those that it has are answered.
pub async fn serve(address: SocketAddr, stage: &str, router: Router, tell: impl Fn(Door) + Send, stop: Stop) {
    let Some((listener, bound)) = bind(address, stage, &tell, &stop).await else { return };
    info!(stage, %bound, "listening");
    tell(Door::Open(bound));
    let router = guarded(router, bound);
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "small answers may be delayed");
        }
    });
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        warn!(stage, %error, "the listener ended");
    }
}

async fn bind(address: SocketAddr, stage: &str, tell: &impl Fn(Door), stop: &Stop) -> Option<(TcpListener, SocketAddr)> {
    let mut pause = FIRST_PAUSE;
    let mut told = None;
    loop {
        let bound = match TcpListener::bind(address).await {
            Ok(listener) => listener.local_addr().map(|bound| (listener, bound)),
            Err(error) => Err(error),
        };
        let error = match bound {
            Ok(bound) => return Some(bound),
            Err(error) => error,
        };
        let reason = format!("cannot listen on {address}: {}", words(&error));
        if told.as_ref() != Some(&reason) {
            warn!(stage, %address, "{reason}; trying again");
            tell(Door::Shut(reason.clone()));
            told = Some(reason);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another program".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
        io::ErrorKind::PermissionDenied => "not allowed (ports below 1024 need a privilege)".to_owned(),
        _ => error.to_string(),
    }
}

/// An answer that is an error: `{"error": "…"}`.
#[must_use]
pub fn error(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "error": message }))).into_response()
}

/// The same router, which answers on a loopback address only the programs of this machine.
pub fn guarded(router: Router, bound: SocketAddr) -> Router {
    router.layer(from_fn_with_state(bound, guard))
}

async fn guard(State(bound): State<SocketAddr>, request: Request, next: Next) -> Response {
    if !bound.ip().is_loopback() {
        return next.run(request).await;
    }
    match stranger(bound.ip(), request.headers()) {
        None => next.run(request).await,
        Some(why) => error(StatusCode::FORBIDDEN, why),
    }
}

/// Why a request to a loopback address comes from a web page that has no business here; none when it does not.
fn stranger(bound: IpAddr, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST);
    if host.is_some_and(|host| !is_here(host, bound)) {
        return Some("this listener is on a loopback address and answers only to localhost: the Host header names another host");
    }
    let same = |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == host);
    if text(header::ORIGIN).is_some_and(|origin| !same(origin)) {
        return Some("this listener does not answer web pages of other origins");
    }
    None
}

fn is_here(host: &str, bound: IpAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let is_local_name = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    is_local_name || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || address == bound)
}

#[cfg(test)]
pub(crate) mod client;

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::sync::watch;

    use super::client::ask;
    use super::*;
    use crate::lifecycle::Tasks;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_loopback_names_are_answered_on_a_loopback_address() {
        let bound = IpAddr::from([127, 0, 0, 1]);
        let verdict = |host| stranger(bound, &headers(&[(header::HOST, host)])).is_none();
        for host in ["localhost", "LOCALHOST:9610", "127.0.0.1:9610", "127.8.8.8", "[::1]:9610", "app.localhost:1", "localhost."]
        {
            assert!(verdict(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "192.168.0.7:9610", "0.0.0.0", "", "localhost@evil.example", "a b"]
        {
            assert!(!verdict(host), "{host}");
        }
        assert!(stranger(bound, &HeaderMap::new()).is_none());
    }

    #[test]
    fn a_web_page_of_another_origin_is_turned_away() {
        let bound = IpAddr::from([127, 0, 0, 1]);
        let verdict = |origin| stranger(bound, &headers(&[(header::HOST, "localhost:9610"), (header::ORIGIN, origin)])).is_none();
        assert!(verdict("http://localhost:9610"));
        for origin in ["http://localhost:3000", "https://evil.example", "null", ""] {
            assert!(!verdict(origin), "{origin}");
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_told_and_taken_when_it_is_free() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let (doors, mut door) = watch::channel(Door::Starting);
        let (stop, mut tasks) = (Stop::new(), Tasks::default());
        let router = Router::new().route("/", get(|| async { "here" }));
        let stopping = stop.clone();
        tasks.spawn("listener", async move {
            let tell = move |door| drop(doors.send_replace(door));
            serve(address, "test", router, tell, stopping).await;
        });
        let shut = door.wait_for(|door| matches!(door, Door::Shut(_))).await.unwrap().clone();
        assert!(format!("{shut:?}").contains("in use"), "{shut:?}");
        drop(taken);
        door.wait_for(|door| *door == Door::Open(address)).await.unwrap();
        assert_eq!(ask(address, "GET", "/", &[], b"").await, (200, "here".to_owned()));
        let (status, body) = ask(address, "GET", "/", &[("host", "evil.example")], b"").await;
        assert_eq!((status, body.contains("Host")), (403, true));
        stop.cancel();
        tasks.join().await;
    }
}
