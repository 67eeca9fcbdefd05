//! A class that floods does not keep another waiting.

use super::*;
use crate::limits::TURN_NS;

fn spin(time: Duration) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Fills `class` with busy tasks that never end.
fn flood(runtime: &Runtime, class: ClassId) {
    for _ in 0..1_000 {
        let handle = runtime.clone();
        runtime.spawn(class, async move {
            loop {
                spin(Duration::from_micros(20));
                handle.yield_now().await;
            }
        });
    }
}

/// Turns that the current task waits when it lets others go first, two hundred times.
async fn waits(runtime: Runtime) -> Vec<u64> {
    let mut waits = Vec::new();
    for _ in 0..200 {
        let turn = runtime.statistics().turns;
        runtime.yield_now().await;
        waits.push(runtime.statistics().turns - turn);
    }
    runtime.stop();
    waits
}

fn assert_short(mut waits: Vec<u64>) {
    assert_eq!(waits.len(), 200);
    waits.sort_unstable();
    // A machine that takes the core away in mid-task charges the task for it: allow a few such.
    assert!(waits[189] <= 3, "the worst twenty: {:?}", &waits[180..]);
    assert!(waits[199] <= 40, "the worst twenty: {:?}", &waits[180..]);
}

#[test]
fn one_quiet_task_among_a_thousand_busy_ones_waits_three_turns_at_most() {
    let runtime = runtime();
    let (busy, quiet) = (runtime.add_class(), runtime.add_class());
    flood(&runtime, busy);
    let noted = Rc::new(Cell::new(Vec::new()));
    let (slot, handle) = (Rc::clone(&noted), runtime.clone());
    runtime.spawn(quiet, async move { slot.set(waits(handle).await) });
    runtime.run(drop).expect("the loop runs");
    assert_short(noted.take());
    assert_clean(&runtime);
}

#[test]
fn a_task_that_moves_to_another_class_waits_with_it() {
    let runtime = runtime();
    let (busy, quiet) = (runtime.add_class(), runtime.add_class());
    flood(&runtime, busy);
    let noted = Rc::new(Cell::new(Vec::new()));
    let (slot, handle) = (Rc::clone(&noted), runtime.clone());
    runtime.spawn(busy, async move {
        handle.set_class(quiet);
        slot.set(waits(handle).await);
    });
    runtime.run(drop).expect("the loop runs");
    assert_short(noted.take());
    assert_clean(&runtime);
}

#[test]
fn what_came_for_one_class_does_not_stand_behind_all_of_another() {
    const FLOODING: usize = 400;
    let (runtime, sockets, clients) = connected(FLOODING + 1);
    let (busy, quiet) = (runtime.add_class(), runtime.add_class());
    for (number, socket) in sockets.into_iter().enumerate() {
        socket.park(0, number as u64);
    }
    // The receives are armed before the first byte comes.
    let handle = runtime.clone();
    run_until(&runtime, async move { handle.yield_now().await }, drop);
    for mut client in &clients {
        client.write_all(b"x").expect("it takes a byte");
    }
    let order = Rc::new(RefCell::new(Vec::new()));
    let (ran, handle) = (Rc::clone(&order), runtime.clone());
    runtime
        .run(move |event| {
            let Event::Stirred { tag, socket, .. } = event else {
                return;
            };
            let is_quiet = tag == FLOODING as u64;
            let (ran, handle, class) = (Rc::clone(&ran), handle.clone(), [busy, quiet]);
            handle
                .clone()
                .spawn(class[usize::from(is_quiet)], async move {
                    spin(Duration::from_micros(20));
                    ran.borrow_mut().push(is_quiet);
                    drop(socket);
                    if ran.borrow().len() > FLOODING {
                        handle.stop();
                    }
                });
        })
        .expect("the loop runs");
    let before = order.borrow().iter().position(|&is_quiet| is_quiet);
    assert!(before < Some(FLOODING / 10), "it ran behind {before:?}");
    assert_clean(&runtime);
}

#[test]
fn a_flood_of_connections_does_not_keep_tasks_waiting() {
    const COMING: usize = 400;
    let (runtime, address) = listening();
    let _clients: Vec<TcpStream> = (0..COMING)
        .map(|_| TcpStream::connect(address).expect("the backlog takes it"))
        .collect();
    let accepted = Rc::new(Cell::new(0));
    let (seen, handle) = (Rc::clone(&accepted), runtime.clone());
    let most = Rc::new(Cell::new(0));
    let noted = Rc::clone(&most);
    runtime.spawn(runtime.add_class(), async move {
        let mut before = 0;
        while seen.get() < COMING {
            noted.set(noted.get().max(seen.get() - before));
            before = seen.get();
            handle.yield_now().await;
        }
        handle.stop();
    });
    runtime
        .run(move |event| {
            if matches!(event, Event::Accepted(..)) {
                spin(Duration::from_micros(20));
                accepted.set(accepted.get() + 1);
            }
        })
        .expect("the loop runs");
    assert!(most.get() <= 10, "{} at once", most.get());
    assert_clean(&runtime);
}

#[test]
fn a_connection_pays_for_what_it_took_to_accept_it() {
    let (runtime, address) = listening();
    let _client = TcpStream::connect(address).expect("the backlog takes it");
    let (line, tenant) = (ClassId::stranger(5), runtime.add_class());
    let order = Rc::new(RefCell::new(Vec::new()));
    let (ran, handle) = (Rc::clone(&order), runtime.clone());
    runtime
        .run(move |event| {
            let Event::Accepted(_, socket) = event else {
                return;
            };
            socket.set_class(line);
            spin(Duration::from_millis(1));
            for (class, name) in [(line, "stranger"), (tenant, "tenant")] {
                let (ran, handle) = (Rc::clone(&ran), handle.clone());
                handle.clone().spawn(class, async move {
                    ran.borrow_mut().push(name);
                    if ran.borrow().len() == 2 {
                        handle.stop();
                    }
                });
            }
        })
        .expect("the loop runs");
    assert_eq!(*order.borrow(), ["tenant", "stranger"]);
    assert_clean(&runtime);
}

#[test]
fn a_turn_ends_with_the_time_of_what_it_asked_of_the_kernel() {
    const TASKS: usize = 40;
    let runtime = runtime();
    let turns = Rc::new(RefCell::new(Vec::new()));
    runtime.core.inner.borrow_mut().unit_ns = TURN_NS / 2;
    for _ in 0..TASKS {
        let (turns, handle) = (Rc::clone(&turns), runtime.clone());
        runtime.spawn(ClassId::UNKNOWN, async move {
            handle.core.inner.borrow_mut().units += 1;
            turns.borrow_mut().push(handle.statistics().turns);
            if turns.borrow().len() == TASKS {
                handle.stop();
            }
        });
    }
    runtime.run(drop).expect("the loop runs");
    let turns = turns.borrow();
    assert_eq!(turns.len(), TASKS);
    // What a unit costs is measured again with each turn, and is next to nothing here.
    assert!(turns[TASKS - 1] - turns[0] >= 5, "{turns:?}");
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
