//! The broker's address. What is said of a bad one never quotes it, because it holds a password.

use lapin::uri::AMQPUri;

/// The parameters that may stand after the `?`.
const PARAMETERS: [&str; 3] = ["frame_max", "channel_max", "auth_mechanism"];

/// The largest frame where the address does not say: what RabbitMQ itself takes if nothing else is said.
///
/// The client library has room for 32 of them in each direction. Where it learns only from the broker how large they are, it writes all of that full of zeros:
/// 16 MB of memory for the two connections of a pipeline, most of it never used, and more than there is where the broker knows no limit.
const FRAME_MAX: u32 = 128 << 10;

/// Reads an `amqp://` or `amqps://` address.
///
/// # Errors
/// Says what is wrong, as a fragment that follows the key's name.
pub(super) fn parse(text: &str) -> Result<AMQPUri, String> {
    let rest = text.strip_prefix("amqp://").or_else(|| text.strip_prefix("amqps://"));
    let rest = rest.ok_or("must start with `amqp://` or `amqps://`")?;
    if rest.contains('#') {
        return Err("must not hold a `#`: write `%23` where it belongs to a name or a password".to_owned());
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = path.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        return Err("names no host".to_owned());
    }
    query.split('&').filter(|pair| !pair.is_empty()).try_for_each(parameter)?;
    let mut uri: AMQPUri = text.parse().map_err(unreadable)?;
    if let Some((inside, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        // The parser takes an IPv6 host for a missing one, and connects to localhost instead.
        inside.clone_into(&mut uri.authority.host);
    }
    if uri.vhost.is_empty() {
        return Err("names the virtual host with the empty name: write `/%2f` for the default one".to_owned());
    }
    uri.query.frame_max.get_or_insert(FRAME_MAX);
    Ok(uri)
}

fn parameter(pair: &str) -> Result<(), String> {
    match pair.split_once('=').map_or(pair, |(name, _)| name) {
        name if PARAMETERS.contains(&name) => Ok(()),
        "heartbeat" => Err("must not hold the parameter `heartbeat`: it is a setting of its own".to_owned()),
        "connection_timeout" => Err("must not hold the parameter `connection_timeout`: the setting is `timeout`".to_owned()),
        _ => Err(format!("has a parameter that is not known; known are {}", PARAMETERS.join(", "))),
    }
}

fn unreadable(problem: String) -> String {
    // The parser quotes the text in the errors of its own, and never in those of the URL syntax below it.
    if problem.starts_with("Invalid") { "cannot be read".to_owned() } else { format!("cannot be read: {problem}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_virtual_host_are_percent_decoded() {
        let uri = parse("amqps://us%40er:p%2fa%23ss@broker.example:5671/v%2fhost").unwrap();
        assert_eq!(uri.authority.userinfo.username, "us@er");
        assert_eq!(uri.authority.userinfo.password, "p/a#ss");
        assert_eq!((uri.authority.host.as_str(), uri.authority.port, uri.vhost.as_str()), ("broker.example", 5671, "v/host"));
    }

    #[test]
    fn a_missing_path_means_the_default_virtual_host() {
        assert_eq!(parse("amqp://localhost").unwrap().vhost, "/");
        assert!(parse("amqp://localhost/").unwrap_err().contains("%2f"));
    }

    #[test]
    fn an_ipv6_host_is_not_taken_for_localhost() {
        assert_eq!(parse("amqp://a:b@[fd00::7]:5673/%2f").unwrap().authority.host, "fd00::7");
    }

    #[test]
    fn no_problem_quotes_the_password() {
        for text in [
            "user:hunter2@host",
            "http://user:hunter2@host/",
            "amqp://user:hunter2/x@host",
            "amqp://user:hunter2#x@host",
            "amqp://user:hunter2?x@host",
            "amqp://user:hun?hunter2@host",
            "amqp://user:hunter2@:5672/",
            "amqp://user:hunter2@host:port/",
            "amqp://user:hunter2@[::x]/",
            "amqp://user:hunter2@host?auth_mechanism=hunter2",
            "amqp://user:hunter2@host?verify=verify_none",
            "amqp://user:hunter2%ff@host",
        ] {
            let problem = parse(text).expect_err(text);
            assert!(!problem.contains("hunter2") && !problem.contains("user"), "{problem}");
        }
    }

    #[test]
    fn a_parameter_that_would_be_ignored_is_refused() {
        assert!(parse("amqps://host?verify=verify_none").is_err());
        assert!(parse("amqp://host?heartbeat=30").unwrap_err().contains("setting"));
        assert_eq!(parse("amqp://host?frame_max=8192").unwrap().query.frame_max, Some(8192));
    }

    #[test]
    fn frames_have_a_largest_size_whatever_the_broker_says() {
        assert_eq!(parse("amqp://host").unwrap().query.frame_max, Some(FRAME_MAX));
    }
}
