//! The real binary as a black box: environment variables in, log lines, exit code and admin server out.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

use super::{OwnDir, SOON, broker::output, eventually::eventually, metrics::Metrics, queues::Queues};

/// Making one costs more than asking with it. It keeps no connection, as that would belong to one test's runtime.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let client = reqwest::Client::builder().no_proxy().timeout(SOON).pool_max_idle_per_host(0);
    client.build().expect("a client")
});

/// How a daemon is started, in a working directory of its own.
#[derive(Debug)]
pub(crate) struct Setup {
    program: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    dir: Arc<OwnDir>,
}

impl Setup {
    /// `edna-courier run`.
    pub(crate) fn new() -> Self {
        Self::of(env!("CARGO_BIN_EXE_edna-courier"), &["run"])
    }

    /// Any program that behaves like the daemon.
    pub(crate) fn of(program: &str, args: &[&str]) -> Self {
        let dir = Arc::new(OwnDir::new("edna-courier-test-daemon"));
        let args = args.iter().map(ToString::to_string).collect();
        Self { program: program.to_owned(), args, env: BTreeMap::new(), dir }
            .set("admin.listen", "127.0.0.1:0")
            .set("log.format", "json")
            .set("api.proxy", "none")
    }

    /// On these queues.
    pub(crate) fn on(self, queues: &Queues) -> Self {
        self.set("broker.url", queues.broker().url()).set("broker.prefix", queues.prefix())
    }

    /// Sets a setting, named as in the configuration file: `limits.max_in_flight`.
    pub(crate) fn set(self, setting: &str, value: &str) -> Self {
        let name = format!("EDNA_COURIER__{}", setting.replace('.', "__").to_uppercase());
        self.env(&name, value)
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Its working directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the daemon and waits until it has told its admin address.
    pub(crate) async fn start(&self) -> Daemon {
        let daemon = self.spawn();
        let told = async || (daemon.admin_address(), daemon.status());
        eventually!(SOON, told().await, |(a, exit)| a.is_some() || exit.is_some(), "the admin address in the log");
        assert!(daemon.admin_address().is_some(), "the daemon ended at once");
        daemon
    }

    /// Starts the daemon and returns at once: for starts that are to fail.
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
        let reader = keep_lines(stderr, Arc::clone(&lines));
        Daemon { pid: child.id(), child: Mutex::new(child), lines, reader: Some(reader), _dir: Arc::clone(&self.dir) }
    }
}

fn keep_lines(stderr: ChildStderr, lines: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            lines.lock().expect("not poisoned").push(String::from_utf8_lossy(&line).into_owned());
        }
    })
}

/// A running daemon; killed when it is dropped. When the test fails, its log is shown.
#[derive(Debug)]
pub(crate) struct Daemon {
    pid: u32,
    child: Mutex<Child>,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    _dir: Arc<OwnDir>,
}

impl Daemon {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`, `STOP`, `CONT`, …
    pub(crate) fn signal(&self, name: &str) {
        output(Command::new("kill").args(["-s", name, &self.pid.to_string()])).expect("the daemon runs");
    }

    /// Ends it the hard way, as a crash does, and waits until it is gone.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().expect("not poisoned");
        // An error would mean that it has ended before.
        drop(child.kill());
        child.wait().expect("ours to wait for");
    }

    /// Waits until it has ended by itself and its log is complete; 128 + n after signal n.
    pub(crate) async fn wait_exit(&self, deadline: Duration) -> i32 {
        let ended = |exit: &Option<ExitStatus>| exit.is_some() && self.log_is_complete();
        let exit = eventually!(deadline, self.status(), ended, "the end of the daemon");
        exit.and_then(|exit| exit.code().or(exit.signal().map(|signal| 128 + signal))).expect("an exit or a signal")
    }

    fn status(&self) -> Option<ExitStatus> {
        self.child.lock().expect("not poisoned").try_wait().expect("ours to wait for")
    }

    fn log_is_complete(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// All that it has logged so far, as it came.
    pub(crate) fn log_text(&self) -> String {
        self.lines.lock().expect("not poisoned").join("\n")
    }

    /// The log lines that are JSON.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log_text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Where the admin server listens, once the log has told it.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.log().iter().find_map(|line| field(line, "admin_address")?.as_str()?.parse().ok())
    }

    /// Resident memory, in bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a memory figure");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// GETs a path of the admin server; the status code and the body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.ask(reqwest::Method::GET, path, None).await
    }

    /// POSTs to a path of the admin server, with a bearer token if there is one.
    pub(crate) async fn post(&self, path: &str, token: Option<&str>) -> (u16, String) {
        self.ask(reqwest::Method::POST, path, token).await
    }

    async fn ask(&self, method: reqwest::Method, path: &str, token: Option<&str>) -> (u16, String) {
        let address = self.admin_address().expect("the daemon has told its admin address");
        let mut request = CLIENT.request(method, format!("http://{address}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap_or_else(|e| panic!("{path}: {e}"));
        (response.status().as_u16(), response.text().await.expect("a body"))
    }

    /// `/status` as JSON.
    pub(crate) async fn report(&self) -> Value {
        let (_, body) = self.get("/status").await;
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("/status is not JSON ({e}): {body}"))
    }

    /// The sum over all series of this name that have these labels, among others. No such series is a failure:
    /// all are there at zero from the start.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let sum = Metrics::parse(&text).sum(name, labels);
        sum.unwrap_or_else(|| panic!("no series {name}{labels:?} in\n{text}"))
    }
}

/// A field of a JSON log line, flattened into the line or below `fields`.
pub(crate) fn field<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    line.get(name).or_else(|| line.get("fields")?.get(name))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        // Its end closes the pipe, so the reader ends too.
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
        if thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}\n---", self.log_text());
        }
    }
}
