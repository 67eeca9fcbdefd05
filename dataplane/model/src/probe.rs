//! What the hosts of a fleet ask each other, so that each knows who is well (DESIGN §7): the
//! question's one field, the answer's body, and how both are signed.
//!
//! ```text
//! GET /.well-known/meridian/host HTTP/1.1
//! Meridian-Probe: 1 FROM TO NONCE INCARNATION PERIOD LIST SEQUENCE MAC
//! ```
//!
//! Keys are derived from the fleet's secret, one for questions and one for answers: neither can be
//! taken for the other. An answer is signed over the question's nonce, so none can be played again. A
//! question can: it names the host that it is for and the [`Period`] that this host told of last,
//! and who is asked with an old one gives nothing away but that it lives. No clock of one host is ever
//! compared with that of another (docs/decisions/0053-health-of-hosts.md).

mod answer;

use std::fmt::Write;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};

use crate::limits::PROBE_FIELD_BYTES_MAX;
use crate::name::Name;

pub use answer::{Answer, Report, SiteChanges, View};

/// What is asked for.
pub const PATH: &str = "/.well-known/meridian/host";

/// The name of the field that signs, in questions and in answers.
pub const FIELD: &str = "Meridian-Probe";

/// The version of both.
const VERSION: &str = "1";

/// What the keys are derived from the secret with. Other keys have other words.
const QUESTION_PURPOSE: &[u8] = b"meridian host probe 1 question";
const ANSWER_PURPOSE: &[u8] = b"meridian host probe 1 answer";

/// Bytes of a signature.
const MAC_BYTES: usize = 32;

/// What questions and answers are signed with.
#[derive(Clone, Debug)]
pub struct ProbeKeys {
    question: Key,
    answer: Key,
}

/// Random bytes that no two questions have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

/// A stretch of the life of one start of a plane, in which questions may name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// Of the start of the plane: random.
    pub incarnation: u64,
    /// Counted from the start.
    pub number: u64,
}

/// How much of a host's list of sites that it can not serve is known to who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Which list; another one is learned from its beginning.
    pub list: u64,
    /// Up to which change.
    pub sequence: u64,
}

/// What one host asks another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub from: Name,
    /// Who is asked.
    pub to: Name,
    /// What the answer is to be signed over.
    pub nonce: Nonce,
    /// What the other told of last; of nothing: [`Period::default`].
    pub period: Period,
    /// What is known already.
    pub known: Known,
}

impl ProbeKeys {
    /// By the secret of the fleet.
    pub fn of_secret(secret: &[u8]) -> ProbeKeys {
        let of = |purpose: &[u8]| {
            let derived = sign(&Key::new(HMAC_SHA256, secret), purpose);
            Key::new(HMAC_SHA256, derived.as_ref())
        };
        ProbeKeys {
            question: of(QUESTION_PURPOSE),
            answer: of(ANSWER_PURPOSE),
        }
    }

    /// What stands in the field of an answer with this body to the question with this nonce.
    pub fn sign_answer(&self, nonce: Nonce, body: &[u8]) -> String {
        let mac = sign(&self.answer, &[&nonce.0, body].concat());
        let mut field = format!("{VERSION} ");
        push_hex(&mut field, mac.as_ref());
        field
    }

    /// Whether a host of the fleet gave this answer to the question with this nonce.
    pub fn is_answer(&self, nonce: Nonce, field: &[u8], body: &[u8]) -> bool {
        let mut words = field.split(|&byte| byte == b' ');
        let (version, mac, end) = (words.next(), words.next(), words.next());
        let Some(mac) = mac.and_then(hex::<MAC_BYTES>) else {
            return false;
        };
        let is_whole = version == Some(VERSION.as_bytes()) && end.is_none();
        is_whole && verify(&self.answer, &[&nonce.0, body].concat(), &mac).is_ok()
    }
}

impl Question {
    /// What stands in its field.
    pub fn field(&self, keys: &ProbeKeys) -> String {
        let Question {
            from,
            to,
            nonce,
            period: Period {
                incarnation,
                number,
            },
            known: Known { list, sequence },
        } = self;
        let mut field = format!("{VERSION} {from} {to} ");
        push_hex(&mut field, &nonce.0);
        field.push_str(&format!(" {incarnation} {number} {list} {sequence}"));
        let mac = sign(&keys.question, field.as_bytes());
        field.push(' ');
        push_hex(&mut field, mac.as_ref());
        field
    }

