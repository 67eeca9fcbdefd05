//! Receive buffers: few of them, shares of classes, slow readers.

use super::*;
use crate::buffers::RecvBuf;
use crate::limits::{QUEUED_BUFFERS_HIGH, QUEUED_BUFFERS_LOW, RECV_BOUND_BYTES};
use crate::slab::Receiving;

/// Hands accepted connections over in the order of their coming.
fn collect(queue: &Rc<RefCell<VecDeque<Socket>>>) -> impl FnMut(Event) + use<> {
    let queue = Rc::clone(queue);
    move |event| {
        if let Event::Accepted(_, socket) = event {
            queue.borrow_mut().push_back(socket);
        }
    }
}

fn listening_with(buffers_max: u16) -> (Runtime, SocketAddr) {
    let (listener, address) = loopback();
    let runtime = runtime_of(buffers_max);
    runtime.listen(listener);
    (runtime, address)
}

#[test]
fn hundreds_of_connections_share_a_few_buffers() {
    const CLIENTS: usize = 300;
    for mode in [RecvMode::Multishot, RecvMode::OnDemand, RecvMode::Bounded] {
        let (runtime, address) = listening_with(8);
        let clients = std::thread::spawn(move || {
            let mut streams: Vec<TcpStream> = (0..CLIENTS)
                .map(|_| TcpStream::connect(address).expect("it accepts"))
                .collect();
            let sent = pattern(5_000);
            for stream in &mut streams {
                stream.write_all(&sent).expect("it writes");
            }
            for stream in &mut streams {
                let mut got = vec![0; sent.len()];
                stream.read_exact(&mut got).expect("it all comes back");
                assert!(got == sent);
            }
        });
        let (handle, left) = (runtime.clone(), Rc::new(Cell::new(CLIENTS)));
        runtime
            .run(move |event| match event {
                Event::Accepted(_, socket) => {
                    socket.set_mode(mode);
                    socket.park(0, 0);
                }
                Event::Stirred { socket, .. } => {
                    let (runtime, left) = (handle.clone(), Rc::clone(&left));
                    handle.spawn(ClassId::UNKNOWN, async move {
                        while let Ok(Some(bytes)) = socket.recv(0).await {
                            // Held for a while, as one that waits for a backend would be.
                            runtime.yield_now().await;
                            socket.send(bytes, SECOND_NS).await.expect("it reads");
                        }
                        left.set(left.get() - 1);
                        if left.get() == 0 {
                            runtime.stop();
                        }
                    });
                }
                Event::Notified | Event::Readable(_) => {}
            })
            .expect("the loop runs");
        clients.join().expect("the clients saw their bytes");
        let numbers = runtime.statistics();
        assert!(numbers.starved + numbers.over_share > 0, "{numbers:?}");
        assert_eq!(numbers.pool.buffers, 8);
        assert_clean(&runtime);
    }
}

/// Receives on `socket` once and gives the buffer.
async fn one(runtime: &Runtime, socket: &Socket) -> RecvBuf {
    let deadline_ns = runtime.deadline(Duration::from_secs(3));
    let bytes = socket.recv(deadline_ns).await.expect("bytes come");
    bytes.expect("not the end")
}

