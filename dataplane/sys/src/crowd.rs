//! Who has how many of the sockets: by class, all of them and those that are parked, the latter in
//! the order in which they were parked. Strangers stand apart by their lines.
//!
//! A park and its end touch two links of twelve bytes beside the slot, which stand together: the
//! slots themselves would be memory that nobody else needs then. So whoever is short of sockets
//! finds those that are idle longest without a look at any other.

use crate::limits::STRANGER_LINES;
use crate::run_queue::ClassId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

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
    /// By [`place`].
    classes: Vec<OfClass>,
    /// All together, those that are promised too.
    sockets: u32,
    /// Of strangers.
    strangers: u32,
    /// By slot.
    links: Vec<Link>,
    /// By origin.
    parked: [Parked; 2],
}

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
    /// The turn in which it was parked.
    turn: u32,
}

#[derive(Debug, Clone, Default)]
struct OfClass {
    /// Those that are promised too.
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
    /// Of strangers.
    strangers: u32,
    /// The places of those that have any.
    places: Vec<u32>,
}

/// Lines that give, the one that has most left in front: how many, whose, and who is next there.
type Givers = BinaryHeap<(u32, Reverse<u32>, u32)>;

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

/// Where a class stands: the lines of strangers come first.
fn place(class: ClassId) -> usize {
    match class.line() {
        Some(line) => line as usize,
        None => STRANGER_LINES as usize - 1 + class.index(),
    }
}

impl Crowd {
    /// Nobody, and no class but that of strangers.
    pub(crate) fn new() -> Crowd {
        Crowd {
            classes: vec![OfClass::default(); STRANGER_LINES as usize],
            sockets: 0,
            strangers: 0,
            links: Vec::new(),
            parked: Default::default(),
        }
    }

    /// There is one class more.
    pub(crate) fn add_class(&mut self) {
        self.classes.push(OfClass::default());
    }

    /// A socket more, or the promise of one.
    pub(crate) fn enter(&mut self, class: ClassId) {
        self.classes[place(class)].sockets += 1;
        self.sockets += 1;
        self.strangers += u32::from(class.is_stranger());
    }

    /// One less.
    pub(crate) fn leave(&mut self, class: ClassId) {
        self.classes[place(class)].sockets -= 1;
        self.sockets -= 1;
        self.strangers -= u32::from(class.is_stranger());
    }

    /// Sockets of a class; of a stranger's line.
    pub(crate) fn sockets(&self, class: ClassId) -> u64 {
        u64::from(self.classes[place(class)].sockets)
    }

    /// Of these, those that are not parked.
    pub(crate) fn busy(&self, class: ClassId) -> u64 {
        let of_class = &self.classes[place(class)];
        let parked = of_class.parked.iter().map(|line| line.count).sum::<u32>();
        u64::from(of_class.sockets - parked)
    }

    /// Sockets of all strangers that are not parked.
    pub(crate) fn busy_strangers(&self) -> u64 {
        let parked = self.parked.iter().map(|it| it.strangers).sum::<u32>();
        u64::from(self.strangers - parked)
    }

    /// Sockets that are not parked.
    pub(crate) fn busy_all(&self) -> u64 {
        let parked = self.parked.iter().map(|it| it.count).sum::<u32>();
        u64::from(self.sockets - parked)
    }

    /// Sockets that are parked.
    pub(crate) fn parked(&self, origin: Origin) -> u64 {
        u64::from(self.parked[origin as usize].count)
    }

    /// A socket is parked from now on, which is in this turn.
    pub(crate) fn park(&mut self, index: u32, class: ClassId, origin: Origin, turn: u32) {
        if self.links.len() <= index as usize {
            let link = Link {
                before: NONE,
                after: NONE,
                turn,
            };
            self.links.resize(index as usize + 1, link);
        }
        let parked = &mut self.parked[origin as usize];
        let line = &mut self.classes[place(class)].parked[origin as usize];
        if line.count == 0 {
            line.place = parked.places.len() as u32;
            parked.places.push(place(class) as u32);
            line.first = index;
        } else {
            self.links[line.last as usize].after = index;
        }
        self.links[index as usize] = Link {
            before: line.last,
            after: NONE,
            turn,
        };
        line.last = index;
        line.count += 1;
        parked.count += 1;
        parked.strangers += u32::from(class.is_stranger());
    }

