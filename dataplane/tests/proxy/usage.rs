//! What was served is counted exactly, and stays counted when the plane is killed.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, PATIENCE, Peer, answer_each, aside, ok};
use crate::support::plane::Plane;
use meridian_model::snapshot::SiteId;
use meridian_model::usage::{
    Answer, Column, Epoch, EpochAccount, NO_SITE, PageSet, SlotUsage, Tally, bucket_of, read_pages,
    read_slots, sum_pages,
};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
const SITE: SiteId = SiteId(1);

fn ask(plane: &Plane) -> Answer {
    let answer = plane.ask(r#"{"op":"usage"}"#).expect("it answers");
    serde_json::from_value(answer).expect("an answer of the documented form")
}

/// What it says of a site.
fn now(plane: &Plane, site: SiteId) -> Tally {
    let answer = ask(plane);
    let row = answer.sites.iter().find(|row| row.site == site);
    row.map(|row| row.now).unwrap_or_default()
}

fn counters(plane: &Plane) -> PathBuf {
    plane.state().join("counters")
}

fn set_of(plane: &Plane, epoch: Epoch) -> PathBuf {
    counters(plane).join(format!("pages/dataplane-{epoch}"))
}

/// The page files of a start of the plane, as anybody finds them.
fn pages(set: &Path) -> Vec<PageSet> {
    let files = fs::read_dir(set).expect("the set is there");
    let names = files.map(|entry| entry.expect("it can be listed").path());
    names
        .filter(|path| !path.ends_with("lock"))
        .map(|path| read_pages(&fs::read(path).expect("a file")).expect("a page file"))
        .collect()
}

/// What its slots file has, and the account that this was taken into.
fn closed_slots(plane: &Plane, epoch: Epoch) -> (Vec<SlotUsage>, EpochAccount) {
    let path = counters(plane).join(format!("dataplane-{epoch}.slots"));
    let (slots, fault) = read_slots(&fs::read(path).expect("a file")).expect("a slots file");
    assert_eq!(fault, None);
    assert_eq!(
        (slots.program.as_str(), slots.host.as_str()),
        ("dataplane", "ams-1")
    );
    let mut account = EpochAccount::default();
    let closed = slots.slots.iter().flat_map(|slot| account.close(slot));
    (closed.collect(), account)
}

/// What it says of its open slot, when it was asked before the first was over.
fn open_slot(answer: &Answer) -> Vec<SlotUsage> {
    let rows = answer.sites.iter().map(|row| (row.site, row.now));
    EpochAccount::default().leave_open(answer.open_slot, rows)
}

/// What is in the pages beyond what is known.
fn left(set: &Path, account: &mut EpochAccount) -> Vec<SlotUsage> {
    let (open_slot, sums) = sum_pages(&pages(set));
    account.leave_open(open_slot, sums)
}

fn columns(wanted: &[(Column, u64)]) -> Tally {
    let mut tally = Tally::default();
    for (column, number) in wanted {
        tally[*column] = *number;
    }
    tally
}

#[test]
fn each_column_counts_what_it_says() {
    let reply = ok(b"hello");
    let answers = reply.clone();
    let backend = Backend::new().serve(move |peer| {
        let reply = answers.clone();
        answer_each(peer, move |head| {
            if head.starts_with("GET /slow") {
                std::thread::sleep(Duration::from_millis(300));
            }
            reply.clone()
        });
    });
    let mut plane = Plane::start(&Declared::with_backends([backend]));
    let mut client = Peer::connect(plane.address());
    let mut taken = 0;
    let slow: &[u8] = b"GET /slow HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    for request in [GET, slow] {
        client.send(request);
        let (head, body) = client.receive_response();
        taken += head.len() + body.len();
    }
    let wanted = columns(&[
        (Column::Requests, 2),
        (Column::Responses2xx, 2),
        (Column::BytesIn, (GET.len() + slow.len()) as u64),
        (Column::BytesOut, taken as u64),
        (Column::Connections, 1),
    ]);
    assert_eq!(now(&plane, SITE), wanted);

    // What has no site: an unknown host, what is no HTTP, what never became a head.
    let mut strangers_bytes = 0;
    let mut taken_by_strangers = 0;
    for request in [
        &b"GET / HTTP/1.1\r\nHost: nobody.test\r\nConnection: close\r\n\r\n"[..],
        b"no HTTP\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n",
    ] {
        let mut stranger = Peer::connect(plane.address());
        stranger.send(request);
        stranger.end();
        strangers_bytes += request.len() as u64;
        taken_by_strangers += stranger.receive_all(PATIENCE).0.len() as u64;
    }
    let mut stranger = Peer::connect(plane.address());
    stranger.send(b"GET / HT");
    stranger.end();
    stranger.receive_all(PATIENCE);
    let wanted_of_strangers = columns(&[
        (Column::Requests, 3),
        (Column::Responses2xx, 1),
        (Column::Responses4xx, 2),
        (Column::BytesIn, strangers_bytes + 8),
        (Column::BytesOut, taken_by_strangers),
    ]);
    assert_eq!(now(&plane, NO_SITE), wanted_of_strangers);
    assert_eq!(now(&plane, SITE), wanted);

    let answer = ask(&plane);
    let found = pages(&set_of(&plane, answer.epoch));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].open_slot, answer.open_slot);
    let slot = found[0].slots.iter().find(|it| it.site == SITE);
    let latency = slot.expect("it was served").latency;
    assert_eq!(latency.iter().sum::<u64>(), 2);
    let slow_bucket = bucket_of(300_000_000);
    assert_eq!(latency[slow_bucket..].iter().sum::<u64>(), 1);

    drop(client);
    plane.signal("TERM");
    assert_eq!(plane.wait(10).code(), Some(0));
    let (written, mut account) = closed_slots(&plane, answer.epoch);
    assert_eq!(written, open_slot(&answer));
    // What the pages have beyond that is nothing.
    assert_eq!(left(&set_of(&plane, answer.epoch), &mut account), []);
}

