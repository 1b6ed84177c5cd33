//! The body of `POST /api/v1/messages/outgoing-to-device`.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    command::{Attachment, Command},
    json,
};

/// Renders the request body. Absent fields are left out, never `null`; `attachments` is always present.
///
/// `descriptor_field` is `api.descriptor_field`: the API's documentation names that key differently in its table and in
/// its examples.
#[must_use]
pub fn render(command: &Command, descriptor_field: &str) -> Vec<u8> {
    json::to_bytes(&RequestBody { command, descriptor_field })
}

/// Serialized by hand because one key is a setting.
struct RequestBody<'a> {
    command: &'a Command,
    descriptor_field: &'a str,
}

impl Serialize for RequestBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(text) = &self.command.text {
            map.serialize_entry("text", text)?;
        }
        map.serialize_entry("attachments", &AttachmentList(&self.command.attachments))?;
        map.serialize_entry(self.descriptor_field, &DescriptorBody::of(self.command))?;
        map.end()
    }
}

struct AttachmentList<'a>(&'a [Attachment]);

impl Serialize for AttachmentList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(AttachmentBody::of))
    }
}

#[derive(Serialize)]
struct AttachmentBody<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl<'a> AttachmentBody<'a> {
    fn of(attachment: &'a Attachment) -> Self {
        Self {
            url: &attachment.url,
            name: attachment.name.as_deref(),
            mime_type: attachment.mime_type.as_deref(),
            size: attachment.size,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorBody<'a> {
    channel_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unauthorized_client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_marker: Option<&'a str>,
    device_address: &'a str,
}

impl<'a> DescriptorBody<'a> {
    fn of(command: &'a Command) -> Self {
        Self {
            channel_type: &command.channel_type,
            client_id: command.client_id.as_deref(),
            unauthorized_client_id: command.unauthorized_client_id.as_deref(),
            app_marker: command.app_marker.as_deref(),
            device_address: &command.device_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::command::CommandId;

    /// The cases of `tests/data` cover the other fields, together with decoding.
    #[test]
    fn render_descriptor_has_the_configured_name() {
        let command = Command {
            id: CommandId::new("c").unwrap(),
            text: None,
            attachments: Vec::new(),
            channel_type: "C".to_owned(),
            device_address: "d\"".to_owned(),
            client_id: None,
            unauthorized_client_id: None,
            app_marker: None,
            expires_at: None,
            order_key: None,
            on_uncertain: None,
            metadata: None,
        };
        let body = String::from_utf8(render(&command, "applicationDescriptor")).unwrap();
        assert_eq!(body, r#"{"attachments":[],"applicationDescriptor":{"channelType":"C","deviceAddress":"d\""}}"#);
    }
}
