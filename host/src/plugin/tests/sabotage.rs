//! Each way to misbehave, for each kind: exactly the messages that do it fail, the others get their answer, and the step serves on.

use std::thread;

use super::*;
use crate::message::Reason;
use crate::plugin::{Cipher, Failure, Fate, Packed, Transformer, Turn, Validator};
use crate::secret::Secret;

fn validator(setup: Setup) -> Validator {
    match prepare("saboteur-validator", setup) {
        Step::Validator(validator) => validator,
        other => panic!("{other:?}"),
    }
}

fn transformer(setup: Setup) -> Transformer {
    match prepare("saboteur-transformer", setup) {
        Step::Transformer(transformer) => transformer,
        other => panic!("{other:?}"),
    }
}

fn cipher(setup: Setup) -> Cipher {
    match prepare("saboteur-cipher", setup) {
        Step::Cipher(cipher) => cipher,
        other => panic!("{other:?}"),
    }
}

/// The commands that every kind knows, and the fault that each is. Rust keeps its stack in linear memory: when that overflows, an address is out
/// of bounds before the machine's stack ends.
const COMMON: [(&str, &str); 5] =
    [("trap", "trap"), ("panic", "trap"), ("panic-with-content", "trap"), ("hoard", "memory"), ("overflow", "trap")];

fn expected(fault: &'static str, at: &[usize]) -> Vec<&'static str> {
    (0..9).map(|index| if at.contains(&index) { fault } else { "-" }).collect()
}

fn validated(validator: &Validator, batch: &[Message]) -> Vec<&'static str> {
    fault_names(validator.validate(batch).into_iter().map(|answer| match answer {
        Ok(()) => None,
        Err(Failure::Fault(fault)) => Some(fault),
        Err(Failure::Rejected(reason)) => panic!("{reason:?}"),
    }))
}

fn transformed(transformer: &Transformer, batch: &[Message]) -> Vec<&'static str> {
    fault_names(transformer.transform(batch).into_iter().map(|fate| match fate {
        Fate::Keep => None,
        Fate::Fault(fault) => Some(fault),
        other => panic!("{other:?}"),
    }))
}

#[test]
fn a_short_turn_answers_for_all_or_blames_nobody_and_a_whole_one_finds_who_it_is() {
    for (command, fault) in [("trap", "trap"), ("spin", "deadline")] {
        let whole = validator(impatient(json!({})));
        let short = whole.in_turn(Turn::Short);
        assert_eq!(validated(&short, &batch("behave", &[])), ["-"; 9]);
        assert_eq!(validated(&short, &batch(command, &[2])), ["unavailable"; 9]);
        assert_eq!(
            validated(&short, &batch("behave", &[])),
            ["unavailable"; 9],
            "its instance is lost, and a short turn makes none"
        );
        assert_eq!(validated(&whole, &batch(command, &[2])), expected(fault, &[2]));
        assert_eq!(validated(&short, &batch("behave", &[])), ["-"; 9]);
    }
}

#[test]
fn a_validator_that_breaks_off_fails_exactly_the_messages_that_made_it() {
    let validator = validator(setup(json!({})));
    let nonsense = ["index-past-end", "index-twice", "index-descending"].map(|command| (command, "nonsense"));
    for (command, fault) in COMMON.into_iter().chain(nonsense) {
        assert_eq!(validated(&validator, &batch(command, &[4])), expected(fault, &[4]), "{command}");
        assert_eq!(validated(&validator, &batch("behave", &[4])), expected("", &[]), "after {command}");
    }
    assert_eq!(validated(&validator, &batch("trap", &[0, 5, 8])), expected("trap", &[0, 5, 8]));
    assert_eq!(validated(&validator, &[told("trap")]), ["trap"]);
    assert_eq!(validated(&validator, &[]), Vec::<&str>::new());
}

#[test]
fn a_transformer_that_breaks_off_fails_exactly_the_messages_that_made_it() {
    let transformer = transformer(setup(json!({})));
    let nonsense = [
        "index-past-end",
        "index-descending",
        "verdict-past-end",
        "verdict-twice",
        "verdict-and-replaced",
        "packed-few",
        "packed-many",
        "packed-short",
        "packed-past-end",
        "packed-descending",
        "split-flood",
    ];
    for (command, fault) in COMMON.into_iter().chain(nonsense.map(|command| (command, "nonsense"))) {
        assert_eq!(transformed(&transformer, &batch(command, &[7])), expected(fault, &[7]), "{command}");
        assert_eq!(transformed(&transformer, &batch("behave", &[7])), expected("", &[]), "after {command}");
    }
}

#[test]
fn a_cipher_that_breaks_off_fails_exactly_the_items_that_made_it() {
    let cipher = cipher(setup(json!({})));
    let nonsense = ["packed-few", "packed-many", "packed-short", "packed-past-end", "packed-descending"];
    for (command, fault) in COMMON.into_iter().chain(nonsense.map(|command| (command, "nonsense"))) {
        assert_eq!(sealed(&cipher, command), expected(fault, &[2]), "sealing: {command}");
        assert_eq!(opened(&cipher, command), expected(fault, &[2]), "opening: {command}");
        assert_eq!(sealed(&cipher, "behave"), expected("", &[]), "after {command}");
    }
    assert_eq!(opened(&cipher, "reject-past-end"), expected("nonsense", &[2]));
}

