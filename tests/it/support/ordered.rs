//! A load for order tests: many commands for each of many devices, a fifth of which fail at first.

use std::collections::BTreeMap;

use edna_courier::sandbox::ReceivedFilter;
use serde_json::{Value, json};

use super::fixture::Fixture;

/// `commands` commands for each of `devices` devices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderedLoad {
    pub(crate) devices: u32,
    pub(crate) commands: u32,
}

impl OrderedLoad {
    /// The number of all commands.
    pub(crate) fn total(self) -> u32 {
        self.devices * self.commands
    }

    /// All commands, one of each device in turn.
    pub(crate) fn bodies(self) -> impl Iterator<Item = Value> {
        let of_device = move |nth: u32| (0..self.devices).map(move |device| body(device, nth));
        (0..self.commands).flat_map(of_device)
    }

    /// Asserts that the API accepted each command once, those of each device in publish order.
    pub(crate) fn assert_order(self, fixture: &Fixture) {
        let accepted = accepted_texts(fixture);
        assert_eq!(accepted.len(), self.devices as usize, "devices with accepted commands");
        for (device, texts) in accepted {
            let nth: Vec<u32> = texts.iter().map(|text| number(text)).collect();
            assert_eq!(nth, (0..self.commands).collect::<Vec<_>>(), "order of device {device}");
        }
    }
}

/// Of 20 commands for a device, three fail once and are retried in process, one fails three times and goes to a tier.
fn body(device: u32, nth: u32) -> Value {
    let script = match (device + nth) % 20 {
        2 | 7 | 12 => "[[status=503,times=1]]",
        17 => "[[status=503,times=3]]",
        _ => "",
    };
    command(&format!("c-{device}-{nth}"), &format!("79{device:05}"), &format!("{nth} {script}"))
}

/// A command for this device.
pub(crate) fn command(id: &str, device: &str, text: &str) -> Value {
    json!({"commandId": id, "text": text, "channelType": "WHATSAPP", "deviceAddress": device})
}

/// The leading number of a text.
pub(crate) fn number(text: &str) -> u32 {
    text.split(' ').next().and_then(|word| word.parse().ok()).expect("a text with a leading number")
}

/// The texts that the API accepted, by device, in order of arrival.
pub(crate) fn accepted_texts(fixture: &Fixture) -> BTreeMap<String, Vec<String>> {
    let mut accepted = BTreeMap::<_, Vec<_>>::new();
    for record in
        fixture.sandbox.received(&ReceivedFilter::default()).requests.into_iter().filter(|record| record.accepted)
    {
        let (device, text) = record.device_address.zip(record.text).expect("a valid request");
        accepted.entry(device).or_default().push(text);
    }
    accepted
}

/// The number of commands that the API accepted.
pub(crate) fn accepted_count(fixture: &Fixture) -> u64 {
    fixture.sandbox.received(&ReceivedFilter { limit: Some(0), ..ReceivedFilter::default() }).accepted
}
