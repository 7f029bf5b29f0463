//! A wire to a server that can be cut, fall silent in both directions or in one, or become slow.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::failure::While;
use crate::{Failure, Result};

/// Bytes that travel at once.
const CHUNK: usize = 1 << 16;

/// The wire: whoever connects to its address is connected to the server behind it.
#[derive(Debug)]
pub struct Wire {
    url: String,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    silent: bool,
    /// How many have something that does not go through.
    waiting: usize,
    delay: Duration,
    /// Whether what the server says is lost.
    swallows_replies: bool,
    /// Bytes for the server so far.
    requested: usize,
    /// Both ends of every connection.
    ends: Vec<TcpStream>,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the wire speaks; says how long the next bytes take.
    fn admitted(&self) -> Duration {
        let mut now = self.lock();
        now.waiting += 1;
        let mut now = self.changed.wait_while(now, |now| now.silent).unwrap_or_else(PoisonError::into_inner);
        now.waiting -= 1;
        now.delay
    }
}

impl Wire {
    /// A wire to the server of an address, `scheme://user:password@host:port/…`.
    ///
    /// # Errors
    /// Fails when the address has no port, or nothing can listen on the loopback interface.
    pub fn to(url: &str) -> Result<Self> {
        let (head, server, tail) = parts(url).ok_or_else(|| Failure::new("a wire needs an address with a port"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("opening a wire")?;
        let address = listener.local_addr().doing("opening a wire")?;
        let (url, server, state) = (format!("{head}{address}{tail}"), server.to_owned(), Arc::<State>::default());
        let shared = Arc::clone(&state);
        // It ends with the process: a thread that waits for connections costs nothing.
        thread::spawn(move || {
            for near in listener.incoming().map_while(std::result::Result::ok) {
                let (server, shared) = (server.clone(), Arc::clone(&shared));
                thread::spawn(move || join(near, &server, &shared));
            }
        });
        Ok(Self { url, state })
    }

    /// The server's address by this wire.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connections stay open, new ones are taken, and nothing goes through.
    pub fn fall_silent(&self) {
        self.state.lock().silent = true;
    }

    /// Whether somebody has something that does not go through.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.state.lock().waiting > 0
    }

    /// What comes goes through again, at once.
    pub fn speak(&self) {
        let mut now = self.state.lock();
        (now.silent, now.delay) = (false, Duration::ZERO);
        drop(now);
        self.state.changed.notify_all();
    }

    /// How many bytes the server was sent, over all connections.
    #[must_use]
    pub fn requested(&self) -> usize {
        self.state.lock().requested
    }

    /// What the server is sent goes through, and what it answers is lost, until the connections are cut.
    pub fn swallow_replies(&self) {
        self.state.lock().swallows_replies = true;
    }

    /// All that comes takes so much longer.
    pub fn slow_down(&self, delay: Duration) {
        self.state.lock().delay = delay;
    }

    /// Ends every connection there is. Those that come are answered again.
    pub fn cut(&self) {
        let mut now = self.state.lock();
        for end in std::mem::take(&mut now.ends) {
            // Who has gone already is no failure.
            end.shutdown(Shutdown::Both).unwrap_or_default();
        }
        now.swallows_replies = false;
    }
}

/// What stands before `host:port` in an address, itself, and what stands behind it.
fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let start = url.find("://")? + "://".len();
    let end = url.get(start..)?.find(['/', '?']).map_or(url.len(), |at| start + at);
    let start = url.get(start..end)?.rfind('@').map_or(start, |at| start + at + 1);
    let server = url.get(start..end).filter(|server| server.contains(':'))?;
    Some((url.get(..start)?, server, url.get(end..)?))
}

fn join(near: TcpStream, server: &str, state: &Arc<State>) {
    state.admitted();
    let Ok(far) = TcpStream::connect(server) else { return };
    let clone = |stream: &TcpStream| stream.try_clone();
    let (Ok(near_end), Ok(far_end), Ok(near_back), Ok(far_back)) = (clone(&near), clone(&far), clone(&near), clone(&far)) else {
        return;
    };
    for stream in [&near, &far] {
        // Small frames would wait for each other; a wire without it is only slower.
        stream.set_nodelay(true).unwrap_or_default();
    }
    state.lock().ends.extend([near_end, far_end]);
    let back = Arc::clone(state);
    thread::spawn(move || pass(far_back, near_back, Direction::Reply, &back));
    pass(near, far, Direction::Request, state);
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

fn pass(mut from: TcpStream, mut to: TcpStream, direction: Direction, state: &State) {
    let mut bytes = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let delay = state.admitted();
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        match direction {
            Direction::Request => state.lock().requested += count,
            Direction::Reply if state.lock().swallows_replies => continue,
            Direction::Reply => {}
        }
        if to.write_all(bytes.get(..count).unwrap_or_default()).is_err() {
            break;
        }
    }
    for end in [from, to] {
        end.shutdown(Shutdown::Both).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_around_its_server() {
        assert_eq!(parts("amqp://guest:p%40@127.0.0.1:5672/%2f"), Some(("amqp://guest:p%40@", "127.0.0.1:5672", "/%2f")));
        assert_eq!(parts("redis://127.0.0.1:6379"), Some(("redis://", "127.0.0.1:6379", "")));
        assert_eq!(parts("redis://localhost"), None);
    }

    #[test]
    fn what_goes_in_comes_out_until_it_is_silent_or_cut() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wire = Wire::to(&format!("tcp://{}", server.local_addr().unwrap())).unwrap();
        let mut near = TcpStream::connect(wire.url().trim_start_matches("tcp://")).unwrap();
        let (mut far, _) = server.accept().unwrap();
        let mut byte = [0];
        near.write_all(b"a").unwrap();
        far.read_exact(&mut byte).unwrap();
        wire.fall_silent();
        near.write_all(b"b").unwrap();
        far.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(far.read_exact(&mut byte).is_err(), "something came through");
        assert!(wire.is_waited_for());
        wire.speak();
        far.set_read_timeout(None).unwrap();
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
        wire.cut();
        assert_eq!(far.read(&mut byte).unwrap_or(0), 0);
    }

    #[test]
    fn what_is_asked_goes_through_while_replies_are_swallowed_and_none_of_them_comes_later() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wire = Wire::to(&format!("tcp://{}", server.local_addr().unwrap())).unwrap();
        let joined = || {
            let near = TcpStream::connect(wire.url().trim_start_matches("tcp://")).unwrap();
            (near, server.accept().unwrap().0)
        };
        let mut byte = [0];
        let (mut near, mut far) = joined();
        wire.swallow_replies();
        near.write_all(b"a").unwrap();
        far.read_exact(&mut byte).unwrap();
        far.write_all(b"b").unwrap();
        near.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(near.read_exact(&mut byte).is_err(), "a reply came through");
        wire.cut();
        assert_eq!(near.read(&mut byte).unwrap_or(0), 0);
        let (mut near, mut far) = joined();
        far.write_all(b"c").unwrap();
        near.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"c");
    }
}
