//! Metrics, as monitoring reads them: their names, that they agree with what else the plane says
//! of itself, and what it does with who asks too much.

use crate::sticky::SECRET;
use crate::support::eventually;
use crate::support::manifest::{Declared, EXPIRED};
use crate::support::peer::{Backend, End, PATIENCE, Peer, answer_each, field, ok, status};
use crate::support::plane::{Plane, Reserved, hits, number};
use meridian_model::limits::{
    METRICS_BACKENDS_MAX, METRICS_CERTIFICATES_MAX, METRICS_CONNECTIONS_MAX,
    METRICS_HEAD_BYTES_MAX, METRICS_SITES_MAX,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// Every family, with its type. A name that changes breaks somebody's alerts.
const FAMILIES: &[(&str, &str)] = &[
    ("meridian_access_log_fault", "gauge"),
    ("meridian_access_log_lines_total", "counter"),
    ("meridian_backend_connections", "gauge"),
    ("meridian_backend_draining", "gauge"),
    ("meridian_backend_failures_total", "counter"),
    ("meridian_backend_health_check_failures_total", "counter"),
    ("meridian_backend_health_checks_total", "counter"),
    ("meridian_backend_requests_in_flight", "gauge"),
    ("meridian_backend_requests_total", "counter"),
    ("meridian_backend_up", "gauge"),
    ("meridian_backend_weight", "gauge"),
    ("meridian_backends", "gauge"),
    ("meridian_build_info", "gauge"),
    ("meridian_certificate_expiration_timestamp_seconds", "gauge"),
    ("meridian_certificates", "gauge"),
    ("meridian_config_fault", "gauge"),
    ("meridian_config_revision", "gauge"),
    ("meridian_dns_config_revision", "gauge"),
    ("meridian_dns_connections_total", "counter"),
    ("meridian_dns_dropped_messages_total", "counter"),
    ("meridian_dns_group_answers_total", "counter"),
    ("meridian_dns_idle_closed_total", "counter"),
    ("meridian_dns_limit_hits_total", "counter"),
    ("meridian_dns_queries_total", "counter"),
    ("meridian_dns_receive_failures_total", "counter"),
    ("meridian_dns_responses_total", "counter"),
    ("meridian_dns_site_queries_total", "counter"),
    ("meridian_dns_subnet_responses_total", "counter"),
    ("meridian_dns_truncated_responses_total", "counter"),
    ("meridian_dns_unsent_responses_total", "counter"),
    ("meridian_dns_up", "gauge"),
    ("meridian_draining", "gauge"),
    ("meridian_http_bad_ends_total", "counter"),
    ("meridian_http_connections_total", "counter"),
    ("meridian_http_cross_group_total", "counter"),
    ("meridian_http_cut_total", "counter"),
    ("meridian_http_received_bytes_total", "counter"),
    ("meridian_http_refused_total", "counter"),
    ("meridian_http_requests_total", "counter"),
    ("meridian_http_response_latency_seconds", "histogram"),
    ("meridian_http_retries_total", "counter"),
    ("meridian_http_sent_bytes_total", "counter"),
    ("meridian_limit_hits_total", "counter"),
    ("meridian_metrics_backends_left_out", "gauge"),
    ("meridian_metrics_certificates_left_out", "gauge"),
    ("meridian_metrics_sites_left_out", "gauge"),
    ("meridian_pool_requests_waiting", "gauge"),
    ("meridian_ready", "gauge"),
    ("meridian_sites", "gauge"),
    ("meridian_worker_buffers", "gauge"),
    ("meridian_worker_buffers_in_use", "gauge"),
    ("meridian_worker_buffers_max", "gauge"),
    ("meridian_worker_busy_seconds_total", "counter"),
    ("meridian_worker_config_revision", "gauge"),
    ("meridian_worker_connections", "gauge"),
    ("meridian_worker_connections_accepted_total", "counter"),
    ("meridian_worker_connections_handed_over_total", "counter"),
    ("meridian_worker_ended", "gauge"),
    ("meridian_worker_idle_connections", "gauge"),
    ("meridian_worker_polling_seconds_total", "counter"),
    ("meridian_worker_requests_queued_total", "counter"),
    ("meridian_worker_requests_total", "counter"),
    ("meridian_worker_requests_waiting", "gauge"),
    ("meridian_worker_sockets", "gauge"),
    ("meridian_worker_sticky_kept_total", "counter"),
    ("meridian_worker_sticky_set_total", "counter"),
    ("meridian_worker_turns_total", "counter"),
    ("process_start_time_seconds", "gauge"),
];

/// A plane and where it tells its metrics.
struct Watched {
    plane: Plane,
    metrics: Reserved,
}

impl Watched {
    fn start(declared: Declared) -> Watched {
        let metrics = Reserved::new();
        let plane = Plane::start(&Declared {
            listen: format!("metrics = \"{}\"", metrics.address),
            ..declared
        });
        Watched { plane, metrics }
    }

    fn address(&self) -> SocketAddr {
        self.metrics.address
    }

    fn scrape(&self) -> Scrape {
        let mut client = Peer::connect(self.address());
        client.send(b"GET /metrics HTTP/1.1\r\nHost: m\r\n\r\n");
        let (head, body) = client.receive_response();
        assert_eq!(status(&head), 200);
        assert_eq!(
            field(&head, "content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        Scrape::parse(String::from_utf8(body).expect("it is text"))
    }
}

/// What a scrape found.
struct Scrape {
    text: String,
    /// The type of each family.
    types: BTreeMap<String, String>,
    /// By name and labels, as they were written.
    series: HashMap<String, f64>,
}

impl Scrape {
    /// Reads every line, and holds them against the format: help and type before the series of a
    /// family, no series twice.
    fn parse(text: String) -> Scrape {
        let (mut types, mut series) = (BTreeMap::new(), HashMap::new());
        let mut family = String::new();
        let mut helped = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("help has words");
                assert!(help.ends_with('.'), "{line}");
                helped = name.to_owned();
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type has a word");
                assert_eq!(helped, name, "help comes first");
                let before = types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} begins twice");
                family = name.to_owned();
                continue;
            }
            let (key, value) = line.rsplit_once(' ').expect("a series has a number");
            let name = key.split('{').next().unwrap_or_default();
            let suffix = name.strip_prefix(&family).unwrap_or_else(|| {
                panic!("{name} stands in the family {family}");
            });
            let suffixes: &[&str] = match types[&family].as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{line}");
            let value: f64 = value.parse().expect("a number");
            let before = series.insert(key.to_owned(), value);
            assert_eq!(before, None, "{key} stands there twice");
        }
        Scrape {
            text,
            types,
            series,
        }
    }

    fn get(&self, series: &str) -> f64 {
        let found = self.series.get(series);
        *found.unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    /// The sum of all series of this name.
    fn sum(&self, name: &str) -> f64 {
        let series = self.series.iter();
        let of_name = series.filter(|(key, _)| key.split('{').next() == Some(name));
        of_name.map(|(_, value)| value).sum()
    }

    fn count(&self, name: &str) -> usize {
        let keys = self.series.keys();
        keys.filter(|key| key.split('{').next() == Some(name))
            .count()
    }
}

/// What promtool says against it; none where there is no promtool, and that is said.
fn promtool(text: &str) -> Option<String> {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: promtool is not installed");
        return None;
    };
    let mut input = child.stdin.take().expect("it was asked for");
    input.write_all(text.as_bytes()).expect("it reads all");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool: {said}");
    Some(said)
}

