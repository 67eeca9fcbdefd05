//! A worker's queue of entries for the log: bytes in a ring with one writer and one reader, so
//! that it is bounded in bytes, whatever a client asks for, and that nothing is allocated while there
//! is room.
//!
//! The last quarter of it is crowded: each tenant gets a part of that and not more, until the
//! quarter is free again. So who logs more than can be written loses lines of its own, and finds
//! nobody else's place.

use super::entry::Entry;
use meridian_model::limits::LOG_CROWDED_PARTS;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::HashMap;
use std::thread::Thread;

/// Bytes before an entry, which say how long it is.
const LENGTH_BYTES: usize = 4;

/// The worker's end of a queue.
#[derive(Debug)]
pub(crate) struct LogQueue {
    ring: Producer<u8>,
    /// Who takes entries out.
    taker: Thread,
    /// It was woken since the queue was last less than half full.
    woken: bool,
    /// What each tenant put in since the queue is crowded, in bytes.
    crowding: HashMap<Box<[u8]>, usize>,
    /// The entry that is being put together.
    framed: Vec<u8>,
}

/// The other end, before it is known who is to be woken.
#[derive(Debug)]
pub(super) struct Maker(Producer<u8>);

/// The log thread's end.
#[derive(Debug)]
pub(super) struct Taker {
    ring: Consumer<u8>,
    bytes: Vec<u8>,
}

/// A queue of `bytes` bytes.
pub(super) fn pair(bytes: usize) -> (Maker, Taker) {
    let (producer, consumer) = RingBuffer::new(bytes);
    let taker = Taker {
        ring: consumer,
        bytes: Vec::new(),
    };
    (Maker(producer), taker)
}

impl LogQueue {
    /// The worker's end of a queue that the thread `taker` empties.
    pub(super) fn new(maker: Maker, taker: Thread) -> LogQueue {
        LogQueue {
            ring: maker.0,
            taker,
            woken: false,
            crowding: HashMap::new(),
            framed: Vec::new(),
        }
    }

    /// Puts an entry in. `false` when there is no room for it.
    pub(crate) fn put(&mut self, entry: &Entry<'_>) -> bool {
        self.framed.clear();
        self.framed.extend_from_slice(&[0; LENGTH_BYTES]);
        entry.encode(&mut self.framed);
        let length = (self.framed.len() - LENGTH_BYTES) as u32;
        self.framed[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        let put =
            self.has_place_for(entry.tenant) && self.ring.push_entire_slice(&self.framed).is_ok();
        let half = self.ring.buffer().capacity() / 2;
        if self.ring.cached_slots() >= half || self.ring.slots() >= half {
            self.woken = false;
        } else if !self.woken {
            self.woken = true;
            self.taker.unpark();
        }
        put
    }

    /// Whether a tenant may put in the entry that was put together.
    fn has_place_for(&mut self, tenant: &[u8]) -> bool {
        let bytes_max = self.ring.buffer().capacity();
        let crowded_bytes = bytes_max / 4;
        if self.ring.cached_slots() >= crowded_bytes || self.ring.slots() >= crowded_bytes {
            self.crowding.clear();
            return true;
        }
        let bytes = self.framed.len();
        match self.crowding.get_mut(tenant) {
            Some(put) if *put >= bytes_max / LOG_CROWDED_PARTS => false,
            Some(put) => {
                *put += bytes;
                true
            }
            None => {
                self.crowding.insert(tenant.into(), bytes);
                true
            }
        }
    }
}

impl Taker {
    /// Takes entries out and gives them to `each`, for as long as it says so and there are any.
    pub(super) fn take(&mut self, mut each: impl FnMut(Entry<'_>) -> bool) {
        let mut length = [0; LENGTH_BYTES];
        // An entry gets in whole: behind its length the rest is there.
        while self.ring.pop_entire_slice(&mut length).is_ok() {
            self.bytes.resize(u32::from_le_bytes(length) as usize, 0);
            let whole = self.ring.pop_entire_slice(&mut self.bytes).is_ok();
            debug_assert!(whole, "an entry was cut");
            if let Some(entry) = Entry::decode(&self.bytes)
                && !each(entry)
            {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::CutTexts;
    use super::*;

    fn entry(path: &[u8], revision: u64) -> Entry<'_> {
        Entry {
            time_us: 1,
            request_id: b"id",
            tenant: b"acme",
            site: b"shop",
            revision,
            worker: 0,
            client: None,
            method: b"GET",
            host: b"shop.test",
            path,
            status: Some(200),
            cause: None,
            pool: b"",
            backend: b"",
            tries: 0,
            reused: false,
            queue_us: None,
            connect_us: None,
            first_byte_us: None,
            total_us: 1,
            bytes_in: 1,
            bytes_out: 1,
            cut: CutTexts::default(),
            tls: None,
        }
    }

    #[test]
    fn entries_come_out_whole_and_in_order_while_others_are_put_in() {
        const COUNT: u64 = 100_000;
        let (maker, mut taker) = pair(4096);
        let reader = std::thread::spawn(move || {
            let mut next = 0;
            while next < COUNT {
                taker.take(|entry| {
                    assert_eq!(entry.revision, next);
                    assert!(entry.path.iter().all(|&byte| u64::from(byte) == next % 251));
                    assert_eq!(entry.path.len() as u64, next % 700);
                    next += 1;
                    true
                });
                std::thread::park_timeout(std::time::Duration::from_millis(1));
            }
        });
        let mut queue = LogQueue::new(maker, reader.thread().clone());
        for number in 0..COUNT {
            let path = vec![(number % 251) as u8; (number % 700) as usize];
            while !queue.put(&entry(&path, number)) {
                std::thread::yield_now();
            }
        }
        reader.join().expect("every entry is right");
    }

    #[test]
    fn a_full_queue_takes_nothing_and_loses_nothing_of_what_it_took() {
        let (maker, mut taker) = pair(4096);
        let mut queue = LogQueue::new(maker, std::thread::current());
        let mut taken = 0;
        while queue.put(&entry(&[b'x'; 100], taken)) {
            taken += 1;
        }
        assert!(taken > 5);
        assert!(!queue.put(&entry(&[b'x'; 100], taken)));
        let mut seen = 0;
        taker.take(|entry| {
            assert_eq!(entry.revision, seen);
            seen += 1;
            true
        });
        assert_eq!(seen, taken);
        assert!(queue.put(&entry(b"/", 0)));
    }

    #[test]
    fn a_tenant_that_fills_a_queue_leaves_room_for_the_lines_of_others() {
        let (maker, mut taker) = pair(256 * 1024);
        let mut queue = LogQueue::new(maker, std::thread::current());
        let of = |tenant| Entry {
            tenant,
            ..entry(&[b'x'; 100], 1)
        };
        // More than there is room for, before others come and after each of theirs.
        let flood = |queue: &mut LogQueue| (0..1000).filter(|_| queue.put(&of(b"loud"))).count();
        let mut taken = flood(&mut queue);
        assert!(taken > 400, "{taken} while there was room");
        for tenant in [&b"a"[..], b"b", b"c", b"d", b"e"] {
            for _ in 0..10 {
                assert!(queue.put(&of(tenant)));
                assert_eq!(flood(&mut queue), 0);
            }
        }
        let mut others = 0;
        for _ in 0..3 {
            taker.take(|entry| {
                others += usize::from(entry.tenant != b"loud");
                true
            });
            // It begins anew.
            taken += flood(&mut queue);
        }
        assert_eq!(others, 50);
        assert!(taken > 1600, "{taken}");
    }
}
