//! The fair run queue: one class per tenant, deficit round robin on CPU time.
//!
//! A class that used more than its share in one round starts the next one in debt, so a tenant
//! with thousands of runnable tasks delays the others by one quantum per class, not by its
//! whole queue.
//!
//! Connections whose tenant is not known yet are one class together, whoever comes: a flood of them
//! takes no more of a worker than one tenant may. Within it the same rule holds for networks
//! of clients, so that a flood from one of them does not delay the first request of all the others.

use crate::limits::{DEBT_NS_MAX, QUANTUM_NS, STRANGER_LINES};
use std::collections::VecDeque;

/// A class of the run queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClassId(pub(crate) u32);

/// What the numbers of lines in the class of the unknown begin behind.
const STRANGERS: u32 = 1 << 31;

impl ClassId {
    /// The class of connections whose tenant is not known yet, and its first line.
    pub const UNKNOWN: ClassId = ClassId(0);

    /// The same class, in the line of those with this hash: one of [`STRANGER_LINES`].
    pub fn stranger(hash: u64) -> ClassId {
        match (hash % u64::from(STRANGER_LINES)) as u32 {
            0 => ClassId::UNKNOWN,
            line => ClassId(STRANGERS | line),
        }
    }

    /// The number of its class, which all strangers have in common.
    pub(crate) fn index(self) -> usize {
        match self.0 & STRANGERS {
            0 => self.0 as usize,
            _ => 0,
        }
    }

    /// Whether it is the class of the unknown.
    pub fn is_stranger(self) -> bool {
        self.index() == 0
    }

    /// Its line in the class of the unknown.
    pub(crate) fn line(self) -> Option<u32> {
        match self.0 & STRANGERS {
            0 => (self.0 == 0).then_some(0),
            _ => Some(self.0 & !STRANGERS),
        }
    }
}

#[derive(Debug, Default)]
struct Line {
    tasks: VecDeque<u32>,
    deficit_ns: i64,
    active: bool,
}

/// Lines of tasks that take turns.
#[derive(Debug, Default)]
struct Turns {
    lines: Vec<Line>,
    /// Lines with runnable tasks, the one whose turn it is in front.
    round: VecDeque<u32>,
    /// Whether the line in front already got its quantum for this round.
    granted: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct RunQueue {
    /// By class; the one of the unknown has as many tasks here as there are in its lines, and any
    /// of these stands for the one whose turn it is there.
    classes: Turns,
    strangers: Turns,
    runnable: usize,
}

impl Turns {
    fn add_line(&mut self) {
        self.lines.push(Line::default());
    }

    fn push(&mut self, line: u32, task: u32) {
        let entry = &mut self.lines[line as usize];
        entry.tasks.push_back(task);
        if !entry.active {
            entry.active = true;
            self.round.push_back(line);
        }
    }

    fn pop(&mut self) -> Option<(u32, u32)> {
        loop {
            let &front = self.round.front()?;
            let line = &mut self.lines[front as usize];
            if !self.granted {
                line.deficit_ns = (line.deficit_ns + QUANTUM_NS).min(QUANTUM_NS);
                self.granted = true;
            }
            if line.tasks.is_empty() {
                // What is left of a share is not saved up; a debt stays.
                line.deficit_ns = line.deficit_ns.min(0);
                line.active = false;
                self.round.pop_front();
                self.granted = false;
                continue;
            }
            if line.deficit_ns <= 0 && self.round.len() > 1 {
                self.round.rotate_left(1);
                self.granted = false;
                continue;
            }
            let task = line.tasks.pop_front()?;
            return Some((front, task));
        }
    }

    fn charge(&mut self, line: u32, cost_ns: u64) {
        let entry = &mut self.lines[line as usize];
        entry.deficit_ns = (entry.deficit_ns - cost_ns as i64).max(-DEBT_NS_MAX);
    }
}

impl RunQueue {
    pub(crate) fn new() -> RunQueue {
        let mut queue = RunQueue {
            classes: Turns::default(),
            strangers: Turns::default(),
            runnable: 0,
        };
        queue.classes.add_line();
        for _ in 0..STRANGER_LINES {
            queue.strangers.add_line();
        }
        queue
    }

    /// Makes a class. Classes live as long as the queue.
    pub(crate) fn add_class(&mut self) -> ClassId {
        self.classes.add_line();
        ClassId(self.classes.lines.len() as u32 - 1)
    }

