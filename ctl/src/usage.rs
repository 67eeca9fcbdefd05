//! `meridianctl usage`: what was served, for bills; and the ledger that it is kept in.
//!
//! ```text
//! counters_directory   what planes leave in STATE/counters
//! folding              from there into the ledger, by `bookkeeper`, a thread of `up`
//! collecting           the ledger, and what is not in it yet, for who only looks
//! report               summed by tenant, site, host and period (`time_range`, `percentile`)
//! rendering            as a table, CSV and JSON
//! ```

pub(crate) mod bookkeeper;
mod collecting;
pub(crate) mod counters_directory;
mod folding;
mod percentile;
mod rendering;
mod report;
pub(crate) mod time_range;

use std::sync::Arc;

use meridian_model::desired::Site;

use crate::cli;
use crate::config_directory::{ConfigDirectory, Found};
use crate::failure::Failure;
use crate::ledger::{Ledger, NamedSite};
use crate::output::Output;
use crate::state_directory::StateDirectory;

use collecting::{Source, Unfolded, collect};
use counters_directory::{CountersDirectory, PROGRAMS};
use report::{Question, Report, ReportRow, SiteNames};
use time_range::{Time, TimeRange};

/// Shows what was served.
///
/// # Errors
/// Exit 1 when it can not be read or not be written out, 2 when the call makes no sense.
pub(crate) fn run(call: &cli::Usage, output: Output) -> Result<(), Failure> {
    let state = StateDirectory::resolve(call.state.directory.as_deref())?;
    // Before anything is read, so that what is served meanwhile does not lie behind it.
    let now = Time::now();
    check_range(call, now)?;
    if !state.ledger().exists() && !state.config().is_dir() && !state.counters().is_dir() {
        return Err(Failure::input(format!(
            "state directory {}: nothing was ever served from there; name the one of \
             `meridianctl up` with --state",
            state.path().display()
        )));
    }
    let mut config = Config::new(&state);
    let counters = CountersDirectory::new(state.counters());
    let sockets = [state.dataplane_socket(), state.geodns_socket()];
    let sources: Vec<Source> = PROGRAMS
        .into_iter()
        .zip(sockets)
        .map(|(program, socket)| Source {
            counters: counters.of(program),
            socket,
        })
        .collect();
    let (ledger, unfolded) = collect(&sources, &state.ledger(), || config.host())?;
    let names = names(ledger.as_ref(), &mut config)?;
    let question = question(call, now, ledger.as_ref(), &unfolded)?;
    let rows = report(&question, &names, ledger.as_ref(), &unfolded)?;
    for fault in &unfolded.faults {
        output.note(|| format!("meridianctl: {fault}"));
    }
    output
        .deliver(
            || rendering::table(&rows, call.by_host),
            || rendering::json(&rows, &unfolded.faults),
            || rendering::csv(&rows),
        )
        .map_err(|error| Failure::input(format!("the answer could not be written: {error}")))
}

/// What sites are called, for the ledger.
pub(crate) fn named_sites<'a>(sites: impl IntoIterator<Item = &'a Arc<Site>>) -> Vec<NamedSite> {
    let named = sites.into_iter().map(|site| NamedSite {
        id: site.id,
        tenant: site.tenant.to_string(),
        name: site.name.to_string(),
    });
    named.collect()
}

fn check_range(call: &cli::Usage, now: Time) -> Result<(), Failure> {
    let from = call.from.unwrap_or_else(|| now.month_start());
    match call.to {
        Some(to) if to < from => Err(Failure::call(format!(
            "--to {to} lies before --from {from}; see --help"
        ))),
        None if now < from => Err(Failure::call(format!(
            "--from {from} lies in the future, and without --to usage is told up to now"
        ))),
        _ => Ok(()),
    }
}

fn question(
    call: &cli::Usage,
    now: Time,
    ledger: Option<&Ledger>,
    unfolded: &Unfolded,
) -> Result<Question, Failure> {
    let from = call.from.unwrap_or_else(|| now.month_start());
    let to = match call.to {
        Some(to) => to,
        None => {
            let in_ledger = ledger
                .map_or(Ok(None), Ledger::last_slot)
                .map_err(unreadable)?;
            let unfolded = unfolded.by_slot.keys().next_back().copied();
            up_to_now(now, in_ledger.max(unfolded))
        }
    };
    let (tenant, site) = match call.site.as_deref().map(|site| site.split_once('/')) {
        Some(Some((tenant, site))) => (Some(tenant.to_owned()), Some(site.to_owned())),
        Some(None) => (call.tenant.clone(), call.site.clone()),
        None => (call.tenant.clone(), None),
    };
    if let Some(other) = call
        .tenant
        .as_ref()
        .filter(|it| Some(*it) != tenant.as_ref())
    {
        return Err(Failure::call(format!(
            "--tenant {other} and --site {} name two tenants",
            call.site.as_deref().unwrap_or_default()
        )));
    }
    Ok(Question {
        tenant,
        site,
        range: TimeRange { from, to },
        by: call.by,
        by_host: call.by_host,
    })
}

/// Now, or the end of the last slot when that begins later: slots do not go back when the clock
/// does.
fn up_to_now(now: Time, last_slot: Option<u64>) -> Time {
    match last_slot.filter(|&last| last >= now.first_slot()) {
        Some(last) => Time::slot_end(last),
        None => now,
    }
}

fn report(
    question: &Question,
    names: &SiteNames,
    ledger: Option<&Ledger>,
    unfolded: &Unfolded,
) -> Result<Vec<ReportRow>, Failure> {
    let (from, to) = question.range.slots();
    let mut report = Report::new(question, names);
    let mut waiting = unfolded.by_slot.range(from..to).peekable();
    if let Some(ledger) = ledger {
        let read = ledger.each_usage(from, to, |host, usage| {
            while let Some((_, earlier)) = waiting.next_if(|(slot, _)| **slot < usage.slot) {
                add_all(&mut report, earlier);
            }
            report.add(host, usage);
        });
        read.map_err(unreadable)?;
    }
    for (_, later) in waiting {
        add_all(&mut report, later);
    }
    Ok(report.rows())
}

fn add_all(report: &mut Report<'_>, of_slot: &[(String, meridian_model::usage::SlotUsage)]) {
    for (host, usage) in of_slot {
        report.add(host, *usage);
    }
}

/// What sites are called now holds over what they were called.
fn names(ledger: Option<&Ledger>, config: &mut Config) -> Result<SiteNames, Failure> {
    let mut names = SiteNames::default();
    if let Some(ledger) = ledger {
        names.add(ledger.sites().map_err(unreadable)?);
    }
    if let Some(good) = config.found().last_good.as_ref() {
        names.add(named_sites(&good.desired.sites));
    }
    Ok(names)
}

fn unreadable(fault: crate::ledger::LedgerFault) -> Failure {
    Failure::input(fault.to_string())
}

/// The configuration, read when it is first needed.
struct Config {
    directory: ConfigDirectory,
    found: Option<Found>,
}

impl Config {
    fn new(state: &StateDirectory) -> Config {
        Config {
            directory: ConfigDirectory::new(state.config()),
            found: None,
        }
    }

    /// What can not be read has no names and no host: the numbers are right without it.
    fn found(&mut self) -> &Found {
        self.found
            .get_or_insert_with(|| self.directory.read().unwrap_or_default())
    }

    fn host(&mut self) -> String {
        let good = self.found().last_good.as_ref();
        let local = good.and_then(|good| good.local.as_ref());
        local.map_or_else(String::new, |local| local.host.name.to_string())
    }
}
