//! AMQP 0-9-1 framing, enough to recognize confirms: type (1 byte), channel (2), size (4), payload, end octet 0xCE.

const HEADER: usize = 7;
const METHOD: u8 = 1;
/// Content header and content body.
const CONTENT: [u8; 2] = [2, 3];
/// The class `basic`.
const BASIC: [u8; 2] = [0, 60];
/// Class `basic` (60), method `ack` (80) or `nack` (120): publisher confirms, when sent by a broker.
const CONFIRMS: [[u8; 4]; 2] = [[0, 60, 0, 80], [0, 60, 0, 120]];

const HEARTBEAT: u8 = 8;

/// Removes the first complete frame from the buffer.
pub(super) fn take_frame(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let size = buffer.get(3..HEADER)?.try_into().ok().map(u32::from_be_bytes)?;
    let end = HEADER + usize::try_from(size).ok()? + 1;
    (buffer.len() >= end).then(|| buffer.drain(..end).collect())
}

/// Whether a frame from a broker is a publisher confirm.
pub(super) fn is_confirm(frame: &[u8]) -> bool {
    frame.first() == Some(&METHOD) && CONFIRMS.iter().any(|method| frame.get(HEADER..HEADER + 4) == Some(method))
}

/// Whether a frame from a broker belongs to a delivery, or to the reply to `basic.consume`, `basic.cancel` and the like.
pub(super) fn is_delivery_related(frame: &[u8]) -> bool {
    let is_basic = frame.first() == Some(&METHOD) && frame.get(HEADER..HEADER + 2) == Some(&BASIC);
    is_basic || frame.first().is_some_and(|kind| CONTENT.contains(kind))
}

/// Whether a frame is a heartbeat.
pub(super) fn is_heartbeat(frame: &[u8]) -> bool {
    frame.first() == Some(&HEARTBEAT)
}

#[test]
fn take_frame_of_split_input_finds_whole_frames() {
    let ack = [&[1, 0, 1, 0, 0, 0, 13][..], &[0, 60, 0, 80], &[0; 8], &[0], &[0xCE]].concat();
    let heartbeat = vec![8, 0, 0, 0, 0, 0, 0, 0xCE];
    let (mut buffer, mut found) = (Vec::new(), Vec::new());
    for byte in [ack.clone(), heartbeat.clone(), ack.clone()].concat() {
        buffer.push(byte);
        found.extend(take_frame(&mut buffer));
    }
    assert_eq!(found, [ack, heartbeat.clone(), found[0].clone()]);
    assert!(is_delivery_related(&found[0]) && !is_delivery_related(&heartbeat));
    assert!(is_confirm(&found[0]) && !is_confirm(&heartbeat) && buffer.is_empty());
}
