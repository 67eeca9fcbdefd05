//! Certificates on their way in: from the files that a manifest or a call names to what is sealed
//! in STATE/certificates.
//!
//! ```text
//! files      reads a file, and what tells whether it is still the same
//! pem        PEM to DER
//! verdict    whether chain and key are right, and what is known of them then
//! reading    all of a manifest, and what is wrong with any, each with its line
//! authorities who vouches for backends: no secret, and so a part of what is desired
//! asking     has the running `up` keep what it does not have yet
//! keeping    what the running `up` knows of certificates, and when a file is removed
//! directory  the sealed files; host_key what they are sealed with
//! ```

pub(crate) mod asking;
pub(crate) mod authorities;
pub(crate) mod directory;
pub(crate) mod fault;
pub(crate) mod files;
mod host_key;
pub(crate) mod keeping;
mod pem;
pub(crate) mod reading;
pub(crate) mod showing;
mod verdict;

use jiff::Timestamp;
use zeroize::Zeroizing;

/// A time in seconds since 1970, for people.
pub(crate) fn shown_time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// The time, in seconds since 1970.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Bytes as hexadecimal digits, behind what `text` has.
fn append_hex(text: &mut Zeroizing<String>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
}

/// The bytes of such digits.
fn from_hex(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let value = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.as_bytes().chunks(2) {
        let [high, low] = *pair else {
            return None;
        };
        bytes.push(value(high)? << 4 | value(low)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_what_was_written() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut text = Zeroizing::new(String::new());
        append_hex(&mut text, &bytes);
        assert_eq!(*from_hex(&text).unwrap(), bytes);
        assert!(from_hex("0").is_none() && from_hex("0g").is_none() && from_hex("ü").is_none());
    }
}
