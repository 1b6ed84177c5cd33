//! The commands of the binary as scripts see them: exit codes, and what is printed where.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{OwnDir, SOON, broker::Broker, broker::output, client::Client, eventually::eventually};

/// A command line of the real binary, in an empty directory, with these settings and no others.
struct Line {
    command: Command,
    dir: OwnDir,
}

/// What it came to.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Line {
    fn new(args: &[&str], settings: &[(&str, &str)]) -> Self {
        let dir = OwnDir::new("edna-courier-test-cli");
        let mut command = Command::new(env!("CARGO_BIN_EXE_edna-courier"));
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EDNA_COURIER")) {
            command.env_remove(name);
        }
        for (setting, value) in settings {
            command.env(format!("EDNA_COURIER__{}", setting.replace('.', "__").to_uppercase()), value);
        }
        command.args(args).current_dir(dir.path()).stdin(Stdio::null());
        Self { command, dir }
    }

    /// With a configuration file at its default place.
    fn file(self, toml: &str) -> Self {
        std::fs::write(self.dir.path().join("edna-courier.toml"), toml).expect("a writable directory");
        self
    }

    /// Runs it to its end, away from the test's own thread.
    async fn run(mut self) -> Run {
        let ended = tokio::task::spawn_blocking(move || self.command.output().expect("the binary"));
        let Output { status, stdout, stderr } = ended.await.expect("no panic");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Run { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }
}

pub(crate) async fn run(args: &[&str], settings: &[(&str, &str)]) -> Run {
    Line::new(args, settings).run().await
}

impl Run {
    /// Insists on the exit code and on each of these parts on standard error.
    pub(crate) fn expect_failure(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} in {}", self.stderr);
        }
        assert_eq!(self.stdout, "", "a problem is no result");
    }
}

const SOUND: [(&str, &str); 2] = [("api.base_url", "https://name.edna.example"), ("api.token", "SECRET")];

#[tokio::test]
async fn a_sound_configuration_is_told_as_such() {
    let told = run(&["check"], &SOUND).await;
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    assert!(told.stdout.contains("https://name.edna.example") && !told.stdout.contains("SECRET"), "{}", told.stdout);
    let told = run(&["check", "--json"], &SOUND).await;
    assert_eq!(told.code, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&told.stdout).expect("JSON"), json!({"ok": true, "mistakes": []}));
}

/// Five mistakes, of five kinds.
const MISTAKEN: &str = "[broker]\nprefix = \"a b\"\n[api]\ntoken = \"SECRET\"\ntimeout = \"soon\"\n\
    [delivery]\nmax_atempts = 3\n";
const MISTAKES: [(&str, &str); 5] = [
    ("broker.prefix", "letters, digits"),
    ("api.base_url", "is required"),
    ("api.timeout", "soon"),
    ("delivery.max_atempts", "max_attempts"),
    ("limits.max_in_flight", "EDNA_COURIER__LIMITS__MAX_IN_FLIGHT"),
];

