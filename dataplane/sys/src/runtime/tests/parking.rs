//! Sockets that wait without a task, and deadlines.

use super::*;

type Seen = Rc<RefCell<Vec<(u64, Stir)>>>;

/// Notes and closes what comes back.
fn note(seen: &Seen) -> impl FnMut(Event) + use<> {
    let seen = Rc::clone(seen);
    move |event| {
        if let Event::Stirred { tag, why, .. } = event {
            seen.borrow_mut().push((tag, why));
        }
    }
}

#[test]
fn each_parked_socket_comes_back_once_for_what_happened() {
    let (runtime, mut sockets, mut clients) = connected(4);
    let [both, speaks, ends, silent] = [0, 1, 2, 3];
    let soon_ns = runtime.deadline(Duration::from_millis(60));
    let ids: Vec<SocketId> = sockets
        .drain(..)
        .enumerate()
        .map(|(n, socket)| {
            let deadline_ns = if n == silent { soon_ns } else { 0 };
            socket.park(deadline_ns, n as u64)
        })
        .collect();
    assert_eq!(runtime.parked().len(), 4);
    clients[both].write_all(b"x").expect("it writes");
    clients[both]
        .shutdown(std::net::Shutdown::Write)
        .expect("it ends");
    clients[speaks].write_all(b"x").expect("it writes");
    clients[ends]
        .shutdown(std::net::Shutdown::Write)
        .expect("it ends");
    let seen = Seen::default();
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move { pause(&handle, 150).await },
        note(&seen),
    );
    let mut seen = seen.take();
    seen.sort_by_key(|&(tag, _)| tag);
    let wanted = [Stir::Bytes, Stir::Bytes, Stir::Ended, Stir::Deadline];
    let wanted: Vec<(u64, Stir)> = (0..).zip(wanted).collect();
    assert_eq!(seen, wanted);
    assert!(runtime.parked().is_empty());
    for id in ids {
        assert!(runtime.unpark(id).is_none(), "it is closed");
    }
    assert_clean(&runtime);
}

#[test]
fn a_deadline_comes_neither_early_nor_late() {
    let (runtime, mut sockets, _clients) = connected(1);
    let socket = sockets.remove(0);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            for millis in [1, 20, 150] {
                let begun_ns = handle.clock_ns();
                let result = socket.recv(begun_ns + millis * 1_000_000).await;
                let took_ns = handle.clock_ns() - begun_ns;
                let error = result.expect_err("nothing comes");
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                let allowed_ns = millis * 1_000_000..(millis + 400) * 1_000_000;
                assert!(
                    allowed_ns.contains(&took_ns),
                    "{took_ns} ns for {millis} ms"
                );
            }
        },
        drop,
    );
    assert_clean(&runtime);
}

#[test]
fn bytes_that_are_there_bring_a_socket_back_at_once() {
    let (runtime, mut sockets, mut clients) = connected(1);
    let socket = sockets.remove(0);
    clients[0].write_all(b"one").expect("it writes");
    let seen = Seen::default();
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let bytes = socket.recv(0).await.expect("it reads").expect("bytes");
            assert_eq!(&bytes[..], b"one");
            assert!(socket.is_quiet());
            socket.unread(bytes);
            assert!(!socket.is_quiet());
            let id = socket.park(0, 9);
            assert!(handle.unpark(id).is_none(), "the event is on its way");
            pause(&handle, 20).await;
        },
        note(&seen),
    );
    assert_eq!(*seen.borrow(), [(9, Stir::Bytes)]);
    assert_clean(&runtime);
}

#[test]
fn a_socket_taken_back_is_not_heard_of() {
    let (runtime, mut sockets, mut clients) = connected(1);
    let deadline_ns = runtime.deadline(Duration::from_millis(20));
    let id = sockets.remove(0).park(deadline_ns, 1);
    let handle = runtime.clone();
    let mut client = clients.remove(0);
    run_until(
        &runtime,
        async move {
            let socket = handle.unpark(id).expect("nothing happened yet");
            assert!(handle.unpark(id).is_none(), "it is not parked");
            client.write_all(b"late").expect("it writes");
            pause(&handle, 60).await;
            assert!(!socket.is_quiet());
            // Parked again its id is as good as before: pools keep it.
            let bytes = socket.recv(0).await.expect("it reads").expect("bytes");
            assert_eq!(&bytes[..], b"late");
            drop(bytes);
            assert_eq!(socket.park(0, 2), id);
            let socket = handle.unpark(id).expect("nothing happened yet");
            drop(socket);
            pause(&handle, 20).await;
            assert!(handle.unpark(id).is_none(), "it is closed");
        },
        |event| panic!("nothing is to be heard: {event:?}"),
    );
    assert_clean(&runtime);
}

