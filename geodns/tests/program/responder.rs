//! The real binary on a free port of loopback, with a state directory that is written here.

use meridian_model::config_log::journal;
use meridian_model::{Desired, Manifest, config_log};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_meridian-geodns");
/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The fleet's.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

const FLEET: &str = r#"
[fleet]
name = "example"
secret = "fleet.key"

[[group]]
name = "ams"
location = { lat = 52.37, lon = 4.90 }

[[group]]
name = "nyc"
location = { lat = 40.71, lon = -74.0 }

[[peer]]
name = "nyc-1"
group = "nyc"
addresses = ["198.51.100.1"]

[[tenant]]
name = "acme"

[[site]]
tenant = "acme"
name = "shop"
hostnames = ["shop.example.com"]
steering = "geo"
[[site.backend]]
address = "203.0.113.10:80"

[[site]]
tenant = "acme"
name = "www"
hostnames = ["www.example.com"]
[[site.backend]]
address = "203.0.113.12:80"

[[zone]]
name = "lb.example.net"
nameservers = ["ams-1", "nyc-1"]
apex = "acme/www"
ttl = 40
negative_ttl = 20
"#;

/// What a test says of the host and its zone.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    /// `[listen] dns`, where a port may be the kernel's choice.
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) workers: usize,
    /// Lines of `[dns]` and of its tables.
    pub(crate) dns: String,
    /// Name, type and data of records more.
    pub(crate) records: Vec<(String, String, String)>,
    /// Further lines.
    pub(crate) more: String,
}

impl Default for Declared {
    fn default() -> Declared {
        Declared {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            workers: 1,
            dns: String::new(),
            records: Vec::new(),
            more: String::new(),
        }
    }
}

impl Declared {
    pub(crate) fn with_records(records: &[(&str, &str, &str)]) -> Declared {
        let owned = records
            .iter()
            .map(|(name, rtype, data)| (name.to_string(), rtype.to_string(), data.to_string()));
        Declared {
            records: owned.collect(),
            ..Declared::default()
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "[host]\nname = \"ams-1\"\ngroup = \"ams\"\nworkers = {}\n\
             addresses = [\"192.0.2.1\", \"2001:db8::1\"]\n[listen]\ndns = [\"127.0.0.1:53\"]\n{}\n{FLEET}",
            self.workers, self.dns
        );
        for (name, rtype, data) in &self.records {
            text.push_str(&format!(
                "[[zone.record]]\nname = '{name}'\ntype = \"{rtype}\"\ndata = '{data}'\n"
            ));
        }
        text + &self.more
    }
}

/// A running responder.
pub(crate) struct Responder {
    child: Option<Child>,
    state: TempDir,
    desired: Desired,
    revision: u64,
    generation: u64,
    /// Where it answers, in the order of the addresses.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Responder {
    pub(crate) fn start(declared: &Declared) -> Responder {
        let state = tempfile::tempdir().expect("there is room for files");
        let path = state.path().join(meridian_model::fleet_secret::FILE);
        fs::create_dir_all(path.parent().expect("it is in a directory")).expect("it is made");
        fs::write(path, SECRET).expect("the state directory takes files");
        let mut responder = Responder {
            child: None,
            state,
            desired: Desired::default(),
            revision: 1,
            generation: 1,
            addresses: Vec::new(),
        };
        responder.write_generation(declared);
        responder.spawn();
        responder
    }

    /// With these static records.
    pub(crate) fn with_records(records: &[(&str, &str, &str)]) -> Responder {
        Responder::start(&Declared::with_records(records))
    }

    /// Starts the process, again when it ended, and waits for its ready line.
    pub(crate) fn spawn(&mut self) {
        let mut child = self.command().spawn().expect("the program is there");
        let output = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it can be read");
        let addresses = line
            .trim_end()
            .strip_prefix("ready revision=")
            .and_then(|rest| rest.split_once(" dns="))
            .unwrap_or_else(|| panic!("not ready: {line:?}"))
            .1
            .split(',');
        self.addresses = addresses
            .map(|it| it.parse().expect("an address"))
            .collect();
        self.child = Some(child);
    }

    /// The call of the program.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("--state").arg(self.state.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        let mut child = self.child.take().expect("it runs");
        loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One question over the local socket.
    pub(crate) fn ask(&self, line: &str) -> Value {
        let socket = self.state.path().join("run/geodns.sock");
        let mut stream = UnixStream::connect(socket).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is set");
        writeln!(stream, "{line}").expect("it reads");
        let mut answer = String::new();
        BufReader::new(stream)
            .read_line(&mut answer)
            .expect("it answers");
        serde_json::from_str(&answer).expect("it is JSON")
    }