    /// The question of a field; none when no host of the fleet wrote it.
    pub fn read(field: &[u8], keys: &ProbeKeys) -> Option<Question> {
        if field.len() > PROBE_FIELD_BYTES_MAX {
            return None;
        }
        let end = field.iter().rposition(|&byte| byte == b' ')?;
        let mac = hex::<MAC_BYTES>(&field[end + 1..])?;
        verify(&keys.question, &field[..end], &mac).ok()?;
        // From here on it is what one of ours wrote.
        let text = std::str::from_utf8(&field[..end]).ok()?;
        let mut words = text.split(' ');
        if words.next()? != VERSION {
            return None;
        }
        let (from, to) = (words.next()?, words.next()?);
        let nonce = hex(words.next()?.as_bytes())?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let question = Question {
            from: Name::parse(from).ok()?,
            to: Name::parse(to).ok()?,
            nonce: Nonce(nonce),
            period: Period {
                incarnation: number()?,
                number: number()?,
            },
            known: Known {
                list: number()?,
                sequence: number()?,
            },
        };
        words.next().is_none().then_some(question)
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes every character");
    }
}

/// So many bytes in lower case, and nothing else.
fn hex<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    if digits.len() != 2 * BYTES {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn question() -> Question {
        let name = |text| Name::parse(text).expect("a name");
        Question {
            from: name("ams-1"),
            to: name("nyc-1"),
            nonce: Nonce([0xa5; 16]),
            period: Period {
                incarnation: u64::MAX,
                number: 3,
            },
            known: Known {
                list: 1,
                sequence: 12_345,
            },
        }
    }

    #[test]
    fn a_question_comes_as_it_was_asked() {
        let keys = ProbeKeys::of_secret(SECRET);
        let field = question().field(&keys);
        assert_eq!(Question::read(field.as_bytes(), &keys), Some(question()));
        let longest = Name::parse(&"a".repeat(63)).expect("a name");
        let all = |number| Question {
            from: longest.clone(),
            to: longest.clone(),
            nonce: Nonce([0; 16]),
            period: Period {
                incarnation: number,
                number,
            },
            known: Known {
                list: number,
                sequence: number,
            },
        };
        let field = all(u64::MAX).field(&keys);
        assert_eq!(Question::read(field.as_bytes(), &keys), Some(all(u64::MAX)));
    }

    /// By Python's hmac, so that other versions can be told what they have to write.
    #[test]
    fn signatures_are_what_others_work_out() {
        let keys = ProbeKeys::of_secret(SECRET);
        let field = question().field(&keys);
        let mac = field.rsplit(' ').next();
        assert_eq!(mac, Some(QUESTION_MAC));
        let field = keys.sign_answer(Nonce([1; 16]), b"{}");
        assert_eq!(field, format!("1 {ANSWER_MAC}"));
    }
    const QUESTION_MAC: &str = "1613056dacc319ea0a0da6a0ad8d8bec10490f8b0347f613439ced14b58a1229";
    const ANSWER_MAC: &str = "146aef2d971c724b0fccba642a95716b6a7a09fba70cc0c5ce3233d733325a3c";

    #[test]
    fn what_another_secret_signed_is_forged() {
        let keys = ProbeKeys::of_secret(SECRET);
        let other = ProbeKeys::of_secret(b"another one that nobody else has!");
        assert_eq!(
            Question::read(question().field(&other).as_bytes(), &keys),
            None
        );
        let nonce = Nonce([7; 16]);
        let signed = other.sign_answer(nonce, b"{}");
        assert!(!keys.is_answer(nonce, signed.as_bytes(), b"{}"));
        assert!(other.is_answer(nonce, signed.as_bytes(), b"{}"));
        // An answer to another question, and another answer.
        assert!(!other.is_answer(Nonce([8; 16]), signed.as_bytes(), b"{}"));
        assert!(!other.is_answer(nonce, signed.as_bytes(), b"{ }"));
    }

    proptest! {
        #[test]
        fn no_byte_can_be_changed(at in 0..400_usize, with in any::<u8>()) {
            let keys = ProbeKeys::of_secret(SECRET);
            let mut field = question().field(&keys).into_bytes();
            let at = at % field.len();
            let is_same = field[at] == with;
            field[at] = with;
            prop_assert_eq!(Question::read(&field, &keys).is_some(), is_same);
            let mut signed = keys.sign_answer(Nonce([7; 16]), b"{}").into_bytes();
            let at = at % signed.len();
            let is_same = signed[at] == with;
            signed[at] = with;
            let is_answer = keys.is_answer(Nonce([7; 16]), &signed, b"{}");
            prop_assert_eq!(is_answer, is_same);
        }

        #[test]
        fn nothing_that_comes_is_too_odd_to_be_refused(
            field in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let keys = ProbeKeys::of_secret(SECRET);
            prop_assert_eq!(Question::read(&field, &keys), None);
            let is_answer = keys.is_answer(Nonce([7; 16]), &field, b"{}");
            prop_assert!(!is_answer);
            prop_assert_eq!(Answer::read(&field), None);
        }
    }
}
