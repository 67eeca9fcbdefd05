//! `meridianctl apply`, `set`, `delete`, `suspend`, `resume` and `get`: what asks a running `up` for a change, or to
//! show what is desired.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use meridian_model::availability::{has_certificates, unavailable};
use meridian_model::{Problems, compile};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::certificates::fault::Fault;
use crate::certificates::{self, asking, authorities, reading};
use crate::cli;
use crate::control_socket::{Changed, Difference, How, Question, Refused};
use crate::failure::{Exit, Failure};
use crate::manifest_file;
use crate::output::Output;
use crate::plane_socket::{self, NoAnswer};
use crate::state_directory::StateDirectory;
use crate::table::{Align, Table};
use crate::zones;

/// What a change of very many objects may take beyond what the asker waits.
const CHANGE_WITHIN: Duration = Duration::from_secs(60);
/// Differences that are shown; the rest is counted.
const DIFFERENCES_SHOWN: usize = 100;

/// Makes what is desired equal to a manifest.
///
/// # Errors
/// Exit 1 when it is wrong, 3 when no `up` runs, 4 when it is refused, 5 when it is accepted and
/// not live in time.
pub(crate) fn apply(call: &cli::Apply, output: Output) -> Result<(), Failure> {
    let file = call.file.display().to_string();
    let wrong = |problems| Failure::problems(problems, format!("{file} is wrong"));
    let manifest = manifest_file::read(&call.file).map_err(wrong)?;
    Problems::refuse_any(unavailable(&manifest)).map_err(wrong)?;
    let socket = control_socket(call.change.state.directory.as_deref())?;
    let read = asking::read(&manifest, &file, &socket, wrong)?;
    let (local, mut desired) = manifest.into_parts();
    read.fill(&mut desired);
    desired.assign_ids(None);
    // What is wrong with the file itself is told as such.
    compile(&local, &desired, 0).map_err(wrong)?;
    for certificate in read.expiring(certificates::now()) {
        output.note(|| certificate);
    }
    for warning in authorities::warnings(&local, &desired) {
        output.note(|| warning);
    }
    let question = |how| Question::Apply {
        local: Box::new(local.clone()),
        desired: desired.clone(),
        how,
    };
    let mut how = call.change.how();
    if call.dry_run {
        how.dry_run = true;
    } else if !call.yes && io::stdin().is_terminal() {
        let seen: Changed = ask(
            &socket,
            &question(How {
                dry_run: true,
                ..how
            }),
            &call.change,
        )?;
        let deletes = seen
            .changes
            .iter()
            .filter(|it| it.action == "delete")
            .count();
        if deletes > 0 && !is_confirmed(&seen, deletes) {
            return Err(Failure::new(Exit::Refused, "nothing was changed"));
        }
        how.on_revision = Some(seen.revision);
    }
    if !how.dry_run {
        asking::send(&socket, read.new.iter().map(|(_, pair)| pair))?;
    }
    finish(ask(&socket, &question(how), &call.change)?, output)
}

/// Makes or replaces one object.
///
/// # Errors
/// As [`apply`].
pub(crate) fn set(call: &cli::Set, output: Output) -> Result<(), Failure> {
    if call.kind == "certificate" {
        return set_certificate(call, output);
    }
    let question = Question::Set {
        kind: call.kind.clone(),
        name: call.name.clone(),
        keys: call.keys.clone(),
        how: call.change.how(),
    };
    let socket = control_socket(call.change.state.directory.as_deref())?;
    finish(ask(&socket, &question, &call.change)?, output)
}

/// Makes or replaces a certificate, of which the keys name the files.
fn set_certificate(call: &cli::Set, output: Output) -> Result<(), Failure> {
    if !has_certificates() {
        return Err(Failure::input(
            "certificates are not available in this version",
        ));
    }
    let (mut chain, mut key) = (None, None);
    for text in &call.keys {
        let named = match text.split_once('=') {
            Some(("chain", file)) => chain.replace(file),
            Some(("key", file)) => key.replace(file),
            _ => return Err(Failure::call(format!("{text:?}: {CERTIFICATE_KEYS}"))),
        };
        if named.is_some() {
            return Err(Failure::call(format!("{text:?} is there twice")));
        }
    }
    let (Some(chain), Some(key)) = (chain, key) else {
        return Err(Failure::call(CERTIFICATE_KEYS));
    };
    let socket = control_socket(call.change.state.directory.as_deref())?;
    let wrong = |faults: Vec<Fault>| {
        let problems = faults.into_iter().map(|fault| fault.of_files(chain, key));
        match Problems::refuse_any(problems.collect()) {
            Err(problems) => Failure::problems(problems, "nothing was changed"),
            Ok(()) => Failure::input("nothing was changed"),
        }
    };
    let read = reading::pair_of_files(chain, key).map_err(wrong)?;
    let known = asking::known(&socket, vec![read.digest])?;
    let (content, pair) = read.judge(&known, certificates::now()).map_err(wrong)?;
    if !known.contains_key(&content.digest) {
        asking::send(&socket, pair)?;
    }
    let question = Question::SetCertificate {
        name: call.name.clone(),
        digest: content.digest,
        how: call.change.how(),
    };
    finish(ask(&socket, &question, &call.change)?, output)
}