#[test]
fn a_class_over_its_share_waits_keeps_nobody_waiting_and_goes_on() {
    let (runtime, address) = listening_with(5);
    let mut clients: Vec<TcpStream> = (0..5)
        .map(|_| TcpStream::connect(address).expect("it accepts"))
        .collect();
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let (greedy, modest) = (handle.add_class(), handle.add_class());
            let mut own = Vec::new();
            for n in 0..5 {
                let socket = accepted(&sockets, &handle).await;
                socket.set_mode(RecvMode::OnDemand);
                socket.set_class(if n < 4 { greedy } else { modest });
                own.push(socket);
            }
            for client in &mut clients {
                client.write_all(b"x").expect("it writes");
            }
            let first = one(&handle, &own[0]).await;
            let second = one(&handle, &own[1]).await;
            // Its share is held: the third and fourth wait, in front of the other class.
            let soon_ns = handle.deadline(Duration::from_millis(60));
            for socket in &own[2..4] {
                let error = socket.recv(soon_ns).await.expect_err("it waits");
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            }
            assert_eq!(handle.statistics().over_share, 2);
            let other = one(&handle, &own[4]).await;
            assert_eq!(handle.core.inner.borrow().starved.len(), 2);
            // Waiting costs nothing.
            let (cpu, turns) = (thread_cpu(), handle.statistics().turns);
            pause(&handle, 300).await;
            assert!(handle.statistics().turns - turns < 10);
            assert!(thread_cpu() - cpu < Duration::from_millis(3));
            // One comes back, and what nobody holds grows: one of those that wait goes on, then
            // the other.
            drop(other);
            drop(first);
            let third = one(&handle, &own[2]).await;
            drop((second, third));
            drop(one(&handle, &own[3]).await);
        },
        on_event,
    );
    assert_clean(&runtime);
}

#[test]
fn multishot_receives_of_a_class_over_its_share_are_taken_back() {
    let (runtime, address) = listening_with(16);
    let mut clients: Vec<TcpStream> = (0..6)
        .map(|_| TcpStream::connect(address).expect("it accepts"))
        .collect();
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let greedy = handle.add_class();
            let mut own = Vec::new();
            for _ in 0..6 {
                let socket = accepted(&sockets, &handle).await;
                socket.set_class(greedy);
                assert!(socket.poll_recv().is_pending());
                own.push(socket);
            }
            // Every connection speaks again and again, and none is read.
            for n in 0..4 {
                for client in &mut clients {
                    client.write_all(&[n]).expect("it writes");
                }
                pause(&handle, 10).await;
            }
            // Its share, and one more for each receive that already stood.
            let held = handle.statistics().pool.in_use;
            assert!((6..=6 + 6).contains(&held), "{held} buffers held");
            let read = Rc::new(Cell::new(0));
            for socket in own {
                let (runtime, read) = (handle.clone(), Rc::clone(&read));
                handle.spawn(greedy, async move {
                    let mut got = Vec::new();
                    while got.len() < 4 {
                        got.extend_from_slice(&one(&runtime, &socket).await);
                    }
                    assert_eq!(got, [0, 1, 2, 3]);
                    read.set(read.get() + 1);
                });
            }
            while read.get() < 6 {
                pause(&handle, 10).await;
            }
        },
        on_event,
    );
    assert_clean(&runtime);
}

#[test]
fn what_clients_send_ahead_does_not_keep_out_the_answers_of_backends() {
    let (runtime, address) = listening_with(8);
    let mut clients: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect(address).expect("it accepts"))
        .collect();
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let tenant = handle.add_class();
            let mut held = Vec::new();
            for client in &mut clients {
                let socket = accepted(&sockets, &handle).await;
                socket.set_mode(RecvMode::OnDemand);
                socket.set_class(tenant);
                client.write_all(b"ahead").expect("it writes");
                if held.len() < 3 {
                    held.push(one(&handle, &socket).await);
                } else {
                    let soon_ns = handle.deadline(Duration::from_millis(30));
                    socket.recv(soon_ns).await.expect_err("it waits");
                }
            }
            let upstream = handle.connect(address, tenant, 0).await.expect("it opens");
            let backend = accepted(&sockets, &handle).await;
            backend
                .send(b"answer".to_vec(), SECOND_NS)
                .await
                .expect("it goes");
            assert_eq!(&one(&handle, &upstream).await[..], b"answer");
        },
        on_event,
    );
    assert_clean(&runtime);
}

