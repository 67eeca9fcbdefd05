//! Bytes arrive whole and in order, whatever the kernel answers.

use super::*;
use crate::limits::UNSENT_BYTES_MAX;
use std::net::Shutdown;

/// Sends back what comes in, parking between messages, until `clients` connections have ended.
fn echo_until(runtime: &Runtime, clients: usize, mode: RecvMode) {
    let left = Rc::new(Cell::new(clients));
    let handle = runtime.clone();
    runtime
        .run(move |event| match event {
            Event::Accepted(_, socket) => {
                socket.set_mode(mode);
                socket.park(0, 7);
            }
            Event::Stirred {
                tag,
                why: Stir::Ended,
                ..
            } => {
                assert_eq!(tag, 7);
                left.set(left.get() - 1);
                if left.get() == 0 {
                    handle.stop();
                }
            }
            Event::Stirred { socket, why, .. } => {
                assert_eq!(why, Stir::Bytes);
                handle.spawn(ClassId::UNKNOWN, async move {
                    while let Poll::Ready(Ok(Some(bytes))) = socket.poll_recv() {
                        let sent = socket.send(bytes, SECOND_NS).await;
                        sent.expect("the client reads");
                    }
                    socket.park(0, 7);
                });
            }
            Event::Notified | Event::Readable(_) => {}
        })
        .expect("the loop runs");
}

fn echo_client(address: SocketAddr, sizes: Vec<usize>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        for size in sizes {
            let sent = pattern(size);
            let mut got = vec![0; sent.len()];
            let mut writer = stream.try_clone().expect("a second handle");
            let copy = sent.clone();
            let writing = std::thread::spawn(move || writer.write_all(&copy));
            stream.read_exact(&mut got).expect("it all comes back");
            writing.join().expect("no panic").expect("it writes");
            assert!(got == sent, "{size} bytes came back changed");
        }
    })
}

fn echoes(mode: RecvMode, sizes: &[usize], prepare: impl FnOnce(&Runtime)) {
    let (runtime, address) = listening();
    prepare(&runtime);
    let client = echo_client(address, sizes.to_vec());
    echo_until(&runtime, 1, mode);
    client.join().expect("the client saw its bytes");
    assert!(runtime.core.inner.borrow().faults.results.is_empty());
    assert_clean(&runtime);
}

const MODES: [RecvMode; 3] = [RecvMode::Multishot, RecvMode::OnDemand, RecvMode::Bounded];

#[test]
fn bytes_come_back_as_they_went() {
    for mode in MODES {
        echoes(mode, &[1, 100, 31_000, 2_000_000, 3], |_| {});
    }
}

#[test]
fn short_sends_are_finished() {
    for (bytes_max, size) in [(1, 5_000), (13, 50_000), (4_096, 500_000)] {
        for mode in MODES {
            echoes(mode, &[1, size, 2], |runtime| {
                let mut inner = runtime.core.inner.borrow_mut();
                inner.faults.send_bytes_max = Some(bytes_max);
            });
        }
    }
}

#[test]
fn short_reads_are_put_together() {
    for (bytes_max, size) in [(1, 3_000), (17, 50_000)] {
        for mode in MODES {
            echoes(mode, &[1, size, 2], |runtime| {
                runtime.core.pool.shorten(bytes_max);
            });
        }
    }
}

#[test]
fn interruptions_are_tried_again() {
    let faults = [
        (Op::Accept, libc::ECONNABORTED),
        (Op::Recv, libc::EINTR),
        (Op::Recv, libc::EAGAIN),
        (Op::Recv, libc::ENOBUFS),
        (Op::Recv, libc::ECANCELED),
        (Op::Send, libc::EINTR),
        (Op::Send, libc::EAGAIN),
        (Op::Recv, libc::ENOBUFS),
        (Op::Send, libc::EAGAIN),
    ];
    echoes(
        RecvMode::OnDemand,
        &[10, 10, 40_000, 40_000, 5],
        |runtime| {
            for (op, errno) in faults {
                fail_next(runtime, op, errno);
            }
            // The first accept was armed before the faults were set.
            runtime.listen(loopback().0);
        },
    );
    echoes(RecvMode::Multishot, &[10, 400_000, 5], |runtime| {
        for (op, errno) in &faults[1..5] {
            fail_next(runtime, *op, *errno);
        }
    });
}