    /// It is not any more.
    pub(crate) fn unpark(&mut self, index: u32, class: ClassId, origin: Origin) {
        let Link { before, after, .. } = self.links[index as usize];
        let line = &mut self.classes[place(class)].parked[origin as usize];
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
        parked.strangers -= u32::from(class.is_stranger());
        if line.count == 0 {
            let place = std::mem::replace(&mut line.place, NONE);
            parked.places.swap_remove(place as usize);
            if let Some(&moved) = parked.places.get(place as usize) {
                self.classes[moved as usize].parked[origin as usize].place = place;
            }
        }
    }

    /// The slots of at most `count` parked sockets, each of the class that has most of them when those
    /// before it are gone, and there of the one that was parked first. Of classes that have as many
    /// it is the one that was made first, so before all that of strangers; and of these those give
    /// whose line has most. None that was parked in `turn`, for what it waits for may be there by now.
    pub(crate) fn idlest(&self, origin: Origin, count: usize, turn: Option<u32>) -> Vec<u32> {
        let parked = &self.parked[origin as usize];
        let (strangers, tenants): (Vec<u32>, Vec<u32>) =
            (parked.places.iter()).partition(|&&place| place < STRANGER_LINES);
        let mut strangers = self.givers(origin, strangers);
        let mut tenants = self.givers(origin, tenants);
        let mut strangers_left = parked.strangers;
        let mut found = Vec::new();
        while found.len() < count {
            let most = tenants.peek().map_or(0, |front| front.0);
            let gives_stranger = strangers_left >= most && !strangers.is_empty();
            let givers = match gives_stranger {
                true => &mut strangers,
                false => &mut tenants,
            };
            let Some(front) = givers.peek_mut() else {
                break;
            };
            let left = front.0;
            let given = self.give(front, turn);
            if gives_stranger {
                strangers_left -= if given.is_some() { 1 } else { left };
            }
            found.extend(given);
        }
        found
    }

    fn givers(&self, origin: Origin, places: Vec<u32>) -> Givers {
        let line = |place: u32| &self.classes[place as usize].parked[origin as usize];
        let places = places.into_iter();
        places
            .map(|place| (line(place).count, Reverse(place), line(place).first))
            .collect()
    }

