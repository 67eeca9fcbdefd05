//! The pool of receive buffers that a worker lends to the kernel (a provided-buffer ring).
//!
//! The kernel takes buffers in the order in which they were published, so every published buffer
//! is touched in turn and what is published is what the cache has to hold. No more are published
//! than one turn lately needed, with some room; the rest lie on a stack, so that the one used
//! last, which is hot, is lent next. The pool starts small, doubles when the kernel runs short
//! and shrinks to twice the recent peak; withdrawn buffers give their pages back.
//!
//! A buffer has room in front of and behind the received bytes ([`HEADROOM_BYTES`], [`TAILROOM_BYTES`]):
//! a rewritten head is put in front of the body that arrived with the old one, and both leave
//! with one send and without a copy of the body.

use crate::limits::{
    BUFFERS_MAX, BUFFERS_MIN, HEADROOM_BYTES, RECV_BUFFER_BYTES, RECV_BYTES_MAX, RECV_COLOUR_BYTES,
    RECV_COLOURS, RECV_STRIDE_BYTES, TAILROOM_BYTES,
};
use crate::run_queue::ClassId;
use io_uring::types::BufRingEntry;
use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

/// The buffer group under which the pool is registered with the ring.
pub(crate) const BUFFER_GROUP: u16 = 0;
/// Buffers that the kernel has at the least while there are any.
const LENT_MIN: u16 = 16;
/// Buffers that the kernel has at the most. The ring goes round through all of its entries, and so
/// through as much of the cache.
const LENT_MAX: u16 = 2048;
/// A larger receive keeps its buffer: copying it would cost more than the buffer.
const MERGE_BYTES_MAX: u32 = 1024;
/// No buffer: the end of a list of buffers.
pub(crate) const NO_BUFFER: u16 = u16::MAX;

/// An anonymous private mapping.
#[derive(Debug)]
struct Mapping {
    address: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Mapping> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory
        // that anybody else knows of.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match NonNull::new(address.cast()) {
            Some(address) => Ok(Mapping { address, bytes }),
            None => Err(io::Error::other("mmap gave the null page")),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, whole, and nothing refers to it any more: the pool that
        // owns it is dropped only after its ring is closed and no `RecvBuf` is left.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.bytes) };
    }
}

/// What the pool knows of a buffer that it is not lending to the kernel.
#[derive(Debug, Clone, Copy)]
struct Received {
    class: ClassId,
    /// Where the received bytes begin and end, from the start of the buffer.
    start: u32,
    end: u32,
    /// The next buffer that waits on the same socket.
    next: u16,
}

/// Numbers of the pool, for `status`.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolStatistics {
    /// Buffers in circulation.
    pub buffers: u32,
    /// Buffers that the pool may grow to.
    pub buffers_max: u32,
    /// Buffers that hold received bytes now.
    pub in_use: u32,
    /// Times the pool grew.
    pub grown: u64,
}

/// See the module. Owned by one thread; a [`RecvBuf`] shares it through an `Rc`.
#[derive(Debug)]
pub(crate) struct Pool {
    memory: Mapping,
    ring: Mapping,
    ring_entries: u16,
    tail: Cell<u16>,
    /// Buffers lent to the kernel.
    published: Cell<u16>,
    /// Buffers in circulation: lent, on the stack, or holding received bytes.
    circulating: Cell<u16>,
    /// Buffers in circulation that wait to be lent, the one used last on top.
    stack: RefCell<Vec<u16>>,
    /// Buffers that the kernel should have at the start of a wait.
    lent_target: Cell<u16>,
    /// Buffers that the kernel filled since [`Pool::replenish`].
    filled: Cell<u16>,
    /// Buffers never used so far start here.
    untouched: Cell<u16>,
    /// Buffers withdrawn from circulation; their pages were given back.
    withdrawn: RefCell<Vec<u16>>,
    received: RefCell<Vec<Received>>,
    held_by_class: RefCell<Vec<u16>>,
    peak_in_use: Cell<u16>,
    wanted: Cell<u16>,
    grown: Cell<u64>,
    /// A buffer came back or changed its class since receives that wait were last looked at.
    stirred: Cell<bool>,
    /// Bytes that the kernel may put into a buffer; less than [`RECV_BYTES_MAX`] in tests only.
    lent_bytes: Cell<u32>,
    ceiling: u16,
}

