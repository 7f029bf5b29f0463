//! What nobody should send: nothing but the dead-letter queue may change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate::message::{Message, NoProperties};
use tidegate::plugin::{Engine, EngineSettings, Failure, Grants, Limits, Setup, Step};
use tidegate::source::header;
use tidegate_plugin::Validator as _;
use tidegate_plugin::testing::{Incoming, verdicts};
use validate_message::ValidateMessage;

use crate::host::{Rig, lane, plugins};
use crate::store::row_count;

/// How many hostile bodies.
const COUNT: usize = 500;
const GOOD: &str = r#"{"id":"user_1","sub_id":"session_1","publisher_information":{"client_ip":"10.0.0.1"},"message":{"server_name":"MainServer","content":"good, \"quoted\" \u00e9"}}"#;

/// A small generator of numbers (xorshift64*): the same seed gives the same bodies on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % limit.max(1)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

/// A good body, mistreated.
fn mistreat(random: &mut Random) -> Vec<u8> {
    let mut body = GOOD.as_bytes().to_vec();
    let at = random.below(body.len());
    match random.below(11) {
        0 => body.truncate(at),
        1 => body[at] ^= 1 << random.below(8),
        2 => drop(body.remove(at)),
        3 => drop(body.splice(at..at, random_piece(random))),
        4 => body = [&body[at..], &body[..at]].concat(),
        5 => body.extend_from_within(at..),
        6 => {
            let length = random.below(300);
            body = random.bytes(length);
        }
        7 => body = deep(random.below(5000) + 33),
        8 => body = retyped(random),
        9 => body = without(random),
        _ => (0..=random.below(6)).for_each(|_| {
            let at = random.below(body.len());
            body[at] = random.bytes(1)[0];
        }),
    }
    body
}

fn random_piece(random: &mut Random) -> Vec<u8> {
    let pieces: [&[u8]; 12] = [
        b"\0",
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\"",
        b"}",
        b",,",
        b"NaN",
        b"\r\n",
        b"\xef\xbb\xbf",
        b"1e999",
    ];
    pieces[random.below(pieces.len())].to_vec()
}

