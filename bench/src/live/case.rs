//! The questions about many sites, each with its budget.

use super::figure::Figure;
use super::variant::{House, Variant};

/// What is done to a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trial {
    Start {
        on_all_cores: bool,
    },
    /// The same by TLS, each site with a certificate of its own.
    Certificates,
    Change,
    /// One site gets another certificate, by TLS.
    Renewal,
    Pile,
}

/// What Meridian's variants may show at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) figure: Figure,
    pub(super) most: f64,
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) question: &'static str,
    pub(super) trial: Trial,
    pub(super) sites: u32,
    pub(super) workers: u32,
    /// How many changes are made, to and fro: an odd number, so that the last can be told from the
    /// state before all of them.
    pub(super) changes: u32,
    pub(super) variants: &'static [Variant],
    /// The first is the figure that is drawn, and of which ratios are made.
    pub(super) figures: &'static [Figure],
    /// Whom the others are compared with.
    pub(super) peers: &'static [Variant],
    pub(super) budgets: &'static [Budget],
}

impl Case {
    pub(super) fn main_figure(&self) -> Figure {
        self.figures[0]
    }
}

const STARTS: &[Variant] = &[
    Variant::OursFirst,
    Variant::OursAgain,
    Variant::OursKilled,
    Variant::Haproxy,
    Variant::Nginx,
];
const START_FIGURES: &[Figure] = &[
    Figure::FirstAnswerMs,
    Figure::StartCpuMs,
    Figure::MemoryMib,
    Figure::BytesPerSite,
];
const START_BUDGETS: &[Budget] = &[
    at_most(Figure::FirstAnswerMs, 500.0),
    at_most(Figure::BytesPerSite, 2048.0),
];

const fn at_most(figure: Figure, most: f64) -> Budget {
    Budget { figure, most }
}

/// Every case, in the order in which they run.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "start-one-core",
        question: "50,000 sites, one worker, all processes on one core: from exec (killed: from the kill) to the first right answer, memory four seconds later",
        trial: Trial::Start {
            on_all_cores: false,
        },
        sites: 50_000,
        workers: 1,
        changes: 0,
        variants: STARTS,
        figures: START_FIGURES,
        peers: &[Variant::Haproxy, Variant::Nginx],
        budgets: START_BUDGETS,
    },
    Case {
        name: "start-two-cores",
        question: "50,000 sites, one worker, the processes free to use the load's core too, where only the probe runs: from exec (killed: from the kill) to the first right answer, memory four seconds later",
        trial: Trial::Start { on_all_cores: true },
        sites: 50_000,
        workers: 1,
        changes: 0,
        variants: STARTS,
        figures: START_FIGURES,
        peers: &[Variant::Haproxy, Variant::Nginx],
        budgets: START_BUDGETS,
    },
    Case {
        name: "certificates",
        question: "100,000 sites, each with a certificate of its own on P-256, one worker, all processes on one core: from exec (killed: from the kill) to the end of the first request behind a handshake, memory four seconds later beside that of the same sites without certificates",
        trial: Trial::Certificates,
        sites: 100_000,
        workers: 1,
        changes: 0,
        variants: &[
            Variant::OursAgain,
            Variant::OursKilled,
            Variant::OursFirst,
            Variant::Haproxy,
            Variant::Nginx,
        ],
        figures: &[
            Figure::FirstAnswerMs,
            Figure::StartCpuMs,
            Figure::MemoryMib,
            Figure::BytesPerCertificate,
        ],
        peers: &[Variant::Haproxy, Variant::Nginx],
        budgets: &[
            at_most(Figure::FirstAnswerMs, 1000.0),
            at_most(Figure::BytesPerCertificate, 1024.0),
        ],
    },
    Case {
        name: "change",
        question: "one of 100,000 sites gets another backend under load, two workers: until every request meets it, and what that costs",
        trial: Trial::Change,
        sites: 100_000,
        workers: 2,
        changes: 1,
        variants: &[
            Variant::OursSet,
            Variant::OursSetSite,
            Variant::OursApply,
            Variant::HaproxyApi,
            Variant::HaproxyMap,
            Variant::HaproxyReload,
            Variant::NginxReload,
        ],
        figures: &[
            Figure::SeenMs,
            Figure::LiveMs,
            Figure::CommandMs,
            Figure::Failed,
            Figure::Stale,
            Figure::SlowestMs,
            Figure::ChangeCpuMs,
            Figure::MemoryBeforeMib,
            Figure::MemoryPeakMib,
        ],
        peers: &[
            Variant::HaproxyApi,
            Variant::HaproxyReload,
            Variant::NginxReload,
        ],
        budgets: &[
            at_most(Figure::LiveMs, 20.0),
            at_most(Figure::Failed, 0.0),
            at_most(Figure::Stale, 0.0),
        ],
    },
    Case {
        name: "renewal",
        question: "one of 100,000 certificates is replaced under load by TLS, two workers: until every handshake shows it, and what that costs",
        trial: Trial::Renewal,
        sites: 100_000,
        workers: 2,
        changes: 1,
        variants: &[
            Variant::OursApply,
            Variant::HaproxyApi,
            Variant::HaproxyReload,
            Variant::NginxReload,
        ],
        figures: &[
            Figure::SeenMs,
            Figure::CommandMs,
            Figure::Failed,
            Figure::Stale,
            Figure::SlowestMs,
            Figure::ChangeCpuMs,
            Figure::MemoryBeforeMib,
            Figure::MemoryPeakMib,
        ],
        peers: &[
            Variant::HaproxyApi,
            Variant::HaproxyReload,
            Variant::NginxReload,
        ],
        budgets: &[at_most(Figure::Failed, 0.0), at_most(Figure::Stale, 0.0)],
    },
    Case {
        name: "pile",
        question: "10,000 sites, twenty-one changes at one a second while long responses are under way, one worker: what piles up",
        trial: Trial::Pile,
        sites: 10_000,
        workers: 1,
        changes: 21,
        variants: &[
            Variant::OursSet,
            Variant::OursApply,
            Variant::HaproxyApi,
            Variant::HaproxyReload,
            Variant::NginxReload,
        ],
        figures: &[
            Figure::MemoryPeakMib,
            Figure::MemoryBeforeMib,
            Figure::ProcessesPeak,
            Figure::Failed,
            Figure::SlowestMs,
            Figure::ChangeCpuMs,
        ],
        peers: &[Variant::HaproxyReload, Variant::NginxReload],
        budgets: &[at_most(Figure::Failed, 0.0)],
    },
];