impl Pool {
    /// Makes a pool that may grow to `ceiling` buffers, within [`BUFFERS_MAX`]; the caller
    /// registers [`Pool::ring_address`] with its ring and then calls [`Pool::publish_first`].
    pub(crate) fn new(ceiling: u16) -> io::Result<Rc<Pool>> {
        let ceiling = ceiling.clamp(1, BUFFERS_MAX);
        let ring_entries = ceiling.next_power_of_two().min(LENT_MAX);
        let empty = Received {
            class: ClassId::UNKNOWN,
            start: 0,
            end: 0,
            next: NO_BUFFER,
        };
        Ok(Rc::new(Pool {
            memory: Mapping::new(usize::from(ceiling) * RECV_STRIDE_BYTES)?,
            ring: Mapping::new(usize::from(ring_entries) * size_of::<BufRingEntry>())?,
            ring_entries,
            tail: Cell::new(0),
            published: Cell::new(0),
            circulating: Cell::new(0),
            stack: RefCell::new(Vec::new()),
            lent_target: Cell::new(BUFFERS_MIN.min(ceiling)),
            filled: Cell::new(0),
            untouched: Cell::new(0),
            withdrawn: RefCell::new(Vec::new()),
            received: RefCell::new(vec![empty; usize::from(ceiling)]),
            held_by_class: RefCell::new(vec![0]),
            peak_in_use: Cell::new(0),
            wanted: Cell::new(BUFFERS_MIN.min(ceiling)),
            grown: Cell::new(0),
            stirred: Cell::new(false),
            lent_bytes: Cell::new(RECV_BYTES_MAX as u32),
            ceiling,
        }))
    }

    pub(crate) fn ring_address(&self) -> (u64, u16) {
        (self.ring.address.as_ptr() as u64, self.ring_entries)
    }

    pub(crate) fn publish_first(&self) {
        self.grow_to(BUFFERS_MIN.min(self.ceiling));
    }

    /// Puts buffers into circulation until there are `count`. Says whether there are more now.
    fn grow_to(&self, count: u16) -> bool {
        let before = self.circulating.get();
        while self.circulating.get() < count.min(self.ceiling) {
            let buffer = match self.withdrawn.borrow_mut().pop() {
                Some(buffer) => buffer,
                None => {
                    let buffer = self.untouched.get();
                    self.untouched.set(buffer + 1);
                    buffer
                }
            };
            self.circulating.set(self.circulating.get() + 1);
            if self.published.get() < self.ring_entries {
                self.publish(buffer);
            } else {
                self.stack.borrow_mut().push(buffer);
            }
        }
        self.circulating.get() > before
    }

    /// Doubles the buffers in circulation, within the ceiling. Says whether there are more now.
    pub(crate) fn grow(&self) -> bool {
        if self.lend_from_stack(self.published.get().saturating_mul(2).max(LENT_MIN)) {
            self.stirred.set(true);
            return true;
        }
        let wanted = self.circulating.get().saturating_mul(2).min(self.ceiling);
        self.wanted.set(self.wanted.get().max(wanted));
        let grown = self.grow_to(wanted);
        self.grown.set(self.grown.get() + u64::from(grown));
        self.stirred.set(self.stirred.get() || grown);
        grown
    }

    /// Takes a buffer that nobody received into, charged to `class`. None where all are in use.
    fn take_blank(&self, class: ClassId) -> Option<u16> {
        let on_stack = self.stack.borrow_mut().pop();
        let buffer = on_stack.or_else(|| self.circulate_one())?;
        let mut held = self.held_by_class.borrow_mut();
        let index = class.0 as usize;
        if held.len() <= index {
            held.resize(index + 1, 0);
        }
        held[index] += 1;
        self.received.borrow_mut()[usize::from(buffer)] = Received {
            class,
            start: 0,
            end: RECV_BUFFER_BYTES as u32,
            next: NO_BUFFER,
        };
        self.peak_in_use
            .set(self.peak_in_use.get().max(self.in_use()));
        Some(buffer)
    }

