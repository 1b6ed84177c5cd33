//! A person's hand on a running daemon: pause, resume, status, and a look into the journal.

use serde_json::{Value, json};

use crate::{
    cli::run,
    support::{
        SOON,
        eventually::eventually,
        stage::{Stage, ready, start_ready},
    },
};

#[tokio::test]
async fn a_paused_daemon_leaves_the_commands_in_the_queue_until_it_is_resumed() {
    let stage = Stage::new("pause").await;
    let daemon = start_ready(&stage.setup().set("admin.token", "s3cret")).await;
    let address = daemon.admin_address().expect("it has told it").to_string();
    let settings = [("admin.listen", address.as_str()), ("admin.token", "s3cret")];

    let refused = run(&["pause", "--admin", &address], &[("admin.token", "wrong")]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("HTTP 401") && !refused.stderr.contains("wrong"), "{}", refused.stderr);

    assert_eq!(run(&["pause"], &settings).await.code, Some(0));
    eventually!(SOON, daemon.metric("courier_consumer_active", &[]).await == 0.0, "the end of the subscription");
    assert_eq!(daemon.get("/readyz").await, (200, "paused: operator\n".to_owned()), "on purpose");
    assert_eq!(daemon.metric("courier_gate_closed", &[("reason", "operator")]).await, 1.0);
    stage.send(3, "hello").await;
    let status = run(&["status"], &settings).await.stdout;
    assert!(status.contains("closed by operator") && status.contains("operator: paused by an operator"), "{status}");
    assert_eq!((stage.posts(), stage.waiting().await), (0, 3));

    assert_eq!(run(&["resume"], &settings).await.code, Some(0));
    stage.expect_success_of_all(3).await;
    ready(&daemon).await;
    let status: Value = serde_json::from_str(&run(&["status", "--json"], &settings).await.stdout).expect("JSON");
    assert_eq!(status["gate"]["open"], true);
    stage.end(&daemon).await;
    assert_eq!(run(&["status"], &settings).await.code, Some(69), "there is no daemon any more");
}

#[tokio::test]
async fn the_journal_is_shown_while_the_daemon_writes_in_it() {
    let stage = Stage::new("journal-show").await;
    let setup = stage.setup();
    let daemon = start_ready(&setup).await;
    stage.send(2, "hello").await;
    stage.expect_success_of_all(2).await;
    let dir = setup.dir().join("edna-courier-journal").display().to_string();
    let settings = [("journal.dir", dir.as_str())];

    let shown: Value =
        serde_json::from_str(&run(&["journal", "show", "c-1", "--json"], &settings).await.stdout).expect("JSON");
    assert_eq!((&shown["state"], &shown["event"]["commandId"]), (&json!("ended"), &json!("c-1")), "{shown}");
    assert_eq!(shown["event"]["outcome"], "succeeded");
    let unknown = run(&["journal", "show", "c-1", "--replay", "1"], &settings).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stdout.contains("nothing is on record"), "{}", unknown.stdout);
    let stats: Value =
        serde_json::from_str(&run(&["journal", "stats", "--json"], &settings).await.stdout).expect("JSON");
    assert_eq!(stats["entries"], 2, "{stats}");
    stage.end(&daemon).await;
    let none = run(&["journal", "stats"], &[("journal.dir", "/nowhere")]).await;
    assert!(none.code == Some(1) && none.stderr.contains("check journal.dir"), "{}", none.stderr);
}