#[test]
fn a_slot_given_out_again_is_another_socket() {
    let (runtime, mut sockets, _clients) = connected(2);
    let id = sockets.remove(0).park(0, 1);
    drop(runtime.unpark(id));
    let handle = runtime.clone();
    run_until(&runtime, async move { pause(&handle, 20).await }, drop);
    let (listener, address) = loopback();
    runtime.listen(listener);
    let _client = TcpStream::connect(address).expect("it accepts");
    let again = Rc::new(Cell::new(None));
    let (slot, handle) = (Rc::clone(&again), runtime.clone());
    runtime
        .run(move |event| {
            if let Event::Accepted(_, socket) = event {
                slot.set(Some(socket.park(0, 2)));
                handle.stop();
            }
        })
        .expect("the loop runs");
    let again = again.take().expect("one was accepted");
    assert_eq!(again.index, id.index);
    assert_ne!(again.generation, id.generation);
    assert!(runtime.unpark(id).is_none(), "an old name");
    assert!(runtime.unpark(again).is_some());
    drop(sockets);
    assert_clean(&runtime);
}

#[test]
fn a_handler_that_parks_unread_bytes_keeps_no_task_from_running() {
    let (runtime, mut sockets, mut clients) = connected(1);
    clients[0].write_all(b"never read").expect("it writes");
    sockets.remove(0).park(0, 1);
    let handle = runtime.clone();
    run_until(&runtime, async move { pause(&handle, 50).await }, |event| {
        if let Event::Stirred { socket, .. } = event {
            socket.park(0, 1);
        }
    });
    assert_clean(&runtime);
}

#[test]
fn stirred_ends_by_bytes_by_the_end_of_a_send_and_by_its_deadline() {
    let (runtime, mut sockets, mut clients) = connected(1);
    let (socket, mut client) = (sockets.remove(0), clients.remove(0));
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let far_ns = handle.deadline(Duration::from_secs(3_600));
            assert!(socket.poll_recv().is_pending());
            client.write_all(b"x").expect("it writes");
            handle.stirred(far_ns).await;
            assert!(matches!(socket.poll_recv(), Poll::Ready(Ok(Some(_)))));

            socket.start_send(b"y".to_vec(), false);
            while socket.poll_sent().is_pending() {
                handle.stirred(far_ns).await;
            }
            let begun_ns = handle.clock_ns();
            handle.stirred(handle.now_ns() + 40_000_000).await;
            let took_ns = handle.clock_ns() - begun_ns;
            assert!((30_000_000..SECOND_NS).contains(&took_ns), "{took_ns} ns");
            // One that has passed does not wait at all.
            handle.stirred(handle.now_ns()).await;
        },
        drop,
    );
    assert_clean(&runtime);
}

#[test]
fn a_request_that_arrives_with_the_deadline_is_heard_as_bytes() {
    let (runtime, mut sockets, mut clients) = connected(2);
    clients[0].write_all(b"x").expect("it writes");
    let seen = Seen::default();
    let handle = runtime.clone();
    let socket = sockets.remove(0);
    let silent = sockets.remove(0);
    run_until(
        &runtime,
        async move {
            let bytes = socket.recv(0).await.expect("it reads").expect("bytes");
            let ids = [socket.park(0, 1), silent.park(0, 2)];
            {
                // Both deadlines pass, and then, before anybody is told, bytes come to one.
                let mut inner = handle.core.inner.borrow_mut();
                for id in ids {
                    inner.stir(id.index, Stir::Deadline);
                }
            }
            handle.core.unread(ids[0].index, bytes);
            pause(&handle, 20).await;
        },
        note(&seen),
    );
    assert_eq!(*seen.borrow(), [(1, Stir::Bytes), (2, Stir::Deadline)]);
    assert_clean(&runtime);
}

#[test]
fn a_run_that_is_stopped_before_it_begins_ends_at_once() {
    let runtime = runtime();
    runtime.stop();
    runtime.run(drop).expect("it does not wait");
    assert_eq!(runtime.statistics().turns, 1);
}
