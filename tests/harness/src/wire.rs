//! A wire to a server that can be cut, fall silent, or become slow.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::failure::While;

/// Bytes that travel at once.
const CHUNK: usize = 1 << 16;

/// The wire: whoever connects to its address is connected to the server behind it.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
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
    delay: Duration,
    /// Both ends of every connection.
    ends: Vec<TcpStream>,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the wire speaks; says how long the next bytes take.
    fn admitted(&self) -> Duration {
        let now = self.changed.wait_while(self.lock(), |now| now.silent).unwrap_or_else(PoisonError::into_inner);
        now.delay
    }
}

impl Wire {
    /// A wire to a server.
    ///
    /// # Errors
    /// Fails when nothing can listen on the loopback interface.
    pub fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("opening a wire")?;
        let address = listener.local_addr().doing("opening a wire")?;
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        // It ends with the process: a thread that waits for connections costs nothing.
        thread::spawn(move || {
            for near in listener.incoming().map_while(std::result::Result::ok) {
                let shared = Arc::clone(&shared);
                thread::spawn(move || join(near, server, &shared));
            }
        });
        Ok(Self { address, state })
    }

    /// Where one connects to it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An address of the server (`scheme://user:password@host:port/…`) by this wire.
    #[must_use]
    pub fn through(&self, url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let user = authority.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
        format!("{scheme}://{user}{}{path}", self.address)
    }

    /// Connections stay open, new ones are taken, and nothing goes through.
    pub fn fall_silent(&self) {
        self.state.lock().silent = true;
    }

    /// What comes goes through again, at once.
    pub fn speak(&self) {
        let mut now = self.state.lock();
        (now.silent, now.delay) = (false, Duration::ZERO);
        drop(now);
        self.state.changed.notify_all();
    }

    /// All that comes takes so much longer.
    pub fn slow_down(&self, delay: Duration) {
        self.state.lock().delay = delay;
    }

    /// Ends every connection there is.
    pub fn cut(&self) {
        for end in std::mem::take(&mut self.state.lock().ends) {
            // Who has gone already is no failure.
            end.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }
}

fn join(near: TcpStream, server: SocketAddr, state: &Arc<State>) {
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
    thread::spawn(move || pass(far_back, near_back, &back));
    pass(near, far, state);
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut bytes = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let delay = state.admitted();
        if !delay.is_zero() {
            thread::sleep(delay);
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
    fn an_address_leads_through_the_wire_and_keeps_its_user_and_path() {
        let wire = Wire::to(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).unwrap();
        let address = wire.address();
        assert_eq!(wire.through("amqp://guest:guest@127.0.0.1:5672/%2f"), format!("amqp://guest:guest@{address}/%2f"));
        assert_eq!(wire.through("redis://127.0.0.1:6379"), format!("redis://{address}"));
    }
}
