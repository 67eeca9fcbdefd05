//! The slab of sockets. An idle connection is one entry of it and nothing else.

use crate::buffers::NO_BUFFER;
use crate::crowd::Origin;
use crate::prefetch::prefetch;
use crate::run_queue::ClassId;
use crate::socket::{RecvMode, SendBuf};
use crate::timers::Deadline;
use crate::token::{GENERATION_MASK, Op, Token};
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// No task is attached.
pub(crate) const NO_TASK: u32 = u32::MAX;

/// Whether a receive is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiving {
    Off,
    Armed,
    /// A cancel is on its way; the receive counts as under way until its completion comes.
    Cancelling,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) fd: RawFd,
    pub(crate) generation: u32,
    /// The task that is to run when something happens here.
    pub(crate) task: u32,
    pub(crate) class: ClassId,
    /// Operations that the kernel has not completed; the slot lives until there are none.
    pub(crate) in_flight: u8,
    pub(crate) receiving: Receiving,
    /// The receive under way is a multishot one without a bound, whatever the mode is by now.
    pub(crate) multishot: bool,
    pub(crate) mode: RecvMode,
    /// The peer will send nothing more.
    pub(crate) ended: bool,
    pub(crate) closing: bool,
    /// Waits for its next bytes without a task.
    pub(crate) parked: bool,
    /// An event about this parked socket is queued.
    pub(crate) stirred: bool,
    /// Waits for a buffer.
    pub(crate) starved: bool,
    pub(crate) recv_errno: i32,
    pub(crate) first_buffer: u16,
    pub(crate) last_buffer: u16,
    pub(crate) queued_buffers: u16,
    pub(crate) sending: bool,
    pub(crate) send_flags: i32,
    pub(crate) send_errno: i32,
    pub(crate) sent: u32,
    /// The task waits for the end of the send, not only for its failure.
    pub(crate) sent_wanted: bool,
    pub(crate) send: Option<SendBuf>,
    /// When the kernel last took bytes of the current send, on the worker's clock.
    pub(crate) send_progress_ns: u64,
    /// Under way: `Some(None)`; done: the error number, 0 for success.
    pub(crate) connecting: Option<Option<i32>>,
    pub(crate) connect_address: Option<Box<libc::sockaddr_storage>>,
    pub(crate) deadline: Deadline,
    pub(crate) tag: u64,
    /// Asked of the kernel once.
    pub(crate) peer: Option<SocketAddr>,
    /// In place of what the kernel would say; few sockets have it.
    pub(crate) local: Option<Box<SocketAddr>>,
}

const _: () = assert!(
    size_of::<Entry>() <= 256,
    "an idle connection is at most 256 bytes"
);

impl Entry {
    fn vacant() -> Entry {
        Entry {
            fd: -1,
            generation: 0,
            task: NO_TASK,
            class: ClassId::UNKNOWN,
            in_flight: 0,
            receiving: Receiving::Off,
            multishot: false,
            mode: RecvMode::OnDemand,
            ended: false,
            closing: false,
            parked: false,
            stirred: false,
            starved: false,
            recv_errno: 0,
            first_buffer: NO_BUFFER,
            last_buffer: NO_BUFFER,
            queued_buffers: 0,
            sending: false,
            send_flags: 0,
            send_errno: 0,
            sent: 0,
            sent_wanted: false,
            send: None,
            send_progress_ns: 0,
            connecting: None,
            connect_address: None,
            deadline: Deadline::default(),
            tag: 0,
            peer: None,
            local: None,
        }
    }

    /// Where it came from.
    pub(crate) fn origin(&self) -> Origin {
        match self.is_opened() {
            true => Origin::Opened,
            false => Origin::Accepted,
        }
    }

    /// Whether we opened this connection, rather than accepted it.
    pub(crate) fn is_opened(&self) -> bool {
        self.connecting.is_some()
    }

    pub(crate) fn token(&self, op: Op, index: u32) -> u64 {
        Token {
            op,
            generation: self.generation,
            index,
        }
        .pack()
    }
}

const CHUNK: usize = 256;

/// Entries in chunks, so that growing moves nothing and costs no second copy.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    chunks: Vec<Box<[Entry]>>,
    free: Vec<u32>,
    live: usize,
}

impl Slab {
    pub(crate) fn insert(&mut self, fd: RawFd, mode: RecvMode) -> u32 {
        if self.free.is_empty() {
            let first = (self.chunks.len() * CHUNK) as u32;
            self.chunks
                .push((0..CHUNK).map(|_| Entry::vacant()).collect());
            self.free.extend((first..first + CHUNK as u32).rev());
        }
        let index = self.free.pop().unwrap_or_default();
        let entry = &mut self[index];
        let vacated = Entry {
            generation: entry.generation.wrapping_add(1) & GENERATION_MASK,
            // Keys that the wheel still holds for this slot stay known.
            deadline: Deadline {
                at_ns: 0,
                ..entry.deadline
            },
            fd,
            mode,
            ..Entry::vacant()
        };
        *entry = vacated;
        self.live += 1;
        index
    }

    /// Gives the slot free. None of its operations may be under way.
    pub(crate) fn remove(&mut self, index: u32) {
        let entry = &mut self[index];
        debug_assert!(entry.in_flight == 0 && entry.first_buffer == NO_BUFFER);
        entry.fd = -1;
        entry.deadline.at_ns = 0;
        entry.send = None;
        entry.local = None;
        self.free.push(index);
        self.live -= 1;
    }

    /// Asks for an entry's memory; one that is not there is nothing.
    pub(crate) fn prefetch(&self, index: u32) {
        let chunk = self.chunks.get(index as usize / CHUNK);
        if let Some(entry) = chunk.and_then(|chunk| chunk.get(index as usize % CHUNK)) {
            prefetch(entry);
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        0..(self.chunks.len() * CHUNK) as u32
    }
}

impl std::ops::Index<u32> for Slab {
    type Output = Entry;

    fn index(&self, index: u32) -> &Entry {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

impl std::ops::IndexMut<u32> for Slab {
    fn index_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}
