//! Properties of decoding for random input.

use proptest::{collection::vec, option, prelude::*, sample};
use serde_json::{Map, Value, json};

use super::{DESCRIPTOR, decode_plain, every_field};
use crate::domain::{
    command::Command,
    decode::{DecodeLimits, MissingId, UnknownFields, decode},
    properties::Properties,
    request::render,
};

/// A value that must not appear in errors or logs. Not part of any field's name.
const SECRET: &str = "s3cr3t-Zq";

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn request_contains_every_field(command in any_command()) {
        let decoded = decode_plain(&command).map_err(|malformed| TestCaseError::fail(malformed.to_string()))?;
        let request: Value = serde_json::from_slice(&render(&decoded, DESCRIPTOR)).unwrap();
        prop_assert_eq!(&request, &expected_request(&command));
        prop_assert_eq!(Some(decoded.id.as_str()), command["commandId"].as_str());
        prop_assert_eq!(decoded.order_key.as_deref(), command["orderKey"].as_str());
        let metadata = command["metadata"].as_object().map(|object| serde_json::to_string(object).unwrap());
        prop_assert_eq!(decoded.metadata.as_ref().map(|raw| raw.get()), metadata.as_deref());
    }

    #[test]
    fn command_debug_contains_no_values(mut command in any_command()) {
        for field in ["text", "deviceAddress", "clientId", "unauthorizedClientId", "appMarker", "orderKey"] {
            command[field] = SECRET.into();
        }
        command["attachments"] = json!([{"url": SECRET, "name": SECRET, "type": SECRET}]);
        command["metadata"] = json!({ "token": SECRET });
        let decoded: Command = decode_plain(&command).map_err(|malformed| TestCaseError::fail(malformed.to_string()))?;
        let printed = format!("{decoded:?} {:?}", decoded.attachments);
        prop_assert!(!printed.contains(SECRET), "{}", printed);
    }

    #[test]
    fn decode_random_bytes_keeps_invariants(
        body in vec(any::<u8>(), 0..200), properties in any_properties(), limits in any_limits(),
    ) {
        check_invariants(&body, &properties, &limits);
    }

    #[test]
    fn decode_mutated_command_keeps_invariants(
        body in mutated_command(), properties in any_properties(), limits in any_limits(),
    ) {
        check_invariants(&body, &properties, &limits);
    }

    /// A command of secrets with one invalid value and perhaps one changed byte, in each of the three formats.
    #[test]
    fn malformed_contains_no_values(
        pointer in sample::select(POINTERS), value in sample::select(invalid_values()),
        change in option::of((any::<sample::Index>(), any::<u8>())), properties in any_properties(),
    ) {
        let data = secret_command();
        let mut envelope = json!({"specversion": "1.0", "id": SECRET_ID, "expirytime": SECRET, "data": data});
        *envelope["data"].pointer_mut(pointer).unwrap() = value;
        for message in [&envelope["data"], &envelope] {
            let mut body = message.to_string().into_bytes();
            if let Some((index, byte)) = change {
                let index = index.index(body.len());
                body[index] = byte;
            }
            if let Err(mut malformed) = decode(&body, &properties, &DecodeLimits::default(), String::new) {
                // These two identify the message and may contain the secret.
                (malformed.id, malformed.channel_type) = (None, None);
                for text in [malformed.to_string(), format!("{malformed:?}"), malformed.detail().to_string()] {
                    prop_assert!(!text.contains(SECRET), "{}", text);
                }
            }
        }
    }
}

const SECRET_ID: &str = "order-1";

const POINTERS: &[&str] = &[
    "/commandId",
    "/text",
    "/channelType",
    "/deviceAddress",
    "/clientId",
    "/attachments",
    "/attachments/0",
    "/attachments/0/url",
    "/attachments/0/size",
    "/expiresAt",
    "/orderKey",
    "/onUncertain",
    "/metadata",
];

/// One value of each type, each containing the secret.
fn invalid_values() -> Vec<Value> {
    let long = SECRET.repeat(500);
    vec![json!(SECRET), json!(long), json!([SECRET]), json!({ "url": SECRET }), json!(format!("{SECRET}\u{0}"))]
}

fn secret_command() -> Value {
    json!({
        "commandId": SECRET_ID, "text": SECRET, "channelType": "C", "deviceAddress": SECRET, "clientId": SECRET,
        "attachments": [{"url": SECRET, "name": SECRET, "size": 1}], "expiresAt": "2026-11-22T12:00:00Z",
        "orderKey": SECRET, "onUncertain": "park", "metadata": {"token": SECRET},
    })
}

