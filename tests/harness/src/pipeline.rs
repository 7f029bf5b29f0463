//! A pipeline.toml of the shipped shape, aimed at given servers: RabbitMQ in, validated, to Redis as it is and to PostgreSQL sealed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::While;
use crate::service::free_port;
use crate::{Failure, Result};

/// The column of `messages` that holds the message id.
pub const ID_COLUMN: &str = "source_message_id";

/// What differs from one pipeline to the next. Every part is text of pipeline.toml, so that a test can put another in its place.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Port of the admin HTTP.
    pub admin_port: u16,
    /// Lines of `[pipeline]` beside its name.
    pub head: String,
    /// `[source.…]`.
    pub source: String,
    /// `[steps.…]` and `[key_rings.…]`.
    pub steps: String,
    /// `[sinks.…]`.
    pub sinks: String,
    /// Compiled plugins, shared by all pipelines of a build.
    pub cache: PathBuf,
}

/// The servers' ends that a pipeline holds.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Address of the broker.
    pub amqp_url: &'a str,
    /// The queue.
    pub queue: &'a str,
    /// Address of Redis.
    pub redis_url: &'a str,
    /// The key.
    pub key: &'a str,
    /// Address of the database.
    pub database_url: &'a str,
}

impl Pipeline {
    /// The shipped shape. `target` is the folder that cargo builds into; the components lie in `target/plugins` below it.
    ///
    /// # Errors
    /// Fails when no port is free.
    pub fn shipped(ends: Ends<'_>, plugins: &Path, cache: &Path) -> Result<Self> {
        Ok(Self {
            admin_port: free_port()?,
            head: "message_id = \"/publisher_information/message_id\"\nthrough = [\"validate\"]\n".to_owned(),
            source: source(ends.amqp_url, ends.queue),
            steps: [step("validate", plugins, "validate-message"), reshape(plugins), seal(plugins)].concat(),
            sinks: [broadcast(ends.redis_url, ends.key), history(ends.database_url)].concat(),
            cache: cache.to_owned(),
        })
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { admin_port, head, source, steps, sinks, cache } = self;
        let cache = quoted(&cache.display().to_string());
        format!(
            "[pipeline]\nname = \"broadcast\"\n{head}\n[admin]\nlisten = \"127.0.0.1:{admin_port}\"\n\n[plugins]\ncache = {cache}\n\n\
             {source}\n{steps}\n{sinks}"
        )
    }

    /// Writes the file into a folder.
    ///
    /// # Errors
    /// Fails when the folder cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let file = folder.join("pipeline.toml");
        fs::write(&file, self.text()).doing(format!("writing {}", file.display()))?;
        Ok(file)
    }
}

/// Where the parts of the embedded profile listen, on the loopback interface.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The admin HTTP.
    pub admin: u16,
    /// The source.
    pub http: u16,
    /// The live view.
    pub live: u16,
}

/// The shipped file itself, with other ports in its profile `embedded`, and the components where this build has them.
///
/// # Errors
/// Fails when the file does not say any more what has to be changed.
pub fn embedded(shipped: &str, components: &Path, ports: Ports) -> Result<String> {
    let changes = [
        ("plugin = \"target/plugins/", format!("plugin = \"{}/", components.display())),
        ("listen = \"127.0.0.1:9610\"", format!("listen = \"127.0.0.1:{}\"", ports.http)),
        ("listen = \"127.0.0.1:9620\"", format!("listen = \"127.0.0.1:{}\"", ports.live)),
    ];
    let mut text = shipped.to_owned();
    for (there, instead) in changes {
        if !text.contains(there) {
            return Err(Failure::new(format!("pipeline.toml does not say `{there}` any more")));
        }
        text = text.replace(there, &instead);
    }
    Ok(format!("{text}\n[admin]\nlisten = \"127.0.0.1:{}\"\n", ports.admin))
}

/// `[source.rabbitmq]`.
#[must_use]
pub fn source(url: &str, queue: &str) -> String {
    format!("[source.rabbitmq]\nuri = {}\nqueue = {}\n", quoted(url), quoted(queue))
}

/// `[steps.NAME]` of a component, without further keys; lines may follow.
#[must_use]
pub fn step(name: &str, plugins: &Path, component: &str) -> String {
    let file = plugins.join(component).with_extension("wasm");
    format!("[steps.{name}]\nplugin = {}\n", quoted(&file.display().to_string()))
}

/// The step `reshape`, which fills in what the table wants.
#[must_use]
pub fn reshape(plugins: &Path) -> String {
    let step = step("reshape", plugins, "reshape");
    format!("{step}settings.defaults = {{ \"/message/server_name\" = \"MainServer\", \"/publisher_information\" = {{}} }}\n\n")
}

/// The step `seal` on the content, and its key ring in a file that the host makes.
#[must_use]
pub fn seal(plugins: &Path) -> String {
    let step = step("seal", plugins, "aes-256-gcm");
    format!(
        "{step}field = \"/message/content\"\nkey_ring = \"messages\"\n\n[key_rings.messages]\nfile = \"keys.toml\"\ncreate = true\n\n"
    )
}

/// `[sinks.broadcast]` by Redis, parking.
#[must_use]
pub fn broadcast(url: &str, key: &str) -> String {
    format!(
        "[sinks.broadcast]\non_failure = \"park\"\n\n[sinks.broadcast.redis]\nuri = {}\nmode = \"list\"\nkey = {}\n\n",
        quoted(url),
        quoted(key)
    )
}

/// `[sinks.history]` by PostgreSQL: sealed, parking, one row an id.
#[must_use]
pub fn history(url: &str) -> String {
    format!(
        "[sinks.history]\nthrough = [\"reshape\", \"seal\"]\non_failure = \"park\"\n\n\
         [sinks.history.postgres]\nuri = {}\ntable = \"messages\"\nidempotent_by = \"{ID_COLUMN}\"\nrequire_sealed = [\"message_content\"]\n\n\
         {}",
        quoted(url),
        columns("sinks.history.postgres")
    )
}

/// The document's columns.
#[must_use]
pub fn columns(kind: &str) -> String {
    format!(
        "[{kind}.columns]\nid = \"/id\"\nsub_id = \"/sub_id\"\n\
         publisher_info = {{ pointer = \"/publisher_information\", default = \"{{}}\" }}\n\
         server_name = {{ pointer = \"/message/server_name\", default = \"MainServer\" }}\n\
         message_content = \"/message/content\"\nis_encrypted = {{ sealed = \"/message/content\" }}\n\
         encryption_key_id = {{ key_id = \"/message/content\" }}\n{ID_COLUMN} = {{ metadata = \"message-id\" }}\n"
    )
}

/// A TOML basic string.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