/// Requests that a client has sent, and those whose response it has got whole.
#[derive(Default)]
struct Book {
    sent: AtomicU64,
    complete: AtomicU64,
}

/// Sends up to four requests at a time, until the other side breaks.
fn load(mut peer: Peer, book: &Book, reply_bytes: usize) {
    let mut room = vec![0; reply_bytes];
    for turn in 1.. {
        let together = 1 + turn % 4;
        book.sent.fetch_add(together, Ordering::Relaxed);
        let requests = GET.repeat(together as usize);
        if peer.stream.write_all(&requests).is_err() {
            return;
        }
        for _ in 0..together {
            // Every response is as long as the first one was.
            if peer.stream.read_exact(&mut room).is_err() {
                return;
            }
            book.complete.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// DESIGN §8, for each kill -9: complete responses received <= counted <= those and the requests
/// that were in flight.
#[test]
fn what_was_counted_is_not_lost_by_a_kill() {
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| ok(&[7; 1000])));
    let declared = Declared {
        workers: 2,
        ..Declared::with_backends([backend])
    };
    let mut plane = Plane::start_with_listener_of_ours(&declared);
    let mut epochs = Vec::new();
    for round in 0..5_u64 {
        let mut first = Peer::connect(plane.address());
        first.send(GET);
        let (head, body) = first.receive_response();
        let reply_bytes = head.len() + body.len();
        let book = Arc::new(Book::default());
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (address, book) = (plane.address(), Arc::clone(&book));
                aside(move || load(Peer::connect(address), &book, reply_bytes))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100 + 37 * round));
        let loaded = eventually(30, || book.complete.load(Ordering::Relaxed) > 500);
        assert!(loaded, "hardly any load");
        // Before the question: on a busy machine much is served until its answer is read.
        let wanted = book.complete.load(Ordering::Relaxed);
        let before = ask(&plane);
        plane.signal("KILL");
        plane.wait(5);
        for client in clients {
            client.join().expect("a client ends with its connection");
        }
        let set = set_of(&plane, before.epoch);
        let lock = File::open(set.join("lock")).expect("it is there");
        assert!(lock.try_lock().is_ok(), "the dead hold no lock");
        let (written, mut account) = closed_slots(&plane, before.epoch);
        assert!(written.is_empty());
        let left = left(&set, &mut account);
        let site = left.iter().find(|delta| delta.site == SITE);
        let counted = site.expect("it was served").tally;
        // The first client's one is complete, too.
        let complete = 1 + book.complete.load(Ordering::Relaxed);
        let sent = 1 + book.sent.load(Ordering::Relaxed);
        let requests = counted[Column::Requests];
        eprintln!("complete {complete} <= counted {requests} <= sent {sent}");
        assert!(complete <= requests && requests <= sent);
        assert_eq!(counted[Column::Responses2xx], requests);
        let told = before.sites.iter().find(|row| row.site == SITE);
        let told = told.expect("it was served").now[Column::Requests];
        assert!(
            told <= requests && told + 32 >= wanted,
            "{told} of {wanted}"
        );
        assert!(!epochs.contains(&before.epoch), "each start has its own");
        epochs.push(before.epoch);
        drop(first);
        plane.spawn();
    }
    // The dead ones' files are nobody's to remove but who takes them into the ledger.
    assert!(epochs.iter().all(|&epoch| set_of(&plane, epoch).exists()));
    let last = ask(&plane);
    assert!(set_of(&plane, last.epoch).exists() && last.sites.is_empty());
}

