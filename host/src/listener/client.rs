//! The smallest HTTP client that the tests can do with.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends one request over a connection of its own; gives back status and body.
pub(crate) async fn ask(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let (status, _, body) = ask_whole(to, method, path, headers, body).await;
    (status, body)
}

/// As [`ask`], with the head of the answer in lower case between the two.
pub(crate) async fn ask_whole(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, String) {
    let mut stream = send(to, method, path, headers, body).await;
    let mut answer = Vec::new();
    // A server that refuses a body unread may reset the connection after its answer.
    let _reset = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("a text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// Sends a request, and leaves the answer to be read.
pub(crate) async fn send(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.expect("a listener");
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    let usual = [("host", to.to_string()), ("content-length", body.len().to_string())];
    let missing = usual.iter().filter(|(name, _)| !headers.iter().any(|(given, _)| given == name));
    missing.for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    stream.write_all(format!("{head}\r\n").as_bytes()).await.expect("the head is sent");
    // A server that refuses by the head alone may close before it has read the body.
    let _closed = stream.write_all(body).await;
    stream
}
