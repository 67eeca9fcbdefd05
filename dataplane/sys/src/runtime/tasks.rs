//! Tasks: polled when something happened to a socket of theirs, or when their time is up.

use super::{Core, Inner};
use crate::limits::TURN_NS;
use crate::prefetch::prefetch;
use crate::slab::NO_TASK;
use crate::timers::Owner;
use std::io;
use std::task::{Context, Poll, Waker};

impl Core {
    /// Polls runnable tasks until there are none or the turn is over. What they ask of the kernel
    /// counts: it is done before anybody else's turn.
    pub(super) fn run_tasks(&self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut started_ns = self.clock.now_ns();
        let mut turn_ends_ns = started_ns + TURN_NS;
        loop {
            let (class, index, mut work) = {
                let mut inner = self.inner.borrow_mut();
                let Some((class, index)) = inner.queue.pop() else {
                    break;
                };
                let task = &mut inner.tasks[index as usize];
                task.queued = false;
                let Some(work) = task.work.take() else {
                    continue;
                };
                task.deadline.at_ns = 0;
                (class, index, work)
            };
            self.current.set(index);
            let units_before = self.inner.borrow().units;
            let done = work.as_mut().poll(&mut context).is_ready();
            // A finished task's sockets are closed here, while the runtime is not borrowed.
            let work = (!done).then_some(work);
            self.current.set(NO_TASK);
            let ended_ns = self.clock.now_ns();
            let mut guard = self.inner.borrow_mut();
            let inner = &mut *guard;
            let kernel_ns = (inner.units - units_before.min(inner.units)) * inner.unit_ns;
            inner.queue.charge(class, ended_ns - started_ns + kernel_ns);
            turn_ends_ns = turn_ends_ns.saturating_sub(kernel_ns);
            let task = &mut inner.tasks[index as usize];
            task.work = work;
            if done {
                task.alive = false;
                task.deadline.at_ns = 0;
                inner.free_tasks.push(index);
            } else {
                let mut deadline = task.deadline;
                inner.wheel.file(Owner::Task(index), &mut deadline);
                inner.tasks[index as usize].deadline = deadline;
            }
            started_ns = ended_ns;
            if ended_ns >= turn_ends_ns || inner.stopping {
                break;
            }
        }
    }

    pub(super) fn drop_tasks(&self) {
        let mut index = 0;
        loop {
            let work = {
                let mut inner = self.inner.borrow_mut();
                let Some(task) = inner.tasks.get_mut(index) else {
                    break;
                };
                let work = task.work.take();
                if work.is_some() {
                    task.alive = false;
                    task.deadline.at_ns = 0;
                    inner.free_tasks.push(index as u32);
                }
                work
            };
            // Dropped while the runtime is not borrowed: it closes the task's sockets.
            drop(work);
            index += 1;
        }
    }

    pub(crate) fn or_timeout<T>(
        &self,
        deadline_ns: u64,
        state: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if state.is_ready() {
            return state;
        }
        if deadline_ns != 0 && deadline_ns <= self.inner.borrow().now_ns {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)));
        }
        self.set_task_deadline(deadline_ns);
        Poll::Pending
    }

    /// The earliest of the deadlines that the current task waits with counts.
    pub(super) fn set_task_deadline(&self, deadline_ns: u64) {
        let current = self.current.get();
        if current == NO_TASK || deadline_ns == 0 {
            return;
        }
        let mut inner = self.inner.borrow_mut();
        let deadline = &mut inner.tasks[current as usize].deadline;
        if deadline.at_ns == 0 || deadline_ns < deadline.at_ns {
            deadline.at_ns = deadline_ns;
        }
    }
}

impl Inner {
    pub(super) fn schedule(&mut self, task: u32) {
        let Some(entry) = self.tasks.get_mut(task as usize) else {
            return;
        };
        if entry.alive && !entry.queued {
            entry.queued = true;
            if let Some(work) = &entry.work {
                prefetch(&**work);
            }
            self.queue.push(entry.class, task);
        }
    }
}