/// Decodes and checks: no panic, a complete command, or a bounded detail without control characters.
fn check_invariants(body: &[u8], properties: &Properties, limits: &DecodeLimits) {
    match decode(body, properties, limits, || "generated".to_owned()) {
        Ok(command) => {
            assert!(command.text.is_some_and(|text| !text.is_empty()) || !command.attachments.is_empty());
            assert!(!command.channel_type.is_empty() && !command.device_address.is_empty());
        }
        Err(malformed) => {
            assert!(
                malformed.detail().as_str().len() <= 512 && !malformed.detail().as_str().contains(char::is_control)
            );
            assert!(!malformed.field().is_empty());
            assert!(malformed.channel_type.is_none_or(|channel| !channel.contains(['.', '*', '#'])));
        }
    }
}

fn any_name() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,40}"
}

fn any_command() -> impl Strategy<Value = Value> {
    let names = (
        any_name(),
        any_name(),
        option::of(any_name()),
        option::of(any_name()),
        option::of(any_name()),
        option::of(any_name()),
    );
    let rest = (any::<String>(), "[^\\p{Cc}\\s.*#]{1,16}", vec(any_attachment(), 0..3), option::of(any_metadata()));
    (names, rest).prop_map(|((id, address, client, unauthorized, marker, order), (text, channel, files, metadata))| {
        json!({
            "commandId": id, "text": format!("t{text}"), "channelType": channel, "deviceAddress": address,
            "clientId": client, "unauthorizedClientId": unauthorized, "appMarker": marker, "orderKey": order,
            "attachments": files, "metadata": metadata,
        })
    })
}

fn any_attachment() -> impl Strategy<Value = Value> {
    (".{1,50}", option::of(".{0,20}"), option::of(".{0,20}"), option::of(any::<u64>()))
        .prop_map(|(url, name, mime_type, size)| json!({"url": url, "name": name, "type": mime_type, "size": size}))
}

fn any_metadata() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![any::<i64>().prop_map(Value::from), ".{0,8}".prop_map(Value::from), Just(Value::Null)];
    let value = leaf.prop_recursive(4, 16, 4, |inner| vec(inner, 0..4).prop_map(Value::from));
    vec((".{0,8}", value), 0..4).prop_map(|entries| Value::Object(entries.into_iter().collect()))
}

/// The request for the command, without `null`s and empty texts.
fn expected_request(command: &Value) -> Value {
    let attachments = command["attachments"].as_array().unwrap().iter().map(without_absent).collect::<Vec<_>>();
    let descriptor = ["channelType", "deviceAddress", "clientId", "unauthorizedClientId", "appMarker"];
    let descriptor = Value::from_iter(descriptor.map(|field| (field, command[field].clone())));
    json!({"text": command["text"], "attachments": attachments, DESCRIPTOR: without_absent(&descriptor)})
}

fn without_absent(object: &Value) -> Value {
    let mut object: Map<String, Value> = object.as_object().unwrap().clone();
    object.retain(|_, value| !value.is_null() && *value != "");
    object.into()
}

/// A valid command, truncated or with some bytes changed, inserted or removed. At least one byte remains.
fn mutated_command() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![any::<u8>(), sample::select(&br#"{}[]",:\0e-"#[..])];
    let cloudevent = json!({"specversion": "1.0", "id": "c", "data": every_field()});
    let valid = sample::select(vec![every_field().to_string(), cloudevent.to_string()]);
    (valid, vec((any::<sample::Index>(), bytes, 0..4), 1..5)).prop_map(|(valid, changes)| {
        let mut body = valid.into_bytes();
        for (index, byte, kind) in changes {
            let index = index.index(body.len());
            match kind {
                0 => body[index] = byte,
                1 => body.insert(index, byte),
                2 => drop(body.remove(index)),
                _ => body.truncate(index.max(4)),
            }
        }
        body
    })
}

/// No headers, those of a CloudEvent, and incomplete ones.
const HEADERS: &[&[(&str, &str)]] =
    &[&[], &[("cloudEvents_specversion", "1.0"), ("cloudEvents_id", "c")], &[("cloudEvents:id", "")]];

fn any_properties() -> impl Strategy<Value = Properties> {
    let content_type = sample::select(&[None, Some("application/json"), Some("application/cloudevents+json")][..]);
    let headers = sample::select(HEADERS);
    (content_type, option::of("[\\PCa\u{0}]{0,140}"), headers).prop_map(|(content_type, message_id, headers)| {
        Properties {
            content_type: content_type.map(Into::into),
            message_id,
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            ..Properties::default()
        }
    })
}

fn any_limits() -> impl Strategy<Value = DecodeLimits> {
    (any::<bool>(), any::<bool>()).prop_map(|(ignore, generate)| DecodeLimits {
        unknown_fields: if ignore { UnknownFields::Ignore } else { UnknownFields::Reject },
        missing_id: if generate { MissingId::Generate } else { MissingId::Reject },
        ..DecodeLimits::default()
    })
}
