//! Every conversation of `tests/wire`.

use crate::support::conversation::play;
use crate::support::script::Script;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Conversations that are played side by side; most of their time is spent waiting.
const AT_A_TIME: usize = 6;

/// All of them, or those whose name holds what the variable `WIRE` says.
#[test]
fn conversations() {
    let wanted = std::env::var("WIRE").unwrap_or_default();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let entries = fs::read_dir(directory).expect("the conversations are there");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().contains(&wanted));
    files.sort();
    assert!(!files.is_empty(), "no conversation is called {wanted:?}");
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(what) = play_file(path) {
                        let mut failures = failures.lock().expect("nobody panics with it");
                        failures.push(format!("{}: {what}", path.display()));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody panics with it");
    assert!(
        failures.is_empty(),
        "{} of {} failed\n\n{}",
        failures.len(),
        files.len(),
        failures.join("\n\n")
    );
}

fn play_file(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let script = Script::parse(&text)?;
    let played = catch_unwind(AssertUnwindSafe(|| play(&script)));
    let played = played.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        Err(said
            .or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()))
            .unwrap_or_default())
    });
    played.map_err(|what| format!("{}\n{what}", script.about))
}
