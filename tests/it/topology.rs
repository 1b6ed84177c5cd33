//! `edna-courier topology`: apply, verify, show, export.

use std::{collections::BTreeMap, net::TcpListener, time::Instant};

use edna_courier::sandbox::Options;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use serde_json::{Value, json};

use crate::{
    cli::{CliOutput, run},
    support::{
        TIMEOUT,
        broker::Broker,
        fixture::{Fixture, command, id, start_ready},
        queues::Queues,
        unique_name,
    },
};

/// Runs `topology <verb>` with the broker and the prefix of these queues.
async fn topology(verb: &str, queues: &Queues) -> CliOutput {
    run(&["topology", verb], &[("broker.url", queues.broker().url()), ("broker.prefix", queues.prefix())]).await
}

/// Runs `topology <verb> --json`; returns the exit code and the findings by `<kind> <name without prefix>`.
async fn findings(verb: &str, url: &str, prefix: &str) -> (Option<i32>, BTreeMap<String, Value>) {
    let output = run(&["topology", verb, "--json"], &[("broker.url", url), ("broker.prefix", prefix)]).await;
    let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", output.stderr));
    assert_eq!(report["ok"], output.code == Some(0), "{report}");
    assert_eq!(
        output.stderr.is_empty(),
        output.code == Some(0),
        "standard error has a message exactly on failure: {}",
        output.stderr
    );
    let rows = report["findings"].as_array().expect("a list").iter();
    let name = |row: &Value| row["name"].as_str().expect("a name").replace(&format!("{prefix}."), "");
    let by_name = rows.map(|row| (format!("{} {}", row["kind"].as_str().expect("a kind"), name(row)), row.clone()));
    (output.code, by_name.collect())
}

/// The findings with the broker and the prefix of these queues.
async fn found(verb: &str, queues: &Queues) -> (Option<i32>, BTreeMap<String, Value>) {
    findings(verb, queues.broker().url(), queues.prefix()).await
}

fn state<'a>(found: &'a BTreeMap<String, Value>, object: &str) -> &'a str {
    found[object]["state"].as_str().expect("a state")
}

fn detail<'a>(found: &'a BTreeMap<String, Value>, object: &str) -> &'a str {
    found[object]["detail"].as_str().expect("a detail")
}

/// Asserts the state of all objects except these and the bindings.
fn expect_all(found: &BTreeMap<String, Value>, expected: &str, except: &[&str]) {
    let objects = found.keys().filter(|name| !name.starts_with("binding") && !except.contains(&name.as_str()));
    let objects: Vec<_> = objects.collect();
    assert_eq!(objects.len() + except.len(), 18, "{found:?}");
    assert!(objects.iter().all(|object| state(found, object) == expected), "{expected}: {found:?}");
}