    pub(crate) fn push(&mut self, class: ClassId, task: u32) {
        self.runnable += 1;
        self.classes.push(class.index() as u32, task);
        if let Some(line) = class.line() {
            self.strangers.push(line, task);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runnable == 0
    }

    /// The next task to run, with the class that is to be charged for it.
    pub(crate) fn pop(&mut self) -> Option<(ClassId, u32)> {
        let (class, task) = self.classes.pop()?;
        self.runnable -= 1;
        if class != 0 {
            return Some((ClassId(class), task));
        }
        let (line, task) = self.strangers.pop()?;
        Some((ClassId::stranger(u64::from(line)), task))
    }

    /// Charges a class for CPU time it used.
    pub(crate) fn charge(&mut self, class: ClassId, cost_ns: u64) {
        self.classes.charge(class.index() as u32, cost_ns);
        if let Some(line) = class.line() {
            self.strangers.charge(line, cost_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_flood_of_one_class_delays_another_by_one_quantum() {
        let mut queue = RunQueue::new();
        let flood = queue.add_class();
        let quiet = queue.add_class();
        for task in 0..10_000 {
            queue.push(flood, task);
        }
        queue.push(quiet, 99_999);
        let mut spent_ns = 0;
        while let Some((class, _)) = queue.pop() {
            if class == quiet {
                break;
            }
            queue.charge(class, 5_000);
            spent_ns += 5_000;
        }
        assert_eq!(spent_ns, QUANTUM_NS);
    }

    #[test]
    fn classes_share_time_and_not_turns() {
        let mut queue = RunQueue::new();
        let heavy = queue.add_class();
        let light = queue.add_class();
        let mut spent = [0u64; 3];
        queue.push(heavy, 1);
        queue.push(light, 2);
        for _ in 0..100_000 {
            let (class, task) = queue.pop().expect("both stay runnable");
            let cost = if class == heavy { 150_000 } else { 3_000 };
            queue.charge(class, cost);
            spent[class.index()] += cost;
            queue.push(class, task);
        }
        let ratio = spent[heavy.index()] as f64 / spent[light.index()] as f64;
        assert!((0.9..1.1).contains(&ratio), "heavy to light: {ratio}");
    }

    #[test]
    fn a_flood_of_strangers_delays_a_tenant_and_another_stranger_by_one_quantum() {
        for quiet in [ClassId(1), ClassId::stranger(7), ClassId::UNKNOWN] {
            let mut queue = RunQueue::new();
            queue.add_class();
            let flood = ClassId::stranger(3);
            for task in 0..10_000 {
                queue.push(flood, task);
            }
            queue.push(quiet, 99_999);
            let mut spent_ns = 0;
            while let Some((class, _)) = queue.pop() {
                if class == quiet {
                    break;
                }
                queue.charge(class, 5_000);
                spent_ns += 5_000;
            }
            assert_eq!(spent_ns, QUANTUM_NS, "{quiet:?}");
        }
    }

    #[test]
    fn strangers_from_everywhere_have_one_share() {
        let mut queue = RunQueue::new();
        let tenant = queue.add_class();
        queue.push(tenant, 0);
        for line in 0..STRANGER_LINES {
            queue.push(ClassId::stranger(u64::from(line)), 1 + line);
        }
        let mut spent = [0; 2];
        for _ in 0..100_000 {
            let (class, task) = queue.pop().expect("all stay runnable");
            queue.charge(class, 10_000);
            spent[class.index()] += 10_000;
            queue.push(class, task);
        }
        let ratio = spent[0] as f64 / spent[1] as f64;
        assert!((0.95..1.05).contains(&ratio), "{ratio}");
    }

    proptest! {
        #[test]
        fn every_task_comes_out_once_and_in_the_order_of_its_line(
            pushes in proptest::collection::vec((0usize..8, 0u64..300_000), 0..300),
        ) {
            let mut queue = RunQueue::new();
            let mut classes = vec![ClassId::UNKNOWN];
            classes.extend((0..4).map(|_| queue.add_class()));
            classes.extend([1, 2, STRANGER_LINES - 1].map(|line| ClassId::stranger(line.into())));
            for (task, &(class, _)) in pushes.iter().enumerate() {
                queue.push(classes[class], task as u32);
            }
            let mut last = [None; 8];
            let mut seen = 0;
            while let Some((class, task)) = queue.pop() {
                let place = pushes[task as usize].0;
                prop_assert_eq!(classes[place], class);
                prop_assert!(last[place] < Some(task));
                last[place] = Some(task);
                queue.charge(class, pushes[task as usize].1);
                seen += 1;
            }
            prop_assert_eq!(seen, pushes.len());
            prop_assert!(queue.is_empty());
        }
    }
}
