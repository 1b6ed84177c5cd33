//! One connection through the proxy: its role and the faults that apply to it.

use std::sync::{Arc, Mutex, MutexGuard, atomic::Ordering};

use tokio::sync::watch;

use super::{
    control::{Control, Counters, Direction, Faults},
    role::Role,
};

/// The name is in the client's first frame; later bytes are not searched.
const HANDSHAKE_BYTES: usize = 4_096;

/// The state that both directions of a connection share.
#[derive(Clone, Debug)]
pub(super) struct ProxiedConnection {
    control: watch::Receiver<Control>,
    pub(super) counters: Arc<Counters>,
    state: Arc<Mutex<ConnectionState>>,
}

#[derive(Debug)]
struct ConnectionState {
    role: Role,
    /// The faults of the role when the connection got it.
    initial: Faults,
    /// The client's first bytes, until the connection name is found.
    handshake: Vec<u8>,
}

impl ProxiedConnection {
    pub(super) fn new(mut control: watch::Receiver<Control>, counters: Arc<Counters>) -> Self {
        let initial = *control.borrow_and_update().of(Role::Other);
        counters.blackholed.fetch_add(u64::from(initial.blackhole), Ordering::Relaxed);
        let state = ConnectionState { role: Role::Other, initial, handshake: Vec::new() };
        Self { control, counters, state: Arc::new(Mutex::new(state)) }
    }

    /// Whether the connection was accepted into a black hole.
    pub(super) fn is_blackholed(&self) -> bool {
        self.state().initial.blackhole
    }

    /// Resolves when the connection is cut or the proxy is dropped.
    pub(super) async fn cut(&self) {
        let is_cut = |control: &Control| {
            let state = self.state();
            control.of(state.role).cuts != state.initial.cuts
        };
        drop(self.control.clone().wait_for(is_cut).await);
    }

    /// Resolves when the connection is lost or the proxy is dropped.
    pub(super) async fn lost(&self) {
        let is_lost = |control: &Control| {
            let state = self.state();
            control.of(state.role).losses != state.initial.losses
        };
        drop(self.control.clone().wait_for(is_lost).await);
    }

    /// Waits until bytes may pass in this direction; returns the current faults, or `None` if the proxy is dropped.
    pub(super) async fn flows(&mut self, direction: Direction) -> Option<Faults> {
        let state = Arc::clone(&self.state);
        let flows = |control: &Control| {
            let state = state.lock().expect("not poisoned");
            !state.initial.blackhole && control.of(state.role).flows(direction)
        };
        let control = *self.control.wait_for(flows).await.ok()?;
        Some(*control.of(self.state().role))
    }

    /// Waits for the next change of the control value; `None` if the proxy is dropped.
    pub(super) async fn changed(&mut self) -> Option<()> {
        self.control.changed().await.ok()
    }

    /// Searches the client's first bytes for the connection name.
    pub(super) fn inspect_handshake(&self, bytes: &[u8]) {
        // Lock order: `control` before `state`, as in `wait_for`.
        let control = *self.control.borrow();
        let mut state = self.state();
        if state.role != Role::Other || state.handshake.len() >= HANDSHAKE_BYTES {
            return;
        }
        state.handshake.extend_from_slice(bytes);
        if let Some(role) = Role::from_handshake(&state.handshake) {
            (state.role, state.initial) = (role, *control.of(role));
            self.counters.blackholed.fetch_add(u64::from(state.initial.blackhole), Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().expect("not poisoned")
    }
}