async fn channel(queues: &Queues) -> (Connection, Channel) {
    let connection = Connection::connect(queues.broker().url(), ConnectionProperties::default()).await;
    let connection = connection.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

#[tokio::test]
async fn topology_apply_twice_is_idempotent() {
    let queues = Queues::new("topology").await;
    let (code, verified) = found("verify", &queues).await;
    assert_eq!(code, Some(1));
    expect_all(&verified, "missing", &[]);

    let (code, applied) = found("apply", &queues).await;
    assert_eq!(code, Some(0));
    expect_all(&applied, "created", &[]);
    for binding in ["commands -> commands, key \"send\"", "dead -> dead, key \"poison\"", "events -> events, key \"#\""]
    {
        assert_eq!(state(&applied, &format!("binding {binding}")), "there");
    }
    let (code, again) = found("apply", &queues).await;
    assert_eq!(code, Some(0));
    expect_all(&again, "there", &[]);
    let (code, verified) = found("verify", &queues).await;
    assert_eq!(code, Some(0));
    expect_all(&verified, "there", &[]);
    let output = topology("verify", &queues).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(output.stdout.contains("bindings: cannot verify"), "{}", output.stdout);
}

#[tokio::test]
async fn topology_apply_restores_deleted_objects_only() {
    let queues = Queues::new("topology-deleted").await;
    assert_eq!(topology("apply", &queues).await.code, Some(0));
    queues.client().publish(&queues.name("dead"), "rejected", b"kept", BasicProperties::default()).await;
    let (_connection, channel) = channel(&queues).await;
    let (queue, exchange) = (queues.name("retry.2m"), queues.name("events"));
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    channel.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default()).await.expect("deleted");

    let output = topology("verify", &queues).await;
    assert_eq!(output.code, Some(1), "{}", output.stdout);
    let problem = format!("missing: exchange {exchange}, queue {queue}; run `edna-courier topology apply`");
    assert!(output.stderr.contains(&problem), "{}", output.stderr);
    assert!(!queues.client().exists(&queue).await, "verify declares nothing");

    let (code, applied) = found("apply", &queues).await;
    assert_eq!(code, Some(0));
    let restored = ["queue retry.2m", "exchange events"];
    expect_all(&applied, "there", &restored);
    assert!(restored.iter().all(|object| state(&applied, object) == "created"), "{applied:?}");
    let event = b"by the new binding";
    queues.client().publish(&exchange, "send.succeeded.X", event, BasicProperties::default()).await;
    assert_eq!(queues.client().read_one(&queues.name("events"), TIMEOUT).await.body, event);
    assert_eq!(queues.dead_letters(1).await[0].body, b"kept");
}

#[tokio::test]
async fn topology_other_arguments_are_reported_and_kept() {
    let queues = Queues::new("topology-bare").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    queues.client().publish(&commands, "send", b"kept", BasicProperties::default()).await;
    for (verb, others) in [("apply", "created"), ("verify", "there"), ("apply", "there")] {
        let (code, found) = found(verb, &queues).await;
        assert_eq!(code, Some(1), "{verb}");
        let differing = ["queue commands", "exchange commands"];
        expect_all(&found, others, &differing);
        for object in differing {
            assert_eq!(state(&found, object), "wrong_arguments");
        }
        let alternate = format!("alternate-exchange is unset instead of {}", queues.name("unroutable"));
        assert_eq!(detail(&found, "exchange commands"), alternate);
        for argument in ["dead-letter-exchange", "dead-letter-routing-key", "dead-letter-strategy", "overflow"] {
            let difference = format!("{argument} is unset instead of ");
            assert!(detail(&found, "queue commands").contains(&difference), "{found:?}");
        }
    }
    assert_eq!(queues.client().read_one(&commands, TIMEOUT).await.body, b"kept");
}

#[tokio::test]
async fn topology_wrong_type_fails_and_is_kept() {
    let queues = Queues::new("topology-types").await;
    let events = queues.declare("events", ExchangeKind::Fanout, "").await;
    let (_connection, channel) = channel(&queues).await;
    let dead = queues.name("dead");
    let declared = channel.queue_declare(dead.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default());
    declared.await.expect("a classic queue");
    queues.client().publish("", &dead, b"kept", BasicProperties::default()).await;
    for verb in ["apply", "verify"] {
        let (code, found) = found(verb, &queues).await;
        assert_eq!(code, Some(1), "{found:?}");
        for (object, words) in [("queue dead", "x-queue-type"), ("exchange events", "'type'")] {
            assert_eq!(state(&found, object), "wrong_type", "{found:?}");
            assert!(detail(&found, object).contains(words), "{found:?}");
        }
        assert_eq!(state(&found, "queue events"), "differs");
    }
    let output = topology("verify", &queues).await;
    assert!(
        output.stderr.contains(&format!("wrong type: exchange {events}, queue {dead}; stop its users")),
        "{}",
        output.stderr
    );
    assert_eq!(queues.client().read_one(&dead, TIMEOUT).await.body, b"kept");
}