/// Two sites with what each kind of series needs.
fn declared(backend: SocketAddr) -> Declared {
    Declared {
        workers: 2,
        host: "deny_networks = [\"192.0.2.0/24\"]".to_owned(),
        site_keys: "limits = { requests_per_second = 100000 }\npool = { queue = {} }\n".to_owned(),
        backend_keys: vec!["connections = 100".to_owned()],
        more: "[[site]]\ntenant = \"acme\"\nname = \"moved\"\nhostnames = [\"moved.test\"]\n\
               route = [{ match = { path = \"/\" }, redirect = { to = \"http://shop.test/\", \
               status = 301 } }]\n"
            .to_owned()
            + &certificate("shop"),
        ..Declared::with_backends([backend])
    }
}

fn certificate(name: &str) -> String {
    format!("[[certificate]]\ntenant = \"acme\"\nname = \"{name}\"\nchain = \"-\"\nkey = \"-\"\n")
}

/// Those that expire first have series, however many there are; and status has all of them.
#[test]
fn the_end_of_certificates_is_told() {
    let mut declared = declared(serving_backend());
    for name in ["valid", "soon", "expired"] {
        declared.more += &certificate(name);
    }
    let mut watched = Watched::start(declared.clone());
    let series = |name: &str| {
        format!(
            "meridian_certificate_expiration_timestamp_seconds{{tenant=\"acme\",certificate=\"{name}\"}}"
        )
    };
    let scrape = watched.scrape();
    assert_eq!(scrape.get("meridian_certificates"), 4.0);
    assert_eq!(scrape.get(&series("expired")), EXPIRED as f64);
    let status = watched.plane.status();
    let told: Vec<(&str, &str)> = (status["certificates"].as_array().expect("a list").iter())
        .map(|it| (it["certificate"].as_str(), it["state"].as_str()))
        .map(|(name, state)| (name.unwrap_or_default(), state.unwrap_or_default()))
        .collect();
    assert_eq!(
        told,
        [
            ("acme/expired", "expired"),
            ("acme/soon", "expires_soon"),
            ("acme/shop", "valid"),
            ("acme/valid", "valid"),
        ]
    );
    for number in 0..METRICS_CERTIFICATES_MAX {
        declared.more += &certificate(&format!("c{number}"));
    }
    watched.plane.reload(&declared);
    let scrape = watched.scrape();
    assert_eq!(
        scrape.get("meridian_certificates"),
        4.0 + METRICS_CERTIFICATES_MAX as f64
    );
    assert_eq!(scrape.get("meridian_metrics_certificates_left_out"), 4.0);
    let name = "meridian_certificate_expiration_timestamp_seconds";
    assert_eq!(scrape.count(name), METRICS_CERTIFICATES_MAX);
    assert_eq!(scrape.get(&series("expired")), EXPIRED as f64);
    assert!(scrape.get(&series("soon")) > EXPIRED as f64);
    watched.plane.finish();
}

