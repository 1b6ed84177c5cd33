//! Commands against a running daemon: `pause`, `resume`, `status`, `journal`.

use serde_json::{Value, json};

use crate::{
    cli::run,
    support::{
        TIMEOUT,
        eventually::eventually,
        fixture::{Fixture, start_ready, wait_ready},
    },
};

#[tokio::test]
async fn paused_daemon_leaves_commands_queued_until_resume() {
    let fixture = Fixture::new("pause").await;
    let daemon = start_ready(&fixture.builder().set("admin.token", "s3cret")).await;
    let address = daemon.admin_address().expect("the admin address in the log").to_string();
    let settings = [("admin.listen", address.as_str()), ("admin.token", "s3cret")];

    let refused = run(&["pause", "--admin", &address], &[("admin.token", "wrong")]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("HTTP 401") && !refused.stderr.contains("wrong"), "{}", refused.stderr);

    assert_eq!(run(&["pause"], &settings).await.code, Some(0));
    eventually!(TIMEOUT, daemon.metric("courier_consumer_active", &[]).await == 0.0, "no active consumer");
    assert_eq!(daemon.get("/readyz").await, (200, "paused: operator\n".to_owned()), "paused on purpose");
    assert_eq!(daemon.metric("courier_gate_closed", &[("reason", "operator")]).await, 1.0);
    fixture.send(3, "hello").await;
    let status = run(&["status"], &settings).await.stdout;
    assert!(status.contains("closed by operator") && status.contains("operator: paused by an operator"), "{status}");
    assert_eq!((fixture.posts(), fixture.queued().await), (0, 3));

    assert_eq!(run(&["resume"], &settings).await.code, Some(0));
    fixture.expect_all_succeeded(3).await;
    wait_ready(&daemon).await;
    let status: Value = serde_json::from_str(&run(&["status", "--json"], &settings).await.stdout).expect("JSON");
    assert_eq!(status["gate"]["open"], true);
    fixture.drain(&daemon).await;
    assert_eq!(run(&["status"], &settings).await.code, Some(69), "the daemon has exited");
}

#[tokio::test]
async fn journal_show_works_while_daemon_runs() {
    let fixture = Fixture::new("journal-show").await;
    let builder = fixture.builder();
    let daemon = start_ready(&builder).await;
    fixture.send(2, "hello").await;
    fixture.expect_all_succeeded(2).await;
    let dir = builder.dir().join("edna-courier-journal").display().to_string();
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
    fixture.drain(&daemon).await;
    let missing = run(&["journal", "stats"], &[("journal.dir", "/nowhere")]).await;
    assert!(missing.code == Some(1) && missing.stderr.contains("check journal.dir"), "{}", missing.stderr);
}