#[test]
fn a_class_over_its_share_at_the_head_of_the_line_blocks_nobody() {
    let (runtime, address) = listening_with(2);
    let mut clients: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect(address).expect("it accepts"))
        .collect();
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let [greedy, holder, modest] = [(); 3].map(|()| handle.add_class());
            let mut own = Vec::new();
            for (client, class) in clients.iter_mut().zip([greedy, holder, greedy, modest]) {
                let socket = accepted(&sockets, &handle).await;
                socket.set_mode(RecvMode::OnDemand);
                socket.set_class(class);
                client.write_all(b"x").expect("it writes");
                own.push(socket);
            }
            let held = one(&handle, &own[0]).await;
            let other = one(&handle, &own[1]).await;
            // First in line: over its share. Behind it: no buffer is left.
            for socket in &own[2..] {
                assert!(socket.poll_recv().is_pending());
            }
            let numbers = handle.statistics();
            assert_eq!((numbers.over_share, numbers.starved), (1, 1));
            drop(other);
            drop(one(&handle, &own[3]).await);
            assert!(own[2].poll_recv().is_pending());
            drop(held);
            drop(one(&handle, &own[2]).await);
        },
        on_event,
    );
    assert_clean(&runtime);
}

#[test]
fn a_receive_on_demand_that_follows_a_multishot_one_takes_one_buffer() {
    let (runtime, address) = listening();
    let mut client = TcpStream::connect(address).expect("it accepts");
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            assert!(socket.poll_recv().is_pending());
            pause(&handle, 10).await;
            socket.set_mode(RecvMode::OnDemand);
            pause(&handle, 10).await;
            for n in 0..3 {
                client.write_all(&[n]).expect("it writes");
                pause(&handle, 10).await;
            }
            assert_eq!(handle.statistics().pool.in_use, 1);
            for wanted in [&[0][..], &[1, 2]] {
                assert_eq!(&one(&handle, &socket).await[..], wanted);
            }
        },
        on_event,
    );
    assert_clean(&runtime);
}

#[test]
fn a_buffer_charged_to_another_class_makes_room_in_the_first() {
    let (runtime, address) = listening_with(2);
    let mut clients = [(), ()].map(|()| TcpStream::connect(address).expect("it accepts"));
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let (tenant, other) = (handle.add_class(), handle.add_class());
            let first = accepted(&sockets, &handle).await;
            let second = accepted(&sockets, &handle).await;
            for (socket, client) in [&first, &second].into_iter().zip(&mut clients) {
                socket.set_mode(RecvMode::OnDemand);
                socket.set_class(tenant);
                client.write_all(b"x").expect("it writes");
            }
            let held = one(&handle, &first).await;
            assert!(second.poll_recv().is_pending());
            pause(&handle, 20).await;
            assert_eq!(handle.statistics().over_share, 1);
            held.charge(other);
            drop(one(&handle, &second).await);
            // What waits to be read moves with its socket.
            first.unread(held);
            first.set_class(tenant);
            assert!(handle.core.pool.is_over_share(tenant, false));
            assert!(!handle.core.pool.is_over_share(other, false));
            first.set_class(other);
            assert!(!handle.core.pool.is_over_share(tenant, false));
            assert!(handle.core.pool.is_over_share(other, false));
        },
        on_event,
    );
    assert_clean(&runtime);
}

