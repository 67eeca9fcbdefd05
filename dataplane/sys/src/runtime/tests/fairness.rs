//! A class that floods does not keep another waiting.

use super::*;

fn spin(time: Duration) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn one_quiet_task_among_a_thousand_busy_ones_waits_three_turns_at_most() {
    let runtime = runtime();
    let (flood, quiet) = (runtime.add_class(), runtime.add_class());
    for _ in 0..1_000 {
        let handle = runtime.clone();
        runtime.spawn(flood, async move {
            loop {
                spin(Duration::from_micros(20));
                handle.yield_now().await;
            }
        });
    }
    let handle = runtime.clone();
    let waits = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&waits);
    runtime.spawn(quiet, async move {
        for _ in 0..200 {
            let turn = handle.statistics().turns;
            handle.yield_now().await;
            noted.borrow_mut().push(handle.statistics().turns - turn);
        }
        handle.stop();
    });
    runtime.run(drop).expect("the loop runs");
    let mut waits = waits.take();
    assert_eq!(waits.len(), 200);
    waits.sort_unstable();
    // A machine that takes the core away in mid-task charges the task for it: allow a few such.
    assert!(waits[189] <= 3, "the worst twenty: {:?}", &waits[180..]);
    assert!(waits[199] <= 30, "the worst twenty: {:?}", &waits[180..]);
    assert_clean(&runtime);
}

#[test]
fn tasks_dropped_at_the_end_of_a_run_leave_their_places() {
    let runtime = runtime();
    for _ in 0..3 {
        for _ in 0..100 {
            runtime.spawn(ClassId::UNKNOWN, std::future::pending());
        }
        let handle = runtime.clone();
        run_until(&runtime, async move { handle.yield_now().await }, drop);
    }
    assert_eq!(runtime.core.inner.borrow().tasks.len(), 101);
    assert_clean(&runtime);
}

#[test]
fn a_task_is_charged_to_the_class_it_moved_to() {
    let runtime = runtime();
    let (first, second) = (runtime.add_class(), runtime.add_class());
    let order = Rc::new(RefCell::new(Vec::new()));
    let (noted, handle) = (Rc::clone(&order), runtime.clone());
    runtime.spawn(first, async move {
        handle.set_class(second);
        spin(Duration::from_micros(300));
        handle.yield_now().await;
        noted.borrow_mut().push("moved");
        spin(Duration::from_micros(300));
        handle.yield_now().await;
        noted.borrow_mut().push("again");
        handle.stop();
    });
    let (noted, handle) = (Rc::clone(&order), runtime.clone());
    runtime.spawn(second, async move {
        for _ in 0..3 {
            handle.yield_now().await;
            noted.borrow_mut().push("second");
        }
    });
    runtime.run(drop).expect("the loop runs");
    // The first poll was the first class's; from the second on both share one class, in turn.
    let order = order.take();
    assert_eq!(order.last(), Some(&"again"));
    let seconds = order.iter().filter(|&&who| who == "second").count();
    assert!(seconds >= 1, "{order:?}");
    assert_clean(&runtime);
}
