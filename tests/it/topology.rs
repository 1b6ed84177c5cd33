//! `edna-courier topology`: what it makes, finds and exports, on a real broker.

use std::{collections::BTreeMap, net::TcpListener, time::Instant};

use edna_courier::sandbox::Options;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use serde_json::{Value, json};

use crate::{
    cli::{Run, run},
    support::{
        SOON,
        broker::Broker,
        queues::Queues,
        stage::{Stage, command, id, start_ready},
        unique,
    },
};

/// Runs `topology <verb>` for these queues, as their broker's user.
async fn topology(verb: &str, queues: &Queues) -> Run {
    run(&["topology", verb], &[("broker.url", queues.broker().url()), ("broker.prefix", queues.prefix())]).await
}

/// The same with `--json`, in other surroundings: the exit code and, by kind and name, the findings.
async fn findings(verb: &str, url: &str, prefix: &str) -> (Option<i32>, BTreeMap<String, Value>) {
    let told = run(&["topology", verb, "--json"], &[("broker.url", url), ("broker.prefix", prefix)]).await;
    let report: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|e| panic!("{e}: {}", told.stderr));
    assert_eq!(report["ok"], told.code == Some(0), "{report}");
    assert_eq!(told.stderr.is_empty(), told.code == Some(0), "a problem is told to people, too: {}", told.stderr);
    let rows = report["findings"].as_array().expect("a list").iter();
    let name = |row: &Value| row["name"].as_str().expect("a name").replace(&format!("{prefix}."), "");
    let by_name = rows.map(|row| (format!("{} {}", row["kind"].as_str().expect("a kind"), name(row)), row.clone()));
    (told.code, by_name.collect())
}

async fn found(verb: &str, queues: &Queues) -> (Option<i32>, BTreeMap<String, Value>) {
    findings(verb, queues.broker().url(), queues.prefix()).await
}

fn state<'a>(found: &'a BTreeMap<String, Value>, object: &str) -> &'a str {
    found[object]["state"].as_str().expect("a state")
}

fn detail<'a>(found: &'a BTreeMap<String, Value>, object: &str) -> &'a str {
    found[object]["detail"].as_str().expect("a detail")
}

/// Every object but these is in the state; bindings aside.
fn expect_all(found: &BTreeMap<String, Value>, wanted: &str, but: &[&str]) {
    let objects = found.keys().filter(|name| !name.starts_with("binding") && !but.contains(&name.as_str()));
    let objects: Vec<_> = objects.collect();
    assert_eq!(objects.len() + but.len(), 18, "{found:?}");
    assert!(objects.iter().all(|object| state(found, object) == wanted), "{wanted}: {found:?}");
}

async fn channel(queues: &Queues) -> (Connection, Channel) {
    let connection = Connection::connect(queues.broker().url(), ConnectionProperties::default()).await;
    let connection = connection.expect("the broker takes a connection");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

#[tokio::test]
async fn what_is_applied_is_there_and_applied_again_changes_nothing() {
    let queues = Queues::new("topology").await;
    let (code, found_there) = found("verify", &queues).await;
    assert_eq!(code, Some(1));
    expect_all(&found_there, "missing", &[]);

    let (code, made) = found("apply", &queues).await;
    assert_eq!(code, Some(0));
    expect_all(&made, "created", &[]);
    for binding in ["commands -> commands, key \"send\"", "dead -> dead, key \"poison\"", "events -> events, key \"#\""]
    {
        assert_eq!(state(&made, &format!("binding {binding}")), "there");
    }
    let (code, again) = found("apply", &queues).await;
    assert_eq!(code, Some(0));
    expect_all(&again, "there", &[]);
    let (code, found_there) = found("verify", &queues).await;
    assert_eq!(code, Some(0));
    expect_all(&found_there, "there", &[]);
    let told = topology("verify", &queues).await;
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    assert!(told.stdout.contains("bindings: cannot verify"), "{}", told.stdout);
}

#[tokio::test]
async fn what_was_deleted_is_named_and_made_again_and_the_rest_is_kept() {
    let queues = Queues::new("topology-deleted").await;
    assert_eq!(topology("apply", &queues).await.code, Some(0));
    queues.client().publish(&queues.name("dead"), "rejected", b"kept", BasicProperties::default()).await;
    let (_connection, channel) = channel(&queues).await;
    let (queue, exchange) = (queues.name("retry.2m"), queues.name("events"));
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    channel.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default()).await.expect("deleted");

    let told = topology("verify", &queues).await;
    assert_eq!(told.code, Some(1), "{}", told.stdout);
    let problem = format!("missing: exchange {exchange}, queue {queue}; run `edna-courier topology apply`");
    assert!(told.stderr.contains(&problem), "{}", told.stderr);
    assert!(!queues.client().exists(&queue).await, "to verify changes nothing");

    let (code, made) = found("apply", &queues).await;
    assert_eq!(code, Some(0));
    let made_again = ["queue retry.2m", "exchange events"];
    expect_all(&made, "there", &made_again);
    assert!(made_again.iter().all(|object| state(&made, object) == "created"), "{made:?}");
    let event = b"by the new binding";
    queues.client().publish(&exchange, "send.succeeded.X", event, BasicProperties::default()).await;
    assert_eq!(queues.client().read_one(&queues.name("events"), SOON).await.body, event);
    assert_eq!(queues.dead_letters(1).await[0].body, b"kept");
}

