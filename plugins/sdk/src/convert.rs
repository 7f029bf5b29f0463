//! From the SDK's answers to the generated ones. Moves, copies nothing.

use crate::bindings::sealing::exports::tidegate::plugin::sealing;
use crate::bindings::transformation::exports::tidegate::plugin::transformation;
use crate::cipher::{Opening, Parameters};
use crate::transformer::{Answer, Fate, Verdict};

impl From<Answer> for transformation::Answer {
    fn from(answer: Answer) -> Self {
        let verdicts = answer.verdicts.into_iter().map(Into::into).collect();
        Self { replaced: answer.replaced, bodies: answer.bodies, verdicts }
    }
}

impl From<Verdict> for transformation::Verdict {
    fn from(verdict: Verdict) -> Self {
        let fate = match verdict.fate {
            Fate::Drop => transformation::Fate::Drop,
            Fate::Reject(reason) => transformation::Fate::Reject(reason),
            Fate::RetryAfter(milliseconds) => transformation::Fate::RetryAfter(milliseconds),
        };
        Self { index: verdict.index, fate }
    }
}

impl From<Parameters> for sealing::CipherParameters {
    fn from(parameters: Parameters) -> Self {
        Self { cipher: parameters.cipher, nonce_bytes: parameters.nonce_bytes, key_bytes: parameters.key_bytes }
    }
}

impl From<Opening> for sealing::Opening {
    fn from(opening: Opening) -> Self {
        Self { plain: opening.plain, rejected: opening.rejected }
    }
}
