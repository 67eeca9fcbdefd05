//! What a database amounts to: for each cell of the address space the place of its visitors, as
//! ranges that do not touch where they say the same.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::net::IpAddr;

use hashbrown::HashTable;

use super::cells::{Family, cell_of};
use super::place::Place;
use crate::limits::GEO_PLACES_MAX;

/// A place by its position in [`FamilyPlaces`]; [`UNKNOWN`] is none.
pub(super) type PlaceId = u32;

/// No location is known.
pub(super) const UNKNOWN: PlaceId = 0;

/// Where the visitors of every network are.
///
/// Of a city database of 15 million networks this is 8 million ranges and 100 MB, of the embedded
/// one 8 MB. Only building a table needs it: keep it where groups change often, or make it
/// again from the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Places {
    pub(super) v4: FamilyPlaces,
    pub(super) v6: FamilyPlaces,
}

impl Places {
    /// The place of the cell of an address; none where it is unknown. A v4-mapped address is the
    /// IPv4 address that it stands for.
    pub fn of(&self, address: IpAddr) -> Option<&Place> {
        let (family, cell) = cell_of(address.to_canonical());
        let places = self.family(family);
        places.place(places.id_of(cell))
    }

    pub(super) fn family(&self, family: Family) -> &FamilyPlaces {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The first address of each range, in order: there another place begins.
    pub fn first_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let of_family = |family: Family| {
            let ranges = self.family(family).ranges();
            ranges.map(move |(first, _)| family.network(first, family.cell_bits()).addr())
        };
        of_family(Family::V4).chain(of_family(Family::V6))
    }

    /// How many ranges there are, in IPv4 and in IPv6.
    pub fn ranges(&self) -> [usize; 2] {
        [&self.v4, &self.v6].map(|family| family.firsts.len())
    }
}

/// The same of one family.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FamilyPlaces {
    places: Vec<Place>,
    /// The first cell of each range, from 0 on; it ends where the next begins.
    firsts: Vec<u64>,
    ids: Vec<PlaceId>,
}

impl FamilyPlaces {
    /// Each place, with its id.
    pub(super) fn places(&self) -> impl Iterator<Item = (PlaceId, &Place)> {
        (1..).zip(&self.places)
    }

    pub(super) fn place(&self, id: PlaceId) -> Option<&Place> {
        self.places.get(id.checked_sub(1)? as usize)
    }

    /// The first cell and the place of each range, in order.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, PlaceId)> {
        self.firsts.iter().copied().zip(self.ids.iter().copied())
    }

    pub(super) fn id_of(&self, cell: u64) -> PlaceId {
        let behind = self.firsts.partition_point(|&first| first <= cell);
        self.ids[behind - 1]
    }
}

/// Takes networks in their order, and merges them.
pub(super) struct Builder {
    family: Family,
    places: Vec<Place>,
    by_key: HashTable<PlaceId>,
    firsts: Vec<u64>,
    ids: Vec<PlaceId>,
    /// The first cell that nothing is known of yet.
    next: u64,
    /// Networks finer than a cell, all of this cell: how many addresses each place has.
    divided: u64,
    shares: Vec<(PlaceId, u128)>,
}

impl Builder {
    pub(super) fn new(family: Family) -> Builder {
        Builder {
            family,
            places: Vec::new(),
            by_key: HashTable::new(),
            firsts: Vec::new(),
            ids: Vec::new(),
            next: 0,
            divided: 0,
            shares: Vec::new(),
        }
    }

    /// The id of a place; none when there are more than [`GEO_PLACES_MAX`].
    pub(super) fn id(&mut self, place: Place) -> Option<PlaceId> {
        let key = place.key();
        let hash = BuildHasherDefault::<Mixer>::default().hash_one(key);
        let is_it = |id: &PlaceId| self.places[*id as usize - 1].key() == key;
        if let Some(id) = self.by_key.find(hash, is_it) {
            return Some(*id);
        }
        if self.places.len() == GEO_PLACES_MAX {
            return None;
        }
        self.places.push(place);
        let id = self.places.len() as PlaceId;
        let places = &self.places;
        self.by_key.insert_unique(hash, id, |id| {
            let key = places[*id as usize - 1].key();
            BuildHasherDefault::<Mixer>::default().hash_one(key)
        });
        Some(id)
    }

    /// A network: the bits of its address, at the front, and how many count. What lies before the
    /// last one is passed over: of a sound database there is none.
    pub(super) fn add(&mut self, address: u128, length: u8, id: PlaceId) {
        let cell_bits = self.family.cell_bits();
        let cell = (address >> (128 - u32::from(cell_bits))) as u64;
        if length <= cell_bits {
            self.settle();
            self.extend(cell, cell + (1 << (cell_bits - length)), id);
            return;
        }
        if cell != self.divided {
            self.settle();
            self.divided = cell;
        }
        let addresses = 1_u128 << (self.family.address_bits() - length);
        match self.shares.iter_mut().find(|(known, _)| *known == id) {
            Some((_, share)) => *share = share.saturating_add(addresses),
            None => self.shares.push((id, addresses)),
        }
    }

