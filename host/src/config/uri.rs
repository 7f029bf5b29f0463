//! Addresses of servers. They may hold passwords: no message here quotes one.

use super::field::Field;
use super::problem::{Code, enumerate};
use crate::secret::Secret;

/// What Redis is reached by.
pub(super) const REDIS_SCHEMES: [&str; 4] = ["redis", "rediss", "unix", "redis+unix"];

impl Field<'_> {
    /// An address with one of these schemes.
    pub(super) fn uri(&self, schemes: &[&str]) -> Option<Secret> {
        let uri = self.secret()?;
        let well = uri.expose_str().split_once("://").is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty());
        if !well {
            let forms: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://…")).collect();
            let forms = enumerate(forms.iter().map(String::as_str));
            self.note(
                Code::BadUri,
                format!("`{}` is not an address of the kind expected here", self.path),
                format!("expected {forms}"),
            );
        }
        well.then_some(uri)
    }

    /// An address of PostgreSQL: a URI, or the form of libpq.
    pub(super) fn database_uri(&self) -> Option<Secret> {
        let uri = self.secret()?;
        let text = uri.expose_str();
        let is_uri = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        if is_uri || is_libpq(text) {
            return Some(uri);
        }
        let help = "expected `postgres://user:password@host/database` or `host=… dbname=… user=… password=…`";
        self.note(Code::BadUri, format!("`{}` is not an address of PostgreSQL", self.path), help);
        None
    }
}

fn is_libpq(text: &str) -> bool {
    let keys = ["host", "hostaddr", "port", "dbname", "user", "password", "sslmode"];
    text.split_whitespace().next().and_then(|first| first.split_once('=')).is_some_and(|(key, _)| keys.contains(&key.trim()))
        && !text.contains("://")
}

/// User, password and host of a URI, as far as they are there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    pub(super) host: &'a str,
}

impl<'a> Authority<'a> {
    pub(super) fn of(uri: &'a Secret) -> Self {
        let rest = uri.expose_str().split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let host = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        Self { user, password, host }
    }

    /// Whether the host is this machine.
    pub(super) fn is_local(&self) -> bool {
        let ip = self.host.parse::<std::net::IpAddr>();
        self.host.is_empty() || self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let whole = Secret::from("amqp://guest:p:w@rabbit:5672/%2f");
        assert_eq!(Authority::of(&whole), Authority { user: "guest", password: "p:w", host: "rabbit" });
        for (uri, local) in
            [("amqp://[::1]:5672", true), ("amqp://127.0.0.1", true), ("amqp://a@localhost/", true), ("amqp://10.0.0.1", false)]
        {
            assert_eq!(Authority::of(&Secret::from(uri)).is_local(), local, "{uri}");
        }
    }
}
