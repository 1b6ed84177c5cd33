use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use lapin::{BasicProperties, ExchangeKind};

use crate::support::{
    OwnDir, SOON,
    broker::{Broker, output, stem},
    client::Client,
    eventually::eventually,
    queues::Queues,
};

/// How long a stopped broker is asked before we believe that it is stopped.
const SILENCE: Duration = Duration::from_millis(500);
/// Longer than a broker needs to start or to go.
const START: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_fresh_broker_can_be_stopped_and_keeps_what_is_durable() {
    let broker = Broker::fresh().await;
    let queues = Queues::on(&broker, "restart").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    queues.client().publish(&commands, "send", b"durable", BasicProperties::default()).await;
    let open = queues.client().confirming_channel().await;

    broker.stop().await;
    eventually!(SOON, !open.status().connected(), "the client's notice of the stop");
    assert!(Broker::elsewhere(broker.url().to_owned(), SILENCE).await.is_err(), "stopped");

    broker.start().await;
    let listed = broker.rabbitmqctl(&["list_queues", "--quiet", "name"]).await.expect("control");
    assert!(listed.contains(&commands), "{listed}");
    assert_eq!(Client::connect(broker.url()).await.read_one(&commands, SOON).await.body, b"durable");
}

#[tokio::test]
async fn a_broker_given_by_its_url_is_not_ours_to_control() {
    let url = Broker::shared().await.url().to_owned();
    let broker = Broker::elsewhere(url, SOON).await.expect("it answers");
    let refused = broker.rabbitmqctl(&["version"]).await.expect_err("no control");
    assert!(refused.contains("given by its URL"), "{refused}");
}

/// Kills a test process that has started a broker, the way no drop survives, and looks for what it leaves behind.
#[tokio::test]
async fn no_broker_outlives_a_killed_test_process() {
    let temp = OwnDir::new("edna-courier-test-victim");
    let mut victim = victim(temp.path());
    let stem = stem(victim.id());
    let started = || !containers(&stem).is_empty() || nodes(temp.path()).any(|node| node.join("pid").exists());
    eventually!(START, started(), "the victim's broker");
    victim.kill().expect("it runs");
    victim.wait().expect("ours to wait for");
    let left = || (containers(&stem), nodes(temp.path()).collect::<Vec<_>>(), processes(temp.path()));
    let nothing = |(containers, nodes, processes): &(String, Vec<_>, Vec<_>)| {
        containers.is_empty() && nodes.is_empty() && processes.is_empty()
    };
    eventually!(START, left(), nothing, "the removal of the victim's broker");
}

/// This test binary, running one ordinary test that needs a broker, which it must start itself.
fn victim(temp: &Path) -> Child {
    let mut command = Command::new(env::current_exe().expect("known"));
    if env::var("EDNA_COURIER_TEST_BROKER").is_ok_and(|choice| choice == "url") {
        command.env_remove("EDNA_COURIER_TEST_BROKER");
    }
    command
        .args(["--exact", "support_works::queues::a_publish_that_no_queue_takes_is_told_apart"])
        .env_remove("EDNA_COURIER_TEST_AMQP_URL")
        .env("TMPDIR", temp)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("it starts")
}

/// The identifiers of the containers whose names start like this, a line each.
fn containers(stem: &str) -> String {
    let filter = format!("name={stem}-");
    let listed = output(Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &filter]));
    listed.unwrap_or_default() // Where there is no Docker, there is no container.
}

/// The directories of private nodes.
fn nodes(temp: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(temp).expect("ours").filter_map(Result::ok).map(|entry| entry.path())
}

/// The processes that were started with this directory for temporary files: node, name server, guardian.
fn processes(temp: &Path) -> Vec<PathBuf> {
    let needle = temp.as_os_str().as_encoded_bytes();
    let all = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok).map(|entry| entry.path());
    all.filter(|process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.windows(needle.len()).any(|window| window == needle)
    })
    .collect()
}