    /// Puts one buffer more into circulation, in nobody's hands.
    fn circulate_one(&self) -> Option<u16> {
        let circulating = self.circulating.get() + 1;
        if circulating > self.ceiling {
            return None;
        }
        let withdrawn = self.withdrawn.borrow_mut().pop();
        let buffer = withdrawn.unwrap_or_else(|| {
            let buffer = self.untouched.get();
            self.untouched.set(buffer + 1);
            buffer
        });
        self.circulating.set(circulating);
        self.wanted.set(self.wanted.get().max(circulating));
        Some(buffer)
    }

    /// Makes the owned form of a buffer to write into.
    pub(crate) fn blank(self: &Rc<Self>, class: ClassId, headroom: usize) -> Option<RecvBuf> {
        let mut blank = self.take_blank(class).map(|buffer| self.own(buffer))?;
        blank.advance(headroom);
        Some(blank)
    }

    /// Lends buffers of the stack until the kernel has `count`. Says whether it got any.
    fn lend_from_stack(&self, count: u16) -> bool {
        let before = self.published.get();
        while self.published.get() < count.min(self.ring_entries) {
            let Some(buffer) = self.stack.borrow_mut().pop() else {
                break;
            };
            self.publish(buffer);
        }
        self.published.get() > before
    }

    /// Called once a turn, before the kernel goes on: lends what a turn like the last ones needs.
    pub(crate) fn replenish(&self) {
        let filled = self.filled.replace(0);
        let needed = (filled.saturating_mul(2))
            .max(LENT_MIN)
            .min(self.ring_entries);
        let target = self.lent_target.get();
        // Up at once, down by a sixty-fourth of the way.
        self.lent_target.set(if needed >= target {
            needed
        } else {
            target - (target - needed).div_ceil(64)
        });
        self.lend_from_stack(self.lent_target.get());
        if self.published.get() < self.lent_target.get() / 4
            && self.circulating.get() < self.ceiling
        {
            self.grow();
        }
    }

    /// Whether the kernel has a buffer to receive into.
    pub(crate) fn has_published(&self) -> bool {
        self.published.get() > 0
    }

    /// Called about once a second: lets the pool shrink towards twice the peak since the last call.
    pub(crate) fn settle(&self) {
        let wanted = (self.peak_in_use.get().saturating_mul(2))
            .max(BUFFERS_MIN)
            .checked_next_power_of_two()
            .unwrap_or(self.ceiling)
            .min(self.ceiling);
        self.wanted.set(wanted);
        self.peak_in_use.set(self.in_use());
    }

    fn in_use(&self) -> u16 {
        self.circulating.get() - self.published.get() - self.stack.borrow().len() as u16
    }

    fn publish(&self, buffer: u16) {
        assert!(self.published.get() < self.ring_entries, "the ring is full");
        debug_assert!(buffer < self.ceiling);
        let tail = self.tail.get();
        let slot = usize::from(tail & (self.ring_entries - 1));
        let base = self.ring.address.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `slot` is within the mapped ring of `ring_entries` entries. The kernel reads
        // an entry only once the tail has moved past it, below; no more buffers are ever
        // published than it has entries, so a slot is not written while the kernel may still read it. The
        // fields are written one by one because the tail shares the last bytes of entry 0.
        unsafe {
            let entry = &mut *base.add(slot);
            entry.set_addr(self.buffer_address(buffer).add(HEADROOM_BYTES) as u64);
            entry.set_len(self.lent_bytes.get());
            entry.set_bid(buffer);
        }
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        self.published.set(self.published.get() + 1);
        // SAFETY: `BufRingEntry::tail` gives the address of the tail inside the mapped ring,
        // aligned for a u16, which kernel and user space share as an atomic value.
        let shared = unsafe { &*BufRingEntry::tail(base).cast::<AtomicU16>() };
        shared.store(tail, Ordering::Release);
    }

    /// The buffer that was lent at this place of the ring.
    #[cfg(test)]
    fn buffer_at(&self, place: u16) -> u16 {
        let slot = usize::from(place & (self.ring_entries - 1));
        let base = self.ring.address.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `slot` is within the mapped ring, whose bytes are initialised.
        unsafe { (*base.add(slot)).bid() }
    }

