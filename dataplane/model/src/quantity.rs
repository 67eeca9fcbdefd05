//! Durations and sizes as a manifest writes them: an integer and a unit.

use std::time::Duration;

use crate::name::Malformed;

/// Reads `10s`, `500ms`, `5m`, `2h` or `30d`.
///
/// # Errors
///
/// What is wrong with it, and how to write it.
pub fn duration(text: &str) -> Result<Duration, Malformed> {
    let refuse = || {
        malformed(
            text,
            "a duration",
            "an integer and ms, s, m, h or d, as in \"10s\"",
        )
    };
    let (count, unit) = split(text).ok_or_else(refuse)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return Err(refuse()),
    };
    let duration_ms = count.checked_mul(unit_ms).ok_or_else(refuse)?;
    Ok(Duration::from_millis(duration_ms))
}

/// Reads `512B`, `64KiB`, `10MiB` or `1GiB`; the result is in bytes.
pub(crate) fn size(text: &str) -> Result<u64, Malformed> {
    let refuse = || {
        malformed(
            text,
            "a size",
            "an integer and B, KiB, MiB or GiB, as in \"10MiB\"",
        )
    };
    let (count, unit) = split(text).ok_or_else(refuse)?;
    let unit_bytes = match unit {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return Err(refuse()),
    };
    count.checked_mul(unit_bytes).ok_or_else(refuse)
}

/// Writes a duration in the largest unit that fits it exactly.
pub(crate) fn shown_duration(duration: Duration) -> String {
    let duration_ms = duration.as_millis();
    for (unit, unit_ms) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ] {
        if duration_ms >= unit_ms && duration_ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", duration_ms / unit_ms);
        }
    }
    format!("{duration_ms}ms")
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count = text[..digits].parse().ok()?;
    Some((count, &text[digits..]))
}

fn malformed(text: &str, kind: &str, form: &str) -> Malformed {
    Malformed {
        what: format!("{text:?} is not {kind}"),
        hint: format!("write {form}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_an_integer_and_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in [
            "", "s", "10", "10 s", "1.5s", "-1s", "+1s", "10S", "10sec", "1h30m",
        ] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
        assert!(duration("18446744073709551616ms").is_err());
        assert!(duration("18446744073709551615d").is_err());
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(size("3GiB"), Ok(3 * 1024 * 1024 * 1024));
        for wrong in [
            "",
            "10",
            "10MB",
            "10mib",
            "1.5GiB",
            "18446744073709551615GiB",
        ] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn durations_are_shown_in_their_largest_exact_unit() {
        for text in ["1ms", "1500ms", "59s", "1m", "90m", "1h", "25h", "7d"] {
            assert_eq!(shown_duration(duration(text).unwrap()), text);
        }
        assert_eq!(shown_duration(duration("120s").unwrap()), "2m");
    }
}
