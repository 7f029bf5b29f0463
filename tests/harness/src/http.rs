//! Just enough HTTP/1.1 to ask the host: one request, one answer, the connection closes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::failure::While;
use crate::{Failure, Result};

/// Longest wait for a connection, and for each part of an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text, damaged characters replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// Fails when it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).doing(format!("reading `{}` as JSON", self.text()))
    }
}

/// Asks for a path.
///
/// # Errors
/// Fails when the server cannot be reached or does not answer in time.
pub fn get(server: SocketAddr, path: &str) -> Result<Answer> {
    exchange(server, "GET", path, &[], &[])
}

/// Posts a body, with further headers.
///
/// # Errors
/// Fails when the server cannot be reached or does not answer in time.
pub fn post(server: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    exchange(server, "POST", path, headers, body)
}

fn exchange(server: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    let doing = format!("{method} http://{server}{path}");
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT).doing(&doing)?;
    stream.set_read_timeout(Some(TIMEOUT)).doing(&doing)?;
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(&[request.as_bytes(), body].concat()).doing(&doing)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).doing(&doing)?;
    parse(&answer).ok_or_else(|| Failure::new(format!("{doing}: this is no HTTP answer: {}", String::from_utf8_lossy(&answer))))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let body = answer.get(end + 4..)?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some(Answer { status, body: if chunked { unchunk(body)? } else { body.to_vec() } })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let length = std::str::from_utf8(rest.get(..end)?).ok()?.split(';').next()?.trim();
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + length)?);
        rest = rest.get(end + 4 + length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_follows_the_empty_line() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (503, "no"));
    }

    #[test]
    fn a_chunked_body_is_put_together() {
        let answer = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n").unwrap();
        assert_eq!(answer.text(), "abcde");
    }
}
