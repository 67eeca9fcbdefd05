//! What reports are written with: their beginning, lines of tables, and figures of as many digits as
//! mean something.

use crate::machine::Machine;

/// What a report begins with; `trial` says in which way it is no result, `method` what was done.
pub(crate) fn preamble(
    title: &str,
    machine: &Machine,
    trial: Option<&str>,
    method: &str,
) -> String {
    let mut text = format!("# {title}\n\n");
    if let Some(trial) = trial {
        text.push_str(&format!(
            "**A trial: {trial}. These figures are no result.**\n\n"
        ));
    }
    if machine.unoptimised {
        text.push_str(
            "**The bench was built without optimisation; so was what stands beside it. No result.**\n\n",
        );
    }
    text.push_str(&format!(
        "{}, {}. Server under test on core {}, load and backends on core {}. TCP congestion control: {}. \
         {method}\n\n{}.\n\n",
        machine.kernel,
        machine.processor,
        machine.server_core,
        machine.load_core,
        machine.congestion_control,
        machine.versions.join("; ")
    ));
    text
}

pub(crate) fn table_line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// The line under a table's heading.
pub(crate) fn table_rule(columns: usize) -> String {
    table_line(&vec!["---".to_owned(); columns])
}

/// Three digits that mean something.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The least and the most of some figures, or a dash where there is none.
pub(crate) fn range(values: &[f64]) -> String {
    let least = values.iter().copied().reduce(f64::min);
    let most = values.iter().copied().reduce(f64::max);
    match least.zip(most) {
        Some((least, most)) => format!("{} to {}", figure(least), figure(most)),
        None => "-".to_owned(),
    }
}

/// A ratio, or a dash where there is none.
pub(crate) fn ratio(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}"))
}

pub(crate) fn capitalised(words: &str) -> String {
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
