//! The cases as panels of a picture.

use super::rounds::CaseRun;
use super::summary::rows;
use super::variant::Variant;
use crate::plot::{Bar, Panel};

pub(super) fn panels(runs: &[CaseRun]) -> Vec<Panel> {
    runs.iter().map(panel).collect()
}

fn panel(run: &CaseRun) -> Panel {
    let mark = if run.rounds.is_result {
        ""
    } else {
        " (no result)"
    };
    let bars = rows(run).into_iter().map(|row| Bar {
        label: row.variant.name(),
        colour: colour(row.variant),
        median: row.median,
        samples: run
            .rounds
            .samples
            .iter()
            .filter(|sample| sample.kept && sample.variant == row.variant)
            .map(|sample| sample.figure)
            .collect(),
        note: row
            .to_haproxy
            .map_or(String::new(), |ratio| format!("  ({ratio:.2} of HAProxy)")),
    });
    Panel {
        title: format!("{}{mark}", run.case.name),
        subtitle: format!("{}; {}", run.case.question, run.case.measure.unit()),
        bars: bars.collect(),
    }
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