const CERTIFICATE_KEYS: &str =
    "a certificate has two keys, each a file in PEM: chain=FILE key=FILE";

/// Removes one object.
///
/// # Errors
/// As [`apply`].
pub(crate) fn delete(call: &cli::Delete, output: Output) -> Result<(), Failure> {
    let question = Question::Delete {
        kind: call.kind.clone(),
        name: call.name.clone(),
        how: call.change.how(),
    };
    let socket = control_socket(call.change.state.directory.as_deref())?;
    finish(ask(&socket, &question, &call.change)?, output)
}

/// Has a tenant or a site not served.
///
/// # Errors
/// As [`apply`].
pub(crate) fn suspend(call: &cli::Suspend, output: Output) -> Result<(), Failure> {
    let question = Question::Suspend {
        kind: call.kind.clone(),
        name: call.name.clone(),
        how: call.change.how(),
    };
    let socket = control_socket(call.change.state.directory.as_deref())?;
    finish(ask(&socket, &question, &call.change)?, output)
}

/// Has a suspended tenant or site served again.
///
/// # Errors
/// As [`apply`].
pub(crate) fn resume(call: &cli::Suspend, output: Output) -> Result<(), Failure> {
    let question = Question::Resume {
        kind: call.kind.clone(),
        name: call.name.clone(),
        how: call.change.how(),
    };
    let socket = control_socket(call.change.state.directory.as_deref())?;
    finish(ask(&socket, &question, &call.change)?, output)
}

/// Shows what is desired.
///
/// # Errors
/// Exit 1 when there is no such object, 3 when no `up` runs.
pub(crate) fn get(call: &cli::Get, output: Output) -> Result<(), Failure> {
    let is_of_zones = call.kind == "zone";
    if !is_of_zones && (call.no_check || !call.servers.is_empty()) {
        return Err(Failure::call(
            "--server and --no-check are for `meridianctl get zone NAME`",
        ));
    }
    let name = call.name.as_deref().map(|name| match is_of_zones {
        // As they are written everywhere else.
        true => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
        false => name.to_owned(),
    });
    let question = Question::Get {
        kind: call.kind.clone(),
        name,
    };
    let socket = control_socket(call.state.directory.as_deref())?;
    let answer: Value = ask_within(&socket, &question, CHANGE_WITHIN)?;
    if is_of_zones && call.name.is_some() {
        return zones::show(call, answer, output);
    }
    let is_empty = |it: &Value| it["objects"].as_array().is_some_and(Vec::is_empty);
    if is_empty(&answer) {
        output.note(|| format!("there is no {}", call.kind));
    }
    output.answer(|| objects(&answer), || answer.clone());
    Ok(())
}

fn control_socket(state: Option<&Path>) -> Result<std::path::PathBuf, Failure> {
    Ok(StateDirectory::resolve(state)?.control_socket())
}

fn ask<T: DeserializeOwned>(
    socket: &Path,
    question: &Question,
    change: &cli::Change,
) -> Result<T, Failure> {
    ask_within(socket, question, change.wait + CHANGE_WITHIN)
}

/// Asks a running `up` and waits `within` at most.
///
/// # Errors
/// What it refuses, or why it does not answer.
pub(crate) fn ask_within<T: DeserializeOwned>(
    socket: &Path,
    question: &Question,
    within: Duration,
) -> Result<T, Failure> {
    let mut line = serde_json::to_vec(question)
        .map_err(|error| Failure::input(format!("what was asked for has no JSON form: {error}")))?;
    line.push(b'\n');
    ask_line(socket, &line, within)
}

/// As [`ask_within`] with a question as it is sent.
///
/// # Errors
/// As there.
pub(crate) fn ask_line<T: DeserializeOwned>(
    socket: &Path,
    line: &[u8],
    within: Duration,
) -> Result<T, Failure> {
    let answer = plane_socket::exchange(socket, line, Instant::now() + within)
        .map_err(|error| unreachable(socket, &NoAnswer::of(&error, within)))?;
    let broken =
        |error: serde_json::Error| unreachable(socket, &NoAnswer::Broken(error.to_string()));
    let json: Value = serde_json::from_slice(&answer).map_err(broken)?;
    if json.get("error").is_some() {
        let refused: Refused = serde_json::from_value(json).map_err(broken)?;
        let exit = match refused.exit {
            2 => Exit::Call,
            4 => Exit::Refused,
            _ => Exit::Input,
        };
        return Err(Failure {
            exit,
            message: refused.error,
            problems: refused.problems,
        });
    }
    serde_json::from_value(json).map_err(broken)
}

