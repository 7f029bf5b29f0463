//! Commands out of messages, and what the answers say.

use redis::{Cmd, Pipeline, Value, cmd};

use super::{Mode, Settings};
use crate::message::Message;
use crate::sink::Written;

/// Most values of one `RPUSH`: a command blocks the server for as long as it runs.
const PUSH_VALUES: usize = 512;
/// Most bytes of one `RPUSH`, unless a single value is larger.
const PUSH_BYTES: usize = 1 << 20;

/// The commands that hand the batch over, in order.
pub(super) fn pipeline(settings: &Settings, batch: &[Message]) -> Pipeline {
    let key = settings.key.as_str();
    let mut pipeline = Pipeline::with_capacity(batch.len() + 1);
    match &settings.mode {
        Mode::List { max_length } => {
            push(&mut pipeline, key, batch);
            if let Some(max) = max_length {
                pipeline.cmd("LTRIM").arg(key).arg(-i64::try_from((*max).max(1)).unwrap_or(i64::MAX)).arg(-1);
            }
        }
        Mode::Set { ttl } => each(&mut pipeline, batch, |message| set(key, *ttl, message)),
        Mode::PubSub => each(&mut pipeline, batch, |message| publish(key, message)),
        Mode::Stream { max_length } => each(&mut pipeline, batch, |message| append(key, *max_length, message)),
    }
    pipeline
}

/// What the answers to [`pipeline`] say.
pub(super) fn written(mode: &Mode, replies: &[Value]) -> Written {
    let unheard = match mode {
        Mode::PubSub => replies.iter().filter(|reply| matches!(reply, Value::Int(0))).count() as u64,
        Mode::List { .. } | Mode::Set { .. } | Mode::Stream { .. } => 0,
    };
    Written { unheard, ..Written::default() }
}

fn each(pipeline: &mut Pipeline, batch: &[Message], command: impl Fn(&Message) -> Cmd) {
    for message in batch {
        pipeline.add_command(command(message));
    }
}

fn push(pipeline: &mut Pipeline, key: &str, batch: &[Message]) {
    let mut rest = batch;
    while !rest.is_empty() {
        let (values, later) = rest.split_at(first_push(rest));
        let bytes: usize = values.iter().map(|message| message.body.len() + 16).sum();
        let mut command = Cmd::with_capacity(values.len() + 2, bytes + key.len() + 32);
        command.arg("RPUSH").arg(key);
        for message in values {
            command.arg(&*message.body);
        }
        pipeline.add_command(command);
        rest = later;
    }
}

/// How many of the messages go into the next `RPUSH`: at least one.
fn first_push(messages: &[Message]) -> usize {
    let mut bytes = 0;
    let fits = |message: &&Message| {
        bytes += message.body.len();
        bytes <= PUSH_BYTES
    };
    messages.iter().take(PUSH_VALUES).take_while(fits).count().max(1)
}

fn set(key: &str, ttl: Option<std::time::Duration>, message: &Message) -> Cmd {
    let mut command = cmd("SET");
    command.arg(key).arg(&*message.body);
    if let Some(ttl) = ttl {
        command.arg("PX").arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
    }
    // A bare SET overwrites a key of any type; with GET the server refuses one that holds no string.
    command.arg("GET");
    command
}

fn publish(channel: &str, message: &Message) -> Cmd {
    let mut command = cmd("PUBLISH");
    command.arg(channel).arg(&*message.body);
    command
}

fn append(key: &str, max_length: u64, message: &Message) -> Cmd {
    let mut command = cmd("XADD");
    command.arg(key).arg("MAXLEN").arg("~").arg(max_length).arg("*").arg("body").arg(&*message.body);
    if let Some(id) = &message.id {
        command.arg("id").arg(id.as_str());
    }
    command
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::message::{MessageId, NoProperties};

    fn message(body: impl Into<Bytes>) -> Message {
        Message::new(None, body.into(), Arc::new(NoProperties))
    }

    /// Every command as its words, a body of more than 20 bytes as its length.
    fn commands(mode: Mode, batch: &[Message]) -> Vec<String> {
        let settings =
            Settings { uri: "redis://h".into(), ca_file: None, mode, key: "k".into(), timeout: Duration::from_secs(1) };
        let word = |arg: redis::Arg<&[u8]>| match arg {
            redis::Arg::Simple(bytes) if bytes.len() > 20 => bytes.len().to_string(),
            redis::Arg::Simple(bytes) => bytes.escape_ascii().to_string(),
            _ => "?".to_owned(),
        };
        let line = |command: &Cmd| command.args_iter().map(word).collect::<Vec<_>>().join(" ");
        pipeline(&settings, batch).cmd_iter().map(line).collect()
    }

    #[test]
    fn a_batch_is_one_push_of_raw_bytes_and_one_trim() {
        let batch = [message("a"), message(&b"\xff\0"[..]), message("")];
        assert_eq!(commands(Mode::List { max_length: None }, &batch), [r"RPUSH k a \xff\x00 "]);
        assert_eq!(commands(Mode::List { max_length: Some(10) }, &batch), [r"RPUSH k a \xff\x00 ", "LTRIM k -10 -1"]);
    }

    #[test]
    fn a_trim_never_empties_the_list_nor_keeps_it_whole() {
        let trim = |max| commands(Mode::List { max_length: Some(max) }, &[message("a")]).pop();
        assert_eq!(trim(0).as_deref(), Some("LTRIM k -1 -1"));
        assert_eq!(trim(u64::MAX).as_deref(), Some("LTRIM k -9223372036854775807 -1"));
    }

    #[test]
    fn a_push_is_cut_by_count_and_by_bytes() {
        let small = vec![message("a"); PUSH_VALUES + 1];
        assert_eq!(commands(Mode::List { max_length: None }, &small).len(), 2);
        let large = vec![0_u8; PUSH_BYTES];
        let batch = [message("a"), message(large.clone()), message("b"), message("c"), message(large)];
        assert_eq!(
            commands(Mode::List { max_length: None }, &batch),
            ["RPUSH k a", "RPUSH k 1048576", "RPUSH k b c", "RPUSH k 1048576"]
        );
    }

    #[test]
    fn a_slot_is_written_for_each_message_and_guards_its_type() {
        let batch = [message("a"), message("b")];
        assert_eq!(commands(Mode::Set { ttl: None }, &batch), ["SET k a GET", "SET k b GET"]);
        let ttl = Some(Duration::from_millis(1500));
        assert_eq!(commands(Mode::Set { ttl }, &batch), ["SET k a PX 1500 GET", "SET k b PX 1500 GET"]);
        assert_eq!(commands(Mode::Set { ttl: Some(Duration::ZERO) }, &batch[..1]), ["SET k a PX 1 GET"]);
    }

    #[test]
    fn a_stream_entry_has_the_body_and_the_id_where_there_is_one() {
        let mut with_id = message("b");
        with_id.id = MessageId::new("m-1");
        let expected = ["XADD k MAXLEN ~ 7 * body a", "XADD k MAXLEN ~ 7 * body b id m-1"];
        assert_eq!(commands(Mode::Stream { max_length: 7 }, &[message("a"), with_id]), expected);
    }

    #[test]
    fn what_nobody_received_is_unheard() {
        let replies = [Value::Int(0), Value::Int(2), Value::Int(0)];
        assert_eq!(written(&Mode::PubSub, &replies).unheard, 2);
        assert_eq!(written(&Mode::List { max_length: None }, &replies).unheard, 0);
        assert_eq!(commands(Mode::PubSub, &[message("a")]), ["PUBLISH k a"]);
    }
}
