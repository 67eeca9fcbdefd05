//! The text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Lines of one family stand together, behind what the family is:
//!
//! ```text
//! # HELP meridian_backends Backends of all sites, by state.
//! # TYPE meridian_backends gauge
//! meridian_backends{state="up"} 3
//! ```

use std::fmt::{self, Display, Write};

/// The format, as Content-Type has it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of number a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, and begins at 0 with the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many took at most so long.
    Histogram,
}

/// A number of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    /// As it is.
    Count(u64),
    /// Nanoseconds, told in seconds.
    Nanoseconds(u64),
}

/// The labels of a series, without braces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels(String);

/// A text of families, one after the other.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// A family that samples are added to.
#[derive(Debug)]
pub(super) struct Family<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl Exposition {
    /// Begins a family. No two have the same name.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        write_to(
            &mut self.text,
            format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
        );
        Family {
            name,
            text: &mut self.text,
        }
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Adds the series with these labels.
    pub(super) fn sample(&mut self, labels: &Labels, value: Value) {
        self.suffixed("", labels, value);
    }

    /// Adds the series with these labels whose name ends in `suffix`.
    pub(super) fn suffixed(&mut self, suffix: &str, Labels(labels): &Labels, value: Value) {
        let name = self.name;
        match labels.is_empty() {
            true => write_to(self.text, format_args!("{name}{suffix} {value}\n")),
            false => write_to(
                self.text,
                format_args!("{name}{suffix}{{{labels}}} {value}\n"),
            ),
        }
    }
}

impl Labels {
    /// None.
    pub(super) fn none() -> Labels {
        Labels::default()
    }

    /// These and one more.
    pub(super) fn with(&self, name: &str, value: impl Display) -> Labels {
        let comma = if self.0.is_empty() { "" } else { "," };
        let mut labels = String::with_capacity(self.0.len() + 32);
        write_to(
            &mut labels,
            format_args!(
                "{}{comma}{name}=\"{}\"",
                self.0,
                Escaped(&value.to_string())
            ),
        );
        Labels(labels)
    }
}

/// A label's value: backslash, quote and line feed are escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Count(count) => count.fmt(f),
            Value::Nanoseconds(ns) => (ns as f64 / 1e9).fmt(f),
        }
    }
}

fn write_to(text: &mut String, what: fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes every text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_as_the_format_wants_it() {
        let mut exposition = Exposition::default();
        let mut family = exposition.family("meridian_x_seconds_total", Kind::Counter, "What x is.");
        family.sample(&Labels::none(), Value::Count(u64::MAX));
        let labels = Labels::none().with("worker", 0).with("of", "b");
        family.suffixed("_sum", &labels, Value::Nanoseconds(1_500_000_000));
        assert_eq!(
            exposition.into_text(),
            "# HELP meridian_x_seconds_total What x is.\n\
             # TYPE meridian_x_seconds_total counter\n\
             meridian_x_seconds_total 18446744073709551615\n\
             meridian_x_seconds_total_sum{worker=\"0\",of=\"b\"} 1.5\n"
        );
    }

    #[test]
    fn labels_are_escaped() {
        let labels = Labels::none().with("a", "back\\slash \"quoted\"\nnext {=,} é");
        assert_eq!(labels.0, "a=\"back\\\\slash \\\"quoted\\\"\\nnext {=,} é\"");
    }

    #[test]
    fn short_and_long_times_are_told_in_digits() {
        for (ns, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (64_000, "0.000064"),
            (1_000_000_000, "1"),
            (31_536_000_000_000_001, "31536000"),
        ] {
            assert_eq!(Value::Nanoseconds(ns).to_string(), text);
        }
    }
}
