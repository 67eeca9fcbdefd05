//! Reading a geographic database in the format of MaxMind (MMDB 2.0), by the crate `maxminddb`:
//! bytes in, [`Places`] out.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::net::IpAddr;

use hashbrown::HashTable;
use ipnet::IpNet;
use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions};

use super::cells::Family;
use super::embedded;
use super::place::{Place, Record};
use super::places::{Builder, FamilyPlaces, Mixer, PlaceId, Places, UNKNOWN};
use crate::limits::{GEO_DATABASE_BYTES_MAX, GEO_PLACES_MAX};
use crate::parallel;
use crate::problem::Problem;

/// The key of a manifest that names the database.
const KEY: &str = "geo.database";

/// A database, as bytes that somebody else read.
#[derive(Clone, Copy, Debug)]
pub enum Database<'a> {
    /// The one that is inside the program.
    Embedded,
    /// A file for both families, or for one of them.
    File(&'a [u8]),
    /// A file for each family.
    Pair {
        /// For IPv4.
        v4: &'a [u8],
        /// For IPv6.
        v6: &'a [u8],
    },
}

impl Database<'_> {
    /// Everything that it says, in some tenths of a second on two CPUs for the largest there are:
    /// for a thread that nobody waits for. Nothing outside 2000::/3 is taken over, where no
    /// visitor is.
    ///
    /// # Errors
    ///
    /// The [`Problem`] says what is wrong with the bytes; its file is for the caller to fill in.
    /// Whatever was in use before still holds.
    pub fn places(self) -> Result<Places, Problem> {
        let places = match self {
            Database::Embedded => return Ok(embedded::places()),
            Database::File(bytes) => {
                let reader = open(bytes)?;
                both(&reader, &reader)?
            }
            Database::Pair { v4, v6 } => {
                let (v4, v6) = (open(v4)?, open(v6)?);
                let places = both(&v4, &v6)?;
                refuse_empty(&places.v4, "the file for IPv4")?;
                refuse_empty(&places.v6, "the file for IPv6")?;
                places
            }
        };
        if refuse_empty(&places.v4, "").is_err() {
            refuse_empty(&places.v6, "it")?;
        }
        Ok(places)
    }

    /// Only what it says of the cells of `network`, as far as it has its family: what a question
    /// of one prefix needs, without reading the rest.
    ///
    /// # Errors
    ///
    /// As those of [`Database::places`].
    pub(super) fn places_within(self, family: Family, network: IpNet) -> Result<Places, Problem> {
        let none = || Places {
            v4: Builder::new(Family::V4).finish(),
            v6: Builder::new(Family::V6).finish(),
        };
        let bytes = match (self, family) {
            (Database::Embedded, _) => return Ok(embedded::places()),
            (Database::File(bytes), _) => bytes,
            (Database::Pair { v4, .. }, Family::V4) => v4,
            (Database::Pair { v6, .. }, Family::V6) => v6,
        };
        let found = Walk::new(&open(bytes)?, family, network)?.run()?;
        Ok(match family {
            Family::V4 => Places {
                v4: found,
                ..none()
            },
            Family::V6 => Places {
                v6: found,
                ..none()
            },
        })
    }
}

fn open(bytes: &[u8]) -> Result<Reader<&[u8]>, Problem> {
    if bytes.len() > GEO_DATABASE_BYTES_MAX {
        let what = format!(
            "it has {} bytes, and a database at most {GEO_DATABASE_BYTES_MAX}",
            bytes.len()
        );
        return Err(problem(what, "name the database itself"));
    }
    Reader::from_source(bytes).map_err(|error| damaged(&error))
}

fn both(v4: &Reader<&[u8]>, v6: &Reader<&[u8]>) -> Result<Places, Problem> {
    let (v4, v6) = parallel::both(
        || Walk::new(v4, Family::V4, all_of(Family::V4))?.run(),
        || Walk::new(v6, Family::V6, all_of(Family::V6))?.run(),
    );
    Ok(Places { v4: v4?, v6: v6? })
}

fn refuse_empty(places: &FamilyPlaces, file: &str) -> Result<(), Problem> {
    if places.places().next().is_some() {
        return Ok(());
    }
    let what = format!("{file} says of no network where it is: no coordinates and no countries");
    let hint = "a city or country database is needed, in the layout of MaxMind or the flat one";
    Err(problem(what, hint))
}