#[test]
fn a_site_keeps_its_counters_when_it_is_changed() {
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| ok(b"1")));
    let declared = Declared::with_backends([backend]);
    let mut plane = Plane::start(&declared);
    for round in 1..=3 {
        let mut client = Peer::connect(plane.address());
        client.send(GET);
        client.receive_response();
        assert_eq!(now(&plane, SITE)[Column::Requests], round);
        plane.reload(&Declared {
            site_timeouts: format!("{{ first_byte = \"{round}s\" }}"),
            ..declared.clone()
        });
    }
    let set = set_of(&plane, ask(&plane).epoch);
    let slots = pages(&set).remove(0).slots;
    let mine = slots.iter().filter(|slot| slot.site == SITE).count();
    assert_eq!(mine, 1);
}

/// Bytes count when the kernel has taken them: of a body that the client does not take, what
/// went, and not what was meant to go.
#[test]
fn of_a_response_that_is_cut_off_what_went_is_counted() {
    const BODY_BYTES: usize = 64 << 20;
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| ok(&vec![7; BODY_BYTES])));
    let declared = Declared::with_backends([backend]).timeouts("{ write = \"300ms\" }");
    let plane = Plane::start(&declared);
    let mut client = Peer::connect_narrow(plane.address(), 4096);
    client.send(GET);
    assert!(eventually(10, || plane.site("cut") == 1));
    let counted = now(&plane, SITE)[Column::BytesOut];
    // Some of what the kernel took was on the way when the connection was reset.
    let got = client.receive_all(PATIENCE).0.len() as u64;
    assert!(counted >= got, "{counted} of {got}");
    assert!(counted < BODY_BYTES as u64 / 2, "{counted}");
    drop(client);
    plane.settle();
    plane.finish();
}

/// STATE/counters without room for anything: the plane serves and counts all the same, says so,
/// and writes what it had at its end once there is room.
#[test]
fn a_full_disk_does_not_keep_the_plane_from_serving_and_counting() {
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| ok(b"1")));
    let mut plane = Plane::start(&Declared::with_backends([backend]));
    plane.signal("KILL");
    plane.wait(5);
    let counters = counters(&plane);
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&counters)
        .output();
    if !mounted.is_ok_and(|it| it.status.success()) {
        eprintln!("SKIPPED: mounting a file system takes root");
        return;
    }
    let _mounted = Mounted(counters.clone());
    let filler = counters.join("filler");
    let mut file = File::create(&filler).expect("an empty disk");
    while file.write_all(&[1; 4096]).is_ok() {}
    plane.spawn();
    let mut client = Peer::connect(plane.address());
    for _ in 0..10 {
        client.send(GET);
        client.receive_response();
    }
    drop(client);
    // The site, and what belongs to none.
    assert_eq!(plane.hits("counters_unbacked"), 2);
    assert_eq!(plane.site("requests"), 10);
    let answer = ask(&plane);
    assert_eq!(now(&plane, SITE)[Column::Requests], 10);
    drop(file);
    fs::remove_file(&filler).expect("it is ours");
    plane.signal("TERM");
    assert_eq!(plane.wait(10).code(), Some(0));
    let (written, _) = closed_slots(&plane, answer.epoch);
    assert_eq!(written, open_slot(&answer));
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
