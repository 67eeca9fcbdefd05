//! The connections of a worker, and which of them was idle the longest.

use meridian_sys::TaskId;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    is_taken: bool,
    /// It is to be closed for another.
    is_evicted: bool,
    /// Grows with each connection and each whole message: the least is the idlest. (Of the clock many
    /// have the same time, in a crowd.)
    active: u64,
    /// Who serves it, once it has begun.
    task: Option<TaskId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    entries: Vec<Entry>,
    free: Vec<usize>,
    evicted: usize,
    /// Of what was active last.
    active: u64,
}

impl Seats {
    /// A place for a new connection.
    pub(crate) fn take(&mut self) -> usize {
        self.active += 1;
        let entry = Entry {
            is_taken: true,
            active: self.active,
            ..Entry::default()
        };
        match self.free.pop() {
            Some(place) => {
                self.entries[place] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        }
    }

    /// The connection is closed.
    pub(crate) fn leave(&mut self, place: usize) {
        self.evicted -= usize::from(self.entries[place].is_evicted);
        self.entries[place] = Entry::default();
        self.free.push(place);
    }

    /// Connections that stay.
    pub(crate) fn taken(&self) -> usize {
        self.entries.len() - self.free.len() - self.evicted
    }

    /// The task that serves it.
    pub(crate) fn served_by(&mut self, place: usize, task: TaskId) {
        self.entries[place].task = Some(task);
    }

    /// A whole message came.
    pub(crate) fn touch(&mut self, place: usize) {
        self.active += 1;
        self.entries[place].active = self.active;
    }

    /// Whether it is to be closed.
    pub(crate) fn is_evicted(&self, place: usize) -> bool {
        self.entries[place].is_evicted
    }

    /// Has the connection closed that was idle longest, and gives who is to be woken for that; `None`
    /// without any. Looks at all of them: it is called when there are too many.
    pub(crate) fn evict_idlest(&mut self) -> Option<Option<TaskId>> {
        let stay = self.entries.iter_mut();
        let stay = stay.filter(|entry| entry.is_taken && !entry.is_evicted);
        let idlest = stay.min_by_key(|entry| entry.active)?;
        idlest.is_evicted = true;
        self.evicted += 1;
        Some(idlest.task)
    }

    /// Who serves any.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        let taken = self.entries.iter().filter(|entry| entry.is_taken);
        taken.filter_map(|entry| entry.task).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_goes_first() {
        let mut seats = Seats::default();
        let [a, b, c] = [(); 3].map(|()| seats.take());
        // After which b is the idlest, then c.
        seats.touch(a);
        assert_eq!(seats.taken(), 3);
        assert!(seats.evict_idlest().is_some());
        assert!(seats.is_evicted(b) && !seats.is_evicted(a));
        assert_eq!(seats.taken(), 2);
        seats.leave(b);
        assert_eq!(seats.taken(), 2);
        let d = seats.take();
        assert_eq!(d, b, "its place is used again");
        assert!(!seats.is_evicted(d));
        assert!(seats.evict_idlest().is_some());
        assert!(seats.is_evicted(c) && !seats.is_evicted(d));
        [a, c, d].into_iter().for_each(|place| seats.leave(place));
        assert_eq!(seats.taken(), 0);
        assert_eq!(seats.evict_idlest(), None);
    }
}