    /// Who gives first there; none where that one was parked in `turn`, and so all behind it.
    fn give(
        &self,
        mut front: PeekMut<'_, (u32, Reverse<u32>, u32)>,
        turn: Option<u32>,
    ) -> Option<u32> {
        let (left, _, index) = *front;
        let link = self.links[index as usize];
        if Some(link.turn) == turn {
            PeekMut::pop(front);
            return None;
        }
        front.0 = left - 1;
        front.2 = link.after;
        if left == 1 {
            PeekMut::pop(front);
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: ClassId = ClassId(1);
    const B: ClassId = ClassId(2);
    const PARKED: u32 = 1;
    const NOW: u32 = 2;

    fn stranger(line: u32) -> ClassId {
        ClassId::stranger(line.into())
    }

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
            crowd.park(index, A, Origin::Accepted, PARKED);
        }
        for index in [0, 9] {
            crowd.enter(B);
            crowd.park(index, B, Origin::Accepted, PARKED);
        }
        crowd.enter(B);
        crowd.park(2, B, Origin::Opened, PARKED);
        assert_eq!(crowd.idlest(Origin::Accepted, 2, Some(NOW)), [7, 3]);
        let mut all = crowd.idlest(Origin::Accepted, 100, Some(NOW));
        assert_eq!(all[..2], [7, 3]);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 3, 5, 7, 9]);
        assert_eq!(crowd.idlest(Origin::Opened, 100, Some(NOW)), [2]);
        assert_eq!((crowd.busy(A), crowd.busy(B)), (0, 0));
        crowd.unpark(3, A, Origin::Accepted);
        assert_eq!(crowd.busy(A), 1);
        assert_eq!(crowd.idlest(Origin::Accepted, 3, Some(NOW)), [7, 5, 0]);
    }

    #[test]
    fn of_strangers_the_line_gives_that_has_most_and_together_they_are_one_class() {
        let mut crowd = crowd();
        for (index, class) in [
            (0, stranger(5)),
            (1, stranger(5)),
            (2, stranger(9)),
            (3, A),
            (4, A),
        ] {
            crowd.enter(class);
            crowd.park(index, class, Origin::Accepted, PARKED);
        }
        assert_eq!(
            crowd.idlest(Origin::Accepted, 9, Some(NOW)),
            [0, 1, 3, 2, 4]
        );
        crowd.enter(stranger(9));
        assert_eq!((crowd.busy(stranger(9)), crowd.busy(stranger(5))), (1, 0));
        assert_eq!((crowd.busy_strangers(), crowd.busy_all()), (1, 1));
    }

    #[test]
    fn who_was_parked_in_this_turn_stays() {
        let mut crowd = crowd();
        for (index, class, turn) in [
            (0, A, PARKED),
            (1, A, NOW),
            (2, A, NOW),
            (3, stranger(1), NOW),
            (4, B, PARKED),
        ] {
            crowd.enter(class);
            crowd.park(index, class, Origin::Accepted, turn);
        }
        assert_eq!(crowd.idlest(Origin::Accepted, 9, Some(NOW)), [0, 4]);
        assert_eq!(crowd.idlest(Origin::Accepted, 9, None).len(), 5);
    }

    proptest! {
        /// Against a list for each class that is looked through.
        #[test]
        fn lines_are_as_plain_lists(
            steps in proptest::collection::vec((0u32..40, 0u32..3, proptest::bool::ANY), 0..200),
            count in 0usize..50,
        ) {
            let mut crowd = crowd();
            let mut plain: Vec<(u32, ClassId, Origin)> = Vec::new();
            for (index, class, opened) in steps {
                let class = if class == 0 { stranger(index % 3) } else { ClassId(class) };
                if let Some(at) = plain.iter().position(|it| it.0 == index) {
                    let (_, class, origin) = plain.remove(at);
                    crowd.unpark(index, class, origin);
                } else {
                    let origin = if opened { Origin::Opened } else { Origin::Accepted };
                    crowd.park(index, class, origin, PARKED);
                    plain.push((index, class, origin));
                }
            }
            for origin in [Origin::Accepted, Origin::Opened] {
                let mut left: Vec<_> = plain.iter().filter(|it| it.2 == origin).collect();
                prop_assert_eq!(crowd.parked(origin), left.len() as u64);
                for index in crowd.idlest(origin, count, Some(NOW)) {
                    let at = left.iter().position(|it| it.0 == index);
                    let &(_, class, _) = left.remove(at.expect("it is parked, and found once"));
                    let of = |class: ClassId| {
                        left.iter().filter(|it| it.1.index() == class.index()).count()
                    };
                    let most = (0..3).map(|it| of(ClassId(it))).max().unwrap_or(0);
                    prop_assert!(of(class) + 1 >= most);
                    let of_line = |line: ClassId| left.iter().filter(|it| it.1 == line).count();
                    let most = (0..3).map(|it| of_line(stranger(it))).max().unwrap_or(0);
                    prop_assert!(!class.is_stranger() || of_line(class) + 1 >= most);
                    let older = left[..at.unwrap_or(0)].iter().filter(|it| it.1 == class);
                    prop_assert_eq!(older.count(), 0);
                }
                prop_assert!(left.len() == plain.iter().filter(|it| it.2 == origin).count().saturating_sub(count));
            }
        }
    }
}
