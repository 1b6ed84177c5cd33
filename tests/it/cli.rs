//! The commands of the binary: exit codes, standard output, standard error.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    TIMEOUT, TempDir,
    broker::{Broker, run_command},
    client::Client,
    eventually::eventually,
    fixture::{Fixture, start_ready},
};

/// Runs the real binary in an empty directory, with the given settings only.
struct CliCommand {
    command: Command,
    dir: TempDir,
}

/// The result of a finished process.
pub(crate) struct CliOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CliCommand {
    fn new(args: &[&str], settings: &[(&str, &str)]) -> Self {
        let dir = TempDir::new("edna-courier-test-cli");
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

    /// Writes the default configuration file.
    fn config_file(self, toml: &str) -> Self {
        std::fs::write(self.dir.path().join("edna-courier.toml"), toml).expect("a writable directory");
        self
    }

    /// Runs the process to completion on a blocking thread.
    async fn run(mut self) -> CliOutput {
        let finished = tokio::task::spawn_blocking(move || self.command.output().expect("the binary"));
        let Output { status, stdout, stderr } = finished.await.expect("no panic");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        CliOutput { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }
}

/// Runs the binary with these arguments and settings.
pub(crate) async fn run(args: &[&str], settings: &[(&str, &str)]) -> CliOutput {
    CliCommand::new(args, settings).run().await
}

impl CliOutput {
    /// Asserts the exit code, that standard error contains each part, and that standard output is empty.
    pub(crate) fn expect_failure(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} in {}", self.stderr);
        }
        assert_eq!(self.stdout, "", "standard output of a failed command");
    }
}

const VALID: [(&str, &str); 2] = [("api.base_url", "https://name.edna.example"), ("api.token", "SECRET")];

#[tokio::test]
async fn check_valid_configuration_exits_zero() {
    let output = run(&["check"], &VALID).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(
        output.stdout.contains("https://name.edna.example") && !output.stdout.contains("SECRET"),
        "{}",
        output.stdout
    );
    let output = run(&["check", "--json"], &VALID).await;
    assert_eq!(output.code, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&output.stdout).expect("JSON"), json!({"ok": true, "mistakes": []}));
}

/// With the variable of [`invalid_config`]: five mistakes of five kinds.
const INVALID_CONFIG: &str = "[broker]\nprefix = \"a b\"\n[api]\ntoken = \"SECRET\"\ntimeout = \"soon\"\n\
    [delivery]\nmax_atempts = 3\n";
const MISTAKES: [(&str, &str); 5] = [
    ("broker.prefix", "letters, digits"),
    ("api.base_url", "is required"),
    ("api.timeout", "soon"),
    ("delivery.max_atempts", "max_attempts"),
    ("limits.max_in_flight", "EDNA_COURIER__LIMITS__MAX_IN_FLIGHT"),
];

fn invalid_config(args: &[&str]) -> CliCommand {
    CliCommand::new(args, &[("limits.max_in_flight", "many")]).config_file(INVALID_CONFIG)
}

#[tokio::test]
async fn check_and_run_report_all_mistakes_at_once() {
    for args in [["check"], ["run"]] {
        let output = invalid_config(&args).run().await;
        output.expect_failure(78, &["5 mistakes in the configuration", "edna-courier.toml"]);
        for (path, part) in MISTAKES {
            let line = output.stderr.lines().find(|line| line.trim_start().starts_with(path));
            assert!(line.is_some_and(|line| line.contains(part)), "{path} with {part:?} in {}", output.stderr);
        }
        assert!(!output.stderr.contains("SECRET"), "{}", output.stderr);
    }
}

#[tokio::test]
async fn check_json_lists_all_mistakes() {
    let output = invalid_config(&["check", "--json"]).run().await;
    assert_eq!(output.code, Some(78), "{}", output.stderr);
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], false);
    let mistakes = report["mistakes"].as_array().expect("a list");
    assert_eq!(mistakes.len(), MISTAKES.len(), "{report}");
    for (path, part) in MISTAKES {
        let found = mistakes.iter().find(|mistake| mistake["path"] == path);
        assert!(found.is_some_and(|mistake| mistake.to_string().contains(part)), "{path} with {part:?} in {report}");
    }
}

#[tokio::test]
async fn run_without_configuration_lists_required_keys() {
    run(&["run"], &[]).await.expect_failure(78, &["2 mistakes", "api.base_url: is required", "api.token: is required"]);
    run(&["run", "--config", "nowhere.toml"], &VALID).await.expect_failure(78, &["nowhere.toml", "--config"]);
}