    /// Takes back a buffer that the kernel filled with `bytes` octets.
    pub(crate) fn take(&self, buffer: u16, bytes: u32, class: ClassId) {
        assert!(bytes <= RECV_BYTES_MAX as u32, "more than was lent");
        self.published.set(self.published.get() - 1);
        self.filled.set(self.filled.get() + 1);
        self.received.borrow_mut()[usize::from(buffer)] = Received {
            class,
            start: HEADROOM_BYTES as u32,
            end: HEADROOM_BYTES as u32 + bytes,
            next: NO_BUFFER,
        };
        let mut held = self.held_by_class.borrow_mut();
        let index = class.index();
        if held.len() <= index {
            held.resize(index + 1, 0);
        }
        held[index] += 1;
        self.peak_in_use
            .set(self.peak_in_use.get().max(self.in_use()));
    }

    /// Gives a buffer back to the kernel, or withdraws it when there are more than wanted.
    pub(crate) fn release(&self, buffer: u16) {
        let class = self.received.borrow()[usize::from(buffer)].class;
        self.held_by_class.borrow_mut()[class.index()] -= 1;
        self.stirred.set(true);
        if self.circulating.get() > self.wanted.get() {
            self.circulating.set(self.circulating.get() - 1);
            self.withdrawn.borrow_mut().push(buffer);
            let address = self.stride_address(buffer);
            // SAFETY: the stride is whole pages of our own private mapping, and its buffer is
            // lent to nobody; its pages read as zero afterwards.
            unsafe { libc::madvise(address.cast(), RECV_STRIDE_BYTES, libc::MADV_DONTNEED) };
        } else if self.published.get() < self.lent_target.get() {
            self.publish(buffer);
        } else {
            self.stack.borrow_mut().push(buffer);
        }
    }

    /// Charges a held buffer to another class: its connection's tenant became known.
    pub(crate) fn charge(&self, buffer: u16, class: ClassId) {
        let mut received = self.received.borrow_mut();
        let entry = &mut received[usize::from(buffer)];
        let mut held = self.held_by_class.borrow_mut();
        held[entry.class.index()] -= 1;
        if held.len() <= class.index() {
            held.resize(class.index() + 1, 0);
        }
        held[class.index()] += 1;
        entry.class = class;
        self.stirred.set(true);
    }

    /// Whether receives that wait for a buffer have reason to be looked at.
    pub(crate) fn has_stirred(&self) -> bool {
        self.stirred.get()
    }

    /// Every receive that waits was looked at.
    pub(crate) fn settle_stir(&self) {
        self.stirred.set(false);
    }

    /// Whether a class holds its full share: as many buffers as nobody holds now, so that one
    /// greedy class gets half of all, k of them get a (k + 1)th each, and something is always
    /// left for the next one. Connections that we accepted stop at three fifths of that: what
    /// clients send ahead must not keep out the answers of backends, for these are what lets it
    /// be read at last.
    pub(crate) fn is_over_share(&self, class: ClassId, opened: bool) -> bool {
        let free = usize::from(self.ceiling - self.in_use());
        let share = if opened { free } else { free * 3 / 5 };
        self.held_by_class
            .borrow()
            .get(class.index())
            .is_some_and(|&held| usize::from(held) >= share.max(1))
    }

