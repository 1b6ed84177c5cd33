//! A private Redis server process on a free port, with its files in a temporary directory.
//!
//! Uses no other test support, as the library's unit tests include this file.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The parent process of the server. It prints the server's process id once the server answers, and kills the server at EOF
/// on standard input: when the server is stopped, or when this process ends, even by `kill -9`.
const SHELL: &str = r#"
trap '' INT TERM HUP
redis-server "$@" </dev/null >>console.log 2>&1 &
server=$!
until redis-cli -p "$PORT" ping >/dev/null 2>&1; do
    kill -0 "$server" || exit 1
    sleep 0.05
done
echo "$server"
cat >/dev/null
kill -9 "$server"
wait
[ -e keep ] || rm -rf "$PWD"
"#;

/// A Redis server; dropping it kills the process and removes its files.
#[derive(Debug)]
pub(crate) struct Redis {
    dir: PathBuf,
    port: u16,
    args: Vec<String>,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    shell: Child,
    id: String,
}

impl Redis {
    /// Starts a server with an append-only file and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--appendonly", "yes"])
    }

    /// Starts a server with these `redis-server` arguments, besides port and directory.
    pub(crate) fn start_with(args: &[&str]) -> Self {
        let name = format!("edna-courier-redis-{:08x}", fastrand::u32(..));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).expect("the temporary directory is writable");
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut redis = Self { dir, port: free_port(), args, process: None };
        redis.start_again();
        redis
    }

    /// Starts the stopped server again, with the same data and port.
    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server is stopped");
        drop(fs::remove_file(self.dir.join("keep")));
        let port = self.port.to_string();
        let mut shell = Command::new("sh")
            .args(["-c", SHELL, "redis"])
            .args(&self.args)
            .args(["--port", &port, "--bind", "127.0.0.1", "--dir", "."])
            .env("PORT", &port)
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // In its own process group, so that Ctrl-C on the terminal does not reach it.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let mut id = String::new();
        let read = BufReader::new(shell.stdout.as_mut().expect("piped")).read_line(&mut id);
        if read.is_err() || id.trim().is_empty() {
            let log = fs::read_to_string(self.dir.join("console.log")).unwrap_or_default();
            panic!("redis-server did not start (Debian package: redis-server); its log: {log}");
        }
        self.process = Some(Process { shell, id: id.trim().to_owned() });
    }

    /// Kills the server. With `--appendonly yes`, acknowledged writes are on disk.
    pub(crate) fn stop(&mut self) {
        fs::write(self.dir.join("keep"), "").expect("a writable directory");
        self.kill();
    }

    fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        drop(process.shell.stdin.take());
        process.shell.wait().expect("a child of this process");
    }

    /// Suspends the server (SIGSTOP): it stops answering and keeps its connections.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Resumes the server (SIGCONT), which then answers pending requests.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("the server runs");
        let sent = Command::new("kill").args(["-s", name, &process.id]).status().expect("kill");
        assert!(sent.success(), "the server has exited");
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The value for `journal.redis_url`.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address())
    }

    /// The output of `redis-cli` for a command.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(args).output().expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The directory of its files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        match self.process {
            Some(_) => self.kill(),
            None => drop(fs::remove_dir_all(&self.dir)),
        }
    }
}

/// A currently free port.
pub(crate) fn free_port() -> u16 {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.expect("a free port").port()
}
