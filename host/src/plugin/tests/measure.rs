//! What steps cost, where it can be counted: the same work gives the same number, and no time is ever asserted.

use super::*;
use crate::plugin::measure::{Call, Gauge, Outcome, Work};
use crate::plugin::{Failure, Validator};

fn counting() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::counting(&EngineSettings { cache: None, instances: 64 }).unwrap()).clone()
}

fn counted(name: &str) -> Step {
    let limits = Limits { timeout: Duration::from_secs(60), max_calls: u64::MAX, recycle_bytes: u64::MAX, ..Limits::default() };
    counting().load_file(&plugin_file(name)).unwrap().prepare(Setup { limits, ..setup(json!({})) }).unwrap()
}

/// A message of 290 bytes that every first-party step lets pass.
fn sample() -> bytes::Bytes {
    let body = |content: &str| {
        json!({
            "id": "user_00000001", "sub_id": "session_00000001", "publisher_information": { "client_ip": "192.168.1.100" },
            "message": { "server_name": "MainServer", "content": content },
        })
        .to_string()
    };
    body(&"x".repeat(290 - body("").len())).into()
}

/// What each call of a step costs: `batches` whole batches of this size.
fn gauges(step: &Step, batch: usize) -> Vec<(Call, Gauge)> {
    let works = Work::of(step, &vec![sample(); batch], batch).unwrap();
    works.iter().map(|work| (work.call(), work.gauge())).collect()
}

#[test]
fn instructions_of_each_first_party_step_are_the_same_each_time_and_grow_with_the_batch() {
    for name in ["validate-message", "reshape", "aes-256-gcm", "aes-256-cbc"] {
        let step = counted(name);
        let (first, again, large) = (gauges(&step, 128), gauges(&step, 128), gauges(&step, 1024));
        assert_eq!(first, again, "{name}");
        for ((call, small), (_, large)) in first.iter().zip(&large) {
            let (small, large) = (small.instructions.unwrap(), large.instructions.unwrap());
            assert!(small > 0 && large <= small * 8 * 12 / 10, "{name}, {call}: {small} for 128, {large} for 1024");
        }
    }
}

#[test]
fn a_fresh_instance_counts_the_same() {
    assert_eq!(gauges(&counted("validate-message"), 128), gauges(&counted("validate-message"), 128));
}

#[test]
fn what_crosses_the_boundary_is_counted_in_both_directions() {
    // A body and its end go in; of a message that passes nothing comes out.
    let [(Call::Validate, gauge)] = gauges(&counted("validate-message"), 16)[..] else { panic!() };
    assert_eq!((gauge.calls, gauge.traffic.in_bytes, gauge.traffic.out_bytes), (1, 16 * (290 + 4), 0));
    assert!(gauge.memory_bytes >= 64 << 10);
    // Nonce, context and item go in, and out again to the host's arithmetic; what is sealed takes the same way.
    let [(Call::Seal, seal), (Call::Open, open)] = gauges(&counted("aes-256-gcm"), 16)[..] else { panic!() };
    let (lists, sealed) = (16 * (12 + 16 + 290 + 3 * 4), 16 * (290 + 16 + 4));
    assert_eq!((seal.traffic.in_bytes, seal.traffic.out_bytes), (lists + sealed, lists + sealed));
    assert_eq!(open.traffic, seal.traffic, "opening takes the same way back");
}

#[test]
fn the_running_hosts_engine_counts_no_instructions() {
    let [(_, gauge)] = gauges(&step("validate-message"), 16)[..] else { panic!() };
    assert_eq!((gauge.instructions, gauge.calls), (None, 1));
}

#[test]
fn samples_are_told_by_what_became_of_them() {
    let bodies = ["behave", "drop", "replace", "split", "retry", "reject", "panic"].map(|command| told(command).body);
    let [work] = Work::of(&step("saboteur-transformer"), &bodies, 1).unwrap().try_into().unwrap();
    let outcomes: Vec<String> = work.outcomes().iter().map(Outcome::to_string).collect();
    assert_eq!(outcomes, ["kept", "dropped", "replaced", "split", "delayed", "rejected (sabotage)", "faulted (trap)"]);
}

#[test]
fn the_last_batch_is_filled_up_from_the_start() {
    let [work] = Work::of(&step("validate-message"), &[sample(), "{}".into(), sample()], 2).unwrap().try_into().unwrap();
    assert_eq!(work.messages(), 4);
    let accepted: Vec<_> = work.outcomes().iter().map(|outcome| *outcome == Outcome::Accepted).collect();
    assert_eq!(accepted, [true, false, true, true]);
}

#[test]
fn an_endless_guest_ends_on_an_engine_that_counts_too() {
    let component = counting().load_file(&plugin_file("saboteur-validator")).unwrap();
    let Step::Validator(step) = component.prepare(impatient(json!({}))).unwrap() else { panic!() };
    let answers = Validator::validate(&step, &[told("spin")]);
    assert!(matches!(&answers[0], Err(Failure::Fault(fault)) if fault.kind.name() == "deadline"), "{answers:?}");
}
