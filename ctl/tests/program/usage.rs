//! `meridianctl usage`, and the ledger that `up` keeps: what a plane counted is told once, whoever
//! is killed, whatever is full, damaged or deleted.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use meridian_model::snapshot::SiteId;
use meridian_model::usage::{
    COLUMNS, Column, Epoch, SLOT_BYTES, Tally, closed_slot, header, slots_header,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::host::{Ended, Host, Running, kill, wait_for};

/// 2026-11-24T10:00:00Z, where the stand-in for a plane begins.
const TEN: u64 = 5_985_048;

const DAY: [&str; 4] = ["--from", "2026-11-24", "--to", "2026-11-25"];

const HEADER: &str = "tenant,site,host,from,to,requests,responses_2xx,responses_3xx,responses_4xx,\
                      responses_5xx,bytes_in,bytes_out,connections,tls_handshakes,dns_queries,\
                      bandwidth_p95_bps";

pub(crate) fn usage(host: &Host, arguments: &[&str]) -> Ended {
    let mut all = vec!["usage"];
    all.extend(arguments);
    host.run(&all)
}

/// The lines of CSV below the header, of that day.
#[track_caller]
fn csv(host: &Host, arguments: &[&str]) -> Vec<String> {
    let arguments = [&DAY[..], &["--format", "csv"], arguments].concat();
    let ended = usage(host, &arguments).expect(0, &[]);
    let mut lines = ended.stdout.lines().map(str::to_owned);
    assert_eq!(lines.next().as_deref(), Some(HEADER));
    lines.collect()
}

/// Requests of that day, by site.
#[track_caller]
fn requests(host: &Host) -> Vec<(String, u64)> {
    let lines = csv(host, &[]);
    let cells = lines.iter().map(|line| line.split(',').collect::<Vec<_>>());
    cells
        .map(|cells| {
            (
                format!("{}/{}", cells[0], cells[1]),
                cells[5].parse().unwrap(),
            )
        })
        .collect()
}

fn sum(host: &Host) -> u64 {
    requests(host).iter().map(|(_, requests)| requests).sum()
}

/// So many requests, each with 100 bytes in and 1000 out, a tenth of them failed.
fn tally(requests: u64) -> Tally {
    let mut tally = Tally::default();
    tally[Column::Requests] = requests;
    tally[Column::Responses2xx] = requests - requests / 10;
    tally[Column::Responses5xx] = requests / 10;
    tally[Column::BytesIn] = requests * 100;
    tally[Column::BytesOut] = requests * 1000;
    tally[Column::Connections] = 1;
    tally[Column::TlsHandshakes] = 1;
    tally
}

fn ask(host: &Host, question: &Value) {
    let mut stream = UnixStream::connect(host.path("state/run/dataplane.sock")).unwrap();
    writeln!(stream, "{question}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert_eq!(answer, "{\"done\":true}\n");
}

fn count(host: &Host, worker: u64, site: u64, requests: u64) {
    let tally = tally(requests);
    ask(
        host,
        &json!({"op": "count", "worker": worker, "site": site, "tally": tally}),
    );
}

fn close(host: &Host, next: u64) {
    ask(host, &json!({"op": "close", "next": next}));
}

/// The files of a dead plane.
struct Left {
    epoch: u8,
    host: &'static str,
    /// Of each closed slot: sites, and what they had by its end.
    closed: Vec<(u64, Vec<(u64, Tally)>)>,
    open_slot: u64,
    pages: Vec<(u64, Tally)>,
}

impl Left {
    fn write(&self, state: &Path) {
        let epoch = Epoch([self.epoch; 16]);
        let set = state.join(format!("counters/pages/dataplane-{epoch}"));
        fs::create_dir_all(&set).unwrap();
        fs::write(set.join("lock"), "").unwrap();
        let mut bytes = header(epoch, 0, self.open_slot).to_vec();
        for (site, tally) in &self.pages {
            let mut words = [0; SLOT_BYTES / 8];
            words[0] = *site;
            words[1..=COLUMNS].copy_from_slice(&tally.0);
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        fs::write(set.join("w0"), bytes).unwrap();
        let mut text = slots_header("dataplane", self.host, epoch);
        for (slot, sites) in &self.closed {
            let sites: Vec<_> = sites
                .iter()
                .map(|&(site, now)| (SiteId(site), now))
                .collect();
            text.push_str(&closed_slot(*slot, &sites));
        }
        fs::write(slots_file(state, self.epoch), text).unwrap();
    }
}

fn slots_file(state: &Path, epoch: u8) -> PathBuf {
    let epoch = Epoch([epoch; 16]);
    state.join(format!("counters/dataplane-{epoch}.slots"))
}

/// Two planes after each other. The second began when the clock was set back by an hour.
fn two_lives() -> [Left; 2] {
    [
        Left {
            epoch: 1,
            host: "h1",
            closed: vec![
                (TEN, vec![(1, tally(10))]),
                // The clock was set forward by an hour, and then back: slots go on from there.
                (TEN + 13, vec![(1, tally(30)), (u64::MAX, tally(3))]),
                (TEN + 14, vec![(1, tally(40))]),
            ],
            open_slot: TEN + 15,
            pages: vec![(1, tally(45)), (u64::MAX, tally(3))],
        },
        Left {
            epoch: 2,
            host: "h0",
            closed: vec![
                (TEN + 1, vec![(1, tally(100))]),
                (TEN + 13, vec![(1, tally(107))]),
            ],
            open_slot: TEN + 14,
            pages: vec![(1, tally(108))],
        },
    ]
}

/// A host on which `up` has run once, so that its site is known as 1.
fn host() -> Host {
    let host = Host::new();
    let up = host.up();
    up.line();
    up.stop();
    host
}

fn left_files(host: &Host) -> Vec<String> {
    let names = |path: &str| -> Vec<String> {
        let entries = fs::read_dir(host.path(path)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with("dataplane-"))
            .collect()
    };
    [names("state/counters"), names("state/counters/pages")].concat()
}

pub(crate) fn wait_until_folded(host: &Host) {
    wait_for("the fold", || left_files(host).is_empty().then_some(()));
}

#[test]
fn rows_are_golden_in_every_format_before_and_after_folding() {
    let host = host();
    wait_until_folded(&host);
    two_lives()
        .iter()
        .for_each(|left| left.write(&host.state()));
    let check = || {
        let range = "2026-11-24T00:00:00Z,2026-11-25T00:00:00Z";
        assert_eq!(
            csv(&host, &[]),
            [
                format!("-,-,,{range},3,3,0,0,0,300,3000,1,1,0,0"),
                format!("acme,shop,,{range},153,139,0,0,14,15300,153000,2,2,0,0"),
            ]
        );
        assert_eq!(
            csv(&host, &["--by", "hour", "--by-host", "--tenant", "acme"]),
            [
                "acme,shop,h0,2026-11-24T10:00:00Z,2026-11-24T11:00:00Z,100,90,0,0,10,10000,100000,\
                 1,1,0,2666",
                "acme,shop,h0,2026-11-24T11:00:00Z,2026-11-24T12:00:00Z,8,8,0,0,0,800,8000,0,0,0,186",
                "acme,shop,h1,2026-11-24T10:00:00Z,2026-11-24T11:00:00Z,10,9,0,0,1,1000,10000,1,1,0,\
                 266",
                "acme,shop,h1,2026-11-24T11:00:00Z,2026-11-24T12:00:00Z,35,32,0,0,3,3500,35000,0,0,\
                 0,533",
            ]
        );
        // Half-open, by the beginning of a slot: 11:05 is in it, 11:10 is not.
        let part = [
            "--from",
            "2026-11-24T10:05:01Z",
            "--to",
            "2026-11-24T12:10:00+01:00",
        ];
        let json = usage(
            &host,
            &[&part[..], &["--site", "acme/shop", "--format", "json"]].concat(),
        )
        .expect(0, &[])
        .json();
        assert_eq!(
            json,
            json!({"rows": [{
                "tenant": "acme", "site": "shop", "host": "", "from": "2026-11-24T10:05:01Z",
                "to": "2026-11-24T11:10:00Z", "requests": 27, "responses_2xx": 25,
                "responses_3xx": 0, "responses_4xx": 0, "responses_5xx": 2, "bytes_in": 2700,
                "bytes_out": 27000, "connections": 0, "tls_handshakes": 0, "dns_queries": 0,
                "bandwidth_p95_bps": 720,
            }]})
        );
        let table = usage(&host, &[&DAY[..], &["--by", "day"]].concat())
            .expect(0, &[])
            .stdout;
        let expected = "\
SITE       FROM                  TO                    REQUESTS  2XX  3XX  4XX  5XX  BYTES IN  BYTES OUT  CONNS  TLS  DNS  P95 BIT/S
-/-        2026-11-24T00:00:00Z  2026-11-25T00:00:00Z         3    3    0    0    0       300       3000      1    1    0          0
acme/shop  2026-11-24T00:00:00Z  2026-11-25T00:00:00Z       153  139    0    0   14     15300     153000      2    2    0          0
";
        assert_eq!(table, expected);
        assert!(
            usage(&host, &["--from", "2026-11-25", "--to", "2026-11-26"])
                .expect(0, &[])
                .stdout
                .contains("nothing was served")
        );
    };
    check();
    check();
    assert_eq!(left_files(&host).len(), 4, "to look changes nothing");
    let up = host.up();
    up.line();
    check();
    up.stop();
    wait_until_folded(&host);
    check();
    let up = host.up();
    up.line();
    up.stop();
    check();
}

#[test]
fn what_a_running_plane_counted_is_told_at_once_and_after_every_kind_of_death() {
    let host = Host::new();
    let mut up = host.up();
    up.line();
    let mut counted = 0;
    let mut add = |host: &Host, worker, requests| {
        count(host, worker, 1, requests);
        counted += requests;
        counted
    };
    assert_eq!(sum(&host), 0);
    assert_eq!(add(&host, 0, 5), sum(&host));
    assert_eq!(add(&host, 1, 7), sum(&host));
    close(&host, TEN + 1);
    assert_eq!(sum(&host), 12);
    assert_eq!(add(&host, 1, 1), sum(&host));
    // The plane is killed; another one comes.
    kill(host.planes()[0], Signal::KILL);
    wait_for("the news", || {
        up.stderr().contains("serves again").then_some(())
    });
    assert_eq!(sum(&host), 13);
    let more = add(&host, 0, 100);
    assert_eq!(sum(&host), more);
    // A plane that says nothing is read through its pages.
    host.behave("secretive");
    kill(host.planes()[1], Signal::KILL);
    wait_for("the third", || (host.planes().len() == 3).then_some(()));
    wait_for("the news", || {
        (up.stderr().matches("serves again").count() == 2).then_some(())
    });
    let more = add(&host, 1, 1000);
    assert_eq!(sum(&host), more);
    let warned = usage(&host, &DAY).expect(0, &["page files were read in its place"]);
    assert!(warned.stdout.contains("acme/shop"), "{warned:?}");
    let json = usage(&host, &[&DAY[..], &["--format", "json"]].concat()).json();
    assert!(
        json["warnings"][0]
            .as_str()
            .unwrap()
            .contains("did not answer rightly"),
        "{json}"
    );
    // All of it is killed.
    up.signal(Signal::KILL);
    up.wait().expect(-9, &[]);
    assert_eq!(sum(&host), more);
    host.behave("");
    let up = host.up();
    up.line();
    assert_eq!(sum(&host), more);
    let third = add(&host, 0, 1);
    close(&host, TEN + 2);
    up.stop();
    assert_eq!(sum(&host), third);
    wait_until_folded(&host);
    assert_eq!(sum(&host), third);
    assert_eq!(requests(&host), [("acme/shop".to_owned(), third)]);
}

#[test]
fn the_last_five_minutes_of_a_plane_that_died_long_ago_are_folded_when_the_next_one_dies() {
    let host = Host::new();
    let up = host.up();
    up.line();
    count(&host, 0, 1, 3);
    kill(host.planes()[0], Signal::KILL);
    // No minute passes: the death is the reason.
    wait_for("the fold", || {
        let names = left_files(&host);
        (names.len() == 2 && host.planes().len() == 2).then_some(())
    });
    assert_eq!(sum(&host), 3);
    up.stop();
}

#[test]
fn a_supervisor_that_is_killed_again_and_again_while_it_folds_counts_everything_once() {
    let host = host();
    wait_until_folded(&host);
    let mut wanted = 0;
    for epoch in 1..=40 {
        let closed: Vec<_> = (0..40)
            .map(|slot| {
                let sites = (1..=50).map(|site| (site, tally((slot + 1) * site)));
                (TEN + slot, sites.collect())
            })
            .collect();
        let pages: Vec<_> = (1..=50).map(|site| (site, tally(50 * site))).collect();
        wanted += pages
            .iter()
            .map(|(_, tally)| tally[Column::Requests])
            .sum::<u64>();
        let left = Left {
            epoch,
            host: "h1",
            closed,
            open_slot: TEN + 40,
            pages,
        };
        left.write(&host.state());
    }
    let by_site = csv(&host, &["--by", "hour"]);
    assert_eq!(sum(&host), wanted);
    let mut kills = 0;
    let mut left = left_files(&host).len();
    let mut cut_short = 0;
    while left > 0 {
        // Ever longer, so that it ends, and everywhere within a fold.
        let wait = Duration::from_millis(5 + 7 * kills);
        let mut up = host.up();
        std::thread::sleep(wait);
        up.signal(Signal::KILL);
        up.wait();
        kills += 1;
        let now = left_files(&host)
            .iter()
            .filter(|name| is_ours(name))
            .count();
        cut_short += u64::from(now < left && now > 0);
        left = now;
        assert_eq!(
            csv(&host, &["--by", "hour"]),
            by_site,
            "after {kills} kills"
        );
        assert!(kills < 500, "it does not end");
    }
    println!("{kills} kills, {cut_short} of them within a fold");
    assert!(cut_short > 0, "no kill met a fold");
    assert_eq!(sum(&host), wanted);
}

/// Not of a stand-in that was killed with its supervisor.
fn is_ours(name: &str) -> bool {
    let epoch = name
        .trim_start_matches("dataplane-")
        .trim_end_matches(".slots");
    epoch.len() == 32 && (1..16).all(|at| epoch[..2] == epoch[2 * at..2 * at + 2])
}

#[test]
fn a_full_disk_keeps_everything_where_it_is_until_there_is_room() {
    let host = host();
    wait_until_folded(&host);
    let ledger = host.path("state/ledger");
    let before = fs::read(ledger.join("usage.db")).unwrap();
    let Some(_disk) = SmallDisk::mount(&ledger, "192k") else {
        println!("SKIPPED: only root can mount the small disk that this test fills");
        return;
    };
    fs::write(ledger.join("usage.db"), &before).unwrap();
    // More than the disk has room for.
    let sites = |requests: u64| {
        (1..=4000)
            .map(move |site| (site, tally(requests)))
            .collect()
    };
    let left = Left {
        epoch: 1,
        host: "h1",
        closed: vec![(TEN, sites(10))],
        open_slot: TEN + 1,
        pages: sites(11),
    };
    left.write(&host.state());
    let wanted = 4000 * 11;
    assert_eq!(sum(&host), wanted);
    let up = host.up();
    up.line();
    wait_for("the warning", || {
        up.stderr().contains("free some space").then_some(())
    });
    assert_eq!(sum(&host), wanted);
    assert_eq!(
        left_files(&host)
            .iter()
            .filter(|name| is_ours(name))
            .count(),
        2
    );
    assert_eq!(host.get(), host.planes()[1], "it serves");
    // Not even one page of a ledger fits: there is none, and that is no answer less.
    fs::remove_file(ledger.join("usage.db")).unwrap();
    let mut filler = fs::File::create(ledger.join("filler")).unwrap();
    while filler.write_all(&[1; 512]).is_ok() {}
    kill(host.planes()[1], Signal::KILL);
    wait_for("the news", || {
        up.stderr().contains("serves again").then_some(())
    });
    assert_eq!(sum(&host), wanted);
    drop(up);
    // With room, all of it is taken in.
    let remount = ["-o", "remount,size=16m"];
    assert!(
        Command::new("mount")
            .args(remount)
            .arg(&ledger)
            .status()
            .unwrap()
            .success()
    );
    let up = host.up();
    up.line();
    wait_for("the fold", || {
        let left = left_files(&host);
        (!left.iter().any(|name| is_ours(name))).then_some(())
    });
    assert_eq!(sum(&host), wanted);
    up.stop();
    assert_eq!(sum(&host), wanted);
}

/// A file system of its own, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path, size: &str) -> Option<SmallDisk> {
        let options = format!("size={size},mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|it| it.success())
            .then(|| SmallDisk(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_damaged_slots_file_is_named_and_kept_and_the_rest_is_told() {
    let host = host();
    wait_until_folded(&host);
    two_lives()
        .iter()
        .for_each(|left| left.write(&host.state()));
    let path = slots_file(&host.state(), 1);
    let damaged = fs::read_to_string(&path)
        .unwrap()
        .replacen("[[1,30,", "[[1,31,", 1);
    fs::write(&path, &damaged).unwrap();
    let place = format!("{}: line 4: the checksum should be", path.display());
    usage(&host, &DAY).expect(0, &[&place]);
    assert_eq!(sum(&host), 156);
    let up = host.up();
    up.line();
    wait_for("the warning", || {
        up.stderr().contains("and is kept").then_some(())
    });
    assert!(up.stderr().contains(&place), "{}", up.stderr());
    up.stop();
    assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    assert_eq!(sum(&host), 156, "the pages had it too");
}

#[test]
fn a_damaged_ledger_is_an_error_and_nothing_is_told_or_removed() {
    let host = host();
    wait_until_folded(&host);
    two_lives()
        .iter()
        .for_each(|left| left.write(&host.state()));
    let ledger = host.path("state/ledger/usage.db");
    let whole = fs::read(&ledger).unwrap();
    fs::write(&ledger, vec![b'x'; whole.len()]).unwrap();
    let ended = usage(&host, &DAY).expect(1, &["usage.db", "the ledger is damaged"]);
    assert_eq!(ended.stdout, "");
    let up = host.up();
    up.line();
    wait_for("the warning", || {
        up.stderr().contains("the ledger is damaged").then_some(())
    });
    up.stop();
    assert_eq!(
        left_files(&host)
            .iter()
            .filter(|name| is_ours(name))
            .count(),
        4
    );
    fs::write(&ledger, whole).unwrap();
    assert_eq!(sum(&host), 156);
    // A ledger of a later version is left alone.
    let newer = Command::new("sqlite3")
        .arg(&ledger)
        .arg("PRAGMA user_version = 3")
        .status();
    if newer.is_ok_and(|it| it.success()) {
        usage(&host, &DAY).expect(1, &["version 3"]);
    } else {
        println!("SKIPPED: without sqlite3 there is no ledger of a later version");
    }
}

/// The id of a site in the newest snapshot.
fn site_id(host: &Host, name: &str) -> u64 {
    let current = fs::read_to_string(host.path("state/config/current")).unwrap();
    let snapshot = host.path(&format!("state/config/snapshot.{}", current.trim()));
    let text = fs::read_to_string(snapshot).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line[9..]).unwrap());
    let mut sites = lines.filter_map(|line| line.get("site").cloned());
    let site = sites.find(|site| site["name"] == name).unwrap();
    site["id"].as_u64().unwrap()
}

#[test]
fn an_id_that_was_billed_is_never_given_to_somebody_else() {
    let host = Host::new();
    let up = host.up();
    up.line();
    count(&host, 0, site_id(&host, "shop"), 4);
    up.stop();
    wait_until_folded(&host);
    // The configuration is lost, and with it which ids were given.
    fs::remove_dir_all(host.path("state/config")).unwrap();
    let others = host.manifest().replace("\"acme\"", "\"other\"");
    host.write_manifest(&others);
    let up = host.up();
    up.line();
    count(&host, 0, site_id(&host, "shop"), 10);
    let both = [("acme/shop".to_owned(), 4), ("other/shop".to_owned(), 10)];
    assert_eq!(requests(&host), both);
    up.stop();
    // Nor when a damaged revision is passed over, with a manifest that can not be used.
    host.write_manifest(&host.larger_manifest());
    let up = host.up();
    up.line();
    let blog = site_id(&host, "blog");
    count(&host, 0, blog, 100);
    up.stop();
    let snapshot = host.path("state/config/snapshot.2");
    let damaged = fs::read_to_string(&snapshot)
        .unwrap()
        .replacen("blog", "glob", 1);
    fs::write(&snapshot, damaged).unwrap();
    host.write_manifest("[host");
    let up = host.up();
    up.line();
    let set = [
        "set",
        "site",
        "other/new",
        "hostnames=[\"new.example.com\"]",
    ];
    // The stand-in for a plane does not follow.
    host.run(&[&set[..], &["--wait", "0s"]].concat())
        .expect(5, &[]);
    let journal = fs::read_dir(host.path("state/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let new = journal
        .filter(|path| path.to_string_lossy().contains("journal."))
        .map(|path| fs::read_to_string(path).unwrap())
        .flat_map(|text| {
            text.lines()
                .map(|line| line[9..].to_owned())
                .collect::<Vec<_>>()
        })
        .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
        .find_map(|line| {
            let puts = line.pointer("/change/puts").cloned()?;
            puts[0].pointer("/site/id")?.as_u64()
        });
    assert!(new > Some(blog), "{new:?} after {blog}");
    up.stop();
}

#[test]
fn a_deleted_site_keeps_its_name_and_one_that_comes_back_shares_its_row() {
    let host = Host::new();
    host.write_manifest(&host.larger_manifest());
    let up = host.up();
    up.line();
    let blog = site_id(&host, "blog");
    count(&host, 0, blog, 4);
    count(&host, 0, 77, 1);
    up.stop();
    host.write_manifest(&host.manifest());
    let up = host.up();
    up.line();
    let both = [("?/#77".to_owned(), 1), ("acme/blog".to_owned(), 4)];
    assert_eq!(requests(&host), both);
    up.stop();
    assert_eq!(requests(&host), both);
    host.write_manifest(&host.larger_manifest());
    let up = host.up();
    up.line();
    let again = site_id(&host, "blog");
    assert_ne!(blog, again);
    count(&host, 1, again, 10);
    assert_eq!(requests(&host)[1], ("acme/blog".to_owned(), 14));
    up.stop();
}

#[test]
fn without_times_it_is_this_month_up_to_now_and_the_open_slot_counts() {
    let host = host();
    wait_until_folded(&host);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 300;
    // The clock was set back by an hour while a plane ran: its slots did not go back.
    for (epoch, open_slot) in [(1, now), (2, now + 12)] {
        let left = Left {
            epoch,
            host: "h1",
            closed: vec![],
            open_slot,
            pages: vec![(1, tally(1))],
        };
        left.write(&host.state());
        let json = usage(&host, &["--format", "json"]).expect(0, &[]).json();
        let row = &json["rows"][0];
        assert_eq!(row["requests"], u64::from(epoch), "{json}");
        assert!(
            row["from"].as_str().unwrap().ends_with("-01T00:00:00Z"),
            "{json}"
        );
        assert!(row["to"].as_str() > row["from"].as_str(), "{json}");
    }
}

#[test]
fn a_call_without_sense_is_exit_2_and_an_answer_that_can_not_be_written_exit_1() {
    let host = host();
    for (arguments, what) in [
        (&["--from", "yesterday"][..], "RFC 3339"),
        (&["--to", "2026-11-24T10:00:00.5Z"], "whole seconds"),
        (
            &["--from", "2026-11-25", "--to", "2026-11-24"],
            "lies before",
        ),
        (&["--from", "2999-01-01"], "in the future"),
        (&["--by", "week"], "possible values"),
        (&["--tenant", "a", "--site", "b/c"], "two tenants"),
    ] {
        usage(&host, arguments).expect(2, &[what]);
    }
    host.run(&["status", "--format", "csv"])
        .expect(2, &["--format csv is for", "--help"]);
    let nothing = host.path("nothing");
    usage(&host, &["--state", nothing.to_str().unwrap()]).expect(1, &["nothing was ever served"]);
    // Half a bill must not pass for a bill.
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    for format in ["table", "json", "csv"] {
        let mut command = host.command(&["usage", "--format", format]);
        let status = command
            .stdout(full.try_clone().unwrap())
            .stderr(Stdio::null())
            .status();
        assert_eq!(status.unwrap().code(), Some(1), "{format}");
    }
}

#[test]
fn page_files_stand_on_a_tmpfs_when_there_is_one_and_a_copied_state_directory_has_its_own() {
    let host = host();
    let pages = host.path("state/counters/pages");
    let Ok(target) = fs::read_link(&pages) else {
        println!("SKIPPED: /run is no tmpfs, or not ours; the pages stand in the state directory");
        assert!(pages.is_dir());
        return;
    };
    assert!(target.starts_with("/run/meridian"), "{}", target.display());
    // Moved, it is the same directory; copied, another.
    fs::rename(host.state(), host.path("moved")).unwrap();
    let up = Running::start(&mut host.command(&["up", "-f", "h1.toml", "--state", "moved"]));
    up.line();
    up.stop();
    assert_eq!(
        fs::read_link(host.path("moved/counters/pages")).unwrap(),
        target
    );
    fs::rename(host.path("moved"), host.state()).unwrap();
    let copy = host.path("copy");
    assert!(
        Command::new("cp")
            .arg("-a")
            .arg(host.state())
            .arg(&copy)
            .status()
            .unwrap()
            .success()
    );
    let up = Running::start(&mut host.command(&["up", "-f", "h1.toml", "--state", "copy"]));
    up.line();
    up.stop();
    let other = fs::read_link(copy.join("counters/pages")).unwrap();
    assert_ne!(other, target);
    fs::remove_dir_all(other).unwrap();
    // After a reboot the link leads nowhere until `up` comes.
    fs::remove_dir_all(&target).unwrap();
    let up = host.up();
    up.line();
    assert_eq!(fs::read_link(&pages).unwrap(), target);
    assert!(pages.is_dir());
    up.stop();
}