#[test]
fn buffers_given_back_by_the_last_task_end_the_wait_of_others() {
    let (runtime, address) = listening_with(2);
    let mut clients: Vec<TcpStream> = (0..3)
        .map(|_| TcpStream::connect(address).expect("it accepts"))
        .collect();
    let (handle, mut seen) = (runtime.clone(), 0);
    let stirred_ns = Rc::new(Cell::new(0));
    let (noted, mut classes) = (Rc::clone(&stirred_ns), Vec::new());
    for _ in 0..3 {
        classes.push(runtime.add_class());
    }
    runtime.spawn(ClassId::UNKNOWN, {
        let handle = runtime.clone();
        async move {
            pause(&handle, 3_000).await;
            handle.stop();
        }
    });
    let begun_ns = runtime.clock_ns();
    runtime
        .run(move |event| match event {
            Event::Accepted(_, socket) => {
                let (class, runtime) = (classes[seen], handle.clone());
                socket.set_mode(RecvMode::OnDemand);
                socket.set_class(class);
                clients[seen].write_all(b"x").expect("it writes");
                seen += 1;
                if seen <= 2 {
                    handle.spawn(class, async move {
                        let held = socket.recv(0).await.expect("it reads");
                        pause(&runtime, 300).await;
                        // Given back by a task, with nothing else under way to end a wait.
                        drop(held);
                    });
                } else {
                    handle.spawn(class, async move {
                        pause(&runtime, 100).await;
                        socket.park(0, 0);
                    });
                }
            }
            Event::Stirred { .. } => {
                noted.set(handle.clock_ns() - begun_ns);
                handle.stop();
            }
            Event::Notified | Event::Readable(_) => {}
        })
        .expect("the loop runs");
    let stirred_ns = stirred_ns.get();
    assert!(
        (200_000_000..1_000_000_000).contains(&stirred_ns),
        "stirred after {stirred_ns} ns"
    );
    assert_eq!(runtime.statistics().starved, 1);
    assert_clean(&runtime);
}

#[test]
fn places_of_closed_sockets_in_the_line_for_buffers_are_swept_out() {
    let (runtime, address) = listening_with(2);
    let mut clients = [(), ()].map(|()| TcpStream::connect(address).expect("it accepts"));
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let mut held = Vec::new();
            let mut own = Vec::new();
            for client in &mut clients {
                let socket = accepted(&sockets, &handle).await;
                socket.set_mode(RecvMode::OnDemand);
                socket.set_class(handle.add_class());
                client.write_all(b"x").expect("it writes");
                held.push(one(&handle, &socket).await);
                own.push(socket);
            }
            for _ in 0..500 {
                let socket = handle
                    .connect(address, ClassId::UNKNOWN, 0)
                    .await
                    .expect("it opens");
                assert!(socket.poll_recv().is_pending());
                drop(socket);
                drop(accepted(&sockets, &handle).await);
            }
            let line = handle.core.inner.borrow().starved.len();
            assert!(line < 100, "{line} in the line");
        },
        on_event,
    );
    assert_eq!(runtime.statistics().starved, 500);
    assert_clean(&runtime);
}

/// A client that writes as much as it can; the end of its sending is told by the channel.
fn flood(address: SocketAddr, bytes_max: usize) -> std::sync::mpsc::Receiver<usize> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        let timeout = Some(Duration::from_millis(150));
        stream.set_write_timeout(timeout).expect("it is set");
        let bytes = pattern(64 * 1024);
        let mut sent = 0;
        while sent < bytes_max {
            match stream.write(&bytes[sent % bytes.len()..]) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
        tell.send(sent).expect("somebody listens");
    });
    told
}

/// Buffers that one multishot receive may fill within one system call, before its cancel is seen.
const BURST_MAX: u32 = 64;

/// Lets `socket` alone until its sender stands still, then reads everything.
async fn read_late(
    runtime: &Runtime,
    socket: &Socket,
    told: &std::sync::mpsc::Receiver<usize>,
    held_max: u32,
) {
    let sent = loop {
        if let Ok(sent) = told.try_recv() {
            break sent;
        }
        let numbers = runtime.statistics();
        assert!(numbers.pool.in_use <= held_max, "{numbers:?}");
        pause(runtime, 5).await;
    };
    assert!(
        sent < 100 << 20,
        "the sender was never stopped: {sent} bytes"
    );
    let deadline_ns = runtime.deadline(Duration::from_secs(10));
    let mut got = 0;
    let chunk = pattern(64 * 1024);
    while let Some(bytes) = socket.recv(deadline_ns).await.expect("it reads") {
        let at = got % chunk.len();
        let same = bytes.len().min(chunk.len() - at);
        assert!(bytes[..same] == chunk[at..at + same], "changed at {got}");
        got += bytes.len();
    }
    assert_eq!(got, sent);
}

