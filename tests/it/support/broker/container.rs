//! RabbitMQ in a container.

use std::{mem, process::Command};

use testcontainers::{
    ContainerAsync, GenericImage, ImageExt, TestcontainersError,
    core::{IntoContainerPort, WaitFor},
    runners::AsyncRunner,
};

use super::{START_LIMIT, guardian::Guardian, stem};
use crate::support::unique;

const AMQP_PORT: u16 = 5672;

/// A container that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
    _guardian: Guardian,
}

impl Container {
    /// Starts it and returns it with the port on this machine that leads to its AMQP port. Blocks.
    pub(super) fn start() -> Result<(Self, u16), String> {
        let name = unique(&stem(std::process::id()));
        // Before the container exists, so that there is no moment without a guardian. If nothing was removed (no name
        // was printed), the container may just be about to be created.
        let script = r#"for turn in 1 2; do docker rm --force --volumes "$1" | grep -q . && break; sleep 1; done"#;
        let guardian = Guardian::new(script, &[&name]).map_err(|e| format!("no guardian: {e}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let port = runtime.block_on(run(&name)).map_err(|e| e.to_string())?;
        Ok((Self { name, _guardian: guardian }, port))
    }

    pub(super) fn rabbitmqctl(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", &self.name, "rabbitmqctl"]);
        command
    }
}

async fn run(name: &str) -> Result<u16, TestcontainersError> {
    let container: ContainerAsync<GenericImage> = GenericImage::new("rabbitmq", "4-management")
        .with_exposed_port(AMQP_PORT.tcp())
        .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
        .with_container_name(name)
        .with_startup_timeout(START_LIMIT)
        .start()
        .await?;
    let port = container.get_host_port_ipv4(AMQP_PORT.tcp()).await?;
    // Its drop would remove the container now; the guardian does that later.
    mem::forget(container);
    Ok(port)
}