fn mistaken(args: &[&str]) -> Line {
    Line::new(args, &[("limits.max_in_flight", "many")]).file(MISTAKEN)
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() {
    for args in [["check"], ["run"]] {
        let told = mistaken(&args).run().await;
        told.expect_failure(78, &["5 mistakes in the configuration", "edna-courier.toml"]);
        for (path, part) in MISTAKES {
            let line = told.stderr.lines().find(|line| line.trim_start().starts_with(path));
            assert!(line.is_some_and(|line| line.contains(part)), "{path} with {part:?} in {}", told.stderr);
        }
        assert!(!told.stderr.contains("SECRET"), "{}", told.stderr);
    }
}

#[tokio::test]
async fn all_mistakes_are_told_to_programs_too() {
    let told = mistaken(&["check", "--json"]).run().await;
    assert_eq!(told.code, Some(78), "{}", told.stderr);
    let report: Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert_eq!(report["ok"], false);
    let mistakes = report["mistakes"].as_array().expect("a list");
    assert_eq!(mistakes.len(), MISTAKES.len(), "{report}");
    for (path, part) in MISTAKES {
        let found = mistakes.iter().find(|mistake| mistake["path"] == path);
        assert!(found.is_some_and(|mistake| mistake.to_string().contains(part)), "{path} with {part:?} in {report}");
    }
}

#[tokio::test]
async fn without_a_configuration_it_tells_what_is_required() {
    run(&["run"], &[]).await.expect_failure(78, &["2 mistakes", "api.base_url: is required", "api.token: is required"]);
    run(&["run", "--config", "nowhere.toml"], &SOUND).await.expect_failure(78, &["nowhere.toml", "--config"]);
}

#[tokio::test]
async fn usage_and_help() {
    for args in [&["dance"][..], &["check", "--loud"], &["demo", "--count", "0"]] {
        run(args, &[]).await.expect_failure(64, &["--help"]);
    }
    run(&["topology"], &[]).await.expect_failure(64, &["Usage: edna-courier topology", "verify"]);
    run(&[], &[]).await.expect_failure(64, &["Usage: edna-courier", "check"]);
    let help = run(&["--help"], &[]).await;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for word in ["run", "demo", "sandbox", "check", "topology", "Exit codes: 0 success", "78 configuration"] {
        assert!(help.stdout.contains(word), "{word} in {}", help.stdout);
    }
    let version = run(&["--version"], &[]).await;
    assert_eq!((version.code, version.stdout), (Some(0), format!("edna-courier {}\n", env!("CARGO_PKG_VERSION"))));
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn the_sandbox_serves_until_it_is_asked_to_stop() {
    let mut line = Line::new(&["sandbox", "--listen", "127.0.0.1:0", "--token", "t"], &[]);
    let mut running = Running(line.command.stdout(Stdio::piped()).spawn().expect("the binary"));
    let stdout = running.0.stdout.take().expect("piped");
    let told = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next()).await.expect("no panic");
    let told = told.expect("a line").expect("UTF-8");
    let url = told.split_whitespace().last().expect("its address").to_owned();

    let http = reqwest::Client::builder().no_proxy().timeout(SOON).build().expect("a client");
    let status = async |path: &str| http.get(format!("{url}{path}")).send().await.expect("an answer").status();
    assert_eq!(status("/healthz").await, 200);
    let send = http.post(format!("{url}/api/v1/messages/outgoing-to-device")).bearer_auth("other").body("{}");
    assert_eq!(send.send().await.expect("an answer").status(), 401, "the token is heeded");

    output(Command::new("kill").args(["-s", "TERM", &running.0.id().to_string()])).expect("it runs");
    let mut ended = || running.0.try_wait().expect("ours").map(|status| status.code());
    assert_eq!(eventually!(SOON, ended(), Option::is_some, "its end"), Some(Some(0)));
}

#[tokio::test]
async fn the_demo_reaches_every_outcome_and_leaves_nothing_behind() {
    let broker = Broker::shared().await;
    let settings = [("broker.url", broker.url()), ("log.level", "info"), ("log.format", "json")];
    let told = run(&["demo", "--count", "100", "--json"], &settings).await;
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let report: Value = serde_json::from_str(&told.stdout).expect("only JSON on standard output");
    assert_eq!((&report["count"], &report["wrong"]), (&json!(100), &json!(0)), "{report}");
    let rows = report["outcomes"].as_array().expect("a list");
    let reasons: Vec<_> = rows.iter().map(|row| row["reason"].as_str().expect("a text")).collect();
    assert_eq!(reasons, ["", "malformed", "rejected", "uncertain", "expired"], "{report}");
    assert!(rows.iter().all(|row| row["expected"] == row["reached"] && row["reached"].as_u64() > Some(0)), "{report}");

    let logged = told.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let queue =
        logged.filter_map(|line| Some(line["queue"].as_str()?.to_owned())).next().expect("the queue in the log");
    let prefix = queue.strip_suffix(".commands").expect("the queue of commands");
    assert!(prefix.starts_with("edna-demo-"), "{prefix}");
    let client = Client::connect(broker.url()).await;
    for name in
        ["commands", "events", "dead", "unroutable", "retry.5s", "retry.30s", "retry.2m", "retry.10m", "retry.1h"]
    {
        let name = format!("{prefix}.{name}");
        assert!(!client.exists(&name).await, "queue {name} is left behind");
        assert!(!client.exchange_exists(&name).await, "exchange {name} is left behind");
    }
}

#[tokio::test]
async fn the_demo_without_a_broker_says_so() {
    let settings = [("broker.url", "amqp://guest:SECRET@127.0.0.1:1/%2f")];
    let told = run(&["demo"], &settings).await;
    told.expect_failure(
        69,
        &["cannot connect to 127.0.0.1:1", "start RabbitMQ there or set EDNA_COURIER__BROKER__URL"],
    );
    assert!(!told.stderr.contains("SECRET"), "{}", told.stderr);
}