#[test]
fn a_slow_reader_holds_few_buffers_and_stops_its_sender() {
    let modes = [
        (RecvMode::Multishot, true, BURST_MAX),
        (RecvMode::OnDemand, true, 1),
        // In as many pieces as the sender's first segments were.
        (RecvMode::Bounded, true, 4),
        (RecvMode::Bounded, false, 1),
    ];
    for (mode, bounded_receives, held_max) in modes {
        let (runtime, address) = listening_by(RuntimeConfig {
            bounded_receives,
            ..RuntimeConfig::default()
        });
        let told = flood(address, 200 << 20);
        let sockets = Rc::new(RefCell::new(VecDeque::new()));
        let on_event = collect(&sockets);
        let handle = runtime.clone();
        run_until(
            &runtime,
            async move {
                let socket = accepted(&sockets, &handle).await;
                socket.set_mode(mode);
                assert!(socket.poll_recv().is_pending());
                read_late(&handle, &socket, &told, held_max).await;
            },
            on_event,
        );
        assert_clean(&runtime);
    }
}

#[test]
fn a_reader_that_turns_to_receiving_on_demand_is_not_flooded() {
    let (runtime, address) = listening();
    let told = flood(address, 200 << 20);
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            assert!(socket.poll_recv().is_pending());
            // The multishot receive stands already.
            socket.set_mode(RecvMode::OnDemand);
            read_late(&handle, &socket, &told, BURST_MAX).await;
        },
        on_event,
    );
    assert_clean(&runtime);
}

/// How often a receive had to be asked for, to read so many messages one by one in this mode.
fn receives_for(messages: usize, bounded_receives: bool) -> usize {
    let (runtime, address) = listening_by(RuntimeConfig {
        bounded_receives,
        ..RuntimeConfig::default()
    });
    let mut client = TcpStream::connect(address).expect("it accepts");
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    let asked = run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            socket.set_mode(RecvMode::Bounded);
            let mut asked = 0;
            for number in 0..messages {
                let is_off = {
                    let inner = handle.core.inner.borrow();
                    inner.sockets[socket.index].receiving == Receiving::Off
                };
                asked += usize::from(is_off);
                client.write_all(&message(number as u8)).expect("it writes");
                let mut left = message(0).len();
                while left > 0 {
                    let bytes = socket.recv(0).await.expect("it reads");
                    let bytes = bytes.expect("it has not ended");
                    assert!(bytes.iter().all(|&byte| byte == number as u8));
                    left -= bytes.len();
                }
            }
            asked
        },
        on_event,
    );
    assert_clean(&runtime);
    asked
}

#[test]
fn a_bounded_receive_lasts_for_many_messages_where_the_kernel_has_it() {
    const MESSAGES: usize = 100;
    assert_eq!(receives_for(MESSAGES, false), MESSAGES, "the fallback");
    if has_bounded_receives() {
        let asked = receives_for(MESSAGES, true);
        let bytes = MESSAGES * message(0).len();
        let wanted = bytes.div_ceil(RECV_BOUND_BYTES as usize);
        assert!(
            (wanted..=2 * wanted).contains(&asked),
            "{asked} for {bytes} bytes"
        );
    } else {
        eprintln!("SKIPPED: this kernel has no bounded receives");
    }
}

#[test]
fn a_bounded_receive_ends_at_its_bound_when_its_reader_turns_to_receiving_on_demand() {
    let (runtime, address) = listening();
    let told = flood(address, 200 << 20);
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            socket.set_mode(RecvMode::Bounded);
            assert!(socket.poll_recv().is_pending());
            socket.set_mode(RecvMode::OnDemand);
            read_late(&handle, &socket, &told, 4).await;
        },
        on_event,
    );
    assert_clean(&runtime);
}

/// Too long to be copied behind what waits already.
fn message(byte: u8) -> [u8; 2048] {
    [byte; 2048]
}

