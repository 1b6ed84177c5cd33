//! Third-party proxies, each a private process: tinyproxy (HTTP) and microsocks (SOCKS 5).

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use super::{TIMEOUT, TempDir, eventually::eventually};

const USER: &str = "user";
pub(crate) const PASSWORD: &str = "s3cret";

/// Runs the proxy and kills it at EOF on standard input: on drop, and when the test process ends.
const SHELL: &str = r#"trap '' INT TERM HUP; "$@" </dev/null >"$LOG" 2>&1 & cat >/dev/null; kill -9 $!; wait"#;

/// A running proxy that requires [`USER`] and [`PASSWORD`]; killed on drop.
pub(crate) struct ProxyServer {
    shell: Child,
    scheme: &'static str,
    port: u16,
    dir: TempDir,
}

impl ProxyServer {
    /// Starts tinyproxy; `None` if it is not installed.
    pub(crate) async fn http() -> Option<Self> {
        let (dir, port) = (TempDir::new("edna-courier-tinyproxy"), free_port());
        let file = dir.path().join("tinyproxy.conf");
        let text = format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth {USER} {PASSWORD}\n");
        fs::write(&file, text).expect("written");
        Self::start("http", port, dir, "tinyproxy", &["-d", "-c", &file.display().to_string()]).await
    }

    /// Starts microsocks; `None` if it is not installed.
    pub(crate) async fn socks() -> Option<Self> {
        let (dir, port) = (TempDir::new("edna-courier-microsocks"), free_port());
        let args = ["-i", "127.0.0.1", "-p", &port.to_string(), "-u", USER, "-P", PASSWORD];
        Self::start("socks5h", port, dir, "microsocks", &args).await
    }

    async fn start(scheme: &'static str, port: u16, dir: TempDir, program: &str, args: &[&str]) -> Option<Self> {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            eprintln!("skipped: {program} is not installed");
            return None;
        }
        let mut command = Command::new("sh");
        command.args(["-c", SHELL, "sh", program]).args(args).env("LOG", dir.path().join("log")).stdin(Stdio::piped());
        let shell = command.spawn().expect("a shell");
        eventually!(TIMEOUT, TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(), format!("{program} on {port}"));
        Some(Self { shell, scheme, port, dir })
    }

    /// The size of its log, which grows with each connection.
    pub(crate) fn log_bytes(&self) -> u64 {
        fs::metadata(self.dir.path().join("log")).map_or(0, |metadata| metadata.len())
    }

    /// The URL without credentials.
    pub(crate) fn origin(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// The URL with the required credentials.
    pub(crate) fn url(&self) -> String {
        format!("{}://{USER}:{PASSWORD}@127.0.0.1:{}", self.scheme, self.port)
    }
}

impl Drop for ProxyServer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}
