//! Servers that others wrote, behind the proxy: what their access logs have is what they took
//! for requests.

use super::stage::TENANTS;
use crate::support::eventually;
use crate::support::plane::Reserved;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A program that serves both tenants, each at an address of its own and with a log of its own.
pub(super) struct Server {
    child: Child,
    directory: TempDir,
    pub(super) addresses: [SocketAddr; 2],
    _places: [Reserved; 2],
}

impl Server {
    /// nginx, if it is installed.
    pub(super) fn nginx() -> Option<Server> {
        Server::start("nginx", |directory, addresses| {
            let mut sites = String::new();
            for ((tenant, _), address) in TENANTS.iter().zip(addresses) {
                sites += &format!(
                    "server {{ listen {address} reuseport; access_log {directory}/{tenant}.log line;\n\
                     add_header X-Tenant {tenant} always; add_header X-Target $request_uri always;\n\
                     location / {{ return 200 \"{tenant} answers with secret-{tenant}\"; }} }}\n"
                );
            }
            let path = directory;
            let text = format!(
                "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ log_format line '$request'; client_body_temp_path {path}/body;\n\
                 proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;\n\
                 uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;\n{sites}}}\n"
            );
            (text, vec!["-e", "stderr", "-c"])
        })
    }

    /// Apache's httpd, if it is installed.
    pub(super) fn apache() -> Option<Server> {
        Server::start("apache2", |directory, addresses| {
            let mut sites = String::new();
            for ((tenant, host), address) in TENANTS.iter().zip(addresses) {
                sites += &format!(
                    "Listen {address}\n<VirtualHost {address}>\nServerName {host}\n\
                     CustomLog {directory}/{tenant}.log \"%r\"\n\
                     Header always set X-Tenant {tenant}\n\
                     Header always set X-Target \"expr=%{{THE_REQUEST}}\"\n</VirtualHost>\n"
                );
            }
            let modules: String = ["mpm_event", "authz_core", "dir", "headers"]
                .iter()
                .map(|name| {
                    format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
                })
                .collect();
            // Its children, which are to stop being root, must be able to read the files.
            let text = format!(
                "{modules}ServerRoot {directory}\nPidFile {directory}/pid\nServerName localhost\n\
                 ErrorLog {directory}/error.log\nListenCoresBucketsRatio 1\nDefaultRuntimeDir {directory}\n\
                 User www-data\nGroup www-data\nDocumentRoot {directory}/files\n\
                 FallbackResource /index.html\n{sites}"
            );
            (text, vec!["-X", "-f"])
        })
    }

    fn start(
        program: &'static str,
        configure: impl FnOnce(&str, [SocketAddr; 2]) -> (String, Vec<&'static str>),
    ) -> Option<Server> {
        if !Path::new("/usr/sbin").join(program).exists() {
            eprintln!("SKIPPED: {program} is not installed");
            return None;
        }
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path();
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path, readable).expect("it is ours");
        fs::create_dir(path.join("files")).expect("there is room");
        fs::write(path.join("files/index.html"), "an answer\n").expect("there is room");
        let places = [Reserved::new(), Reserved::new()];
        let addresses = [places[0].address, places[1].address];
        let text = path.to_str().expect("the system's path is text");
        let (text, arguments) = configure(text, addresses);
        fs::write(path.join("conf"), text).expect("there is room");
        let child = Command::new(Path::new("/usr/sbin").join(program))
            .args(arguments)
            .arg(path.join("conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let server = Server {
            child,
            directory,
            addresses,
            _places: places,
        };
        for address in addresses {
            let listens = eventually(20, || TcpStream::connect(address).is_ok());
            assert!(listens, "{program} does not listen: {}", server.errors());
        }
        Some(server)
    }

    /// The request lines that a tenant's log has so far.
    pub(super) fn log(&self, tenant: usize) -> Vec<String> {
        let name = format!("{}.log", TENANTS[tenant].0);
        let log = fs::read(self.directory.path().join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        text.lines().map(str::to_owned).collect()
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Apache takes its shared memory with it when it is asked to end.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        if !eventually(10, || {
            self.child.try_wait().is_ok_and(|ended| ended.is_some())
        }) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
