//! Decoding and rendering: the cases of `tests/data/` (see `samples` for their format), the fixed limits, and random
//! input (`properties`).

mod properties;

use serde_json::{Value, json};

use super::*;
use crate::domain::{
    request::render,
    samples::{CLOUDEVENTS, COMMANDS, Case, MALFORMED, cases},
};

const DESCRIPTOR: &str = "clientApplicationDescriptor";

fn check(case: &Case) {
    let name = &case.name;
    match (&case.request, &case.malformed_field, case.decode()) {
        (Some(request), None, Ok(command)) => check_command(case, request, &command),
        (None, Some(field), Err(malformed)) => check_malformed(case, field, &malformed),
        (Some(_), None, Err(malformed)) => panic!("{name}: {malformed}"),
        (None, Some(field), Ok(_)) => panic!("{name}: accepted, expected an error in {field}"),
        _ => panic!("{name}: has both or neither of `request` and `malformed_field`"),
    }
}

fn check_command(case: &Case, request: &Value, command: &Command) {
    let name = &case.name;
    let rendered: Value = serde_json::from_slice(&render(command, DESCRIPTOR)).unwrap();
    assert_eq!(&rendered, request, "{name}");
    assert_eq!(Some(command.id.as_str()), case.id.as_deref(), "{name}");
    assert_eq!(command.expires_at.map(|time| time.to_string()), case.expires_at, "{name}");
    assert_eq!(command.order_key, case.order_key, "{name}");
    assert_eq!(command.on_uncertain, case.on_uncertain, "{name}");
    assert_eq!(command.metadata.as_ref().map(|raw| raw.get()), case.metadata.as_deref(), "{name}");
}

fn check_malformed(case: &Case, field: &str, malformed: &Malformed) {
    let name = &case.name;
    let detail = malformed.detail();
    assert_eq!(malformed.field(), field, "{name}: {detail}");
    let part = case.detail.as_deref().unwrap_or_else(|| panic!("{name}: has no `detail`"));
    assert!(detail.as_str().contains(part), "{name}: {detail}");
    assert_eq!(malformed.id.as_ref().map(CommandId::as_str), case.id.as_deref(), "{name}: id");
    assert_eq!(malformed.channel_type, case.channel_type, "{name}: channel");
}

#[test]
fn commands_decode_and_render_to_their_requests() {
    cases(COMMANDS).iter().for_each(check);
}

#[test]
fn cloudevents_decode_and_render_to_their_requests() {
    cases(CLOUDEVENTS).iter().for_each(check);
}

#[test]
fn malformed_messages_report_field_and_problem() {
    cases(MALFORMED).iter().for_each(check);
}