#[tokio::test]
async fn other_arguments_are_told_and_left_as_policies_may_set_them() {
    let queues = Queues::new("topology-bare").await;
    let commands = queues.declare("commands", ExchangeKind::Direct, "send").await;
    queues.client().publish(&commands, "send", b"kept", BasicProperties::default()).await;
    for (verb, others) in [("apply", "created"), ("verify", "there"), ("apply", "there")] {
        let (code, found) = found(verb, &queues).await;
        assert_eq!(code, Some(0), "{verb}");
        let bare = ["queue commands", "exchange commands"];
        expect_all(&found, others, &bare);
        for object in bare {
            assert_eq!(state(&found, object), "differs");
            assert!(
                detail(&found, object).contains("declared with other arguments; policies may set them"),
                "{found:?}"
            );
        }
        assert!(detail(&found, "exchange commands").contains("alternate-exchange"), "{found:?}");
    }
    assert_eq!(queues.client().read_one(&commands, SOON).await.body, b"kept");
}

#[tokio::test]
async fn another_type_is_a_failure_and_left_as_it_is() {
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
    let told = topology("verify", &queues).await;
    assert!(
        told.stderr.contains(&format!("wrong type: exchange {events}, queue {dead}; stop its users")),
        "{}",
        told.stderr
    );
    assert_eq!(queues.client().read_one(&dead, SOON).await.body, b"kept");
}

#[tokio::test]
async fn what_fits_no_queue_lands_in_unroutable() {
    let queues = Queues::new("topology-unroutable").await;
    assert_eq!(topology("apply", &queues).await.code, Some(0));
    for exchange in ["commands", "dead"] {
        queues.client().publish(&queues.name(exchange), "typo", exchange.as_bytes(), BasicProperties::default()).await;
        let caught = queues.client().read_one(&queues.name("unroutable"), SOON).await;
        assert_eq!((caught.body.as_slice(), caught.key.as_str()), (exchange.as_bytes(), "typo"));
    }
    queues.client().expect_empty(&queues.name("commands")).await;
}

#[tokio::test]
async fn show_and_export_need_no_broker_and_no_api() {
    let nowhere =
        [("broker.url", "amqp://guest:SECRET@127.0.0.1:1/shop"), ("broker.prefix", "p"), ("delivery.tiers", "7s")];
    let shown = run(&["topology", "show"], &nowhere).await;
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    assert!(shown.stdout.lines().any(|line| line == "p.retry.7s    fanout"), "{}", shown.stdout);
    assert!(shown.stdout.contains("x-message-ttl              7000"), "{}", shown.stdout);
    let shown = run(&["topology", "show", "--json"], &nowhere).await;
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["queues"][1]["arguments"]["x-message-ttl"], 7_000);
    assert_eq!(
        shown["exchanges"][1],
        json!({"name": "p.commands", "type": "direct", "arguments": {"alternate-exchange": "p.unroutable"}})
    );
    let exported = run(&["topology", "export"], &nowhere).await;
    assert_eq!((exported.code, exported.stderr.as_str()), (Some(0), ""));
    assert!(!exported.stdout.contains("SECRET"));
    let exported: Value = serde_json::from_str(&exported.stdout).expect("JSON");
    assert_eq!(exported["vhosts"], json!([{"name": "shop"}]));
    let exported = run(&["topology", "export"], &[]).await.stdout;
    assert_eq!(exported, include_str!("../../deploy/rabbitmq/definitions.json"));
}

