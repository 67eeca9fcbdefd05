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
