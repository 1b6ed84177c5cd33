//! A TCP proxy on loopback that injects faults.
//!
//! Its tasks watch one [`Control`] value. Faults can be limited to one of the daemon's two connections, see
//! [`Proxy::for_role`].

mod connection;
mod control;
mod frames;
mod pump;
mod role;

use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr},
    sync::{Arc, atomic::Ordering},
};

use socket2::SockRef;
use tokio::{
    io::{copy, sink},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

use self::{
    connection::ProxiedConnection,
    control::{Control, Counters, Faults, HEALTHY},
    pump::{Pump, Stream},
};
pub(crate) use self::{control::Direction, role::Role};

/// Limit of connections not accepted yet.
const BACKLOG: u32 = 1_024;

/// A handle to the proxy. Dropping the last one closes the listener and all connections.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// The roles that the faults of this handle apply to.
    roles: &'static [Role],
    address: SocketAddr,
    control: watch::Sender<Control>,
    listening: watch::Receiver<bool>,
    counters: Arc<Counters>,
}

impl Proxy {
    /// Starts a proxy that forwards bytes to `server` (`host:port`).
    pub(crate) async fn tcp(server: impl Into<String>) -> Self {
        Self::start(server.into(), false).await
    }

    /// Starts a proxy that parses AMQP frames, which [`withhold_confirms`](Self::withhold_confirms) needs.
    pub(crate) async fn amqp(server: impl Into<String>) -> Self {
        Self::start(server.into(), true).await
    }

    async fn start(server: String, amqp: bool) -> Self {
        let reserved = bind((Ipv4Addr::LOCALHOST, 0).into());
        let address = reserved.local_addr().expect("bound");
        let (control, control_receiver) =
            watch::channel(Control { accepting: true, faults: [HEALTHY; Role::ALL.len()] });
        let (listening_sender, listening) = watch::channel(false);
        let counters = Arc::<Counters>::default();
        let route = Route { server, amqp, control: control_receiver, counters: Arc::clone(&counters) };
        tokio::spawn(listen(reserved, address, route, listening_sender));
        let proxy = Self { roles: &Role::ALL, address, control, listening, counters };
        proxy.resume().await;
        proxy
    }

    /// A handle whose faults apply only to the daemon's connections with this role. A connection's role is known once the
    /// client has sent its connection name in the handshake; a black hole takes effect from there on.
    pub(crate) fn for_role(&self, role: Role) -> Self {
        let roles = &Role::ALL[role as usize..=role as usize];
        Self { roles, ..self.clone() }
    }

    fn fault(&self, change: impl Fn(&mut Faults)) {
        self.control
            .send_modify(|control| self.roles.iter().for_each(|role| change(&mut control.faults[*role as usize])));
    }

    /// The address for clients.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections; new ones are accepted.
    pub(crate) fn cut(&self) {
        self.fault(|faults| faults.cuts += 1);
    }

    /// Closes the clients' ends of all connections and leaves the server's ends open and silent, until the server closes
    /// them; new connections are accepted.
    pub(crate) fn lose(&self) {
        self.fault(|faults| faults.losses += 1);
    }

    /// Stops forwarding in both directions; peers can write until the buffers are full.
    pub(crate) fn stall(&self) {
        self.fault(|faults| (faults.to_server, faults.to_client) = (false, false));
    }

    /// Stops forwarding in one direction.
    pub(crate) fn stall_direction(&self, direction: Direction) {
        self.fault(|faults| match direction {
            Direction::ToServer => faults.to_server = false,
            Direction::ToClient => faults.to_client = false,
        });
    }

    /// Accepts new connections and never answers on them; existing ones are unaffected.
    pub(crate) fn blackhole(&self) {
        self.fault(|faults| faults.blackhole = true);
    }

    /// Closes the listener, so that new connections are refused; existing ones are unaffected.
    pub(crate) async fn refuse(&self) {
        self.control.send_modify(|control| control.accepting = false);
        self.listening.clone().wait_for(|listening| !listening).await.expect("the listener task runs");
    }

    /// Holds back the broker's confirms (`basic.ack`, `basic.nack`); all other frames are forwarded.
    pub(crate) fn withhold_confirms(&self) {
        self.fault(|faults| faults.withhold_confirms = true);
    }

