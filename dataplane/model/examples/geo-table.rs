//! Measures the geographic table: reading a database, building a table of it, and looking up.
//! Without a file it is the database in the program.
//!
//! ```text
//! cargo run --release -p meridian-model --example geo-table -- [BOTH.mmdb | V4.mmdb V6.mmdb]
//! ```

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use meridian_model::geo::{Database, Geography, Group, Places};
use meridian_model::location::Location;

const ROUNDS: usize = 5;
const LOOKUPS: usize = 2_000_000;

/// Fifteen sites, as a fleet around the world has them: latitude and longitude in degrees.
const SITES: [(f64, f64); 15] = [
    (52.4, 4.9),
    (50.1, 8.7),
    (51.5, -0.1),
    (40.4, -3.7),
    (59.3, 18.1),
    (39.0, -77.5),
    (41.9, -87.6),
    (37.4, -122.0),
    (32.8, -96.8),
    (-23.5, -46.6),
    (35.7, 139.7),
    (1.3, 103.8),
    (19.1, 72.9),
    (-33.9, 151.2),
    (-26.2, 28.0),
];

fn main() -> ExitCode {
    match measure(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("geo-table: {what}");
            ExitCode::FAILURE
        }
    }
}

fn measure(files: &[String]) -> Result<(), String> {
    let mut contents = Vec::new();
    for file in files {
        contents.push(std::fs::read(file).map_err(|error| format!("{file}: {error}"))?);
    }
    let database = match &contents[..] {
        [] => Database::Embedded,
        [both] => Database::File(both),
        [v4, v6] => Database::Pair { v4, v6 },
        _ => return Err("name one database, or one for IPv4 and one for IPv6".to_string()),
    };
    let (places, reading) = median(|| database.places());
    let places = places.map_err(|problem| problem.to_string())?;
    let [v4, v6] = places.ranges();
    println!("read in {reading:.0?}: {v4} and {v6} ranges of one place");
    let samples = samples(&places);
    for count in [3, SITES.len()] {
        table(&places, count, &samples)?;
    }
    Ok(())
}

fn table(places: &Places, count: usize, samples: &[(&str, Vec<IpAddr>)]) -> Result<(), String> {
    let groups: Vec<Group> = SITES.iter().take(count).zip(0..).map(group).collect();
    let (geography, building) = median(|| Geography::build(places, groups.clone(), &[], 50));
    let geography = geography.map_err(|problem| problem.to_string())?;
    let [v4, v6] = geography.ranges();
    let [v4_bytes, v6_bytes] = geography.bytes();
    println!(
        "{count} groups: built in {building:.0?}: {} rankings, {v4} and {v6} ranges, \
         {v4_bytes} and {v6_bytes} bytes",
        geography.rankings()
    );
    for (kind, addresses) in samples {
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| nanoseconds(&geography, addresses))
            .collect();
        times.sort_by(f64::total_cmp);
        let (least, middle) = (times[0], times[ROUNDS / 2]);
        println!("  {kind}: {middle:.1} ns, at best {least:.1} ns");
    }
    Ok(())
}

/// Addresses to look up, each kind in an order of chance: those of any visitor, and for each family
/// those where ranges begin, so that what is dense counts as often as it has ranges.
fn samples(places: &Places) -> Vec<(&'static str, Vec<IpAddr>)> {
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let any = (0..LOOKUPS).map(|_| IpAddr::V4(Ipv4Addr::from((next() >> 32) as u32)));
    let any = ("any address of IPv4", any.collect());
    let (v4, v6): (Vec<_>, Vec<_>) = places.first_addresses().partition(IpAddr::is_ipv4);
    let mut of = |firsts: &[IpAddr]| {
        let chosen = (0..LOOKUPS).map(|_| firsts[(next() % firsts.len() as u64) as usize]);
        chosen.collect()
    };
    let v4 = ("an address where a range of IPv4 begins", of(&v4));
    let v6 = ("an address where a range of IPv6 begins", of(&v6));
    vec![any, v4, v6]
}

fn group(((lat, lon), number): (&(f64, f64), usize)) -> Group {
    Group {
        name: format!("g{number}").into(),
        location: Some(Location {
            lat: *lat,
            lon: *lon,
        }),
        bias_km: 0,
        addresses: Vec::new(),
    }
}

/// The last result, and the median of how long it took.
fn median<T>(mut work: impl FnMut() -> T) -> (T, Duration) {
    let mut times = Vec::new();
    loop {
        let begin = Instant::now();
        let result = work();
        times.push(begin.elapsed());
        if times.len() == ROUNDS {
            times.sort_unstable();
            return (result, times[ROUNDS / 2]);
        }
    }
}

/// Of one look-up.
fn nanoseconds(geography: &Geography, addresses: &[IpAddr]) -> f64 {
    let run = |look: &dyn Fn(IpAddr)| {
        let begin = Instant::now();
        for address in addresses {
            look(*address);
        }
        begin.elapsed().as_secs_f64() * 1e9 / addresses.len() as f64
    };
    let with = run(&|address| {
        black_box(geography.lookup(address, 56));
    });
    let without = run(&|address| {
        black_box(address);
    });
    with - without
}