fn problem(what: String, hint: &str) -> Problem {
    Problem {
        file: String::new(),
        line: None,
        key: KEY.to_string(),
        what,
        hint: hint.to_string(),
    }
}

fn damaged(error: &MaxMindDbError) -> Problem {
    let what = format!("it is no sound database: {error}");
    problem(what, "get it again, in MaxMind's format (.mmdb, unpacked)")
}

/// All that is read of a family.
fn all_of(family: Family) -> IpNet {
    match family {
        Family::V4 => family.network(0, 0),
        Family::V6 => family.network(0x20 << 48, 3),
    }
}

/// One way through the tree of a file, in the order of addresses.
struct Walk<'a> {
    reader: &'a Reader<&'a [u8]>,
    family: Family,
    network: IpNet,
    builder: Builder,
    /// Records that were decoded, by their offset: a city database has fewer than a tenth as many
    /// records as networks.
    known: HashTable<(usize, PlaceId)>,
    last: Option<(usize, PlaceId)>,
}

impl<'a> Walk<'a> {
    fn new(
        reader: &'a Reader<&'a [u8]>,
        family: Family,
        network: IpNet,
    ) -> Result<Walk<'a>, Problem> {
        Ok(Walk {
            reader,
            family,
            network,
            builder: Builder::new(family),
            known: HashTable::new(),
            last: None,
        })
    }

    fn run(mut self) -> Result<FamilyPlaces, Problem> {
        if self.family == Family::V6 && self.reader.metadata().ip_version == 4 {
            return Ok(self.builder.finish());
        }
        // Those without data are counted: a tree whose nodes point at each other would otherwise
        // be walked for as long as it likes, and yield nothing.
        let options = WithinOptions::default().include_networks_without_data();
        let within = self.network.to_string().parse().expect("a network is one");
        let networks = self.reader.within(within, options);
        let networks = networks.map_err(|error| damaged(&error))?;
        let leaves_max = u64::from(self.reader.metadata().node_count) * 2 + 2;
        for (count, found) in (0_u64..).zip(networks) {
            if count == leaves_max {
                let what = "its tree has more leaves than nodes allow".to_string();
                return Err(problem(what, "get it again: its nodes point at each other"));
            }
            self.take(&found.map_err(|error| damaged(&error))?)?;
        }
        Ok(self.builder.finish())
    }

    fn take(&mut self, found: &LookupResult<'a, &'a [u8]>) -> Result<(), Problem> {
        let Some(offset) = found.offset() else {
            return Ok(());
        };
        let network = found.network().map_err(|error| damaged(&error))?;
        let address = match (self.family, network.ip()) {
            (Family::V4, IpAddr::V4(address)) => u128::from(u32::from(address)) << 96,
            (Family::V6, IpAddr::V6(address)) => u128::from(address),
            // A file for IPv6 alone, asked for IPv4.
            _ => return Ok(()),
        };
        let id = match self.last {
            Some((last, id)) if last == offset => id,
            _ => self.id_at(offset, found)?,
        };
        self.last = Some((offset, id));
        if id != UNKNOWN {
            self.builder.add(address, network.prefix(), id);
        }
        Ok(())
    }

    fn id_at(
        &mut self,
        offset: usize,
        found: &LookupResult<'a, &'a [u8]>,
    ) -> Result<PlaceId, Problem> {
        let hash = |offset: usize| BuildHasherDefault::<Mixer>::default().hash_one(offset);
        if let Some((_, id)) = self.known.find(hash(offset), |(known, _)| *known == offset) {
            return Ok(*id);
        }
        let record: Option<Record<'_>> = found.decode().map_err(|error| damaged(&error))?;
        let id = match record.and_then(|record| record.place()) {
            Some(place) => self.id_of(place)?,
            None => UNKNOWN,
        };
        let entry = (offset, id);
        self.known
            .insert_unique(hash(offset), entry, |(known, _)| hash(*known));
        Ok(id)
    }

    fn id_of(&mut self, place: Place) -> Result<PlaceId, Problem> {
        self.builder.id(place).ok_or_else(|| {
            let what = format!("it has more than {GEO_PLACES_MAX} places");
            problem(what, "a city database has less than a million")
        })
    }
}