    /// Moves the few bytes of a buffer that just came behind those of `last`, which waits to be
    /// read, and gives the buffer back: a sender of single bytes holds one buffer, not many.
    pub(crate) fn merge(&self, last: u16, buffer: u16) -> bool {
        let (end, bytes) = {
            let received = self.received.borrow();
            let came = received[usize::from(buffer)];
            (received[usize::from(last)].end, came.end - came.start)
        };
        let room_ends = (RECV_BUFFER_BYTES - TAILROOM_BYTES) as u32;
        if bytes > MERGE_BYTES_MAX || end + bytes > room_ends {
            return false;
        }
        // SAFETY: both buffers are taken and in nobody's hands; they are different ones, and the
        // bytes stay within `last`, as was just checked.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.buffer_address(buffer).add(HEADROOM_BYTES),
                self.buffer_address(last).add(end as usize),
                bytes as usize,
            );
        }
        self.received.borrow_mut()[usize::from(last)].end += bytes;
        self.release(buffer);
        true
    }

    pub(crate) fn link(&self, buffer: u16, next: u16) {
        self.received.borrow_mut()[usize::from(buffer)].next = next;
    }

    pub(crate) fn next(&self, buffer: u16) -> u16 {
        self.received.borrow()[usize::from(buffer)].next
    }

    /// Makes the owned form of a buffer that was taken.
    pub(crate) fn own(self: &Rc<Self>, buffer: u16) -> RecvBuf {
        let Received { start, end, .. } = self.received.borrow()[usize::from(buffer)];
        RecvBuf {
            pool: Rc::clone(self),
            buffer,
            start,
            end,
        }
    }

    fn stride_address(&self, buffer: u16) -> *mut u8 {
        debug_assert!(buffer < self.ceiling);
        // SAFETY: strides lie within the mapping, `ceiling` of them.
        unsafe {
            self.memory
                .address
                .as_ptr()
                .add(usize::from(buffer) * RECV_STRIDE_BYTES)
        }
    }

    fn buffer_address(&self, buffer: u16) -> *mut u8 {
        let colour = usize::from(buffer) % RECV_COLOURS * RECV_COLOUR_BYTES;
        // SAFETY: a buffer with its colour in front of it fits into its stride (see `limits`).
        unsafe { self.stride_address(buffer).add(colour) }
    }

    /// From now on the kernel finds room for `bytes` octets in each buffer that it was lent.
    #[cfg(test)]
    pub(crate) fn shorten(&self, bytes: u32) {
        self.lent_bytes.set(bytes);
        for back in 1..=self.published.get() {
            let slot = usize::from(self.tail.get().wrapping_sub(back) & (self.ring_entries - 1));
            let base = self.ring.address.as_ptr().cast::<BufRingEntry>();
            // SAFETY: as in `publish`; the kernel reads entries only while this thread is in a
            // system call of the ring.
            unsafe { (*base.add(slot)).set_len(bytes) };
        }
    }

    pub(crate) fn statistics(&self) -> PoolStatistics {
        PoolStatistics {
            buffers: u32::from(self.circulating.get()),
            buffers_max: u32::from(self.ceiling),
            in_use: u32::from(self.in_use()),
            grown: self.grown.get(),
        }
    }
}

/// Received bytes, in a buffer of the worker's pool. Dropping it gives the buffer back.
#[derive(Debug)]
pub struct RecvBuf {
    pool: Rc<Pool>,
    buffer: u16,
    start: u32,
    end: u32,
}

impl RecvBuf {
    /// Drops the first `count` bytes. Panics when there are fewer.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advance past the end of a buffer");
        self.start += count as u32;
    }

    /// Keeps only the first `count` bytes; no effect when there are not more.
    pub fn truncate(&mut self, count: usize) {
        if count < self.len() {
            self.end = self.start + count as u32;
        }
    }

    /// Puts `bytes` in front of what is there. `false`, and nothing done, when they do not fit.
    ///
    /// What was passed with [`RecvBuf::advance`] is room too.
    #[must_use]
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.start as usize {
            return false;
        }
        self.start -= bytes.len() as u32;
        self[..bytes.len()].copy_from_slice(bytes);
        true
    }

    /// Puts `bytes` behind what is there. `false`, and nothing done, when they do not fit.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.room() {
            return false;
        }
        let at = self.len();
        self.end += bytes.len() as u32;
        self[at..].copy_from_slice(bytes);
        true
    }

    /// How many bytes [`RecvBuf::append`] has room for.
    pub fn room(&self) -> usize {
        RECV_BUFFER_BYTES - self.end as usize
    }

    /// Charges the buffer to a class, when the tenant it belongs to became known.
    pub fn charge(&self, class: ClassId) {
        self.pool.charge(self.buffer, class);
    }

    /// Undoes [`Pool::own`]: the buffer goes back to a list of `pool`, with what is left in it.
    pub(crate) fn disown(self, pool: &Rc<Pool>) -> u16 {
        // A number of another pool would name somebody else's buffer in this one.
        assert!(Rc::ptr_eq(&self.pool, pool), "a buffer of another runtime");
        let buffer = self.buffer;
        {
            let mut received = self.pool.received.borrow_mut();
            let entry = &mut received[usize::from(buffer)];
            (entry.start, entry.end, entry.next) = (self.start, self.end, NO_BUFFER);
        }
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is never used nor dropped again, so the `Rc` is dropped exactly once
        // and the buffer stays taken, which is what the caller asked for.
        unsafe { std::ptr::drop_in_place(&mut this.pool) };
        buffer
    }
}