#[tokio::test]
async fn unroutable_message_lands_in_unroutable_queue() {
    let queues = Queues::new("topology-unroutable").await;
    assert_eq!(topology("apply", &queues).await.code, Some(0));
    for exchange in ["commands", "dead"] {
        queues.client().publish(&queues.name(exchange), "typo", exchange.as_bytes(), BasicProperties::default()).await;
        let routed = queues.client().read_one(&queues.name("unroutable"), TIMEOUT).await;
        assert_eq!((routed.body.as_slice(), routed.key.as_str()), (exchange.as_bytes(), "typo"));
    }
    queues.client().expect_empty(&queues.name("commands")).await;
}

#[tokio::test]
async fn topology_show_and_export_need_no_broker() {
    let settings =
        [("broker.url", "amqp://guest:SECRET@127.0.0.1:1/shop"), ("broker.prefix", "p"), ("delivery.tiers", "7s")];
    let shown = run(&["topology", "show"], &settings).await;
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    assert!(shown.stdout.lines().any(|line| line == "p.retry.7s    fanout"), "{}", shown.stdout);
    assert!(shown.stdout.contains("x-message-ttl              7000"), "{}", shown.stdout);
    let shown = run(&["topology", "show", "--json"], &settings).await;
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["queues"][1]["arguments"]["x-message-ttl"], 7_000);
    assert_eq!(
        shown["exchanges"][1],
        json!({"name": "p.commands", "type": "direct", "arguments": {"alternate-exchange": "p.unroutable"}})
    );
    let exported = run(&["topology", "export"], &settings).await;
    assert_eq!((exported.code, exported.stderr.as_str()), (Some(0), ""));
    assert!(!exported.stdout.contains("SECRET"));
    let exported: Value = serde_json::from_str(&exported.stdout).expect("JSON");
    assert_eq!(exported["vhosts"], json!([{"name": "shop"}]));
    let exported = run(&["topology", "export"], &[]).await.stdout;
    assert_eq!(exported, include_str!("../../deploy/rabbitmq/definitions.json"));
}

