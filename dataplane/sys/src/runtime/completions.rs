//! What the kernel answers: each completion finds its socket by token and moves it on.

use super::{Inner, ListenerId, Queued, Stir};
use crate::buffers::{NO_BUFFER, Pool};
use crate::limits::{ACCEPT_PAUSE_NS, QUEUED_BUFFERS_HIGH};
use crate::ring::Completion;
use crate::run_queue::ClassId;
use crate::slab::{NO_TASK, Receiving};
use crate::socket::RecvMode;
use crate::token::{Op, Token};
use io_uring::cqueue;
use std::rc::Rc;

/// How many completions ahead a socket's entry is asked for.
const PREFETCH_DISTANCE: usize = 4;

impl Inner {
    pub(super) fn reap(&mut self, pool: &Rc<Pool>) {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.reap(&mut completions);
        for next in 0..completions.len() {
            if let Some(later) = completions.get(next + PREFETCH_DISTANCE) {
                self.sockets.prefetch(Token::unpack(later.token).index);
            }
            self.complete(pool, completions[next]);
        }
        completions.clear();
        self.completions = completions;
        while let Some((index, generation)) = self.uncancelled.pop() {
            let entry = &self.sockets[index];
            if entry.generation == generation && entry.in_flight > 0 {
                self.cancel_again(index);
            }
        }
    }

    /// Something happened to a socket: its task runs, or its owner is told.
    pub(super) fn wake(&mut self, index: u32, why: Stir) {
        let entry = &self.sockets[index];
        if entry.task != NO_TASK {
            let task = entry.task;
            self.schedule(task);
        } else if entry.parked {
            self.stir(index, why);
        }
    }

    pub(super) fn stir(&mut self, index: u32, why: Stir) {
        let entry = &mut self.sockets[index];
        if !entry.stirred {
            entry.stirred = true;
            self.crowd.unpark(index, entry.class, entry.origin());
            let generation = entry.generation;
            self.events.push_back(Queued::Stirred {
                index,
                generation,
                why,
            });
        }
    }

    pub(super) fn complete(&mut self, pool: &Rc<Pool>, completion: Completion) {
        #[cfg(test)]
        let completion = self.faults.alter(completion);
        let token = Token::unpack(completion.token);
        match token.op {
            Op::Forget => {}
            Op::Cancel => self.uncancelled.push((token.index, token.generation)),
            Op::Notified => self.complete_notified(completion),
            Op::Accept => self.complete_accept(token.index, completion),
            Op::Readable => self.complete_readable(token.index, completion),
            Op::Recv | Op::Send | Op::Connect => {
                let entry = &self.sockets[token.index];
                if entry.generation != token.generation || entry.in_flight == 0 {
                    self.statistics.stale += 1;
                    if let Some(buffer) = cqueue::buffer_select(completion.flags) {
                        pool.take(buffer, 0, ClassId::UNKNOWN);
                        pool.release(buffer);
                    }
                    return;
                }
                match token.op {
                    Op::Recv => self.complete_recv(pool, token.index, completion),
                    Op::Send => self.complete_send(token.index, completion.result),
                    _ => self.complete_connect(pool, token.index, completion.result),
                }
                let entry = &self.sockets[token.index];
                if entry.closing && entry.in_flight == 0 {
                    self.finish_close(token.index);
                }
            }
        }
    }

    pub(super) fn complete_notified(&mut self, completion: Completion) {
        self.notifier.reset();
        if !self.notified {
            self.notified = true;
            self.events.push_back(Queued::Notified);
        }
        if !cqueue::more(completion.flags) {
            self.arm_notifier();
        }
    }

    /// An error of the poll itself, which nothing but its cancellation is known to make, is for whoever
    /// reads to find.
    pub(super) fn complete_readable(&mut self, index: u32, completion: Completion) {
        self.tell_readable(index);
        if !cqueue::more(completion.flags) {
            self.arm_readable(index);
        }
    }

    pub(super) fn complete_accept(&mut self, listener: u32, completion: Completion) {
        let id = ListenerId(listener);
        if completion.result >= 0 {
            // It counts when it is told of: until then nobody could do anything about it.
            let index = self.sockets.insert(completion.result, RecvMode::Multishot);
            self.accepted.push_back((id, index));
        }
        if cqueue::more(completion.flags) {
            return;
        }
        self.listeners[listener as usize].armed = false;
        match completion.result {
            // What accept(2) says of one connection that came to nothing, or of no error at all.
            0.. => self.arm_accept(id),
            failed => match -failed {
                libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO => {
                    self.arm_accept(id);
                }
                // Want of descriptors or memory, or a fault that asking again at once would
                // only show again, as fast as a core can ask.
                _ if self.listeners[listener as usize].socket.is_some() => {
                    self.statistics.accept_failures += 1;
                    self.listeners[listener as usize].resume_ns = self.now_ns + ACCEPT_PAUSE_NS;
                }
                _ => {}
            },
        }
    }

