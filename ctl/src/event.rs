//! What `up` says while it runs: for people a sentence, for scripts a JSON
//! object on a line of its own.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::Duration;

use meridian_model::Problems;
use meridian_model::local::Listen;
use serde_json::{Value, json};

/// One thing that happened.
pub(crate) enum Event<'a> {
    /// The manifest is wrong, and the last good revision is served in its place.
    ManifestRefused {
        problems: &'a Problems,
        revision: u64,
    },
    /// Something is amiss and serving goes on.
    Warning(String),
    /// Every worker serves, for the first time.
    Ready { revision: u64, listen: &'a Listen },
    /// A plane ended by itself and is started again after `wait`.
    Died {
        plane: &'static str,
        how: Ended,
        wait: Duration,
    },
    /// A plane that had died serves again.
    ReadyAgain { plane: &'static str, revision: u64 },
    /// A plane takes long to get ready.
    Slow {
        plane: &'static str,
        after: Duration,
    },
}

/// How a plane came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It ran and ended.
    Exited(ExitStatus),
    /// It could not be started.
    NotStarted(std::io::Error),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Exited(status) => write!(f, "ended ({status})"),
            Ended::NotStarted(error) => write!(f, "could not be started ({error})"),
        }
    }
}

impl Event<'_> {
    /// The event as lines for people, without a final newline.
    pub(crate) fn text(&self) -> String {
        match self {
            Event::ManifestRefused { problems, revision } => {
                format!(
                    "{problems}\nmeridianctl: the manifest is not used; the last good revision, \
                     {revision}, is served"
                )
            }
            Event::Warning(what) => format!("meridianctl: {what}"),
            Event::Ready { revision, listen } => {
                let named = |kind: &str, addresses: &[SocketAddr]| {
                    let all: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
                    match all.is_empty() {
                        true => String::new(),
                        false => format!(" {kind}={}", all.join(",")),
                    }
                };
                let (http, https) = (named("http", &listen.http), named("https", &listen.https));
                let dns = named("dns", &listen.dns);
                format!("ready revision={revision}{http}{https}{dns}")
            }
            Event::Died { plane, how, wait } if wait.is_zero() => {
                format!("meridianctl: {plane} {how}; starting it again")
            }
            Event::Died { plane, how, wait } => format!(
                "meridianctl: {plane} {how}; starting it again in {:.1} s",
                wait.as_secs_f64()
            ),
            Event::ReadyAgain { plane, revision } => {
                format!("meridianctl: {plane} serves again revision={revision}")
            }
            Event::Slow { plane, after } => format!(
                "meridianctl: {plane} is not ready after {} s; still waiting",
                after.as_secs()
            ),
        }
    }

    /// The event as one JSON object; `event` says which.
    pub(crate) fn json(&self) -> Value {
        match self {
            Event::ManifestRefused { problems, revision } => {
                json!({"event": "manifest_refused", "problems": listed(problems), "revision": revision})
            }
            Event::Warning(what) => json!({"event": "warning", "what": what}),
            Event::Ready { revision, listen } => {
                let (http, https) = (&listen.http, &listen.https);
                let mut ready =
                    json!({"event": "ready", "revision": revision, "http": http, "https": https});
                if !listen.dns.is_empty() {
                    ready["dns"] = json!(listen.dns);
                }
                ready
            }
            Event::Died { plane, how, wait } => json!({
                "event": "died", "plane": plane, "how": how.to_string(),
                "restart_in_ms": wait.as_millis() as u64,
            }),
            Event::ReadyAgain { plane, revision } => {
                json!({"event": "ready_again", "plane": plane, "revision": revision})
            }
            Event::Slow { plane, after } => {
                json!({"event": "slow", "plane": plane, "after_s": after.as_secs()})
            }
        }
    }
}

/// Problems as a JSON list; those that were too many to keep are counted in a last one.
pub(crate) fn listed(problems: &Problems) -> Vec<Value> {
    let more = problems.not_shown();
    let counted = (more > 0).then(|| json!({"what": format!("and {more} more")}));
    problems
        .iter()
        .map(|problem| json!(problem))
        .chain(counted)
        .collect()
}