#[test]
fn single_bytes_share_a_buffer() {
    let (runtime, address) = listening();
    let mut client = TcpStream::connect(address).expect("it accepts");
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            assert!(socket.poll_recv().is_pending());
            client.set_nodelay(true).expect("an option");
            for byte in 0..20 {
                client.write_all(&[byte]).expect("it writes");
                pause(&handle, 5).await;
            }
            assert_eq!(handle.statistics().pool.in_use, 1);
            let got = one(&handle, &socket).await;
            assert_eq!(*got, (0..20).collect::<Vec<u8>>());
        },
        on_event,
    );
    assert_clean(&runtime);
}

#[test]
fn a_multishot_receive_is_cancelled_at_the_high_mark_and_armed_at_the_low_one() {
    let (runtime, address) = listening();
    let mut client = TcpStream::connect(address).expect("it accepts");
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            let index = socket.index;
            let state = |handle: &Runtime| {
                let inner = handle.core.inner.borrow();
                let entry = &inner.sockets[index];
                (entry.queued_buffers, entry.receiving)
            };
            assert!(socket.poll_recv().is_pending());
            for n in 1..QUEUED_BUFFERS_HIGH {
                client.write_all(&message(n as u8)).expect("it writes");
                pause(&handle, 10).await;
                assert_eq!(state(&handle), (n, Receiving::Armed));
            }
            client.write_all(&message(9)).expect("it writes");
            pause(&handle, 10).await;
            assert_eq!(state(&handle), (QUEUED_BUFFERS_HIGH, Receiving::Off));
            // What comes now stays with the kernel.
            client.write_all(&message(10)).expect("it writes");
            pause(&handle, 10).await;
            assert_eq!(state(&handle), (QUEUED_BUFFERS_HIGH, Receiving::Off));
            let mut got = Vec::new();
            while got.len() < (usize::from(QUEUED_BUFFERS_HIGH) + 1) * 2048 {
                got.extend_from_slice(&one(&handle, &socket).await);
                let (queued, receiving) = state(&handle);
                let armed = receiving == Receiving::Armed;
                assert_eq!(armed, queued <= QUEUED_BUFFERS_LOW, "{queued} queued");
            }
            assert!(got == [1, 2, 3, 9, 10].map(message).concat());
        },
        on_event,
    );
    assert_clean(&runtime);
}

#[test]
fn a_buffer_of_another_runtime_is_not_taken_in() {
    let make = || {
        let (runtime, address) = listening_with(4);
        let mut client = TcpStream::connect(address).expect("it accepts");
        client.write_all(b"x").expect("it writes");
        let sockets = Rc::new(RefCell::new(VecDeque::new()));
        let on_event = collect(&sockets);
        let handle = runtime.clone();
        let (socket, buffer) = run_until(
            &runtime,
            async move {
                let socket = accepted(&sockets, &handle).await;
                let buffer = one(&handle, &socket).await;
                (socket, buffer)
            },
            on_event,
        );
        (runtime, socket, buffer, client)
    };
    let (first, own, buffer, _client) = make();
    let (second, other, foreign, _other_client) = make();
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| own.unread(foreign)));
    assert!(refused.is_err());
    assert!(own.is_quiet(), "nothing was taken in");
    own.unread(buffer);
    assert!(!own.is_quiet());
    drop((own, other));
    assert_clean(&first);
    assert_clean(&second);
}

#[test]
fn a_buffer_outlives_its_runtime() {
    let (runtime, address) = listening();
    let mut client = TcpStream::connect(address).expect("it accepts");
    client.write_all(b"kept").expect("it writes");
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let on_event = collect(&sockets);
    let handle = runtime.clone();
    let (socket, mut buffer) = run_until(
        &runtime,
        async move {
            let socket = accepted(&sockets, &handle).await;
            let buffer = one(&handle, &socket).await;
            (socket, buffer)
        },
        on_event,
    );
    drop(runtime);
    assert!(socket.poll_recv().is_pending());
    drop(socket);
    assert!(buffer.prepend(b"still ") && buffer.append(b" here"));
    assert_eq!(&buffer[..], b"still kept here");
}
