//! A report as a picture: for each question a bar for each server's median and a dot for each sample.

use std::fmt::Write;

use crate::markdown::figure;

const WIDTH: f64 = 900.0;
const LABEL_WIDTH: f64 = 120.0;
const BAR_WIDTH: f64 = 580.0;
const ROW_HEIGHT: f64 = 26.0;
const TITLE_HEIGHT: f64 = 44.0;
const GAP: f64 = 18.0;

/// One question.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) bars: Vec<Bar>,
}

/// One server.
pub(crate) struct Bar {
    pub(crate) label: &'static str,
    pub(crate) colour: &'static str,
    pub(crate) median: f64,
    pub(crate) samples: Vec<f64>,
    /// Stands behind the figure.
    pub(crate) note: String,
}

/// A whole SVG file; no script, no font of its own.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let height_of = |panel: &Panel| TITLE_HEIGHT + panel.bars.len() as f64 * ROW_HEIGHT + GAP;
    let height: f64 = panels.iter().map(height_of).sum();
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
    for panel in panels {
        for element in elements(panel, top) {
            put(element);
        }
        top += height_of(panel);
    }
    put("</svg>".to_owned());
    picture
}

fn elements(panel: &Panel, top: f64) -> Vec<String> {
    let mut elements = Vec::new();
    elements.push(format!(
        "<text x=\"10\" y=\"{}\" fill=\"#1b1f24\" font-weight=\"600\">{}</text>",
        top + 20.0,
        panel.title
    ));
    elements.push(format!(
        "<text x=\"10\" y=\"{}\" fill=\"#57606a\" font-size=\"11\">{}</text>",
        top + 36.0,
        panel.subtitle
    ));
    let greatest = panel
        .bars
        .iter()
        .flat_map(|bar| bar.samples.iter().copied())
        .fold(f64::MIN_POSITIVE, f64::max);
    let x_of = |value: f64| LABEL_WIDTH + (value.max(0.0) / greatest) * BAR_WIDTH;
    for (index, bar) in panel.bars.iter().enumerate() {
        let y = top + TITLE_HEIGHT + index as f64 * ROW_HEIGHT;
        let middle = y + ROW_HEIGHT / 2.0;
        let most = bar.samples.iter().copied().fold(bar.median, f64::max);
        elements.push(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1b1f24\">{}</text>",
            LABEL_WIDTH - 8.0,
            middle + 4.0,
            bar.label
        ));
        elements.push(format!(
            "<rect x=\"{LABEL_WIDTH}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
            y + 4.0,
            x_of(bar.median) - LABEL_WIDTH,
            ROW_HEIGHT - 8.0,
            bar.colour
        ));
        elements.extend(bar.samples.iter().map(|&sample| {
            let x = x_of(sample);
            format!("<circle cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"3\" fill=\"#1b1f24\" fill-opacity=\"0.55\"/>")
        }));
        elements.push(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1b1f24\">{}{}</text>",
            x_of(most) + 8.0,
            middle + 4.0,
            figure(bar.median),
            bar.note
        ));
    }
    elements
}
