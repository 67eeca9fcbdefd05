//! Connections that we open.

use super::*;

#[test]
fn a_connection_opens_and_carries_bytes() {
    let (runtime, address) = listening();
    let handle = runtime.clone();
    let deadline_ns = runtime.deadline(Duration::from_secs(5));
    let got = run_until(
        &runtime,
        async move {
            let socket = handle
                .connect(address, ClassId::UNKNOWN, deadline_ns)
                .await
                .expect("it opens");
            assert_eq!(socket.peer_address().expect("it has one"), address);
            socket
                .send(b"ping".to_vec(), SECOND_NS)
                .await
                .expect("it goes");
            let bytes = socket.recv(deadline_ns).await.expect("it reads");
            bytes.expect("not the end").to_vec()
        },
        echo_once(&runtime),
    );
    assert_eq!(got, b"ping");
    assert_clean(&runtime);
}

#[test]
fn addresses_that_are_assumed_last_until_the_socket_is_closed() {
    let (runtime, address) = listening();
    let handle = runtime.clone();
    let deadline_ns = runtime.deadline(Duration::from_secs(5));
    run_until(
        &runtime,
        async move {
            let connect = || async {
                let socket = handle.connect(address, ClassId::UNKNOWN, deadline_ns).await;
                socket.expect("it opens")
            };
            let socket = connect().await;
            let own = socket.local_address().expect("it has one");
            assert_ne!(own, address);
            let [client, server] = ["192.0.2.7:1", "203.0.113.9:2"].map(|it| it.parse().unwrap());
            socket.assume_addresses(client, server);
            let parked = socket.park(0, 1);
            let socket = handle.unpark(parked).expect("nothing happened to it");
            assert_eq!(socket.peer_address().expect("it has one"), client);
            assert_eq!(socket.local_address().expect("it has one"), server);
            drop(socket);
            pause(&handle, 20).await;
            // The slot is used again.
            let next = connect().await;
            assert_eq!(next.peer_address().expect("it has one"), address);
            assert_ne!(next.local_address().expect("it has one"), server);
        },
        drop,
    );
    assert_clean(&runtime);
}

/// Sends the first bytes of each connection back.
fn echo_once(runtime: &Runtime) -> impl FnMut(Event) + use<> {
    let handle = runtime.clone();
    move |event| {
        if let Event::Accepted(_, socket) = event {
            handle.spawn(ClassId::UNKNOWN, async move {
                if let Ok(Some(bytes)) = socket.recv(0).await {
                    let _ = socket.send(bytes, SECOND_NS).await;
                }
            });
        }
    }
}

#[test]
fn a_refusal_is_told_to_who_waits_and_to_who_reads() {
    let (listener, address) = loopback();
    drop(listener);
    let runtime = runtime();
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let deadline_ns = handle.deadline(Duration::from_secs(5));
            let error = handle
                .connect(address, ClassId::UNKNOWN, deadline_ns)
                .await
                .expect_err("none");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            let socket = handle
                .start_connect(address, ClassId::UNKNOWN)
                .expect("it starts");
            let error = socket.recv(deadline_ns).await.expect_err("none");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        },
        drop,
    );
    assert_clean(&runtime);
}

#[test]
fn a_connection_that_nobody_takes_times_out_and_leaves_nothing() {
    let (listener, address) = loopback();
    // SAFETY: listen(2) takes no pointers. A backlog of nothing: one may wait.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _waits = TcpStream::connect(address).expect("one may wait");
    let runtime = runtime();
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let begun_ns = handle.clock_ns();
            let deadline_ns = handle.deadline(Duration::from_millis(100));
            let error = handle
                .connect(address, ClassId::UNKNOWN, deadline_ns)
                .await
                .expect_err("none");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            let took_ns = handle.clock_ns() - begun_ns;
            assert!((90_000_000..SECOND_NS).contains(&took_ns), "{took_ns} ns");
            pause(&handle, 20).await;
            assert_eq!(handle.statistics().sockets, 0, "it was cancelled");
        },
        drop,
    );
    assert_clean(&runtime);
}

#[test]
fn a_socket_parked_while_it_connects_is_heard_of_when_bytes_come() {
    let (runtime, address) = listening();
    let socket = runtime
        .start_connect(address, ClassId::UNKNOWN)
        .expect("it starts");
    socket.park(0, 5);
    let stirs = Rc::new(RefCell::new(Vec::new()));
    let (seen, handle) = (Rc::clone(&stirs), runtime.clone());
    runtime
        .run(move |event| match event {
            Event::Accepted(_, socket) => handle.spawn(ClassId::UNKNOWN, async move {
                socket
                    .send(b"hello".to_vec(), SECOND_NS)
                    .await
                    .expect("it goes");
            }),
            Event::Stirred { why, tag, .. } => {
                seen.borrow_mut().push((why, tag));
                handle.stop();
            }
            Event::Notified | Event::Readable(_) => {}
        })
        .expect("the loop runs");
    assert_eq!(*stirs.borrow(), [(Stir::Bytes, 5)]);
    assert_clean(&runtime);
}

#[test]
fn more_connections_at_once_than_the_queue_holds() {
    const COUNT: usize = 1_500;
    let (runtime, address) = listening();
    let handle = runtime.clone();
    // The kernel takes nothing for a while, so that submissions must wait in line.
    runtime.core.inner.borrow_mut().ring.refusals = 3;
    let sockets: Vec<Socket> = (0..COUNT)
        .map(|_| {
            runtime
                .start_connect(address, ClassId::UNKNOWN)
                .expect("it starts")
        })
        .collect();
    assert!(runtime.core.inner.borrow_mut().ring.queued() > COUNT / 2);
    run_until(
        &runtime,
        async move {
            for socket in &sockets {
                let opened = poll_fn(|_| handle.poll_connected(socket)).await;
                opened.expect("it opens");
                assert!(socket.poll_recv().is_pending());
                socket.start_send(b"x".to_vec(), false);
            }
            // Receives and sends are under way on all of them: many cancels at once.
            handle.core.inner.borrow_mut().ring.refusals = 5;
            drop(sockets);
        },
        drop,
    );
    assert_clean(&runtime);
}