    pub(super) fn complete_recv(&mut self, pool: &Rc<Pool>, index: u32, completion: Completion) {
        let entry = &mut self.sockets[index];
        if !cqueue::more(completion.flags) {
            entry.receiving = Receiving::Off;
            entry.in_flight -= 1;
        }
        let class = entry.class;
        if let Some(buffer) = cqueue::buffer_select(completion.flags) {
            let bytes = completion.result.max(0) as u32;
            pool.take(buffer, bytes, class);
            if bytes == 0 || entry.closing {
                pool.release(buffer);
            } else {
                if entry.first_buffer == NO_BUFFER {
                    entry.first_buffer = buffer;
                    entry.last_buffer = buffer;
                    entry.queued_buffers += 1;
                } else if !pool.merge(entry.last_buffer, buffer) {
                    pool.link(entry.last_buffer, buffer);
                    entry.last_buffer = buffer;
                    entry.queued_buffers += 1;
                }
                let cost_ns = (1 + u64::from(bytes) / 4096) * self.unit_ns;
                self.queue.charge(class, cost_ns);
            }
        }
        let entry = &mut self.sockets[index];
        if entry.closing {
            return;
        }
        match completion.result {
            0 => entry.ended = true,
            1.. => {}
            failed => match -failed {
                // What the kernel lacked is counted by now: arming grows the pool or waits.
                libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN => {
                    self.rearm_multishot(pool, index);
                    return;
                }
                errno => entry.recv_errno = errno,
            },
        }
        // Only a multishot receive is still under way here, bounded or not.
        let entry = &self.sockets[index];
        let over_share = pool.is_over_share(class, entry.is_opened());
        if entry.queued_buffers >= QUEUED_BUFFERS_HIGH || over_share {
            self.cancel_recv(index);
        }
        let why = if self.sockets[index].first_buffer == NO_BUFFER {
            Stir::Ended
        } else {
            Stir::Bytes
        };
        self.wake(index, why);
        self.rearm_multishot(pool, index);
    }

    /// A multishot receive that ended, for whatever reason, goes on when the reader keeps up.
    pub(super) fn rearm_multishot(&mut self, pool: &Pool, index: u32) {
        let entry = &self.sockets[index];
        let wanted = match entry.mode {
            RecvMode::Multishot => entry.queued_buffers < QUEUED_BUFFERS_HIGH,
            // Interrupted before it received anything.
            RecvMode::OnDemand | RecvMode::Bounded => entry.queued_buffers == 0,
        };
        if wanted && entry.receiving == Receiving::Off {
            self.arm_recv(pool, index);
        }
    }

    pub(super) fn complete_send(&mut self, index: u32, result: i32) {
        let now_ns = self.now_ns;
        let entry = &mut self.sockets[index];
        entry.in_flight -= 1;
        entry.sending = false;
        if entry.closing {
            return;
        }
        match result {
            0.. => {
                entry.sent += result as u32;
                entry.send_progress_ns = now_ns;
                let whole = entry.send.as_ref().map_or(0, |bytes| bytes.len());
                if (entry.sent as usize) < whole {
                    self.push_send(index);
                }
            }
            failed => match -failed {
                libc::EINTR | libc::EAGAIN => self.push_send(index),
                errno => entry.send_errno = errno,
            },
        }
        let entry = &self.sockets[index];
        if entry.sent_wanted || entry.send_errno != 0 {
            self.wake(index, Stir::Ended);
        }
    }

    pub(super) fn complete_connect(&mut self, pool: &Pool, index: u32, result: i32) {
        let entry = &mut self.sockets[index];
        entry.in_flight -= 1;
        entry.connect_address = None;
        entry.connecting = Some(Some(-result));
        if entry.closing {
            return;
        }
        if result < 0 {
            // Whoever reads hears of it too.
            entry.recv_errno = -result;
        } else if entry.parked {
            self.arm_recv(pool, index);
            return;
        }
        self.wake(index, Stir::Ended);
    }
}
