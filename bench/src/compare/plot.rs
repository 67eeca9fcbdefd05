//! The report as a picture: for each case a bar for each server's median and a dot for each sample.

use std::fmt::Write;

use super::report::figure;
use super::rounds::CaseRun;
use super::summary::{Row, rows};
use super::variant::Variant;

const WIDTH: f64 = 900.0;
const LABEL_WIDTH: f64 = 120.0;
const BAR_WIDTH: f64 = 580.0;
const ROW_HEIGHT: f64 = 26.0;
const TITLE_HEIGHT: f64 = 44.0;
const GAP: f64 = 18.0;

/// A whole SVG file; no script, no font of its own.
pub(super) fn svg(runs: &[CaseRun]) -> String {
    let panels: Vec<(&CaseRun, Vec<Row>)> = runs.iter().map(|run| (run, rows(run))).collect();
    let height: f64 = panels
        .iter()
        .map(|(_, rows)| TITLE_HEIGHT + rows.len() as f64 * ROW_HEIGHT + GAP)
        .sum();
    let mut picture = String::new();
    let mut put = |element: String| writeln!(picture, "{element}").expect("a String takes all");
    put(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">"
    ));
    put(format!(
        "<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"
    ));
    let mut top = 0.0;
    for (run, rows) in &panels {
        for element in panel(run, rows, top) {
            put(element);
        }
        top += TITLE_HEIGHT + rows.len() as f64 * ROW_HEIGHT + GAP;
    }
    put("</svg>".to_owned());
    picture
}

fn panel(run: &CaseRun, rows: &[Row], top: f64) -> Vec<String> {
    let mut elements = Vec::new();
    let mark = if run.is_result { "" } else { " (no result)" };
    elements.push(format!(
        "<text x=\"10\" y=\"{}\" fill=\"#1b1f24\" font-weight=\"600\">{}{mark}</text>",
        top + 20.0,
        run.case.name
    ));
    elements.push(format!(
        "<text x=\"10\" y=\"{}\" fill=\"#57606a\" font-size=\"11\">{}; {}</text>",
        top + 36.0,
        run.case.question,
        run.case.measure.unit()
    ));
    let greatest = rows
        .iter()
        .map(|row| row.most)
        .fold(f64::MIN_POSITIVE, f64::max);
    let x_of = |value: f64| LABEL_WIDTH + (value.max(0.0) / greatest) * BAR_WIDTH;
    for (index, row) in rows.iter().enumerate() {
        let y = top + TITLE_HEIGHT + index as f64 * ROW_HEIGHT;
        let middle = y + ROW_HEIGHT / 2.0;
        elements.push(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1b1f24\">{}</text>",
            LABEL_WIDTH - 8.0,
            middle + 4.0,
            row.variant.name()
        ));
        elements.push(format!(
            "<rect x=\"{LABEL_WIDTH}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
            y + 4.0,
            x_of(row.median) - LABEL_WIDTH,
            ROW_HEIGHT - 8.0,
            colour(row.variant)
        ));
        let samples = run
            .samples
            .iter()
            .filter(|sample| sample.kept && sample.variant == row.variant);
        elements.extend(samples.map(|sample| {
            let x = x_of(sample.figure);
            format!("<circle cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"3\" fill=\"#1b1f24\" fill-opacity=\"0.55\"/>")
        }));
        let ratio = row
            .to_haproxy
            .map_or(String::new(), |ratio| format!("  ({ratio:.2} of HAProxy)"));
        elements.push(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1b1f24\">{}{ratio}</text>",
            x_of(row.most) + 8.0,
            middle + 4.0,
            figure(row.median)
        ));
    }
    elements
}

fn colour(variant: Variant) -> &'static str {
    match variant {
        Variant::Ours => "#3b7dd8",
        Variant::Haproxy => "#a3aab3",
        Variant::Nginx => "#7fb58a",
        Variant::Direct => "#e0e3e7",
        Variant::BareEpoll => "#d9a25f",
        Variant::BareGlommio => "#b68bc9",
        Variant::BareRing => "#5fa8c9",
    }
}