/// Each fixed limit: the field, a text of exactly its limit, and one more character.
#[test]
fn decode_field_longer_than_its_limit_is_malformed() {
    let limits = [
        ("/commandId", "commandId", "é", 64, "129 bytes, at most 128"),
        ("/text", "text", "é", 2_000, "2001 characters, at most 2000"),
        ("/channelType", "channelType", "é", 32, "65 bytes, at most 64"),
        ("/deviceAddress", "deviceAddress", "é", 256, "513 bytes, at most 512"),
        ("/clientId", "clientId", "é", 256, "513 bytes, at most 512"),
        ("/unauthorizedClientId", "unauthorizedClientId", "é", 256, "513 bytes, at most 512"),
        ("/appMarker", "appMarker", "é", 256, "513 bytes, at most 512"),
        ("/orderKey", "orderKey", "é", 256, "513 bytes, at most 512"),
        ("/attachments/0/url", "attachments[0].url", "é", 4_000, "4001 characters, at most 4000"),
        ("/attachments/0/name", "attachments[0].name", "é", 1_000, "1001 characters, at most 1000"),
        ("/attachments/0/type", "attachments[0].type", "é", 256, "257 characters, at most 256"),
        ("/metadata/k", "metadata", "e", 4_096 - r#"{"k":""}"#.len(), "4097 bytes, at most 4096"),
    ];
    for (pointer, field, character, longest, problem) in limits {
        let decode_with = |text: String| {
            let mut command = every_field();
            *command.pointer_mut(pointer).unwrap() = Value::String(text);
            decode_plain(&command)
        };
        assert!(decode_with(character.repeat(longest)).is_ok(), "{field}");
        let malformed = decode_with(character.repeat(longest) + "e").unwrap_err();
        assert_eq!(malformed.to_string(), format!("`{field}` has {problem} are allowed"));
    }
}

#[test]
fn decode_body_longer_than_its_limit_is_malformed() {
    let mut body = every_field().to_string().into_bytes();
    body.resize(256 * 1024, b' ');
    let decode = |body: &[u8]| decode(body, &Properties::default(), &DecodeLimits::default(), String::new);
    assert!(decode(&body).is_ok());
    body.push(b' ');
    assert_eq!(decode(&body).unwrap_err().to_string(), "`body` has 262145 bytes, at most 262144 are allowed");
}

#[test]
fn decode_message_id_longer_than_an_id_is_malformed() {
    let mut command = every_field();
    command["commandId"] = Value::Null;
    let body = command.to_string();
    let decode_with = |message_id: String| {
        let properties = Properties { message_id: Some(message_id), ..Properties::default() };
        decode(body.as_bytes(), &properties, &DecodeLimits::default(), String::new)
    };
    assert!(decode_with("m".repeat(128)).is_ok());
    let malformed = decode_with("m".repeat(129)).unwrap_err();
    assert_eq!((malformed.field(), malformed.id.clone()), ("message_id", None));
}

#[test]
fn decode_invalid_generated_id_is_malformed() {
    let limits = DecodeLimits { missing_id: MissingId::Generate, ..DecodeLimits::default() };
    let mut command = every_field();
    command["commandId"] = Value::Null;
    let body = command.to_string();
    let malformed = decode(body.as_bytes(), &Properties::default(), &limits, String::new).unwrap_err();
    assert_eq!(malformed.field(), "commandId");
}

#[test]
fn decode_expires_at_accepts_rfc_3339_only() {
    let decode_with = |time: &str| {
        let mut command = every_field();
        command["expiresAt"] = Value::from(time);
        decode_plain(&command)
    };
    for valid in [
        "2026-11-22T12:00:00Z",
        "2026-11-22T12:00:00z",
        "2026-11-22T12:00:00.5+23:59",
        "2026-11-22T12:00:00.123456789-00:00",
        "2027-11-22T12:00Z",
        "2027-11-22t12:00+03:00",
        "9999-12-31T23:59Z",
        "2024-02-29T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
    ] {
        assert!(decode_with(valid).is_ok(), "{valid}");
    }
    for invalid in [
        "2026-11-22",
        "2026-11-22T12Z",
        "2026-11-22T12:00",
        "2026-11-22T12:60Z",
        "2026-11-22T12:00.5Z",
        "2026-11-22T12:00:Z",
        "2026-11-22T12:00:0Z",
        "2026-11-22 12:00:00Z",
        "20261122T120000Z",
        "2026-11-22T12:00:00",
        "2026-11-22T12:00:00.Z",
        "2026-11-22T12:00:00+03",
        "2026-11-22T12:00:00+0300",
        "2026-11-22T12:00:00+03:00[Europe/Moscow]",
        "2026-02-29T12:00:00Z",
        "2026-11-22T25:00:00Z",
        "9999-12-32T00:00:00Z",
        "+002026-11-22T12:00:00Z",
        " 2026-11-22T12:00:00Z",
        "2026-11-22T12:00:0éZ",
        "1795348800",
    ] {
        assert_eq!(
            decode_with(invalid).err().map(|malformed| malformed.field().to_owned()).as_deref(),
            Some("expiresAt"),
            "{invalid}"
        );
    }
}

#[test]
fn decode_content_encoding_only_compressions_are_malformed() {
    let body = every_field().to_string();
    let decode_with = |encoding: &str| {
        let properties = Properties { content_encoding: Some(encoding.to_owned()), ..Properties::default() };
        decode(body.as_bytes(), &properties, &DecodeLimits::default(), String::new)
    };
    for harmless in ["", "identity", "utf8", "UTF-8", "utf_8", "binary", "8bit", "us-ascii", "json", "x-abridged"] {
        assert!(decode_with(harmless).is_ok(), "{harmless}");
    }
    for compression in [
        "gzip",
        "GZip",
        "x-gzip",
        "deflate",
        "br",
        "zstd",
        "compress",
        "x-compress",
        "bzip2",
        "lz4",
        "xz",
        "snappy",
        "utf-8, gzip",
        "gzip;level=9",
        "application/zlib",
    ] {
        let malformed = decode_with(compression).unwrap_err();
        assert_eq!((malformed.field(), malformed.id.is_some()), ("content_encoding", true), "{compression}");
    }
}

#[test]
fn nearest_name_similar_names_only() {
    for (unknown, nearest) in [
        ("Text", Some("text")),
        ("device_address", Some("deviceAddress")),
        ("unauthorisedClientID", Some("unauthorizedClientId")),
        ("attachment", Some("attachments")),
        ("priority", None),
        ("to", None),
        ("id", None),
        ("", None),
    ] {
        assert_eq!(
            malformed::nearest_name(unknown, <WireCommand<'_> as object::ObjectFields<'_>>::NAMES),
            nearest,
            "{unknown}"
        );
    }
}

/// The comparison costs quadratic time, so it is limited to the start of a name.
#[test]
fn decode_long_unknown_name_is_cut() {
    let body = format!(r#"{{"{}":1}}"#, "t".repeat(200_000));
    let malformed = decode(body.as_bytes(), &Properties::default(), &DecodeLimits::default(), String::new).unwrap_err();
    assert_eq!(malformed.to_string(), format!("`{}` is not a known field", "t".repeat(64)));
}

#[test]
fn malformed_detail_is_cut_to_512_bytes() {
    let channel_types = (0..1_000).map(|number| format!("CHANNEL-{number}")).collect();
    let limits = DecodeLimits { channel_types, ..DecodeLimits::default() };
    let body = every_field().to_string();
    let malformed = decode(body.as_bytes(), &Properties::default(), &limits, String::new).unwrap_err();
    assert_eq!(malformed.detail().as_str().len(), 512);
}

#[test]
fn policies_deserialize_from_lower_case_only() {
    let read = |json: Value| serde_json::from_value::<UnknownFields>(json);
    assert_eq!(read(json!("reject")).unwrap(), UnknownFields::Reject);
    assert_eq!(read(json!("ignore")).unwrap(), UnknownFields::Ignore);
    assert!(read(json!("Ignore")).is_err());
    let read = |json: Value| serde_json::from_value::<MissingId>(json);
    assert_eq!(read(json!("reject")).unwrap(), MissingId::Reject);
    assert_eq!(read(json!("generate")).unwrap(), MissingId::Generate);
}

/// The names for suggestions are the names that are read.
#[test]
fn known_names_match_the_fields() {
    use crate::domain::decode::{object::ObjectFields, wire::WireAttachment};
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let sorted = |names: &[&str]| {
        let mut names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(keys(&every_field()), sorted(WireCommand::NAMES));
    assert_eq!(keys(&every_field()["attachments"][0]), sorted(WireAttachment::NAMES));
    assert!(decode_plain(&every_field()).is_ok());
}

fn decode_plain(command: &Value) -> Result<Command, Malformed> {
    decode(command.to_string().as_bytes(), &Properties::default(), &DecodeLimits::default(), String::new)
}

fn every_field() -> Value {
    json!({
        "commandId": "c", "text": "t", "channelType": "C", "deviceAddress": "d", "clientId": "a",
        "unauthorizedClientId": "u", "appMarker": "m", "orderKey": "o", "onUncertain": "park",
        "attachments": [{"url": "u", "name": "n", "type": "image/png", "size": 1}],
        "expiresAt": "2026-11-22T12:00:00Z", "metadata": {"k": "v"},
    })
}
