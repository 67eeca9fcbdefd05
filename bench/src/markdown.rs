//! What reports are written with: lines of tables, and figures of as many digits as mean something.

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
