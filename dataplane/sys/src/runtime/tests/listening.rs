//! Accepting, its failures, and its end.

use super::*;
use crate::limits::ACCEPT_PAUSE_NS;

/// Runs until a client was accepted; gives the time and the turns it took.
fn accept_one(runtime: &Runtime, address: SocketAddr) -> (Duration, u64) {
    let client = TcpStream::connect(address).expect("the backlog takes it");
    let (begun, turns) = (std::time::Instant::now(), runtime.statistics().turns);
    let handle = runtime.clone();
    runtime
        .run(move |event| {
            if matches!(event, Event::Accepted(..)) {
                handle.stop();
            }
        })
        .expect("the loop runs");
    drop(client);
    (begun.elapsed(), runtime.statistics().turns - turns)
}

#[test]
fn a_listener_rests_after_want_of_descriptors_and_goes_on() {
    let (listener, address) = loopback();
    let runtime = runtime();
    fail_next(&runtime, Op::Accept, libc::EMFILE);
    runtime.listen(listener);
    let (took, turns) = accept_one(&runtime, address);
    assert!(
        took >= Duration::from_nanos(ACCEPT_PAUSE_NS - 20_000_000),
        "{took:?}"
    );
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(turns < 20, "{turns} turns");
    assert_eq!(runtime.statistics().accept_failures, 1);
    assert_clean(&runtime);
}

#[test]
fn one_aborted_connection_is_no_reason_to_rest() {
    let (listener, address) = loopback();
    let runtime = runtime();
    for errno in [libc::ECONNABORTED, libc::EINTR, libc::EAGAIN, libc::EPROTO] {
        fail_next(&runtime, Op::Accept, errno);
    }
    runtime.listen(listener);
    accept_one(&runtime, address);
    assert_eq!(runtime.statistics().accept_failures, 0);
    assert_clean(&runtime);
}

#[test]
fn a_listener_that_somebody_shut_does_not_keep_the_core_busy() {
    let (listener, _) = loopback();
    let shared = listener.try_clone().expect("a second handle");
    let runtime = runtime();
    runtime.listen(listener);
    // SAFETY: shutdown(2) takes no pointers.
    let result = unsafe { libc::shutdown(shared.as_raw_fd(), libc::SHUT_RD) };
    assert_eq!(result, 0);
    let handle = runtime.clone();
    run_until(&runtime, async move { pause(&handle, 350).await }, drop);
    let numbers = runtime.statistics();
    assert!(numbers.accept_failures > 0, "{numbers:?}");
    assert!(numbers.turns < 40, "{numbers:?}");
    assert_clean(&runtime);
}

#[test]
fn a_listener_that_is_stopped_while_it_rests_stays_quiet() {
    let (listener, _) = loopback();
    let runtime = runtime();
    fail_next(&runtime, Op::Accept, libc::ENFILE);
    runtime.listen(listener);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            pause(&handle, 20).await;
            assert_eq!(handle.statistics().accept_failures, 1);
            handle.stop_listening();
            pause(&handle, 300).await;
        },
        drop,
    );
    assert!(
        runtime.statistics().turns < 20,
        "{:?}",
        runtime.statistics()
    );
    assert_clean(&runtime);
}

#[test]
fn the_backlog_is_left_to_whoever_else_holds_the_listener() {
    let (listener, address) = loopback();
    let shared = listener.try_clone().expect("a second handle");
    let first = runtime();
    first.listen(listener);
    let handle = first.clone();
    run_until(
        &first,
        async move {
            pause(&handle, 20).await;
            handle.stop_listening();
            pause(&handle, 20).await;
        },
        |event| panic!("nobody has connected: {event:?}"),
    );
    let mut waits = TcpStream::connect(address).expect("the backlog takes it");
    let handle = first.clone();
    run_until(&first, async move { pause(&handle, 50).await }, |event| {
        panic!("it has stopped listening: {event:?}")
    });
    let second = runtime();
    second.listen(shared);
    let handle = second.clone();
    second
        .run(move |event| {
            if let Event::Accepted(_, socket) = event {
                let runtime = handle.clone();
                handle.spawn(ClassId::UNKNOWN, async move {
                    socket
                        .send(b"late".to_vec(), SECOND_NS)
                        .await
                        .expect("it goes");
                    runtime.stop();
                });
            }
        })
        .expect("the loop runs");
    let mut answer = [0; 4];
    waits.read_exact(&mut answer).expect("it is served");
    assert_eq!(&answer, b"late");
    assert_clean(&first);
    assert_clean(&second);
}

/// What one runtime accepted and never used goes on in another one, with what had come meanwhile, and the
/// slot that it leaves is used again.
#[test]
fn a_connection_moves_to_another_runtime_before_it_is_used() {
    let (listener, address) = loopback();
    let first = runtime();
    first.listen(listener);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = TcpStream::connect(address).expect("the backlog takes it");
        client.write_all(b"ask").expect("it goes");
        let moved = Rc::new(RefCell::new(None));
        let (handle, given) = (first.clone(), Rc::clone(&moved));
        first
            .run(move |event| {
                if let Event::Accepted(_, socket) = event {
                    let peer = socket.peer_address().expect("it is connected");
                    given.replace(Some((socket.into_descriptor(), peer)));
                    handle.stop();
                }
            })
            .expect("the loop runs");
        let (descriptor, peer) = moved.take().expect("one was accepted");
        assert_eq!(first.statistics().sockets, 0);
        assert_eq!(Some(peer), client.local_addr().ok());
        let second = runtime();
        let socket = second.adopt(descriptor);
        assert_eq!(socket.peer_address().ok(), Some(peer));
        let id = socket.park(second.deadline(Duration::from_secs(20)), 7);
        let handle = second.clone();
        second
            .run(move |event| {
                if let Event::Stirred {
                    socket,
                    tag: 7,
                    why: Stir::Bytes,
                    id: stirred,
                } = event
                {
                    assert_eq!(stirred, id);
                    let runtime = handle.clone();
                    handle.spawn(ClassId::UNKNOWN, async move {
                        let asked = socket.recv(0).await.expect("it came");
                        assert_eq!(&asked.expect("it came")[..], b"ask");
                        socket
                            .send(b"told".to_vec(), SECOND_NS)
                            .await
                            .expect("it goes");
                        runtime.stop();
                    });
                }
            })
            .expect("the loop runs");
        let mut answer = [0; 4];
        client.read_exact(&mut answer).expect("it is served");
        assert_eq!(&answer, b"told");
        assert_clean(&second);
        clients.push(client);
    }
    assert_clean(&first);
}
