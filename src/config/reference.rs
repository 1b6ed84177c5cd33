//! The table of all settings: what is not here is unknown.

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`; the environment variable is `EDNA_COURIER__SECTION__KEY`.
    pub path: &'static str,
    /// What may stand there, in a word or a few.
    pub kind: &'static str,
    /// What holds when it is not set; `None` when nothing does.
    pub default: Option<&'static str>,
    /// What it is for.
    pub doc: &'static str,
    /// Its value is hidden; and its twin, with `_file` appended, names a file that holds it.
    pub secret: bool,
}

const fn plain(path: &'static str, kind: &'static str, default: Option<&'static str>, doc: &'static str) -> Setting {
    Setting { path, kind, default, doc, secret: false }
}

const fn secret(path: &'static str, kind: &'static str, default: Option<&'static str>, doc: &'static str) -> Setting {
    Setting { path, kind, default, doc, secret: true }
}

/// Every setting, in the order of the sections.
#[must_use]
pub const fn reference() -> &'static [Setting] {
    SETTINGS
}

const SETTINGS: &[Setting] = &[
    secret(
        "broker.url",
        "URL or list",
        Some("amqp://guest:guest@127.0.0.1:5672/%2f"),
        "where RabbitMQ is, `amqp` or `amqps`; of several, the next is tried when one fails",
    ),
    plain("broker.prefix", "name", Some("edna"), "what the names of our exchanges and queues start with"),
    plain(
        "broker.declare",
        "true or false",
        Some("false"),
        "whether `run` declares the topology; otherwise it must be there",
    ),
    plain("broker.ca_file", "PEM file", None, "certificates to trust besides the system's, for `amqps`"),
    plain("broker.cert_file", "PEM file", None, "the client certificate, with `broker.key_file`"),
    plain("broker.key_file", "PEM file", None, "the client certificate's key, PKCS #8"),
    plain(
        "api.base_url",
        "URL",
        None,
        "where the API is, `http` or `https`, with a path prefix if it has one; required",
    ),
    plain("api.path", "path", Some("/api/v1/messages/outgoing-to-device"), "the method, below `api.base_url`"),
    secret(
        "api.token",
        "token",
        None,
        "the API token, with or without `Bearer`; `api.token_file` is read again when it changes",
    ),
    plain("api.login", "name", None, "instead of a token: the user to log in as"),
    secret(
        "api.password",
        "password",
        None,
        "the password of `api.login`; `api.password_file` is read again before each login",
    ),
    plain("api.login_path", "path", Some("/api/auth/login"), "where to log in, below `api.base_url`"),
    plain(
        "api.descriptor_field",
        "name",
        Some("clientApplicationDescriptor"),
        "the request's key for the device; some installations want `applicationDescriptor`",
    ),
    plain(
        "api.timeout",
        "duration",
        Some("30s"),
        "how long an attempt may take in all; after it the outcome is uncertain",
    ),
    plain("api.connect_timeout", "duration", Some("5s"), "how long connecting may take, TLS included"),
    plain(
        "api.keep_alive",
        "duration",
        Some("15s"),
        "how long an idle connection is kept; keep it below the server's own limit",
    ),
    plain("api.channel_types", "list", Some(""), "the channel types to accept; any if empty"),
    secret(
        "api.proxy",
        "URL or none",
        None,
        "the proxy to the API: `http`, `https`, `socks5` or `socks5h` (the proxy resolves names), with credentials if it wants some; `none` ignores the environment; unset, `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` apply",
    ),
    plain("api.ca_file", "PEM file", None, "certificates to trust besides the system's, for `https`"),
    plain("api.cert_file", "PEM file", None, "the client certificate for mutual TLS, with `api.key_file`"),
    plain("api.key_file", "PEM file", None, "the client certificate's private key, without a passphrase"),
    plain(
        "api.retry_statuses",
        "list of statuses",
        Some("408,425,503"),
        "the API did not take the command and may later",
    ),
    plain(
        "api.unauthorized_statuses",
        "list of statuses",
        Some("401,403,407"),
        "the API does not accept our credential: the gate closes, the commands stay",
    ),
    plain(
        "api.uncertain_statuses",
        "list of statuses",
        Some("500,502,504"),
        "the API may have taken the command before it failed",
    ),
    plain("delivery.max_attempts", "number", Some("8"), "after so many counted attempts a command is `exhausted`"),
    plain(
        "delivery.tiers",
        "list of durations",
        Some("5s,30s,2m,10m,1h"),
        "the delay queues `<p>.retry.<tier>`, each named as it is written here",
    ),
    plain(
        "delivery.on_uncertain",
        "resend or park",
        Some("resend"),
        "what follows when an attempt may have reached the API, for commands that do not say",
    ),
    plain(
        "delivery.missing_id",
        "reject or generate",
        Some("reject"),
        "a command without an id is malformed, or gets one and no protection against duplicates",
    ),
    plain(
        "delivery.unknown_fields",
        "reject or ignore",
        Some("reject"),
        "whether a field that the contract does not know makes a command malformed",
    ),
    plain(
        "delivery.default_ttl",
        "duration",
        None,
        "a deadline for commands without `expiresAt`, counted from their AMQP timestamp or first sight",
    ),
    plain("delivery.max_text", "characters", Some("2000"), "the longest text"),
    plain("delivery.max_body", "bytes", Some("262144"), "the largest message body"),
    plain("delivery.drain", "duration", Some("30s"), "how long work in hand may take to finish at shutdown"),
    plain(
        "delivery.order",
        "device or none",
        Some("device"),
        "whether the commands for one device are attempted one after the other, in the order of the queue",
    ),
    plain(
        "limits.mode",
        "adaptive or fixed",
        Some("adaptive"),
        "whether the number of attempts under way is learned from the API's answers, or always `limits.max_in_flight`",
    ),
    plain("limits.min_in_flight", "number", Some("4"), "what the limit that learns never falls below"),
    plain(
        "limits.max_in_flight",
        "number",
        Some("64"),
        "how many attempts may be under way at once, each on a connection of its own, or over HTTP/2 a hundred on one; at most 10000. The prefetch is half as much again",
    ),
    plain("limits.per_second", "rate", None, "how many attempts may start in a second"),
    plain(
        "limits.channel_per_second",
        "table of channel=rate",
        Some(""),
        "the same for single channel types, as in `WHATSAPP=20,MOBILE=5`",
    ),
    plain(
        "limits.device_interval",
        "duration",
        Some("0s"),
        "the least time between the starts of two attempts for one device",
    ),
    plain(
        "journal.kind",
        "file, redis or none",
        Some("file"),
        "where what was started and how it ended is remembered; with `none` a crash can send twice",
    ),
    plain(
        "journal.dir",
        "directory",
        Some("edna-courier-journal"),
        "of the journal `file`; made if it is missing, and one daemon's alone",
    ),
    secret(
        "journal.redis_url",
        "URL",
        None,
        "of the journal `redis`, for several daemons on one queue: `redis://host:6379/0`, `rediss`, `redis+cluster`, `redis+sentinel`",
    ),
    plain("journal.retention", "duration", Some("72h"), "how long a send is remembered"),
    plain(
        "journal.max_bytes",
        "bytes",
        Some("8589934592"),
        "how large the journal `file` may become before the oldest sends are forgotten early",
    ),
    plain(
        "events.default_queue",
        "true or false",
        Some("true"),
        "whether the declared topology has a queue for all events",
    ),
    plain(
        "events.replies",
        "true or false",
        Some("false"),
        "whether an event also goes to the queue that the command's `reply_to` names",
    ),
    plain("events.format", "plain, cloudevents-structured or cloudevents-binary", Some("plain"), "how events look"),
    plain("admin.listen", "address:port", Some("127.0.0.1:9464"), "where metrics and probes are served"),
    secret("admin.token", "token", None, "who has it may pause and resume the daemon; without one nobody may"),
    plain(
        "log.level",
        "level or filter",
        Some("info"),
        "`error` to `trace`, or directives such as `info,edna_courier::amqp=debug`",
    ),
    plain("log.format", "auto, text or json", Some("auto"), "`auto` is text on a terminal and JSON elsewhere"),
];
