//! Every conversation of `tests/wire`.

use crate::support::conversation::{Way, play};
use crate::support::script::Script;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Conversations that are played side by side; most of their time is spent waiting.
const AT_A_TIME: usize = 6;

/// What is not played by TLS, by the beginning of its name.
const PLAIN_ONLY: &[&str] = &[
    // A target of `http` is none of a listener for HTTPS.
    "absolute_form",
    // By TLS it is the client who speaks first: whether it is a reset that hangs up on it is chance.
    "denied_by_host",
    // The header of the PROXY protocol stands in front of TLS, and the bridge sends none.
    "proxy_",
    // 404 is spelled out.
    "not_found",
];

/// All of them, or those whose name holds what the variable `WIRE` says.
#[test]
fn conversations() {
    play_all(Way::Plain, files());
}

/// The same by TLS: but for its bytes on the wire it is the same.
#[test]
fn conversations_by_tls() {
    let mut files = files();
    let name = |path: &Path| path.file_name().map(|it| it.to_string_lossy().into_owned());
    files.retain(|path| {
        let name = name(path).unwrap_or_default();
        !PLAIN_ONLY.iter().any(|begin| name.starts_with(begin))
    });
    play_all(Way::Secure, files);
}

/// The same with backends that are spoken to by TLS: what they get and say is the same.
#[test]
fn conversations_with_backends_by_tls() {
    play_all(Way::SecureBackends, files());
}

fn files() -> Vec<PathBuf> {
    let wanted = std::env::var("WIRE").unwrap_or_default();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let entries = fs::read_dir(directory).expect("the conversations are there");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().contains(&wanted));
    files.sort();
    assert!(!files.is_empty(), "no conversation is called {wanted:?}");
    files
}

fn play_all(way: Way, files: Vec<PathBuf>) {
    // Both at once would keep each other from being in time.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(what) = play_file(way, path) {
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

fn play_file(way: Way, path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let script = Script::parse(&text)?;
    let played = catch_unwind(AssertUnwindSafe(|| play(&script, way)));
    let played = played.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        Err(said
            .or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()))
            .unwrap_or_default())
    });
    played.map_err(|what| format!("{}\n{what}", script.about))
}