#[tokio::test]
async fn a_broker_that_is_away_or_silent_is_told_in_time() {
    for verb in ["apply", "verify"] {
        let told = run(&["topology", verb], &[("broker.url", "amqp://guest:SECRET@127.0.0.1:1/%2f")]).await;
        told.expect_failure(69, &["cannot connect to 127.0.0.1:1", "check broker.url"]);
        assert!(!told.stderr.contains("SECRET"), "{}", told.stderr);
    }
    // It takes connections and says nothing; two addresses, so that their deadlines add up.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("amqp://{}", silent.local_addr().expect("bound"));
    let began = Instant::now();
    let told = run(&["topology", "verify"], &[("broker.url", &format!("{url},{url}"))]).await;
    told.expect_failure(69, &["no answer from the broker within 15 s", "check broker.url"]);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn mistaken_settings_are_told() {
    for verb in ["show", "apply", "verify", "export"] {
        let told = run(&["topology", verb], &[("broker.prefix", "a b"), ("delivery.tiers", "soon")]).await;
        told.expect_failure(78, &["broker.prefix", "delivery.tiers"]);
    }
    run(&["topology", "delete"], &[]).await.expect_failure(64, &["--help"]);
}

/// Definitions as an operator imports them: from a file on the broker's side.
async fn import(broker: &Broker, definitions: &str) {
    let file = std::env::temp_dir().join(unique("edna-courier-test-definitions")).display().to_string();
    let bytes: Vec<_> = definitions.bytes().map(|byte| byte.to_string()).collect();
    let write = format!("ok = file:write_file(\"{file}\", <<{}>>).", bytes.join(","));
    for args in [&["eval", &write][..], &["import_definitions", &file], &["eval", &format!("file:delete(\"{file}\").")]]
    {
        broker.rabbitmqctl(args).await.unwrap_or_else(|why| panic!("{why}"));
    }
}

/// Every queue, and the name of the policy that the broker applies to it.
async fn policies(broker: &Broker) -> BTreeMap<String, Value> {
    let told = broker.rabbitmqctl(&["--quiet", "list_queues", "name", "policy", "--formatter", "json"]).await;
    let told = told.unwrap_or_else(|why| panic!("{why}"));
    let rows: Vec<Value> = serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}"));
    rows.iter().map(|row| (row["name"].as_str().expect("a name").to_owned(), row["policy"].clone())).collect()
}

#[tokio::test]
async fn what_is_exported_serves_a_daemon_that_may_change_nothing() {
    let broker = Broker::fresh().await;
    let stage = Stage::on(&broker, "export", Options::default()).await;
    let prefix = stage.queues.prefix();
    let exported =
        run(&["topology", "export"], &[("broker.url", broker.url()), ("broker.prefix", prefix)]).await.stdout;
    import(&broker, &exported).await;
    broker.rabbitmqctl(&["change_password", "courier", "secret"]).await.expect("a password");
    let courier = broker.url().replace("guest:guest", "courier:secret");

    let policies = policies(&broker).await;
    assert_eq!(policies.len(), 9, "{policies:?}");
    assert!(policies.iter().all(|(queue, policy)| queue == policy), "each has its own: {policies:?}");
    let (code, seen) = findings("verify", broker.url(), prefix).await;
    assert_eq!(code, Some(0));
    assert_eq!((state(&seen, "queue commands"), state(&seen, "exchange commands")), ("differs", "differs"));
    assert_eq!(state(&seen, "exchange retry.5s"), "there");
    let (code, seen) = findings("verify", &courier, prefix).await;
    assert_eq!(code, Some(0));
    expect_all(&seen, "there", &[]);
    assert!(detail(&seen, "queue commands").contains("the user may not declare it"), "{seen:?}");
    let (code, made) = findings("apply", &courier, "other").await;
    assert_eq!(code, Some(1));
    expect_all(&made, "refused", &[]);
    assert!(!stage.queues.client().exists("other.commands").await);

    let daemon = start_ready(&stage.setup().set("broker.url", &courier).set("broker.declare", "false")).await;
    let texts = ["hello", "[[status=400]]", "[[status=503,times=3]]"];
    for (index, text) in (0..).zip(texts) {
        stage.queues.send(&command(index, text)).await;
    }
    let events = stage.queues.events(3).await;
    let outcomes: BTreeMap<_, _> = events.iter().map(|event| (id(event), event["outcome"].as_str())).collect();
    let wanted = [("c-0", "succeeded"), ("c-1", "failed"), ("c-2", "succeeded")];
    assert_eq!(outcomes, wanted.map(|(id, outcome)| (id, Some(outcome))).into());
    assert_eq!(stage.queues.dead_letters(1).await[0].key, "rejected");
    assert_eq!(daemon.metric("courier_retries_total", &[("tier", "5s")]).await, 1.0);
    stage.queues.client().publish(&stage.queues.name("commands"), "typo", b"lost?", BasicProperties::default()).await;
    assert_eq!(stage.queues.client().read_one(&stage.queues.name("unroutable"), SOON).await.body, b"lost?");
    stage.end(&daemon).await;

    stage.queues.client().delete_queue(&stage.queues.name("dead")).await;
    let (code, seen) = findings("verify", &courier, prefix).await;
    assert_eq!((code, state(&seen, "queue dead")), (Some(1), "missing"));
}
