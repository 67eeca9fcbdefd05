//! A worker with nothing to do does nothing.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn an_idle_worker_with_parked_connections_uses_no_cpu() {
    let (runtime, address) = listening();
    let clients: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(address).expect("it accepts"))
        .collect();
    let handle = runtime.clone();
    let keep_alive_ns = runtime.deadline(Duration::from_secs(60));
    let cpu = run_until(
        &runtime,
        async move {
            while handle.parked().len() < 100 {
                pause(&handle, 10).await;
            }
            let (cpu, turns) = (thread_cpu(), handle.statistics().turns);
            handle
                .stirred(handle.deadline(Duration::from_secs(1)))
                .await;
            assert!(handle.statistics().turns - turns <= 3);
            thread_cpu() - cpu
        },
        move |event| {
            if let Event::Accepted(_, socket) = event {
                socket.park(keep_alive_ns, 0);
            }
        },
    );
    assert!(cpu < Duration::from_millis(5), "{cpu:?} of CPU in a second");
    drop(clients);
    assert_clean(&runtime);
}

#[test]
fn a_notifier_wakes_an_idle_worker_from_another_thread() {
    let runtime = runtime();
    let notifier = runtime.notifier();
    let seen = Arc::new(AtomicU32::new(0));
    let heard = Arc::clone(&seen);
    let waker = std::thread::spawn(move || {
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(20));
            let before = heard.load(Ordering::SeqCst);
            // Many at once may count as one, but never as none.
            (0..100).for_each(|_| notifier.notify());
            let begun = std::time::Instant::now();
            while heard.load(Ordering::SeqCst) == before {
                assert!(begun.elapsed() < Duration::from_secs(5), "nobody woke");
                std::thread::yield_now();
            }
        }
        heard.store(u32::MAX / 2, Ordering::SeqCst);
        notifier.notify();
    });
    let handle = runtime.clone();
    runtime
        .run(move |event| {
            assert!(matches!(event, Event::Notified));
            if seen.fetch_add(1, Ordering::SeqCst) >= u32::MAX / 2 {
                handle.stop();
            }
        })
        .expect("the loop runs");
    waker.join().expect("it ends well");
    let numbers = runtime.statistics();
    assert!(numbers.waited_ns > 50_000_000, "{numbers:?}");
    assert!(numbers.turns < 600, "{numbers:?}");
    // Also when the runtime is gone.
    let late = runtime.notifier();
    drop(runtime);
    late.notify();
}

/// Echoes `rounds` short messages to a client that answers each at once, and gives the numbers.
fn ping_pong(busy_polling: bool, rounds: u32) -> Statistics {
    let (listener, address) = loopback();
    let runtime = Runtime::new(RuntimeConfig {
        busy_polling,
        ..RuntimeConfig::default()
    })
    .expect("io_uring is available");
    runtime.listen(listener);
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        stream.set_nodelay(true).expect("it is TCP");
        let mut byte = [0];
        for _ in 0..rounds {
            stream.write_all(&byte).expect("it reads");
            stream.read_exact(&mut byte).expect("it answers");
        }
    });
    let handle = runtime.clone();
    runtime
        .run(move |event| {
            if let Event::Accepted(_, socket) = event {
                let runtime = handle.clone();
                handle.spawn(ClassId::UNKNOWN, async move {
                    while let Ok(Some(bytes)) = socket.recv(0).await {
                        socket.send(bytes, SECOND_NS).await.expect("it reads");
                    }
                    runtime.stop();
                });
            }
        })
        .expect("the loop runs");
    client.join().expect("it ends well");
    assert_clean(&runtime);
    runtime.statistics()
}

#[test]
fn a_worker_looks_for_what_comes_at_once_if_it_may() {
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() < 2) {
        println!("SKIPPED: with one CPU nothing comes while a worker looks");
        return;
    }
    // A machine that is busy otherwise answers late, so that not looking is right: try again.
    let mut polled = false;
    for _ in 0..20 {
        let numbers = ping_pong(true, 2_000);
        assert!(numbers.polled_ns <= numbers.waited_ns, "{numbers:?}");
        polled |= numbers.polled_ns > 0;
        if polled {
            break;
        }
    }
    assert!(polled, "it never looked");
    assert_eq!(ping_pong(false, 2_000).polled_ns, 0);
}