#[tokio::test]
async fn usage_errors_exit_64_and_help_exits_zero() {
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

#[tokio::test]
async fn check_and_run_refuse_keys_and_urls_that_cannot_work() {
    let dir = TempDir::new("edna-courier-test-keys");
    let write = |name: &str, pem: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).expect("a writable directory");
        path.display().to_string()
    };
    let [one, other] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["client".to_owned()]).expect("a key"));
    let (cert, other_key) = (write("cert", one.cert.pem()), write("key", other.signing_key.serialize_pem()));
    let url = "amqp://courier:12/SECRET@broker";
    for (settings, parts) in [
        ([("broker.cert_file", &*cert), ("broker.key_file", &*other_key)], ["broker.key_file", "is not the key of"]),
        ([("api.cert_file", &*cert), ("api.key_file", &*other_key)], ["api.key_file", "is not the key of"]),
        ([("broker.url", url), ("api.proxy", "none")], ["broker.url", "write %25 for %"]),
    ] {
        for args in [["check"], ["run"]] {
            let output = run(&args, &[VALID, settings].concat()).await;
            output.expect_failure(78, &parts);
            assert!(!output.stderr.contains("SECRET"), "{}", output.stderr);
        }
    }
}

#[tokio::test]
async fn system_without_certificates_serves_an_http_api() {
    let fixture = Fixture::new("no-certificates").await;
    let absent = [("SSL_CERT_FILE", "/absent"), ("SSL_CERT_DIR", "/absent")];
    let builder = absent.iter().fold(fixture.builder(), |builder, (name, value)| builder.env(name, value));
    let daemon = start_ready(&builder).await;
    fixture.send(1, "hello").await;
    fixture.expect_all_succeeded(1).await;
    let address = daemon.admin_address().expect("in the log").to_string();
    let mut status = CliCommand::new(&["status", "--admin", &address], &[]);
    status.command.envs(absent);
    let output = status.run().await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    fixture.drain(&daemon).await;

    let https = [VALID[0], VALID[1], ("api.proxy", "none"), ("admin.listen", "127.0.0.1:0"), ("journal.kind", "none")];
    let mut run = CliCommand::new(&["run"], &https);
    run.command.envs(absent);
    run.run().await.expect_failure(78, &["the system's CA certificates"]);
}

/// A child process, killed on drop.
struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn sandbox_serves_until_sigterm() {
    let mut sandbox = CliCommand::new(&["sandbox", "--listen", "127.0.0.1:0", "--token", "t"], &[]);
    let mut running = ChildGuard(sandbox.command.stdout(Stdio::piped()).spawn().expect("the binary"));
    let stdout = running.0.stdout.take().expect("piped");
    let line = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next()).await.expect("no panic");
    let line = line.expect("a line").expect("UTF-8");
    let url = line.split_whitespace().last().expect("an address").to_owned();

    let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().expect("a client");
    let status = async |path: &str| http.get(format!("{url}{path}")).send().await.expect("an answer").status();
    assert_eq!(status("/healthz").await, 200);
    let send = http.post(format!("{url}/api/v1/messages/outgoing-to-device")).bearer_auth("other").body("{}");
    assert_eq!(send.send().await.expect("an answer").status(), 401, "another token is refused");

    run_command(Command::new("kill").args(["-s", "TERM", &running.0.id().to_string()])).expect("the sandbox runs");
    let mut exit_code = || running.0.try_wait().expect("a child of this process").map(|status| status.code());
    assert_eq!(eventually!(TIMEOUT, exit_code(), Option::is_some, "the exit"), Some(Some(0)));
}

#[tokio::test]
async fn demo_reaches_every_outcome_and_cleans_up() {
    let broker = Broker::shared().await;
    let settings = [("broker.url", broker.url()), ("log.level", "info"), ("log.format", "json")];
    let output = run(&["demo", "--count", "100", "--json"], &settings).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON alone on standard output");
    assert_eq!((&report["count"], &report["wrong"]), (&json!(100), &json!(0)), "{report}");
    let rows = report["outcomes"].as_array().expect("a list");
    let reasons: Vec<_> = rows.iter().map(|row| row["reason"].as_str().expect("a text")).collect();
    assert_eq!(reasons, ["", "malformed", "rejected", "uncertain", "expired"], "{report}");
    assert!(rows.iter().all(|row| row["expected"] == row["reached"] && row["reached"].as_u64() > Some(0)), "{report}");

    let log = output.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let queue = log.filter_map(|line| Some(line["queue"].as_str()?.to_owned())).next().expect("the queue in the log");
    let prefix = queue.strip_suffix(".commands").expect("the commands queue");
    assert!(prefix.starts_with("edna-demo-"), "{prefix}");
    let client = Client::connect(broker.url()).await;
    for name in
        ["commands", "events", "dead", "unroutable", "retry.5s", "retry.30s", "retry.2m", "retry.10m", "retry.1h"]
    {
        let name = format!("{prefix}.{name}");
        assert!(!client.exists(&name).await, "queue {name} still exists");
        assert!(!client.exchange_exists(&name).await, "exchange {name} still exists");
    }
}

#[tokio::test]
async fn demo_without_broker_exits_69() {
    let settings = [("broker.url", "amqp://guest:SECRET@127.0.0.1:1/%2f")];
    let output = run(&["demo"], &settings).await;
    output.expect_failure(
        69,
        &["cannot connect to 127.0.0.1:1", "start RabbitMQ there or set EDNA_COURIER__BROKER__URL"],
    );
    assert!(!output.stderr.contains("SECRET"), "{}", output.stderr);
}
