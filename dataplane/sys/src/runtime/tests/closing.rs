//! Sockets that are dropped at any time.

use super::*;

/// What a connection does before it is dropped, at either end.
async fn live_a_little(runtime: &Runtime, socket: Socket, dice: &RefCell<Dice>) {
    let below = |limit| dice.borrow_mut().below(limit);
    if below(2) == 0 {
        socket.set_mode(RecvMode::OnDemand);
    }
    for _ in 0..below(6) {
        match below(9) {
            0 => {
                let _ = socket.poll_recv();
            }
            1 if !socket.is_sending() => {
                let bytes = vec![7; 1 + below(300_000) as usize];
                socket.start_send(bytes, below(2) == 0);
            }
            2 => {
                let _ = socket.poll_sent();
            }
            3 => {
                let deadline_ns = runtime.now_ns() + below(3_000_000);
                if let Ok(Some(bytes)) = socket.recv(deadline_ns).await {
                    if below(2) == 0 {
                        socket.unread(bytes);
                    } else if !socket.is_sending() {
                        socket.start_send(bytes, false);
                    }
                }
            }
            4 => socket.set_mode(if below(2) == 0 {
                RecvMode::Multishot
            } else {
                RecvMode::OnDemand
            }),
            5 => socket.reset_on_close(),
            6 => runtime.yield_now().await,
            7 if !socket.is_sending() => {
                // With a deadline or none, and taken back now, by its event, or never.
                let deadline_ns = runtime.now_ns() + below(5_000_000);
                let id = socket.park(deadline_ns, below(100));
                if below(2) == 0 {
                    runtime.yield_now().await;
                }
                if below(2) == 0 {
                    drop(runtime.unpark(id));
                }
                return;
            }
            _ => socket.set_class(ClassId(below(3) as u32)),
        }
    }
}

fn storm(buffers_max: u16, rounds: u64, dice: &Rc<RefCell<Dice>>) {
    let (listener, address) = loopback();
    let runtime = runtime_of(buffers_max);
    runtime.listen(listener);
    let _classes = [runtime.add_class(), runtime.add_class()];
    let (handle, clients_dice) = (runtime.clone(), Rc::clone(dice));
    let main = async move {
        for _ in 0..rounds {
            let count = clients_dice.borrow_mut().below(8);
            for _ in 0..count {
                let (runtime, dice) = (handle.clone(), Rc::clone(&clients_dice));
                handle.spawn(ClassId::UNKNOWN, async move {
                    let socket = runtime
                        .start_connect(address, ClassId::UNKNOWN)
                        .expect("it starts");
                    if dice.borrow_mut().below(8) == 0 {
                        return;
                    }
                    if poll_fn(|_| runtime.poll_connected(&socket)).await.is_ok() {
                        live_a_little(&runtime, socket, &dice).await;
                    }
                });
            }
            handle.yield_now().await;
        }
        pause(&handle, 30).await;
    };
    let (handle, dice) = (runtime.clone(), Rc::clone(dice));
    run_until(&runtime, main, move |event| {
        if let Event::Accepted(_, socket) | Event::Stirred { socket, .. } = event {
            if dice.borrow_mut().below(6) == 0 {
                return;
            }
            let (runtime, dice) = (handle.clone(), Rc::clone(&dice));
            handle.spawn(ClassId::UNKNOWN, async move {
                live_a_little(&runtime, socket, &dice).await;
            });
        }
    });
    assert_clean(&runtime);
}

#[test]
fn sockets_dropped_at_random_times_lose_nothing() {
    let dice = Rc::new(RefCell::new(Dice::seeded()));
    // Plenty of buffers, and far too few.
    storm(256, 1_500, &dice);
    storm(6, 1_500, &dice);
}

#[test]
fn a_runtime_dropped_with_everything_under_way() {
    let dice = Rc::new(RefCell::new(Dice::seeded()));
    for _ in 0..12 {
        let (runtime, address) = listening();
        let handle = runtime.clone();
        let clients: Vec<TcpStream> = (0..5)
            .map(|_| TcpStream::connect(address).expect("it accepts"))
            .collect();
        let kept = Rc::new(RefCell::new(Vec::new()));
        let (keep, turns) = (Rc::clone(&kept), dice.borrow_mut().below(6));
        run_until(
            &runtime,
            async move {
                for _ in 0..turns {
                    handle.yield_now().await;
                }
                // Nobody accepts these.
                for _ in 0..10 {
                    let socket = handle
                        .start_connect(address, ClassId::UNKNOWN)
                        .expect("it starts");
                    keep.borrow_mut().push(socket);
                }
            },
            {
                let kept = Rc::clone(&kept);
                move |event| {
                    if let Event::Accepted(_, socket) = event {
                        let _ = socket.poll_recv();
                        socket.start_send(vec![7; 4 << 20], false);
                        kept.borrow_mut().push(socket);
                    }
                }
            },
        );
        // The last of these handles takes the ring down, with sends and receives under way.
        drop(runtime);
        drop(clients);
        drop(kept);
    }
}

#[test]
fn a_slow_peer_does_not_keep_a_dropped_send_alive() {
    let (runtime, address) = listening();
    let client = TcpStream::connect(address).expect("it accepts");
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let (queue, handle) = (Rc::clone(&sockets), runtime.clone());
    run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            let stall_ns = 100_000_000;
            let error = socket.send(vec![7; 32 << 20], stall_ns).await;
            assert_eq!(
                error.expect_err("nobody reads").kind(),
                io::ErrorKind::TimedOut
            );
            drop(socket);
            pause(&handle, 20).await;
            assert_eq!(handle.statistics().sockets, 0);
        },
        move |event| {
            if let Event::Accepted(_, socket) = event {
                queue.borrow_mut().push_back(socket);
            }
        },
    );
    drop(client);
    assert_clean(&runtime);
}

#[test]
fn an_operation_that_the_kernel_did_not_find_is_cancelled_again() {
    let (runtime, address) = listening();
    let _client = TcpStream::connect(address).expect("it accepts");
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let (queue, handle) = (Rc::clone(&sockets), runtime.clone());
    run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            assert!(socket.poll_recv().is_pending());
            pause(&handle, 20).await;
            fail_next(&handle, Op::Cancel, libc::ENOENT);
            drop(socket);
            pause(&handle, 20).await;
            assert_eq!(handle.statistics().sockets, 0);
        },
        move |event| {
            if let Event::Accepted(_, socket) = event {
                queue.borrow_mut().push_back(socket);
            }
        },
    );
    assert!(runtime.core.inner.borrow().faults.results.is_empty());
    assert_clean(&runtime);
}