fn exchange(client: &mut Peer, request: &str) -> u16 {
    client.send(request.as_bytes());
    status(&client.receive_response().0)
}

fn serving_backend() -> SocketAddr {
    let reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    Backend::new().serve(|peer| answer_each(peer, |_| reply.to_vec()))
}

/// A stand-in for a responder: what it says, whoever asks.
fn responder(state: &Path) {
    let socket = state.join("run/geodns.sock");
    let listener = UnixListener::bind(socket).expect("the plane has made the directory");
    let status = json!({
        "program": "geodns", "revision": 3,
        "counters": {
            "queries": { "udp": 7, "tcp": 2 }, "responses": { "service": 8 }, "with_subnet": 5,
            "truncated": 0, "dropped": { "response": 1 }, "unsent": 0, "receive_failures": 0,
            "connections": 1, "idle_closed": 0, "groups": { "ams": 4 },
        },
        "limits": [{ "name": "dns_rate_dropped", "hits": 6 }],
    });
    let mut row = [0_u64; 29];
    (row[0], row[14]) = (u64::MAX, 9);
    let usage = json!({
        "epoch": "00112233445566778899aabbccddeeff", "host": "h1", "open_slot": 1, "sites": [row.to_vec()],
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut question = String::new();
            let mut reader = BufReader::new(&stream);
            reader.read_line(&mut question).expect("it asks");
            let answer = if question.contains("usage") {
                &usage
            } else {
                &status
            };
            writeln!(&stream, "{answer}").expect("it reads");
        }
    });
}

