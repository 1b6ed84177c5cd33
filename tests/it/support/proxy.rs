//! A TCP proxy on loopback that fails on demand.
//!
//! Everything that may be asked of it is one value, [`Control`]; the tasks watch it. The daemon's two connections can be
//! told apart, see [`Proxy::only`].

mod frames;
mod line;
mod pump;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

pub(crate) use self::line::Link;
use self::{
    line::Line,
    pump::{Pump, Stream},
};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// A direction through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What the proxy is to do.
#[derive(Clone, Copy, Debug)]
struct Control {
    accepting: bool,
    /// By [`Link`].
    faults: [Faults; Link::ALL.len()],
}

/// What happens to connections of one kind.
#[derive(Clone, Copy, Debug)]
struct Faults {
    to_server: bool,
    to_client: bool,
    blackhole: bool,
    withhold_confirms: bool,
    /// A connection that was made under another number ends.
    cuts: u64,
}

const HEALTHY: Faults =
    Faults { to_server: true, to_client: true, blackhole: false, withhold_confirms: false, cuts: 0 };

impl Control {
    fn of(&self, link: Link) -> &Faults {
        &self.faults[link as usize]
    }
}

impl Faults {
    fn flows(&self, way: Way) -> bool {
        match way {
            Way::ToServer => self.to_server,
            Way::ToClient => self.to_client,
        }
    }
}

/// What the proxy has seen since its start.
#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    open: AtomicU64,
    bytes_to_server: AtomicU64,
    bytes_to_client: AtomicU64,
    confirms_withheld: AtomicU64,
    swallowed: AtomicU64,
}

/// The proxy; when its last handle is dropped, its listener and its connections are closed.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// Whose faults this handle makes and mends.
    links: &'static [Link],
    address: SocketAddr,
    control: watch::Sender<Control>,
    listening: watch::Receiver<bool>,
    counters: Arc<Counters>,
}

impl Proxy {
    /// Forwards whatever passes to `server` (`host:port`).
    pub(crate) async fn tcp(server: impl Into<String>) -> Self {
        Self::start(server.into(), false).await
    }

    /// Knows AMQP frames in addition, so that it can withhold confirms.
    pub(crate) async fn amqp(server: impl Into<String>) -> Self {
        Self::start(server.into(), true).await
    }

    async fn start(server: String, amqp: bool) -> Self {
        let place = bound((Ipv4Addr::LOCALHOST, 0).into());
        let address = place.local_addr().expect("bound");
        let (control, control_seen) = watch::channel(Control { accepting: true, faults: [HEALTHY; Link::ALL.len()] });
        let (listening_told, listening) = watch::channel(false);
        let counters = Arc::<Counters>::default();
        let route = Route { server, amqp, control: control_seen, counters: Arc::clone(&counters) };
        tokio::spawn(listen(place, address, route, listening_told));
        let proxy = Self { links: &Link::ALL, address, control, listening, counters };
        proxy.resume().await;
        proxy
    }

    /// A handle whose faults hit only the daemon's connections of this kind, from when the client has told its name in
    /// the handshake; its black hole swallows them from there on.
    pub(crate) fn only(&self, link: Link) -> Self {
        let links = &Link::ALL[link as usize..=link as usize];
        Self { links, ..self.clone() }
    }