#[tokio::test]
async fn topology_unreachable_broker_exits_69_in_time() {
    for verb in ["apply", "verify"] {
        let output = run(&["topology", verb], &[("broker.url", "amqp://guest:SECRET@127.0.0.1:1/%2f")]).await;
        output.expect_failure(69, &["cannot connect to 127.0.0.1:1", "check broker.url"]);
        assert!(!output.stderr.contains("SECRET"), "{}", output.stderr);
    }
    // Accepts connections and never answers; two addresses, so that a timeout per address would be found.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("amqp://{}", silent.local_addr().expect("bound"));
    let began = Instant::now();
    let output = run(&["topology", "verify"], &[("broker.url", &format!("{url},{url}"))]).await;
    output.expect_failure(69, &["no answer from the broker within 15 s", "check broker.url"]);
    assert!(began.elapsed() < TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn topology_invalid_settings_exit_78() {
    for verb in ["show", "apply", "verify", "export"] {
        let output = run(&["topology", verb], &[("broker.prefix", "a b"), ("delivery.tiers", "soon")]).await;
        output.expect_failure(78, &["broker.prefix", "delivery.tiers"]);
    }
    run(&["topology", "delete"], &[]).await.expect_failure(64, &["--help"]);
}

/// Imports the definitions from a file on the broker's host, as an operator does.
async fn import(broker: &Broker, definitions: &str) {
    let file = std::env::temp_dir().join(unique_name("edna-courier-test-definitions")).display().to_string();
    let bytes: Vec<_> = definitions.bytes().map(|byte| byte.to_string()).collect();
    let write = format!("ok = file:write_file(\"{file}\", <<{}>>).", bytes.join(","));
    for args in [&["eval", &write][..], &["import_definitions", &file], &["eval", &format!("file:delete(\"{file}\").")]]
    {
        broker.rabbitmqctl(args).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The queues and the name of the policy that applies to each.
async fn policies(broker: &Broker) -> BTreeMap<String, Value> {
    let output = broker.rabbitmqctl(&["--quiet", "list_queues", "name", "policy", "--formatter", "json"]).await;
    let output = output.unwrap_or_else(|error| panic!("{error}"));
    let rows: Vec<Value> = serde_json::from_str(&output).unwrap_or_else(|e| panic!("{e}: {output}"));
    rows.iter().map(|row| (row["name"].as_str().expect("a name").to_owned(), row["policy"].clone())).collect()
}

#[tokio::test]
async fn exported_definitions_serve_daemon_without_configure() {
    let broker = Broker::start_private().await;
    let fixture = Fixture::on(&broker, "export", Options::default()).await;
    let prefix = fixture.queues.prefix();
    let exported =
        run(&["topology", "export"], &[("broker.url", broker.url()), ("broker.prefix", prefix)]).await.stdout;
    import(&broker, &exported).await;
    broker.rabbitmqctl(&["change_password", "courier", "secret"]).await.expect("a password");
    let courier = broker.url().replace("guest:guest", "courier:secret");

    let policies = policies(&broker).await;
    assert_eq!(policies.len(), 9, "{policies:?}");
    let with_policy: Vec<_> = policies.iter().filter(|(_, policy)| *policy != "").collect();
    assert_eq!(with_policy.len(), 4, "commands, events, dead and unroutable: {policies:?}");
    assert!(with_policy.iter().all(|(queue, policy)| queue == policy), "each has its own policy: {policies:?}");
    let (code, found) = findings("verify", broker.url(), prefix).await;
    assert_eq!(code, Some(0));
    let by_policy = ["queue commands", "queue events", "queue dead", "queue unroutable"];
    expect_all(&found, "there", &by_policy);
    assert!(by_policy.iter().all(|queue| state(&found, queue) == "differs"), "{found:?}");
    assert_eq!(detail(&found, "queue commands"), "delivery-limit is unset instead of 20");
    let (code, found) = findings("verify", &courier, prefix).await;
    assert_eq!(code, Some(0));
    expect_all(&found, "there", &[]);
    assert!(detail(&found, "queue commands").contains("the user may not declare it"), "{found:?}");
    let (code, applied) = findings("apply", &courier, "other").await;
    assert_eq!(code, Some(1));
    expect_all(&applied, "refused", &[]);
    assert!(!fixture.queues.client().exists("other.commands").await);

    let daemon = start_ready(&fixture.builder().set("broker.url", &courier).set("broker.declare", "false")).await;
    let texts = ["hello", "[[status=400]]", "[[status=503,times=3]]"];
    for (index, text) in (0..).zip(texts) {
        fixture.queues.send(&command(index, text)).await;
    }
    let events = fixture.queues.events(3).await;
    let outcomes: BTreeMap<_, _> = events.iter().map(|event| (id(event), event["outcome"].as_str())).collect();
    let expected = [("c-0", "succeeded"), ("c-1", "failed"), ("c-2", "succeeded")];
    assert_eq!(outcomes, expected.map(|(id, outcome)| (id, Some(outcome))).into());
    assert_eq!(fixture.queues.dead_letters(1).await[0].key, "rejected");
    assert_eq!(daemon.metric("courier_retries_total", &[("tier", "5s")]).await, 1.0);
    fixture
        .queues
        .client()
        .publish(&fixture.queues.name("commands"), "typo", b"unroutable", BasicProperties::default())
        .await;
    assert_eq!(fixture.queues.client().read_one(&fixture.queues.name("unroutable"), TIMEOUT).await.body, b"unroutable");
    fixture.drain(&daemon).await;

    fixture.queues.client().delete_queue(&fixture.queues.name("dead")).await;
    let (code, found) = findings("verify", &courier, prefix).await;
    assert_eq!((code, state(&found, "queue dead")), (Some(1), "missing"));
}
