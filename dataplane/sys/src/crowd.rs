//! Who has how many of the sockets: by class, all of them and those that are parked, the latter in
//! the order in which they were parked.
//!
//! A park and its end touch two links of eight bytes beside the slot, which stand together: the
//! slots themselves would be memory that nobody else needs then. So whoever is short of sockets
//! finds those that are idle longest without a look at any other.

use crate::run_queue::ClassId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client opened it.
    Accepted,
    /// We did.
    Opened,
}

/// No slot.
const NONE: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(crate) struct Crowd {
    classes: Vec<OfClass>,
    /// By slot.
    links: Vec<Link>,
    /// By origin.
    parked: [Parked; 2],
}

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

#[derive(Debug, Clone, Default)]
struct OfClass {
    sockets: u32,
    /// By origin.
    parked: [Line; 2],
}

/// Parked sockets of a class, those first that were parked first.
#[derive(Debug, Clone)]
struct Line {
    first: u32,
    last: u32,
    count: u32,
    /// Its place among those that are not empty.
    place: u32,
}

/// Those of one origin.
#[derive(Debug, Default)]
struct Parked {
    count: u32,
    /// The classes that have any.
    classes: Vec<u32>,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            first: NONE,
            last: NONE,
            count: 0,
            place: NONE,
        }
    }
}

impl Crowd {
    /// Nobody, of one class.
    pub(crate) fn new() -> Crowd {
        Crowd {
            classes: vec![OfClass::default()],
            links: Vec::new(),
            parked: Default::default(),
        }
    }

    /// There is one class more.
    pub(crate) fn add_class(&mut self) {
        self.classes.push(OfClass::default());
    }

    /// A socket more.
    pub(crate) fn enter(&mut self, class: ClassId) {
        self.classes[class.index()].sockets += 1;
    }

    /// One less.
    pub(crate) fn leave(&mut self, class: ClassId) {
        self.classes[class.index()].sockets -= 1;
    }

    /// Sockets of a class that are not parked.
    pub(crate) fn busy(&self, class: ClassId) -> u64 {
        let of_class = &self.classes[class.index()];
        let parked = of_class.parked.iter().map(|line| line.count).sum::<u32>();
        u64::from(of_class.sockets - parked)
    }

    /// Sockets that are parked.
    pub(crate) fn parked(&self, origin: Origin) -> u64 {
        u64::from(self.parked[origin as usize].count)
    }

    /// A socket is parked from now on.
    pub(crate) fn park(&mut self, index: u32, class: ClassId, origin: Origin) {
        if self.links.len() <= index as usize {
            let link = Link {
                before: NONE,
                after: NONE,
            };
            self.links.resize(index as usize + 1, link);
        }
        let parked = &mut self.parked[origin as usize];
        let line = &mut self.classes[class.index()].parked[origin as usize];
        if line.count == 0 {
            line.place = parked.classes.len() as u32;
            parked.classes.push(class.index() as u32);
            line.first = index;
        } else {
            self.links[line.last as usize].after = index;
        }
        self.links[index as usize] = Link {
            before: line.last,
            after: NONE,
        };
        line.last = index;
        line.count += 1;
        parked.count += 1;
    }

    /// It is not any more.
    pub(crate) fn unpark(&mut self, index: u32, class: ClassId, origin: Origin) {
        let Link { before, after } = self.links[index as usize];
        let line = &mut self.classes[class.index()].parked[origin as usize];
        match before {
            NONE => line.first = after,
            before => self.links[before as usize].after = after,
        }
        match after {
            NONE => line.last = before,
            after => self.links[after as usize].before = before,
        }
        line.count -= 1;
        let parked = &mut self.parked[origin as usize];
        parked.count -= 1;
        if line.count == 0 {
            let place = std::mem::replace(&mut line.place, NONE);
            parked.classes.swap_remove(place as usize);
            if let Some(&moved) = parked.classes.get(place as usize) {
                self.classes[moved as usize].parked[origin as usize].place = place;
            }
        }
    }

