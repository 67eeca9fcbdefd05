//! What must hold for any bytes that come in answer to a question for the addresses of a name.

use meridian_dataplane::names::message::{Answer, Family, Reply, question, read};

/// Bytes of a message before its question.
const HEADER_BYTES: usize = 12;
/// The least that an address takes: the root, a type, a class, a TTL, a length and four bytes.
const RECORD_BYTES_MIN: usize = 15;
/// How much of an input is cut at every byte.
const CUT_BYTES_MAX: usize = 512;

/// Panics when something does not hold.
pub fn check(input: &[u8]) {
    for family in [Family::V4, Family::V6] {
        let asked = question("app.internal", family, 0x1234).expect("it is a name");
        check_reply(input, &asked);
        for end in 0..input.len().min(CUT_BYTES_MAX) {
            check_reply(&input[..end], &asked);
        }
        // Few inputs are an answer to this very question, so it is put before them, too.
        if let [flags, code, answers, records @ ..] = input {
            let mut answer = asked.clone();
            answer[2] = 0x80 | flags;
            answer[3] = *code;
            answer[7] = *answers;
            answer.extend(records);
            check_reply(&answer, &asked);
        }
    }
}

fn check_reply(bytes: &[u8], asked: &[u8]) {
    let Some(reply) = read(bytes, asked) else {
        return;
    };
    assert!(bytes.len() >= HEADER_BYTES, "it has no header");
    assert_eq!(bytes[..2], asked[..2], "it has another id");
    assert!(bytes[2] & 0x80 != 0, "it is a question");
    let (is_cut, code) = (bytes[2] & 2 != 0, bytes[3] & 0xf);
    assert_eq!(reply == Reply::Truncated, is_cut);
    match &reply {
        Reply::Truncated => {}
        Reply::Fault(words) => assert!(!words.is_empty()),
        Reply::Answer(Answer::NoName) => assert_eq!(code, 3),
        Reply::Answer(Answer::NoAddress) => assert_eq!(code, 0),
        Reply::Answer(Answer::Addresses { addresses, .. }) => {
            assert_eq!(code, 0);
            assert!(!addresses.is_empty());
            assert!(HEADER_BYTES + addresses.len() * RECORD_BYTES_MIN <= bytes.len());
        }
    }
    // What stands behind a message is none of it.
    if let Reply::Answer(_) = reply {
        assert_eq!(read(&[bytes, b"behind"].concat(), asked), Some(reply));
    }
}