impl Deref for RecvBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let address = self.pool.buffer_address(self.buffer);
        // SAFETY: start and end stay within the stride of this buffer. The buffer was taken
        // from the kernel and is given back only by dropping `self`; no other `RecvBuf` has
        // the same number. The memory is initialised: mappings begin as zeroes.
        unsafe {
            std::slice::from_raw_parts(
                address.add(self.start as usize),
                (self.end - self.start) as usize,
            )
        }
    }
}

impl DerefMut for RecvBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        let address = self.pool.buffer_address(self.buffer);
        // SAFETY: as in `deref`; `&mut self` makes the borrow unique.
        unsafe {
            std::slice::from_raw_parts_mut(
                address.add(self.start as usize),
                (self.end - self.start) as usize,
            )
        }
    }
}

impl Drop for RecvBuf {
    fn drop(&mut self) {
        self.pool.release(self.buffer);
    }
}

const _: () = assert!(HEADROOM_BYTES + RECV_BYTES_MAX + TAILROOM_BYTES == RECV_BUFFER_BYTES);
const _: () = assert!(RECV_STRIDE_BYTES.is_multiple_of(4096));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_buffers_can_be_held_though_the_kernel_is_lent_some_of_them_at_a_time() {
        let pool = Pool::new(BUFFERS_MAX).expect("it maps");
        pool.publish_first();
        // In the order in which the kernel would fill them.
        let mut lent: std::collections::VecDeque<u16> = (0..BUFFERS_MIN).collect();
        let entries = pool.ring_entries;
        assert_eq!(entries, LENT_MAX);
        let mut held = 0;
        while held < BUFFERS_MAX {
            if lent.is_empty() {
                let tail = pool.tail.get();
                assert!(pool.grow(), "{held} of {BUFFERS_MAX} are held");
                lent.extend((tail..pool.tail.get()).map(|place| pool.buffer_at(place)));
            }
            assert!(pool.published.get() <= LENT_MAX);
            let buffer = lent.pop_front().expect("it was lent some");
            pool.take(buffer, 1, ClassId::UNKNOWN);
            held += 1;
        }
        assert_eq!(pool.in_use(), BUFFERS_MAX);
        assert!(!pool.has_published() && !pool.grow());
        for buffer in 0..BUFFERS_MAX {
            pool.release(buffer);
        }
        assert_eq!(pool.in_use(), 0);
        assert!(pool.published.get() <= LENT_MAX);
    }

    #[test]
    fn a_blank_buffer_is_one_that_nobody_else_has() {
        let pool = Pool::new(128).expect("it maps");
        pool.publish_first();
        let class = ClassId(3);
        let mut blanks: Vec<RecvBuf> = std::iter::from_fn(|| pool.blank(class, 16)).collect();
        // What the kernel was lent stays there.
        assert_eq!(blanks.len(), 128 - usize::from(BUFFERS_MIN));
        assert_eq!(pool.in_use(), blanks.len() as u16);
        assert!(pool.is_over_share(class, true) && !pool.is_over_share(ClassId(2), true));
        for (number, blank) in blanks.iter_mut().enumerate() {
            assert_eq!((blank.len(), blank.room()), (RECV_BUFFER_BYTES - 16, 0));
            blank.truncate(0);
            assert!(blank.append(&[number as u8; 100]) && blank.prepend(&[number as u8; 16]));
        }
        for (number, blank) in blanks.iter().enumerate() {
            assert_eq!(blank[..], [number as u8; 116]);
        }
        drop(blanks);
        assert_eq!(pool.in_use(), 0);
        assert!(pool.blank(class, 0).is_some());
    }
}