    /// The slots of `count` parked sockets, each of the class that has most of them when those
    /// before it are gone, and there of the one that was parked first. Of classes that have as many
    /// it is the one that was made first, so before all that of those whose tenant is not known.
    pub(crate) fn idlest(&self, origin: Origin, count: usize) -> Vec<u32> {
        let line = |class: u32| &self.classes[class as usize].parked[origin as usize];
        let classes = self.parked[origin as usize].classes.iter();
        let mut most: BinaryHeap<(u32, Reverse<u32>, u32)> = classes
            .map(|&class| (line(class).count, Reverse(class), line(class).first))
            .collect();
        let mut found = Vec::new();
        while found.len() < count
            && let Some(mut front) = most.peek_mut()
        {
            let (left, _, index) = *front;
            found.push(index);
            front.0 = left - 1;
            front.2 = self.links[index as usize].after;
            if left == 1 {
                std::collections::binary_heap::PeekMut::pop(front);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: ClassId = ClassId(1);
    const B: ClassId = ClassId(2);

    fn crowd() -> Crowd {
        let mut crowd = Crowd::new();
        crowd.add_class();
        crowd.add_class();
        crowd
    }

    #[test]
    fn the_class_that_has_most_gives_first_those_that_were_parked_first() {
        let mut crowd = crowd();
        for index in [7, 3, 5, 1] {
            crowd.enter(A);
            crowd.park(index, A, Origin::Accepted);
        }
        for index in [0, 9] {
            crowd.enter(B);
            crowd.park(index, B, Origin::Accepted);
        }
        crowd.enter(B);
        crowd.park(2, B, Origin::Opened);
        assert_eq!(crowd.idlest(Origin::Accepted, 2), [7, 3]);
        let mut all = crowd.idlest(Origin::Accepted, 100);
        assert_eq!(all[..2], [7, 3]);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 3, 5, 7, 9]);
        assert_eq!(crowd.idlest(Origin::Opened, 100), [2]);
        assert_eq!((crowd.busy(A), crowd.busy(B)), (0, 0));
        crowd.unpark(3, A, Origin::Accepted);
        assert_eq!(crowd.busy(A), 1);
        assert_eq!(crowd.idlest(Origin::Accepted, 3), [7, 5, 0]);
    }

    proptest! {
        /// Against a list for each class that is looked through.
        #[test]
        fn lines_are_as_plain_lists(
            steps in proptest::collection::vec((0u32..40, 0u32..3, proptest::bool::ANY), 0..200),
            count in 0usize..50,
        ) {
            let mut crowd = crowd();
            let mut plain: Vec<(u32, u32, Origin)> = Vec::new();
            for (index, class, opened) in steps {
                if let Some(at) = plain.iter().position(|it| it.0 == index) {
                    let (_, class, origin) = plain.remove(at);
                    crowd.unpark(index, ClassId(class), origin);
                } else {
                    let origin = if opened { Origin::Opened } else { Origin::Accepted };
                    crowd.park(index, ClassId(class), origin);
                    plain.push((index, class, origin));
                }
            }
            for origin in [Origin::Accepted, Origin::Opened] {
                let mut left: Vec<_> = plain.iter().filter(|it| it.2 == origin).collect();
                prop_assert_eq!(crowd.parked(origin), left.len() as u64);
                for index in crowd.idlest(origin, count) {
                    let at = left.iter().position(|it| it.0 == index);
                    let &(_, class, _) = left.remove(at.expect("it is parked, and found once"));
                    let of = |class: u32, left: &[&(u32, u32, Origin)]| {
                        left.iter().filter(|it| it.1 == class).count()
                    };
                    let most = (0..3).map(|it| of(it, &left)).max().unwrap_or(0);
                    prop_assert!(of(class, &left) + 1 >= most);
                    let older = left[..at.unwrap_or(0)].iter().filter(|it| it.1 == class);
                    prop_assert_eq!(older.count(), 0);
                }
                prop_assert!(left.len() == plain.iter().filter(|it| it.2 == origin).count().saturating_sub(count));
            }
        }
    }
}
