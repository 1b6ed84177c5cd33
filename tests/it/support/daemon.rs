//! Runs the real binary: environment variables in; log lines, exit code and admin server out.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

use super::{TIMEOUT, TempDir, broker::run_command, eventually::eventually, metrics::Metrics, queues::Queues};

/// Shared, as building a client is slow. It pools no connections, as they would belong to one test's runtime.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).pool_max_idle_per_host(0);
    client.build().expect("a client")
});

/// Starts daemons, in a temporary working directory.
#[derive(Debug)]
pub(crate) struct DaemonBuilder {
    program: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    reads_log: bool,
    dir: Arc<TempDir>,
}

impl DaemonBuilder {
    /// `edna-courier run`.
    pub(crate) fn new() -> Self {
        Self::for_program(env!("CARGO_BIN_EXE_edna-courier"), &["run"])
    }

    /// Another program with the daemon's interface.
    pub(crate) fn for_program(program: &str, args: &[&str]) -> Self {
        let dir = Arc::new(TempDir::new("edna-courier-test-daemon"));
        let args = args.iter().map(ToString::to_string).collect();
        Self { program: program.to_owned(), args, env: BTreeMap::new(), reads_log: true, dir }
            .set("admin.listen", "127.0.0.1:0")
            .set("log.format", "json")
            .set("api.proxy", "none")
    }

    /// Runs the program by another one, which gets these arguments and the program's path.
    pub(crate) fn run_by(mut self, wrapper: &str, args: &[&str]) -> Self {
        let program = std::mem::replace(&mut self.program, wrapper.to_owned());
        self.args = args.iter().map(ToString::to_string).chain([program]).collect();
        self
    }

    /// Sets the broker and the prefix of these queues.
    pub(crate) fn queues(self, queues: &Queues) -> Self {
        self.set("broker.url", queues.broker().url()).set("broker.prefix", queues.prefix())
    }

    /// Sets a setting by its name in the configuration file, such as `limits.max_in_flight`.
    pub(crate) fn set(self, setting: &str, value: &str) -> Self {
        let name = format!("EDNA_COURIER__{}", setting.replace('.', "__").to_uppercase());
        self.env(&name, value)
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Reads the log up to the admin address and no further: its pipe fills up.
    pub(crate) fn leave_log_unread(mut self) -> Self {
        self.reads_log = false;
        self
    }

    /// The working directory of its daemons.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the daemon and waits until it has logged its admin address.
    pub(crate) async fn start(&self) -> Daemon {
        let daemon = self.spawn();
        let state = async || (daemon.admin_address(), daemon.exit_status());
        eventually!(TIMEOUT, state().await, |(a, exit)| a.is_some() || exit.is_some(), "the admin address in the log");
        assert!(daemon.admin_address().is_some(), "the daemon exited at start");
        daemon
    }

    /// Starts the daemon without waiting, for starts that must fail.
    pub(crate) fn spawn(&self) -> Daemon {
        let mut command = Command::new(&self.program);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EDNA_COURIER")) {
            command.env_remove(name);
        }
        command.args(&self.args).envs(&self.env).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.program));
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let stderr = child.stderr.take().expect("piped");
        let last = if self.reads_log { None } else { Some("admin_address") };
        let reader = collect_lines(stderr, Arc::clone(&lines), last);
        Daemon { pid: child.id(), child: Mutex::new(child), lines, reader: Some(reader), _dir: Arc::clone(&self.dir) }
    }
}

/// The result of the thread that reads the log: its pipe, which stays open until the thread is joined.
type LogReader = JoinHandle<BufReader<ChildStderr>>;

/// Collects all lines, or those up to the first that contains `last`.
fn collect_lines(stderr: ChildStderr, lines: Arc<Mutex<Vec<String>>>, last: Option<&'static str>) -> LogReader {
    thread::spawn(move || {
        let mut reader = BufReader::new(stderr);
        for line in reader.by_ref().split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let is_last = last.is_some_and(|last| line.contains(last));
            lines.lock().expect("not poisoned").push(line);
            if is_last {
                break;
            }
        }
        reader
    })
}

/// A running daemon; killed on drop. If the test panics, its log is printed.
#[derive(Debug)]
pub(crate) struct Daemon {
    pid: u32,
    child: Mutex<Child>,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<LogReader>,
    _dir: Arc<TempDir>,
}

impl Daemon {
    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal such as `TERM`, `INT` or `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        run_command(Command::new("kill").args(["-s", name, &self.pid.to_string()])).expect("the daemon runs");
    }

    /// Kills the process (SIGKILL) and waits for its end.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().expect("not poisoned");
        // An error means that it has already exited.
        drop(child.kill());
        child.wait().expect("a child of this process");
    }

    /// Waits until the process has exited and its log is complete. Returns the exit code, or 128 + n after signal n.
    pub(crate) async fn wait_exit(&self, deadline: Duration) -> i32 {
        let exited = |exit: &Option<ExitStatus>| exit.is_some() && self.log_is_complete();
        let exit = eventually!(deadline, self.exit_status(), exited, "the daemon's exit");
        exit.and_then(|exit| exit.code().or(exit.signal().map(|signal| 128 + signal)))
            .expect("an exit code or a signal")
    }

    /// Whether the process has not exited.
    pub(crate) fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    fn exit_status(&self) -> Option<ExitStatus> {
        self.child.lock().expect("not poisoned").try_wait().expect("a child of this process")
    }

    fn log_is_complete(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The log so far.
    pub(crate) fn log_text(&self) -> String {
        self.lines.lock().expect("not poisoned").join("\n")
    }

    /// The log lines that are JSON.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log_text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The admin server's address, once it is in the log.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.log().iter().find_map(|line| log_field(line, "admin_address")?.as_str()?.parse().ok())
    }

    /// Resident memory, in bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The largest resident memory so far, in bytes.
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect(field);
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// GETs a path of the admin server; returns status code and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.request(reqwest::Method::GET, path, None).await
    }

    /// POSTs to a path of the admin server, with an optional bearer token; returns status code and body.
    pub(crate) async fn post(&self, path: &str, token: Option<&str>) -> (u16, String) {
        self.request(reqwest::Method::POST, path, token).await
    }

    async fn request(&self, method: reqwest::Method, path: &str, token: Option<&str>) -> (u16, String) {
        let address = self.admin_address().expect("the admin address in the log");
        let mut request = CLIENT.request(method, format!("http://{address}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap_or_else(|e| panic!("{path}: {e}"));
        (response.status().as_u16(), response.text().await.expect("a body"))
    }

    /// The JSON of `/status`.
    pub(crate) async fn status(&self) -> Value {
        let (_, body) = self.get("/status").await;
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("/status is not JSON ({e}): {body}"))
    }

    /// The sum of all series with this name and at least these labels. Panics if there is none: all series exist, at zero,
    /// from the start.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let sum = Metrics::parse(&text).sum(name, labels);
        sum.unwrap_or_else(|| panic!("no series {name}{labels:?} in\n{text}"))
    }
}

/// A field of a JSON log line, at the top level or in `fields`.
pub(crate) fn log_field<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    line.get(name).or_else(|| line.get("fields")?.get(name))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        // The exit has closed the pipe, so the reader ends.
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
        if thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}\n---", self.log_text());
        }
    }
}