#[test]
fn all_names_and_types_are_as_they_were_promised() {
    let log = tempfile::tempdir().expect("there is room");
    let watched = Watched::start(Declared {
        log: Some(log.path().join("access.log")),
        ..declared(serving_backend())
    });
    let mut client = Peer::connect(watched.plane.address());
    assert_eq!(
        exchange(&mut client, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"),
        200
    );
    drop(client);
    assert_eq!(
        watched.scrape().count("meridian_dns_up"),
        0,
        "nobody answers DNS"
    );
    responder(watched.plane.state());
    let scrape = watched.scrape();
    for (series, value) in [
        ("meridian_dns_up", 1.0),
        ("meridian_dns_config_revision", 3.0),
        ("meridian_dns_queries_total{transport=\"udp\"}", 7.0),
        ("meridian_dns_responses_total{kind=\"service\"}", 8.0),
        ("meridian_dns_group_answers_total{group=\"ams\"}", 4.0),
        (
            "meridian_dns_limit_hits_total{limit=\"dns_rate_dropped\"}",
            6.0,
        ),
        (
            "meridian_dns_site_queries_total{tenant=\"-\",site=\"-\"}",
            9.0,
        ),
    ] {
        assert_eq!(scrape.get(series), value, "{series}");
    }
    let types: Vec<(&str, &str)> = (scrape.types.iter())
        .map(|(name, kind)| (&**name, &**kind))
        .collect();
    assert_eq!(types, FAMILIES);
    for (name, kind) in FAMILIES {
        let suffix = if *kind == "histogram" { "_count" } else { "" };
        assert!(
            scrape.count(&format!("{name}{suffix}")) > 0,
            "{name} has no series"
        );
    }
    // What is written for operators names the same ones.
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let page = std::fs::read_to_string(page).expect("it is part of the tree");
    for (name, kind) in FAMILIES {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/operations.md has no row for {name}"));
        assert!(row.contains(&format!("| {kind} |")), "{row}");
    }
    if let Some(said) = promtool(&scrape.text) {
        assert_eq!(said, "", "promtool has something to say");
    }
    watched.plane.finish();
}

/// Sends what moves counters of each kind: of two sites, and of none.
fn load(plane: &Plane) {
    let mut clients: Vec<Peer> = (0..4).map(|_| Peer::connect(plane.address())).collect();
    for turn in 0..40 {
        let client = &mut clients[turn % 4];
        let host = match turn % 10 {
            7 => "moved.test",
            8 => "nobody.test",
            _ => "shop.test",
        };
        let wanted = match host {
            "moved.test" => 301,
            "nobody.test" => 404,
            _ => 200,
        };
        let request = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc");
        client.send(request.as_bytes());
        let (head, _) = client.receive_response();
        assert_eq!(status(&head), wanted);
        // Where the body is not of interest.
        if field(&head, "connection") == Some("close") {
            *client = Peer::connect(plane.address());
        }
    }
}

fn of_site(status: &Value, name: &str) -> Value {
    let sites = status["sites"].as_array().expect("there are sites");
    let site = sites.iter().find(|site| site["site"] == name);
    site.expect("it is served").clone()
}

#[test]
fn they_agree_with_status_and_usage() {
    let watched = Watched::start(declared(serving_backend()));
    let plane = &watched.plane;
    load(plane);
    let told = plane.settle();
    let scrape = watched.scrape();
    for site in ["shop", "moved"] {
        let row = of_site(&told, site);
        let labels = format!("tenant=\"acme\",site=\"{site}\"");
        for (code, column) in [
            ("2xx", "responses_2xx"),
            ("3xx", "responses_3xx"),
            ("4xx", "responses_4xx"),
            ("5xx", "responses_5xx"),
        ] {
            let series = format!("meridian_http_requests_total{{{labels},code=\"{code}\"}}");
            assert_eq!(scrape.get(&series), number(&row, column) as f64, "{series}");
        }
        for (name, column) in [
            ("received_bytes", "bytes_in"),
            ("sent_bytes", "bytes_out"),
            ("connections", "connections"),
            ("retries", "retries"),
            ("refused", "refused"),
            ("cut", "cut"),
            ("cross_group", "cross_group"),
        ] {
            let series = format!("meridian_http_{name}_total{{{labels}}}");
            assert_eq!(scrape.get(&series), number(&row, column) as f64, "{series}");
        }
        check_histogram(&scrape, &labels, number(&row, "requests") as f64);
    }
    let labels = "tenant=\"acme\",site=\"shop\",code=\"2xx\"";
    assert_eq!(
        scrape.get(&format!("meridian_http_requests_total{{{labels}}}")),
        32.0
    );
    check_against_usage(plane, &scrape);
    check_host(&told, &scrape);
    let drain = r#"{"op":"drain","backend":"acme/shop/default/b1"}"#;
    assert_eq!(plane.ask(drain).expect("it answers")["draining"], true);
    let scrape = watched.scrape();
    assert_eq!(scrape.get("meridian_backends{state=\"draining\"}"), 1.0);
    assert_eq!(scrape.sum("meridian_backend_draining"), 1.0);
    assert_eq!(scrape.sum("meridian_backend_up"), 1.0, "it is well");
    watched.plane.finish();
}

/// Buckets only grow, and the last has all.
fn check_histogram(scrape: &Scrape, labels: &str, requests: f64) {
    let name = "meridian_http_response_latency_seconds";
    let bounds = [
        "0.000064",
        "0.000256",
        "0.001024",
        "0.004096",
        "0.016384",
        "0.065536",
        "0.262144",
        "1.048576",
        "4.194304",
        "16.777216",
        "+Inf",
    ];
    let buckets = bounds.map(|le| scrape.get(&format!("{name}_bucket{{{labels},le=\"{le}\"}}")));
    assert!(buckets.is_sorted(), "{buckets:?}");
    assert_eq!(buckets[10], requests);
    assert_eq!(scrape.get(&format!("{name}_count{{{labels}}}")), requests);
    let sum = scrape.get(&format!("{name}_sum{{{labels}}}"));
    // Each took at least as long as its bucket says, and none longer than the test may.
    assert!(sum > 0.0 && sum < 100.0, "{sum}");
    let least: f64 = (1..10)
        .map(|at| (buckets[at] - buckets[at - 1]) * bounds[at - 1].parse::<f64>().expect("digits"))
        .sum();
    assert!(sum >= least, "{sum} of at least {least}");
}

/// Of all sites and of none, as it is billed.
fn check_against_usage(plane: &Plane, scrape: &Scrape) {
    let usage = plane.ask(r#"{"op":"usage"}"#).expect("it answers");
    let sites = usage["sites"].as_array().expect("there are sites");
    assert_eq!(sites.len(), 3, "two, and what belongs to none");
    let sum_of = |column: usize| -> f64 {
        let numbers = sites.iter().map(|site| site[1 + column].as_u64());
        numbers
            .map(|number| number.expect("it is one") as f64)
            .sum()
    };
    assert_eq!(scrape.sum("meridian_http_requests_total"), sum_of(0));
    assert_eq!(scrape.sum("meridian_http_received_bytes_total"), sum_of(5));
    assert_eq!(scrape.sum("meridian_http_sent_bytes_total"), sum_of(6));
    let nobody = "meridian_http_requests_total{tenant=\"-\",site=\"-\",code=\"4xx\"}";
    assert_eq!(scrape.get(nobody), 4.0);
}

fn check_host(told: &Value, scrape: &Scrape) {
    for limit in told["limits"].as_array().expect("there are limits") {
        let name = limit["name"].as_str().expect("it has a name");
        let series = match limit["fault"].as_str() {
            Some(fault) => {
                format!("meridian_http_bad_ends_total{{cause=\"{name}\",fault=\"{fault}\"}}")
            }
            None => format!("meridian_limit_hits_total{{limit=\"{name}\"}}"),
        };
        assert_eq!(scrape.get(&series), hits(told, name) as f64, "{series}");
    }
    assert_eq!(hits(told, "no_site"), 4);
    for worker in told["workers"].as_array().expect("there are workers") {
        let label = format!("worker=\"{}\"", worker["worker"]);
        for (name, counter) in [
            ("connections_accepted_total", "accepted"),
            ("connections", "connections"),
            ("idle_connections", "idle_connections"),
            ("requests_total", "requests"),
            ("config_revision", "revision"),
            ("buffers_max", "buffers_max"),
            ("requests_queued_total", "queued"),
            ("sticky_set_total", "sticky_set"),
        ] {
            let series = format!("meridian_worker_{name}{{{label}}}");
            assert_eq!(
                scrape.get(&series),
                number(worker, counter) as f64,
                "{series}"
            );
        }
        let busy = scrape.get(&format!("meridian_worker_busy_seconds_total{{{label}}}"));
        assert!(busy > 0.0 && busy < 600.0, "{busy}");
        for part in ["time", "connections", "buffers"] {
            let left = worker["headroom"][part].as_f64().expect("it is a share");
            assert!((0.0..=1.0).contains(&left), "{worker}");
        }
    }
    let backend = &told["backends"][0];
    let address = backend["address"].as_str().expect("it has one");
    let labels = format!(
        "tenant=\"acme\",site=\"shop\",pool=\"default\",backend=\"b1\",address=\"{address}\""
    );
    for (name, counter) in [
        ("requests_total", "requests"),
        ("failures_total", "failures"),
        ("connections", "connections"),
        ("requests_in_flight", "in_flight"),
        ("weight", "weight"),
        ("health_checks_total", "checks"),
    ] {
        let series = format!("meridian_backend_{name}{{{labels}}}");
        assert_eq!(
            scrape.get(&series),
            number(backend, counter) as f64,
            "{series}"
        );
    }
    assert_eq!(scrape.get(&format!("meridian_backend_up{{{labels}}}")), 1.0);
    for (series, value) in [
        ("meridian_config_revision", 1.0),
        ("meridian_config_fault", 0.0),
        ("meridian_sites", 2.0),
        ("meridian_ready", 1.0),
        ("meridian_draining", 0.0),
        ("meridian_backends{state=\"unchecked\"}", 1.0),
        ("meridian_backends{state=\"up\"}", 0.0),
        ("meridian_backends{state=\"draining\"}", 0.0),
        ("meridian_metrics_sites_left_out", 0.0),
        ("meridian_metrics_backends_left_out", 0.0),
    ] {
        assert_eq!(scrape.get(series), value, "{series}");
    }
}

/// Who waits for room at a full backend, and whose cookie is given, kept or not known.
#[test]
fn who_waits_and_who_stays_is_counted() {
    let (permits, permitted) = mpsc::channel::<()>();
    let permitted = Arc::new(Mutex::new(permitted));
    let backend = Backend::new().serve(move |peer| {
        let permitted = Arc::clone(&permitted);
        answer_each(peer, move |_| {
            let _ = permitted.lock().expect("nobody panicked").recv();
            ok(b"ok")
        });
    });
    let metrics = Reserved::new();
    let declared = Declared {
        listen: format!("metrics = \"{}\"", metrics.address),
        site_keys: "pool = { queue = { requests = 5, timeout = \"1m\" }, \
                    sticky = { cookie = \"MSRV\" } }\n"
            .to_owned(),
        backend_keys: vec!["connections = 1".to_owned()],
        ..Declared::with_backends([backend])
    };
    let plane = Plane::start_with_secret(&declared, SECRET);
    let watched = Watched { plane, metrics };
    let waiting = |count: f64| {
        let now = || watched.scrape().sum("meridian_worker_requests_waiting");
        assert!(eventually(20, || now() == count), "{} wait", now());
        let of_pool = "{tenant=\"acme\",site=\"shop\",pool=\"default\"}";
        let series = format!("meridian_pool_requests_waiting{of_pool}");
        assert_eq!(watched.scrape().get(&series), count);
        let pools = &watched.plane.status()["pools"];
        let row = serde_json::json!([{ "pool": "acme/shop/default", "waiting": count as u64, "waiting_max": 5 }]);
        assert_eq!(*pools, row);
    };
    let mut clients = [(); 2].map(|()| Peer::connect(watched.plane.address()));
    for (client, count) in clients.iter_mut().zip([0.0, 1.0]) {
        client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert!(eventually(20, || watched.plane.backend(0, "in_flight") == 1));
        waiting(count);
    }
    (0..4).for_each(|_| permits.send(()).expect("the backend listens"));
    let heads = clients.each_mut().map(|it| it.receive_response().0);
    waiting(0.0);
    let cookie = field(&heads[0], "set-cookie").expect("it is given one");
    let cookie = cookie.split(';').next().unwrap_or_default();
    for cookie in [cookie, "MSRV=nobodys"] {
        let request = format!("GET / HTTP/1.1\r\nHost: shop.test\r\nCookie: {cookie}\r\n\r\n");
        assert_eq!(exchange(&mut clients[0], &request), 200);
    }
    let scrape = watched.scrape();
    assert_eq!(scrape.sum("meridian_worker_requests_queued_total"), 1.0);
    assert_eq!(scrape.sum("meridian_worker_sticky_set_total"), 3.0);
    assert_eq!(scrape.sum("meridian_worker_sticky_kept_total"), 1.0);
    let unknown = "meridian_limit_hits_total{limit=\"sticky_unknown\"}";
    assert_eq!(scrape.get(unknown), 1.0);
    drop(clients);
    watched.plane.stop();
}

#[test]
fn a_backend_that_is_down_and_a_revision_that_is_damaged_are_seen() {
    // Reserved and no listener: connections are refused.
    let nobody = Reserved::new();
    let health = "pool = { health = { interval = \"200ms\", timeout = \"200ms\", fall = 2 } }\n";
    let declared = Declared {
        site_keys: health.to_owned(),
        ..Declared::with_backends([nobody.address])
    };
    let mut watched = Watched::start(declared.clone());
    let labels = format!(
        "{{tenant=\"acme\",site=\"shop\",pool=\"default\",backend=\"b1\",address=\"{}\"}}",
        nobody.address
    );
    let mut client = Peer::connect(watched.plane.address());
    exchange(&mut client, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let is_seen = eventually(10, || {
        let scrape = watched.scrape();
        let of_backend = |name: &str| scrape.get(&format!("meridian_backend_{name}{labels}"));
        scrape.get("meridian_backends{state=\"down\"}") == 1.0
            && of_backend("up") == 0.0
            && of_backend("health_check_failures_total") >= 2.0
            && of_backend("health_check_failures_total") == of_backend("health_checks_total")
    });
    assert!(is_seen, "{}", watched.scrape().text);
    let listen = format!("metrics = \"{}\"", watched.address());
    watched.plane.write_and_damage(&Declared {
        listen,
        hostnames: vec!["other.test".to_owned()],
        ..declared
    });
    watched.plane.announce();
    assert_eq!(watched.scrape().get("meridian_config_fault"), 1.0);
    assert_eq!(watched.scrape().get("meridian_config_revision"), 1.0);
    drop(client);
    watched.plane.stop();
}

#[test]
fn nothing_else_is_answered_with_metrics() {
    let watched = Watched::start(declared(serving_backend()));
    let ask = |request: &str| {
        let mut client = Peer::connect(watched.address());
        client.send(request.as_bytes());
        let (bytes, end) = client.receive_all(PATIENCE);
        assert_eq!(end, End::Closed, "{request}");
        let text = String::from_utf8(bytes).expect("it is text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        (format!("{head}\r\n\r\n"), body.to_owned())
    };
    let (head, body) = ask("HEAD /metrics HTTP/1.1\r\nHost: m\r\n\r\n");
    assert_eq!((status(&head), &*body), (200, ""));
    let length = field(&head, "content-length").expect("it is told");
    assert!(length.parse::<usize>().expect("a number") > 1000);
    let (head, _) = ask("POST /metrics HTTP/1.1\r\nHost: m\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(
        (status(&head), field(&head, "allow")),
        (405, Some("GET, HEAD"))
    );
    let long = format!(
        "GET /metrics HTTP/1.1\r\nHost: m\r\nX: {}\r\n\r\n",
        "x".repeat(2 * METRICS_HEAD_BYTES_MAX)
    );
    for (request, wanted) in [
        ("GET / HTTP/1.1\r\nHost: m\r\n\r\n", 404),
        ("GET /metrics/x HTTP/1.1\r\nHost: m\r\n\r\n", 404),
        ("GET /metrics HTTP/1.1\r\n\r\n", 400),
        ("\u{1}\u{2}\r\n\r\n", 400),
        (&long, 431),
        ("GET /metrics?x HTTP/1.0\r\n\r\n", 200),
    ] {
        let (head, _) = ask(request);
        assert_eq!(status(&head), wanted, "{head}");
    }
    watched.plane.finish();
}

#[test]
fn who_asks_slowly_or_often_holds_nobody_up() {
    let watched = Watched::start(declared(serving_backend()));
    let mut slow: Vec<Peer> = (0..METRICS_CONNECTIONS_MAX)
        .map(|_| Peer::connect(watched.address()))
        .collect();
    for client in &mut slow {
        client.send(b"GET /metrics HT");
    }
    // The listener takes them in order.
    let mut one_more = Peer::connect(watched.address());
    let (bytes, _) = one_more.receive_all(PATIENCE);
    assert!(bytes.is_empty());
    assert_eq!(watched.plane.hits("metrics_connections"), 1);
    // Clients and the local socket are not held up.
    let mut client = Peer::connect(watched.plane.address());
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    assert_eq!(exchange(&mut client, request), 200);
    drop(client);
    for client in &mut slow {
        let (bytes, end) = client.receive_all(4 * PATIENCE);
        assert!(bytes.is_empty() && end != End::Open, "{end:?}");
    }
    let works = eventually(5, || {
        let mut client = Peer::connect(watched.address());
        client.send(b"GET /metrics HTTP/1.1\r\nHost: m\r\n\r\n");
        client.receive(12, Duration::from_secs(5)) == b"HTTP/1.1 200"
    });
    assert!(works);
    let scrape = watched.scrape();
    let turned_away = scrape.get("meridian_limit_hits_total{limit=\"metrics_connections\"}");
    assert!(turned_away >= 1.0);
    watched.plane.finish();
}

/// More sites with traffic and more backends than have series.
#[test]
fn series_are_bounded_and_what_is_left_out_is_counted() {
    const OVER: usize = 3;
    /// What belongs to no site has series from the start.
    const NOBODY: usize = 1;
    let answers = "route = [{ match = { path = \"/\" }, respond = { body = \"hi\" } }]\n";
    let mut more = String::new();
    for site in 1..METRICS_SITES_MAX + OVER {
        write!(
            more,
            "[[site]]\ntenant = \"acme\"\nname = \"s{site}\"\nhostnames = [\"s{site}.test\"]\n{answers}"
        )
        .expect("a String takes every text");
    }
    let backends: Vec<SocketAddr> = (0..METRICS_BACKENDS_MAX + OVER)
        .map(|at| SocketAddr::from(([127, 1, (at >> 8) as u8, at as u8], 80)))
        .collect();
    let pools = (0..backends.len()).map(|at| format!("p{}", at / 1000));
    let pool_names = (0..=backends.len() / 1000).map(|at| format!("{{ name = \"p{at}\" }}"));
    let declared_pools = pool_names.collect::<Vec<_>>().join(", ");
    let watched = Watched::start(Declared {
        site_keys: format!("pool = [{declared_pools}]\n{answers}"),
        pools: pools.collect(),
        more,
        ..Declared::with_backends(backends)
    });
    let mut client = Peer::connect(watched.plane.address());
    let mut ask = |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(exchange(&mut client, &request), 200, "{host}");
    };
    ask("shop.test");
    ask("s1.test");
    let scrape = watched.scrape();
    assert_eq!(scrape.count("meridian_http_sent_bytes_total"), 2 + NOBODY);
    assert_eq!(scrape.count("meridian_backend_up"), METRICS_BACKENDS_MAX);
    assert_eq!(
        scrape.get("meridian_metrics_backends_left_out"),
        OVER as f64
    );
    assert_eq!(
        scrape.get("meridian_backends{state=\"unchecked\"}"),
        (METRICS_BACKENDS_MAX + OVER) as f64
    );
    for site in 2..METRICS_SITES_MAX + OVER {
        ask(&format!("s{site}.test"));
    }
    let scrape = watched.scrape();
    assert_eq!(
        scrape.count("meridian_http_sent_bytes_total"),
        METRICS_SITES_MAX + NOBODY
    );
    assert_eq!(scrape.get("meridian_metrics_sites_left_out"), OVER as f64);
    assert_eq!(
        scrape.sum("meridian_worker_requests_total"),
        (METRICS_SITES_MAX + OVER) as f64,
        "all of them are in what the host has"
    );
    drop(client);
    watched.plane.finish();
}
