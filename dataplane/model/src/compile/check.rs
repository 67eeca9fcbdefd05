//! Whether a revision compiles, for who has no use for what comes of it.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;

use super::site::{With, compile_each};
use super::{Compiled, SITES_AT_ONCE, claimed_too, problem};
use crate::desired::{Desired, Site};
use crate::local::Local;
use crate::parallel;
use crate::problem::{Problem, Problems};

/// Whether [`super::compile`] would have anything against `desired`. Costs less: no tables are
/// made, and of the sites no more than a few hundred are ever held.
///
/// # Errors
///
/// As [`super::compile`].
pub fn check(local: &Local, desired: &Desired) -> Result<(), Problems> {
    let Compiled { context, .. } = Compiled::without_sites(local, desired, 0);
    let sites = &desired.sites;
    let parts: Vec<&[Arc<Site>]> = sites.chunks(SITES_AT_ONCE).collect();
    let mut problems = Vec::new();
    let compile = |part: &&[Arc<Site>]| {
        let compiled = compile_each(&With::nothing(&local.host, &context), part);
        compiled.err().unwrap_or_default()
    };
    let compile_all = || {
        let all: Result<(), Infallible> = parallel::each(&parts, compile, |found| {
            problems.extend(found);
            Ok(())
        });
        all.unwrap_or_else(|never| match never {});
    };
    let (met, ()) = parallel::both(|| meeting(sites), compile_all);
    problems.extend(met);
    Problems::refuse_any(problems)
}

/// Sites that have something which only one may have.
fn meeting(sites: &[Arc<Site>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut claims: HashMap<&str, &Site> = HashMap::with_capacity(sites.len());
    let mut names = HashSet::with_capacity(sites.len());
    let mut ids = HashSet::with_capacity(sites.len());
    for site in sites {
        let full_name = (site.tenant.as_str(), site.name.as_str());
        for hostname in &site.hostnames {
            if let Some(before) = claims.insert(hostname.as_str(), site) {
                let owner = (before.tenant.as_str(), before.name.as_str());
                problems.push(claimed_too(full_name, hostname.as_str(), owner));
            }
        }
        let is_new = names.insert(full_name);
        if !ids.insert(site.id) || !is_new {
            let what = String::from("is there twice, or its id is");
            problems.push(problem(full_name, "site", what));
        }
    }
    problems
}
