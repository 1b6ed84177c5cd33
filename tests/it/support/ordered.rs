//! Many commands for each of many devices, a fifth of which the API does not take at first, and the order it took them in.

use std::collections::BTreeMap;

use edna_courier::sandbox::ReceivedFilter;
use serde_json::{Value, json};

use super::stage::Stage;

/// So many commands for each of so many devices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ordered {
    pub(crate) devices: u32,
    pub(crate) commands: u32,
}

impl Ordered {
    /// How many there are.
    pub(crate) fn total(self) -> u32 {
        self.devices * self.commands
    }

    /// All of them, a command of each device in turn.
    pub(crate) fn bodies(self) -> impl Iterator<Item = Value> {
        let of_device = move |nth: u32| (0..self.devices).map(move |device| body(device, nth));
        (0..self.commands).flat_map(of_device)
    }

    /// Insists that each command was taken once, those for each device in the order of publishing.
    pub(crate) fn expect_order(self, stage: &Stage) {
        let taken = taken(stage);
        assert_eq!(taken.len(), self.devices as usize, "every device got something");
        for (device, texts) in taken {
            let nth: Vec<u32> = texts.iter().map(|text| number(text)).collect();
            assert_eq!(nth, (0..self.commands).collect::<Vec<_>>(), "the order of device {device}");
        }
    }
}

/// Of twenty commands for a device, three fail once and are tried again in process, one goes to a tier.
fn body(device: u32, nth: u32) -> Value {
    let marker = match (device + nth) % 20 {
        2 | 7 | 12 => "[[status=503,times=1]]",
        17 => "[[status=503,times=3]]",
        _ => "",
    };
    command(&format!("c-{device}-{nth}"), &format!("79{device:05}"), &format!("{nth} {marker}"))
}

/// A command for this device.
pub(crate) fn command(id: &str, device: &str, text: &str) -> Value {
    json!({"commandId": id, "text": text, "channelType": "WHATSAPP", "deviceAddress": device})
}

/// The number that a text begins with.
pub(crate) fn number(text: &str) -> u32 {
    text.split(' ').next().and_then(|word| word.parse().ok()).expect("a text that begins with a number")
}

/// The texts that the API took, by device, in the order of arrival.
pub(crate) fn taken(stage: &Stage) -> BTreeMap<String, Vec<String>> {
    let mut taken = BTreeMap::<_, Vec<_>>::new();
    for record in
        stage.sandbox.received(&ReceivedFilter::default()).requests.into_iter().filter(|record| record.accepted)
    {
        let (device, text) = record.device_address.zip(record.text).expect("a good request");
        taken.entry(device).or_default().push(text);
    }
    taken
}

/// How many commands the API took.
pub(crate) fn accepted(stage: &Stage) -> u64 {
    stage.sandbox.received(&ReceivedFilter { limit: Some(0), ..ReceivedFilter::default() }).accepted
}