/// Nesting beyond what is allowed, of arrays or objects, closed or not.
fn deep(levels: usize) -> Vec<u8> {
    let (open, close) = if levels.is_multiple_of(2) { ("[", "]") } else { ("{\"x\":", "}") };
    let closed = if levels.is_multiple_of(3) { String::new() } else { close.repeat(levels) };
    format!(r#"{{"id":"u","sub_id":"s","message":{{"content":"c"}},"x":{}1{closed}}}"#, open.repeat(levels)).into_bytes()
}

const FIELDS: [&str; 6] = ["/id", "/sub_id", "/message", "/message/content", "/message/server_name", "/publisher_information"];

/// A field of another type.
fn retyped(random: &mut Random) -> Vec<u8> {
    let mut value: Value = serde_json::from_str(GOOD).unwrap();
    let types = ["5", "null", "true", "[]", "[\"x\"]", "-0.0", "1e400", "99999999999999999999999999"];
    let field = value.pointer_mut(FIELDS[random.below(FIELDS.len())]).unwrap();
    *field = Value::String("%".to_owned());
    value.to_string().replace("\"%\"", types[random.below(types.len())]).into_bytes()
}

/// A required field missing.
fn without(random: &mut Random) -> Vec<u8> {
    let mut value: Value = serde_json::from_str(GOOD).unwrap();
    match random.below(4) {
        0 => value["message"].as_object_mut().unwrap().remove("content"),
        other => value.as_object_mut().unwrap().remove(["id", "sub_id", "message"][other - 1]),
    };
    value.to_string().into_bytes()
}

/// What the document says, by another parser than the step's: only what is surely hostile is sent.
fn is_valid(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return false };
    let text = |pointer: &str, longest: usize| {
        value.pointer(pointer).and_then(Value::as_str).is_some_and(|text| text.chars().count() <= longest)
    };
    let optional = |pointer: &str, fits: &dyn Fn(&Value) -> bool| value.pointer(pointer).is_none_or(fits);
    depth(&value) <= 32
        && text("/id", 255)
        && text("/sub_id", 255)
        && text("/message/content", usize::MAX)
        && optional("/message/server_name", &|name| name.as_str().is_some_and(|name| name.chars().count() <= 100))
        && optional("/message/command", &Value::is_string)
        && optional("/publisher_information", &Value::is_object)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn hostile_bodies(seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random(seed);
    std::iter::repeat_with(|| mistreat(&mut random)).filter(|body| !is_valid(body)).take(COUNT).collect()
}

#[tokio::test]
async fn hostile_bodies_change_nothing_but_the_dead_letter_queue() {
    let bodies = hostile_bodies(0x71de_6a7e);
    let mut rig = Rig::shipped().await;
    rig.start();
    rig.queue.publish(&bodies).await;
    let ledger = rig.settled(COUNT as u64);
    assert_eq!(rig.key.length().await, 0);
    assert_eq!(row_count(&rig.pool).await, 0);
    for name in ["broadcast", "history"] {
        assert_eq!(lane(&ledger, name, "dead_lettered"), COUNT as u64);
    }

    // Byte for byte, as often as it was sent, each with its reason.
    let mut balance: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    bodies.iter().for_each(|body| *balance.entry(body.clone()).or_default() += 1);
    for letter in rig.dead(COUNT).await {
        assert_eq!(letter.header(header::STAGE).as_deref(), Some("steps.validate"));
        assert!(letter.header(header::CODE).is_some_and(|code| !code.is_empty()));
        assert!(letter.header(header::REASON).is_some_and(|reason| !reason.is_empty()));
        *balance.entry(letter.body).or_default() -= 1;
    }
    balance.retain(|_, count| *count != 0);
    assert!(balance.is_empty(), "sent minus dead-lettered: {balance:?}");

    rig.queue.publish([GOOD]).await;
    rig.settled(COUNT as u64 + 1);
    assert_eq!(rig.broadcast().await, [GOOD.as_bytes()]);
    rig.stop().await;
}

/// Bodies that the component and its code are compared by, good ones among them.
const COMPARED: usize = 20_000;

/// Code, message and pointer of a refusal.
type Refusal = (String, String, Option<String>);

fn in_the_sandbox(bodies: &[Vec<u8>]) -> Vec<Option<Refusal>> {
    let engine = Engine::new(&EngineSettings::default()).unwrap();
    let component = engine.load_file(&plugins().join("validate-message.wasm")).unwrap();
    let setup = Setup {
        step: "validate".into(),
        settings: json!({}),
        limits: Limits::default(),
        grants: Grants::default(),
        instances: 1,
    };
    let Step::Validator(validator) = component.prepare(setup).unwrap() else { panic!("a validator") };
    let messages: Vec<Message> =
        bodies.iter().map(|body| Message::new(None, body.clone().into(), Arc::new(NoProperties))).collect();
    let refusal = |verdict: Result<(), Failure>| match verdict {
        Ok(()) => None,
        Err(Failure::Rejected(reason)) => Some((reason.code.into_owned(), reason.message, reason.pointer)),
        Err(Failure::Fault(fault)) => panic!("{fault}"),
    };
    validator.validate(&messages).into_iter().map(refusal).collect()
}

#[test]
fn the_component_says_of_good_and_hostile_bodies_what_its_code_says_outside() {
    let mut random = Random(0x5ca1_ab1e);
    // The host takes a byte order mark off before it calls a step.
    let bodies: Vec<Vec<u8>> = std::iter::repeat_with(|| mistreat(&mut random))
        .filter(|body| !body.starts_with(b"\xef\xbb\xbf"))
        .take(COMPARED)
        .chain([GOOD.into()])
        .collect();
    let step = ValidateMessage::from_settings("{}").unwrap();
    let incoming: Vec<Incoming> = bodies.iter().map(Incoming::new).collect();
    let outside = verdicts(&step, &incoming)
        .into_iter()
        .map(|verdict| verdict.err().map(|reason| (reason.code, reason.message, reason.pointer)));
    let outside: Vec<Option<Refusal>> = outside.collect();
    let passed = outside.iter().filter(|refusal| refusal.is_none()).count();
    assert!((COMPARED / 20..COMPARED / 2).contains(&passed), "{passed} of {COMPARED} are good");
    for ((body, inside), outside) in bodies.iter().zip(in_the_sandbox(&bodies)).zip(outside) {
        assert_eq!(inside, outside, "{}", body.escape_ascii());
    }
}