/// The cases named, a name also standing for those that begin with it and a dash; with no
/// names, all.
pub(super) fn named(names: &[String]) -> Result<Vec<Case>, String> {
    let fits = |case: &Case, name: &str| {
        let rest = case.name.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if let Some(unknown) = names
        .iter()
        .find(|name| !CASES.iter().any(|case| fits(case, name)))
    {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        return Err(format!(
            "--case {unknown}: there is no such case; there are: {}",
            known.join(", ")
        ));
    }
    let is_wanted = |case: &&Case| names.is_empty() || names.iter().any(|name| fits(case, name));
    Ok(CASES.iter().filter(is_wanted).copied().collect())
}

/// Those of a case's variants that were chosen: by name, or by the name of their house.
pub(super) fn chosen(case: &Case, chosen: &[Choice]) -> Vec<Variant> {
    let is_chosen = |variant: &Variant| {
        chosen.is_empty()
            || chosen.iter().any(|choice| match choice {
                Choice::House(house) => variant.house() == *house,
                Choice::Variant(named) => variant == named,
            })
    };
    case.variants.iter().copied().filter(is_chosen).collect()
}

/// What `--variants` names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Choice {
    House(House),
    Variant(Variant),
}

/// A choice as it is typed. `haproxy` and `nginx` are their houses: in a case where a variant is
/// called like that it is the only one of its house.
pub(super) fn choice(text: &str) -> Result<Choice, String> {
    match text {
        "ours" => return Ok(Choice::House(House::Meridian)),
        "haproxy" => return Ok(Choice::House(House::Haproxy)),
        "nginx" => return Ok(Choice::House(House::Nginx)),
        _ => {}
    }
    let mut all = CASES.iter().flat_map(|case| case.variants);
    let found = all.find(|variant| variant.name() == text);
    found.copied().map(Choice::Variant).ok_or_else(|| {
        let mut names: Vec<&str> = CASES
            .iter()
            .flat_map(|case| case.variants)
            .map(|variant| variant.name())
            .collect();
        names.sort_unstable();
        names.dedup();
        format!("there are: ours, {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_and_variants_are_found_by_name_and_family() {
        let start = named(&["start".to_owned()]).unwrap();
        assert_eq!(start.len(), 2);
        assert_eq!(named(&[]).unwrap().len(), CASES.len());
        assert!(named(&["pil".to_owned()]).unwrap_err().contains("pile"));
        let change = named(&["change".to_owned()]).unwrap()[0];
        let ours = choice("ours").unwrap();
        assert_eq!(chosen(&change, &[ours]).len(), 3);
        let both = [choice("ours-set").unwrap(), choice("nginx").unwrap()];
        let names = [Variant::OursSet, Variant::NginxReload];
        assert_eq!(chosen(&change, &both), names);
        assert!(choice("apache").unwrap_err().contains("haproxy-api"));
    }

    #[test]
    fn every_peer_and_budget_of_a_case_is_measured_in_it() {
        for case in CASES {
            for peer in case.peers {
                assert!(case.variants.contains(peer), "{}: {peer:?}", case.name);
            }
            let is_changed = !matches!(case.trial, Trial::Start { .. } | Trial::Certificates);
            assert!(case.changes % 2 == u32::from(is_changed), "{}", case.name);
            for budget in case.budgets {
                assert!(case.figures.contains(&budget.figure), "{}", case.name);
            }
        }
    }
}
