//! The table of all settings: names, kinds, defaults and descriptions.
//!
//! `deploy/configuration.md` is generated from this table by a test.

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`; the environment variable is `EDNA_COURIER__SECTION__KEY`.
    pub path: &'static str,
    /// The kind of value, with its range or choices.
    pub kind: &'static str,
    /// The value that applies when the setting is absent; `None` if there is none.
    pub default: Option<&'static str>,
    /// What the setting does, in Markdown.
    pub doc: &'static str,
    /// Whether the value is hidden, and may be read from the file that the setting `<path>_file` names.
    pub secret: bool,
}

/// One section of the TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name in brackets.
    pub name: &'static str,
    /// What its settings are for, in Markdown.
    pub doc: &'static str,
}

const fn plain(path: &'static str, kind: &'static str, default: Option<&'static str>, doc: &'static str) -> Setting {
    Setting { path, kind, default, doc, secret: false }
}

const fn secret(path: &'static str, kind: &'static str, default: Option<&'static str>, doc: &'static str) -> Setting {
    Setting { path, kind, default, doc, secret: true }
}

/// Every setting, grouped by section.
#[must_use]
pub const fn reference() -> &'static [Setting] {
    SETTINGS
}

/// Every section, in the order of [`reference()`].
#[must_use]
pub const fn sections() -> &'static [Section] {
    SECTIONS
}

const fn section(name: &'static str, doc: &'static str) -> Section {
    Section { name, doc }
}

const SECTIONS: &[Section] = &[
    section("broker", "The connection to RabbitMQ, and the names of exchanges and queues there."),
    section(
        "api",
        "The edna Chat Center API. `api.base_url` and one credential are the only settings without a default that \
         every daemon needs: `api.token`, `api.token_file`, or `api.login` with a password.",
    ),
    section(
        "delivery",
        "Which messages are accepted as commands, how often they are attempted, and when the daemon gives up.",
    ),
    section(
        "limits",
        "How many attempts may run at once, and how fast they may start. All limits apply to one daemon. SIGHUP \
         (`systemctl reload edna-courier`) reloads `limits.per_second`, `limits.channel_per_second` and \
         `limits.device_interval`; a new set of channel types, and every other setting, needs a restart.",
    ),
    section("journal", "The durable record of started and finished attempts. It prevents a second POST after a crash."),
    section("events", "The events that the daemon publishes, one for each outcome."),
    section(
        "admin",
        "The HTTP server for metrics, probes, status and control. Its pages need no password: bind it to a private \
         address.",
    ),
    section("log", "Log lines on standard error. Message texts, device addresses and secrets are never logged."),
];

const SETTINGS: &[Setting] = &[
    secret(
        "broker.url",
        "URL or list of URLs",
        Some("amqp://guest:guest@127.0.0.1:5672/%2f"),
        "Address of RabbitMQ, `amqp` or `amqps`. With several URLs, the nodes of a cluster, each connection \
         moves on to the next one when it fails or is lost. User and password are percent-encoded. IPv6 addresses are \
         not supported; use a host name. `heartbeat` is 4 s by default and capped at 60 s; `frame_max` is always 131072.",
    ),
    plain(
        "broker.prefix",
        "name",
        Some("edna"),
        "Prefix of all exchange and queue names; 1 to 64 letters, digits, dots, dashes or underscores. \
         `edna-courier topology show` lists the names.",
    ),
    plain(
        "broker.declare",
        "true or false",
        Some("false"),
        "Whether `run` declares exchanges, queues and bindings. If `false`, they must exist (`edna-courier topology \
         apply`), and the daemon needs no permission to configure.",
    ),
    secret(
        "broker.management_url",
        "URL",
        None,
        "Address of RabbitMQ's management API, as in `http://host:15672`, with the credentials of `broker.url` unless it \
         holds its own; the user needs the tag `monitoring`. Optional: AMQP shows neither policies nor messages that the \
         broker cannot dead-letter, so without it `topology verify` judges by arguments alone.",
    ),
    plain(
        "broker.ca_file",
        "PEM file",
        None,
        "Certificates to trust in addition to the system's, for `amqps` and the management API.",
    ),
    plain(
        "broker.cert_file",
        "PEM file",
        None,
        "Client certificate and its chain, for a broker that requires one. Needs `broker.key_file`.",
    ),
    plain("broker.key_file", "PEM file", None, "Private key of `broker.cert_file`: PKCS #8, without a passphrase."),
    plain(
        "api.base_url",
        "URL",
        None,
        "Address of the API, `http` or `https`, with a path prefix if there is one, as in `https://name.edna.io`. \
         Required.",
    ),
    plain(
        "api.path",
        "path",
        Some("/api/v1/messages/outgoing-to-device"),
        "Path of the method that sends a message, below `api.base_url`.",
    ),
    secret(
        "api.token",
        "token",
        None,
        "API token, with or without the word `Bearer`. The daemon reads `api.token_file` again when that file \
         changes; a new `api.token` needs a restart.",
    ),
    plain("api.login", "name", None, "User to log in as, instead of a token. Needs `api.password`."),
    secret(
        "api.password",
        "password",
        None,
        "Password of `api.login`. The daemon reads `api.password_file` again before each login.",
    ),
    plain("api.login_path", "path", Some("/api/auth/login"), "Path of the login method, below `api.base_url`."),
    plain(
        "api.descriptor_field",
        "name",
        Some("clientApplicationDescriptor"),
        "JSON key of the device in the request. The API's samples use the default; its table of fields says \
         `applicationDescriptor`, which some installations require.",
    ),
    plain(
        "api.timeout",
        "duration from 100ms to 5m",
        Some("30s"),
        "Time for a whole attempt. When it ends without an answer the attempt is uncertain, so choose it too long \
         rather than too short.",
    ),
    plain(
        "api.connect_timeout",
        "duration from 50ms to 5m",
        Some("5s"),
        "Time to connect, including proxy and TLS; at most half of `api.timeout`.",
    ),
    plain(
        "api.keep_alive",
        "duration from 1s to 5m",
        Some("4s"),
        "How long an idle connection stays open. Set it below the idle timeout of the server: a request that meets a \
         connection which the server is closing is uncertain. Node closes after 5 s, nginx after 75 s. A shorter time \
         that the server states in `Keep-Alive` is respected.",
    ),
    plain(
        "api.channel_types",
        "list of channel types",
        Some(""),
        "Channel types to accept; if empty, all. A command for another channel type becomes the dead letter \
         `malformed` without an attempt.",
    ),
    secret(
        "api.proxy",
        "URL or none",
        None,
        "Proxy for all requests to the API: `http`, `https`, `socks5`, or `socks5h` (the proxy resolves names), with \
         credentials in the URL if it requires them. If absent, the environment variables `HTTPS_PROXY`, \
         `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` apply, and an invalid one is a mistake; `none` ignores these variables.",
    ),
    plain("api.ca_file", "PEM file", None, "Certificates to trust in addition to the system's, for `https`."),
    plain(
        "api.cert_file",
        "PEM file",
        None,
        "Client certificate and its chain, for an API that requires mutual TLS. Needs `api.key_file`.",
    ),
    plain("api.key_file", "PEM file", None, "Private key of `api.cert_file`, without a passphrase."),
    plain(
        "api.retry_statuses",
        "list of whole numbers from 300 to 599",
        Some("408,425,503"),
        "HTTP statuses which prove that the API did not accept the command and may accept it later. The attempt is \
         repeated.",
    ),
    plain(
        "api.unauthorized_statuses",
        "list of whole numbers from 300 to 599",
        Some("401,403,407"),
        "HTTP statuses which mean that the API refuses the credential. The gate closes, and commands stay in the \
         queue.",
    ),
    plain(
        "api.uncertain_statuses",
        "list of whole numbers from 300 to 599",
        Some("500,502,504"),
        "HTTP statuses after which the API may or may not have sent the message. A status may be in one of the \
         three lists only.",
    ),
    plain(
        "delivery.max_attempts",
        "whole number from 1 to 100",
        Some("8"),
        "Number of counted attempts after which a command becomes the dead letter `exhausted`.",
    ),
    plain(
        "delivery.tiers",
        "list of durations from 50ms to 1d",
        Some("5s,30s,2m,10m,1h"),
        "Delay queues for commands between attempts, after two short waits in memory. Each is named as its duration \
         is written here: `<prefix>.retry.5s`.",
    ),
    plain(
        "delivery.on_uncertain",
        "resend or park",
        Some("resend"),
        "Policy for an uncertain attempt of a command without `onUncertain`. `resend` tries again and may send a \
         message twice; `park` stops and publishes the outcome `uncertain` and a dead letter.",
    ),
    plain(
        "delivery.missing_id",
        "reject or generate",
        Some("reject"),
        "A command without an id is malformed (`reject`), or gets a random id (`generate`) and with it no \
         protection against duplicates.",
    ),
    plain(
        "delivery.unknown_fields",
        "reject or ignore",
        Some("reject"),
        "Whether an unknown field makes a command malformed. `reject` detects typos.",
    ),
    plain(
        "delivery.default_ttl",
        "duration from 1s to 365d",
        None,
        "Time to live of commands without `expiresAt`, counted from the AMQP timestamp or else from the first \
         delivery. If absent, such commands never expire.",
    ),
    plain("delivery.max_text", "whole number from 1 to 1048576", Some("2000"), "Largest text, in characters."),
    plain("delivery.max_body", "whole number from 1024 to 16777216", Some("262144"), "Largest message body, in bytes."),
    plain(
        "delivery.drain",
        "duration from 0ms to 1h",
        Some("30s"),
        "Time for commands in hand to finish at shutdown. The supervisor should allow 30 s more before it kills the \
         process.",
    ),
    plain(
        "delivery.order",
        "device or none",
        Some("device"),
        "`device`: the commands for one device, or with one `orderKey`, are attempted one at a time in the order of \
         the queue. `none`: commands are attempted in any order.",
    ),
    plain(
        "limits.mode",
        "adaptive or fixed",
        Some("adaptive"),
        "`adaptive` adjusts the number of concurrent attempts to the API's latency, throttling and failures, \
         between the next two settings. `fixed` always allows `limits.max_in_flight`.",
    ),
    plain("limits.min_in_flight", "whole number from 2 to 10000", Some("4"), "Lower bound of the adaptive limit."),
    plain(
        "limits.max_in_flight",
        "whole number from 1 to 10000",
        Some("64"),
        "Most attempts in flight. With HTTP/1.1 each has a connection, so the limit of open files must be higher by \
         256. The consumer's prefetch is one and a half times this number, and more while commands wait.",
    ),
    plain(
        "limits.max_bytes_in_hand",
        "whole number from 1048576 to 1073741824",
        Some("67108864"),
        "Bound of the bodies in hand, in bytes, each counted twice: once for the copy that is published when it becomes a \
         dead letter. While bodies are large, fewer commands are in hand than the prefetch allows, at least one.",
    ),
    plain(
        "limits.per_second",
        "rate from 0.001 to 100000",
        None,
        "Most attempts that start per second. If absent, no limit.",
    ),
    plain(
        "limits.channel_per_second",
        "table or list of channel=rate",
        Some(""),
        "The same for individual channel types, as in `WHATSAPP=20,MOBILE=5`.",
    ),
    plain(
        "limits.device_interval",
        "duration from 0ms to 1h",
        Some("0s"),
        "Shortest time between the starts of two attempts for one device. Needs `delivery.order = \"device\"`, and is not \
         applied while other daemons consume the queue.",
    ),
    plain(
        "journal.kind",
        "file, redis or none",
        Some("file"),
        "`file`: a directory that one daemon uses. `redis`: a Redis shared by several daemons on one queue. `none`: \
         no journal; after a crash, attempts that were in flight are sent again.",
    ),
    plain(
        "journal.dir",
        "directory",
        Some("edna-courier-journal"),
        "Directory of the journal `file`, created if it is missing. Use a local disk that survives a restart, no \
         network share.",
    ),
    secret(
        "journal.redis_url",
        "URL",
        None,
        "Address of the journal `redis`: `redis://host:6379/0`, or with the scheme `rediss` (TLS), `redis+cluster` \
         or `redis+sentinel`. A Sentinel service name consists of letters, digits, dots, dashes or underscores.",
    ),
    plain(
        "journal.retention",
        "duration from 1h to 31d",
        Some("72h"),
        "How long a command's record is kept. Set it longer than any producer or broker may take to deliver a \
         command again.",
    ),
    plain(
        "journal.max_bytes",
        "whole number from 16777216 to 1099511627776",
        Some("8589934592"),
        "Largest size of the journal `file`, in bytes. At this size the oldest records are dropped before \
         `journal.retention` ends.",
    ),
    plain(
        "events.default_queue",
        "true or false",
        Some("true"),
        "Whether the declared topology includes the queue `<prefix>.events`, which receives all events.",
    ),
    plain(
        "events.replies",
        "true or false",
        Some("false"),
        "Whether an event is also published to the queue in the command's `reply_to`.",
    ),
    plain(
        "events.format",
        "plain, cloudevents-structured or cloudevents-binary",
        Some("plain"),
        "Format of events: JSON, or CloudEvents 1.0 in structured or binary mode.",
    ),
    plain(
        "admin.listen",
        "address:port",
        Some("127.0.0.1:9464"),
        "Address of the admin server; port 0 takes a free port.",
    ),
    secret("admin.token", "token", None, "Token for `POST /pause` and `POST /resume`. If absent, both are disabled."),
    plain(
        "log.level",
        "level or directives",
        Some("info"),
        "`error`, `warn`, `info`, `debug` or `trace`, or directives for single modules such as \
         `info,edna_courier::amqp=debug`.",
    ),
    plain(
        "log.format",
        "auto, text or json",
        Some("auto"),
        "`auto` writes text to a terminal and JSON to everything else.",
    ),
];