#[test]
fn a_send_that_fails_says_so_and_the_socket_closes_well() {
    let (runtime, address) = listening();
    let client = TcpStream::connect(address).expect("it accepts");
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let (queue, handle) = (Rc::clone(&sockets), runtime.clone());
    fail_next(&runtime, Op::Send, libc::EPIPE);
    let result = run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            socket.send(pattern(100), SECOND_NS).await
        },
        move |event| {
            if let Event::Accepted(_, socket) = event {
                queue.borrow_mut().push_back(socket);
            }
        },
    );
    assert_eq!(
        result.expect_err("a broken pipe").raw_os_error(),
        Some(libc::EPIPE)
    );
    drop(client);
    assert_clean(&runtime);
}

/// However a send ended, its buffer is there until somebody asks for its end.
#[test]
fn the_buffer_of_a_send_can_be_taken_back_once_the_kernel_is_done() {
    let (runtime, address) = listening();
    let client = TcpStream::connect(address).expect("it accepts");
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let (queue, handle) = (Rc::clone(&sockets), runtime.clone());
    let inner = runtime.clone();
    run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            assert!(socket.take_back().is_none(), "nothing was sent");
            socket.start_send(pattern(100), false);
            assert!(socket.take_back().is_none(), "the kernel may still read it");
            pause(&inner, 50).await;
            assert_eq!(&*socket.take_back().expect("it was sent"), pattern(100));
            assert!(socket.take_back().is_none() && !socket.is_sending());
            fail_next(&inner, Op::Send, libc::EPIPE);
            socket.start_send(pattern(70), false);
            pause(&inner, 50).await;
            assert_eq!(&*socket.take_back().expect("it failed"), pattern(70));
            // The next send begins as if nothing had been.
            socket.send(pattern(5), SECOND_NS).await.expect("room");
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

/// Of a send that is given up, the bytes that the kernel took are known: the peer gets just them.
#[test]
fn what_was_sent_of_a_send_that_did_not_end_is_told() {
    let (runtime, address) = listening();
    let mut client = TcpStream::connect(address).expect("it accepts");
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let (queue, handle) = (Rc::clone(&sockets), runtime.clone());
    let sent_bytes = run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            socket.send(pattern(1000), SECOND_NS).await.expect("room");
            assert_eq!(socket.sent_bytes(), 0, "it ended well");
            let error = socket.send(vec![7; 32 << 20], 100_000_000).await;
            assert_eq!(
                error.expect_err("nobody reads").kind(),
                io::ErrorKind::TimedOut
            );
            socket.sent_bytes()
        },
        move |event| {
            if let Event::Accepted(_, socket) = event {
                queue.borrow_mut().push_back(socket);
            }
        },
    );
    assert!(sent_bytes > 0 && sent_bytes < 32 << 20, "{sent_bytes}");
    drop(runtime);
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("it reads");
    assert_eq!(got.len() as u64, 1000 + sent_bytes);
}

#[test]
fn a_peer_that_ends_its_side_still_gets_its_answer() {
    let (runtime, address) = listening();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        stream.write_all(&pattern(100_000)).expect("it writes");
        stream.shutdown(Shutdown::Write).expect("it ends");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it reads");
        answer
    });
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let (queue, handle) = (Rc::clone(&sockets), runtime.clone());
    let got = run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            let deadline_ns = handle.deadline(Duration::from_secs(5));
            let mut got = Vec::new();
            while let Some(bytes) = socket.recv(deadline_ns).await.expect("it reads") {
                got.extend_from_slice(&bytes);
            }
            assert!(!socket.is_quiet() && !socket.is_broken());
            let answer: Vec<u8> = got.iter().rev().copied().collect();
            socket.send(answer, SECOND_NS).await.expect("it writes");
            got
        },
        move |event| {
            if let Event::Accepted(_, socket) = event {
                queue.borrow_mut().push_back(socket);
            }
        },
    );
    assert!(got == pattern(100_000));
    let answer = client.join().expect("the client ends well");
    assert!(answer.iter().rev().copied().eq(pattern(100_000)));
    assert_clean(&runtime);
}

