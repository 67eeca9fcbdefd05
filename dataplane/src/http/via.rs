//! The Via field (RFC 9110 §7.6.3).

use super::syntax::trim;

/// Whether a Via value names `pseudonym` as one of those that the message passed.
///
/// Each element is `[protocol-name "/"] version RWS received-by [RWS comment]`;
/// a comment may hold commas, so elements are cut at commas outside of comments.
#[must_use]
pub fn names(value: &[u8], pseudonym: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut escaped = false;
    let mut start = 0;
    for (at, &byte) in value.iter().enumerate() {
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'\\' if depth > 0 => escaped = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                if is_of(&value[start..at], pseudonym) {
                    return true;
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    // A comment that never ends would hide what follows it: then every piece is looked at.
    if depth > 0 {
        return value
            .split(|&byte| byte == b',')
            .any(|element| is_of(element, pseudonym));
    }
    is_of(&value[start..], pseudonym)
}

/// Whether the second word of an element is `pseudonym`; hosts have no case.
fn is_of(element: &[u8], pseudonym: &[u8]) -> bool {
    trim(element)
        .split(|&byte| byte == b' ' || byte == b'\t')
        .filter(|word| !word.is_empty())
        .nth(1)
        .is_some_and(|word| word.eq_ignore_ascii_case(pseudonym))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_name_is_found_in_any_element() {
        for value in [
            "1.1 us",
            "1.0 a, 1.1 us",
            "HTTP/1.1 us (comment), 1.1 b",
            "1.1 a (x, y), 1.1\tus",
            "1.1  us",
            "1.1 a (open, 1.1 us",
            "1.1 a (\\), 1.1 us",
            ", ,1.1 us,",
        ] {
            assert!(names(value.as_bytes(), b"us"), "{value}");
        }
    }

    #[test]
    fn another_name_a_comment_or_a_version_is_not_ours() {
        for value in [
            "",
            "1.1 usa",
            "us",
            "us 1.1",
            "1.1 a (1.1 us, 1.1 us)",
            "1.1 a (x, 1.1 us)",
            "1.1 a (x\\), 1.1 us, y)",
        ] {
            assert!(!names(value.as_bytes(), b"us"), "{value}");
        }
    }
}
