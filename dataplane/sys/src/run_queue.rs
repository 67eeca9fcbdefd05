//! The fair run queue: one class per tenant, deficit round robin on CPU time.
//!
//! A class that used more than its share in one round starts the next one in debt, so a tenant
//! with thousands of runnable tasks delays the others by one quantum per class, not by its
//! whole queue.

use crate::limits::{DEBT_NS_MAX, QUANTUM_NS};
use std::collections::VecDeque;

/// A class of the run queue. Class 0 is for connections whose tenant is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClassId(pub(crate) u32);

impl ClassId {
    /// The class of connections whose tenant is not known yet.
    pub const UNKNOWN: ClassId = ClassId(0);
}

#[derive(Debug, Default)]
struct Class {
    tasks: VecDeque<u32>,
    deficit_ns: i64,
    active: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct RunQueue {
    classes: Vec<Class>,
    /// Classes with runnable tasks, the one whose turn it is in front.
    round: VecDeque<u32>,
    /// Whether the class in front already got its quantum for this round.
    granted: bool,
    runnable: usize,
}

impl RunQueue {
    pub(crate) fn new() -> RunQueue {
        RunQueue {
            classes: vec![Class::default()],
            round: VecDeque::new(),
            granted: false,
            runnable: 0,
        }
    }

    /// Makes a class. Classes live as long as the queue.
    pub(crate) fn add_class(&mut self) -> ClassId {
        self.classes.push(Class::default());
        ClassId(self.classes.len() as u32 - 1)
    }

    pub(crate) fn push(&mut self, class: ClassId, task: u32) {
        let entry = &mut self.classes[class.0 as usize];
        entry.tasks.push_back(task);
        self.runnable += 1;
        if !entry.active {
            entry.active = true;
            self.round.push_back(class.0);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runnable == 0
    }

    /// The next task to run, with the class that is to be charged for it.
    pub(crate) fn pop(&mut self) -> Option<(ClassId, u32)> {
        loop {
            let &front = self.round.front()?;
            let class = &mut self.classes[front as usize];
            if !self.granted {
                class.deficit_ns = (class.deficit_ns + QUANTUM_NS).min(QUANTUM_NS);
                self.granted = true;
            }
            if class.tasks.is_empty() {
                // What is left of a share is not saved up; a debt stays.
                class.deficit_ns = class.deficit_ns.min(0);
                class.active = false;
                self.round.pop_front();
                self.granted = false;
                continue;
            }
            if class.deficit_ns <= 0 && self.round.len() > 1 {
                self.round.rotate_left(1);
                self.granted = false;
                continue;
            }
            let task = class.tasks.pop_front()?;
            self.runnable -= 1;
            return Some((ClassId(front), task));
        }
    }

    /// Charges a class for CPU time it used.
    pub(crate) fn charge(&mut self, class: ClassId, cost_ns: u64) {
        let entry = &mut self.classes[class.0 as usize];
        entry.deficit_ns = (entry.deficit_ns - cost_ns as i64).max(-DEBT_NS_MAX);
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
            spent[class.0 as usize] += cost;
            queue.push(class, task);
        }
        let ratio = spent[heavy.0 as usize] as f64 / spent[light.0 as usize] as f64;
        assert!((0.9..1.1).contains(&ratio), "heavy to light: {ratio}");
    }

    proptest! {
        #[test]
        fn every_task_comes_out_once_and_in_the_order_of_its_class(
            pushes in proptest::collection::vec((0u32..5, 0u64..300_000), 0..300),
        ) {
            let mut queue = RunQueue::new();
            for _ in 0..4 {
                queue.add_class();
            }
            for (task, &(class, _)) in pushes.iter().enumerate() {
                queue.push(ClassId(class), task as u32);
            }
            let mut last = [None; 5];
            let mut seen = 0;
            while let Some((class, task)) = queue.pop() {
                prop_assert_eq!(pushes[task as usize].0, class.0);
                prop_assert!(last[class.0 as usize] < Some(task));
                last[class.0 as usize] = Some(task);
                queue.charge(class, pushes[task as usize].1);
                seen += 1;
            }
            prop_assert_eq!(seen, pushes.len());
            prop_assert!(queue.is_empty());
        }
    }
}