#[test]
fn a_reset_reaches_reader_and_writer_and_a_parked_socket() {
    let (runtime, address) = listening();
    let [first, second] = [(), ()].map(|()| TcpStream::connect(address).expect("it accepts"));
    for stream in [&first, &second] {
        reset_when_dropped(stream);
    }
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let (queue, handle) = (Rc::clone(&sockets), runtime.clone());
    let ended = Rc::new(Cell::new(0));
    let count = Rc::clone(&ended);
    run_until(
        &runtime,
        async move {
            let reading = accepted(&sockets, &handle).await;
            let parking = accepted(&sockets, &handle).await;
            parking.park(0, 3);
            assert!(reading.poll_recv().is_pending());
            drop((first, second));
            let deadline_ns = handle.deadline(Duration::from_secs(5));
            let error = reading.recv(deadline_ns).await.expect_err("a reset");
            assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
            assert!(reading.is_broken() && !reading.is_quiet());
            let sent = reading.send(pattern(10), SECOND_NS).await;
            let errno = sent.expect_err("nobody is there").raw_os_error();
            assert!(matches!(errno, Some(libc::EPIPE | libc::ECONNRESET)));
            pause(&handle, 20).await;
        },
        move |event| match event {
            Event::Accepted(_, socket) => queue.borrow_mut().push_back(socket),
            Event::Stirred { why, tag, .. } => {
                assert_eq!((why, tag), (Stir::Ended, 3));
                count.set(count.get() + 1);
            }
            Event::Notified | Event::Readable(_) => {}
        },
    );
    assert_eq!(ended.get(), 1);
    assert_clean(&runtime);
}

#[test]
fn a_cut_answer_is_reset_and_not_ended() {
    let (runtime, address) = listening();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        let mut got = Vec::new();
        stream.read_to_end(&mut got)
    });
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let (queue, handle) = (Rc::clone(&sockets), runtime.clone());
    run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            assert!(socket.poll_recv().is_pending());
            socket.send(pattern(10), SECOND_NS).await.expect("it goes");
            socket.reset_on_close();
        },
        move |event| {
            if let Event::Accepted(_, socket) = event {
                queue.borrow_mut().push_back(socket);
            }
        },
    );
    let error = client.join().expect("no panic").expect_err("no clean end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_clean(&runtime);
}

/// Bytes that the kernel takes of `sender` before it makes it wait.
async fn taken_without_a_reader(sender: Socket) -> usize {
    let mut taken = 0;
    while sender.send(pattern(64 * 1024), SECOND_NS / 2).await.is_ok() {
        taken += 64 * 1024;
    }
    taken
}

/// Left to itself the kernel takes megabytes.
#[test]
fn the_kernel_takes_little_for_a_reader_that_does_not_read() {
    let (runtime, address) = listening();
    let (theirs, theirs_address) = loopback();
    let client = TcpStream::connect(address).expect("the backlog takes it");
    for fd in [theirs.as_raw_fd(), client.as_raw_fd()] {
        listener::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 16 * 1024)
            .expect("a small buffer is allowed");
    }
    let taken = Rc::new(Cell::new([0, 0]));
    let (handle, result) = (runtime.clone(), Rc::clone(&taken));
    runtime
        .run(move |event| {
            if let Event::Accepted(_, accepted) = event {
                let (runtime, result) = (handle.clone(), Rc::clone(&result));
                handle.spawn(ClassId::UNKNOWN, async move {
                    let connected = runtime.connect(theirs_address, ClassId::UNKNOWN, 0).await;
                    let connected = connected.expect("the backlog takes it");
                    let accepted = taken_without_a_reader(accepted).await;
                    result.set([accepted, taken_without_a_reader(connected).await]);
                    runtime.stop();
                });
            }
        })
        .expect("the loop runs");
    for taken in taken.get() {
        assert!(taken <= 2 * UNSENT_BYTES_MAX as usize, "{taken} bytes");
        assert!(taken >= 64 * 1024, "{taken} bytes");
    }
    drop((client, theirs));
}