    fn fault(&self, change: impl Fn(&mut Faults)) {
        self.control
            .send_modify(|control| self.links.iter().for_each(|link| change(&mut control.faults[*link as usize])));
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; new ones are welcome.
    pub(crate) fn cut(&self) {
        self.fault(|faults| faults.cuts += 1);
    }

    /// Forwards nothing more in either direction; peers may go on writing until the buffers on the way are full.
    pub(crate) fn stall(&self) {
        self.fault(|faults| (faults.to_server, faults.to_client) = (false, false));
    }

    /// The same in one direction only.
    pub(crate) fn stall_way(&self, way: Way) {
        self.fault(|faults| match way {
            Way::ToServer => faults.to_server = false,
            Way::ToClient => faults.to_client = false,
        });
    }

    /// Accepts new connections and says nothing on them, ever; those that exist go on.
    pub(crate) fn blackhole(&self) {
        self.fault(|faults| faults.blackhole = true);
    }

    /// Closes the listener: from now on connecting is refused; the connections that exist go on.
    pub(crate) async fn refuse(&self) {
        self.control.send_modify(|control| control.accepting = false);
        self.listening.clone().wait_for(|listening| !listening).await.expect("the listener's task lives");
    }

    /// Keeps the broker's confirms (`basic.ack` and `basic.nack` to the client) back; all else flows.
    pub(crate) fn withhold_confirms(&self) {
        self.fault(|faults| faults.withhold_confirms = true);
    }

    /// Does its work again: forwards, what was held back first, and accepts connections.
    pub(crate) async fn resume(&self) {
        self.fault(|faults| *faults = Faults { cuts: faults.cuts, ..HEALTHY });
        self.control.send_modify(|control| control.accepting = true);
        self.listening.clone().wait_for(|listening| *listening).await.expect("the listener's task lives");
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.counters.accepted.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> u64 {
        self.counters.open.load(Ordering::Relaxed)
    }

    /// Bytes taken so far from the side that this way starts from.
    pub(crate) fn bytes(&self, way: Way) -> u64 {
        self.counters.bytes(way).load(Ordering::Relaxed)
    }

    /// Confirms held back so far, whether released since or not: the broker had stored what they confirm.
    pub(crate) fn confirms_withheld(&self) -> u64 {
        self.counters.confirms_withheld.load(Ordering::Relaxed)
    }

    /// Connections that a black hole has swallowed so far.
    pub(crate) fn swallowed(&self) -> u64 {
        self.counters.swallowed.load(Ordering::Relaxed)
    }
}

impl Counters {
    fn bytes(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::ToServer => &self.bytes_to_server,
            Way::ToClient => &self.bytes_to_client,
        }
    }
}

/// Where connections lead and what they obey.
#[derive(Clone, Debug)]
struct Route {
    server: String,
    amqp: bool,
    control: watch::Receiver<Control>,
    counters: Arc<Counters>,
}

/// A socket at an address that others of its kind may share.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).and_then(|()| socket.set_reuseport(true)).expect("options");
    socket.bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    socket
}

/// Accepts connections until the proxy is dropped; closes the listener and opens it again as asked. The place, which never
/// listens, keeps the port from everybody else meanwhile.
async fn listen(_place: TcpSocket, address: SocketAddr, route: Route, listening: watch::Sender<bool>) {
    let mut control = route.control.clone();
    loop {
        let listener = bound(address).listen(BACKLOG).expect("a listener");
        listening.send_replace(true);
        tokio::select! {
            () = accept(&listener, &route) => {}
            closed = control.wait_for(|control| !control.accepting) => if closed.is_err() { return },
        }
        drop(listener);
        listening.send_replace(false);
        if control.wait_for(|control| control.accepting).await.is_err() {
            return;
        }
    }
}

async fn accept(listener: &TcpListener, route: &Route) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(route.clone().connection(client));
    }
}

impl Route {
    /// Serves one connection until both sides are done, it is cut, or the proxy is dropped.
    async fn connection(self, client: TcpStream) {
        let counters = Arc::clone(&self.counters);
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        counters.open.fetch_add(1, Ordering::Relaxed);
        let line = Line::new(self.control.clone(), Arc::clone(&counters));
        tokio::select! {
            () = line.cut() => {}
            () = self.talk(client, &line) => {}
        }
        counters.open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn talk(self, client: TcpStream, line: &Line) {
        if line.is_swallowed() {
            return std::future::pending().await;
        }
        let Ok(server) = TcpStream::connect(&self.server).await else { return };
        let _immediate = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let answers = if self.amqp { Stream::amqp() } else { Stream::raw() };
        let forth = Pump { way: Way::ToServer, stream: Stream::raw(), line: line.clone() };
        let back = Pump { way: Way::ToClient, stream: answers, line: line.clone() };
        let (_forth, _back) = tokio::join!(forth.run(from_client, to_server), back.run(from_server, to_client));
    }
}
