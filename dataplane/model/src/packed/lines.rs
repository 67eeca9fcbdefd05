//! Sites as lines of a snapshot, and what finds one among them.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use crate::config_log::read_site;
use crate::desired::{Site, SiteName};
use crate::name::Name;
use crate::parallel;

/// Lines that a thread reads at a time.
const LINES_AT_ONCE: usize = 512;

/// Lines of sites, in the order of their names, with what finds one among them.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    text: Arc<String>,
    /// Where each begins, and where the last one ends.
    bounds: Vec<usize>,
    hash_keys: RandomState,
    by_name: Index,
    by_hostname: Index,
}

/// Hashes and the lines that have them, in the order of the hashes: of more than one line with the
/// same, each is to be looked at.
#[derive(Clone, Debug, Default)]
struct Index(Box<[(u32, u32)]>);

impl Lines {
    /// Of `sites` and the snapshot that they were written in.
    pub(super) fn new(sites: &[Arc<Site>], snapshot: Arc<String>) -> Lines {
        let ends = snapshot.bytes().enumerate();
        let ends = ends.filter(|(_, byte)| *byte == b'\n');
        let mut bounds: Vec<usize> = ends.map(|(at, _)| at + 1).collect();
        // Before the sites stands at least the header, and behind them the end marker.
        bounds.pop();
        let bounds = bounds.split_off(bounds.len() - sites.len() - 1);
        let hash_keys = RandomState::new();
        let mut by_name = Vec::with_capacity(sites.len());
        let mut by_hostname = Vec::with_capacity(sites.len());
        for (site, line) in sites.iter().zip(0..) {
            by_name.push((short(&hash_keys, &(&site.tenant, &site.name)), line));
            let hostnames = site.hostnames.iter();
            by_hostname.extend(hostnames.map(|it| (short(&hash_keys, it.as_str()), line)));
        }
        Lines {
            text: snapshot,
            bounds,
            hash_keys,
            by_name: Index::new(by_name),
            by_hostname: Index::new(by_hostname),
        }
    }

    fn len(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    fn site(&self, line: usize) -> Arc<Site> {
        read(&self.text.as_bytes()[self.bounds[line]..self.bounds[line + 1]])
    }

    /// The site of this name.
    pub(super) fn find(&self, name: &SiteName) -> Option<Arc<Site>> {
        let hash = short(&self.hash_keys, &(&name.tenant, &name.site));
        let mut sites = self.by_name.lines(hash).map(|line| self.site(line));
        sites.find(|site| site.tenant == name.tenant && site.name == name.site)
    }

    /// The site that claims exactly this hostname.
    pub(super) fn claimant(&self, hostname: &str) -> Option<Arc<Site>> {
        let hash = short(&self.hash_keys, hostname);
        let mut sites = self.by_hostname.lines(hash).map(|line| self.site(line));
        sites.find(|site| site.hostnames.iter().any(|it| it.as_str() == hostname))
    }

    /// The sites of a tenant, which stand together.
    pub(super) fn of_tenant(&self, tenant: &Name) -> impl Iterator<Item = Arc<Site>> {
        let first = self.first_where(|it| it >= tenant);
        let sites = (first..self.len()).map(|line| self.site(line));
        sites.take_while(move |site| site.tenant == *tenant)
    }

    /// How many sites a tenant has. Reads a few lines, whatever their number.
    pub(super) fn count_of(&self, tenant: &Name) -> usize {
        self.first_where(|it| it > tenant) - self.first_where(|it| it >= tenant)
    }

    /// The first line for whose tenant `holds` does, as it does for all that follow.
    fn first_where(&self, holds: impl Fn(&Name) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if holds(&self.site(middle).tenant) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// All of them, taken apart.
    pub(super) fn read_all(&self) -> Vec<Arc<Site>> {
        let lines: Vec<usize> = (0..self.len()).collect();
        let parts: Vec<&[usize]> = lines.chunks(LINES_AT_ONCE).collect();
        let mut sites = Vec::with_capacity(lines.len());
        let read = |part: &&[usize]| -> Vec<Arc<Site>> {
            part.iter().map(|&line| self.site(line)).collect()
        };
        let all: Result<(), Infallible> = parallel::each(&parts, read, |part| {
            sites.extend(part);
            Ok(())
        });
        all.unwrap_or_else(|never| match never {});
        sites
    }
}

impl Index {
    fn new(mut lines: Vec<(u32, u32)>) -> Index {
        lines.sort_unstable();
        Index(lines.into())
    }

    fn lines(&self, hash: u32) -> impl Iterator<Item = usize> {
        let first = self.0.partition_point(|(it, _)| *it < hash);
        let same = self.0[first..]
            .iter()
            .take_while(move |(it, _)| *it == hash);
        same.map(|(_, line)| *line as usize)
    }
}

/// Half of a hash that nobody who chooses names can foresee.
fn short(keys: &RandomState, value: &(impl Hash + ?Sized)) -> u32 {
    keys.hash_one(value) as u32
}

/// The site of a line.
pub(super) fn read(line: &[u8]) -> Arc<Site> {
    read_site(line).expect("it was written by us and is in memory")
}