fn unreachable(socket: &Path, why: &NoAnswer) -> Failure {
    let state = socket.parent().and_then(Path::parent).unwrap_or(socket);
    match why {
        NoAnswer::NotRunning => Failure::new(
            Exit::Unreachable,
            format!(
                "no meridianctl up runs on {}; start it, or name its directory with --state",
                state.display()
            ),
        ),
        NoAnswer::NotAllowed => Failure::new(
            Exit::Refused,
            format!("{}: this user may not ask there", socket.display()),
        ),
        why => Failure::new(Exit::Unreachable, format!("meridianctl up: {why}")),
    }
}

fn is_confirmed(seen: &Changed, deletes: usize) -> bool {
    let mut terminal = io::stderr().lock();
    let _ = writeln!(terminal, "{}", difference_text(&seen.changes));
    let _ = write!(terminal, "This deletes {deletes} object(s). Go on? [y/N] ");
    let _ = terminal.flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Says what came of a change.
fn finish(changed: Changed, output: Output) -> Result<(), Failure> {
    output.answer(|| text(&changed), || serde_json::json!(changed));
    if changed.dry_run || changed.live_at.is_some() {
        return Ok(());
    }
    Err(Failure {
        exit: Exit::Pending,
        message: String::new(),
        problems: None,
    })
}

fn text(changed: &Changed) -> String {
    let mut text = difference_text(&changed.changes);
    for key in &changed.restart {
        text.push_str(&format!(
            "{key} differs: it holds from the next start of meridianctl up\n"
        ));
    }
    if let Some(note) = &changed.note {
        text.push_str(&format!("{note}\n"));
    }
    let revision = changed.revision;
    text.push_str(&match (
        changed.dry_run,
        &changed.live_at,
        changed.changes.is_empty(),
    ) {
        (true, _, true) => format!("nothing would change; revision={revision}"),
        (true, _, false) => format!("not changed, as was asked; revision={revision}"),
        (false, Some(_), true) => format!("nothing to change; revision={revision} is live"),
        (false, Some(_), false) => format!("revision={revision} is live"),
        (false, None, _) => format!(
            "revision={revision} is accepted and not live everywhere: {}",
            changed.pending.join("; ")
        ),
    });
    text
}

fn difference_text(changes: &[Difference]) -> String {
    let mut text = String::new();
    for Difference { action, object } in changes.iter().take(DIFFERENCES_SHOWN) {
        text.push_str(&format!("{action} {object}\n"));
    }
    if let Some(more) = changes.len().checked_sub(DIFFERENCES_SHOWN + 1) {
        text.push_str(&format!("and {} more\n", more + 1));
    }
    text
}

fn objects(answer: &Value) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("OWNER", Align::Left),
        ("WHAT", Align::Left),
    ]);
    for object in answer["objects"].as_array().into_iter().flatten() {
        let word = |key: &str| object[key].as_str().unwrap_or("-").to_string();
        let words = |value: &Value| {
            let list = value.as_array().into_iter().flatten();
            let words: Vec<String> = list
                .map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_string))
                .collect();
            words.join(" ")
        };
        let expiry = object["not_after"].as_str().map(|not_after| {
            let state = match object["state"].as_str() {
                Some("expires_soon") => "expires soon: ",
                Some("expired") => "expired: ",
                _ => "until ",
            };
            format!("{state}{not_after}; {}", words(&object["names"]))
        });
        let what = match object.get("address") {
            Some(Value::String(address)) => address.clone(),
            Some(address) => shown_address(address) + &unusual(object),
            None if expiry.is_some() => expiry.unwrap_or_default(),
            None => ["hostnames", "backend_networks", "addresses", "nameservers"]
                .iter()
                .map(|key| words(&object[*key]))
                .find(|words| !words.is_empty())
                .unwrap_or_default(),
        };
        let what = match object["suspended"] {
            Value::Bool(true) => format!("suspended; {what}"),
            _ => what,
        };
        table.row(vec![word("full_name"), word("owner"), what]);
    }
    table.render()
}

/// What of a backend is not as by default, as a call of `set` writes it.
fn unusual(backend: &Value) -> String {
    let mut text = String::new();
    let usual = [
        ("weight", Value::from(1)),
        ("connections", Value::Null),
        ("backup", Value::from(false)),
        ("group", Value::Null),
    ];
    for (key, usual) in usual {
        match &backend[key] {
            Value::Null => {}
            value if *value == usual => {}
            Value::String(value) => text.push_str(&format!(" {key}={value}")),
            value => text.push_str(&format!(" {key}={value}")),
        }
    }
    text
}

/// The address of a backend, as a manifest writes it.
fn shown_address(address: &Value) -> String {
    let name = &address["name"];
    match (address["ip"].as_str(), name["host"].as_str()) {
        (Some(ip), _) => ip.to_string(),
        (None, Some(host)) => format!("{host}:{}", name["port"]),
        (None, None) => address.to_string(),
    }
}