#[test]
fn a_guest_that_never_ends_is_ended_and_fails_alone() {
    let validator = validator(impatient(json!({})));
    assert_eq!(validated(&validator, &batch("spin", &[4])), expected("deadline", &[4]));
    assert_eq!(validated(&validator, &batch("behave", &[4])), expected("", &[]));
    let transformer = transformer(impatient(json!({})));
    assert_eq!(transformed(&transformer, &batch("spin", &[0])), expected("deadline", &[0]));
    let cipher = cipher(impatient(json!({})));
    assert_eq!(sealed(&cipher, "spin"), expected("deadline", &[2]));
    assert_eq!(opened(&cipher, "spin"), expected("deadline", &[2]));
}

fn sealed(cipher: &Cipher, command: &str) -> Vec<&'static str> {
    sealed_or_opened(cipher, &format!("sabotage:{command}"), Cipher::seal, |plain| plain.to_vec())
}

fn opened(cipher: &Cipher, command: &str) -> Vec<&'static str> {
    let seal = |plain: &[u8]| b"sealed:".iter().copied().chain(plain.iter().rev().copied()).collect();
    sealed_or_opened(cipher, &format!("sabotage-open:{command}"), Cipher::open, seal)
}

type Call = fn(&Cipher, &Secret, &Packed, &Packed, &Packed) -> Vec<Result<bytes::Bytes, Failure>>;

fn sealed_or_opened(cipher: &Cipher, command: &str, call: Call, form: impl Fn(&[u8]) -> Vec<u8>) -> Vec<&'static str> {
    let items: Vec<_> = (0..9).map(|index| form(if index == 2 { command.as_bytes() } else { b"plain" })).collect();
    let nonces = Packed::collect([[0_u8; 12].as_slice(); 9]).unwrap();
    let contexts = Packed::collect([b"".as_slice(); 9]).unwrap();
    let items = Packed::collect(items.iter().map(Vec::as_slice)).unwrap();
    let answers = call(cipher, &Secret::new([7; 32]), &nonces, &contexts, &items);
    fault_names(answers.into_iter().map(|answer| match answer {
        Ok(_) => None,
        Err(Failure::Fault(fault)) => Some(fault),
        Err(Failure::Rejected(reason)) => panic!("{reason:?}"),
    }))
}

#[test]
fn a_cipher_that_refuses_a_call_loses_only_the_item_that_it_refuses() {
    let cipher = cipher(setup(json!({})));
    let nonces = Packed::collect([[0_u8; 12].as_slice(); 3]).unwrap();
    let plain = Packed::collect([b"one".as_slice(), b"sabotage:error", b"three"]).unwrap();
    let answers = cipher.seal(&Secret::new([7; 32]), &nonces, &plain, &plain);
    assert_eq!(answers[0], Ok("sealed:eno".into()));
    assert_eq!(answers[1], Err(Failure::Rejected(Reason::new("sabotage", "refuses to seal, as it was told"))));
    assert_eq!(answers[2], Ok("sealed:eerht".into()));
}

#[test]
fn a_rejection_is_kept_when_another_message_breaks_the_step() {
    let mut batch = batch("reject", &[1]);
    batch[3] = told("trap");
    let answers = validator(setup(json!({}))).validate(&batch);
    assert_eq!(answers[0], Ok(()));
    assert!(
        matches!(&answers[1], Err(Failure::Rejected(reason)) if reason.code == "sabotage" && reason.pointer.as_deref() == Some("/sabotage"))
    );
    assert!(matches!(&answers[3], Err(Failure::Fault(fault)) if fault.kind.name() == "trap"));
}

#[test]
fn reasons_are_short_and_printable_whatever_the_step_says() {
    let answers = validator(setup(json!({}))).validate(&[told("long-reason"), told("control-reason")]);
    let reasons = answers.into_iter().map(|answer| match answer {
        Err(Failure::Rejected(reason)) => reason,
        other => panic!("{other:?}"),
    });
    let [long, control]: [Reason; 2] = reasons.collect::<Vec<_>>().try_into().unwrap();
    assert!(long.code.len() <= 64 && long.message.len() <= 512 && long.pointer.is_none());
    assert_eq!(control.pointer, None);
    let shown = format!("{}{}", control.code, control.message);
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

#[test]
fn a_fault_names_the_setting_and_never_the_content() {
    let fault = |command: &str, setup: Setup| match validator(setup).validate(&[told(command)]).remove(0) {
        Err(Failure::Fault(fault)) => fault.message,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault("spin", impatient(json!({}))), "`validate` took longer than `limits.timeout` (200ms)");
    assert!(fault("hoard", setup(json!({}))).contains("`limits.memory` is 67108864 bytes"));
    assert!(!fault("panic-with-content", setup(json!({}))).contains("sabotage"));
}

#[test]
fn a_step_that_is_used_from_several_threads_answers_each() {
    let validator = validator(setup(json!({})));
    thread::scope(|scope| {
        for at in 0..8 {
            let validator = validator.clone();
            scope.spawn(move || {
                for command in ["behave", "trap", "hoard"] {
                    let fault = match command {
                        "behave" => "-",
                        "hoard" => "memory",
                        other => other,
                    };
                    let wanted: Vec<_> = (0..9).map(|index| if index == at { fault } else { "-" }).collect();
                    assert_eq!(validated(&validator, &batch(command, &[at])), wanted, "{command}");
                }
            });
        }
    });
}

#[test]
fn a_flood_of_log_lines_holds_nothing_up() {
    assert_eq!(validated(&validator(setup(json!({}))), &batch("flood", &[4])), expected("", &[]));
}