    /// Holds back all that the broker sends but heartbeats, as a node does that is cut off from its cluster; for a proxy
    /// that parses AMQP.
    pub(crate) fn only_heartbeats(&self) {
        self.fault(|faults| faults.only_heartbeats = true);
    }

    /// Holds back deliveries and the replies to subscriptions, as a node does that leads the queue and cannot commit a change
    /// of it; for a proxy that parses AMQP.
    pub(crate) fn withhold_deliveries(&self) {
        self.fault(|faults| faults.withhold_deliveries = true);
    }

    /// Ends all faults: forwards again, held-back bytes first, and accepts connections.
    pub(crate) async fn resume(&self) {
        self.fault(|faults| *faults = Faults { cuts: faults.cuts, losses: faults.losses, ..HEALTHY });
        self.control.send_modify(|control| control.accepting = true);
        self.listening.clone().wait_for(|listening| *listening).await.expect("the listener task runs");
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.counters.accepted.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> u64 {
        self.counters.open.load(Ordering::Relaxed)
    }

    /// Bytes read so far from the sender of this direction.
    pub(crate) fn bytes(&self, direction: Direction) -> u64 {
        self.counters.bytes(direction).load(Ordering::Relaxed)
    }

    /// Confirms held back so far, including those released since. The broker has stored the messages they confirm.
    pub(crate) fn confirms_withheld(&self) -> u64 {
        self.counters.confirms_withheld.load(Ordering::Relaxed)
    }

    /// Connections that entered a black hole so far.
    pub(crate) fn blackholed(&self) -> u64 {
        self.counters.blackholed.load(Ordering::Relaxed)
    }
}

/// The upstream server and the state shared by all connections.
#[derive(Clone, Debug)]
struct Route {
    server: String,
    amqp: bool,
    control: watch::Receiver<Control>,
    counters: Arc<Counters>,
}

/// Binds a socket with `SO_REUSEPORT`.
fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).and_then(|()| socket.set_reuseport(true)).expect("socket options");
    socket.bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    socket
}

/// Accepts connections until the proxy is dropped; closes and reopens the listener on request. `_reserved` is bound and
/// never listens: it keeps the port reserved while the listener is closed.
async fn listen(_reserved: TcpSocket, address: SocketAddr, route: Route, listening: watch::Sender<bool>) {
    let mut control = route.control.clone();
    loop {
        let listener = bind(address).listen(BACKLOG).expect("a listener");
        listening.send_replace(true);
        tokio::select! {
            () = accept(&listener, &route) => {}
            closed = control.wait_for(|control| !control.accepting) => if closed.is_err() { return },
        }
        // Another test may just be starting a process, which holds a copy of the socket until it runs its program: closing
        // this one alone would leave it listening for that moment.
        let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
        drop(listener);
        listening.send_replace(false);
        if control.wait_for(|control| control.accepting).await.is_err() {
            return;
        }
    }
}

async fn accept(listener: &TcpListener, route: &Route) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(route.clone().serve(client));
    }
}

impl Route {
    /// Serves one connection until both sides have closed it, it is cut, or the proxy is dropped.
    async fn serve(self, client: TcpStream) {
        let counters = Arc::clone(&self.counters);
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        counters.open.fetch_add(1, Ordering::Relaxed);
        let connection = ProxiedConnection::new(self.control.clone(), Arc::clone(&counters));
        tokio::select! {
            () = connection.cut() => {}
            () = self.forward(client, &connection) => {}
        }
        counters.open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn forward(self, client: TcpStream, connection: &ProxiedConnection) {
        if connection.is_blackholed() {
            return std::future::pending().await;
        }
        let Ok(server) = TcpStream::connect(&self.server).await else { return };
        let _nodelay = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let responses = if self.amqp { Stream::amqp() } else { Stream::raw() };
        let upstream = Pump { direction: Direction::ToServer, stream: Stream::raw(), connection: connection.clone() };
        let downstream = Pump { direction: Direction::ToClient, stream: responses, connection: connection.clone() };
        let both = async {
            tokio::join!(upstream.run(from_client, &mut to_server), downstream.run(&mut from_server, to_client))
        };
        tokio::select! {
            _ = both => {}
            () = connection.lost() => drop(copy(&mut from_server, &mut sink()).await),
        }
    }
}
