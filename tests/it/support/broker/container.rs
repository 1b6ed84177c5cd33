//! A RabbitMQ container.

use std::{mem, process::Command, time::Duration};

use testcontainers::{
    ContainerAsync, GenericImage, ImageExt, TestcontainersError,
    core::{IntoContainerPort, WaitFor},
    runners::AsyncRunner,
};

use super::reaper::Reaper;

const AMQP_PORT: u16 = 5672;
const MANAGEMENT_PORT: u16 = 15672;

/// A container that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
    _reaper: Reaper,
}

impl Container {
    /// Starts a container with this name and returns it with the host ports of AMQP and of the management API.
    /// Blocks.
    pub(super) fn start(name: String, start_timeout: Duration) -> Result<(Self, [u16; 2]), String> {
        // Started before the container exists, so that there is no gap. If `docker rm` removed nothing (printed no name),
        // the container may be about to be created: try again.
        let script = r#"for attempt in 1 2; do docker rm --force --volumes "$1" | grep -q . && break; sleep 1; done"#;
        let reaper = Reaper::new(script, &[&name]).map_err(|e| format!("the reaper did not start: {e}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let ports = runtime.block_on(run(&name, start_timeout)).map_err(|e| e.to_string())?;
        Ok((Self { name, _reaper: reaper }, ports))
    }

    pub(super) fn rabbitmqctl(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", &self.name, "rabbitmqctl"]);
        command
    }
}

async fn run(name: &str, start_timeout: Duration) -> Result<[u16; 2], TestcontainersError> {
    let container: ContainerAsync<GenericImage> = GenericImage::new("rabbitmq", "4-management")
        .with_exposed_port(AMQP_PORT.tcp())
        .with_exposed_port(MANAGEMENT_PORT.tcp())
        .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
        .with_container_name(name)
        .with_startup_timeout(start_timeout)
        .start()
        .await?;
    let amqp = container.get_host_port_ipv4(AMQP_PORT.tcp()).await?;
    let management = container.get_host_port_ipv4(MANAGEMENT_PORT.tcp()).await?;
    // Dropping it would remove the container now; the reaper does that later.
    mem::forget(container);
    Ok([amqp, management])
}
