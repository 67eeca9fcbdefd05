//! Comma-separated lists in field values (RFC 9110 §5.6.1).

use super::syntax::trim;

/// The elements of a list of tokens, without the white space around them and
/// with empty ones kept, so that a caller which forbids those can see them.
/// Not for values whose elements may hold quoted strings or comments.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// Whether a list of tokens holds `token`, in any case.
#[must_use]
pub fn contains(value: &[u8], token: &[u8]) -> bool {
    elements(value).any(|element| element.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_trimmed_and_empty_ones_kept() {
        let all: Vec<&[u8]> = elements(b"a, b\t,,c ,").collect();
        assert_eq!(all, [&b"a"[..], b"b", b"", b"c", b""]);
    }

    #[test]
    fn a_token_is_found_whole_and_in_any_case() {
        assert!(contains(b"keep-alive, Upgrade", b"upgrade"));
        assert!(!contains(b"keep-alive, upgraded", b"upgrade"));
    }
}
