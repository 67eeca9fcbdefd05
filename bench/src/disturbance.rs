//! When a round was disturbed by others, and when so many were that there is no result.

/// Another process may take this part of the server's core; more, and the round is repeated.
pub(crate) const OTHERS_MOST: f64 = 0.06;
/// Of all rounds, this part may have been disturbed; beyond it there is no result.
const DISTURBED_MOST: f64 = 0.30;

/// Whether the part of disturbed rounds is too great even if every later one is quiet.
pub(crate) fn too_many_disturbed(disturbed: u32, planned: u32) -> bool {
    f64::from(disturbed) > DISTURBED_MOST * f64::from(planned + disturbed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_percent_is_the_limit() {
        assert!(!too_many_disturbed(0, 5));
        assert!(!too_many_disturbed(2, 5));
        assert!(too_many_disturbed(3, 5));
        assert!(!too_many_disturbed(3, 7));
        assert!(too_many_disturbed(1, 1));
    }
}