    pub(crate) fn status(&self) -> Value {
        self.ask(r#"{"op":"status"}"#)
    }

    pub(crate) fn hits(&self, name: &str) -> u64 {
        let status = self.status();
        let limits = status["limits"].as_array().expect("a list");
        let limit = limits.iter().find(|it| it["name"] == name);
        limit.expect("it is told of")["hits"]
            .as_u64()
            .expect("a number")
    }

    /// Writes a whole generation.
    pub(crate) fn write_generation(&mut self, declared: &Declared) {
        let before = self.desired.clone();
        let text = declared.text();
        let manifest =
            Manifest::parse(&text, "test.toml").unwrap_or_else(|it| panic!("{it}\nof\n{text}"));
        let (mut local, mut desired) = manifest.into_parts();
        local.listen.dns = declared.listen.clone();
        desired.assign_ids(Some(&before));
        let directory = self.state.path().join("config");
        fs::create_dir_all(&directory).expect("the state directory takes files");
        let generation = self.generation;
        let header = config_log::Header {
            format: config_log::FORMAT,
            store: "test".to_owned(),
            revision: self.revision,
            generation,
        };
        let files = [
            ("local".to_owned(), config_log::encode_local(&local)),
            (
                format!("snapshot.{generation}"),
                config_log::encode(&header, &desired),
            ),
            (
                format!("journal.{generation}"),
                journal::encode_header(&header),
            ),
            ("current".to_owned(), format!("{generation}\n")),
        ];
        for (name, content) in files {
            fs::write(directory.join(name), content).expect("the directory takes files");
        }
        self.desired = desired;
    }

    /// The next generation, with the next revision.
    pub(crate) fn next_generation(&mut self, declared: &Declared) -> Value {
        self.generation += 1;
        self.revision += 1;
        self.write_generation(declared);
        self.announce()
    }

    /// Appends the next revision to the journal and announces it; what the responder says.
    pub(crate) fn change(&mut self, declared: &Declared) -> Value {
        self.revision += 1;
        let manifest = Manifest::parse(&declared.text(), "test.toml").expect("it is right");
        let (_, mut desired) = manifest.into_parts();
        desired.assign_ids(Some(&self.desired));
        let change = self.desired.change_to(&desired, self.revision);
        self.append(journal::encode_change(&change).as_bytes());
        self.desired = desired;
        self.announce()
    }

    /// Appends to the journal.
    pub(crate) fn append(&self, bytes: &[u8]) {
        let path = self.journal();
        let file = File::options().append(true).open(path);
        file.and_then(|mut file| file.write_all(bytes))
            .expect("the journal takes bytes");
    }

    fn journal(&self) -> std::path::PathBuf {
        let name = format!("config/journal.{}", self.generation);
        self.state.path().join(name)
    }

    pub(crate) fn announce(&self) -> Value {
        let length = fs::metadata(self.journal()).expect("it is there").len();
        let line = json!({ "op": "follow", "generation": self.generation, "length": length });
        self.ask(&line.to_string())
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// A socket that asks over UDP.
    pub(crate) fn client(&self) -> UdpSocket {
        let any = match self.address() {
            SocketAddr::V4(_) => "127.0.0.1:0",
            SocketAddr::V6(_) => "[::1]:0",
        };
        let client = UdpSocket::bind(any).expect("it binds");
        client.connect(self.address()).expect("it is set");
        client.set_read_timeout(Some(PATIENCE)).expect("it is set");
        client
    }

    /// The response over UDP.
    pub(crate) fn udp(&self, query: &[u8]) -> Vec<u8> {
        let client = self.client();
        client.send(query).expect("it goes");
        let mut response = vec![0; 65_536];
        let length = client.recv(&mut response).expect("it is answered");
        response.truncate(length);
        response
    }

    /// A connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is set");
        stream.set_nodelay(true).expect("it is set");
        stream
    }

    /// The response over TCP.
    pub(crate) fn tcp(&self, query: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(&framed(query)).expect("it reads");
        read_framed(&mut stream).expect("it is answered")
    }

    /// What a program of Debian's says that asks this responder.
    pub(crate) fn dig(&self, program: &str, arguments: &[&str]) -> String {
        let address = self.address();
        let port = address.port().to_string();
        let server = format!("@{}", address.ip());
        let Output { stdout, stderr, .. } = Command::new(program)
            .args([&server, "-p", &port])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; run scripts/setup"));
        String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A message behind its length.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// The next message; `None` when the connection ended before.
pub(crate) fn read_framed(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// Waits until it is so.
pub(crate) fn eventually(mut what: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
