//! The broker of the tests: control over a private one, and its removal.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use lapin::{BasicProperties, ExchangeKind};

use crate::support::{
    TIMEOUT, TempDir,
    broker::{Broker, name_prefix, run_command},
    client::Client,
    eventually::eventually,
    queues::Queues,
};

/// How long connecting to a stopped broker is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Longer than a broker needs to start or to stop.
const BROKER_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn private_broker_restart_keeps_durable_messages() {
    let broker = Broker::start_private().await;
    let queues = Queues::on(&broker, "restart").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    queues.client().publish(&commands, "send", b"durable", BasicProperties::default()).await;
    let open = queues.client().confirming_channel().await;

    broker.stop().await;
    eventually!(TIMEOUT, !open.status().connected(), "the client detects the stop");
    assert!(Broker::external(broker.url().to_owned(), CONNECT_TIMEOUT).await.is_err(), "the broker is stopped");

    broker.start().await;
    let listed = broker.rabbitmqctl(&["list_queues", "--quiet", "name"]).await.expect("a private broker");
    assert!(listed.contains(&commands), "{listed}");
    assert_eq!(Client::connect(broker.url()).await.read_one(&commands, TIMEOUT).await.body, b"durable");
}

#[tokio::test]
async fn external_broker_rejects_rabbitmqctl() {
    let url = Broker::shared().await.url().to_owned();
    let broker = Broker::external(url, TIMEOUT).await.expect("the shared broker answers");
    let refused = broker.rabbitmqctl(&["version"]).await.expect_err("an external broker");
    assert!(refused.contains("external broker"), "{refused}");
}

/// Kills a test process that has started a broker, so that no destructor runs, and checks for leftovers.
#[tokio::test]
async fn killed_test_process_leaves_no_broker_behind() {
    let temp = TempDir::new("edna-courier-test-victim");
    let mut victim = victim(temp.path());
    let prefix = name_prefix(victim.id());
    let started = || !containers(&prefix).is_empty() || nodes(temp.path()).any(|node| node.join("pid").exists());
    eventually!(BROKER_TIMEOUT, started(), "the broker of the killed process starts");
    victim.kill().expect("the process runs");
    victim.wait().expect("a child of this process");
    let leftovers = || (containers(&prefix), nodes(temp.path()).collect::<Vec<_>>(), processes(temp.path()));
    let none = |(containers, nodes, processes): &(String, Vec<_>, Vec<_>)| {
        containers.is_empty() && nodes.is_empty() && processes.is_empty()
    };
    eventually!(BROKER_TIMEOUT, leftovers(), none, "the broker is removed");
}

/// Runs this test binary with one test that starts a broker.
fn victim(temp: &Path) -> Child {
    let mut command = Command::new(env::current_exe().expect("the path of this binary"));
    if env::var("EDNA_COURIER_TEST_BROKER").is_ok_and(|choice| choice == "url") {
        command.env_remove("EDNA_COURIER_TEST_BROKER");
    }
    command
        .args(["--exact", "support_selftest::queues::publish_without_queue_is_returned"])
        .env_remove("EDNA_COURIER_TEST_AMQP_URL")
        .env("TMPDIR", temp)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("this binary starts")
}

/// The ids of the containers with this name prefix, one per line.
fn containers(prefix: &str) -> String {
    let filter = format!("name={prefix}-");
    let listed = run_command(Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &filter]));
    listed.unwrap_or_default() // Without Docker there is no container.
}

/// The directories of private nodes in `temp`.
fn nodes(temp: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(temp).expect("a readable directory").filter_map(Result::ok).map(|entry| entry.path())
}

/// The processes with this `TMPDIR` in their environment: node, epmd, reaper.
fn processes(temp: &Path) -> Vec<PathBuf> {
    let needle = temp.as_os_str().as_encoded_bytes();
    let all = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok).map(|entry| entry.path());
    all.filter(|process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.windows(needle.len()).any(|window| window == needle)
    })
    .collect()
}