    /// The cell that was divided goes to the place with most of its addresses; of several, to
    /// the first.
    fn settle(&mut self) {
        let largest = self.shares.iter().rev().max_by_key(|(_, share)| *share);
        let Some(&(id, _)) = largest else {
            return;
        };
        self.shares.clear();
        self.extend(self.divided, self.divided + 1, id);
    }

    /// The cells from `first` to before `end`, which are not divided.
    pub(super) fn extend(&mut self, first: u64, end: u64, id: PlaceId) {
        if end <= self.next {
            return;
        }
        if first > self.next {
            self.begin(self.next, UNKNOWN);
        }
        self.begin(first.max(self.next), id);
        self.next = end;
    }

    fn begin(&mut self, first: u64, id: PlaceId) {
        if self.ids.last() != Some(&id) {
            self.firsts.push(first);
            self.ids.push(id);
        }
    }

    pub(super) fn finish(mut self) -> FamilyPlaces {
        self.settle();
        if self.next < self.family.cells() {
            self.begin(self.next, UNKNOWN);
        }
        FamilyPlaces {
            places: self.places,
            firsts: self.firsts,
            ids: self.ids,
        }
    }
}

/// Mixes numbers that nobody chose to collide: half a million places are looked up while a
/// database is read, and SipHash would be a third of that.
#[derive(Default)]
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        // The table uses the highest and the lowest bits.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(29) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::place::Basis;
    use crate::location::Location;

    fn place(lat: f64) -> Place {
        Place {
            location: Location { lat, lon: 1.0 },
            country: None,
            basis: Basis::Coordinates,
        }
    }

    fn add(builder: &mut Builder, network: &str, id: PlaceId) {
        let network: ipnet::Ipv4Net = network.parse().unwrap();
        let address = u128::from(u32::from(network.network())) << 96;
        builder.add(address, network.prefix_len(), id);
    }

    #[test]
    fn networks_that_say_the_same_become_one_range() {
        let mut builder = Builder::new(Family::V4);
        let here = builder.id(place(1.0)).unwrap();
        let there = builder.id(place(2.0)).unwrap();
        assert_eq!(builder.id(place(1.0)), Some(here));
        for network in ["10.0.0.0/9", "10.128.0.0/9", "11.0.0.0/8"] {
            add(&mut builder, network, here);
        }
        add(&mut builder, "13.0.0.0/8", there);
        let places = builder.finish();
        let expected = [
            (0, UNKNOWN),
            (0x0a_0000, here),
            (0x0c_0000, UNKNOWN),
            (0x0d_0000, there),
            (0x0e_0000, UNKNOWN),
        ];
        assert_eq!(places.ranges().collect::<Vec<_>>(), expected);
        assert_eq!(places.place(places.id_of(0x0b_ffff)), Some(&place(1.0)));
        assert_eq!(places.place(places.id_of(0x0c_0000)), None);
    }

    #[test]
    fn a_cell_goes_to_whoever_has_most_of_it() {
        let mut builder = Builder::new(Family::V4);
        let ids = [1.0, 2.0, 3.0].map(|lat| builder.id(place(lat)).unwrap());
        add(&mut builder, "192.0.2.0/26", ids[0]);
        add(&mut builder, "192.0.2.64/26", ids[1]);
        add(&mut builder, "192.0.2.128/26", ids[0]);
        // The rest of it is not known at all, and what is known counts.
        add(&mut builder, "192.0.3.7/32", ids[2]);
        add(&mut builder, "192.0.4.0/25", ids[1]);
        add(&mut builder, "192.0.4.128/25", ids[0]);
        let places = builder.finish();
        let cells = [0xc0_0002, 0xc0_0003, 0xc0_0004, 0xc0_0005];
        let found = cells.map(|cell| places.id_of(cell));
        assert_eq!(found, [ids[0], ids[2], ids[1], UNKNOWN]);
    }

    #[test]
    fn the_ends_of_the_address_space_are_covered() {
        let mut builder = Builder::new(Family::V6);
        let id = builder.id(place(1.0)).unwrap();
        builder.add(0, 1, id);
        builder.add(1 << 127, 1, id);
        let places = builder.finish();
        assert_eq!(places.ranges().collect::<Vec<_>>(), [(0, id)]);
        let nothing = Builder::new(Family::V4).finish();
        assert_eq!(nothing.ranges().collect::<Vec<_>>(), [(0, UNKNOWN)]);
    }

    #[test]
    fn what_comes_out_of_order_changes_nothing_that_was_said() {
        let mut builder = Builder::new(Family::V4);
        let ids = [1.0, 2.0].map(|lat| builder.id(place(lat)).unwrap());
        add(&mut builder, "10.0.0.0/8", ids[0]);
        add(&mut builder, "10.0.0.0/9", ids[1]);
        add(&mut builder, "10.0.0.0/7", ids[1]);
        add(&mut builder, "9.0.0.7/32", ids[1]);
        let places = builder.finish();
        assert_eq!(places.id_of(0x0a_0000), ids[0]);
        assert_eq!(places.id_of(0x0b_0000), ids[1]);
        assert_eq!(places.id_of(0x09_0000), UNKNOWN);
    }
}
