//! The same work on many values, on as many threads as there are CPUs: what a start waits for.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// More threads than this only wait for the one that takes the results.
const THREADS_MAX: usize = 8;

/// Works on each of `items`, and gives the results to `take` on the calling thread, in the order
/// of the items and as soon as they are there. The first error of `take` ends it.
///
/// # Errors
///
/// That of `take`.
pub(crate) fn each<T: Sync, R: Send, E>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS_MAX).min(items.len());
    if threads < 2 {
        return items.iter().try_for_each(|item| take(work(item)));
    }
    let next = AtomicUsize::new(0);
    let (done, results) = mpsc::channel();
    thread::scope(|scope| {
        let mut running = Vec::with_capacity(threads);
        for _ in 0..threads {
            let (done, next, work) = (done.clone(), &next, &work);
            running.push(scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else {
                        return;
                    };
                    // Nobody takes it any more after an error.
                    if done.send((index, work(item))).is_err() {
                        return;
                    }
                }
            }));
        }
        drop(done);
        let taken = take_in_order(&results, &mut take);
        drop(results);
        for thread in running {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        taken
    })
}

/// Two pieces of work at the same time.
pub(crate) fn both<A: Send, B>(
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B,
) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (
            one.join().unwrap_or_else(|panic| resume_unwind(panic)),
            other,
        )
    })
}

fn take_in_order<R, E>(
    results: &mpsc::Receiver<(usize, R)>,
    take: &mut impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    let mut wanted = 0;
    for (index, result) in results {
        early.insert(index, result);
        while let Some(result) = early.remove(&wanted) {
            take(result)?;
            wanted += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_an_error_ends_it() {
        let items: Vec<u32> = (0..1000).collect();
        let mut taken = Vec::new();
        let all: Result<(), ()> = each(
            &items,
            |item| item * 2,
            |result| {
                taken.push(result);
                Ok(())
            },
        );
        assert_eq!(all, Ok(()));
        assert_eq!(taken, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        let mut taken = 0;
        let until = each(
            &items,
            |item| *item,
            |result| {
                taken += 1;
                if result == 3 { Err(result) } else { Ok(()) }
            },
        );
        assert_eq!((until, taken), (Err(3), 4));
    }
}
